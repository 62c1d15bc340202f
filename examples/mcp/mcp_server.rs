//! An MCP server (streamable HTTP transport) with a scope for each tool. The tools read the caller from rmcp's request
//! context.
//!
//! ```text
//! cd examples/mcp
//! cargo run --example mcp_server               starts the server and prints what to try
//! cargo run --example mcp_server -- --check    calls the server itself, exits with 1 on a difference
//! cargo run --example mcp_server -- --env 127.0.0.1:8080    serves with the settings of `MONOCLOUD_BACKEND_…`
//! ```

#[path = "../support/mod.rs"]
mod support;

use std::{io, net::TcpListener, sync::Arc};

use actix_protect_api::{AuthenticatedRequest, Claims, ProtectApi, mcp::Tools, test::TestIssuer};
use actix_web::{App, HttpServer, dev::Server, web};
use rmcp::{
    RoleServer, ServerHandler,
    model::{ServerCapabilities, ServerConfig},
    service::RequestContext,
    tool, tool_handler, tool_router,
};
use rmcp_actix_web::transport::{LocalSessionManager, StreamableHttpService, on_request_extensions};
use serde_json::json;
use support::{Call, Outcome};

/// The path of the metadata of the resource `/mcp`.
const METADATA: &str = "/.well-known/oauth-protected-resource/mcp";

#[derive(Clone)]
struct Documents;

#[tool_router]
impl Documents {
    #[tool(description = "Reads the document. Requires the scope files:read.")]
    async fn read_document(&self, context: RequestContext<RoleServer>) -> String {
        format!("{} reads", subject(&context))
    }

    #[tool(description = "Writes the document. Requires the scope files:write.")]
    async fn write_document(&self, context: RequestContext<RoleServer>) -> String {
        format!("{} writes", subject(&context))
    }
}

#[tool_handler]
impl ServerHandler for Documents {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

/// The subject of the token. Do not pass the token on to other services: MCP forbids it.
fn subject(context: &RequestContext<RoleServer>) -> &str {
    let claims = on_request_extensions(&context.extensions).and_then(|extensions| extensions.get::<Claims>());
    claims.and_then(Claims::subject).unwrap_or("a machine")
}

/// The application: one MCP endpoint, and the document by which clients find the authorization server (RFC 9728).
fn serve(protect: ProtectApi, base: String, listener: TcpListener) -> io::Result<Server> {
    let mcp = StreamableHttpService::builder()
        .service_factory(Arc::new(|| Ok(Documents)))
        .session_manager(Arc::new(LocalSessionManager::default()))
        .stateful_mode(false) // a session would not be bound to its caller
        .on_request_fn(|request, extensions| {
            if let Ok(caller) = AuthenticatedRequest::try_from_request(request) {
                extensions.insert(caller.into_claims());
            }
        })
        .build();
    let server = HttpServer::new(move || {
        let tools =
            Tools::new().tool("read_document", ["files:read"]).tool("write_document", ["files:write"]);
        let mount = protect.scopes(["mcp"]).per_tool(tools).origins([&base]);
        App::new()
            .service(protect.resource_metadata())
            .service(web::scope("/mcp").wrap(mount).service(mcp.clone().scope()))
    });
    Ok(server.workers(2).listen(listener)?.run())
}

// The harness: an authorization server, tokens, and the calls to try.
#[actix_web::main]
async fn main() -> Outcome {
    support::init_logger();
    let mut arguments = std::env::args().skip_while(|argument| argument != "--env").skip(1);
    if let Some(address) = arguments.next() {
        let base = format!("http://{address}");
        let protect = ProtectApi::builder_from_env().resource(format!("{base}/mcp")).build()?;
        let server = serve(protect, base.clone(), TcpListener::bind(address)?)?;
        let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} });
        let arguments = json!({ "name": "read_document", "arguments": {} });
        let read = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": arguments });
        let calls = [
            Call::get("the metadata document", METADATA),
            Call::post("no token: the challenge names the document", "/mcp")
                .json(list.to_string())
                .answers(401),
            Call::post("with a token: the tool reads the caller", "/mcp")
                .token("$TOKEN")
                .header("Accept", "application/json, text/event-stream")
                .json(read.to_string()),
        ];
        return support::serve(server, &base, &calls).await;
    }
    let issuer = TestIssuer::start();
    let (listener, base) = support::listen()?;
    let protect = support::builder(&issuer).resource(format!("{base}/mcp")).build()?;
    let server = serve(protect, base.clone(), listener)?;

    let reader = issuer.opaque(json!({ "sub": "alice", "scope": "mcp files:read" }));
    let writer = issuer.opaque(json!({ "sub": "bob", "scope": "mcp files:write" }));
    let message = |method: &str, params| {
        json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
    };
    let read = message("tools/call", json!({ "name": "read_document", "arguments": {} }));
    let write = message("tools/call", json!({ "name": "write_document", "arguments": {} }));
    let twice = read.replace("\"name\"", "\"name\":\"write_document\",\"name\"");
    let post = |title: &str, token: &str, body: &str| {
        Call::post(title, "/mcp")
            .token(token)
            .header("Accept", "application/json, text/event-stream")
            .json(body)
    };
    let calls = [
        Call::get("the metadata document", METADATA).body("authorization_servers"),
        Call::post("no token", "/mcp").json(read.as_str()).answers(401).challenge(METADATA),
        post("the list of tools", &reader, &message("tools/list", json!({}))).body("write_document"),
        post("a tool whose scope is granted", &reader, &read).body("alice reads"),
        post("another tool", &reader, &write).answers(403).challenge("scope=\"mcp files:write\""),
        post("the other tool with its scope", &writer, &write).body("bob writes"),
        post("two names", &reader, &twice).answers(403).challenge("scope=\"mcp files:read files:write\""),
        post("a header that does not match", &reader, &read)
            .header("MCP-Protocol-Version", "2026-07-28")
            .header("Mcp-Method", "tools/list")
            .answers(400)
            .body("-32020"),
        post("a page of another origin", &reader, &read)
            .header("Origin", "https://evil.example")
            .answers(403)
            .lacks("WWW-Authenticate"),
    ];
    support::run(server, &base, &calls).await
}
