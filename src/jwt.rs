//! Validates JWTs locally with the published keys of the issuer. The key set is refreshed, and verified tokens are
//! cached as long as their key set is current.

mod header;
pub(crate) mod key;
pub(crate) mod key_set;
mod shape;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod token;
pub(crate) mod verified_tokens;

use std::{future::Future, sync::Arc, time::Duration};

use aws_lc_rs::digest;

use self::{
    key::Unusable,
    key_set::{KeySet, SkippedKey},
    token::{Jwt, JwtRules, MAX_TOKEN},
    verified_tokens::{KeySetId, TokenTag, VerifiedTokens},
};
use crate::{
    claims::Claims,
    deadline::Deadline,
    error::{AuthError, AuthErrorKind, TokenFault, UpstreamFault},
    issuer::{
        IssuerMetadata, MetadataCache,
        http::{self, CallLimits, bad_answer},
        refresh::{Document, Fetched, Lifetimes, Reader, RefreshingCache},
    },
    policy,
    settings::{EndpointUrl, Settings},
    telemetry::{Telemetry, VerdictSource},
};

#[derive(Debug)]
pub(crate) struct JwtValidator {
    keys: Arc<RefreshingCache<FetchedKeySet>>,
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
    /// The token is opaque, or it is a JWT that must be introspected too. A verified JWT expires at this time by
    /// the local clock.
    Introspect { expires_at: Option<i64> },
}

/// The result of verifying a JWT.
enum Verification {
    Yes(Claims, VerdictSource),
    /// There are no keys: they cannot be fetched and no usable ones are cached, or the key set is empty.
    NoKeys(AuthError),
}

/// A key set, and the digest that identifies it.
#[derive(Debug)]
struct FetchedKeySet {
    set: KeySet,
    id: KeySetId,
}

impl Document for FetchedKeySet {}

/// Returns [`Verification::NoKeys`] for an error of a fetch. A full waiting room gives no information about the
/// keys.
fn no_keys(error: AuthError) -> Result<Verification, AuthError> {
    let is_saturated = error.kind() == AuthErrorKind::Upstream(UpstreamFault::Saturated);
    if is_saturated { Err(error) } else { Ok(Verification::NoKeys(error)) }
}

impl JwtValidator {
    pub(crate) fn new(settings: &Settings, limits: CallLimits, telemetry: &Arc<Telemetry>) -> Self {
        let introspects = settings.tuning.introspect_jwt_tokens;
        let lifetimes = Lifetimes {
            max_age: settings.tuning.jwks_lifetime,
            stale_if_error: settings.tuning.max_stale,
            min_refetch_interval: settings.tuning.jwks_cooldown,
        };
        Self {
            keys: Arc::new(RefreshingCache::new(
                "key_set",
                lifetimes,
                settings.tuning.max_waiting,
                Arc::clone(telemetry),
            )),
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
    /// policy. A JWT that is introspected too is verified first, so that only tokens of the issuer cause a call.
    pub(crate) async fn validate(
        &self,
        tag: Option<TokenTag>,
        token: &str,
        metadata: &MetadataCache,
        client: &impl Fn() -> awc::Client,
        deadline: Deadline,
    ) -> Result<JwtOutcome, AuthError> {
        let Some(jwt) = Jwt::read(token).map_err(AuthError::token)? else {
            return Ok(JwtOutcome::Introspect { expires_at: None });
        };
        // The header is checked before the keys are fetched, because the result does not depend on them.
        jwt.check_header(&self.rules).map_err(AuthError::token)?;
        match self.verify(&jwt, tag, metadata, client, deadline).await? {
            Verification::Yes(claims, _) if self.introspects => {
                let now = self.telemetry.clock.unix_time();
                let current = metadata.load();
                policy::check_present(&claims, &self.api_rules, metadata.issuer(current.as_deref()), now)?;
                let skew = self.api_rules.clock_skew;
                let expires_at = claims.expires_at().map(|expires_at| expires_at.saturating_sub(skew));
                Ok(JwtOutcome::Introspect { expires_at })
            }
            Verification::Yes(claims, via) => Ok(JwtOutcome::Verified(claims, via)),
            // Without keys, introspection alone validates the token completely.
            Verification::NoKeys(_) if self.introspects => Ok(JwtOutcome::Introspect { expires_at: None }),
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
        if let Err(fault @ (TokenFault::UnknownKey | TokenFault::Signature)) = outcome {
            match self.keys.refetch_if_same(&current, fetch, deadline).await {
                Ok(Some(newer)) => {
                    current = newer;
                    outcome = jwt.verify(&current.document.set, &self.rules);
                }
                // The key may be new. Whether it is cannot be decided while the fetch fails.
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
        let fetching = fetch(metadata, client, self.limits, deadline, self.keys.load_full());
        Arc::clone(&self.telemetry).fetch("key_set", fetching)
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

    /// Returns whether a key set is cached, whatever its age.
    pub(crate) fn knows_keys(&self) -> bool {
        self.keys.load_full().is_some()
    }

    /// Evicts one token.
    pub(crate) fn evict(&self, token: &str) {
        if let Some(verified_tokens) = &self.verified_tokens {
            verified_tokens.evict(token);
        }
    }

    /// Evicts every token.
    pub(crate) fn clear(&self) {
        if let Some(verified_tokens) = &self.verified_tokens {
            verified_tokens.clear();
        }
    }

    /// Evicts every token of a subject.
    pub(crate) fn evict_subject(&self, subject: &str) {
        if let Some(verified_tokens) = &self.verified_tokens {
            verified_tokens.evict_subject(subject);
        }
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

/// Fetches the key set from the `jwks_uri` of the current metadata. The future is detached from the request that
/// starts it.
async fn fetch(
    metadata: impl Future<Output = Result<Arc<Fetched<IssuerMetadata>>, AuthError>>,
    client: awc::Client,
    limits: CallLimits,
    deadline: Deadline,
    last_key_set: Option<Arc<Fetched<FetchedKeySet>>>,
) -> Result<FetchedKeySet, AuthError> {
    let endpoint = metadata.await?.document.metadata.jwks_uri.require("jwks_uri")?.clone();
    let reply = http::get(&client, &endpoint.uri, limits.until(deadline)).await;
    let reply = reply.map_err(|error| error.with_url(&endpoint))?;
    // The content type is ignored, because static hosting may serve `text/plain`. The content is validated instead.
    if !reply.is_ok() {
        return Err(bad_answer(format!("no key set at {endpoint} (status {})", reply.status)));
    }
    let set =
        KeySet::parse(&reply.body).map_err(|error| bad_answer(error.to_string()).with_url(&endpoint))?;
    // Any caller can cause a fetch, so a key is reported only once while it stays in the set.
    let reported = last_key_set.as_ref().map_or(&[][..], |last| last.document.set.reported());
    for skipped in set.reported().iter().filter(|skipped| !reported.contains(skipped)) {
        log_skipped(skipped, &endpoint);
    }
    let (keys, skipped) = (set.len(), set.skipped());
    log::debug!(
        target: crate::LOG, event = "keys_fetched", keys, skipped;
        "key set: {keys} keys, {skipped} skipped ({endpoint})"
    );
    let mut id = [0; 32];
    id.copy_from_slice(digest::digest(&digest::SHA256, &reply.body).as_ref());
    Ok(FetchedKeySet { set, id })
}

/// Logs a key that is not used. Keys for encryption and keys of new types are usual. A malformed key was meant to
/// be used, and its tokens are rejected.
fn log_skipped(SkippedKey { kid, reason }: &SkippedKey, endpoint: &EndpointUrl) {
    let level = if *reason == Unusable::Malformed { log::Level::Warn } else { log::Level::Debug };
    let kid = kid.as_str();
    log::log!(
        target: crate::LOG, level, event = "key_skipped", kid;
        "a key of the key set cannot be used: {reason} (kid {kid:?}, {endpoint})"
    );
}
