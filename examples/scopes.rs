//! Four ways to require scopes: at the mount, inside a handler, in a handler's signature, and as a guard that selects a
//! route.
//!
//! ```text
//! cargo run --example scopes               starts the API and prints curl commands
//! cargo run --example scopes -- --check    calls the API itself, exits with 1 on a difference
//! ```

mod support;

use std::{io, net::TcpListener};

use actix_protect_api::{
    AuthenticatedRequest, ProtectApi, RequiredScopes, Scoped, guard::has_scopes, test::TestIssuer,
};
use actix_web::{App, HttpServer, Responder, dev::Server, http::Method, web};
use serde::Deserialize;
use serde_json::json;
use support::{Call, Outcome};

async fn list() -> &'static str {
    "all posts"
}

/// 1. At the mount, see `serve`: the handler does nothing.
async fn create() -> &'static str {
    "created"
}

#[derive(Deserialize)]
struct Edit {
    #[serde(default)]
    publish: bool,
}

/// 2. Inside the handler, if the required scopes depend on the request. `?` rejects with 403 and the challenge.
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

/// 3. In the signature: the handler cannot be called without the check.
async fn delete(caller: Scoped<Administer>) -> String {
    format!("deleted by {}", caller.subject().unwrap_or("a machine"))
}

/// 4. Two routes for one path. The guard selects a route; it does not protect.
async fn stats() -> &'static str {
    "12 posts"
}

async fn stats_for_administrators() -> &'static str {
    "12 posts, 3 of them reported"
}

/// The application: every route requires a valid token; inner mounts require scopes.
fn serve(protect: ProtectApi, listener: TcpListener) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        let reading = protect.any_scope(["posts:read", "posts:write"]);
        let writing = protect.scopes(["posts:write"]);
        App::new()
            // Every route requires a valid token. Inner mounts add requirements and do not validate the token again.
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
    .listen(listener)?
    .run();
    Ok(server)
}

// The harness: an authorization server, tokens, and the calls to try.
#[actix_web::main]
async fn main() -> Outcome {
    support::init_logger();
    let issuer = TestIssuer::start();
    let protect = support::builder(&issuer).build()?;
    let (listener, base) = support::listen()?;
    let server = serve(protect, listener)?;

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
    support::run(server, &base, &calls).await
}
