//! Token introspection (RFC 7662): ask the authorization server what a token is worth.

pub(crate) mod circuit_breaker;
pub(crate) mod concurrency_limit;
mod response;
mod single_flight;

use std::{borrow::Cow, future::Future, sync::Arc, time::Duration};

use actix_web::rt;

use self::{
    circuit_breaker::{Admission, CHECK_DEADLINE, CircuitBreaker, CircuitState},
    concurrency_limit::{ConcurrencyLimit, ConcurrencyLimits},
    response::{read, unsupported},
    single_flight::SingleFlight,
};
use crate::{
    bearer::BearerToken,
    cache::{
        Age, AgedVerdict, Cache, CacheError, CacheKey, ClockReading, CustomStore, TokenKeys, Verdict,
        VerdictCache,
    },
    client_auth::ClientAssertionAudience,
    clock::Clock,
    deadline::{Deadline, timed_out},
    error::AuthError,
    issuer::http::{self, CallDeadline, CallFailure, CallLimits, Reply, Reuse},
    settings::{ClientSettings, EndpointUrl, Hooks, Settings},
    telemetry::{Telemetry, VerdictSource},
    waiting_room::WaitingRoom,
};

/// The longest time that a request waits in the queue for a call. Most callers have gone after that, and the call needs
/// time, too.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);

/// Introspection of one configuration, shared by all workers.
#[derive(Debug)]
pub(crate) struct Introspection {
    observer: Arc<Telemetry>,
    client: ClientSettings,
    pub(crate) cache: Cache,
    pub(crate) gate: ConcurrencyLimit,
    breaker: CircuitBreaker,
    /// Health checks, and whether they ended with a verdict.
    checks: Arc<SingleFlight<(), bool>>,
    /// Requests that wait for a health check. They have no place among the calls any more.
    check_room: WaitingRoom,
    limits: CallLimits,
    clock: Arc<dyn Clock>,
    /// Seconds by which our clock is behind the issuer's, which looks at the times of our assertions.
    clock_skew: i64,
    assertion_audience: ClientAssertionAudience,
    flights: Arc<SingleFlight<CacheKey, TimedVerdict>>,
}

/// A verdict, and when the authorization server was asked for it on the monotonic clock.
#[derive(Clone)]
struct TimedVerdict {
    verdict: Verdict,
    sent: Duration,
}

/// Where to ask, as the metadata has it.
#[derive(Clone)]
pub(crate) struct IntrospectionTarget {
    pub(crate) issuer: Arc<str>,
    pub(crate) endpoint: EndpointUrl,
}

impl Introspection {
    /// `None` without client credentials.
    pub(crate) fn new(
        settings: &Settings,
        hooks: &Hooks,
        limits: CallLimits,
        clock: &Arc<dyn Clock>,
        observer: &Arc<Telemetry>,
    ) -> Option<Self> {
        Some(Self {
            observer: Arc::clone(observer),
            client: settings.client.clone()?,
            cache: cache_of(settings, hooks),
            gate: ConcurrencyLimit::new(ConcurrencyLimits {
                calls: settings.tuning.max_calls,
                waiting: settings.tuning.max_waiting,
                queue_timeout: QUEUE_TIMEOUT,
            }),
            breaker: CircuitBreaker::new(Arc::clone(&observer.issuer)),
            checks: Arc::default(),
            check_room: WaitingRoom::new(settings.tuning.max_waiting),
            limits,
            clock: Arc::clone(clock),
            clock_skew: settings.rules.clock_skew,
            assertion_audience: settings.tuning.client_assertion_audience,
            flights: Arc::default(),
        })
    }

    /// The verdict that this process remembers, not older than `max_age`.
    pub(crate) fn lookup(
        &self,
        key: &CacheKey,
        now: ClockReading,
        max_age: Option<Duration>,
    ) -> Option<AgedVerdict> {
        self.cache.lookup(key, now, max_age)
    }

    /// The verdict that this process or the store has, not older than `max_age`.
    pub(crate) async fn cached(
        &self,
        key: &CacheKey,
        max_age: Option<Duration>,
        deadline: Deadline,
    ) -> Option<AgedVerdict> {
        // A store may be slow.
        deadline.wait(self.cache.get(key, || ClockReading::now(&*self.clock), max_age)).await.flatten()
    }

    /// A new verdict on this token: that of a call under way, or of one that is made now. `target` is used only if there
    /// is a call to make. The verdict is not cached past `token_expires_at`.
    pub(crate) async fn verdict<T>(
        self: &Arc<Self>,
        key: CacheKey,
        token: &BearerToken,
        token_expires_at: Option<i64>,
        client: &impl Fn() -> awc::Client,
        deadline: Deadline,
        target: impl Fn() -> T,
    ) -> Result<(AgedVerdict, VerdictSource), AuthError>
    where
        T: Future<Output = Result<IntrospectionTarget, AuthError>> + 'static,
    {
        let call = || {
            let (this, token, client, target) = (Arc::clone(self), token.clone(), client(), target());
            async move { this.introspect(key, &token, token_expires_at, &client, deadline, target).await }
        };
        let TimedVerdict { verdict, sent } =
            Box::pin(self.flights.join(key, deadline, &self.gate.room, call)).await?;
        let now = self.clock.monotonic();
        let age = Age::new(now.saturating_sub(sent), now);
        Ok((AgedVerdict { verdict, age: Some(age) }, VerdictSource::Introspection))
    }

    /// Evicts one token under all of its keys. A call under way began before: a later request makes a call anew.
    pub(crate) async fn evict(&self, names: &TokenKeys) -> Result<(), CacheError> {
        let evicted = self.cache.evict(&names.keys).await;
        for key in &names.keys {
            self.flights.forget(key);
        }
        // It may be cached under a key that is no longer known.
        if !names.is_complete && !self.clear() {
            let lost =
                "the introspection endpoint has changed so often that earlier keys are no longer known";
            return evicted.and(Err(CacheError::new(lost)));
        }
        evicted
    }

    /// Evicts every token of a subject; `None` where the store cannot be searched. Whose token a call under way is about
    /// is not known before its answer, so nobody joins any of them.
    pub(crate) fn evict_subject(&self, subject: &str) -> Option<usize> {
        let evicted = self.cache.evict_subject(subject);
        self.flights.forget_all();
        evicted
    }

    /// Forgets everything; `false` where the store cannot be emptied.
    pub(crate) fn clear(&self) -> bool {
        let cleared = self.cache.clear();
        self.flights.forget_all();
        cleared
    }

    pub(crate) fn breaker_state(&self) -> CircuitState {
        self.breaker.current(|| self.clock.monotonic())
    }

    /// One call, behind the breaker and the gate; its verdict enters the cache before anybody judges it.
    async fn introspect(
        self: &Arc<Self>,
        key: CacheKey,
        token: &BearerToken,
        token_expires_at: Option<i64>,
        client: &awc::Client,
        deadline: Deadline,
        target: impl Future<Output = Result<IntrospectionTarget, AuthError>>,
    ) -> Result<TimedVerdict, AuthError> {
        // Before the gate, so that no request queues for a server that is paused; and after, for the wait is long.
        let now = || self.clock.monotonic();
        self.breaker.check_admission(&key, now)?;
        let pass = self.gate.enter(deadline).await?;
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
            // A failure of nobody whom the breaker should know of.
            return Err(timed_out());
        }
        let ticket = self.cache.ticket(key, ClockReading::now(&*self.clock)).expiring_at(token_expires_at);
        let started = ticket.sent().monotonic;
        let call = self.observer.call("introspection");
        self.observer.in_flight(self.gate.in_flight());
        let outcome = self.call(token, client, &target, self.limits.until(deadline)).await;
        call.end(&outcome);
        if self.breaker.record(key, &outcome, now()) {
            drop(rt::spawn(self.check_health(client, &target)));
        }
        if outcome.is_ok() {
            self.breaker.record_verdict(started);
        }
        if matches!(outcome, Ok(Verdict::Active(_))) {
            self.breaker.remember(key);
        }
        // Neither a health check nor a slow store must take the place of a call.
        drop(pass);
        self.observer.in_flight(self.gate.in_flight());
        let outcome = match outcome {
            Err(failure) => Err(self.attribute(failure, client, &target).await),
            outcome => outcome,
        };
        if let Err(error) = &outcome {
            // Also if nobody waits for it any more.
            self.observer.failed(error);
        }
        self.observe_pause();
        let verdict = outcome?;
        let answer = TimedVerdict { verdict, sent: started };
        let (this, verdict) = (Arc::clone(self), answer.verdict.clone());
        // A task: past the deadline, too, it looks after a store whether the token was evicted meanwhile.
        let insert = rt::spawn(async move {
            this.cache.insert(&ticket, &verdict, || ClockReading::now(&*this.clock)).await;
        });
        let _is_in_time = deadline.wait(insert).await;
        Ok(answer)
    }

    /// Tells whose fault a failure is, where the response does not: the token's if the server gives verdicts with the same
    /// credentials at the same time, else the server's or ours.
    async fn attribute(
        self: &Arc<Self>,
        failure: AuthError,
        client: &awc::Client,
        target: &IntrospectionTarget,
    ) -> AuthError {
        let Some(evidence) = failure.could_be_the_tokens() else { return failure };
        // A verdict of a call that started before may be older than the failure: the server may have changed between.
        let failed = self.clock.monotonic();
        let known = || self.breaker.gives_verdicts(failed, evidence, self.clock.monotonic());
        let gives_verdicts = match known() {
            Some(known) => known,
            None => match self.check_health(client, target).await {
                // Others may have got verdicts meanwhile.
                Ok(gave_a_verdict) => gave_a_verdict || known() == Some(true),
                Err(error) => return error,
            },
        };
        if gives_verdicts { unsupported(&failure) } else { failure.not_the_tokens() }
    }

    /// Introspects a random token. Returns whether the server gave a verdict on it. One health check runs at a
    /// time, over all workers; other callers share its result.
    ///
    /// # Errors
    /// [`UpstreamFault::Saturated`](crate::error::UpstreamFault::Saturated) if too many wait for it.
    fn check_health(
        self: &Arc<Self>,
        client: &awc::Client,
        target: &IntrospectionTarget,
    ) -> impl Future<Output = Result<bool, AuthError>> + 'static {
        let (this, client, target) = (Arc::clone(self), client.clone(), target.clone());
        // Boxed: most calls need none.
        Box::pin(async move {
            let check = || {
                let (this, client, target) = (Arc::clone(&this), client.clone(), target.clone());
                async move { Ok(this.send_health_check(&client, &target).await) }
            };
            let deadline = Deadline::after(CHECK_DEADLINE * 2);
            this.checks.join((), deadline, &this.check_room, check).await
        })
    }

    async fn send_health_check(&self, client: &awc::Client, target: &IntrospectionTarget) -> bool {
        let started = self.clock.monotonic();
        self.breaker.start_check(started);
        let limits = CallLimits { deadline: self.limits.deadline.min(CHECK_DEADLINE), ..self.limits };
        let call = self.observer.call("health_check");
        let outcome = self.call(&BearerToken::random(), client, target, limits).await;
        call.end(&outcome);
        if let Err(error) = &outcome {
            self.observer.failed(error);
        }
        self.breaker.finish_check(started, &outcome, self.clock.monotonic());
        self.observe_pause();
        outcome.is_ok()
    }

    fn observe_pause(&self) {
        self.observer.paused(self.breaker_state() != CircuitState::Closed);
    }

    /// Introspecting twice is as good as once, so a closed kept-alive connection costs a second try: with a form of its
    /// own, since an assertion counts only once.
    async fn call(
        &self,
        token: &BearerToken,
        client: &awc::Client,
        target: &IntrospectionTarget,
        limits: CallLimits,
    ) -> Result<Verdict, AuthError> {
        let bounds = limits.starting_now();
        match self.send(token, client, target, bounds, Reuse::Allowed).await {
            Err(CallFailure::ClosedEarly(_)) => {
                read(&self.send(token, client, target, bounds, Reuse::No).await?)
            }
            outcome => read(&outcome?),
        }
    }

    async fn send(
        &self,
        token: &BearerToken,
        client: &awc::Client,
        target: &IntrospectionTarget,
        bounds: CallDeadline,
        reuse: Reuse,
    ) -> Result<Reply, CallFailure> {
        let ClientSettings { id, authentication } = &self.client;
        // Room for the token, the hint and a client's id and secret.
        let mut form = String::with_capacity(token.as_str().len() + 256);
        form.push_str("token_type_hint=access_token");
        let mut form = form_urlencoded::Serializer::new(form);
        form.append_pair("token", token.as_str());
        let audience = match self.assertion_audience {
            ClientAssertionAudience::Endpoint => Cow::from(&*target.endpoint.text),
            ClientAssertionAudience::Issuer => Cow::from(&*target.issuer),
        };
        let authorization = authentication
            .apply(id, &audience, self.clock.unix_time().saturating_add(self.clock_skew), &mut form)
            .map_err(CallFailure::Other)?;
        http::post_form(client, &target.endpoint.uri, authorization, form.finish().into(), bounds, reuse)
            .await
    }
}

fn cache_of(settings: &Settings, hooks: &Hooks) -> Cache {
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
