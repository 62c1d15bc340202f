//! Many idle connections that send one new token at the same time: one call to the authorization server.

use std::time::{Duration, Instant};

use actix_protect_api::{
    ProtectApi,
    test::{Endpoint, Fault, TestIssuer},
};
use actix_web::rt;
use futures_util::future::join_all;
use serde_json::json;

use crate::{
    api::{Api, build, introspecting},
    caller::Caller,
    report::{Report, latencies},
};

/// How long the authorization server takes.
const DELAY: Duration = Duration::from_millis(200);

pub(crate) async fn run(connections: usize) -> bool {
    let mut report = Report::new("herd: one cold token on many connections at once");
    report.tell("connections", connections);
    let issuer = TestIssuer::start();
    let (kept, none) = (Duration::from_secs(60), Duration::ZERO);
    for (cache, duration) in [("verdicts kept", kept), ("no verdict kept", none)] {
        let protect = build(introspecting(&issuer).introspection_cache_duration(duration));
        wake(&mut report, &issuer, &protect, cache, connections).await;
    }
    report.finish()
}

async fn wake(
    report: &mut Report,
    issuer: &TestIssuer,
    protect: &ProtectApi,
    cache: &str,
    connections: usize,
) {
    let api = Api::start(protect);
    let mut callers: Vec<_> = (0..connections).map(|_| Caller::new(api.address)).collect();
    let opened = join_all(callers.iter_mut().map(Caller::status_without_token)).await;
    let opened = opened.into_iter().filter(|status| matches!(status, Ok(401))).count();
    // The metadata shall be known: this is about the token.
    let known = Caller::new(api.address).status(&issuer.opaque(json!({}))).await;
    let (before, arrived) = (issuer.count(Endpoint::Introspection), opened + 1);

    // The response is held until all requests have arrived, and then for the delay: a slow machine changes no count.
    issuer.fault(Endpoint::Introspection, Fault::hold().always());
    let cold = issuer.opaque(json!({}));
    let answer = async {
        api.arrived(arrived + connections).await;
        rt::time::sleep(DELAY).await;
        issuer.clear_faults();
    };
    let calls = join_all(callers.iter_mut().map(|caller| async {
        let started = Instant::now();
        (caller.status(&cold).await, started.elapsed())
    }));
    let ((), answers) = futures_util::future::join(answer, calls).await;

    let good = answers.iter().filter(|(status, _)| matches!(status, Ok(200))).count();
    report.exactly(format!("{cache}: connections that were open"), opened, connections);
    report.exactly(format!("{cache}: first token let through"), usize::from(matches!(known, Ok(200))), 1);
    report.exactly(format!("{cache}: let through"), good, connections);
    report.exactly(format!("{cache}: introspections"), issuer.count(Endpoint::Introspection) - before, 1);
    report.tell(
        format!("{cache}: latency, at {} ms for the answer", DELAY.as_millis()),
        latencies(answers.into_iter().map(|(_, time)| time).collect()),
    );
    api.stop().await;
}
