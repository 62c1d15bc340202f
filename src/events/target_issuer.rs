//! The issuer whose tokens the events of one source concern.

use std::sync::Arc;

use crate::{
    protect_api::{ProtectApi, state::State},
    revocation::Revocation,
};

/// One issuer. Events of one source never revoke the tokens of another issuer.
#[derive(Clone)]
pub(super) struct TargetIssuer {
    name: String,
    /// The state of a configured issuer; `None` for a tenant.
    state: Option<Arc<State>>,
}

impl TargetIssuer {
    /// Returns a configured issuer.
    pub(super) fn configured(state: &Arc<State>) -> Self {
        // A revocation names the issuer as its tokens do.
        let token_issuers = &state.settings.rules.token_issuers;
        let name = token_issuers.first().map_or_else(|| state.settings.issuer.as_str(), String::as_str);
        Self { name: name.to_owned(), state: Some(Arc::clone(state)) }
    }

    /// Returns the one of several token issuers of a configuration that has this name.
    fn named(state: &Arc<State>, name: &str) -> Self {
        match state.settings.rules.token_issuers.iter().find(|issuer| *issuer == name) {
            Some(issuer) => Self { name: issuer.clone(), state: Some(Arc::clone(state)) },
            None => Self::configured(state),
        }
    }

    /// Selects the issuer with this name; without a name, the only issuer of the handle, or the one that sends the events.
    /// Returns `None` if no issuer is meant.
    pub(super) fn select(protect: &ProtectApi, name: Option<&str>, transmitter: &str) -> Option<Self> {
        let states = protect.states();
        let is_named = |state: &&Arc<State>| names(state, name.unwrap_or(transmitter));
        if let Some(state) = states.iter().find(is_named) {
            return Some(Self::named(state, name.unwrap_or(transmitter)));
        }
        match (name, states) {
            (Some(name), _) if protect.has_tenants() => Some(Self { name: name.to_owned(), state: None }),
            (None, [only]) if !protect.has_tenants() => Some(Self::configured(only)),
            _ => None,
        }
    }

    /// Returns whether an identifier with this `iss` names a user or a token of the issuer.
    pub(super) fn is(&self, issuer: &str) -> bool {
        let is_of_metadata = |state: &Arc<State>| state.settings.issuer.accepts(issuer);
        issuer == self.name || self.state.as_ref().is_some_and(is_of_metadata)
    }

    /// Limits a revocation to the tokens of this issuer.
    pub(super) fn limit(&self, revocation: Revocation) -> Revocation {
        revocation.of_issuer(&self.name)
    }
}

/// Returns whether this is the issuer of the configuration, as in tokens or in the metadata.
fn names(state: &State, issuer: &str) -> bool {
    state.settings.accepts_issuer(issuer) || state.settings.issuer.accepts(issuer)
}
