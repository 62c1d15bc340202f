use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use super::*;
use crate::error::{Evidence, SetupFault, TokenFault};

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

/// Records a call for this token with this result. Returns whether a health check is due.
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

/// Returns a breaker that opened at 100 s, for one second, after failures of the tokens 0, 1 and 2 and of a health
/// check.
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
    // A pause of this breaker must not be recorded as a failure of the server.
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
        // The pause is measured from the start of the check, which may take some time.
        assert!(pause <= 2 || left(&breaker, 9, now + 2) == secs(pause - 2));
        now += pause;
    }
    assert!(breaker.try_acquire(&key(now), || secs(now)).is_ok());
    breaker.finish_check(secs(now), &ended(Some(asks_for(3600))), secs(now));
    assert_eq!(left(&breaker, 9, now), secs(60), "the server asks for more");
}

/// Returns a breaker that has been open since 100 s because of a health check with this result.
fn opened_by(error: AuthError) -> CircuitBreaker {
    let breaker = CircuitBreaker::new("issuer");
    breaker.record_active(key(1));
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
        assert_eq!(breaker.gives_verdicts(secs(now), evidence, secs(now)), expected, "{evidence:?} {now}");
    }
    // A server that rejects every unknown token also rejects that of a health check.
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
