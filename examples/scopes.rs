//! Four ways to ask for scopes: at the mount, inside a handler, in a handler's signature, and as a guard that chooses
//! between routes.
//!
//! ```text
//! cargo run --example scopes               starts the API and prints commands to paste
//! cargo run --example scopes -- --check    calls the API itself, exits 1 on a difference
//! ```

mod support;

use actix_protect_api::{
    AuthenticatedRequest, ClientAuthentication, ProtectApi, RequiredScopes, Scoped, guard::has_scopes,
    test::TestIssuer,
};
use actix_web::{App, HttpServer, Responder, http::Method, web};
use serde::Deserialize;
use serde_json::json;
use support::{Call, Outcome, base_url, port};

async fn list() -> &'static str {
    "all posts"
}

/// 1. Protected by the mount, see `main`: the handler does not know.
async fn create() -> &'static str {
    "created"
}

#[derive(Deserialize)]
struct Edit {
    #[serde(default)]
    publish: bool,
}

/// 2. Inside the handler, where the request decides which scopes it takes. `?` answers 403 with the challenge.
async fn edit(caller: AuthenticatedRequest, edit: web::Query<Edit>) -> actix_web::Result<impl Responder> {
    caller.require_any_scope(["posts:write", "posts:admin"])?;
    if edit.publish {
        caller.require_scopes(["posts:publish"])?;
    }
    Ok(if edit.publish { "published" } else { "edited" })
}

struct Administer;

impl RequiredScopes for Administer {
    const SCOPES: &'static [&'static str] = &["posts:write", "posts:admin"];
}

/// 3. In the signature: nobody can forget the check, or call the handler without it.
async fn delete(caller: Scoped<Administer>) -> String {
    format!("deleted by {}", caller.subject().unwrap_or("a machine"))
}

/// 4. Two views of one path; the guard chooses, it does not protect.
async fn stats() -> &'static str {
    "12 posts"
}

async fn stats_for_administrators() -> &'static str {
    "12 posts, 3 of them reported"
}

#[actix_web::main]
async fn main() -> Outcome {
    env_logger::init();
    let issuer = TestIssuer::start();
    let protect = ProtectApi::builder(issuer.issuer(), issuer.audience())
        .client(issuer.client_id(), ClientAuthentication::client_secret_basic(issuer.client_secret()))
        .build()?;

    let server = HttpServer::new(move || {
        let reading = protect.clone().any_scope(["posts:read", "posts:write"]);
        let writing = protect.clone().scopes(["posts:write"]);
        App::new()
            // Every route needs a valid token; mounts further in add what they ask for, and cost no second validation.
            .wrap(protect.clone())
            .service(
                web::resource("/posts")
                    .route(web::get().to(list).wrap(reading))
                    .route(web::post().to(create).wrap(writing)),
            )
            .service(web::resource("/posts/{id}").route(web::put().to(edit)).route(web::delete().to(delete)))
            .service(
                web::resource("/stats")
                    .route(web::get().guard(has_scopes(["posts:admin"])).to(stats_for_administrators))
                    .route(web::get().to(stats)),
            )
    })
    .workers(2)
    .bind(("127.0.0.1", port()))?;
    let base = base_url(&server.addrs());

    let reader = issuer.opaque(json!({ "sub": "alice", "scope": "posts:read" }));
    let writer = issuer.opaque(json!({ "sub": "bob", "scope": "posts:write" }));
    let admin = issuer.opaque(json!({ "sub": "carol", "scope": "posts:write posts:admin posts:publish" }));
    let nobody = issuer.opaque(json!({ "sub": "dave" }));
    let put = |title, path| Call::new(title, Method::PUT, path);
    let delete = |title| Call::new(title, Method::DELETE, "/posts/1");

    let calls = [
        Call::get("mount: one scope of two", "/posts").token(&reader).answers(200).body("all posts"),
        Call::get("mount: the other one", "/posts").token(&writer).answers(200).body("all posts"),
        Call::get("mount: none of them", "/posts")
            .token(&nobody)
            .answers(403)
            .challenge("scope=\"posts:read posts:write\""),
        Call::post("mount: the scope is missing", "/posts")
            .token(&reader)
            .answers(403)
            .challenge("scope=\"posts:write\""),
        Call::post("mount: the scope is there", "/posts").token(&writer).answers(200).body("created"),
        put("handler: none of the scopes", "/posts/1").token(&reader).answers(403).challenge("posts:admin"),
        put("handler: one of the scopes", "/posts/1").token(&writer).answers(200).body("edited"),
        put("handler: one more is missing", "/posts/1?publish=true")
            .token(&writer)
            .answers(403)
            .challenge("scope=\"posts:publish\""),
        put("handler: all are there", "/posts/1?publish=true").token(&admin).answers(200).body("published"),
        delete("signature: one is missing")
            .token(&writer)
            .answers(403)
            .challenge("scope=\"posts:write posts:admin\""),
        delete("signature: both are there").token(&admin).answers(200).body("deleted by carol"),
        Call::get("guard: the view of many", "/stats").token(&reader).answers(200).body("12 posts"),
        Call::get("guard: the view of few", "/stats").token(&admin).answers(200).body("3 of them reported"),
        Call::get("no token", "/stats").answers(401).challenge("Bearer"),
    ];
    support::run(server.run(), &base, &calls).await
}
