//! An OpenAPI document whose scopes come from the handlers' signatures, so that it lists exactly the scopes that the API
//! requires. Written with [utoipa](https://docs.rs/utoipa).
//!
//! ```text
//! cargo run --example openapi               starts the API and prints curl commands
//! cargo run --example openapi -- --check    compares the document with what the API answers, exits 1 on a difference
//! ```

#[path = "../support/mod.rs"]
mod support;

use std::{error::Error, io, net::TcpListener};

use actix_protect_api::{AuthenticatedRequest, ProtectApi, RequiredScopes, Scoped, test::TestIssuer};
use actix_web::{App, FromRequest, Handler, HttpServer, Responder, Route, dev::Server, http::Method, web};
use serde_json::{Value, json};
use support::{Call, Outcome, Table};
use utoipa::openapi::{
    ComponentsBuilder, Info, OpenApi, OpenApiBuilder, Paths, Required, ResponseBuilder,
    path::{HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn},
    schema::{ObjectBuilder, Type},
    security::{OpenIdConnect, SecurityRequirement, SecurityScheme},
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

async fn list(_: AuthenticatedRequest) -> &'static str {
    "all posts"
}

async fn publish(caller: Scoped<PostsWrite>) -> String {
    format!("published by {}", caller.subject().unwrap_or("a machine"))
}

async fn delete(_: Scoped<PostsAdmin>, id: web::Path<u32>) -> String {
    format!("deleted post {id}")
}

/// Every route. Each call serves and documents it.
fn routes(api: &mut Api<'_>) {
    api.route(HttpMethod::Get, "/posts", "All posts", list);
    api.route(HttpMethod::Post, "/posts", "Publish a post", publish);
    api.route(HttpMethod::Delete, "/posts/{id}", "Delete a post", delete);
}

/// The scopes that a handler requires, from its arguments. The caller is the first argument; a handler without a caller does not
/// compile.
trait Asks {
    const SCOPES: &'static [&'static str];
}

impl<C> Asks for AuthenticatedRequest<C> {
    const SCOPES: &'static [&'static str] = &[];
}

impl<R: RequiredScopes, C> Asks for Scoped<R, C> {
    const SCOPES: &'static [&'static str] = R::SCOPES;
}

impl<Caller: Asks> Asks for (Caller,) {
    const SCOPES: &'static [&'static str] = Caller::SCOPES;
}

impl<Caller: Asks, A> Asks for (Caller, A) {
    const SCOPES: &'static [&'static str] = Caller::SCOPES;
}

/// The routes of a worker, and their description in the document.
struct Api<'a> {
    config: &'a mut web::ServiceConfig,
    paths: &'a mut Paths,
}

impl Api<'_> {
    fn route<H, Arguments>(&mut self, method: HttpMethod, path: &str, summary: &str, handler: H)
    where
        H: Handler<Arguments>,
        H::Output: Responder + 'static,
        Arguments: FromRequest + Asks + 'static,
    {
        let route = Route::new().method(actix_method(&method)).to(handler);
        self.config.route(path, route);
        self.paths.add_path_operation(path, vec![method], operation(path, summary, Arguments::SCOPES));
    }
}

fn operation(path: &str, summary: &str, scopes: &[&str]) -> Operation {
    let response = |description: &str| ResponseBuilder::new().description(description).build();
    let mut operation = OperationBuilder::new()
        .summary(Some(summary))
        .security(SecurityRequirement::new(SCHEME, scopes.iter().copied()))
        .response("200", response("done"))
        .response("401", response("no valid token"));
    if !scopes.is_empty() {
        operation = operation.response("403", response("a scope is missing"));
    }
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    for name in names {
        operation = operation.parameter(
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(ObjectBuilder::new().schema_type(Type::Integer))),
        );
    }
    operation.build()
}

fn actix_method(method: &HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Post => Method::POST,
        HttpMethod::Delete => Method::DELETE,
        HttpMethod::Options => Method::OPTIONS,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Trace => Method::TRACE,
    }
}

/// The address of the issuer's metadata, which contains the other endpoints.
fn discovery_url(issuer: &str) -> String {
    format!("{issuer}/.well-known/openid-configuration")
}

fn document(issuer: &str, paths: Paths) -> OpenApi {
    let scheme = SecurityScheme::OpenIdConnect(OpenIdConnect::new(discovery_url(issuer)));
    OpenApiBuilder::new()
        .info(Info::new("Posts", "1.0.0"))
        .paths(paths)
        .components(Some(ComponentsBuilder::new().security_scheme(SCHEME, scheme).build()))
        .build()
}

/// The application: the document and the protected routes.
fn serve(protect: ProtectApi, issuer_url: String, listener: TcpListener) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        let mut paths = Paths::new();
        let protected = web::scope("")
            .wrap(protect.clone())
            .configure(|config| routes(&mut Api { config, paths: &mut paths }));
        let document = document(&issuer_url, paths);
        App::new()
            // The document is public. A private document belongs behind the mount.
            .route("/openapi.json", web::get().to(move || std::future::ready(web::Json(document.clone()))))
            .service(protected)
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
            let scopes = scopes(operation);
            let token = |scopes: &[&str]| issuer.opaque(json!({ "scope": scopes.join(" ") }));

            table.call(base, &call("no token").answers(401).challenge("Bearer")).await;
            table.call(base, &call("what it lists").token(&token(&scopes)).answers(200)).await;
            for missing in &scopes {
                let others: Vec<_> = scopes.iter().copied().filter(|scope| scope != missing).collect();
                let refused = call(&format!("no {missing}")).token(&token(&others)).answers(403);
                let challenge = format!("scope=\"{}\"", scopes.join(" "));
                table.call(base, &refused.challenge(challenge)).await;
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

/// The scopes that an operation of the document lists for the scheme.
fn scopes(operation: &Value) -> Vec<&str> {
    let listed = operation.pointer(&format!("/security/0/{SCHEME}")).and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(Value::as_str).collect()
}

fn members(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}
