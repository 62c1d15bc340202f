//! Several issuers behind one mount: selects the issuer that validates a token.

use std::{fmt, sync::Arc};

use actix_web::HttpRequest;
use aws_lc_rs::digest;
use quick_cache::sync::Cache;

use super::{
    ProtectApi,
    state::State,
    tenants::Tenants,
    validation::{OfIssuer, Selected, Validation},
};
use crate::{
    error::{AuthError, AuthErrorKind, TokenFault},
    jwt,
    telemetry::Denial,
    validator::ValidToken,
};

/// The number of opaque tokens whose issuer is cached.
const CACHED_TOKENS: usize = 10_000;

/// Returns the URL of the issuer of a request with an opaque token; `None` rejects the request with 401.
pub(crate) type OpaqueResolver = dyn Fn(&HttpRequest) -> Option<String> + Send + Sync;

/// The issuers of a mount. The unverified `iss` of a JWT selects the issuer, which then verifies the token with its own
/// keys and rules, so a JWT with a false `iss` is rejected. Nothing is fetched for an unknown one. An opaque token names no
/// issuer.
pub(crate) struct IssuerSet {
    /// All issuers. The first one is also `ProtectApi::state`.
    pub(super) states: Vec<Arc<State>>,
    /// Opaque tokens with this prefix belong to the issuer with this index.
    pub(super) prefixes: Vec<(String, usize)>,
    pub(super) resolver: Option<Arc<OpaqueResolver>>,
    /// The issuers that are tried, in this order, for all other opaque tokens.
    pub(super) order: Vec<usize>,
    /// The issuers that are found at run time.
    pub(super) tenants: Option<Tenants>,
    /// The issuer that accepted or knew an opaque token, by the digest of the token.
    pub(super) known: KnownTokens,
}

/// The issuers of opaque tokens, by the SHA-256 digest of the token.
pub(super) struct KnownTokens(Cache<[u8; 32], usize>);

impl KnownTokens {
    pub(super) fn new() -> Self {
        Self(Cache::new(CACHED_TOKENS))
    }

    fn digest(token: &str) -> [u8; 32] {
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        key
    }
}

impl IssuerSet {
    pub(super) async fn validate<C: Fn(&Selected) -> awc::Client>(
        &self,
        protect: &ProtectApi,
        validation: &Validation<'_, C>,
    ) -> Result<OfIssuer<ValidToken>, OfIssuer<Denial>> {
        let token = validation.token.as_str();
        let issuer = match jwt::unverified_issuer(token) {
            Ok(issuer) => issuer,
            Err(fault) => return Err((Selected::FIRST, AuthError::token(fault).into())),
        };
        if let Some(issuer) = &issuer {
            return match self.states.iter().position(|state| state.settings.accepts_issuer(issuer)) {
                Some(index) => self.validate_with(protect, index, validation).await,
                None => self.validate_with_tenant(protect, Some(issuer), validation).await,
            };
        }
        if let Some((_, index)) = self.prefixes.iter().find(|(prefix, _)| token.starts_with(prefix)) {
            return self.validate_with(protect, *index, validation).await;
        }
        if let Some(resolver) = &self.resolver {
            let named = validation.request.and_then(|request| resolver(request));
            let is_named =
                |state: &Arc<State>| named.as_ref().is_some_and(|named| state.settings.issuer.accepts(named));
            return match self.states.iter().position(is_named) {
                Some(index) => self.validate_with(protect, index, validation).await,
                None => Err((Selected::FIRST, self.unknown_issuer().into())),
            };
        }
        if self.order.is_empty() {
            return self.validate_with_tenant(protect, None, validation).await;
        }
        self.try_in_order(protect, validation).await
    }

    /// Validates a token with the tenant to which it belongs. `issuer` is the unverified `iss` of a JWT.
    async fn validate_with_tenant<C: Fn(&Selected) -> awc::Client>(
        &self,
        protect: &ProtectApi,
        issuer: Option<&str>,
        validation: &Validation<'_, C>,
    ) -> Result<OfIssuer<ValidToken>, OfIssuer<Denial>> {
        let Some(tenants) = &self.tenants else {
            return Err((Selected::FIRST, self.unknown_issuer().into()));
        };
        let rejected = |error: AuthError| (Selected::FIRST, error.into());
        let validate = async {
            let state = tenants.state(&protect.state, issuer, validation.request).await.map_err(rejected)?;
            let Some(state) = state else { return Err(rejected(self.unknown_issuer())) };
            protect.validate_with(&state, Selected::Tenant(Arc::clone(&state)), validation).await
        };
        tenants.wait(validate).await.map_err(rejected)?
    }

    /// Tries the issuers one after the other. If an issuer does not know the token, or fails, the next one is tried,
    /// because it may know the token.
    async fn try_in_order<C: Fn(&Selected) -> awc::Client>(
        &self,
        protect: &ProtectApi,
        validation: &Validation<'_, C>,
    ) -> Result<OfIssuer<ValidToken>, OfIssuer<Denial>> {
        let digest = KnownTokens::digest(validation.token.as_str());
        if let Some(index) = self.known.0.get(&digest) {
            return self.validate_with(protect, index, validation).await;
        }
        let (mut failure, mut unknown) = (None, None);
        for index in self.order.iter().copied() {
            match self.validate_with(protect, index, validation).await {
                Err((_, denial)) if is_unknown(denial.error.kind()) => {
                    unknown = Some((Selected::Configured(index), denial));
                }
                Err((_, denial)) if is_ours(denial.error.kind()) => {
                    failure = Some((Selected::Configured(index), denial));
                }
                decided => {
                    self.known.0.insert(digest, index);
                    return decided;
                }
            }
        }
        // If one of the issuers failed, it may be the one that knows the token.
        Err(failure.or(unknown).unwrap_or_else(|| (Selected::FIRST, self.unknown_issuer().into())))
    }

    async fn validate_with<C: Fn(&Selected) -> awc::Client>(
        &self,
        protect: &ProtectApi,
        index: usize,
        validation: &Validation<'_, C>,
    ) -> Result<OfIssuer<ValidToken>, OfIssuer<Denial>> {
        match self.states.get(index) {
            Some(state) => protect.validate_with(state, Selected::Configured(index), validation).await,
            None => Err((Selected::FIRST, self.unknown_issuer().into())),
        }
    }

    fn unknown_issuer(&self) -> AuthError {
        let names: Vec<_> = self.states.iter().map(|state| state.settings.issuer.as_str()).collect();
        AuthError::token(TokenFault::Issuer).with_source(format!("expected one of {}", names.join(", ")))
    }
}

/// Returns whether the issuer does not know the token.
fn is_unknown(kind: AuthErrorKind) -> bool {
    matches!(kind, AuthErrorKind::InvalidToken(TokenFault::Inactive | TokenFault::Unsupported))
}

/// Returns whether the token could not be validated, so that it may be valid.
fn is_ours(kind: AuthErrorKind) -> bool {
    matches!(kind, AuthErrorKind::Misconfigured(_) | AuthErrorKind::Upstream(_))
}

impl fmt::Debug for IssuerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.states.iter().map(|state| state.settings.issuer.as_str())).finish()
    }
}
