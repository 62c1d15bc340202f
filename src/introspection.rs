//! Token introspection (RFC 7662): ask the authorization server what a token is worth.

pub(crate) mod circuit_breaker;
pub(crate) mod concurrency_limit;
mod single_flight;

use std::{borrow::Cow, error::Error as _, future::Future, sync::Arc, time::Duration};

use actix_web::rt;
use serde_json::Value;

use self::{
    circuit_breaker::{Admission, CHECK_DEADLINE, CircuitBreaker, CircuitState},
    concurrency_limit::{ConcurrencyLimit, ConcurrencyLimits},
    single_flight::SingleFlight,
};
use crate::{
    bearer::BearerToken,
    cache::{
        self, Age, AgedVerdict, Cache, CacheError, CacheKey, ClockReading, CustomStore, TokenKeys, Verdict,
        VerdictCache,
    },
    claims::{
        Claims,
        object::{JsonObject, JsonValue, without_byte_order_mark},
        token_type,
    },
    client_auth::ClientAssertionAudience,
    clock::Clock,
    deadline::{Deadline, timed_out},
    error::{AuthError, AuthErrorKind, Evidence, SetupFault, TokenFault},
    issuer::http::{self, CallDeadline, CallFailure, CallLimits, Reply, Reuse, bad_answer},
    settings::{ClientSettings, EndpointUrl, Hooks, Settings},
    telemetry::{Telemetry, VerdictSource},
    waiting_room::WaitingRoom,
};

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
                queue_timeout: ConcurrencyLimits::default().queue_timeout,
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
        self.breaker.check(&key, now)?;
        let pass = self.gate.enter(deadline).await?;
        let target = target.await?;
        match self.breaker.try_acquire(&key, now)? {
            Admission::Call => {}
            Admission::CallAndCheck => drop(rt::spawn(self.check_health(client, &target))),
            Admission::CheckFirst => {
                let _gave_a_verdict = self.check_health(client, &target).await;
                self.breaker.check(&key, now)?;
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
        (Some(lifetime), None) => {
            let (active, inactive, bytes) =
                (settings.tuning.cache_entries, settings.tuning.cache_entries, settings.tuning.cache_bytes);
            let inactive_lifetime = settings.tuning.inactive_verdict_lifetime();
            let limits = cache::CacheLimits { lifetime, inactive_lifetime, active, inactive, bytes };
            Cache::Memory(VerdictCache::new(limits))
        }
    }
}

/// RFC 7662 section 2.2.
fn read(reply: &Reply) -> Result<Verdict, AuthError> {
    if !reply.is_ok() {
        return Err(refusal(reply));
    }
    if !reply.is_json() {
        let error = bad_answer("an introspection answer that is not JSON by its content type");
        // A gateway's page about this token, perhaps. An empty response is no page.
        let is_page = !reply.body.is_empty();
        return Err(if is_page { error.possibly_token_specific(Evidence::Current) } else { error });
    }
    parse(&reply.body)
}

/// Judges a response that is neither a verdict nor a server failure:
///
/// - 413, 414, 431, and 400 or 401 with an error code about the token (`invalid_token`, ...), are about the token;
/// - an error code about the client (`invalid_client`, ...) is about our configuration;
/// - every other one may be either (a gateway that does not like the token, a wrong endpoint). It is marked, and
///   [`Introspection::attribute`] finds out. A redirect and a 401 are more often ours, so they need a verdict of the same
///   time.
fn refusal(reply: &Reply) -> AuthError {
    let members = JsonObject::read(without_byte_order_mark(&reply.body)).ok();
    let code = members.as_ref().and_then(|members| members.text("error")).filter(|code| is_error_code(code));
    let because = match code {
        Some(code) => format!("it answered {} ({code})", reply.status),
        None => format!("it answered {}", reply.status),
    };
    let refused = AuthError::setup(SetupFault::Refused).with_source(because);
    match (reply.status, code) {
        (
            _,
            Some(
                "invalid_client" | "unauthorized_client" | "invalid_client_id" | "invalid_client_credentials",
            ),
        ) => refused,
        (413 | 414 | 431, _)
        | (400 | 401, Some("unsupported_token_type" | "invalid_token" | "inactive_token")) => {
            unsupported(&refused)
        }
        (300..=399 | 401, _) => refused.possibly_token_specific(Evidence::Current),
        _ => refused.possibly_token_specific(Evidence::Recent),
    }
}

/// The refusal as one of the token.
fn unsupported(refusal: &AuthError) -> AuthError {
    let detail = refusal.source().map_or_else(String::new, |cause| format!(": {cause}"));
    AuthError::token(TokenFault::Unsupported)
        .with_source(format!("the server does not introspect such tokens{detail}"))
}

/// Whether the server's `error` is one that the log may have: a word like those of the RFCs, which no token looks like.
fn is_error_code(code: &str) -> bool {
    (1..=40).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// `active` must be the JSON boolean: a server that answers `"true"` is not understood.
fn parse(body: &[u8]) -> Result<Verdict, AuthError> {
    let body = without_byte_order_mark(body);
    let members = JsonObject::read(body)
        .map_err(|error| bad_answer(format!("an introspection answer that is no JSON object: {error}")))?;
    match members.get("active") {
        Some(JsonValue::Other(Value::Bool(true))) => {}
        Some(JsonValue::Other(Value::Bool(false))) => return Ok(Verdict::Inactive),
        _ => return Err(bad_answer("an introspection answer whose `active` is no boolean")),
    }
    // The server made the response, so a claim of another shape is its fault and not the caller's.
    let claims = Claims::from_introspection(&members, body)
        .map_err(|claim| bad_answer(format!("an introspection answer in which {claim}")))?;
    if let Some(name) = misshapen(&members) {
        return Err(bad_answer(format!("an introspection answer in which the claim `{name}` is malformed")));
    }
    if token_type::said_by(&members).any(token_type::says_another_type) {
        return Err(AuthError::new(AuthErrorKind::InvalidToken(TokenFault::Type)));
    }
    Ok(Verdict::Active(claims))
}

/// The first of the members that [`Claims`] does not read whose type is another than its specification's.
fn misshapen(members: &JsonObject<'_>) -> Option<&'static str> {
    let is_other = |name: &str| matches!(members.get(name), Some(JsonValue::Other(_)));
    let is_no_object =
        |name: &str| members.get(name).is_some_and(|cnf| !matches!(cnf, JsonValue::Other(Value::Object(_))));
    let texts = ["token_type", "token_use", "typ"].into_iter().find(|name| is_other(name));
    texts.or_else(|| is_no_object("cnf").then_some("cnf"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::UpstreamFault;

    fn kind(body: &str) -> Result<Verdict, AuthErrorKind> {
        parse(body.as_bytes()).map_err(|error| error.kind())
    }

    #[test]
    fn active_must_be_the_boolean() {
        assert!(matches!(kind(r#"{"active":true,"sub":"alice"}"#), Ok(Verdict::Active(_))));
        assert_eq!(kind(r#"{"active":false}"#), Ok(Verdict::Inactive));
        assert_eq!(kind(r#"{"active":false,"exp":"nonsense"}"#), Ok(Verdict::Inactive));
        for broken in [
            r#"{"active":"true"}"#,
            r#"{"active":1}"#,
            r#"{"active":null}"#,
            "{}",
            r#"{"active":true,"active":true}"#,
            r#"{"active":false,"active":true}"#,
            r#"{"Active":true}"#,
            r#"[{"active":true}]"#,
            "true",
            "",
            "<html></html>",
        ] {
            assert_eq!(kind(broken), Err(AuthErrorKind::Upstream(UpstreamFault::BadAnswer)), "{broken}");
        }
    }

    #[test]
    fn a_claim_of_an_odd_shape_is_the_servers_fault() {
        for claim in [
            r#""exp":"1900000000""#,
            r#""exp":-5"#,
            r#""exp":true"#,
            r#""exp":1e400"#,
            r#""nbf":"0""#,
            r#""nbf":9223372036854775807"#,
            r#""iat":[1]"#,
            r#""iss":7"#,
            r#""sub":7"#,
            r#""client_id":{}"#,
            r#""azp":false"#,
            r#""aud":{"a":1}"#,
            r#""aud":["a",1]"#,
            r#""scope":1"#,
            r#""scp":[null]"#,
            r#""token_type":7"#,
            r#""token_use":["id"]"#,
            r#""typ":{}"#,
            r#""cnf":"x""#,
            r#""cnf":[]"#,
        ] {
            let body = format!("{{\"active\":true,{claim}}}");
            assert_eq!(kind(&body), Err(AuthErrorKind::Upstream(UpstreamFault::BadAnswer)), "{claim}");
        }
        for other in [r#""token_type":"refresh_token""#, r#""token_use":"id""#] {
            let body = format!("{{\"active\":true,{other}}}");
            assert_eq!(kind(&body), Err(AuthErrorKind::InvalidToken(TokenFault::Type)), "{other}");
        }
        let error = parse(br#"{"active":true,"sub":71234}"#).unwrap_err();
        let cause = error.source().unwrap().to_string();
        assert!(cause.contains("`sub`") && !cause.contains("71234"), "{cause}");
    }

    #[test]
    fn an_error_code_may_be_logged_only_if_it_is_a_word() {
        for code in ["invalid_client", "invalid_request", "x"] {
            assert!(is_error_code(code), "{code}");
        }
        for other in ["", "Zx9-opaque_token", "invalid client", "invalid_client\n", "é", &"a".repeat(41)] {
            assert!(!is_error_code(other), "{other}");
        }
    }

    #[test]
    fn active_is_not_among_the_claims() {
        let Ok(Verdict::Active(claims)) = kind(r#"{"active":true,"sub":"alice"}"#) else { panic!("refused") };
        assert_eq!(claims.get("active"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30_000))]

        #[test]
        fn no_bytes_panic_and_only_true_is_active(bytes in prop::collection::vec(any::<u8>(), 0..64), active in "[a-z0-9\"\\[\\]{}., -]{0,12}") {
            let _ = parse(&bytes);
            let body = format!("{{\"active\":{active}}}");
            if let Ok(Verdict::Active(_)) = parse(body.as_bytes()) {
                let flag = serde_json::from_str::<Value>(&body).unwrap();
                prop_assert_eq!(&flag["active"], &Value::Bool(true));
            }
        }
    }
}
