//! Three replicas of an API, as processes, with Redis as their shared store: one introspection is enough for all of them, and a
//! revocation on one of them applies to all.
//!
//! Needs `redis-server` (Debian and Ubuntu: `apt-get install redis-server`), which it starts on a free port of loopback.
//!
//! ```text
//! cargo run --example fleet               revokes an opaque token and a JWT, prints the times, and serves until Ctrl-C
//! cargo run --example fleet -- --check    the same, ends, and exits with 1 on a difference
//! ```
#![expect(clippy::print_stdout, reason = "it prints the times")]

#[path = "../support/child.rs"]
mod child;
#[path = "../support/mod.rs"]
mod support;

use std::{
    env,
    error::Error,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use actix_protect_api::{
    AuthenticatedRequest, ProtectApi, Revocation,
    test::{Endpoint, TestIssuer},
};
use actix_protect_api_redis::RedisStore;
use actix_web::{
    App, HttpResponse, HttpServer, error::ErrorServiceUnavailable, http::StatusCode, rt::time::sleep, web,
};
use child::ChildProcess;
use futures_util::future::join_all;
use serde_json::json;
use support::{Call, Outcome, Table};

async fn data(caller: AuthenticatedRequest) -> String {
    format!("hello {}", caller.subject().unwrap_or("machine"))
}

/// Revokes the token in the body. After an error, the revocation applies to this replica only until the store is available.
async fn revoke(protect: web::Data<ProtectApi>, token: String) -> actix_web::Result<HttpResponse> {
    protect.revoke(Revocation::token(token)).await.map_err(ErrorServiceUnavailable)?;
    Ok(HttpResponse::NoContent().finish())
}

/// One replica. The environment has the settings: `MONOCLOUD_BACKEND_*`, `REDIS_URL` and `STORE_KEY`.
async fn replica() -> Result<(), Box<dyn Error>> {
    let store = RedisStore::open(&env::var("REDIS_URL")?)?;
    let protect = ProtectApi::builder_from_env()
        .introspection_cache_duration(Duration::from_secs(60))
        .shared_store(Arc::new(store), env::var("STORE_KEY")?)
        .build()?;
    let server = HttpServer::new(move || {
        let admin = web::resource("/revoke").wrap(protect.scopes(["tokens:revoke"]));
        App::new()
            .app_data(web::Data::new(protect.clone()))
            .service(admin.route(web::post().to(revoke)))
            .service(web::resource("/data").wrap(protect.clone()).route(web::get().to(data)))
    })
    .workers(1)
    .bind(("127.0.0.1", 0))?;
    for address in server.addrs() {
        println!("http://{address}");
    }
    Ok(server.run().await?)
}

// The harness: Redis, an authorization server, three processes of this program, and the calls.
#[actix_web::main]
async fn main() -> Outcome {
    if env::args().any(|argument| argument == "replica") {
        replica().await?;
        return Ok(ExitCode::SUCCESS);
    }
    support::init_logger();
    let (_redis, redis_url) = start_redis().await?;
    let issuer = TestIssuer::start();
    let mut fleet = Fleet::default();
    for _ in 0..3 {
        fleet.start(&issuer, &redis_url)?;
    }

    let mut table = Table::new();
    let [opaque, jwt] = [issuer.opaque(json!({ "sub": "alice" })), issuer.jwt(json!({ "sub": "bob" }))];
    for (token, subject) in [(&opaque, "alice"), (&jwt, "bob")] {
        for (number, base) in (1..).zip(&fleet.urls) {
            let call = Call::get(format!("{subject} at replica {number}"), "/data").token(token);
            table.call(base, &call.answers(200).body(subject)).await;
        }
    }
    // For the opaque token: the other replicas took the verdict from the store. The JWT needs no call.
    table.row("calls to the issuer", 1, issuer.count(Endpoint::Introspection));

    let admin = issuer.opaque(json!({ "sub": "admin", "scope": "tokens:revoke" }));
    for (token, kind) in [(&opaque, "opaque token"), (&jwt, "JWT")] {
        let after = fleet.revoke(token, &admin).await?;
        println!("{kind}: revoked at replica 1, rejected by all replicas after {after:.1?}");
        for (number, base) in (1..).zip(&fleet.urls) {
            let call = Call::get(format!("revoked {kind} at replica {number}"), "/data").token(token);
            table.call(base, &call.answers(401).challenge("invalid_token")).await;
        }
    }
    let outcome = table.finish();
    if !support::wants_check() {
        let token = issuer.opaque(json!({ "sub": "carol", "scope": "tokens:revoke" }));
        println!("\nThe replicas listen on {}. Try, in another terminal:\n", fleet.urls.join(", "));
        for base in &fleet.urls {
            println!("curl -i -H 'Authorization: Bearer {token}' {base}/data");
        }
        println!(
            "curl -i -H 'Authorization: Bearer {token}' -d '{token}' {}/revoke\n\nStop with Ctrl-C.",
            fleet.url()?
        );
        actix_web::rt::signal::ctrl_c().await?;
    }
    Ok(outcome)
}

/// The replicas. They end when this is dropped.
#[derive(Default)]
struct Fleet {
    processes: Vec<ChildProcess>,
    urls: Vec<String>,
}

impl Fleet {
    fn start(&mut self, issuer: &TestIssuer, redis_url: &str) -> Result<(), Box<dyn Error>> {
        // In production: `openssl rand -hex 32`, in a file (`SecretSource::file`).
        let key = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let mut command = child::command(env::current_exe()?);
        command.arg("replica").envs(issuer.variables()).envs([("REDIS_URL", redis_url), ("STORE_KEY", key)]);
        let mut process = ChildProcess(command.stdout(Stdio::piped()).spawn()?);
        let output = process.0.stdout.take().ok_or("the replica has no output")?;
        self.urls.push(BufReader::new(output).lines().next().ok_or("the replica has ended")??);
        self.processes.push(process);
        Ok(())
    }

    fn url(&self) -> Result<&str, &'static str> {
        self.urls.first().map(String::as_str).ok_or("no replica")
    }

    /// Revokes the token at the first replica. Returns the time until the last replica rejects it.
    async fn revoke(&self, token: &str, admin: &str) -> Result<Duration, Box<dyn Error>> {
        let client = awc::Client::default();
        // The introspection of the admin's token is not measured.
        client.get(format!("{}/data", self.url()?)).bearer_auth(admin).send().await?;
        let started = Instant::now();
        let request = client.post(format!("{}/revoke", self.url()?)).bearer_auth(admin);
        let response = request.send_body(token.to_owned()).await?;
        if response.status() != StatusCode::NO_CONTENT {
            return Err(format!("not revoked: {}", response.status()).into());
        }
        let rejected = self.urls.iter().map(async |base| {
            while started.elapsed() < Duration::from_secs(10) {
                let request = client.get(format!("{base}/data")).bearer_auth(token);
                if request.send().await.is_ok_and(|response| response.status() == StatusCode::UNAUTHORIZED) {
                    return;
                }
            }
        });
        join_all(rejected).await;
        Ok(started.elapsed())
    }
}

/// Starts a Redis that stores nothing on disk, and waits until it listens. Returns its URL, too.
async fn start_redis() -> Result<(ChildProcess, String), Box<dyn Error>> {
    // Free a moment ago, so most likely still free when Redis takes it.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let redis = child::start_redis(port)?;
    for _ in 0..100 {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok((redis, format!("redis://127.0.0.1:{port}/")));
        }
        sleep(Duration::from_millis(50)).await;
    }
    Err("redis-server does not listen".into())
}
