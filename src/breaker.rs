//! The circuit breaker: an authorization server that fails again and again is left alone for a while, and the requests
//! that would have waited for it are answered at once.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::error::{AuthError, AuthErrorKind, UpstreamFault};

/// When a [`Breaker`] opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BreakerLimits {
    /// How many failures in a row open it. 5 by default; 0: it never opens by itself, only when the server asks for it.
    pub(crate) failures: u32,
    /// How long it stays open the first time; twice as long after each probe that failed. 5 s by default.
    pub(crate) pause: Duration,
    /// Where the doubling ends. 30 s by default.
    pub(crate) longest_pause: Duration,
    /// How much of a server's `Retry-After` is believed. 60 s by default: a wrong one must not close us out for a day.
    pub(crate) longest_retry_after: Duration,
}

impl Default for BreakerLimits {
    fn default() -> Self {
        Self {
            failures: 5,
            pause: Duration::from_secs(5),
            longest_pause: Duration::from_secs(30),
            longest_retry_after: Duration::from_secs(60),
        }
    }
}

/// Where a [`Breaker`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls are answered at once with [`UpstreamFault::Paused`].
    Open,
    /// One call, the probe, is under way to find out; the others are answered at once.
    HalfOpen,
}

/// The circuit breaker of one authorization server, shared by all workers.
///
/// What counts as a failure, see [`Outcome::of`]. While it is closed, a call that succeeds costs one atomic load before
/// and one after; only one that fails takes the lock.
///
/// Beside a [`Gate`](crate::gate::Gate), the order is: [`check`](Self::check), so that nobody queues up for a server
/// that is left alone; then the gate; then [`admit`](Self::admit), since the wait may have changed the answer.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// As configured, for the log.
    issuer: Arc<str>,
    limits: BreakerLimits,
    /// The number of times it opened or closed, in steps of [`STEP`], and the state in the bits below. Written under
    /// the lock only.
    word: AtomicU64,
    failures: AtomicU32,
    pause: Mutex<Pause>,
}

/// Means something only while the breaker is not closed.
#[derive(Debug, Default)]
struct Pause {
    until: Duration,
    length: Duration,
}

/// A call that the breaker let through. Its result is reported with [`record`](Self::record); one that is dropped
/// without (because its task was) counts as if it had never been.
#[derive(Debug)]
#[must_use = "the outcome of the call is to be recorded"]
pub(crate) struct Attempt<'a> {
    breaker: &'a Breaker,
    word: u64,
}

/// What a call tells about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It is there and answers.
    Alive,
    /// It is not to be reached, or overloaded; perhaps it told for how long.
    Failing(Option<Duration>),
    /// Nothing.
    Unknown,
}

impl Outcome {
    /// - Failures are: unreachable, timed out, and an answer of 408, 429 or 5xx. One with a `Retry-After` opens the
    ///   breaker at once.
    /// - An answer that is broken says nothing, since it may be the fault of a single token (one whose claims exceed the
    ///   bounds): its owner must not be able to shut the door for everybody. Neither do calls that were not made.
    /// - Everything else is an answer, also one that refuses our credentials: pausing would hide that.
    fn of<T>(result: &Result<T, AuthError>) -> Self {
        let Err(error) = result else { return Self::Alive };
        match error.kind() {
            AuthErrorKind::Upstream(UpstreamFault::Failing) => Self::Failing(error.retry_after_hint()),
            AuthErrorKind::Upstream(UpstreamFault::Unreachable | UpstreamFault::TimedOut) => {
                Self::Failing(None)
            }
            AuthErrorKind::Upstream(_) => Self::Unknown,
            _ => Self::Alive,
        }
    }
}

const STEP: u64 = 4;
const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;

fn state_of(word: u64) -> u64 {
    word % STEP
}

impl Breaker {
    pub(crate) fn new(issuer: impl Into<Arc<str>>, limits: BreakerLimits) -> Self {
        Self {
            issuer: issuer.into(),
            limits,
            word: AtomicU64::new(CLOSED),
            failures: AtomicU32::new(0),
            pause: Mutex::new(Pause::default()),
        }
    }

    /// Whether [`admit`](Self::admit) would let a call through, without taking the place of the probe.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    pub(crate) fn check(&self, now: impl FnOnce() -> Duration) -> Result<(), AuthError> {
        if state_of(self.word()) == CLOSED { Ok(()) } else { self.time_left(now(), &self.pause()) }
    }

    /// Asks to make a call. `now` reads the monotonic clock, which is not done while it is closed.
    ///
    /// # Errors
    /// [`UpstreamFault::Paused`] with the time that is left, while it is open or its probe is under way.
    pub(crate) fn admit(&self, now: impl FnOnce() -> Duration) -> Result<Attempt<'_>, AuthError> {
        let word = self.word();
        if state_of(word) == CLOSED {
            return Ok(Attempt { breaker: self, word });
        }
        self.admit_probe(now())
    }

    /// Where it is. Open also stands for "the pause is over, and nobody has asked since".
    pub(crate) fn state(&self) -> BreakerState {
        match state_of(self.word()) {
            CLOSED => BreakerState::Closed,
            HALF_OPEN => BreakerState::HalfOpen,
            _ => BreakerState::Open,
        }
    }

    #[cold]
    fn admit_probe(&self, now: Duration) -> Result<Attempt<'_>, AuthError> {
        let pause = self.pause();
        self.time_left(now, &pause)?;
        if state_of(self.word()) == OPEN {
            self.enter(HALF_OPEN);
        }
        Ok(Attempt { breaker: self, word: self.word() })
    }

    fn time_left(&self, now: Duration, pause: &Pause) -> Result<(), AuthError> {
        match state_of(self.word()) {
            OPEN if now < pause.until => Err(paused(pause.until.saturating_sub(now))),
            // How long the probe takes is not known; it has a deadline of its own.
            HALF_OPEN => Err(paused(Duration::from_secs(1))),
            _ => Ok(()),
        }
    }

    fn record(&self, word: u64, outcome: Outcome, now: impl FnOnce() -> Duration) {
        match (state_of(word), outcome) {
            (CLOSED, Outcome::Alive) => self.forget_failures(word),
            (CLOSED, Outcome::Failing(retry_after)) => self.count_failure(word, retry_after, now()),
            (CLOSED, Outcome::Unknown) => {}
            (_, Outcome::Alive) => self.close(word),
            (_, Outcome::Failing(retry_after)) => self.reopen(word, retry_after, now()),
            (_, Outcome::Unknown) => self.abandon_probe(word),
        }
    }

    fn forget_failures(&self, word: u64) {
        // A plain load first: in good times nothing is written, and no cache line travels between the workers.
        if self.failures.load(Ordering::Relaxed) != 0 && self.word() == word {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    #[cold]
    fn count_failure(&self, word: u64, retry_after: Option<Duration>, now: Duration) {
        let mut pause = self.pause();
        // Of calls that began before it last opened there is nothing more to learn.
        if self.word() != word {
            return;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let too_many = self.limits.failures != 0 && failures >= self.limits.failures;
        let length = self.limits.pause.min(self.limits.longest_pause);
        match self.believed(retry_after) {
            Some(asked) => self.open(&mut pause, length, asked, now),
            None if too_many => self.open(&mut pause, length, length, now),
            None => {}
        }
    }

    #[cold]
    fn reopen(&self, word: u64, retry_after: Option<Duration>, now: Duration) {
        let mut pause = self.pause();
        if self.word() == word {
            let length = pause.length.saturating_mul(2).min(self.limits.longest_pause);
            self.open(&mut pause, length, self.believed(retry_after).unwrap_or(length), now);
        }
    }

    #[cold]
    fn close(&self, word: u64) {
        let _pause = self.pause();
        if self.word() == word {
            self.failures.store(0, Ordering::Relaxed);
            self.enter(CLOSED);
            log::info!(
                target: crate::LOG, event = "introspection_resumed", issuer = &*self.issuer;
                "the authorization server answers again"
            );
        }
    }

    /// Back to open. The pause is over already, so the next call becomes the probe.
    #[cold]
    fn abandon_probe(&self, word: u64) {
        let _pause = self.pause();
        if self.word() == word {
            self.enter(OPEN);
        }
    }

    fn open(&self, pause: &mut Pause, length: Duration, lasting: Duration, now: Duration) {
        *pause = Pause { until: now.saturating_add(lasting), length };
        self.enter(OPEN);
        log::warn!(
            target: crate::LOG, event = "introspection_paused", issuer = &*self.issuer;
            "calls to the authorization server are paused for {lasting:?}"
        );
    }

    fn believed(&self, retry_after: Option<Duration>) -> Option<Duration> {
        retry_after.map(|asked| asked.min(self.limits.longest_retry_after)).filter(|asked| !asked.is_zero())
    }

    /// Only to be called under the lock.
    fn enter(&self, state: u64) {
        let word = self.word();
        self.word.store((word - state_of(word)).wrapping_add(STEP) + state, Ordering::Release);
    }

    fn word(&self) -> u64 {
        self.word.load(Ordering::Acquire)
    }

    fn pause(&self) -> MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    /// Reports how the call ended.
    pub(crate) fn record<T>(self, result: &Result<T, AuthError>, now: impl FnOnce() -> Duration) {
        self.breaker.record(self.word, Outcome::of(result), now);
    }
}

impl Drop for Attempt<'_> {
    /// After a recorded outcome the breaker has moved on from this attempt, and this does nothing.
    fn drop(&mut self) {
        if state_of(self.word) == HALF_OPEN {
            self.breaker.abandon_probe(self.word);
        }
    }
}

fn paused(left: Duration) -> AuthError {
    AuthError::upstream(UpstreamFault::Paused).retry_after(Some(left))
}

const _: fn() = || {
    fn is_shared_by_workers<T: Send + Sync + 'static>() {}
    is_shared_by_workers::<Breaker>();
};

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicBool, thread};

    use super::*;
    use crate::error::{SetupFault, TokenFault};

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn failing() -> AuthError {
        AuthError::upstream(UpstreamFault::Failing)
    }

    fn asks_for(seconds: u64) -> AuthError {
        failing().retry_after(Some(secs(seconds)))
    }

    /// Makes a call that ends like this.
    fn call(breaker: &Breaker, error: Option<AuthError>, now: u64) {
        breaker.admit(|| secs(now)).unwrap().record(&error.map_or(Ok(()), Err), || secs(now));
    }

    fn left(breaker: &Breaker, now: u64) -> Duration {
        let error = breaker.admit(|| secs(now)).unwrap_err();
        assert_eq!(error.kind(), AuthErrorKind::Upstream(UpstreamFault::Paused));
        error.retry_after_hint().unwrap()
    }

    /// Opened at 100 by five failures.
    fn opened() -> Breaker {
        let breaker = Breaker::new("issuer", BreakerLimits::default());
        for _ in 0..5 {
            call(&breaker, Some(failing()), 100);
        }
        breaker
    }

    #[test]
    fn opens_after_so_many_failures_in_a_row() {
        let breaker = Breaker::new("issuer", BreakerLimits::default());
        for round in 0..3 {
            for _ in 0..4 {
                call(&breaker, Some(failing()), 100);
            }
            assert_eq!(breaker.state(), BreakerState::Closed, "round {round}");
            call(&breaker, None, 100);
        }
        for _ in 0..5 {
            call(&breaker, Some(failing()), 100);
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(left(&breaker, 103), secs(2));
    }

    #[test]
    fn only_a_server_that_is_away_counts() {
        for fault in [UpstreamFault::Unreachable, UpstreamFault::TimedOut, UpstreamFault::Failing] {
            assert_eq!(
                Outcome::of::<()>(&Err(AuthError::upstream(fault))),
                Outcome::Failing(None),
                "{fault}"
            );
        }
        for fault in
            [UpstreamFault::BadAnswer, UpstreamFault::NoKeys, UpstreamFault::Saturated, UpstreamFault::Paused]
        {
            assert_eq!(Outcome::of::<()>(&Err(AuthError::upstream(fault))), Outcome::Unknown, "{fault}");
        }
        for error in [AuthError::setup(SetupFault::Refused), AuthError::token(TokenFault::Malformed)] {
            assert_eq!(Outcome::of::<()>(&Err(error)), Outcome::Alive);
        }
        assert_eq!(Outcome::of(&Ok(())), Outcome::Alive);
        assert_eq!(Outcome::of::<()>(&Err(asks_for(7))), Outcome::Failing(Some(secs(7))));
        // Our own advice must not be taken for the server's.
        assert_eq!(Outcome::of::<()>(&Err(paused(secs(7)))), Outcome::Unknown);
    }

    #[test]
    fn one_token_with_a_broken_answer_does_not_shut_the_door() {
        let breaker = Breaker::new("issuer", BreakerLimits::default());
        for _ in 0..100 {
            call(&breaker, Some(AuthError::upstream(UpstreamFault::BadAnswer)), 100);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn half_opens_with_exactly_one_probe_and_closes_on_success() {
        let breaker = opened();
        assert!(breaker.check(|| secs(104)).is_err());
        assert!(
            breaker.check(|| secs(105)).is_ok() && breaker.check(|| secs(105)).is_ok(),
            "asking takes no place"
        );
        let probe = breaker.admit(|| secs(105)).unwrap();
        assert!(breaker.check(|| secs(105)).is_err());
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert_eq!(left(&breaker, 105), secs(1));
        assert_eq!(left(&breaker, 500), secs(1));
        probe.record(&Ok(()), || secs(106));
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(breaker.check(|| secs(106)).is_ok());
        // The old failures are forgotten.
        for _ in 0..4 {
            call(&breaker, Some(failing()), 106);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn each_failed_probe_doubles_the_pause_up_to_the_longest() {
        let breaker = opened();
        let mut now = 105;
        for pause in [10, 20, 30, 30] {
            call(&breaker, Some(failing()), now);
            assert_eq!(left(&breaker, now), secs(pause));
            now += pause;
        }
        call(&breaker, None, now);
        for _ in 0..5 {
            call(&breaker, Some(failing()), now);
        }
        assert_eq!(left(&breaker, now), secs(5), "starts anew after a success");
    }

    #[test]
    fn a_dropped_probe_makes_room_for_the_next() {
        let breaker = opened();
        drop(breaker.admit(|| secs(105)).unwrap());
        assert_eq!(breaker.state(), BreakerState::Open);
        call(&breaker, Some(AuthError::upstream(UpstreamFault::Saturated)), 105);
        assert_eq!(breaker.state(), BreakerState::Open);
        call(&breaker, None, 105);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_dropped_call_does_not_count() {
        let breaker = Breaker::new("issuer", BreakerLimits::default());
        for _ in 0..10 {
            drop(breaker.admit(|| secs(0)).unwrap());
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn retry_after_opens_at_once_and_is_believed_within_bounds() {
        for (asked, pause) in [(1, 1), (42, 42), (60, 60), (86_400, 60), (u64::MAX, 60)] {
            let breaker = Breaker::new("issuer", BreakerLimits::default());
            call(&breaker, Some(asks_for(asked)), 100);
            assert_eq!(left(&breaker, 100), secs(pause), "{asked}");
            assert!(breaker.admit(|| secs(100 + pause)).is_ok());
        }
        let breaker = Breaker::new("issuer", BreakerLimits::default());
        call(&breaker, Some(asks_for(0)), 100);
        assert_eq!(breaker.state(), BreakerState::Closed, "zero asks for nothing");
    }

    #[test]
    fn a_probe_may_be_asked_to_come_later() {
        let breaker = opened();
        call(&breaker, Some(asks_for(42)), 105);
        assert_eq!(left(&breaker, 105), secs(42));
    }

    #[test]
    fn results_of_calls_from_before_it_opened_change_nothing() {
        let breaker = Breaker::new("issuer", BreakerLimits::default());
        let late = || breaker.admit(|| secs(100)).unwrap();
        let (good, bad, worse) = (late(), late(), late());
        for _ in 0..5 {
            call(&breaker, Some(failing()), 100);
        }
        good.record(&Ok(()), || secs(101));
        assert_eq!(breaker.state(), BreakerState::Open);
        bad.record::<()>(&Err(asks_for(60)), || secs(101));
        assert_eq!(left(&breaker, 101), secs(4));
        call(&breaker, None, 105);
        worse.record::<()>(&Err(asks_for(60)), || secs(106));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn zero_failures_switch_it_off_but_retry_after_is_heeded() {
        let breaker = Breaker::new("issuer", BreakerLimits { failures: 0, ..BreakerLimits::default() });
        for _ in 0..100 {
            call(&breaker, Some(failing()), 100);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        call(&breaker, Some(asks_for(7)), 100);
        assert_eq!(left(&breaker, 100), secs(7));
    }

    #[test]
    fn workers_together_send_one_probe_at_a_time() {
        let breaker = opened();
        let probing = AtomicBool::new(false);
        let probes = AtomicU32::new(0);
        thread::scope(|scope| {
            for worker in 0..4 {
                let (breaker, probing, probes) = (&breaker, &probing, &probes);
                scope.spawn(move || {
                    for round in 0..20_000_u64 {
                        let Ok(probe) = breaker.admit(|| secs(1_000_000)) else { continue };
                        assert!(!probing.swap(true, Ordering::SeqCst), "two probes at once");
                        probes.fetch_add(1, Ordering::Relaxed);
                        probing.store(false, Ordering::SeqCst);
                        if (round + worker) % 2 == 0 {
                            drop(probe);
                        } else {
                            // The pause of this failure was over long ago.
                            probe.record::<()>(&Err(failing()), || secs(0));
                        }
                    }
                });
            }
        });
        assert!(probes.into_inner() > 0);
        assert_eq!(breaker.state(), BreakerState::Open, "not stuck with a probe that is gone");
    }

    #[test]
    fn workers_together_open_and_close_without_getting_stuck() {
        let breaker = Breaker::new("issuer", BreakerLimits::default());
        let now = AtomicU64::new(0);
        thread::scope(|scope| {
            for worker in 0..4_u64 {
                let (breaker, now) = (&breaker, &now);
                scope.spawn(move || {
                    for round in 0..20_000_u64 {
                        let time = secs(now.fetch_add(1, Ordering::Relaxed));
                        let Ok(attempt) = breaker.admit(|| time) else { continue };
                        match (round + worker) % 7 {
                            0 => attempt.record(&Ok(()), || time),
                            1 => drop(attempt),
                            _ => attempt.record::<()>(&Err(failing()), || time),
                        }
                    }
                });
            }
        });
        let after = now.into_inner() + 60;
        call(&breaker, None, after);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
