//! Validates JWTs locally with the published keys of the issuer. The key set is refreshed, and verified tokens are
//! cached as long as their key set is current.

mod fetched_key_set;
mod header;
pub(crate) mod key;
pub(crate) mod key_set;
mod other_types;
mod shape;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod token;
pub(crate) mod verified_tokens;

use std::{future::Future, sync::Arc, time::Duration};

pub(crate) use self::header::is_jwt_of_another_type;
pub(crate) use self::{header::Typ, other_types::unverified_payload};
pub use self::{header::unverified_jwt_header, key_set::PublishedKey};

use self::{
    fetched_key_set::{FetchedKeySet, KeySetFile},
    token::{Jwt, JwtRules, MAX_TOKEN},
    verified_tokens::{TokenTag, VerifiedTokens},
};
use crate::{
    claims::Claims,
    deadline::Deadline,
    error::{AuthError, AuthErrorKind, TokenFault, UpstreamFault},
    issuer::{
        MetadataCache,
        http::CallLimits,
        refresh::{Lifetimes, Reader, RefreshingCache},
        saved_document::SavedDocument,
    },
    policy,
    settings::{DocumentSource, Hooks, Settings},
    telemetry::{Telemetry, VerdictSource},
};

#[derive(Debug)]
pub(crate) struct JwtValidator {
    keys: Arc<RefreshingCache<FetchedKeySet>>,
    /// The key set of the application, in place of a fetched one.
    source: Option<DocumentSource>,
    saved: Option<Arc<SavedDocument>>,
    rules: JwtRules,
    limits: CallLimits,
    telemetry: Arc<Telemetry>,
    verified_tokens: Option<VerifiedTokens>,
    api_rules: policy::Rules,
    /// Whether a JWT is introspected after its signature is verified.
    introspects: bool,
}

/// The result of the local validation of a token.
pub(crate) enum JwtOutcome {
    /// The JWT is valid. The policy of the route has not been applied.
    Verified(Claims, VerdictSource),
    /// The token is opaque, or it is a JWT that must be introspected too.
    Introspect(Option<VerifiedJwt>),
}

/// A JWT whose signature was verified, and which is introspected too.
#[derive(Clone)]
pub(crate) struct VerifiedJwt {
    /// The expiry by the local clock.
    pub(crate) expires_at: Option<i64>,
}

/// The result of verifying a JWT.
enum Verification {
    Yes(Claims, VerdictSource),
    /// There are no keys: they cannot be fetched and no usable ones are cached, or the key set is empty.
    NoKeys(AuthError),
}

/// Returns [`Verification::NoKeys`] for an error of a fetch. A full waiting room gives no information about the
/// keys.
fn no_keys(error: AuthError) -> Result<Verification, AuthError> {
    let is_saturated = error.kind() == AuthErrorKind::Upstream(UpstreamFault::Saturated);
    if is_saturated { Err(error) } else { Ok(Verification::NoKeys(error)) }
}

impl JwtValidator {
    pub(crate) fn new(
        settings: &Settings,
        hooks: &Hooks,
        limits: CallLimits,
        telemetry: &Arc<Telemetry>,
    ) -> Self {
        let introspects = settings.tuning.introspect_jwt_tokens;
        let lifetimes = Lifetimes {
            max_age: settings.tuning.jwks_lifetime,
            stale_if_error: settings.tuning.max_stale,
            min_refetch_interval: settings.tuning.jwks_cooldown,
        };
        let source = DocumentSource::new(settings.jwks_document.as_ref(), hooks.jwks_resolver.as_ref());
        // The builder has validated the document.
        let given = source.as_ref().and_then(DocumentSource::given);
        let given = given.and_then(|given| FetchedKeySet::read(given, &telemetry.issuer, None).ok());
        let keys = if let Some(given) = given {
            RefreshingCache::fixed("key_set", given, Arc::clone(telemetry))
        } else {
            let max_waiting = settings.tuning.max_waiting;
            RefreshingCache::new("key_set", lifetimes, max_waiting, Arc::clone(telemetry))
        };
        Self {
            keys: Arc::new(keys),
            source,
            saved: SavedDocument::new("key_set", settings, telemetry).map(Arc::new),
            telemetry: Arc::clone(telemetry),
            rules: JwtRules::new(&settings.tuning),
            api_rules: settings.rules.clone(),
            introspects,
            limits,
            verified_tokens: settings.tuning.remember_jwts.then(VerifiedTokens::new).flatten(),
        }
    }

    /// Returns the claims of a token whose signature was verified before, if the keys need no refresh. Does not
    /// wait.
    pub(crate) fn lookup(&self, tag: Option<&TokenTag>, now: Duration) -> Option<Claims> {
        let (verified_tokens, tag) = (self.verified_tokens.as_ref()?, tag?);
        self.keys.with_fresh(now, |keys| verified_tokens.get(tag, &keys.id))?
    }

    /// Returns the tag under which a verified token is cached; `None` if verified tokens are not cached.
    pub(crate) fn tag(&self, token: &str) -> Option<TokenTag> {
        self.verified_tokens.as_ref().filter(|_| token.len() <= MAX_TOKEN)?.tag(token)
    }

    /// Returns whether JWTs are introspected after their signature is verified.
    pub(crate) fn introspects(&self) -> bool {
        self.introspects
    }

    /// Verifies a JWT: its form, algorithm, signature and type, and the claims for which all routes have the same
    /// policy. A JWT that is introspected too (`introspects`) is verified first, so that only tokens of the issuer cause a
    /// call.
    pub(crate) async fn validate(
        &self,
        tag: Option<TokenTag>,
        token: &str,
        metadata: &MetadataCache,
        client: &impl Fn() -> awc::Client,
        deadline: Deadline,
        introspects: bool,
    ) -> Result<JwtOutcome, AuthError> {
        let Some(jwt) = Jwt::read(token).map_err(AuthError::token)? else {
            return Ok(JwtOutcome::Introspect(None));
        };
        // The header is checked before the keys are fetched, because the result does not depend on them.
        jwt.check_header(&self.rules).map_err(AuthError::token)?;
        match self.verify(&jwt, tag, metadata, client, deadline).await? {
            Verification::Yes(claims, _) if introspects => {
                let now = self.telemetry.clock.unix_time();
                let current = metadata.load();
                policy::check_present(&claims, &self.api_rules, metadata.issuer(current.as_deref()), now)?;
                let skew = self.api_rules.clock_skew;
                let expires_at = claims.expires_at().map(|expires_at| expires_at.saturating_sub(skew));
                Ok(JwtOutcome::Introspect(Some(VerifiedJwt { expires_at })))
            }
            Verification::Yes(claims, via) => Ok(JwtOutcome::Verified(claims, via)),
            // Without keys, introspection alone validates the token completely.
            Verification::NoKeys(_) if introspects => Ok(JwtOutcome::Introspect(None)),
            Verification::NoKeys(error) => Err(error),
        }
    }

    async fn verify(
        &self,
        jwt: &Jwt<'_>,
        tag: Option<TokenTag>,
        metadata: &MetadataCache,
        client: &impl Fn() -> awc::Client,
        deadline: Deadline,
    ) -> Result<Verification, AuthError> {
        let fetch = || self.fetch(metadata, client());
        let mut current = match self.keys.get(fetch, Reader::request(deadline)).await {
            Ok(current) => current,
            Err(error) => return no_keys(error),
        };
        let verified_tokens = self.verified_tokens.as_ref().zip(tag);
        if let Some(claims) =
            verified_tokens.and_then(|(verified_tokens, tag)| verified_tokens.get(&tag, &current.document.id))
        {
            return Ok(Verification::Yes(claims, VerdictSource::RememberedSignature));
        }
        let mut outcome = jwt.verify(&current.document.set, &self.rules);
        // Old keys can also cause a wrong signature: some servers publish a new key under the old `kid`.
        if let Err(fault @ (TokenFault::UnknownKey | TokenFault::Signature)) = outcome
            && !self.has_fixed_keys()
        {
            match self.keys.refetch_if_same(&current, fetch, deadline).await {
                Ok(Some(newer)) => {
                    current = newer;
                    outcome = jwt.verify(&current.document.set, &self.rules);
                }
                // The key may be new. This cannot be decided while the fetch fails.
                Err(error) if fault == TokenFault::UnknownKey => {
                    return if current.document.set.is_empty() { no_keys(error) } else { Err(error) };
                }
                Ok(None) | Err(_) => {}
            }
        }
        if current.document.set.is_empty() && (self.introspects || outcome == Err(TokenFault::UnknownKey)) {
            return Ok(Verification::NoKeys(AuthError::upstream(UpstreamFault::NoKeys)));
        }
        let claims = outcome.map_err(|fault| jwt.error(fault, &current.document.set))?;
        claims.record_memo().set_verified();
        if let Some((verified_tokens, tag)) = verified_tokens
            && self.fits_api(&claims, metadata)
        {
            verified_tokens.insert(tag, claims.clone(), current.document.id);
        }
        Ok(Verification::Yes(claims, VerdictSource::Signature))
    }

    /// Fetches the key set. The future is detached from the request that starts it.
    fn fetch(
        &self,
        metadata: &MetadataCache,
        client: awc::Client,
    ) -> impl Future<Output = Result<FetchedKeySet, AuthError>> + use<> {
        let deadline = Deadline::after(self.limits.deadline);
        let metadata = metadata.get(client.clone(), Reader::task(deadline));
        let (limits, last) = (self.limits.until(deadline), self.keys.load_full());
        let (source, issuer) = (self.source.clone(), Arc::clone(&self.telemetry.issuer));
        let (is_first, unix_time) = (last.is_none(), self.telemetry.clock.unix_time());
        let saved = self.saved.clone().filter(|_| source.is_none());
        let file = KeySetFile { saved, ..KeySetFile::default() };
        let of_fetch = file.clone();
        let fetching = async move {
            match source {
                None => {
                    let last = last.as_deref();
                    fetched_key_set::fetch(metadata, &client, limits, deadline, last, of_fetch, unix_time)
                        .await
                }
                Some(source) => {
                    FetchedKeySet::read(&source.document(deadline).await?, &issuer, last.as_deref())
                }
            }
        };
        let fetching = Arc::clone(&self.telemetry).fetch("key_set", fetching);
        async move {
            match (fetching.await, file.saved, file.endpoint.get()) {
                (Err(error), Some(saved), Some(endpoint)) if is_first => {
                    Box::pin(FetchedKeySet::restore(&saved, endpoint, error)).await
                }
                (outcome, _, _) => outcome,
            }
        }
    }

    /// Checks that there are usable keys. Fetches them if the cached ones are not fresh.
    ///
    /// # Errors
    /// The failure of the fetch, or [`UpstreamFault::NoKeys`].
    pub(crate) async fn check_keys(
        &self,
        metadata: &MetadataCache,
        client: &impl Fn() -> awc::Client,
        deadline: Deadline,
    ) -> Result<(), AuthError> {
        let current = self.keys.get(|| self.fetch(metadata, client()), Reader::request(deadline)).await?;
        let is_empty = current.document.set.is_empty();
        if is_empty { Err(AuthError::upstream(UpstreamFault::NoKeys)) } else { Ok(()) }
    }

    /// Returns whether any route can accept a token now. Other tokens are not cached.
    fn fits_api(&self, claims: &Claims, metadata: &MetadataCache) -> bool {
        let check = if self.introspects { policy::check_present } else { policy::check_token };
        let now = self.telemetry.clock.unix_time();
        let current = metadata.load();
        check(claims, &self.api_rules, metadata.issuer(current.as_deref()), now).is_ok()
    }

    /// Returns the number of requests that wait for keys.
    pub(crate) fn waiting(&self) -> usize {
        self.keys.waiting()
    }

    /// Returns whether the key set never changes.
    fn has_fixed_keys(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.given().is_some())
    }

    /// Returns the usable keys of the last good key set.
    pub(crate) fn published_keys(&self) -> Vec<PublishedKey> {
        let current = self.keys.load();
        current.as_ref().map(|current| current.document.set.published()).unwrap_or_default()
    }

    /// Returns whether a key set of any age is cached.
    pub(crate) fn knows_keys(&self) -> bool {
        self.keys.load_full().is_some()
    }
}

/// Returns the `iss` of a JWT, which is **not verified**: it may only select the issuer that verifies the token. Returns
/// `None` for an opaque token.
///
/// # Errors
/// For a malformed JWT, and for one without `iss`.
pub(crate) fn unverified_issuer(token: &str) -> Result<Option<String>, TokenFault> {
    Jwt::read(token)?.map(|jwt| jwt.unverified_issuer()).transpose()
}

/// Returns whether a token has at least two dots. Every other token is opaque. [`Jwt::read`] checks the exact
/// number.
pub(crate) fn may_be_jwt(token: &str) -> bool {
    token.find('.') != token.rfind('.')
}
