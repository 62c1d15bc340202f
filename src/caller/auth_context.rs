//! The result of a mount, for the mounts and handlers inside it.

use std::{rc::Rc, sync::Arc};

use actix_web::{HttpRequest, web};

use super::{
    lease::{Lease, LeaseTerms},
    mount_chain::{MountChain, RejectedBy},
};
use crate::{
    bearer::BearerToken,
    certificate::CertificateThumbprint,
    claims::scope::Scopes,
    error::AuthError,
    protect_api::{ProtectApi, issuer_set::IssuerSet, resolvers::TokenSourceId, state::State},
    telemetry::VerdictSource,
    validator::ValidToken,
};

/// The state, behind a reference count that only this worker uses. Cloning it per request touches no cache line of
/// other workers.
pub(crate) type LocalState = Rc<Arc<State>>;

/// The result of a mount, stored in the request's extensions.
#[derive(Clone)]
pub(crate) struct AuthContext {
    state: LocalState,
    mount: Rc<ProtectApi>,
    /// The place from which the mount read the token; `None` if a test authenticated the request.
    source: Option<TokenSourceId>,
    authenticated: Option<Rc<Caller>>,
    /// The client certificate for this mount.
    certificate: Option<CertificateThumbprint>,
    /// The source of the verdict for this mount; `None` for an anonymous request.
    via: Option<VerdictSource>,
    /// This mount, and the mounts around it; `None` if a test authenticated the request.
    mounts: Option<Rc<MountChain>>,
    /// The error that rules of this mount or of an outer one would cause that are not enforced.
    would_be_rejected: Option<AuthError>,
}

/// A caller with a valid token.
pub(crate) struct Caller {
    pub(crate) valid: ValidToken,
    pub(crate) token: BearerToken,
    /// Whether a test authenticated the request without a token.
    pub(crate) is_simulated: bool,
}

impl AuthContext {
    pub(crate) fn anonymous(state: &LocalState, mount: &Rc<ProtectApi>) -> Self {
        Self {
            state: Rc::clone(state),
            mount: Rc::clone(mount),
            source: None,
            authenticated: None,
            certificate: None,
            via: None,
            mounts: None,
            would_be_rejected: None,
        }
    }

    pub(crate) fn with_mounts(self, mounts: Rc<MountChain>) -> Self {
        Self { mounts: Some(mounts), ..self }
    }

    pub(crate) fn would_be_rejected_by(self, error: Option<AuthError>) -> Self {
        Self { would_be_rejected: error, ..self }
    }

    pub(crate) fn would_be_rejected(&self) -> Option<&AuthError> {
        self.would_be_rejected.as_ref()
    }

    pub(crate) fn mounts(&self) -> Option<&Rc<MountChain>> {
        self.mounts.as_ref()
    }

    /// Adds to an error everything that the operation requires.
    pub(super) fn complete(&self, error: AuthError, granted: Option<&Scopes>, path: &str) -> AuthError {
        match &self.mounts {
            Some(mounts) => {
                mounts.complete(error, RejectedBy::Handler, granted, &self.state.settings.rules, path)
            }
            None => error,
        }
    }

    /// Creates the context of a mount. `via` is the source of its verdict.
    pub(crate) fn new(
        state: &LocalState,
        mount: &Rc<ProtectApi>,
        source: Option<TokenSourceId>,
        authenticated: Rc<Caller>,
        certificate: Option<CertificateThumbprint>,
        via: VerdictSource,
    ) -> Self {
        let (authenticated, via) = (Some(authenticated), Some(via));
        Self { source, authenticated, certificate, via, ..Self::anonymous(state, mount) }
    }

    /// Returns the state of the issuer.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn source(&self) -> Option<TokenSourceId> {
        self.source
    }

    pub(crate) fn via(&self) -> Option<VerdictSource> {
        self.via
    }

    pub(crate) fn is_of(&self, state: &Arc<State>) -> bool {
        Arc::ptr_eq(&self.state, state)
    }

    /// Returns whether a mount of these issuers created this context.
    pub(crate) fn is_of_set(&self, issuers: &Arc<IssuerSet>) -> bool {
        self.mount.issuers.as_ref().is_some_and(|own| Arc::ptr_eq(own, issuers))
    }

    pub(crate) fn local_state(&self) -> &LocalState {
        &self.state
    }

    pub(crate) fn authenticated(&self) -> Option<&Rc<Caller>> {
        self.authenticated.as_ref()
    }

    /// Creates a lease for the caller; `None` for an anonymous request. Call it only if there is a stream.
    pub(crate) fn lease(&self, request: &HttpRequest) -> Option<Lease> {
        self.authenticated.as_ref().map(|caller| self.lease_for(caller, request))
    }

    pub(super) fn lease_for(&self, caller: &Caller, request: &HttpRequest) -> Lease {
        let Caller { valid, token, is_simulated } = caller;
        // A test authenticated the request if there is no list of mounts.
        let mount = || Rc::new(MountChain::new(Rc::clone(&self.mount), None));
        Lease::new(LeaseTerms {
            mounts: self.mounts.clone().unwrap_or_else(mount),
            state: Arc::clone(&self.state),
            client: request.app_data::<web::Data<awc::Client>>().cloned(),
            certificate: self.certificate,
            token,
            valid,
            is_simulated: *is_simulated,
        })
    }
}
