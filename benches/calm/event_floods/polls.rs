//! Polls of transmitters that misbehave, beside one that does not.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use actix_protect_api::{
    ProtectApi, Ssf,
    test::{Algorithm, Endpoint, JwtOptions, TestIssuer, TestKey},
};
use actix_web::rt;
use serde_json::json;

use super::{
    STREAM, good_event,
    transmitter::{Misbehaviour, Transmitter},
};
use crate::{memory, report::Report};

/// The pause after a poll without new events.
const INTERVAL: Duration = Duration::from_millis(250);
/// The longest body that is read.
const LONGEST: usize = 4 * 1024 * 1024;
/// The growth of the process. Each of the ten polls holds at most one response and the strings in it, 8 MiB together.
const GROWTH_KIB: usize = 80 * 1024;

pub(super) async fn run(
    report: &mut Report,
    issuer: &TestIssuer,
    protect: &ProtectApi,
    misbehaviours: Vec<(&'static str, Misbehaviour)>,
    length: Duration,
) {
    let ssf = || {
        let value = Ssf::transmitter(issuer.issuer()).audience(STREAM);
        value.poll_interval(INTERVAL)
    };
    let (started, before) = (Instant::now(), memory::resident());
    let mut polled = Vec::new();
    for (name, misbehaviour) in misbehaviours {
        let transmitter = Transmitter::start(misbehaviour).await;
        let poll = protect.ssf_poll(&transmitter.endpoint, ssf());
        polled.push((name, transmitter, poll));
    }
    let good = protect.ssf_poll(&issuer.url(Endpoint::Poll), ssf());
    let (mut sent, mut applied) = (0, 0);
    let mut most = before;
    while started.elapsed() < length {
        let user = format!("polled-{sent}");
        let token = issuer.jwt(json!({ "sub": user }));
        issuer.queue_event(&user, &issuer.security_event(good_event(issuer.issuer(), &user, &user)));
        sent += 1;
        // Until it is acknowledged, which is after it was applied.
        while issuer.queued_events().contains(&user) && started.elapsed() < length * 10 {
            rt::time::sleep(Duration::from_millis(5)).await;
        }
        applied += usize::from(protect.validate(&token, None).await.is_err());
        rt::time::sleep(Duration::from_millis(50)).await;
        most = most.max(memory::resident());
    }
    drop(good);
    let elapsed = started.elapsed();
    let pauses = usize::try_from(elapsed.as_millis() / INTERVAL.as_millis()).unwrap_or(0);
    for (name, transmitter, _poll) in &polled {
        // The first two follow each other, because the second one may wait for events.
        report.at_most(format!("polls of a transmitter: {name}"), transmitter.polls(), 2 + pauses);
    }
    report.exactly(format!("events of a good transmitter applied, of {sent}"), applied, sent);
    if let (Some(before), Some(most)) = (before, most) {
        report.tell("resident memory before, and at most", format!("{before} and {most} KiB"));
        report.at_most("its growth in KiB", most - before, GROWTH_KIB);
    }
}

pub(super) fn misbehaviours(issuer: &TestIssuer) -> Vec<(&'static str, Misbehaviour)> {
    let body = |text: String| Misbehaviour::Body(Rc::from(text.into_bytes()));
    let sets = |sets: Vec<String>| {
        let members = sets.iter().enumerate().map(|(number, set)| format!("\"{number}\":{set}"));
        body(format!("{{\"sets\":{{{}}},\"moreAvailable\":true}}", members.collect::<Vec<_>>().join(",")))
    };
    let stranger = TestKey::generate(Algorithm::ES256, issuer.key(Algorithm::ES256).kid());
    let forged = |number: usize| {
        let name = format!("polled-target-{number}");
        let claims = good_event(issuer.issuer(), &name, &name);
        format!("\"{}\"", issuer.security_event_with(JwtOptions::new().key(&stranger), claims))
    };
    let nested = LONGEST / 2 - 100;
    vec![
        ("thousands of forged events", sets((0..4000).map(forged).collect())),
        ("300 000 values that are no events", sets(vec!["1".to_owned(); 300_000])),
        (
            "deep nesting",
            body(format!("{{\"sets\":{{\"a\":{}{}}}}}", "[".repeat(nested), "]".repeat(nested))),
        ),
        ("not JSON", body("a".repeat(LONGEST - 1))),
        ("no HTTP", Misbehaviour::Garbage),
        ("an endless body", Misbehaviour::Endless),
        ("a body of 1 GiB", Misbehaviour::Huge),
        ("a slow body", Misbehaviour::Slow),
        ("no response", Misbehaviour::Silent),
        ("closed connections", Misbehaviour::Closed),
    ]
}
