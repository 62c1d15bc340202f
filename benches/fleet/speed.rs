//! The time until all replicas reject a revoked token, under load.

use std::time::{Duration, Instant};

use actix_protect_api::test::TestIssuer;
use actix_web::rt::{spawn, time::sleep};
use futures_util::future::{join, join_all};
use serde_json::{Value, json};

use crate::{
    process::{Fleet, client, revoke, status},
    redis::{Kind, Redis},
    replica::WEBHOOK_SECRET,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    Code,
    Push,
    Poll,
    Logout,
    Webhook,
}

const SOURCES: [(Source, &str); 5] = [
    (Source::Code, "revoke"),
    (Source::Push, "SSF push"),
    (Source::Poll, "SSF poll"),
    (Source::Logout, "logout token"),
    (Source::Webhook, "webhook"),
];

pub(crate) async fn run() {
    println!("| source | token | revocations | p50 ms | p99 ms | worst ms | accepted afterwards |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let only = std::env::var("ONLY").unwrap_or_default();
    for (kind, clocks, note) in [
        (Kind::Server, [0; 3], "one server"),
        (Kind::Server, [0, 30, -30], "clocks of two replicas 30 s off"),
        (Kind::Tls, [0; 3], "TLS"),
        (Kind::Sentinels, [0; 3], "sentinel"),
        (Kind::Cluster, [0; 3], "cluster"),
    ] {
        if !note.contains(&only) {
            continue;
        }
        let (issuer, redis) = (TestIssuer::start(), Redis::start(kind).await);
        let variables = clocks.map(|seconds: i32| {
            [redis.variables(None), vec![("SECONDS_AHEAD", seconds.to_string())]].concat()
        });
        let fleet = Fleet::start(&issuer, variables);
        // The sources differ only in front of the store.
        let sources = if kind == Kind::Server { &SOURCES[..] } else { &SOURCES[..1] };
        for &(source, name) in sources {
            for is_jwt in [false, true] {
                let count = if source == Source::Code && note == "one server" { 1000 } else { 200 };
                let (mut times, accepted) = measure(&issuer, &fleet, source, is_jwt, count).await;
                times.sort_unstable();
                let ms = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1000.0;
                let token = if is_jwt { "JWT" } else { "opaque" };
                let (p50, p99, worst) = (ms(50), ms(99), ms(100));
                println!(
                    "| {name}, {note} | {token} | {count} | {p50:.1} | {p99:.1} | {worst:.1} | {accepted} |"
                );
            }
        }
    }
}

async fn measure(
    issuer: &TestIssuer,
    fleet: &Fleet,
    source: Source,
    is_jwt: bool,
    count: usize,
) -> (Vec<Duration>, usize) {
    let mint = |claims: Value| if is_jwt { issuer.jwt(claims) } else { issuer.opaque(claims) };
    let client = client();
    let load: Vec<_> = fleet.urls.iter().map(|url| spawn(load(url.clone(), mint(json!({}))))).collect();
    let (mut times, mut accepted) = (Vec::new(), 0);
    for number in 0..count {
        let sid = format!("{is_jwt}-{source:?}-{number}");
        let token = mint(json!({ "sub": sid, "sid": sid }));
        for url in &fleet.urls {
            assert_eq!(status(&client, url, &token).await, 200);
        }
        let url = &fleet.urls[number % 3];
        let event = issuer.security_event(json!({
            "jti": sid,
            "sub_id": { "format": "opaque", "id": sid },
            "events": { "session-revoked": {} },
        }));
        let logout = issuer.logout_token(json!({ "sid": sid }));
        let started = Instant::now();
        let send = async {
            let status = match source {
                Source::Code => revoke(&client, url, &token).await,
                Source::Push => issuer.deliver(&format!("{url}/ssf"), &event).await.0,
                // The replicas wait for events. One of them gets it.
                Source::Poll => {
                    issuer.queue_event(&sid, &event);
                    202
                }
                Source::Webhook => {
                    let request = client.post(format!("{url}/webhook")).bearer_auth(WEBHOOK_SECRET);
                    request.send_json(&json!({ "session": sid })).await.unwrap().status().as_u16()
                }
                Source::Logout => {
                    let form = [("logout_token", &logout)];
                    let sent = client.post(format!("{url}/logout")).send_form(&form).await;
                    sent.unwrap().status().as_u16()
                }
            };
            assert!((200..300).contains(&status), "{status}");
        };
        let rejected = fleet.urls.iter().map(|url| async {
            while status(&client, url, &token).await != 401 {
                assert!(started.elapsed() < Duration::from_secs(60), "not rejected");
            }
            started.elapsed()
        });
        let ((), rejected) = join(send, join_all(rejected)).await;
        times.extend(rejected.into_iter().max());
        for url in fleet.urls.iter().cycle().take(6) {
            accepted += usize::from(status(&client, url, &token).await != 401);
        }
    }
    for task in load {
        task.abort();
    }
    (times, accepted)
}

/// About 100 requests per second.
async fn load(url: String, token: String) {
    let client = client();
    loop {
        let _ = status(&client, &url, &token).await;
        sleep(Duration::from_millis(10)).await;
    }
}
