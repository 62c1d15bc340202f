//! An OpenAPI document whose scopes come from the table of mounts, so that it lists exactly the scopes that the API
//! requires. Written with [utoipa](https://docs.rs/utoipa).
//!
//! ```text
//! cargo run --example openapi               starts the API and prints curl commands
//! cargo run --example openapi -- --check    compares the document with what the API answers, exits 1 on a difference
//! ```

#![expect(clippy::exhaustive_structs, reason = "utoipa generates them")]

#[path = "../support/mod.rs"]
mod support;

use std::{error::Error, future::ready, io, net::TcpListener};

use actix_protect_api::{AuthenticatedRequest, ProtectApi, RequiredScopes, Scoped, test::TestIssuer};
use actix_web::{App, HttpServer, dev::Server, http::Method, web};
use serde_json::{Value, json};
use support::{Call, Outcome, Table};
use utoipa::{
    OpenApi as _,
    openapi::{
        OpenApi,
        path::{Operation, PathItem},
        security::{OpenIdConnect, SecurityRequirement, SecurityScheme},
    },
};

/// The name of the one security scheme.
const SCHEME: &str = "issuer";

struct PostsWrite;

impl RequiredScopes for PostsWrite {
    const SCOPES: &'static [&'static str] = &["posts:write"];
}

struct PostsAdmin;

impl RequiredScopes for PostsAdmin {
    const SCOPES: &'static [&'static str] = &["posts:write", "posts:admin"];
}

// The attributes describe everything except security.
#[utoipa::path(get, path = "/posts", summary = "All posts", responses((status = 200)))]
async fn list(_: AuthenticatedRequest) -> &'static str {
    "all posts"
}

#[utoipa::path(post, path = "/posts", summary = "Publish a post", responses((status = 200)))]
async fn publish(caller: Scoped<PostsWrite>) -> String {
    format!("published by {}", caller.subject().unwrap_or("a machine"))
}

#[utoipa::path(
    delete, path = "/posts/{id}", summary = "Delete a post", responses((status = 200)),
    params(("id" = u32, Path))
)]
async fn delete(_: Scoped<PostsAdmin>, id: web::Path<u32>) -> String {
    format!("deleted post {id}")
}

#[derive(utoipa::OpenApi)]
#[openapi(info(title = "Posts", version = "1.0.0"), paths(list, publish, delete))]
struct Posts;

/// The routes. Each mount requires the type of its handler, and names its route.
fn routes(protect: &ProtectApi, config: &mut web::ServiceConfig) {
    let reading = protect.any_scope(["posts:read", "posts:write"]).routes(["GET /posts"]);
    let writing = protect.scoped::<PostsWrite>().routes(["POST /posts"]);
    let deleting = protect.scoped::<PostsAdmin>().routes(["DELETE /posts/{id}"]);
    config
        .route("/posts", web::get().to(list).wrap(reading))
        .route("/posts", web::post().to(publish).wrap(writing))
        .route("/posts/{id}", web::delete().to(delete).wrap(deleting));
}

/// The document. The security of each operation is that of its mount.
fn document(protect: &ProtectApi, issuer: &str) -> OpenApi {
    let mut document = Posts::openapi();
    let scheme = SecurityScheme::OpenIdConnect(OpenIdConnect::new(discovery_url(issuer)));
    document.components.get_or_insert_default().add_security_scheme(SCHEME, scheme);
    let explanation = protect.explain();
    for route in explanation.routes() {
        let operation = route.split_once(' ').and_then(|(method, path)| {
            document.paths.paths.get_mut(path).and_then(|item| operation(item, method))
        });
        // A route that is not documented has no operation.
        if let (Some(operation), Some(sets)) = (operation, explanation.scope_sets(route)) {
            let security = sets.into_iter().map(|scopes| SecurityRequirement::new(SCHEME, scopes));
            operation.security = Some(security.collect());
        }
    }
    document
}

fn operation<'i>(item: &'i mut PathItem, method: &str) -> Option<&'i mut Operation> {
    match method {
        "GET" => item.get.as_mut(),
        "POST" => item.post.as_mut(),
        "DELETE" => item.delete.as_mut(),
        _ => None,
    }
}

/// The address of the issuer's metadata, which contains the other endpoints.
fn discovery_url(issuer: &str) -> String {
    format!("{issuer}/.well-known/openid-configuration")
}

/// The application: the document and the protected routes.
fn serve(protect: ProtectApi, issuer_url: String, listener: TcpListener) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        // The mounts are known when the app was built, so the document is made for each request.
        let (described, issuer_url) = (protect.clone(), issuer_url.clone());
        let openapi = move || ready(web::Json(document(&described, &issuer_url)));
        App::new()
            // The document is public. A private document belongs behind a mount.
            .route("/openapi.json", web::get().to(openapi))
            .configure(|config| routes(&protect, config))
    });
    Ok(server.workers(2).listen(listener)?.run())
}

// The harness: an authorization server, tokens, and the calls to try.
#[actix_web::main]
async fn main() -> Outcome {
    support::init_logger();
    let issuer = TestIssuer::start();
    let protect = support::builder(&issuer).build()?;
    let (listener, base) = support::listen()?;
    let server = serve(protect, issuer.issuer().to_owned(), listener)?;

    if support::wants_check() {
        let handle = support::start(server);
        let outcome = check(&base, &issuer).await?;
        handle.stop(false).await;
        return Ok(outcome);
    }
    let writer = issuer.opaque(json!({ "sub": "bob", "scope": "posts:write" }));
    let calls = [
        Call::get("the document", "/openapi.json"),
        Call::post("the scope is there", "/posts").token(&writer),
        Call::new("a scope is missing", Method::DELETE, "/posts/1").token(&writer).answers(403),
    ];
    support::serve(server, &base, &calls).await
}

/// Reads the document as a client does, and checks every scope in it against the API.
async fn check(base: &str, issuer: &TestIssuer) -> Outcome {
    let mut table = Table::new();
    let document = fetch(&format!("{base}/openapi.json")).await?;
    let discovery = document.pointer(&format!("/components/securitySchemes/{SCHEME}/openIdConnectUrl"));
    let metadata = fetch(text(discovery)).await?;
    table.row("the scheme leads to the issuer", issuer.issuer(), text(metadata.get("issuer")));

    let mut documented = 0;
    for (path, operations) in members(document.get("paths")) {
        for (method, operation) in members(Some(operations)) {
            documented += 1;
            let name = format!("{} {path}", method.to_uppercase());
            let call = |detail: &str| {
                let method = method.to_uppercase().parse().unwrap_or_default();
                Call::new(format!("{name}: {detail}"), method, path.replace("{id}", "1"))
            };
            let sets = scope_sets(operation);
            let token = |scopes: &[&str]| issuer.opaque(json!({ "scope": scopes.join(" ") }));

            table.row(&format!("{name}: a mount names it"), true, !sets.is_empty());
            table.call(base, &call("no token").answers(401).challenge("Bearer")).await;
            for scopes in &sets {
                table.call(base, &call("a set of scopes").token(&token(scopes)).answers(200)).await;
            }
            // Without one scope of every set.
            for missing in sets.iter().flatten() {
                let mut others: Vec<&str> = sets.iter().flatten().copied().collect();
                others.retain(|scope| scope != missing && !sets.contains(&vec![*scope]));
                let refused = call(&format!("no {missing}")).token(&token(&others)).answers(403);
                table.call(base, &refused.challenge("error=\"insufficient_scope\"")).await;
            }
        }
    }
    table.row("operations", 3, documented);
    Ok(table.finish())
}

async fn fetch(url: &str) -> Result<Value, Box<dyn Error>> {
    let mut response = awc::Client::default().get(url).send().await.map_err(|error| error.to_string())?;
    Ok(serde_json::from_slice(&response.body().await?)?)
}

/// The sets of scopes of an operation, of which one is required.
fn scope_sets(operation: &Value) -> Vec<Vec<&str>> {
    let security = operation.get("security").and_then(Value::as_array).into_iter().flatten();
    security
        .filter_map(|requirement| requirement.get(SCHEME)?.as_array())
        .map(|scopes| scopes.iter().filter_map(Value::as_str).collect())
        .collect()
}

fn members(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}
