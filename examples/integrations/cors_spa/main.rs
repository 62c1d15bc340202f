//! A page in the browser (plain HTML and JavaScript, in this folder) that gets a token, calls a protected API of another
//! origin, shows its claims and the challenges of rejections, and revokes the token.
//!
//! By default, the page gets its token as the client `app` with a secret, so that no login is needed. **A page in production must
//! not have a secret**: with `--env`, it logs in by the authorization code grant with PKCE, for example at the example `dev_issuer`.
//!
//! ```text
//! cargo run --example cors_spa               prints the address to open in a browser
//! cargo run --example cors_spa -- --env      the same, with the authorization server of `MONOCLOUD_BACKEND_…` and a login
//! cargo run --example cors_spa -- --check    does by HTTP what a browser would, exits 1 on a difference
//! tests/browser/run.sh                       clicks through it with a real browser
//! ```
#![expect(clippy::print_stdout, reason = "it tells the address to open")]

#[path = "../../support/mod.rs"]
mod support;

use std::{io, net::TcpListener, process::ExitCode};

use actix_cors::Cors;
use actix_protect_api::{
    AuthenticatedRequest, ProtectApi, Ssf,
    test::{Endpoint, TestIssuer},
};
use actix_web::{
    App, HttpResponse, HttpServer, Responder,
    dev::Server,
    http::{
        Method,
        header::{AUTHORIZATION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    web,
};
use serde_json::{Value, json};
use support::{Call, Outcome, Table, start, wants_check};

async fn claims(caller: AuthenticatedRequest) -> impl Responder {
    web::Json(caller.into_claims())
}

/// The calls that this API allows the page to make.
fn cors(page: &str) -> Cors {
    Cors::default()
        .allowed_origin(page)
        .allowed_methods([Method::GET])
        .allowed_headers([AUTHORIZATION])
        // Without it the page cannot read the challenge of a rejection.
        .expose_headers([WWW_AUTHENTICATE])
        .max_age(600)
}

/// The application: the API that the page calls, and the receiver of security events.
fn serve(protect: ProtectApi, ssf: Ssf, page_origin: String, listener: TcpListener) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            .service(protect.ssf_push("/events", ssf.clone()))
            .service(
                web::resource("/claims").wrap(protect.scopes(["claims:read"])).route(web::get().to(claims)),
            )
            .service(web::resource("/admin").wrap(protect.scopes(["admin"])).route(web::get().to(claims)))
            .wrap(cors(&page_origin))
    })
    .workers(2)
    .listen(listener)?
    .run();
    Ok(server)
}

/// The server of the page: four files. The policy allows the page to call only the API and the authorization server.
fn page(settings: &Value, policy: &str) -> impl FnOnce(&mut web::ServiceConfig) {
    let file = |media_type: &'static str, content: String, policy: &str| {
        let policy = policy.to_owned();
        web::get().to(move || {
            let mut answer = HttpResponse::Ok();
            answer.insert_header((CONTENT_TYPE, media_type));
            answer.insert_header((CONTENT_SECURITY_POLICY, policy.as_str()));
            std::future::ready(answer.body(content.clone()))
        })
    };
    let html = file("text/html; charset=utf-8", include_str!("index.html").to_owned(), policy);
    let script = file("text/javascript", include_str!("app.js").to_owned(), policy);
    let style = file("text/css", include_str!("style.css").to_owned(), policy);
    let settings = file("application/json", settings.to_string(), policy);
    move |config| {
        config.route("/", html).route("/app.js", script).route("/style.css", style);
        config.route("/settings.json", settings);
    }
}

// The harness: an authorization server, the page's server, and the calls of the check.
#[actix_web::main]
async fn main() -> Outcome {
    support::init_logger();
    let issuer = TestIssuer::start();
    let uses_variables = std::env::args().any(|argument| argument == "--env");

    // Both addresses are needed before either server starts, because each names the other.
    let (api_listener, api) = support::listen_on_free_port()?;
    let (page_listener, page_url) = support::listen_on_free_port()?;
    let (builder, settings, audience) = if uses_variables {
        let variable = |name: &str| std::env::var(format!("MONOCLOUD_BACKEND_{name}"));
        // A page has no secret. It finds the endpoints in the metadata.
        let settings = json!({ "api": api, "issuer": variable("TENANT_DOMAIN")?, "client_id": "dev-app" });
        (ProtectApi::builder_from_env(), settings, variable("AUDIENCE")?)
    } else {
        let settings = json!({
            "api": api,
            "issuer": issuer.issuer(),
            "token_endpoint": issuer.url(Endpoint::Token),
            "revocation_endpoint": issuer.url(Endpoint::Revocation),
            "client_id": issuer.app_id(),
            "client_secret": issuer.app_secret(),
        });
        (support::builder(&issuer), settings, issuer.audience().to_owned())
    };
    let protect = builder.realm("cors_spa").build()?;
    let authorization_server = settings.get("issuer").and_then(Value::as_str).unwrap_or_default();
    let policy = format!("default-src 'self'; connect-src 'self' {api} {authorization_server}");
    let ssf = Ssf::transmitter(authorization_server).audience(audience);
    let api_server = serve(protect, ssf, page_url.clone(), api_listener)?;
    let page_server = HttpServer::new(move || App::new().configure(page(&settings, &policy)))
        .workers(1)
        .listen(page_listener)?
        .run();

    if wants_check() {
        let servers = [start(api_server), start(page_server)];
        let outcome = check(&api, &page_url, &issuer).await;
        for server in servers {
            server.stop(false).await;
        }
        return Ok(outcome);
    }
    println!("Open {page_url}/ in a browser. Stop with Ctrl-C.");
    start(page_server);
    api_server.await?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the calls that a browser makes.
async fn check(api: &str, page: &str, issuer: &TestIssuer) -> ExitCode {
    let token = issuer.opaque(json!({ "sub": "app", "scope": "claims:read" }));
    let credentials = format!("client_id={}&client_secret={}", issuer.app_id(), issuer.app_secret());
    let from_page = |call: Call| call.header("Origin", page);
    let to_api = |title, path| from_page(Call::get(title, path)).shows("Access-Control-Allow-Origin", page);
    let challenged = |call: Call| call.shows("Access-Control-Expose-Headers", "www-authenticate");
    let preflight = from_page(Call::new("the API's preflight", Method::OPTIONS, "/claims"))
        .header("Access-Control-Request-Method", "GET")
        .header("Access-Control-Request-Headers", "authorization")
        .shows("Access-Control-Allow-Origin", page)
        .shows("Access-Control-Allow-Methods", "GET")
        .shows("Access-Control-Allow-Headers", "authorization");
    let asked = |title, path, form: &str| {
        from_page(Call::post(title, path))
            .form(format!("{form}&{credentials}"))
            .shows("Access-Control-Allow-Origin", "*")
    };
    let calls = [
        (page, Call::get("the page", "/").shows("Content-Security-Policy", api.to_owned()).body("app.js")),
        (page, Call::get("its script", "/app.js").shows("Content-Type", "text/javascript")),
        (page, Call::get("its settings", "/settings.json").body("token_endpoint")),
        (
            issuer.issuer(),
            asked("get a token", "/token", "grant_type=client_credentials&scope=claims%3Aread")
                .body("access_token"),
        ),
        (api, preflight),
        (
            api,
            challenged(to_api("without a token", "/claims"))
                .answers(401)
                .challenge("Bearer realm=\"cors_spa\""),
        ),
        (api, to_api("with the token", "/claims").token(&token).body("\"sub\":\"app\"")),
        (
            api,
            challenged(to_api("what needs more", "/admin").token(&token))
                .answers(403)
                .challenge("scope=\"admin\""),
        ),
        (issuer.issuer(), asked("revoke the token", "/revoke", &format!("token={token}"))),
        (
            api,
            challenged(to_api("with the revoked token", "/claims").token(&token))
                .answers(401)
                .challenge("error=\"invalid_token\""),
        ),
        (
            api,
            Call::get("from another page", "/claims")
                .header("Origin", "https://evil.example.test")
                .answers(401)
                .lacks("Access-Control-Allow-Origin"),
        ),
    ];
    let mut table = Table::new();
    for (base, call) in &calls {
        table.call(base, call).await;
    }
    table.finish()
}
