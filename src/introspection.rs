//! Token introspection (RFC 7662): fetches the verdict on a token from the authorization server.

mod cached;
mod call;
pub(crate) mod circuit_breaker;
pub(crate) mod concurrency_limit;
mod health_check;
mod outage_grace;
mod refresh_ahead;
mod response;
mod shared;
pub(crate) mod single_flight;

use std::{cell::Cell, future::Future, sync::Arc, time::Duration};

use actix_web::rt;

use self::{
    circuit_breaker::{Admission, CircuitBreaker, CircuitState},
    concurrency_limit::{ConcurrencyLimit, ConcurrencyLimits},
    response::unsupported,
    shared::SharedVerdicts,
    single_flight::SingleFlight,
};
use crate::{
    bearer::BearerToken,
    cache::{
        Age, AgedVerdict, Cache, CacheError, CacheKey, ClockReading, CustomStore, Requested, Ticket,
        TokenKeys, Verdict, VerdictCache,
    },
    client_auth::ClientAssertionAudience,
    clock::Clock,
    deadline::{Deadline, timed_out},
    error::AuthError,
    issuer::http::CallLimits,
    jwt::VerifiedJwt,
    revocation::Revocations,
    settings::{ClientSettings, EndpointUrl, Hooks, RequestExtras, Settings},
    shared_store::Replica,
    telemetry::{Telemetry, VerdictSource, log_throttle::LogThrottle},
    waiting_room::WaitingRoom,
};

/// The longest time that a request waits in the queue for a call. Most callers do not wait longer, and the call needs
/// time too.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);

/// The kind of call, for the last failure. A health check is of the same kind.
const CALL: &str = "introspection";

/// Introspection of one configuration, shared by all workers.
#[derive(Debug)]
pub(crate) struct Introspection {
    telemetry: Arc<Telemetry>,
    client: ClientSettings,
    pub(crate) cache: Cache,
    pub(crate) concurrency_limit: ConcurrencyLimit,
    breaker: CircuitBreaker,
    outage_grace: Duration,
    grace_warnings: LogThrottle,
    /// Runs one health check at a time. The result is `true` if the check ended with a verdict.
    checks: Arc<SingleFlight<(), bool>>,
    /// Runs one check of the credentials at a time. The result is that of the call.
    credential_checks: Arc<SingleFlight<(), Result<(), AuthError>>>,
    /// The requests that wait for a health check. They are not counted as calls.
    check_room: WaitingRoom,
    limits: CallLimits,
    clock: Arc<dyn Clock>,
    /// The seconds by which the issuer's clock is ahead of this one. The issuer checks the times of client
    /// assertions.
    clock_skew: i64,
    assertion_audience: ClientAssertionAudience,
    extras: RequestExtras,
    single_flight: Arc<SingleFlight<CacheKey, TimedVerdict>>,
    pub(crate) revocations: Revocations,
    shared: Option<SharedVerdicts>,
    /// The shared store. While its records are not read, cached verdicts are used for a short time only.
    replica: Option<Arc<Replica>>,
}

/// A verdict, and its age, which started when its call was sent.
#[derive(Clone)]
struct TimedVerdict {
    verdict: Verdict,
    age: Age,
    /// The number of revocation records at that time.
    generation: u64,
    /// Whether another replica requested it.
    is_stored: bool,
}

/// A token, and the requirements for its verdict.
#[derive(Clone, Copy)]
pub(crate) struct Query<'t> {
    pub(crate) token: &'t BearerToken,
    /// The token itself, if it is a JWT: the verdict is not cached past its expiry.
    pub(crate) jwt: Option<&'t VerifiedJwt>,
    /// The longest age of a verdict of the shared store.
    pub(crate) max_age: Option<Duration>,
}

/// A call that introspects a token.
struct IntrospectionCall {
    key: CacheKey,
    token: BearerToken,
    /// The token itself, if it is a JWT: the verdict is not cached past its expiry.
    jwt: Option<VerifiedJwt>,
    client: awc::Client,
    deadline: Deadline,
    purpose: CallPurpose,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CallPurpose {
    /// A request waits for the verdict.
    Request,
    /// A verdict is refreshed before it expires.
    RefreshAhead,
}

/// The introspection endpoint of the metadata.
#[derive(Clone)]
pub(crate) struct IntrospectionTarget {
    pub(crate) issuer: Arc<str>,
    pub(crate) endpoint: EndpointUrl,
}

impl Introspection {
    /// Returns `None` without client credentials.
    pub(crate) fn new(
        settings: &Settings,
        hooks: &Hooks,
        limits: CallLimits,
        clock: &Arc<dyn Clock>,
        telemetry: &Arc<Telemetry>,
        revocations: &Revocations,
        replica: Option<&Arc<Replica>>,
    ) -> Option<Self> {
        Some(Self {
            telemetry: Arc::clone(telemetry),
            client: settings.client.clone()?,
            cache: new_cache(settings, hooks),
            concurrency_limit: ConcurrencyLimit::new(ConcurrencyLimits {
                calls: settings.tuning.max_calls,
                waiting: settings.tuning.max_waiting,
                queue_timeout: QUEUE_TIMEOUT,
            }),
            breaker: CircuitBreaker::new(Arc::clone(&telemetry.issuer)),
            outage_grace: settings.tuning.outage_grace,
            grace_warnings: LogThrottle::default(),
            checks: SingleFlight::for_introspections(telemetry, "health_check"),
            credential_checks: SingleFlight::for_introspections(telemetry, "health_check"),
            check_room: WaitingRoom::new(settings.tuning.max_waiting),
            limits,
            clock: Arc::clone(clock),
            clock_skew: settings.rules.clock_skew,
            assertion_audience: settings.tuning.client_assertion_audience,
            extras: settings.request_extras.clone(),
            single_flight: SingleFlight::for_introspections(telemetry, CALL),
            revocations: revocations.clone(),
            shared: replica.and_then(|replica| SharedVerdicts::new(settings, replica)),
            replica: replica.cloned(),
        })
    }

    /// Returns a new verdict on this token: joins the call in flight, or makes one. `target` is used only for a new
    /// call.
    pub(crate) async fn verdict<T>(
        self: &Arc<Self>,
        key: CacheKey,
        query: Query<'_>,
        client: &impl Fn() -> awc::Client,
        deadline: Deadline,
        target: impl Fn() -> T,
    ) -> Result<(AgedVerdict, VerdictSource), AuthError>
    where
        T: Future<Output = Result<IntrospectionTarget, AuthError>> + 'static,
    {
        let Query { token, jwt, max_age } = query;
        let uses_store = Cell::new(true);
        let call = || {
            let (this, token, client, target) = (Arc::clone(self), token.clone(), client(), target());
            let (jwt, uses_store) = (jwt.cloned(), uses_store.get());
            let call = IntrospectionCall { key, token, jwt, client, deadline, purpose: CallPurpose::Request };
            async move {
                if uses_store {
                    this.share_or_introspect(call, max_age, target).await
                } else {
                    this.introspect(call, target).await
                }
            }
        };
        loop {
            let room = &self.concurrency_limit.room;
            let outcome = Box::pin(self.single_flight.join(key, deadline, room, &call)).await?;
            let TimedVerdict { verdict, age, generation, is_stored } = outcome;
            let now = ClockReading::now(&*self.clock);
            let is_too_old = max_age.is_some_and(|max_age| age.at(now.monotonic) > max_age);
            let fresh = AgedVerdict { verdict, requested: Requested::Here(generation), age: Some(age) };
            // After a record that was added during the call, a new call is necessary. A request that joined a call may need a
            // newer verdict than the store has.
            if is_stored && is_too_old {
                uses_store.set(false);
            } else if !self.is_stale(token, &fresh, now.unix) {
                let via = if is_stored { VerdictSource::SharedStore } else { VerdictSource::Introspection };
                return Ok((fresh, via));
            }
        }
    }

    /// Evicts one token under all of its keys. Later requests do not join a call in flight, because it started
    /// before the eviction.
    pub(crate) async fn evict(&self, token_keys: &TokenKeys) -> Result<(), CacheError> {
        let evicted = self.cache.evict(&token_keys.keys).await;
        for key in &token_keys.keys {
            self.single_flight.detach(key);
        }
        // The verdict may be in the store under a key that is no longer known.
        if !token_keys.is_complete && self.cache.may_wait() {
            let lost =
                "the introspection endpoint has changed so often that earlier keys are no longer known";
            return evicted.and(Err(CacheError::new(lost)));
        }
        evicted
    }

    /// Ensures that later requests join no call in flight, because a record was added for an unknown number of tokens.
    pub(crate) fn detach_all(&self) {
        self.single_flight.detach_all();
    }

    pub(crate) fn breaker_state(&self) -> CircuitState {
        self.breaker.current(|| self.clock.monotonic())
    }

    /// Makes one call, if the circuit breaker and the concurrency limit allow it. Its verdict is cached before the
    /// policy is applied.
    async fn introspect(
        self: &Arc<Self>,
        call: IntrospectionCall,
        target: impl Future<Output = Result<IntrospectionTarget, AuthError>>,
    ) -> Result<TimedVerdict, AuthError> {
        let IntrospectionCall { key, ref token, ref jwt, ref client, deadline, purpose } = call;
        // Checked before the wait for a permit, so that no request queues for a paused server. Checked again after
        // it, because the wait may be long.
        let now = || self.clock.monotonic();
        self.breaker.check_admission(&key, now)?;
        let permit = match purpose {
            CallPurpose::Request => self.concurrency_limit.enter(deadline).await?,
            CallPurpose::RefreshAhead => self.enter_for_refresh()?,
        };
        let target = target.await?;
        match self.breaker.try_acquire(&key, now)? {
            Admission::Call => {}
            Admission::CallAndCheck => drop(rt::spawn(self.check_health(client, &target))),
            Admission::CheckFirst => {
                let _gave_a_verdict = self.check_health(client, &target).await;
                self.breaker.check_admission(&key, now)?;
            }
        }
        if deadline.time_left().is_zero() {
            // Not recorded: the server was not called.
            return Err(timed_out());
        }
        let sent = ClockReading::now(&*self.clock);
        let ticket = Ticket::new(key, sent, self.revocations.generation())
            .expiring_at(jwt.as_ref().and_then(|jwt| jwt.expires_at));
        let read_until = self.replica.as_ref().and_then(|replica| replica.read_until());
        let started = ticket.sent().monotonic;
        let call = self.telemetry.call("introspection");
        self.telemetry.in_flight(self.concurrency_limit.in_flight());
        let outcome = self.call(token, client, &target, self.limits.until(deadline)).await;
        call.end(&outcome);
        if self.breaker.record(key, &outcome, now()) {
            drop(rt::spawn(self.check_health(client, &target)));
        }
        if outcome.is_ok() {
            self.breaker.record_verdict(started);
            self.telemetry.succeeded(CALL, started);
        }
        if matches!(outcome, Ok(Verdict::Active(_))) {
            self.breaker.record_active(key);
        }
        // Neither a health check nor a slow store may use up a permit.
        drop(permit);
        self.telemetry.in_flight(self.concurrency_limit.in_flight());
        let outcome = match outcome {
            Err(failure) => Err(self.attribute(failure, client, &target).await),
            outcome => outcome,
        };
        if let Err(error) = &outcome {
            // Reported even if no request waits for the result any more.
            self.telemetry.call_failed(CALL, error);
        }
        self.observe_pause();
        let verdict = outcome?;
        if let Verdict::Active(claims) = &verdict {
            claims.record_memo().set_requested_at(ticket.generation());
        }
        self.after_call(&ticket, &verdict, read_until);
        let age = Age::new(Duration::ZERO, started);
        let timed = TimedVerdict { verdict, age, generation: ticket.generation(), is_stored: false };
        self.insert(ticket, token, &timed.verdict, deadline).await;
        Ok(timed)
    }

    /// Decides whether the token caused a failure that the response does not explain. The token is the cause if the
    /// server gives verdicts with the same credentials at the same time. Otherwise the server or the configuration is
    /// the cause.
    async fn attribute(
        self: &Arc<Self>,
        failure: AuthError,
        client: &awc::Client,
        target: &IntrospectionTarget,
    ) -> AuthError {
        let Some(evidence) = failure.could_be_the_tokens() else { return failure };
        // The verdict of an earlier call may be older than the failure, and the server may have changed in between.
        let failed = self.clock.monotonic();
        let gives_verdicts = || self.breaker.gives_verdicts(failed, evidence, self.clock.monotonic());
        let gives_verdicts = match gives_verdicts() {
            Some(known) => known,
            None => match self.check_health(client, target).await {
                // Other calls may have returned verdicts in the meantime.
                Ok(gave_a_verdict) => gave_a_verdict || gives_verdicts() == Some(true),
                Err(error) => return error,
            },
        };
        if gives_verdicts { unsupported(&failure) } else { failure.not_the_tokens() }
    }

    fn observe_pause(&self) {
        self.telemetry.paused(self.breaker_state() != CircuitState::Closed);
    }
}

fn new_cache(settings: &Settings, hooks: &Hooks) -> Cache {
    match (settings.tuning.introspection_cache, &hooks.cache) {
        (None, _) => Cache::Off,
        (Some(lifetime), Some(store)) => {
            let inactive = settings.tuning.inactive_verdict_lifetime();
            let store = Arc::clone(store);
            Cache::Custom(CustomStore::new(store, lifetime, inactive, CustomStore::DEADLINE))
        }
        (Some(_), None) => Cache::Memory(VerdictCache::new(settings.tuning.cache_limits())),
    }
}
