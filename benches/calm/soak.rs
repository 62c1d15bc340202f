//! Minutes of load while the authorization server fails in every way that the test issuer knows: every answer is judged by
//! what is true of its token, and by what goes wrong at that moment.

mod crowd;
mod tally;
mod weather;

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use actix_protect_api::{ProtectApi, test::TestIssuer};
use actix_web::rt;

use self::{crowd::Crowd, tally::Tally, weather::Weather};
use crate::{
    api::{Api, build, introspecting},
    memory,
    report::Report,
};

/// Of each call to the authorization server, and so the longest wait for a turn too.
const DEADLINE: Duration = Duration::from_millis(500);
/// How long verdicts are kept by the API that keeps them.
const KEPT: Duration = Duration::from_secs(2);
/// No request may take longer. The sum: metadata, a turn, the call, each at most a deadline; where the call was another's
/// and failed, once more; and two seconds for a busy machine.
const LONGEST: Duration = Duration::from_secs(5);
const GROWTH_KIB: usize = 16 * 1024;

/// The common state of all parts.
struct Scene {
    issuer: TestIssuer,
    weather: Weather,
    tally: Tally,
    started: Instant,
    duration: Duration,
}

impl Scene {
    fn is_over(&self) -> bool {
        self.started.elapsed() >= self.duration
    }
}

pub(crate) async fn run(duration: Duration) -> bool {
    let mut report = Report::new("soak: an authorization server that fails in every way");
    let issuer = TestIssuer::start();
    let crowd = Rc::new(Crowd::new(&issuer, duration));
    fill_records(&issuer).await;
    let [none, kept] = [Duration::ZERO, KEPT].map(|kept| protect(&issuer, kept));
    let apis = [Api::start(&none), Api::start(&kept)];
    let scene = Rc::new(Scene {
        weather: Weather::new(&issuer),
        issuer,
        tally: Tally::default(),
        started: Instant::now(),
        duration,
    });
    let tasks: Vec<_> = [(apis[0].address, Duration::ZERO), (apis[1].address, KEPT)]
        .into_iter()
        .flat_map(|(address, kept)| crowd::start(&scene, &crowd, address, kept))
        .collect();
    let minutes = rt::spawn(tell_minutes(Rc::clone(&scene)));
    weather::change(&scene, &crowd).await;
    for task in tasks {
        task.await.expect("a client that ends");
    }
    let baseline = minutes.await.expect("a teller that ends");

    scene.tally.report(&mut report, &scene.weather);
    for (api, what) in apis.iter().zip(["no verdict kept", "verdicts kept"]) {
        let (good, all) = crowd.all_good(api.address).await;
        report.exactly(format!("good tokens let through at the end, {what}"), good, all);
    }
    for (protect, what) in [(&none, "no verdict kept"), (&kept, "verdicts kept")] {
        let status = protect.status();
        report.at_most(format!("most introspections at once, {what}"), status.most_calls_in_flight, 64);
        report.exactly(format!("introspections left over, {what}"), status.calls_in_flight, 0);
    }
    report.growth(baseline, GROWTH_KIB);
    for api in apis {
        api.stop().await;
    }
    report.finish()
}

/// Documents that count for two seconds only, so that outages of them are felt too.
fn protect(issuer: &TestIssuer, kept: Duration) -> ProtectApi {
    build(
        introspecting(issuer)
            .introspection_cache_duration(kept)
            // Full within the first minute, so that growth is none of the cache's.
            .cache_entries(1_000)
            .response_timeout(DEADLINE)
            .max_response_size(64 << 10)
            .metadata_cache_duration(Duration::from_secs(2))
            .jwks_cache_duration(Duration::from_secs(2))
            .jwks_cooldown(Duration::from_secs(1))
            .max_stale(Duration::from_secs(5))
            .clock_tolerance(Duration::ZERO),
    )
}

/// The issuer records the last 1000 requests of each endpoint: as many come before anything is measured.
async fn fill_records(issuer: &TestIssuer) {
    let client = awc::Client::default();
    for endpoint in weather::EVERYTHING {
        for _ in 0..1000 {
            let _ = client.get(issuer.url(endpoint)).send().await;
        }
    }
}

/// Prints a line each minute. Gives the memory after the first one, or after a third of a shorter time.
async fn tell_minutes(scene: Rc<Scene>) -> Option<usize> {
    let minute = Duration::from_secs(60).min(scene.duration / 3);
    let mut baseline = None;
    let mut next = minute;
    while !scene.is_over() {
        rt::time::sleep(Duration::from_millis(200)).await;
        if scene.started.elapsed() >= next {
            let resident = memory::resident();
            baseline = baseline.or(resident);
            println!(
                "  {:>5} s  {}, resident {} KiB",
                next.as_secs(),
                scene.tally.line(),
                resident.unwrap_or_default()
            );
            next += minute;
        }
    }
    baseline
}
