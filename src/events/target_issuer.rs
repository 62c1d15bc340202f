//! The issuer whose tokens the events of one source concern.

use std::sync::Arc;

use crate::{
    protect_api::{ProtectApi, state::State},
    revocation::Revocation,
};

/// One issuer. Events of one source never revoke the tokens of another issuer.
#[derive(Clone)]
pub(super) struct TargetIssuer {
    /// The issuer, as a revocation names it; `None` for the only configuration of the handle, whatever its tokens name.
    name: Option<String>,
    /// The state of a configured issuer; `None` for a tenant that is not resolved.
    state: Option<Arc<State>>,
}

impl TargetIssuer {
    /// Returns the issuer with this name, which is that of a configuration or of its tokens. The issuer of the configuration stands
    /// for all issuers that its tokens name.
    pub(super) fn named(state: &Arc<State>, name: &str) -> Self {
        let name = if is_token_issuer(state, name) { name } else { state.settings.issuer.as_str() };
        Self { name: Some(name.to_owned()), state: Some(Arc::clone(state)) }
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
            (Some(name), _) if protect.has_tenants() => {
                Some(Self { name: Some(name.to_owned()), state: None })
            }
            (None, [only]) if !protect.has_tenants() => {
                Some(Self { name: None, state: Some(Arc::clone(only)) })
            }
            _ => None,
        }
    }

    /// Returns the state of the issuer, if it is configured.
    pub(super) fn state(&self) -> Option<&Arc<State>> {
        self.state.as_ref()
    }

    /// Returns the name of the issuer; empty for the only configuration of the handle.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Returns whether an identifier with this `iss` names a user or a token of the issuer.
    pub(super) fn is(&self, issuer: &str) -> bool {
        let is_of_state = |state: &Arc<State>| {
            state.settings.issuer.accepts(issuer)
                || (self.stands_for_all(state) && state.settings.accepts_issuer(issuer))
        };
        self.name.as_deref() == Some(issuer) || self.state.as_ref().is_some_and(is_of_state)
    }

    /// Limits a revocation to the tokens of this issuer. `named` is the `iss` of the identifier, if it has one.
    pub(super) fn limit(&self, revocation: Revocation, named: Option<&str>) -> Revocation {
        let of_state = |state: &Arc<State>| {
            named.filter(|named| self.stands_for_all(state) && is_token_issuer(state, named))
        };
        match self.state.as_ref().and_then(of_state).or(self.name.as_deref()) {
            Some(issuer) => revocation.of_issuer(issuer),
            None => revocation,
        }
    }

    /// Returns whether all issuers are meant that the tokens of the configuration name.
    fn stands_for_all(&self, state: &State) -> bool {
        self.name.as_ref().is_none_or(|name| !is_token_issuer(state, name))
    }
}

/// Returns whether tokens name this issuer, and the configuration states it.
fn is_token_issuer(state: &State, issuer: &str) -> bool {
    state.settings.rules.token_issuers.iter().any(|one| one == issuer)
}

/// Returns whether this is the issuer of the configuration, as in tokens or in the metadata.
fn names(state: &State, issuer: &str) -> bool {
    state.settings.accepts_issuer(issuer) || state.settings.issuer.accepts(issuer)
}
