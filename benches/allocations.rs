//! Allocations per request of an app behind this crate, beyond those of the same app without any protection. They do not
//! depend on the machine, so they are a figure to hold on to. See `benches/README.md`.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and stops where something is not as it expects"
)]

mod support;

use std::alloc::System;

use actix_protect_api::{
    AuthenticatedRequest, ProtectApiBuilder,
    mcp::Tools,
    test::{Algorithm, TestIssuer},
};
use actix_web::{
    App, Error, HttpResponse,
    dev::{Service, ServiceResponse},
    test::init_service,
    web,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUESTS: usize = 1000;

#[actix_web::main]
async fn main() {
    let issuer = TestIssuer::start();
    let (opaque, jwt) = (support::opaque(&issuer), support::jwt(&issuer, Algorithm::ES256));
    let (api, caching) = (|| support::api(&issuer), || support::caching_api(&issuer));
    println!("| app | allocations/request | beyond the bare app | bytes/request |\n|---|---|---|---|");
    let bare = init_service(App::new().route("/", web::get().to(HttpResponse::Ok))).await;
    let none = Figures::of(&bare, || support::with_token(&opaque).to_request()).await;
    none.print("bare", &none);
    for (name, api, token) in [
        ("opaque, verdict kept", caching(), &opaque),
        ("JWT remembered", api(), &jwt),
        ("JWT ES256 at first sight", api().remember_jwts(false), &jwt),
        ("opaque, introspected (with awc and the test issuer)", api(), &opaque),
    ] {
        Figures::behind(api, token, false).await.print(name, &none);
    }
    let (before, after) =
        (Figures::of_tool(caching(), &opaque, false).await, Figures::of_tool(caching(), &opaque, true).await);
    before.print("opaque, verdict kept, a message of 150 bytes", &none);
    after.print("the same with scopes per tool", &none);
    let extracted = Figures::behind(caching(), &opaque, true).await;
    extracted.print("opaque, verdict kept, handler takes the caller", &none);
}

struct Figures {
    allocations: usize,
    bytes: usize,
}

impl Figures {
    /// Of an app behind this API whose handler is the bare one, or takes the caller.
    async fn behind(api: ProtectApiBuilder, token: &str, extracts: bool) -> Self {
        let protect = api.build().expect("a configuration");
        let handler = if extracts { web::get().to(caller) } else { web::get().to(HttpResponse::Ok) };
        let app = init_service(App::new().wrap(protect).route("/", handler)).await;
        Self::of(&app, || support::with_token(token).to_request()).await
    }

    /// Of an MCP message, with and without scopes per tool.
    async fn of_tool(api: ProtectApiBuilder, token: &str, is_guarded: bool) -> Self {
        let protect = api.build().expect("a configuration").scopes(["read"]);
        let tools = Tools::new().tool("write_document", ["write"]).other_tools(["read"]);
        let request = || support::tool_call(token).to_request();
        let echo = || web::post().to(|body: web::Bytes| async move { HttpResponse::Ok().body(body) });
        if is_guarded {
            let app = App::new().wrap(protect.per_tool(tools)).route("/", echo());
            Self::of(&init_service(app).await, request).await
        } else {
            Self::of(&init_service(App::new().wrap(protect).route("/", echo())).await, request).await
        }
    }

    async fn of<R, B>(
        app: &impl Service<R, Response = ServiceResponse<B>, Error = Error>,
        request: impl Fn() -> R,
    ) -> Self {
        let answer = app.call(request()).await.expect("an answer");
        assert!(answer.status().is_success(), "the token is refused");
        drop(answer);
        let requests: Vec<R> = (0..REQUESTS).map(|_| request()).collect();
        let region = Region::new(ALLOCATOR);
        for request in requests {
            drop(app.call(request).await);
        }
        let counted = region.change();
        Self { allocations: counted.allocations + counted.reallocations, bytes: counted.bytes_allocated }
    }

    fn print(&self, name: &str, none: &Self) {
        let (own, bytes) = (per_request(self.allocations), per_request(self.bytes));
        println!("| {name} | {own:.2} | {:.2} | {bytes:.0} |", own - per_request(none.allocations));
    }
}

async fn caller(_: AuthenticatedRequest) -> HttpResponse {
    HttpResponse::Ok().finish()
}

fn per_request(total: usize) -> f64 {
    f64::from(u32::try_from(total).unwrap_or(u32::MAX)) / 1000.0
}
