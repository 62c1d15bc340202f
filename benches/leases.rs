//! The leases of long streams: bytes of the allocator for each lease, the time until a revocation ends the lease of one
//! caller, and the longest time for which the worker is blocked. See `benches/README.md`.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and stops where something is not as it expects"
)]

use std::{
    alloc::System,
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use actix_protect_api::{
    AuthenticatedRequest, ClientAuthentication, Lease, ProtectApi, Revocation,
    test::{TestIssuer, bearer},
};
use actix_web::{
    App, HttpResponse, rt,
    test::{TestRequest, call_service, init_service},
    web,
};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const LEASES: usize = 10_000;
/// The number of records that are added in one burst.
const BURST: usize = 1000;

thread_local! {
    static MADE: RefCell<Vec<Lease>> = const { RefCell::new(Vec::new()) };
}

#[actix_web::main]
async fn main() {
    println!("{LEASES} leases, each of another token");
    measure("JWTs", false).await;
    measure("opaque tokens of 43 characters, with a recheck", true).await;
}

async fn stream(caller: AuthenticatedRequest) -> HttpResponse {
    MADE.with_borrow_mut(|made| made.push(caller.lease()));
    HttpResponse::Ok().finish()
}

async fn measure(name: &str, is_opaque: bool) {
    let issuer = TestIssuer::start();
    let authentication = ClientAuthentication::client_secret_basic(issuer.client_secret());
    let protect = ProtectApi::builder(issuer.issuer(), issuer.audience())
        .client(issuer.client_id(), authentication)
        .remember_jwts(false)
        .build()
        .expect("a configuration");
    let mount = if is_opaque { protect.recheck(Duration::from_secs(3600)) } else { protect.clone() };
    let app = init_service(App::new().wrap(mount).route("/", web::get().to(stream))).await;
    MADE.with_borrow_mut(|made| made.reserve(LEASES + 1));
    // The memory that is free after the end of the leases.
    for number in 0..LEASES {
        open(&app, &issuer, is_opaque, number).await;
    }
    let before = allocated();
    MADE.with_borrow_mut(Vec::clear);
    println!("{name}: {} bytes each", before.saturating_sub(allocated()) / LEASES);

    for number in 0..LEASES {
        open(&app, &issuer, is_opaque, number).await;
    }
    let pauses = Pauses::start();
    rt::time::sleep(Duration::from_millis(200)).await;
    println!("  without a revocation for 0.2 s: {}", pauses.describe());
    let mut leases = MADE.take();
    let middle = leases.swap_remove(LEASES / 2);
    let start = Instant::now();
    let revocation = Revocation::jwt_id(format!("jti {}", LEASES / 2));
    protect.revoke(revocation).await.expect("a revocation");
    middle.await;
    println!("  revocation of one: ended after {:?}, {}", start.elapsed(), pauses.describe());

    let start = Instant::now();
    for number in 0..BURST {
        protect.revoke(Revocation::jwt_id(format!("unknown {number}"))).await.expect("a revocation");
    }
    let middle = leases.swap_remove(LEASES / 3);
    protect.revoke(Revocation::jwt_id(format!("jti {}", LEASES / 3))).await.expect("a revocation");
    middle.await;
    println!("  the same after {BURST} other records: {:?}, {}", start.elapsed(), pauses.describe());

    let start = Instant::now();
    protect.revoke(Revocation::all_tokens()).await.expect("a revocation");
    for lease in leases {
        lease.await;
    }
    println!("  revocation of all: ended after {:?}, {}", start.elapsed(), pauses.describe());
    pauses.task.abort();
}

/// Opens one stream.
async fn open<S, B>(app: &S, issuer: &TestIssuer, is_opaque: bool, number: usize)
where
    S: actix_web::dev::Service<
            actix_http::Request,
            Response = actix_web::dev::ServiceResponse<B>,
            Error = actix_web::Error,
        >,
    B: actix_web::body::MessageBody,
{
    let claims = json!({
        "sub": format!("user {number}"), "client_id": "spa", "jti": format!("jti {number}"),
        "sid": format!("sid {number}"), "scope": "openid orders:read orders:write",
    });
    let token = if is_opaque { issuer.opaque(claims) } else { issuer.jwt(claims) };
    let request = TestRequest::get().insert_header(bearer(&token)).to_request();
    assert!(call_service(app, request).await.status().is_success(), "the token is rejected");
}

/// The bytes that are allocated now.
fn allocated() -> usize {
    let counted = ALLOCATOR.stats();
    counted.bytes_allocated.saturating_sub(counted.bytes_deallocated)
}

/// Measures for how long the other tasks of the worker do not run: a step of the leases, or another process on this machine.
struct Pauses {
    seen: Rc<RefCell<Vec<Duration>>>,
    task: rt::task::JoinHandle<()>,
}

/// Shorter pauses are those of a worker without work.
const SHORTEST: Duration = Duration::from_micros(10);

impl Pauses {
    fn start() -> Self {
        let seen = Rc::new(RefCell::new(Vec::with_capacity(LEASES)));
        let noted = Rc::clone(&seen);
        let task = rt::spawn(async move {
            loop {
                let start = Instant::now();
                tokio::task::yield_now().await;
                let pause = start.elapsed();
                if pause >= SHORTEST {
                    noted.borrow_mut().push(pause);
                }
            }
        });
        Self { seen, task }
    }

    /// Describes the pauses since the last call.
    fn describe(&self) -> String {
        let mut seen = self.seen.take();
        seen.sort_unstable();
        let median = seen.get(seen.len() / 2).copied().unwrap_or_default();
        let longest = seen.last().copied().unwrap_or_default();
        format!("{} pauses, median {median:?}, longest {longest:?}", seen.len())
    }
}
