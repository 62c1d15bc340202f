use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;

use super::*;

type Numbers = Arc<SingleFlight<u8, usize>>;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn roomy() -> &'static WaitingRoom {
    Box::leak(Box::new(WaitingRoom::new(1000)))
}

/// A call that does not end.
async fn never() -> Result<usize, AuthError> {
    std::future::pending().await
}

#[actix_web::test]
async fn many_wait_for_one_call() {
    let (single_flight, calls) = (Numbers::default(), Arc::new(AtomicUsize::new(0)));
    let call = || {
        let calls = Arc::clone(&calls);
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(calls.fetch_add(1, Ordering::SeqCst))
        }
    };
    let outcomes = join_all((0..200).map(|_| single_flight.join(1, soon(), roomy(), call))).await;
    assert!(outcomes.into_iter().all(|outcome| outcome.unwrap() == 0));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert!(lock(&single_flight.calls).is_empty());
    assert_eq!(
        single_flight.join(1, soon(), roomy(), call).await.unwrap(),
        1,
        "a later request makes a call of its own"
    );
}

#[actix_web::test]
async fn a_failure_gives_each_waiter_one_try_of_its_own_together() {
    let (single_flight, calls) = (Numbers::default(), Arc::new(AtomicUsize::new(0)));
    let failing = || {
        let calls = Arc::clone(&calls);
        async move {
            calls.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            Err::<usize, _>(AuthError::upstream(UpstreamFault::TimedOut))
        }
    };
    let outcomes = join_all((0..50).map(|_| single_flight.join(1, soon(), roomy(), failing))).await;
    assert!(outcomes.into_iter().all(|outcome| outcome.is_err()));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[actix_web::test]
async fn a_dropped_leader_leaves_its_call_running() {
    let (single_flight, calls) = (Numbers::default(), Arc::new(AtomicUsize::new(0)));
    let call = || {
        let calls = Arc::clone(&calls);
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(calls.fetch_add(1, Ordering::SeqCst) + 7)
        }
    };
    let leader = tokio::time::timeout(Duration::from_millis(1), single_flight.join(1, soon(), roomy(), call));
    assert!(leader.await.is_err(), "its client went away");
    assert_eq!(single_flight.join(1, soon(), roomy(), call).await.unwrap(), 7);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[actix_web::test]
async fn a_forgotten_call_is_joined_by_nobody_and_takes_no_later_ones_place() {
    let (single_flight, calls) = (Numbers::default(), Arc::new(AtomicUsize::new(0)));
    let call = |millis| {
        let calls = Arc::clone(&calls);
        move || {
            let calls = Arc::clone(&calls);
            async move {
                let number = calls.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(millis)).await;
                Ok(number)
            }
        }
    };
    let early = rt::spawn({
        let (single_flight, call) = (Arc::clone(&single_flight), call(20));
        async move { single_flight.join(1, soon(), roomy(), call).await }
    });
    tokio::task::yield_now().await;
    single_flight.detach(&1);
    let late = rt::spawn({
        let (single_flight, call) = (Arc::clone(&single_flight), call(60));
        async move { single_flight.join(1, soon(), roomy(), call).await }
    });
    assert_eq!(early.await.unwrap().unwrap(), 0);
    assert_eq!(lock(&single_flight.calls).len(), 1, "the later call is still there");
    assert_eq!(single_flight.join(1, soon(), roomy(), call(0)).await.unwrap(), 1, "and is joined");
    assert_eq!(late.await.unwrap().unwrap(), 1);
}

#[actix_web::test]
async fn a_panicking_call_leaves_no_stuck_place() {
    let single_flight = Numbers::default();
    let panics = || async {
        assert!(std::hint::black_box(false), "on purpose");
        Ok(0)
    };
    assert!(single_flight.join(1, soon(), roomy(), panics).await.is_err());
    assert!(lock(&single_flight.calls).is_empty());
    assert_eq!(single_flight.join(1, soon(), roomy(), || async { Ok(3) }).await.unwrap(), 3);
}

#[test]
fn waiters_on_other_threads_are_served() {
    let (single_flight, calls) = (Numbers::default(), Arc::new(AtomicUsize::new(0)));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (single_flight, calls) = (Arc::clone(&single_flight), Arc::clone(&calls));
            std::thread::spawn(move || {
                rt::System::new().block_on(async move {
                    let call = || {
                        let calls = Arc::clone(&calls);
                        async move {
                            tokio::time::sleep(Duration::from_millis(200)).await;
                            Ok(calls.fetch_add(1, Ordering::SeqCst))
                        }
                    };
                    join_all((0..10).map(|_| single_flight.join(1, soon(), roomy(), call))).await
                })
            })
        })
        .collect();
    for worker in workers {
        assert!(worker.join().unwrap().into_iter().all(|outcome| outcome.is_ok()));
    }
    assert!(calls.load(Ordering::SeqCst) <= 2, "the threads start within one call's time");
}

#[test]
fn a_worker_that_stops_with_its_call_does_not_hang_the_others() {
    let single_flight = Numbers::default();
    let leaders = Arc::clone(&single_flight);
    let gone = std::thread::spawn(move || {
        rt::System::new().block_on(async move {
            let _ =
                tokio::time::timeout(Duration::from_millis(1), leaders.join(1, soon(), roomy(), never)).await;
        });
    });
    gone.join().unwrap();
    let value = rt::System::new().block_on(single_flight.join(1, soon(), roomy(), || async { Ok(5) }));
    assert_eq!(value.unwrap(), 5);
}

#[test]
fn a_waiter_is_told_when_the_leaders_worker_stops() {
    let single_flight = Numbers::default();
    let (leaders, (aboard, departed)) = (Arc::clone(&single_flight), std::sync::mpsc::channel());
    let leader = std::thread::spawn(move || {
        rt::System::new().block_on(async move {
            let _ =
                tokio::time::timeout(Duration::from_millis(1), leaders.join(1, soon(), roomy(), never)).await;
            aboard.send(()).unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        });
    });
    departed.recv().unwrap();
    let outcome = rt::System::new().block_on(async {
        let own = || async { Ok(5) };
        tokio::time::timeout(Duration::from_secs(30), single_flight.join(1, soon(), roomy(), own)).await
    });
    assert_eq!(outcome.unwrap().unwrap(), 5);
    leader.join().unwrap();
}

#[actix_web::test]
async fn a_bounded_number_of_requests_waits_for_the_call_of_another_one() {
    let (single_flight, room) = (Numbers::default(), WaitingRoom::new(10));
    let (release, released) = tokio::sync::watch::channel(false);
    let call = || {
        let mut released = released.clone();
        async move {
            released.wait_for(|released| *released).await.unwrap();
            Ok(7)
        }
    };
    let ended = AtomicUsize::new(0);
    let requests = join_all((0..3000).map(|_| async {
        let outcome = single_flight.join(1, soon(), &room, call).await;
        ended.fetch_add(1, Ordering::SeqCst);
        outcome.map_err(|error| error.kind())
    }));
    let meanwhile = async {
        while ended.load(Ordering::SeqCst) < 3000 - 11 {
            tokio::task::yield_now().await;
        }
        assert_eq!(room.waiting(), 10, "the leader does not count");
        release.send(true).unwrap();
    };
    let (outcomes, ()) = futures_util::future::join(requests, meanwhile).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Ok(7)).count(), 11);
    let saturated = Err(crate::error::AuthErrorKind::Upstream(UpstreamFault::Saturated));
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == saturated).count(), 3000 - 11);
    assert_eq!(room.waiting(), 0);
}

#[actix_web::test]
async fn a_dropped_waiter_gives_its_place_back() {
    let (single_flight, room) = (Numbers::default(), WaitingRoom::new(1));
    let leader = tokio::time::timeout(Duration::from_millis(1), single_flight.join(1, soon(), &room, never));
    assert!(leader.await.is_err());
    for _ in 0..3 {
        let waiter =
            tokio::time::timeout(Duration::from_millis(1), single_flight.join(1, soon(), &room, never));
        assert!(waiter.await.is_err(), "it had a place");
    }
    assert_eq!(room.waiting(), 0);
}

#[test]
fn a_call_whose_worker_is_blocked_is_replaced_by_those_who_wait_for_it() {
    let single_flight = Numbers::default();
    let (leaders, (leads, led)) = (Arc::clone(&single_flight), std::sync::mpsc::channel());
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let leader = std::thread::spawn(move || {
        rt::System::new().block_on(async move {
            let call = || async {
                tokio::task::yield_now().await;
                Ok(1)
            };
            let joined = leaders.join(1, soon(), roomy(), call);
            let blocking = async {
                leads.send(()).unwrap();
                blocked.recv_timeout(Duration::from_secs(60)).unwrap();
            };
            futures_util::future::join(joined, blocking).await.0
        })
    });
    led.recv().unwrap();
    let outcomes = rt::System::new().block_on(async {
        let own = || async { Ok(2) };
        let deadline = Deadline::after(Duration::from_millis(400));
        join_all((0..5).map(|_| single_flight.join(1, deadline, roomy(), own))).await
    });
    assert!(outcomes.into_iter().all(|outcome| outcome.unwrap() == 2));
    unblock.send(()).unwrap();
    assert_eq!(leader.join().unwrap().unwrap(), 1, "the leader has its own verdict");
    assert!(lock(&single_flight.calls).is_empty());
}

#[test]
fn a_call_that_is_lost_again_and_again_is_made_by_the_next_one_who_waits() {
    let single_flight = Numbers::default();
    for _ in 0..5 {
        let (leaders, (leads, led)) = (Arc::clone(&single_flight), std::sync::mpsc::channel());
        let leader = std::thread::spawn(move || {
            rt::System::new().block_on(async move {
                let call =
                    tokio::time::timeout(Duration::from_millis(1), leaders.join(1, soon(), roomy(), never));
                let _ = call.await;
                leads.send(()).unwrap();
            });
        });
        led.recv().unwrap();
        leader.join().unwrap();
    }
    let value = rt::System::new().block_on(single_flight.join(1, soon(), roomy(), || async { Ok(5) }));
    assert_eq!(value.unwrap(), 5);
}
