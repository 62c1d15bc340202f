//! Token introspection (RFC 7662): ask the authorization server what a token is worth.

use std::{borrow::Cow, future::Future, sync::Arc, time::Duration};

use actix_web::http::Uri;
use serde_json::Value;

use crate::{
    bearer::BearerToken,
    breaker::{Breaker, BreakerLimits, BreakerState},
    cache::{self, Cache, CacheError, CacheKey, CustomStore, Hit, Now, Verdict, VerdictCache},
    claims::Claims,
    client_auth::ClientAssertionAudience,
    clock::Clock,
    config::{Client, Hooks, Settings},
    deadline::{Deadline, timed_out},
    error::{AuthError, AuthErrorKind, SetupFault, TokenFault},
    flight::Flights,
    gate::{Gate, GateLimits},
    json::{Member, Members},
    observe::{Observer, Via},
    token_type,
    upstream::{self, Bounds, Failure, Limits, Reply, Reuse, bad_answer},
};

/// Introspection of one configuration, shared by all workers.
#[derive(Debug)]
pub(crate) struct Introspection {
    observer: Arc<Observer>,
    client: Client,
    pub(crate) cache: Cache,
    pub(crate) gate: Gate,
    pub(crate) breaker: Breaker,
    limits: Limits,
    clock: Arc<dyn Clock>,
    /// Seconds by which our clock is behind the issuer's, which looks at the times of our assertions.
    clock_skew: i64,
    assertion_audience: ClientAssertionAudience,
    flights: Arc<Flights<CacheKey, Verdict>>,
}

/// Where to ask, as the metadata has it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) issuer: Arc<str>,
    pub(crate) endpoint: Uri,
}

impl Introspection {
    /// `None` without client credentials.
    pub(crate) fn new(
        settings: &Settings,
        hooks: &Hooks,
        limits: Limits,
        clock: &Arc<dyn Clock>,
        observer: &Arc<Observer>,
    ) -> Option<Self> {
        Some(Self {
            observer: Arc::clone(observer),
            client: settings.client.clone()?,
            cache: cache_of(settings, hooks),
            gate: Gate::new(GateLimits {
                calls: settings.tuning.max_calls,
                waiting: settings.tuning.max_waiting,
                patience: GateLimits::default().patience,
            }),
            breaker: Breaker::new(Arc::clone(&observer.issuer), BreakerLimits::default()),
            limits,
            clock: Arc::clone(clock),
            clock_skew: settings.rules.clock_skew,
            assertion_audience: settings.tuning.client_assertion_audience,
            flights: Arc::default(),
        })
    }

    /// The verdict that this process remembers, not older than `max_age`.
    pub(crate) fn recall(&self, key: &CacheKey, now: Now, max_age: Option<Duration>) -> Option<Hit> {
        self.cache.recall(key, now, max_age)
    }

    /// The verdict that this process or the store has, not older than `max_age`.
    pub(crate) async fn cached(
        &self,
        key: &CacheKey,
        max_age: Option<Duration>,
        deadline: Deadline,
    ) -> Option<Hit> {
        // A store may be slow.
        deadline.wait(self.cache.get(key, || Now::of(&*self.clock), max_age)).await.flatten()
    }

    /// A new verdict on this token: that of a call under way, or of one that is made now. `target` is used only if there
    /// is a call to make.
    pub(crate) async fn verdict<T>(
        self: &Arc<Self>,
        key: CacheKey,
        token: &BearerToken,
        client: &impl Fn() -> awc::Client,
        deadline: Deadline,
        target: impl Fn() -> T,
    ) -> Result<(Hit, Via), AuthError>
    where
        T: Future<Output = Result<Target, AuthError>> + 'static,
    {
        let call = || {
            let (this, token, client, target) = (Arc::clone(self), token.clone(), client(), target());
            async move { this.ask(key, &token, &client, deadline, target).await }
        };
        let verdict = Box::pin(self.flights.join(key, deadline, &self.gate.room, call)).await?;
        Ok((Hit { verdict, age: Duration::ZERO }, Via::Introspection))
    }

    /// Forgets one token. A call under way began before: who comes from now on makes one of their own.
    pub(crate) async fn evict(&self, key: &CacheKey) -> Result<(), CacheError> {
        let evicted = self.cache.evict(key).await;
        self.flights.forget(key);
        evicted
    }

    /// Forgets every token of a subject; `None` where the store cannot be searched.
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

    /// One call, behind the breaker and the gate; its verdict enters the cache before anybody judges it.
    async fn ask(
        &self,
        key: CacheKey,
        token: &BearerToken,
        client: &awc::Client,
        deadline: Deadline,
        target: impl Future<Output = Result<Target, AuthError>>,
    ) -> Result<Verdict, AuthError> {
        // Before the gate, so that nobody queues up for a server that is left alone; and after, for the wait is long.
        let now = || self.clock.monotonic();
        self.breaker.check(now)?;
        let pass = self.gate.enter(deadline).await?;
        let target = target.await?;
        if deadline.time_left().is_zero() {
            // A failure of nobody whom the breaker should know of.
            return Err(timed_out());
        }
        let attempt = self.breaker.admit(now)?;
        let asked = self.cache.ticket();
        let call = self.observer.call("introspection");
        self.observer.in_flight(self.gate.in_flight());
        let outcome = self.call(token, client, &target, deadline).await;
        call.end(&outcome);
        if let Err(error) = &outcome {
            // Also if nobody waits for it any more.
            self.observer.failed(error);
        }
        attempt.record(&outcome, now);
        // A slow store must not take the place of a call.
        drop(pass);
        self.observer.in_flight(self.gate.in_flight());
        self.observer.paused(self.breaker.state() != BreakerState::Closed);
        let verdict = outcome?;
        let _is_in_time =
            deadline.wait(self.cache.insert(&key, &verdict, asked, || Now::of(&*self.clock))).await;
        Ok(verdict)
    }

    /// Introspecting twice is as good as once, so a closed kept-alive connection costs a second try: with a form of its
    /// own, since an assertion counts only once.
    async fn call(
        &self,
        token: &BearerToken,
        client: &awc::Client,
        target: &Target,
        deadline: Deadline,
    ) -> Result<Verdict, AuthError> {
        let bounds = self.limits.until(deadline).starting_now();
        match self.send(token, client, target, bounds, Reuse::Allowed).await {
            Err(Failure::ClosedEarly(_)) => read(&self.send(token, client, target, bounds, Reuse::No).await?),
            outcome => read(&outcome?),
        }
    }

    async fn send(
        &self,
        token: &BearerToken,
        client: &awc::Client,
        target: &Target,
        bounds: Bounds,
        reuse: Reuse,
    ) -> Result<Reply, Failure> {
        let Client { id, authentication } = &self.client;
        // Room for the token, the hint and a client's id and secret.
        let mut form = String::with_capacity(token.as_str().len() + 256);
        form.push_str("token_type_hint=access_token");
        let mut form = form_urlencoded::Serializer::new(form);
        form.append_pair("token", token.as_str());
        let audience = match self.assertion_audience {
            ClientAssertionAudience::Endpoint => Cow::from(target.endpoint.to_string()),
            ClientAssertionAudience::Issuer => Cow::from(&*target.issuer),
        };
        let authorization = authentication
            .apply(id, &audience, self.clock.unix_time().saturating_add(self.clock_skew), &mut form)
            .map_err(Failure::Other)?;
        upstream::post_form(client, &target.endpoint, authorization, form.finish().into(), bounds, reuse)
            .await
    }
}

fn cache_of(settings: &Settings, hooks: &Hooks) -> Cache {
    match (settings.tuning.introspection_cache, &hooks.cache) {
        (None, _) => Cache::Off,
        (Some(lifetime), Some(store)) => {
            Cache::Custom(CustomStore::new(Arc::clone(store), lifetime, CustomStore::DEADLINE))
        }
        (Some(lifetime), None) => {
            let (active, inactive, bytes) =
                (settings.tuning.cache_entries, settings.tuning.cache_entries, settings.tuning.cache_bytes);
            Cache::Memory(VerdictCache::new(cache::Limits { lifetime, active, inactive, bytes }))
        }
    }
}

/// RFC 7662 section 2.2.
fn read(reply: &Reply) -> Result<Verdict, AuthError> {
    if !reply.is_ok() {
        return Err(refusal(reply));
    }
    if !reply.is_json() {
        return Err(bad_answer("an introspection answer that is not JSON by its content type"));
    }
    parse(&reply.body)
}

/// 401 and 403 mean our own credentials, 400 and 404 our idea of the endpoint: nothing that a caller did. But some servers
/// answer so for the kind of token that they do not introspect (an encrypted JWT, say), which any caller can send.
fn refusal(reply: &Reply) -> AuthError {
    let says_unsupported = |members: Members<'_>| members.text("error") == Some("unsupported_token_type");
    if reply.status == 400 && Members::read(&reply.body).is_ok_and(says_unsupported) {
        return AuthError::token(TokenFault::Unsupported)
            .because("the server does not introspect such tokens");
    }
    let refused = AuthError::setup(SetupFault::Refused).because(format!("it answered {}", reply.status));
    // These are about our credentials or the endpoint. Others (400, 403, 413 of a gateway) a caller may have caused.
    match reply.status {
        300..=399 | 401 | 404 => refused,
        _ => refused.may_be_the_tokens(),
    }
}

/// `active` must be the JSON boolean: a server that answers `"true"` is not understood.
fn parse(body: &[u8]) -> Result<Verdict, AuthError> {
    let members = Members::read(body)
        .map_err(|error| bad_answer(format!("an introspection answer that is no JSON object: {error}")))?;
    match members.get("active") {
        Some(Member::Other(Value::Bool(true))) => {}
        Some(Member::Other(Value::Bool(false))) => return Ok(Verdict::Inactive),
        _ => return Err(bad_answer("an introspection answer whose `active` is no boolean")),
    }
    let claims = Claims::of_answer(&members, body)
        .map_err(|claim| AuthError::token(TokenFault::Malformed).because(claim))?;
    if token_type::said_by(&members).any(token_type::says_another_type) {
        return Err(AuthError::new(AuthErrorKind::InvalidToken(TokenFault::Type)));
    }
    Ok(Verdict::Active(claims))
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
    fn claims_of_an_odd_shape_are_no_token_of_ours() {
        for (body, fault) in [
            (r#"{"active":true,"exp":"1900000000"}"#, TokenFault::Malformed),
            (r#"{"active":true,"exp":-5}"#, TokenFault::Malformed),
            (r#"{"active":true,"exp":9223372036854775807}"#, TokenFault::Malformed),
            (r#"{"active":true,"exp":1e400}"#, TokenFault::Malformed),
            (r#"{"active":true,"aud":{"a":1}}"#, TokenFault::Malformed),
            (r#"{"active":true,"token_type":"refresh_token"}"#, TokenFault::Type),
            (r#"{"active":true,"token_use":"id"}"#, TokenFault::Type),
        ] {
            let seen = kind(body);
            let as_expected = match seen {
                // serde_json itself refuses a number beyond its range: a broken answer then.
                Err(AuthErrorKind::Upstream(UpstreamFault::BadAnswer)) => body.contains("1e400"),
                Err(AuthErrorKind::InvalidToken(seen)) => seen == fault,
                _ => false,
            };
            assert!(as_expected, "{body}: {seen:?}");
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
