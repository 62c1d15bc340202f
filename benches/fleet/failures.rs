//! Failures of the store and of a replica, and what is accepted meanwhile.

use std::{
    cell::RefCell,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use actix_protect_api::test::TestIssuer;
use actix_web::rt::{spawn, time::sleep};
use serde_json::json;

use crate::process::{Fleet, Redis, client, revoke, signal, status};

#[derive(Clone, Copy, PartialEq)]
enum Failure {
    Killed,
    Stopped,
    Paused,
    Flushed,
    Full,
    Slow,
    ReplicaStopped,
}

/// `BLIND_FOR`, one round trip to the store, and the time of a call.
const BOUND: Duration = Duration::from_millis(1500);

/// The responses to one token at one replica: when they came, how long they took, and their status.
type Responses = Rc<RefCell<Vec<(Instant, Duration, u16)>>>;

pub(crate) async fn run() {
    println!(
        "| failure | `revoke` | opaque accepted for ms | after the bound | JWT accepted after the end for ms | \
         revoked before, accepted | good, rejected | good, 5xx | good, no response | slowest ms |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (failure, name) in [
        (Failure::Killed, "Redis killed, started again (empty) after 4 s"),
        (Failure::Stopped, "Redis stopped (SIGSTOP) for 4 s"),
        (Failure::Paused, "CLIENT PAUSE of 4 s"),
        (Failure::Flushed, "FLUSHALL"),
        (Failure::Full, "memory full for 4 s"),
        (Failure::Slow, "Redis slower by 200 ms for 4 s"),
        (Failure::ReplicaStopped, "one replica stopped (SIGSTOP) for 10 s"),
    ] {
        let only = std::env::var("ONLY").unwrap_or_default();
        if name.contains(&only) {
            measure(failure, name).await;
        }
    }
}

async fn measure(failure: Failure, name: &str) {
    let (issuer, mut redis) = (TestIssuer::start(), Redis::start());
    let delay = Arc::new(AtomicU64::new(0));
    let port = if failure == Failure::Slow { proxy(redis.port, &delay) } else { redis.port };
    let fleet = Fleet::start(&issuer, port, [0; 3]);
    let client = client();
    let both = || [issuer.opaque(json!({ "sub": "a" })), issuer.jwt(json!({ "sub": "a" }))];
    let (good, before, [opaque, jwt]) = (both(), both(), both());
    for url in &fleet.urls {
        for token in good.iter().chain(&before).chain([&opaque, &jwt]) {
            assert_eq!(status(&client, url, token).await, 200);
        }
    }
    for token in &before {
        assert_eq!(revoke(&client, &fleet.urls[0], token).await, 204);
    }
    sleep(Duration::from_secs(1)).await;

    let mut tasks = Vec::new();
    let mut watch = |token: &String| {
        let responses = Responses::default();
        for url in &fleet.urls {
            tasks.push(spawn(request(url.clone(), token.clone(), Rc::clone(&responses))));
        }
        responses
    };
    let good: Vec<_> = good.iter().map(&mut watch).collect();
    let before: Vec<_> = before.iter().map(&mut watch).collect();
    let [opaque_responses, jwt_responses] = [&opaque, &jwt].map(&mut watch);
    sleep(Duration::from_secs(2)).await;

    match failure {
        Failure::Killed => redis.process = None,
        Failure::Stopped => signal(redis.process.as_ref().unwrap(), "STOP"),
        Failure::Paused => redis.command("CLIENT PAUSE 4300 ALL"),
        Failure::Flushed => redis.command("FLUSHALL"),
        Failure::Full => redis.command("CONFIG SET maxmemory 100kb"),
        Failure::Slow => delay.store(100, Ordering::Relaxed),
        Failure::ReplicaStopped => signal(&fleet.processes[2], "STOP"),
    }
    sleep(Duration::from_millis(300)).await;
    issuer.revoke(&opaque);
    let revoked = Instant::now();
    let mut statuses = Vec::new();
    for token in [&opaque, &jwt] {
        statuses.push(revoke(&client, &fleet.urls[0], token).await.to_string());
    }
    let took = revoked.elapsed();
    let length = if failure == Failure::ReplicaStopped { 10 } else { 4 };
    sleep(Duration::from_secs(length).saturating_sub(took)).await;
    match failure {
        Failure::Killed => redis.start_again(),
        Failure::Stopped => signal(redis.process.as_ref().unwrap(), "CONT"),
        Failure::Paused | Failure::Flushed => {}
        Failure::Full => redis.command("CONFIG SET maxmemory 0"),
        Failure::Slow => delay.store(0, Ordering::Relaxed),
        Failure::ReplicaStopped => signal(&fleet.processes[2], "CONT"),
    }
    let ended = Instant::now();
    sleep(Duration::from_secs(4)).await;
    for task in tasks {
        task.abort();
    }

    // The end of a response, so that a request that waited in a stopped replica is counted.
    let last = |responses: &Responses, since: Instant| {
        let responses = responses.borrow();
        let accepted = responses.iter().filter(|(_, _, status)| *status == 200);
        accepted.map(|(at, ..)| at.saturating_duration_since(since).as_millis()).max().unwrap_or(0)
    };
    let count = |responses: &[Responses], is_counted: &dyn Fn(Instant, u16) -> bool| -> usize {
        let counts = responses.iter().map(|responses| {
            responses.borrow().iter().filter(|(at, _, status)| is_counted(*at, *status)).count()
        });
        counts.sum()
    };
    let late =
        count(std::slice::from_ref(&opaque_responses), &|at, status| status == 200 && at > revoked + BOUND);
    let slowest = good.iter().flat_map(|responses| responses.borrow().clone()).map(|(_, took, _)| took).max();
    println!(
        "| {name} | {} in {} ms | {} | {late} | {} | {} of {} | {} | {} | {} of {} | {} |",
        statuses.join(", "),
        took.as_millis(),
        last(&opaque_responses, revoked),
        last(&jwt_responses, ended),
        count(&before, &|_, status| status == 200),
        count(&before, &|_, _| true),
        count(&good, &|_, status| (400..500).contains(&status)),
        count(&good, &|_, status| status >= 500),
        count(&good, &|_, status| status == 0),
        count(&good, &|_, _| true),
        slowest.unwrap_or_default().as_millis(),
    );
}

/// About 50 requests per second.
async fn request(url: String, token: String, responses: Responses) {
    let client = client();
    loop {
        let started = Instant::now();
        let status = status(&client, &url, &token).await;
        responses.borrow_mut().push((Instant::now(), started.elapsed(), status));
        sleep(Duration::from_millis(20)).await;
    }
}

/// Forwards to Redis, and delays each direction by this number of milliseconds.
fn proxy(redis: u16, delay: &Arc<AtomicU64>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let delay = Arc::clone(delay);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, redis)) else { continue };
            for (from, to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server.try_clone().unwrap(), client.try_clone().unwrap()),
            ] {
                let delay = Arc::clone(&delay);
                thread::spawn(move || forward(from, to, &delay));
            }
        }
    });
    port
}

fn forward(mut from: TcpStream, mut to: TcpStream, delay: &AtomicU64) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        thread::sleep(Duration::from_millis(delay.load(Ordering::Relaxed)));
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
