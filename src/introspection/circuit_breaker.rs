//! The circuit breaker of introspection: while the authorization server is down no calls are made, and requests that need
//! one are refused at once.
//!
//! One token is not evidence about the server: some servers fail for particular tokens, and anybody can send those.
//! So failures of callers' tokens only raise a suspicion, and a health check (the introspection of a random token)
//! confirms or clears it. A token that fails repeatedly backs off alone.
//!
//! While the breaker is open and the server responds to the health check with a failure, a few calls are still made. Some
//! servers fail for every unknown token, so only a caller's token can show that they work.

mod backoff;
mod reduced_rate;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use self::{backoff::Backoff, reduced_rate::ReducedRate};
use crate::{
    cache::CacheKey,
    error::{AuthError, AuthErrorKind, Evidence, UpstreamFault},
    telemetry::{IntrospectionState, log_throttle::LogThrottle},
};

/// How many failures since the last success raise a suspicion, and how many failed connections open the breaker.
const SUSPICIOUS_FAILURES: u32 = 3;
const FAILED_CONNECTIONS: u32 = 5;
/// How long the breaker stays open: the first time, and at most. It is twice as long after each health check that failed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// How much of a server's `Retry-After` is believed: a wrong one must not close this API for a day.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
/// A success counts against a failed health check for this long: some servers fail for every unknown token.
const SUCCESS_COUNTS: Duration = Duration::from_secs(2);
/// A verdict counts as [`Evidence::Recent`] for this long: some servers refuse every unknown token, also that of a health
/// check.
const VERDICT_COUNTS: Duration = Duration::from_secs(10);
/// The time between two health checks while the breaker is closed.
const BETWEEN_CHECKS: Duration = Duration::from_secs(1);
/// A health check that is older was abandoned: its worker has stopped, or is blocked.
const CHECK_ABANDONED: Duration = Duration::from_secs(4);
/// The deadline of a health check.
pub(crate) const CHECK_DEADLINE: Duration = Duration::from_secs(2);

/// The phase of a [`CircuitBreaker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CircuitState {
    /// Calls go through.
    Closed,
    /// Calls are refused at once with [`UpstreamFault::Paused`].
    Open,
    /// The pause is over and a health check is under way; calls are refused until it ends.
    HalfOpen,
}

impl From<CircuitState> for IntrospectionState {
    fn from(state: CircuitState) -> Self {
        match state {
            CircuitState::Closed => Self::Calling,
            CircuitState::Open => Self::Paused,
            CircuitState::HalfOpen => Self::Probing,
        }
    }
}

/// Permission to introspect a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Call,
    /// The pause is over: the caller starts the health check, and makes its own call meanwhile.
    CallAndCheck,
    /// The same for a token that failed lately. It is no evidence, so the health check must end first.
    CheckFirst,
}

/// The circuit breaker of one configuration, shared by all workers.
///
/// Before a request queues at the [`ConcurrencyLimit`](crate::introspection::concurrency_limit::ConcurrencyLimit), call
/// [`check_admission`](Self::check_admission), so that no request queues while calls are paused. After the wait, call
/// [`try_acquire`](Self::try_acquire), because the state may have changed.
#[derive(Debug)]
pub(crate) struct CircuitBreaker {
    /// As configured, for the log.
    issuer: Arc<str>,
    state: Mutex<Circuit>,
    warnings: LogThrottle,
}

#[derive(Debug)]
struct Circuit {
    phase: Phase,
    /// The last response that was not a server failure.
    last_success: Option<Duration>,
    /// Failures since the last success that a token may have caused.
    failures: u32,
    /// Connections that failed since the last success, so that no token was sent.
    failed_connections: u32,
    /// The last verdict.
    last_verdict: Option<Duration>,
    /// The latest start of a call that ended with a verdict.
    last_verdict_started: Option<Duration>,
    /// The start of the health check under way.
    check_started: Option<Duration>,
    last_check: Option<LastCheck>,
    backoff: Backoff,
    reduced_rate: ReducedRate,
}

#[derive(Clone, Copy, Debug)]
struct LastCheck {
    started: Duration,
    gave_a_verdict: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    Open {
        until: Duration,
        /// The length of this pause without a `Retry-After`. The next health check that fails doubles it.
        base_pause: Duration,
        /// Whether calls are made at a [`ReducedRate`].
        is_reduced: bool,
        /// Whether the start of the pause was logged, so that its end must be logged too.
        is_logged: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct OpenPeriod {
    base_pause: Duration,
    /// The time for which the breaker is open: the base pause, or a `Retry-After`.
    lasting: Duration,
    is_reduced: bool,
}

impl OpenPeriod {
    fn new(base_pause: Duration) -> Self {
        Self { base_pause, lasting: base_pause, is_reduced: false }
    }
}

/// The meaning of a call's result for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallOutcome {
    /// The server answers.
    Alive,
    /// No connection was made, so no token was sent.
    NoConnection,
    /// The server failed after it got the token, perhaps with a `Retry-After`.
    Failing(Option<Duration>),
    /// The server got the token and did not answer in time.
    TimedOut,
    /// The response is malformed, which shows nothing about the server.
    Unknown,
}

impl CallOutcome {
    /// - A response of 408, 429 or 5xx, a timeout and a connection that broke are failures.
    /// - A broken response is neither a failure nor a success: it may belong to a single token.
    /// - Every other response is a success, also one that refuses our credentials: a pause would hide that.
    fn from_result<T>(result: &Result<T, AuthError>) -> Self {
        let Err(error) = result else { return Self::Alive };
        match error.kind() {
            AuthErrorKind::Upstream(UpstreamFault::Unreachable | UpstreamFault::TimedOut)
                if error.is_before_sending() =>
            {
                Self::NoConnection
            }
            AuthErrorKind::Upstream(UpstreamFault::Failing) => Self::Failing(clamped(error.retry_after())),
            AuthErrorKind::Upstream(UpstreamFault::Unreachable) => Self::Failing(None),
            AuthErrorKind::Upstream(UpstreamFault::TimedOut) => Self::TimedOut,
            AuthErrorKind::Upstream(_) => Self::Unknown,
            _ => Self::Alive,
        }
    }
}

/// Whether the server responded, although with a failure.
fn is_response<T>(result: &Result<T, AuthError>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == AuthErrorKind::Upstream(UpstreamFault::Failing))
}

fn clamped(retry_after: Option<Duration>) -> Option<Duration> {
    retry_after.map(|asked| asked.min(LONGEST_RETRY_AFTER)).filter(|asked| !asked.is_zero())
}

impl CircuitBreaker {
    pub(crate) fn new(issuer: impl Into<Arc<str>>) -> Self {
        let state = Circuit {
            phase: Phase::Closed,
            last_success: None,
            failures: 0,
            failed_connections: 0,
            last_verdict: None,
            last_verdict_started: None,
            check_started: None,
            last_check: None,
            backoff: Backoff::new(),
            reduced_rate: ReducedRate::new(),
        };
        Self { issuer: issuer.into(), state: Mutex::new(state), warnings: LogThrottle::default() }
    }

    /// Checks whether [`try_acquire`](Self::try_acquire) would admit a call.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub(crate) fn check_admission(
        &self,
        key: &CacheKey,
        now: impl FnOnce() -> Duration,
    ) -> Result<(), AuthError> {
        let mut state = self.state();
        if state.admits_all() {
            return Ok(());
        }
        let now = now();
        let Err(error) = state.may_call(key, now) else { return Ok(()) };
        let is_known = state.reduced_rate.is_known(key);
        let may_call =
            state.has_reduced_rate(key, is_known, now) && state.reduced_rate.may_allow(is_known, now);
        if may_call { Ok(()) } else { Err(error) }
    }

    /// Asks to introspect the token of this key. Its result must be reported to [`record`](Self::record).
    ///
    /// # Errors
    /// [`UpstreamFault::Paused`] with the time that is left, while the breaker is open or this token backs off.
    pub(crate) fn try_acquire(
        &self,
        key: &CacheKey,
        now: impl FnOnce() -> Duration,
    ) -> Result<Admission, AuthError> {
        let mut state = self.state();
        if state.admits_all() {
            return Ok(Admission::Call);
        }
        let now = now();
        if let Err(error) = state.may_call(key, now) {
            let is_known = state.reduced_rate.is_known(key);
            let is_allowed =
                state.has_reduced_rate(key, is_known, now) && state.reduced_rate.allows(is_known, now);
            return if is_allowed { Ok(Admission::Call) } else { Err(error) };
        }
        if matches!(state.phase, Phase::Closed) {
            return Ok(Admission::Call);
        }
        state.reduced_rate.restart(now);
        state.check_started = Some(now);
        let has_failed = state.backoff.has_failed(key, now);
        Ok(if has_failed { Admission::CheckFirst } else { Admission::CallAndCheck })
    }

    /// Reports the result of a caller's call. Returns whether a health check is to be made.
    pub(crate) fn record<T>(&self, key: CacheKey, result: &Result<T, AuthError>, now: Duration) -> bool {
        let outcome = CallOutcome::from_result(result);
        let mut state = self.state();
        match outcome {
            CallOutcome::Alive => {
                state.backoff.succeeded(&key);
                self.succeeded(&mut state, result.is_ok(), now);
            }
            CallOutcome::Unknown => {}
            CallOutcome::NoConnection => {
                state.failed_connections = state.failed_connections.saturating_add(1);
                let is_closed = matches!(state.phase, Phase::Closed);
                if is_closed && state.failed_connections >= FAILED_CONNECTIONS {
                    self.open(&mut state, OpenPeriod::new(FIRST_PAUSE), now, now);
                }
            }
            CallOutcome::Failing(_) | CallOutcome::TimedOut => {
                let retry_after = if let CallOutcome::Failing(asked) = outcome { asked } else { None };
                state.backoff.failed(key, retry_after, now);
                state.failures = state.failures.saturating_add(1);
                let is_suspicious = state.failures >= SUSPICIOUS_FAILURES
                    || retry_after.is_some()
                    || outcome == CallOutcome::TimedOut;
                if is_suspicious && state.check_is_due(now) {
                    state.check_started = Some(now);
                    return true;
                }
            }
        }
        false
    }

    /// Remembers the token of this key, which is active: it may be introspected while invented tokens use up the calls that
    /// are made in a pause.
    pub(crate) fn remember(&self, key: CacheKey) {
        self.state().reduced_rate.remember(key);
    }

    /// Marks that a health check starts.
    pub(crate) fn start_check(&self, now: Duration) {
        self.state().check_started = Some(now);
    }

    /// Reports the result of the health check that started at `started`. A verdict or another response without a server
    /// failure shows that the server is alive.
    pub(crate) fn finish_check<T>(&self, started: Duration, result: &Result<T, AuthError>, now: Duration) {
        let mut state = self.state();
        state.check_started = None;
        state.last_check = Some(LastCheck { started, gave_a_verdict: result.is_ok() });
        let retry_after = match CallOutcome::from_result(result) {
            CallOutcome::Alive | CallOutcome::Unknown => {
                return self.succeeded(&mut state, result.is_ok(), now);
            }
            CallOutcome::Failing(retry_after) => retry_after,
            CallOutcome::TimedOut | CallOutcome::NoConnection => None,
        };
        let base_pause = match state.phase {
            Phase::Open { base_pause, .. } => base_pause.saturating_mul(2).min(LONGEST_PAUSE),
            // Real tokens work, so this server fails for unknown ones only.
            Phase::Closed if is_after(state.last_success, now.saturating_sub(SUCCESS_COUNTS)) => return,
            Phase::Closed => FIRST_PAUSE,
        };
        let period = OpenPeriod {
            base_pause,
            lasting: retry_after.unwrap_or(base_pause),
            is_reduced: retry_after.is_none() && is_response(result),
        };
        // From its start, so that a server that hangs is not left alone for longer than one that answers.
        self.open(&mut state, period, started, now);
    }

    /// Reports that a caller's call that started then ended with a verdict.
    pub(crate) fn record_verdict(&self, started: Duration) {
        let mut state = self.state();
        state.last_verdict_started = state.last_verdict_started.max(Some(started));
    }

    /// Whether the server gave a verdict in a call that started after this time, or in a health check of the last second, or shortly before if
    /// that is evidence too; `None` if a health check is needed to find out.
    pub(crate) fn gives_verdicts(&self, since: Duration, evidence: Evidence, now: Duration) -> Option<bool> {
        let state = self.state();
        let is_recent = |verdict| now.saturating_sub(verdict) < VERDICT_COUNTS;
        if is_after(state.last_verdict_started, since)
            || (evidence == Evidence::Recent && state.last_verdict.is_some_and(is_recent))
        {
            return Some(true);
        }
        let recent = state.last_check.filter(|check| now.saturating_sub(check.started) < BETWEEN_CHECKS);
        recent.map(|check| check.gave_a_verdict)
    }

    /// Open also stands for "the pause is over, and no call was made since".
    pub(crate) fn current(&self, now: impl FnOnce() -> Duration) -> CircuitState {
        let state = self.state();
        match state.phase {
            Phase::Closed => CircuitState::Closed,
            Phase::Open { .. } if state.check_started.is_some() && state.is_checking(now()) => {
                CircuitState::HalfOpen
            }
            Phase::Open { .. } => CircuitState::Open,
        }
    }

    fn succeeded(&self, state: &mut Circuit, is_verdict: bool, now: Duration) {
        state.last_success = Some(now);
        if is_verdict {
            state.last_verdict = Some(now);
        }
        (state.failures, state.failed_connections) = (0, 0);
        if let Phase::Open { is_logged, .. } = state.phase {
            state.phase = Phase::Closed;
            if is_logged {
                log::info!(
                    target: crate::LOG, event = "introspection_resumed", issuer = &*self.issuer;
                    "the authorization server answers again"
                );
            }
        }
    }

    /// Opens the breaker for this period, counted from `since`.
    fn open(&self, state: &mut Circuit, period: OpenPeriod, since: Duration, now: Duration) {
        let OpenPeriod { base_pause, lasting, is_reduced } = period;
        let was_logged = matches!(state.phase, Phase::Open { is_logged: true, .. });
        // A server that fails now and then must not fill the log.
        let is_due = self.warnings.is_due_at(now);
        let until = since.saturating_add(lasting);
        state.phase = Phase::Open { until, base_pause, is_reduced, is_logged: was_logged || is_due };
        state.reduced_rate.restart(now);
        if is_due {
            log::warn!(
                target: crate::LOG, event = "introspection_paused", issuer = &*self.issuer;
                "calls to the authorization server are paused for {lasting:?}"
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, Circuit> {
        // Nothing panics while the lock is held; should it ever, the state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Circuit {
    /// The usual case, which needs no look at the clock.
    fn admits_all(&self) -> bool {
        matches!(self.phase, Phase::Closed) && self.backoff.is_empty()
    }

    fn may_call(&self, key: &CacheKey, now: Duration) -> Result<(), AuthError> {
        let left = match self.phase {
            Phase::Open { until, .. } if now < until => until.saturating_sub(now),
            Phase::Open { .. } if self.is_checking(now) => Duration::from_secs(1),
            Phase::Closed | Phase::Open { .. } => Duration::ZERO,
        };
        let left = left.max(self.backoff.time_left(key, now));
        if left.is_zero() { Ok(()) } else { Err(paused(left)) }
    }

    /// Whether this token may have one of the calls that are made in a pause. A token that failed shows nothing, unless it
    /// was active before.
    fn has_reduced_rate(&self, key: &CacheKey, is_known: bool, now: Duration) -> bool {
        matches!(self.phase, Phase::Open { is_reduced: true, .. })
            && self.backoff.time_left(key, now).is_zero()
            && (is_known || !self.backoff.has_failed(key, now))
    }

    fn check_is_due(&self, now: Duration) -> bool {
        let is_too_early =
            self.last_check.is_some_and(|check| now.saturating_sub(check.started) < BETWEEN_CHECKS);
        matches!(self.phase, Phase::Closed) && !self.is_checking(now) && !is_too_early
    }

    fn is_checking(&self, now: Duration) -> bool {
        self.check_started.is_some_and(|started| now.saturating_sub(started) < CHECK_ABANDONED)
    }
}

fn is_after(time: Option<Duration>, other: Duration) -> bool {
    time.is_some_and(|time| time > other)
}

fn paused(left: Duration) -> AuthError {
    AuthError::upstream(UpstreamFault::Paused).with_retry_after(Some(left))
}

const _: fn() = || {
    fn is_shared_by_workers<T: Send + Sync + 'static>() {}
    is_shared_by_workers::<CircuitBreaker>();
};

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        thread,
    };

    use super::*;
    use crate::error::{SetupFault, TokenFault};

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn key(number: u64) -> CacheKey {
        CacheKey::numbered(number)
    }

    fn failing() -> AuthError {
        AuthError::upstream(UpstreamFault::Failing)
    }

    fn asks_for(seconds: u64) -> AuthError {
        failing().with_retry_after(Some(secs(seconds)))
    }

    fn no_connection() -> AuthError {
        AuthError::upstream(UpstreamFault::Unreachable).before_sending()
    }

    fn ended(error: Option<AuthError>) -> Result<(), AuthError> {
        error.map_or(Ok(()), Err)
    }

    /// Introspects the token of this key with this result. Returns whether a health check is due.
    #[track_caller]
    fn call(breaker: &CircuitBreaker, token: u64, error: Option<AuthError>, now: u64) -> bool {
        assert_eq!(breaker.try_acquire(&key(token), || secs(now)).unwrap(), Admission::Call);
        if error.is_none() {
            breaker.record_verdict(secs(now));
        }
        breaker.record(key(token), &ended(error), secs(now))
    }

    fn left(breaker: &CircuitBreaker, token: u64, now: u64) -> Duration {
        let error = breaker.try_acquire(&key(token), || secs(now)).unwrap_err();
        assert_eq!(error.kind(), AuthErrorKind::Upstream(UpstreamFault::Paused));
        error.retry_after().unwrap()
    }

    fn state(breaker: &CircuitBreaker, now: u64) -> CircuitState {
        breaker.current(|| secs(now))
    }

    /// Opened at 100, for a second, by failures of the tokens 0, 1, 2 and of a health check.
    fn opened() -> CircuitBreaker {
        let breaker = CircuitBreaker::new("issuer");
        let due: Vec<_> = (0..3).map(|token| call(&breaker, token, Some(failing()), 100)).collect();
        assert_eq!(due, [false, false, true]);
        breaker.finish_check(secs(100), &ended(Some(failing())), secs(100));
        assert_eq!(state(&breaker, 100), CircuitState::Open);
        breaker
    }

    #[test]
    fn failures_of_tokens_open_it_only_if_a_health_check_fails_too() {
        let breaker = CircuitBreaker::new("issuer");
        let mut checks = 0;
        for number in 0..1000 {
            if call(&breaker, number, Some(failing()), 100 + number / 100) {
                checks += 1;
                breaker.finish_check(secs(100 + number / 100), &ended(None), secs(100 + number / 100));
            }
        }
        assert_eq!((state(&breaker, 110), checks), (CircuitState::Closed, 10), "one check in a second");
        assert_eq!(left(&opened(), 9, 100), secs(1));
    }

    #[test]
    fn one_token_that_fails_backs_off_alone() {
        let breaker = CircuitBreaker::new("issuer");
        let mut calls = 0;
        for tenth in 0..600 {
            let now = Duration::from_millis(100_000 + tenth * 100);
            if breaker.try_acquire(&key(1), || now).is_ok() {
                calls += 1;
                if breaker.record(key(1), &ended(Some(failing())), now) {
                    breaker.finish_check(now, &ended(None), now);
                }
            }
            assert_eq!(breaker.try_acquire(&key(2), || now).unwrap(), Admission::Call, "another token");
        }
        assert!(calls <= 19, "{calls} calls in a minute");
    }

    #[test]
    fn failed_connections_are_evidence_without_a_check_unless_a_call_succeeds() {
        let breaker = CircuitBreaker::new("issuer");
        for _ in 0..3 {
            for _ in 0..4 {
                assert!(!call(&breaker, 1, Some(no_connection()), 100), "and no token backs off");
            }
            call(&breaker, 2, None, 100);
        }
        assert_eq!(state(&breaker, 100), CircuitState::Closed);
        for _ in 0..5 {
            call(&breaker, 1, Some(no_connection()), 100);
        }
        assert_eq!(state(&breaker, 100), CircuitState::Open);
    }

    #[test]
    fn a_success_outweighs_the_failures_of_others() {
        let breaker = CircuitBreaker::new("issuer");
        for number in 0..300 {
            assert!(!call(&breaker, number, Some(failing()), 100));
            assert!(!call(&breaker, number + 1000, Some(failing()), 100));
            call(&breaker, 9999, None, 100);
        }
        // A server that fails for every unknown token: the health check fails although real tokens work.
        for number in 0..3 {
            call(&breaker, number + 5000, Some(failing()), 101);
        }
        breaker.finish_check(secs(101), &ended(Some(failing())), secs(101));
        assert_eq!(state(&breaker, 101), CircuitState::Closed);
        for number in 0..3 {
            call(&breaker, number + 6000, Some(failing()), 103);
        }
        breaker.finish_check(secs(103), &ended(Some(failing())), secs(103));
        assert_eq!(state(&breaker, 103), CircuitState::Open, "nothing worked for two seconds");
    }

    #[test]
    fn a_timeout_and_a_retry_after_raise_a_suspicion_at_once() {
        for error in [AuthError::upstream(UpstreamFault::TimedOut), asks_for(7)] {
            assert!(call(&CircuitBreaker::new("issuer"), 1, Some(error), 100));
        }
        assert!(!call(&CircuitBreaker::new("issuer"), 1, Some(asks_for(0)), 100), "zero asks for nothing");
    }

    #[test]
    fn only_a_server_that_is_away_counts() {
        let outcome = |error: AuthError| CallOutcome::from_result::<()>(&Err(error));
        for (fault, expected) in [
            (UpstreamFault::Unreachable, CallOutcome::Failing(None)),
            (UpstreamFault::TimedOut, CallOutcome::TimedOut),
            (UpstreamFault::Failing, CallOutcome::Failing(None)),
            (UpstreamFault::BadAnswer, CallOutcome::Unknown),
            (UpstreamFault::NoKeys, CallOutcome::Unknown),
            (UpstreamFault::Saturated, CallOutcome::Unknown),
            (UpstreamFault::Paused, CallOutcome::Unknown),
        ] {
            assert_eq!(outcome(AuthError::upstream(fault)), expected, "{fault}");
        }
        for error in [AuthError::setup(SetupFault::Refused), AuthError::token(TokenFault::Malformed)] {
            assert_eq!(outcome(error), CallOutcome::Alive);
        }
        assert_eq!(outcome(no_connection()), CallOutcome::NoConnection);
        assert_eq!(
            outcome(AuthError::upstream(UpstreamFault::TimedOut).before_sending()),
            CallOutcome::NoConnection
        );
        assert_eq!(outcome(asks_for(7)), CallOutcome::Failing(Some(secs(7))));
        assert_eq!(outcome(asks_for(u64::MAX)), CallOutcome::Failing(Some(secs(60))));
        // Our own advice must not be taken for the server's.
        assert_eq!(outcome(paused(secs(7))), CallOutcome::Unknown);
    }

    #[test]
    fn broken_responses_of_one_token_count_for_nothing() {
        let breaker = CircuitBreaker::new("issuer");
        for _ in 0..100 {
            assert!(!call(&breaker, 1, Some(AuthError::upstream(UpstreamFault::BadAnswer)), 100));
        }
        assert_eq!(state(&breaker, 100), CircuitState::Closed);
    }

    #[test]
    fn a_token_that_failed_is_never_the_probe() {
        let breaker = opened();
        assert!(
            breaker.check_admission(&key(1), || secs(101)).is_ok()
                && breaker.check_admission(&key(9), || secs(101)).is_ok()
        );
        assert_eq!(breaker.try_acquire(&key(1), || secs(101)).unwrap(), Admission::CheckFirst);
        assert_eq!(state(&breaker, 101), CircuitState::HalfOpen);
        assert_eq!(left(&breaker, 9, 101), secs(1), "one at a time");
        breaker.finish_check(secs(101), &ended(Some(failing())), secs(101));
        assert_eq!(left(&breaker, 9, 101), secs(2));
        assert_eq!(breaker.try_acquire(&key(9), || secs(103)).unwrap(), Admission::CallAndCheck);
    }

    #[test]
    fn a_health_check_or_a_real_token_closes_it() {
        let breaker = opened();
        assert_eq!(breaker.try_acquire(&key(9), || secs(101)).unwrap(), Admission::CallAndCheck);
        breaker.finish_check(secs(101), &ended(None), secs(101));
        assert_eq!(state(&breaker, 101), CircuitState::Closed);

        let breaker = opened();
        assert_eq!(breaker.try_acquire(&key(9), || secs(101)).unwrap(), Admission::CallAndCheck);
        breaker.finish_check(secs(101), &ended(Some(failing())), secs(101));
        assert_eq!(state(&breaker, 101), CircuitState::Open);
        assert!(!breaker.record(key(9), &ended(None), secs(101)));
        assert_eq!(state(&breaker, 101), CircuitState::Closed, "the health check failed, a real token works");
        for number in 10..12 {
            assert!(!call(&breaker, number, Some(failing()), 101), "old failures are forgotten");
        }
    }

    #[test]
    fn failures_of_callers_do_not_prolong_the_pause() {
        let breaker = opened();
        assert_eq!(breaker.try_acquire(&key(9), || secs(101)).unwrap(), Admission::CallAndCheck);
        for number in 20..30 {
            assert!(!breaker.record(key(number), &ended(Some(asks_for(60))), secs(101)));
        }
        assert_eq!(state(&breaker, 101), CircuitState::HalfOpen);
        assert!(!breaker.record(key(9), &ended(Some(failing())), secs(101)));
        breaker.finish_check(secs(101), &ended(None), secs(102));
        assert_eq!(state(&breaker, 102), CircuitState::Closed);
    }

    #[test]
    fn each_failed_check_doubles_the_pause_up_to_the_longest() {
        let breaker = opened();
        let mut now = 101;
        for pause in [2, 4, 4, 4] {
            assert_eq!(breaker.try_acquire(&key(now), || secs(now)).unwrap(), Admission::CallAndCheck);
            breaker.finish_check(secs(now), &ended(Some(failing())), secs(now + 2));
            // From the start of the check, which may have taken its time.
            assert!(pause <= 2 || left(&breaker, 9, now + 2) == secs(pause - 2));
            now += pause;
        }
        assert!(breaker.try_acquire(&key(now), || secs(now)).is_ok());
        breaker.finish_check(secs(now), &ended(Some(asks_for(3600))), secs(now));
        assert_eq!(left(&breaker, 9, now), secs(60), "the server asks for more");
    }

    /// Open since second 100 with a health check that got this result.
    fn opened_by(error: AuthError) -> CircuitBreaker {
        let breaker = CircuitBreaker::new("issuer");
        breaker.remember(key(1));
        breaker.finish_check(secs(100), &ended(Some(error)), secs(100));
        assert_eq!(state(&breaker, 100), CircuitState::Open);
        breaker
    }

    fn admits(breaker: &CircuitBreaker, token: u64, millis: u64) -> bool {
        let now = || Duration::from_millis(millis);
        breaker.check_admission(&key(token), now).is_ok() && breaker.try_acquire(&key(token), now).is_ok()
    }

    #[test]
    fn a_server_that_responds_with_failures_gets_a_few_calls_in_a_pause() {
        let breaker = opened_by(failing());
        assert!(!admits(&breaker, 1, 100_050) && !admits(&breaker, 9, 100_050), "not at once");
        for token in [1, 9] {
            let started = 100_300 + token * 10;
            assert!(admits(&breaker, token, started) && !admits(&breaker, token, started), "{token}");
        }
        assert_eq!(state(&breaker, 100), CircuitState::Open);
        assert!(!breaker.record(key(9), &ended(Some(failing())), secs(100)));
        assert!(!admits(&breaker, 9, 100_600), "it failed");
        breaker.record(key(1), &ended(Some(failing())), secs(100));
        assert!(admits(&breaker, 1, 100_600), "it failed, but was active before");
        breaker.record(key(1), &ended(None), secs(100));
        assert_eq!(state(&breaker, 100), CircuitState::Closed);
    }

    #[test]
    fn invented_tokens_do_not_use_up_the_calls_of_known_ones() {
        let breaker = opened_by(failing());
        let (mut known, mut unknown) = (0, 0);
        for time in 0..995 {
            unknown += usize::from(admits(&breaker, 1000 + time, 100_000 + time));
            known += usize::from(time % 250 == 249 && admits(&breaker, 1, 100_000 + time));
        }
        assert_eq!(known, 3);
        assert!((1..=10).contains(&unknown), "{unknown}");
    }

    #[test]
    fn a_server_that_is_away_or_asks_for_a_pause_gets_no_calls_in_it() {
        for error in [
            AuthError::upstream(UpstreamFault::TimedOut),
            AuthError::upstream(UpstreamFault::Unreachable),
            no_connection(),
            asks_for(7),
        ] {
            let text = format!("{error:?}");
            let breaker = opened_by(error);
            assert!((100_000..100_999).all(|time| !admits(&breaker, time % 3, time)), "{text}");
        }
        let breaker = opened_by(asks_for(0));
        assert!(admits(&breaker, 1, 100_500), "zero asks for nothing");
    }

    #[test]
    fn an_abandoned_check_makes_room_for_the_next() {
        let breaker = opened_by(AuthError::upstream(UpstreamFault::TimedOut));
        assert!(breaker.try_acquire(&key(9), || secs(101)).is_ok());
        assert_eq!(left(&breaker, 9, 104), secs(1));
        assert_eq!(state(&breaker, 105), CircuitState::Open);
        assert_eq!(breaker.try_acquire(&key(9), || secs(105)).unwrap(), Admission::CallAndCheck);
    }

    #[test]
    fn verdicts_tell_whose_fault_a_refusal_is() {
        let breaker = CircuitBreaker::new("issuer");
        assert_eq!(breaker.gives_verdicts(secs(100), Evidence::Current, secs(100)), None);
        call(&breaker, 1, None, 100);
        assert_eq!(breaker.gives_verdicts(secs(99), Evidence::Current, secs(100)), Some(true));
        assert_eq!(
            breaker.gives_verdicts(secs(100), Evidence::Current, secs(101)),
            None,
            "it may have changed its mind"
        );
        call(&breaker, 1, Some(AuthError::setup(SetupFault::Refused)), 102);
        assert_eq!(
            breaker.gives_verdicts(secs(101), Evidence::Current, secs(102)),
            None,
            "a refusal is no verdict"
        );
        breaker.finish_check(secs(103), &ended(Some(AuthError::setup(SetupFault::Refused))), secs(103));
        assert_eq!(breaker.gives_verdicts(secs(103), Evidence::Current, secs(103)), Some(false));
        assert_eq!(breaker.gives_verdicts(secs(104), Evidence::Current, secs(104)), None);
        breaker.finish_check(secs(104), &ended(None), secs(104));
        assert_eq!(breaker.gives_verdicts(secs(104), Evidence::Current, secs(104)), Some(true));
    }

    #[test]
    fn a_recent_verdict_counts_where_it_is_evidence() {
        let breaker = CircuitBreaker::new("issuer");
        assert_eq!(breaker.gives_verdicts(secs(100), Evidence::Recent, secs(100)), None);
        call(&breaker, 1, None, 100);
        for (evidence, now, expected) in [
            (Evidence::Recent, 100, Some(true)),
            (Evidence::Recent, 109, Some(true)),
            (Evidence::Recent, 110, None),
            (Evidence::Current, 100, None),
        ] {
            assert_eq!(
                breaker.gives_verdicts(secs(now), evidence, secs(now)),
                expected,
                "{evidence:?} {now}"
            );
        }
        // A server that refuses every unknown token also refuses that of a health check.
        breaker.finish_check(secs(105), &ended(Some(AuthError::setup(SetupFault::Refused))), secs(105));
        assert_eq!(breaker.gives_verdicts(secs(105), Evidence::Recent, secs(105)), Some(true));
        assert_eq!(breaker.gives_verdicts(secs(105), Evidence::Current, secs(105)), Some(false));
    }

    #[test]
    fn workers_together_open_and_close_without_getting_stuck() {
        let breaker = CircuitBreaker::new("issuer");
        let now = AtomicU64::new(100);
        thread::scope(|scope| {
            for worker in 0..4_u64 {
                let (breaker, now) = (&breaker, &now);
                scope.spawn(move || {
                    for round in 0..20_000_u64 {
                        let (time, key) = (secs(now.fetch_add(1, Ordering::Relaxed)), key(round % 7));
                        let Ok(admission) = breaker.try_acquire(&key, || time) else { continue };
                        let bad = (round + worker) % 7 != 0;
                        let result = ended(bad.then(failing));
                        if breaker.record(key, &result, time) || admission != Admission::Call {
                            breaker.finish_check(time, &result, time);
                        }
                    }
                });
            }
        });
        let after = now.into_inner() + 60;
        let _admission = breaker.try_acquire(&key(1), || secs(after)).unwrap();
        breaker.record(key(1), &ended(None), secs(after));
        assert_eq!(state(&breaker, after), CircuitState::Closed);
    }
}
