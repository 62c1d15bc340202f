//! The memory of tenants: bytes of the allocator for each tenant, and the limits of their number. See `benches/README.md`.
//! The numbers and the bounds do not depend on the machine.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and stops where something is not as it expects"
)]

use std::{alloc::System, pin::Pin, process::ExitCode, time::Duration};

use actix_protect_api::{
    ClientAuthentication, ProtectApi, ProtectApiBuilder, TenantRequest,
    test::{Algorithm, TestClock, TestIssuer, TestKey},
};
use actix_web::{
    App, Error, HttpResponse,
    dev::{Service, ServiceResponse},
    http::header::AUTHORIZATION,
    test::{TestRequest, init_service},
    web,
};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The limit of the number of tenants, and the number of tenants that appear.
const LIMIT: usize = 1000;
const APPEARING: usize = 5 * LIMIT;
/// The number of invented issuers for which no tenant exists. The names of the last 10 000 are cached.
const UNKNOWN: usize = 30_000;
const EXPIRY: u64 = 4_000_000_000;

#[actix_web::main]
async fn main() -> ExitCode {
    println!("| what | KiB | states |\n|---|---|---|");
    let holds = [
        flood("JWTs, keys in a document, no client", false).await,
        flood("opaque tokens, introspected, one cached verdict", true).await,
        unknown().await,
    ];
    if holds.iter().all(|holds| *holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The bytes that are allocated now.
fn allocated() -> usize {
    let counted = ALLOCATOR.stats();
    counted.bytes_allocated.saturating_sub(counted.bytes_deallocated)
}

fn row(what: &str, bytes: usize, states: usize) {
    println!("| {what} | {} | {states} |", kib(bytes));
}

fn kib(bytes: usize) -> String {
    format!("{}.{}", bytes / 1024, bytes % 1024 * 10 / 1024)
}

/// Requests with one token for each tenant, one tenant after the other. Returns whether all bounds hold.
async fn flood(what: &str, introspects: bool) -> bool {
    let (issuer, clock) = (TestIssuer::start(), TestClock::new());
    let key = TestKey::generate(Algorithm::ES256, "es256-1");
    let jwks = json!({ "keys": [key.jwk()] });
    let (base, audience) = (issuer.issuer().to_owned(), issuer.audience());
    let configure = {
        let (base, audience, clock) = (base.clone(), audience.to_owned(), clock.clone());
        let (id, secret) = (issuer.client_id(), issuer.client_secret());
        move |tenant: &str| -> ProtectApiBuilder {
            let name = format!("{base}/{tenant}");
            let api = ProtectApi::builder(&name, &audience).clock(clock.clone());
            let metadata = json!({ "issuer": name, "jwks_uri": format!("{base}/jwks"),
                "introspection_endpoint": format!("{base}/introspect") });
            let api = api.metadata_document(metadata.to_string()).jwks_document(jwks.to_string());
            if introspects {
                api.client(id, ClientAuthentication::client_secret_basic(secret))
                    .introspection_cache_duration(Duration::from_secs(3600))
            } else {
                api
            }
        }
    };
    let platform = configure("platform").build().expect("a configuration");
    let name = |request: TenantRequest<'_>| Some(request.path?.trim_matches('/').to_owned());
    let resolve = move |tenant: String| -> Pin<Box<dyn Future<Output = _>>> {
        let api = configure(&tenant).build();
        Box::pin(async move { Ok(Some(api?)) })
    };
    let protect = ProtectApi::any_of([platform]).tenants(name, resolve).max_tenants(LIMIT).build();
    let protect = protect.expect("a configuration");
    // One client for all tenants: the connections of the test issuer would be counted too.
    let app = App::new().app_data(web::Data::new(awc::Client::default()));
    let app = app.wrap(protect.clone()).default_service(web::to(HttpResponse::Ok));
    let app = init_service(app).await;

    let token = |number: usize| {
        let name = format!("{base}/t{number}");
        let claims = json!({ "iss": name, "aud": audience, "sub": "alice", "exp": EXPIRY });
        if introspects {
            issuer.opaque(claims)
        } else {
            key.jws(&json!({ "alg": "ES256", "typ": "at+jwt", "kid": key.kid() }), &claims)
        }
    };
    // The first request of this process initialises the library of the signatures and the like.
    assert!(
        is_accepted(&app, request("/t0", &token(0)).to_request()).await,
        "the token of the first tenant is rejected"
    );
    let tokens: Vec<_> = (0..APPEARING).map(token).collect();
    let (mut start, mut at_limit) = (allocated(), 0);
    let mut holds = true;
    println!("| **{what}** | | |");
    for (number, token) in tokens.iter().enumerate().skip(1) {
        holds &= is_accepted(&app, request(&format!("/t{number}"), token).to_request()).await;
        let done = number + 1;
        if done % (LIMIT / 10) != 0 {
            continue;
        }
        issuer.reset_counters();
        let states = protect.statuses().len() - 1;
        holds &= states <= LIMIT;
        if done == LIMIT / 10 {
            start = allocated();
        } else if done == LIMIT {
            // The first tenants are not counted: with them the maps grow.
            at_limit = allocated();
            let each = at_limit.saturating_sub(start) / (LIMIT - LIMIT / 10);
            row("one tenant", each, 1);
            row("1000 tenants appeared", at_limit.saturating_sub(start), states);
        } else if done % (2 * LIMIT) == 0 || done == APPEARING {
            row(&format!("{done} tenants appeared"), allocated().saturating_sub(start), states);
        }
    }
    let grown = allocated().saturating_sub(at_limit);
    println!("| growth after {LIMIT} tenants | {} | |", kib(grown));
    holds && grown < at_limit.saturating_sub(start) / 2
}

/// Requests with invented issuers, of which the resolver knows none. Returns whether all bounds hold.
async fn unknown() -> bool {
    let (issuer, clock) = (TestIssuer::start(), TestClock::new());
    let platform = ProtectApi::builder(issuer.issuer(), issuer.audience()).clock(clock).build();
    let name = |request: TenantRequest<'_>| request.issuer.map(str::to_owned);
    let resolve = |_: String| -> Pin<Box<dyn Future<Output = _>>> { Box::pin(async { Ok(None) }) };
    let protect = ProtectApi::any_of([platform.expect("a configuration")]).tenants(name, resolve).build();
    let protect = protect.expect("a configuration");
    let app = App::new().wrap(protect.clone()).default_service(web::to(HttpResponse::Ok));
    let app = init_service(app).await;
    let key = TestKey::generate(Algorithm::ES256, "unknown");
    let (mut start, mut at_third, mut holds) = (allocated(), 0, true);
    println!("| **JWTs with invented issuers** | | |");
    for number in 0..UNKNOWN {
        if number == 1 {
            start = allocated();
        }
        let claims = json!({ "iss": format!("https://invented-{number}.example.test/"), "exp": EXPIRY });
        let token = key.jws(&json!({ "alg": "ES256", "kid": "unknown" }), &claims);
        holds &= !is_accepted(&app, request("/", &token).to_request()).await;
        if (number + 1) % (UNKNOWN / 3) == 0 {
            let grown = allocated().saturating_sub(start);
            at_third = if at_third == 0 { grown } else { at_third };
            row(&format!("{} issuers", number + 1), grown, protect.statuses().len() - 1);
        }
    }
    holds && protect.statuses().len() == 1 && allocated().saturating_sub(start) < at_third * 3 / 2
}

fn request(path: &str, token: &str) -> TestRequest {
    TestRequest::get().uri(path).insert_header((AUTHORIZATION, format!("Bearer {token}")))
}

async fn is_accepted<R, B>(
    app: &impl Service<R, Response = ServiceResponse<B>, Error = Error>,
    request: R,
) -> bool {
    app.call(request).await.is_ok_and(|response| response.status().is_success())
}
