//! Which validator takes a token: a JWT is validated here, or introspected if the settings say so; everything else is
//! opaque and introspected.

pub(crate) mod introspection;
pub(crate) mod jwt;
pub(crate) mod local;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use self::{
    introspection::{Introspection, Target},
    local::Local,
};
use crate::{
    bearer::BearerToken,
    cache::{Hit, Verdict},
    claims::Claims,
    clock::Clock,
    config::{Hooks, Settings},
    error::{AuthError, SetupFault, TokenFault},
    gate::Gate,
    metadata::{Known, KnownMetadata},
    observe::Via,
    refresh::Dated,
    status::{Introspecting, Status},
    upstream::Limits,
};

/// A token that the issuer stands for. Nothing of our policy has been looked at yet.
#[derive(Clone, Debug)]
pub(crate) struct Validated {
    pub(crate) claims: Claims,
    /// The metadata, with the issuer as it is spelled there.
    pub(crate) known: Arc<Dated<Known>>,
    /// How old the verdict is.
    pub(crate) age: Duration,
    pub(crate) via: Via,
}

#[derive(Debug)]
pub(crate) struct Validator {
    pub(crate) metadata: KnownMetadata,
    pub(crate) introspection: Option<Arc<Introspection>>,
    pub(crate) local: Option<Local>,
    warned_of_opaque_tokens: AtomicBool,
}

impl Validator {
    pub(crate) fn new(settings: &Settings, hooks: &Hooks, clock: &Arc<dyn Clock>) -> Self {
        let limits = Limits {
            deadline: settings.tuning.response_timeout,
            max_body: settings.tuning.max_response_size,
        };
        Self {
            metadata: KnownMetadata::new(settings, limits, Arc::clone(clock)),
            introspection: Introspection::new(settings, hooks, limits, clock).map(Arc::new),
            local: (!settings.tuning.introspect_jwt_tokens)
                .then(|| Local::new(settings, limits, Arc::clone(clock))),
            warned_of_opaque_tokens: AtomicBool::new(false),
        }
    }

    /// Validates a token by itself: a signature that verifies, or the issuer's word that it is active. `client` gives
    /// this worker's HTTP client, and is asked only if there is a call to make.
    pub(crate) async fn validate(
        &self,
        token: &BearerToken,
        max_age: Option<Duration>,
        client: impl Fn() -> awc::Client,
    ) -> Result<Validated, AuthError> {
        // What is remembered needs no fresh metadata, and so outlives an outage of the issuer.
        let known = match self.metadata.last_known() {
            Some(known) => known,
            None => self.metadata.get(client()).await?,
        };
        let key = known.document.key(token);
        // A server without published keys has no JWTs that we could validate: they are opaque to us.
        if let Some(local) = &self.local
            && known.document.metadata.jwks_uri.is_some()
            && let Some((claims, via)) = local.validate(key, token.as_str(), &self.metadata, &client).await?
        {
            return Ok(Validated { claims, known, age: Duration::ZERO, via });
        }
        let Some(introspection) = &self.introspection else { return Err(self.unsupported()) };
        let target = || {
            let fresh = self.metadata.get(client());
            async move { Target::of(&fresh.await?.document) }
        };
        let (Hit { verdict, age }, via) = introspection.verdict(key, token, max_age, &client, target).await?;
        match verdict {
            Verdict::Active(claims) => Ok(Validated { claims, known, age, via }),
            Verdict::Inactive => Err(AuthError::token(TokenFault::Inactive)),
        }
    }

    pub(crate) fn status(&self) -> Status {
        let introspection = self.introspection.as_ref();
        let count =
            |count: fn(&Gate) -> usize| introspection.map_or(0, |introspection| count(&introspection.gate));
        Status {
            metadata_known: self.metadata.last_known().is_some(),
            keys_known: self.local.as_ref().is_some_and(Local::knows_keys),
            introspection: introspection.map_or(Introspecting::Off, |known| known.breaker.state().into()),
            calls_in_flight: count(Gate::in_flight),
            most_calls_in_flight: count(Gate::most_in_flight),
            calls_waiting: count(Gate::waiting),
            cached_verdicts: introspection.map_or(0, |introspection| introspection.cache.len()),
        }
    }

    pub(crate) async fn evict(&self, token: &BearerToken) {
        // Without metadata nothing was ever remembered.
        let Some(known) = self.metadata.last_known() else { return };
        let key = known.document.key(token);
        if let Some(local) = &self.local {
            local.evict(&key);
        }
        if let Some(introspection) = &self.introspection {
            introspection.evict(&key).await;
        }
    }

    pub(crate) fn evict_subject(&self, subject: &str) {
        if let Some(local) = &self.local {
            local.evict_subject(subject);
        }
        if let Some(introspection) = &self.introspection
            && introspection.cache.evict_subject(subject).is_none()
        {
            log::warn!(target: crate::LOG, "the cache store cannot be searched for a subject: its entries stay");
        }
    }

    pub(crate) fn clear(&self) {
        if let Some(local) = &self.local {
            local.clear();
        }
        if let Some(introspection) = &self.introspection
            && !introspection.cache.clear()
        {
            log::warn!(target: crate::LOG, "the cache store cannot be emptied from here: its entries stay");
        }
    }

    fn unsupported(&self) -> AuthError {
        if !self.warned_of_opaque_tokens.swap(true, Ordering::Relaxed) {
            log::warn!(
                target: crate::LOG,
                "an opaque token came, but there are no client credentials to introspect it with: it is refused, \
                 and so will be all others"
            );
        }
        AuthError::token(TokenFault::Unsupported).because("introspection is not configured")
    }
}

impl Target {
    fn of(known: &Known) -> Result<Self, AuthError> {
        let endpoint = known.metadata.introspection_endpoint.clone();
        let endpoint = endpoint.ok_or_else(|| {
            AuthError::setup(SetupFault::Endpoint)
                .because("the metadata has no introspection_endpoint that we may use")
        })?;
        Ok(Self { issuer: Arc::clone(&known.issuer), endpoint })
    }
}
