//! A custom cache for introspection results: Redis, so that all instances of the API share them.
//!
//! Needs `redis-server` (Debian and Ubuntu: `apt-get install redis-server`), which it starts on a free port of loopback;
//! or set `REDIS_URL`.
//!
//! ```text
//! cargo run --example own_cache               starts the API and prints curl commands
//! cargo run --example own_cache -- --check    calls the API itself, exits with 1 on a difference
//! ```

#[path = "../support/child.rs"]
mod child;
#[path = "../support/mod.rs"]
mod support;

use std::{
    error::Error,
    fmt, io,
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

use actix_protect_api::{
    AuthenticatedRequest, ConfigError, ProtectApi, ProtectApiBuilder,
    cache::{CacheError, CacheFuture, CacheKey, CachedVerdict, IntrospectionCache},
    test::{Endpoint, TestIssuer},
};
use actix_web::{App, HttpServer, dev::Server, rt::time::sleep, web};
use child::ChildProcess;
use redis::{
    AsyncCommands as _, Client,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use serde_json::json;
use support::{Call, Outcome, Table};

/// One connection that all workers share. It reconnects when it breaks. A program that can write to this Redis can grant access:
/// protect it with a password, and with TLS if it is on another machine.
#[derive(Clone)]
struct Redis(ConnectionManager);

impl Redis {
    async fn connect(url: &str) -> redis::RedisResult<Self> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Duration::from_millis(200)))
            .set_response_timeout(Some(Duration::from_millis(200)));
        Client::open(url)?.get_connection_manager_with_config(config).await.map(Self)
    }

    fn name(key: &CacheKey) -> String {
        format!("verdict:{}", key.to_hex())
    }
}

/// An error is a miss: the token is introspected, as without a cache.
impl IntrospectionCache for Redis {
    fn get<'a>(&'a self, key: &'a CacheKey) -> CacheFuture<'a, Option<CachedVerdict>> {
        Box::pin(async move {
            let entry: Option<String> = self.0.clone().get(Self::name(key)).await.map_err(CacheError::new)?;
            entry.map(|json| serde_json::from_str(&json)).transpose().map_err(CacheError::new)
        })
    }

    fn set<'a>(
        &'a self,
        key: &'a CacheKey,
        value: &'a CachedVerdict,
        lifetime: Duration,
    ) -> CacheFuture<'a, ()> {
        Box::pin(async move {
            let entry = serde_json::to_string(value).map_err(CacheError::new)?;
            // Redis rejects a lifetime of zero.
            let milliseconds = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX).max(1);
            self.0.clone().pset_ex(Self::name(key), entry, milliseconds).await.map_err(CacheError::new)
        })
    }

    fn delete<'a>(&'a self, key: &'a CacheKey) -> CacheFuture<'a, ()> {
        Box::pin(async move { self.0.clone().del(Self::name(key)).await.map_err(CacheError::new) })
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redis")
    }
}

async fn data(caller: AuthenticatedRequest) -> String {
    format!("hello {}", caller.subject().unwrap_or("machine"))
}

fn protect(builder: ProtectApiBuilder, redis: &Redis) -> Result<ProtectApi, ConfigError> {
    builder
        // A revoked token is accepted for up to this time.
        .introspection_cache_duration(Duration::from_secs(60))
        .cache_store(redis.clone())
        .build()
}

/// The application: two routes for two instances of it, which share nothing but Redis.
fn serve([first, second]: [ProtectApi; 2], listener: TcpListener) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        let instance =
            |path, protect: &ProtectApi| web::resource(path).wrap(protect.clone()).route(web::get().to(data));
        App::new().service(instance("/first", &first)).service(instance("/second", &second))
    })
    .workers(2)
    .listen(listener)?
    .run();
    Ok(server)
}

// The harness: Redis, an authorization server, tokens, and the calls to try.
#[actix_web::main]
async fn main() -> Outcome {
    support::init_logger();
    let (redis_server, url) = match std::env::var("REDIS_URL") {
        Ok(url) => (None, url),
        Err(_) => start_redis().map(|(server, url)| (Some(server), url))?,
    };
    let redis = connect_with_retries(&url).await?;
    let issuer = TestIssuer::start();
    let build = || protect(support::builder(&issuer), &redis);
    let instances = [build()?, build()?];
    let (listener, base) = support::listen()?;
    let server = serve(instances.clone(), listener)?;

    let alice = issuer.opaque(json!({ "sub": "alice" }));
    let unknown = "never-issued";
    let first = Call::get("the first instance asks", "/first").token(&alice).answers(200).body("alice");
    let second = Call::get("the second one knows", "/second").token(&alice).answers(200).body("alice");
    let refused =
        Call::get("an unknown token", "/first").token(unknown).answers(401).challenge("invalid_token");
    let again = Call::get("still unknown", "/second").token(unknown).answers(401).challenge("invalid_token");
    if !support::wants_check() {
        return support::serve(server, &base, &[first, second, refused, again]).await;
    }

    let running = support::start(server);
    let mut table = Table::new();
    let asked = || issuer.count(Endpoint::Introspection);
    table.call(&base, &first).await;
    table.call(&base, &second).await;
    table.row("introspections so far", 1, asked());
    table.call(&base, &refused).await;
    table.call(&base, &again).await;
    table.row("introspections so far", 2, asked());

    // After one instance evicts a revoked token, every instance rejects it.
    issuer.revoke(&alice);
    let [instance, _] = &instances;
    instance.evict(&alice).await.map_err(io::Error::other)?;
    let evicted =
        Call::get("revoked and evicted", "/second").token(&alice).answers(401).challenge("invalid_token");
    table.call(&base, &evicted).await;
    table.row("introspections so far", 3, asked());

    if let Some(server) = redis_server {
        let bob = issuer.opaque(json!({ "sub": "bob" }));
        drop(server);
        let call =
            Call::get("without Redis: asked every time", "/first").token(&bob).answers(200).body("bob");
        table.call(&base, &call).await;
        table.call(&base, &call).await;
        table.row("introspections so far", 5, asked());
    }
    running.stop(false).await;
    Ok(table.finish())
}

/// Starts a Redis on a free port. Returns its URL, too.
fn start_redis() -> Result<(ChildProcess, String), Box<dyn Error>> {
    // Free a moment ago, so most likely still free when Redis takes it.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let server = child::start_redis(port).map_err(|error| format!("{error}, or set REDIS_URL"))?;
    Ok((server, format!("redis://127.0.0.1:{port}/")))
}

/// Retries, because a server that was just started does not accept connections at once.
async fn connect_with_retries(url: &str) -> Result<Redis, Box<dyn Error>> {
    let mut tries = 0;
    loop {
        match Redis::connect(url).await {
            Err(_) if tries < 50 => {
                tries += 1;
                sleep(Duration::from_millis(100)).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}
