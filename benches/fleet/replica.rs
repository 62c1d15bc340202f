//! One replica of the API.

use std::{env, sync::Arc, time::Duration};

use actix_protect_api::{Clock, ProtectApi, Revocation, Ssf, SystemClock};
use actix_protect_api_redis::RedisStore;
use actix_web::{App, HttpResponse, HttpServer, web};

pub(crate) const WEBHOOK_SECRET: &str = "the-secret-of-the-webhook";

/// A clock with a wrong time of day.
#[derive(Debug)]
struct WrongClock(SystemClock, i64);

impl Clock for WrongClock {
    fn unix_time(&self) -> i64 {
        self.0.unix_time() + self.1
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

async fn revoke(protect: web::Data<ProtectApi>, token: String) -> HttpResponse {
    match protect.revoke(Revocation::token(token)).await {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

fn store() -> RedisStore {
    let urls = env::var("REDIS_URLS").unwrap();
    let store = if let Ok(group) = env::var("REDIS_GROUP") {
        RedisStore::open_sentinels(urls.split(','), &group)
    } else if env::var("REDIS_CLUSTER").is_ok() {
        RedisStore::open_cluster(urls.split(','))
    } else {
        RedisStore::open(&urls)
    };
    store.unwrap()
}

/// The environment has the settings: `MONOCLOUD_BACKEND_*`, `REDIS_URLS` with `REDIS_GROUP` or `REDIS_CLUSTER`, `SECONDS_AHEAD`, and
/// `RUST_LOG`.
pub(crate) async fn serve() {
    env_logger::init();
    let store = store();
    let ahead = env::var("SECONDS_AHEAD").map_or(0, |seconds| seconds.parse().unwrap());
    let protect = ProtectApi::builder_from_env()
        .introspection_cache_duration(Duration::from_secs(60))
        .clock(WrongClock(SystemClock::new(), ahead))
        .shared_store(Arc::new(store), "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")
        .build()
        .unwrap();
    let (issuer, audience) = (
        env::var("MONOCLOUD_BACKEND_TENANT_DOMAIN").unwrap(),
        env::var("MONOCLOUD_BACKEND_AUDIENCE").unwrap(),
    );
    let base = issuer.trim_end_matches('/').to_owned();
    let transmitter = move || Ssf::transmitter(issuer.as_str()).audience(audience.as_str());
    let _poll = protect.ssf_poll(&format!("{base}/poll"), transmitter());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(protect.clone()))
            .service(protect.ssf_push("/ssf", transmitter()))
            .service(protect.backchannel_logout("/logout", ["app"]))
            .service(protect.revocation_webhook("/webhook", WEBHOOK_SECRET, |body| {
                body["session"].as_str().map(Revocation::session).into_iter().collect()
            }))
            .route("/revoke", web::post().to(revoke))
            .service(web::resource("/").wrap(protect.clone()).route(web::get().to(HttpResponse::Ok)))
    })
    .workers(1)
    .bind(("127.0.0.1", 0))
    .unwrap();
    println!("http://{}", server.addrs()[0]);
    server.run().await.unwrap();
}
