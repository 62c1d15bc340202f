//! The circuit breaker of introspection. While the authorization server is down, no calls are made, and requests
//! that need a call are rejected at once.
//!
//! One token is not evidence about the server: some servers fail for particular tokens, and anybody can send those.
//! Therefore failures of callers' tokens only start a health check (the introspection of a random token). The breaker
//! opens only if the health check fails too. Each token that fails repeatedly has a separate pause.
//!
//! While the breaker is open and the server responds to the health check with a failure, a few calls are still
//! made. Some servers fail for every unknown token, so only a caller's token can show that they work.

#[cfg(test)]
mod tests;

mod backoff;
mod health;
mod log_records;
mod reduced_rate;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use self::{backoff::Backoff, reduced_rate::ReducedRate};
use crate::{
    cache::CacheKey,
    error::{AuthError, AuthErrorKind, UpstreamFault},
    telemetry::{IntrospectionState, log_throttle::LogThrottle},
};

/// The failures since the last success that start a health check, and the failed connections that open the breaker.
const SUSPICIOUS_FAILURES: u32 = 3;
const FAILED_CONNECTIONS: u32 = 5;
/// The first and the longest time for which the breaker stays open. Each failed health check doubles the time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// The longest `Retry-After` that is used. A wrong value must not stop introspection for a day.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
/// A failed health check is ignored for this long after a success: some servers fail for every unknown token.
const SUCCESS_COUNTS: Duration = Duration::from_secs(2);
/// A verdict is recent evidence for this long. Some servers reject the unknown token of every health check.
const VERDICT_COUNTS: Duration = Duration::from_secs(10);
/// The time between two health checks while the breaker is closed.
const BETWEEN_CHECKS: Duration = Duration::from_secs(1);
/// An older health check was abandoned: its worker stopped or is blocked.
const CHECK_ABANDONED: Duration = Duration::from_secs(4);
/// The deadline of a health check.
pub(crate) const CHECK_DEADLINE: Duration = Duration::from_secs(2);

/// The phase of a [`CircuitBreaker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CircuitState {
    /// Calls are made.
    Closed,
    /// Calls are rejected at once with [`UpstreamFault::Paused`].
    Open,
    /// The pause is over and a health check is running. Calls are rejected until it ends.
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
    /// The pause is over: the caller starts the health check, and makes its call at the same time.
    CallAndCheck,
    /// The pause is over, but this token failed lately. It is no evidence, so the health check must end first.
    CheckFirst,
}

/// The circuit breaker of one configuration, shared by all workers.
///
/// Before a request queues at the [`ConcurrencyLimit`](crate::introspection::concurrency_limit::ConcurrencyLimit), call
/// [`check_admission`](Self::check_admission), so that no request queues while calls are paused. After the wait, call
/// [`try_acquire`](Self::try_acquire), because the state may have changed.
#[derive(Debug)]
pub(crate) struct CircuitBreaker {
    /// The configured issuer, for the log.
    issuer: Arc<str>,
    state: Mutex<Circuit>,
    warnings: LogThrottle,
}

#[derive(Debug)]
struct Circuit {
    phase: Phase,
    /// The time of the last response that was not a server failure.
    last_success: Option<Duration>,
    /// The number of failures since the last success that a token may have caused.
    failures: u32,
    /// The number of failed connections since the last success. No token was sent on them.
    failed_connections: u32,
    /// The time of the last verdict.
    last_verdict: Option<Duration>,
    /// The latest start of a call that ended with a verdict.
    last_verdict_started: Option<Duration>,
    /// The start of the health check that is running.
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
        /// The length of this pause without a `Retry-After`. The next failed health check doubles it.
        base_pause: Duration,
        /// Whether some calls are made at a [`ReducedRate`].
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

/// The information that the result of a call gives about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallOutcome {
    /// The server responds.
    Alive,
    /// No connection was made, so no token was sent.
    NoConnection,
    /// The server received the token and failed, perhaps with a `Retry-After`.
    Failing(Option<Duration>),
    /// The server received the token and did not respond in time.
    TimedOut,
    /// The response cannot be read, which gives no information about the server.
    Unknown,
}

impl CallOutcome {
    /// Classifies the result of a call.
    ///
    /// - A response of 408, 429 or 5xx, a timeout and a broken connection are failures.
    /// - A response that cannot be read is neither a failure nor a success: it may depend on a single token.
    /// - Every other response is a success, also one that rejects the client credentials: a pause would hide that.
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

/// Returns whether the server sent a response that reports a failure.
fn is_response<T>(result: &Result<T, AuthError>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == AuthErrorKind::Upstream(UpstreamFault::Failing))
}

fn clamped(retry_after: Option<Duration>) -> Option<Duration> {
    retry_after.map(|requested| requested.min(LONGEST_RETRY_AFTER)).filter(|requested| !requested.is_zero())
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
    /// The same as for [`try_acquire`](Self::try_acquire).
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

    /// Requests permission to introspect this token. The result must be reported to [`record`](Self::record).
    ///
    /// # Errors
    /// [`UpstreamFault::Paused`] with the remaining time, while the breaker is open or this token has a pause.
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

    /// Records the result of a caller's call. Returns whether a health check is due.
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
                    self.open(&mut state, OpenPeriod::new(FIRST_PAUSE), now, now, result.as_ref().err());
                }
            }
            CallOutcome::Failing(_) | CallOutcome::TimedOut => {
                let retry_after =
                    if let CallOutcome::Failing(requested) = outcome { requested } else { None };
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

    /// Records that the token of this key is active. In a pause, active tokens have a separate share of the calls.
    pub(crate) fn record_active(&self, key: CacheKey) {
        self.state().reduced_rate.record_active(key);
    }

    /// Records the start of a health check.
    pub(crate) fn start_check(&self, now: Duration) {
        self.state().check_started = Some(now);
    }

    /// Records the result of the health check that started at `started`. A verdict, or another response without a
    /// server failure, shows that the server works.
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
            // Callers' tokens work, so this server fails only for unknown tokens.
            Phase::Closed if is_after(state.last_success, now.saturating_sub(SUCCESS_COUNTS)) => return,
            Phase::Closed => FIRST_PAUSE,
        };
        let period = OpenPeriod {
            base_pause,
            lasting: retry_after.unwrap_or(base_pause),
            is_reduced: retry_after.is_none() && is_response(result),
        };
        // Counted from the start of the check, so that the pause is not longer if the server does not respond.
        self.open(&mut state, period, started, now, result.as_ref().err());
    }

    /// Records the start of a caller's call that ended with a verdict.
    pub(crate) fn record_verdict(&self, started: Duration) {
        let mut state = self.state();
        state.last_verdict_started = state.last_verdict_started.max(Some(started));
    }

    /// Returns the current state. After a pause it is `Open` until the next call.
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
                log_records::resumed(&self.issuer);
            }
        }
    }

    /// Opens the breaker for this period, counted from `since`. `cause` is the last failure, for the log.
    fn open(
        &self,
        state: &mut Circuit,
        period: OpenPeriod,
        since: Duration,
        now: Duration,
        cause: Option<&AuthError>,
    ) {
        let OpenPeriod { base_pause, lasting, is_reduced } = period;
        let was_logged = matches!(state.phase, Phase::Open { is_logged: true, .. });
        let is_due = self.warnings.is_due_at(now);
        let until = since.saturating_add(lasting);
        state.phase = Phase::Open { until, base_pause, is_reduced, is_logged: was_logged || is_due };
        state.reduced_rate.restart(now);
        if is_due && let Some(cause) = cause {
            log_records::paused(&self.issuer, lasting, cause);
        }
    }

    fn state(&self) -> MutexGuard<'_, Circuit> {
        // No code panics while it holds the lock. Even after a panic the state would be consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Circuit {
    /// Returns whether every call is allowed. This is the usual case, and it needs no clock reading.
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

    /// Returns whether this token may use a call in a pause: it has not failed, or it was active before.
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
