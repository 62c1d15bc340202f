//! Scopes per tool of an MCP server.

use actix_protect_api::{
    ProtectApi,
    mcp::{ToolScopes, Tools},
    test::{Endpoint, TestIssuer},
};
use actix_web::{App, HttpRequest, HttpResponse, Responder, web};
use serde_json::{Value, json};

use crate::support::{
    app::{Answer, INVALID, MISSING, TestApp, optional_whoami, protect, serve, with_scope},
    logs,
    service::introspecting,
};

const VERSION: (&str, &str) = ("MCP-Protocol-Version", "2026-07-28");

fn tools() -> Tools {
    Tools::new().tool("write_document", ["files:write"]).other_tools(["files:read"])
}

fn mount(issuer: &TestIssuer) -> ToolScopes {
    protect(issuer).scopes(["mcp"]).per_tool(tools()).origins(["https://app.example"])
}

/// The response of the server: the method and body that it received.
async fn echo(request: HttpRequest, body: web::Bytes) -> impl Responder {
    HttpResponse::Ok().insert_header(("X-Method", request.method().as_str())).body(body)
}

fn server(mount: ToolScopes) -> TestApp {
    serve!(move || App::new().service(web::resource("/mcp").wrap(mount.clone()).to(echo)))
}

fn call(tool: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": tool, "arguments": {} } })
        .to_string()
}

async fn post(app: &TestApp, token: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = app.post("/mcp").token(token);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body("application/json", body).send().await
}

/// Requires a JSON-RPC error with this status, code and id.
#[track_caller]
fn is_error(answer: &Answer, status: u16, code: i64, id: &Value) {
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((answer.status, &body["error"]["code"], &body["id"]), (status, &json!(code), id), "{body}");
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    assert_eq!(answer.challenge(), None);
}

#[actix_web::test]
async fn a_tool_requires_its_scopes_and_the_server_gets_the_same_body() {
    let issuer = TestIssuer::start();
    let app = server(mount(&issuer));
    let reader = issuer.opaque(json!({ "scope": "mcp files:read" }));
    let writer = issuer.opaque(json!({ "scope": "mcp files:write" }));
    for (token, tool, status) in [
        (&reader, "read_document", 200),
        (&reader, "write_document", 403),
        (&writer, "write_document", 200),
        (&writer, "read_document", 403),
        (&writer, "Write_Document", 403),
    ] {
        let answer = post(&app, token, &[], &call(tool)).await;
        assert_eq!(answer.status, status, "{tool}");
        if status == 200 {
            assert_eq!(answer.body, call(tool));
        }
    }
    post(&app, &reader, &[], &call("write_document")).await.lacks_scope("mcp files:write");
    let large = format!("{}{}", call("read_document"), " ".repeat(200_000));
    let answer = post(&app, &reader, &[], &large).await;
    assert!(answer.status == 200 && answer.body == large, "{}", answer.status);
}

#[actix_web::test]
async fn one_challenge_names_the_scopes_of_the_mount_and_of_the_tool() {
    let issuer = TestIssuer::start();
    let app = server(mount(&issuer));
    let none = issuer.opaque(json!({ "scope": "other" }));
    post(&app, &none, &[], &call("write_document")).await.lacks_scope("mcp files:write");
    post(&app, &none, &[], &call("x")).await.lacks_scope("mcp files:read");
    post(&app, &none, &[], r#"{"id":1,"method":"tools/list"}"#).await.lacks_scope("mcp");
    post(&app, &none, &[], "garbage").await.lacks_scope("mcp");
    app.get("/mcp").token(&none).send().await.lacks_scope("mcp");
}

#[actix_web::test]
async fn messages_that_call_no_tool_require_the_scopes_of_the_mount() {
    let issuer = TestIssuer::start();
    let app = server(mount(&issuer));
    let token = issuer.opaque(json!({ "scope": "mcp" }));
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
    ] {
        let answer = post(&app, &token, &[], body).await;
        assert_eq!((answer.status, &*answer.body), (200, body));
    }
    // The streams and sessions of older versions.
    for method in ["GET", "DELETE"] {
        let answer = app.call(method, "/mcp").token(&token).send().await;
        assert_eq!((answer.status, answer.header("X-Method")), (200, Some(method)));
    }
    // A body that is not sent with POST is read too.
    let put = app.call("PUT", "/mcp").token(&token).body("text/plain", &call("write_document"));
    put.send().await.lacks_scope("mcp files:write");
}

#[actix_web::test]
async fn a_body_that_may_be_read_in_two_ways_requires_all_scopes() {
    let issuer = TestIssuer::start();
    let app = server(mount(&issuer));
    let reader = issuer.opaque(json!({ "scope": "mcp files:read" }));
    let all = issuer.opaque(json!({ "scope": "mcp files:read files:write" }));
    let twice = r#"{"id":1,"method":"tools/call","params":{"name":"read_document","name":"write_document"}}"#;
    let batch = format!("[{},{}]", call("read_document"), call("write_document"));
    for body in [twice, &batch, "{}"] {
        let answer = post(&app, &reader, &[], body).await;
        assert_eq!(answer.status, 403, "{body}");
        let answer = post(&app, &all, &[], body).await;
        assert_eq!((answer.status, &*answer.body), (200, body));
    }
    post(&app, &reader, &[], twice).await.lacks_scope("mcp files:write files:read");
    let encoded = [("Content-Encoding", "br")];
    assert_eq!(post(&app, &reader, &encoded, &call("read_document")).await.status, 403);
    assert_eq!(post(&app, &all, &encoded, &call("read_document")).await.status, 200);
}

#[actix_web::test]
async fn headers_are_compared_only_for_versions_that_require_it() {
    let issuer = TestIssuer::start();
    let app = server(mount(&issuer));
    let reader = issuer.opaque(json!({ "scope": "mcp files:read" }));
    let (method, name) = (("Mcp-Method", "tools/call"), ("Mcp-Name", "read_document"));
    let read = call("read_document");
    assert_eq!(post(&app, &reader, &[VERSION, method, name], &read).await.status, 200);
    for headers in [
        &[VERSION][..],
        &[VERSION, method],
        &[VERSION, name],
        &[VERSION, ("Mcp-Method", "tools/list"), name],
        &[VERSION, method, ("Mcp-Name", "write_document")],
        &[VERSION, ("MCP-Protocol-Version", "2025-11-25"), method, ("Mcp-Name", "x")],
    ] {
        is_error(&post(&app, &reader, headers, &read).await, 400, -32020, &json!(7));
    }
    // The headers of an older version neither protect nor open a tool.
    let harmless =
        [("MCP-Protocol-Version", "2025-11-25"), ("Mcp-Method", "ping"), ("Mcp-Name", "read_document")];
    assert_eq!(post(&app, &reader, &harmless, &read).await.status, 200);
    post(&app, &reader, &harmless, &call("write_document")).await.lacks_scope("mcp files:write");
    post(&app, &reader, &harmless[1..], &call("write_document")).await.lacks_scope("mcp files:write");
    // The version in the body requires the comparison too.
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" });
    let body = json!({ "id": "a", "method": "tools/list", "params": { "_meta": meta } }).to_string();
    is_error(&post(&app, &reader, &harmless, &body).await, 400, -32020, &json!("a"));
    is_error(&post(&app, &reader, &[VERSION], &format!("[{read}]")).await, 400, -32020, &Value::Null);
    is_error(&post(&app, &reader, &[VERSION], r#"{"id":1,"result":{}}"#).await, 400, -32020, &Value::Null);
}

#[actix_web::test]
async fn an_origin_that_is_not_listed_is_rejected_before_the_token_is_read() {
    let issuer = TestIssuer::start();
    let app = server(mount(&issuer));
    let token = issuer.opaque(json!({ "scope": "mcp" }));
    let list = r#"{"id":1,"method":"tools/list"}"#;
    for origin in ["https://evil.example", "null", "http://127.0.0.1", "https://app.example:444", ""] {
        is_error(&post(&app, &token, &[("Origin", origin)], list).await, 403, -32600, &Value::Null);
        let answer = app.get("/mcp").header("Origin", origin).send().await;
        is_error(&answer, 403, -32600, &Value::Null);
    }
    assert_eq!(post(&app, &token, &[("Origin", "https://app.example")], list).await.status, 200);
    // A page that reached this server by DNS rebinding has its host in both headers.
    let host = [("Origin", "http://rebound.example:80"), ("X-Forwarded-Host", "rebound.example")];
    is_error(&post(&app, &token, &host, list).await, 403, -32600, &Value::Null);
    assert_eq!(issuer.count(Endpoint::Introspection), 1);
}

#[actix_web::test]
async fn bodies_are_limited_and_read_only_for_valid_tokens() {
    let issuer = TestIssuer::start();
    let app = server(mount(&issuer).max_body(100));
    let token = issuer.opaque(json!({ "scope": "mcp files:read" }));
    let at_most = format!("{:100}", r#"{"id":1,"method":"ping"}"#);
    assert_eq!(post(&app, &token, &[], &at_most).await.status, 200);
    let longer = format!("{at_most} ");
    is_error(&post(&app, &token, &[], &longer).await, 413, -32600, &Value::Null);
    let chunked = |body: &str| {
        let request = app.post("/mcp").token(&token).header("Transfer-Encoding", "chunked");
        request.raw_body(&format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()))
    };
    assert_eq!(chunked(&at_most).send().await.body, at_most);
    is_error(&chunked(&longer).send().await, 413, -32600, &Value::Null);
    // Without a valid token the body is not looked at.
    post(&app, "unknown", &[], &longer).await.refuses(with_scope(INVALID, "mcp"));
    app.post("/mcp").body("application/json", &longer).send().await.refuses(with_scope(MISSING, "mcp"));
    for body in ["", "{", "{}x", "\u{feff}{}"] {
        is_error(&post(&app, &token, &[], body).await, 400, -32700, &Value::Null);
    }
}

#[actix_web::test]
async fn the_caller_is_available_and_an_anonymous_one_may_call_no_protected_tool() {
    let issuer = TestIssuer::start();
    let protect: ProtectApi = protect(&issuer).optional();
    let mount = protect.per_tool(Tools::new().tool("public", [""; 0]).tool("secret", ["s"]));
    let app =
        serve!(move || App::new().service(web::resource("/mcp").wrap(mount.clone()).to(optional_whoami)));
    let anonymous = |tool: &str| app.post("/mcp").body("application/json", &call(tool)).send();
    anonymous("public").await.is(200, "anonymous");
    anonymous("secret").await.refuses(MISSING);
    let token = issuer.opaque(json!({ "sub": "alice", "scope": "s" }));
    post(&app, &token, &[], &call("secret")).await.is(200, "alice");
    let token = issuer.opaque(json!({ "sub": "alice", "scope": "t" }));
    post(&app, &token, &[], &call("secret")).await.lacks_scope("s");
}

#[actix_web::test]
async fn rejections_are_logged_without_the_body() {
    let issuer = TestIssuer::start();
    let app = server(mount(&issuer));
    let token = issuer.opaque(json!({ "scope": "mcp files:read" }));
    logs::capture();
    post(&app, &token, &[VERSION], &call("tell-no-one")).await;
    post(&app, &token, &[], &call("write_document")).await;
    let last = |event: &str| {
        let is_event = |record: &logs::Record| {
            record.value("event") == event && record.value("issuer") == issuer.issuer()
        };
        logs::last(is_event).unwrap()
    };
    let refused = last("mcp_refused");
    assert_eq!(refused.value("fault"), "header_mismatch");
    let text = "request to the MCP server rejected: Mcp-Method does not match the body (header_mismatch)";
    assert!(refused.text.contains(text), "{refused}");
    let origin = format!("https://evil.example/{}", "a".repeat(200));
    post(&app, &token, &[("Origin", &origin)], "").await;
    let shown: String = origin.chars().take(100).collect();
    let text = format!("rejected: the Origin {shown:?} is not one of `origins` (origin)");
    assert!(last("mcp_refused").text.contains(&text), "{}", last("mcp_refused"));
    let refused = last("refused");
    assert_eq!(refused.value("fault"), "insufficient_scope");
    assert!(refused.text.contains("a required scope is missing: expected \"files:write\"; "), "{refused}");
    assert!(!logs::any(|record| record.contains("tell-no-one")));
}

/// Causes every record about a request that is rejected because of the protocol.
pub(crate) async fn every_fault_of_mcp() {
    let issuer = TestIssuer::start();
    let app = server(mount(&issuer).max_body(100));
    let token = issuer.opaque(json!({ "scope": "mcp" }));
    post(&app, &token, &[("Origin", "null")], "").await;
    post(&app, &token, &[VERSION], "{}").await;
    post(&app, &token, &[], "").await;
    post(&app, &token, &[], &" ".repeat(101)).await;
}

#[test]
fn an_invalid_origin_or_scope_is_rejected_when_the_mount_is_created() {
    let protect = ProtectApi::builder("https://issuer.example.test", "api").build().unwrap();
    let panics = |run: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err();
    for origin in ["", "*", "app.example", "https://app.example/path"] {
        assert!(panics(&|| drop(protect.per_tool(Tools::new()).origins([origin]))), "{origin:?}");
    }
    assert!(panics(&|| drop(Tools::new().tool("a", ["b c"]))));
    assert!(panics(&|| drop(Tools::new().other_tools([""]))));
    assert!(panics(&|| drop(Tools::new().method("a", ["\""]))));
}

#[actix_web::test]
async fn the_documents_about_the_api_name_the_scopes_of_the_tools() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).resource("https://api.example/mcp").build().unwrap();
    let handle = protect.clone();
    let app = serve!(move || {
        let mount = protect.scopes(["mcp"]).routes(["POST /mcp"]).per_tool(tools());
        App::new().service(protect.resource_metadata()).service(web::resource("/mcp").wrap(mount).to(echo))
    });
    let document = app.get("/.well-known/oauth-protected-resource/mcp").send().await;
    let document: Value = serde_json::from_str(&document.body).unwrap();
    assert_eq!(document["scopes_supported"], json!(["files:read", "files:write", "mcp"]));
    assert_eq!(
        handle.explain().to_string(),
        "POST /mcp: scopes mcp; operations with the scopes files:write files:read\n"
    );
    // They are required only by the tools.
    assert_eq!(handle.explain().scope_sets("POST /mcp").unwrap(), [["mcp"]]);
    let challenge = app.post("/mcp").send().await;
    assert!(challenge.challenge().unwrap().ends_with("scope=\"mcp\""), "{challenge:?}");
}
