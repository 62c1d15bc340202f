//! The check: a client, a browser without a window, and a protected API that is configured by the printed variables.

mod steps;

use std::{error::Error, fs, net::TcpListener, path::Path};

use actix_protect_api::{AuthenticatedRequest, ProtectApi, Ssf};
use actix_web::{App, HttpServer, http::Method, web};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use steps::{Pairs, REDIRECT, Steps, api_secret, authorization, challenge, choices, exchange, query};
use url::Url;

use crate::{
    issuer::{APP_ID, Issuer, random_text},
    options::Options,
    serve,
    support::{self, Call, Outcome, Table},
};

pub(crate) async fn run() -> Outcome {
    let directory = std::env::temp_dir().join(format!("dev_issuer-{}", random_text::<9>()));
    let outcome = check(&directory).await;
    fs::remove_dir_all(&directory)?;
    outcome
}

async fn check(directory: &Path) -> Outcome {
    let (listener, url) = support::listen_on_free_port()?;
    let (api_listener, api) = support::listen_on_free_port()?;
    let options = Options {
        port: listener.local_addr()?.port(),
        directory: directory.to_owned(),
        event_receivers: vec![Url::parse(&format!("{api}/events"))?],
        logout_receivers: vec![Url::parse(&format!("{api}/logout"))?],
        ..Options::default()
    };
    let issuer = web::Data::new(Issuer::open(&options)?);
    support::start(serve(issuer.clone(), listener)?);
    serve_api(&issuer, api_listener)?;

    let client = awc::Client::builder().disable_redirects().finish();
    let mut steps = Steps { client, table: Table::new(), url, api };
    documents(&mut steps).await;
    let registered = registration(&mut steps).await?;
    requests(&mut steps, &registered).await?;
    tokens(&mut steps, &registered).await?;
    refresh_tokens(&mut steps, &registered).await?;
    revocation_and_events(&mut steps).await?;
    machines(&mut steps, &issuer).await?;
    browsers(&mut steps).await;
    limits(&mut steps, &issuer, &registered).await?;
    files(&mut steps, &issuer, &options)?;
    command_line(&mut steps);
    Ok(steps.table.finish())
}

/// Serves an API with the printed variables, receivers of events, and one route that requires a scope.
fn serve_api(issuer: &Issuer, listener: TcpListener) -> Result<(), Box<dyn Error>> {
    async fn posts(caller: AuthenticatedRequest) -> String {
        format!("{} of {}", caller.subject().unwrap_or_default(), caller.groups().join(", "))
    }
    let lines = issuer.variables();
    let variables = lines.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    let variables = variables.map(|(name, value)| (name, value.trim_matches('\'')));
    let protect = ProtectApi::try_from_variables("MONOCLOUD_BACKEND_", variables)?;
    let (transmitter, audience) = (issuer.url().to_owned(), issuer.audience.clone());
    let server = HttpServer::new(move || {
        App::new()
            .service(protect.ssf_push("/events", Ssf::transmitter(&transmitter).audience(&audience)))
            .service(protect.backchannel_logout("/logout", [APP_ID]))
            .service(web::resource("/posts").wrap(protect.scopes(["posts:read"])).route(web::get().to(posts)))
    });
    support::start(server.workers(1).listen(listener)?.run());
    Ok(())
}

async fn documents(steps: &mut Steps) {
    let s256 = "\"code_challenge_methods_supported\":[\"S256\"]";
    for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        let call = Call::get(path, path)
            .header("Origin", "http://localhost:5173")
            .shows("Access-Control-Allow-Origin", "http://localhost:5173")
            .body("\"registration_endpoint\"")
            .body(s256);
        steps.table.call(&steps.url, &call).await;
    }
    steps.table.call(&steps.url, &Call::get("the keys", "/jwks").body("\"RS256\"").body("\"n\"")).await;
}

async fn registration(steps: &mut Steps) -> Result<String, Box<dyn Error>> {
    let name = "<script>alert(1)</script>";
    let metadata = |uri: &str| {
        json!({
            "client_name": name,
            "redirect_uris": [uri],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
        })
    };
    let registered = steps.register(metadata("http://127.0.0.1:1/callback")).await?;
    steps.table.row("a client registers", 201, registered.status);
    steps.table.row("a public client has no secret", false, registered.body.contains("client_secret\""));
    for uri in
        ["http://example.com/cb", "javascript:alert(1)//", "http://127.0.0.1/#x", "http://a@127.0.0.1/"]
    {
        let refused = steps.register(metadata(uri)).await?;
        steps.table.row(&format!("redirect URI {uri}"), "invalid_redirect_uri", &refused.text("error"));
    }
    let as_text =
        Call::post("registration as text", "/register").header("Content-Type", "text/plain").answers(400);
    steps.table.call(&steps.url, &as_text).await;
    Ok(registered.text("client_id"))
}

async fn requests(steps: &mut Steps, client: &str) -> Result<(), Box<dyn Error>> {
    let challenge = challenge("verifier");
    let page = steps.get(&query(&authorization(client, REDIRECT, &challenge))).await?;
    steps.table.row("the page, with another port", 200, page.status);
    let is_escaped = page.body.contains("&lt;script&gt;alert(1)") && !page.body.contains("<script");
    steps.table.row("the page escapes the client's name", true, is_escaped);
    steps.table.row(
        "the page escapes the state",
        true,
        page.body.contains("a &quot;state&quot; &lt;&amp;&gt;"),
    );
    let policy = page.headers.get("Content-Security-Policy").and_then(|value| value.to_str().ok());
    let expected = "form-action 'self' http://127.0.0.1:5173;";
    steps.table.row("the policy of the page", true, policy.is_some_and(|policy| policy.contains(expected)));

    for uri in [
        "http://127.0.0.1:5173/callback/",
        "http://127.0.0.1:5173/callback?x",
        "http://localhost:5173/callback",
        "http://127.0.0.1:5173@evil.example/callback",
        "https://127.0.0.1:5173/callback",
        "http://evil.example/callback",
    ] {
        let refused = steps.get(&query(&authorization(client, uri, &challenge))).await?;
        let seen = format!("{}{}", refused.status, refused.location());
        steps.table.row(&format!("to {uri}"), "400", &seen);
    }
    for (name, value, error) in [
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
        ("scope", "a\"b", "invalid_scope"),
        ("resource", "not-absolute", "invalid_target"),
        ("prompt", "none", "login_required"),
        ("request", "x.y.z", "request_not_supported"),
    ] {
        let mut pairs = authorization(client, REDIRECT, &challenge);
        pairs.retain(|(one, _)| *one != name);
        pairs.push((name, value));
        let refused = steps.get(&query(&pairs)).await?;
        steps.table.row(&format!("{name}={value}"), error, &refused.redirected("error"));
    }
    let mut twice = authorization(client, REDIRECT, &challenge);
    twice.push(("client_id", APP_ID));
    steps.table.row("a parameter that occurs twice", 400, steps.get(&query(&twice)).await?.status);

    let mut cancelled = authorization(client, REDIRECT, &challenge);
    cancelled.push(("decision", "cancel"));
    let cancelled = steps.post("/authorize", &cancelled).await?;
    steps.table.row("the login is cancelled", "access_denied", &cancelled.redirected("error"));
    let mut granted = authorization(client, REDIRECT, &challenge);
    granted.extend(choices("", "jwt"));
    steps.table.row("no subject", 400, steps.post("/authorize", &granted).await?.status);
    Ok(())
}

async fn tokens(steps: &mut Steps, client: &str) -> Result<(), Box<dyn Error>> {
    let verifier = random_text::<32>();
    let challenge = challenge(&verifier);
    let mut form = authorization(client, REDIRECT, &challenge);
    form.extend(choices("alice", "opaque"));
    let decided = steps.post("/authorize", &form).await?;
    steps.table.row("the form redirects", 303, decided.status);
    steps.table.row("the state", "a \"state\" <&>", &decided.redirected("state"));
    steps.table.row("the issuer (RFC 9207)", &steps.url.clone(), &decided.redirected("iss"));
    let code = decided.redirected("code");
    let stolen = steps.post("/token", &exchange(APP_ID, &code, &verifier)).await?;
    steps.table.row("the code, by another client", "invalid_grant", &stolen.text("error"));
    let issued = steps.post("/token", &exchange(client, &code, &verifier)).await?;
    steps.table.row("the code", 200, issued.status);
    steps.table.row("the scopes", "openid posts:read", &issued.text("scope"));
    let id_token = issued.text("id_token");
    let payload = URL_SAFE_NO_PAD.decode(id_token.split('.').nth(1).unwrap_or_default())?;
    let payload: Value = serde_json::from_slice(&payload)?;
    let nonce = payload.get("nonce").and_then(Value::as_str).unwrap_or_default();
    steps.table.row("the nonce of the ID token", "n-1", nonce);
    let token = issued.text("access_token");
    steps.table.call(&steps.api, &Call::get("the API without a token", "/posts").answers(401)).await;
    steps.api("the API with the token", &token, 200, "alice of engineering, Domain Users").await;
    steps.api("the API with the ID token", &id_token, 401, "").await;

    let again = steps.post("/token", &exchange(client, &code, &verifier)).await?;
    steps.table.row("the code again", "invalid_grant", &again.text("error"));
    steps.api("its token is revoked", &token, 401, "").await;
    let mut form = authorization(client, REDIRECT, &challenge);
    form.extend(choices("alice", "opaque"));
    let code = steps.post("/authorize", &form).await?.redirected("code");
    let refused = steps.post("/token", &exchange(client, &code, &random_text::<32>())).await?;
    steps.table.row("another verifier", "invalid_grant", &refused.text("error"));
    Ok(())
}

async fn refresh_tokens(steps: &mut Steps, client: &str) -> Result<(), Box<dyn Error>> {
    let first = steps.log_in(client, &choices("bob", "opaque")).await?.text("refresh_token");
    let refresh = |token: String, scope: &'static str| {
        let pairs = [("grant_type", "refresh_token"), ("client_id", client), ("scope", scope)];
        pairs.map(|(name, value)| (name, value.to_owned())).into_iter().chain([("refresh_token", token)])
    };
    let more: Vec<_> = refresh(first.clone(), "posts:read admin").collect();
    let more: Pairs<'_> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let refused = steps.post("/token", &more).await?;
    steps.table.row("a refresh with more scopes", "invalid_scope", &refused.text("error"));
    let same: Vec<_> = refresh(first, "posts:read").collect();
    let same: Pairs<'_> = same.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let second = steps.post("/token", &same).await?;
    steps.table.row("a refresh", "posts:read", &second.text("scope"));
    let token = second.text("access_token");
    steps.api("the API with the refreshed token", &token, 200, "bob").await;
    let again = steps.post("/token", &same).await?;
    steps.table.row("the first refresh token again", "invalid_grant", &again.text("error"));
    steps.api("its session has ended", &token, 401, "").await;
    Ok(())
}

async fn revocation_and_events(steps: &mut Steps) -> Result<(), Box<dyn Error>> {
    let token = steps.log_in(APP_ID, &choices("carol", "opaque")).await?.text("access_token");
    steps.api("an opaque token", &token, 200, "carol").await;
    let foreign = steps.post("/revoke", &[("client_id", "dev-api"), ("token", &token)]).await?;
    steps.table.row("revocation without the secret", "invalid_client", &foreign.text("error"));
    let revoked = steps.post("/revoke", &[("client_id", APP_ID), ("token", &token)]).await?;
    steps.table.row("revocation by its client", 200, revoked.status);
    steps.api("the revoked token", &token, 401, "").await;

    for (action, expected) in [("revoke", "is revoked"), ("event", "202"), ("logout", "200")] {
        // A JWT is validated locally, so only the events end it.
        let format = if action == "revoke" { "opaque" } else { "jwt" };
        let token = steps.log_in(APP_ID, &choices(action, format)).await?.text("access_token");
        steps.api(&format!("a token before {action}"), &token, 200, "").await;
        let page = steps.get("/").await?.body;
        let path = page.split('"').find(|part| part.starts_with("/tokens/") && part.ends_with(action));
        let pressed = steps.post(path.unwrap_or_default(), &[]).await?;
        steps.table.row(&format!("the button {action}"), 303, pressed.status);
        let notice = steps.get("/").await?.body;
        let notice = notice.split("id=notice").nth(1).and_then(|rest| rest.split("</p>").next());
        steps.table.row("its result on the page", true, notice.is_some_and(|text| text.contains(expected)));
        steps.api(&format!("the token after {action}"), &token, 401, "").await;
    }
    Ok(())
}

async fn machines(steps: &mut Steps, issuer: &Issuer) -> Result<(), Box<dyn Error>> {
    let secret = api_secret(issuer);
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "dev-api"),
        ("client_secret", secret.as_str()),
        ("scope", "posts:read"),
    ];
    let answer = steps.post("/token", &form).await?;
    steps.api("client credentials", &answer.text("access_token"), 200, "dev-api").await;
    let resource = "https://other.example/mcp";
    let other = [&form[..], &[("resource", resource)]].concat();
    let token = steps.post("/token", &other).await?.text("access_token");
    let aud = steps.introspect(issuer, &token).await?.text("aud");
    steps.table.row("the audience is the resource", resource, &aud);
    steps.api("the API with another audience", &token, 401, "").await;
    let unknown = steps.introspect(issuer, "unknown").await?;
    steps.table.row("an unknown token", "{\"active\":false}", &unknown.body);
    let other = steps.post("/introspect", &[("client_id", APP_ID), ("token", &token)]).await?;
    steps.table.row("introspection by another client", 401, other.status);
    let wrong = [("client_id", "dev-api"), ("client_secret", "wrong"), ("token", token.as_str())];
    steps.table.row(
        "introspection with a wrong secret",
        401,
        steps.post("/introspect", &wrong).await?.status,
    );
    Ok(())
}

async fn browsers(steps: &mut Steps) {
    let form = "subject=mallory&format=jwt&lifetime=3600";
    let calls = [
        Call::post("a form of another site", "/tokens")
            .form(form)
            .header("Origin", "https://evil.example")
            .answers(403),
        Call::post("a form of another local page", "/tokens")
            .form(form)
            .header("Origin", "http://localhost:5173")
            .answers(403),
        Call::post("a form of a sandbox", "/tokens").form(form).header("Origin", "null").answers(403),
        Call::post("a form of this page", "/tokens")
            .form(form)
            .header("Origin", steps.url.clone())
            .body("The token is issued"),
        Call::post("the token endpoint, from another site", "/token")
            .form("grant_type=refresh_token")
            .header("Origin", "https://evil.example")
            .answers(403)
            .lacks("Access-Control-Allow-Origin"),
        Call::new("a preflight of a local page", Method::OPTIONS, "/register")
            .header("Origin", "http://localhost:5173")
            .header("Access-Control-Request-Method", "POST")
            .answers(204)
            .shows("Access-Control-Allow-Headers", "Content-Type"),
        Call::new("a preflight of another site", Method::OPTIONS, "/register")
            .header("Origin", "https://evil.example")
            .header("Access-Control-Request-Method", "POST")
            .answers(403)
            .lacks("Access-Control-Allow-Origin"),
        Call::get("another host name (DNS rebinding)", "/").header("Host", "evil.example").answers(403),
        Call::get("the page cannot be framed", "/")
            .shows("Content-Security-Policy", "frame-ancestors 'none'"),
    ];
    for call in &calls {
        steps.table.call(&steps.url, call).await;
    }
}

/// Fills every list.
async fn limits(steps: &mut Steps, issuer: &Issuer, client: &str) -> Result<(), Box<dyn Error>> {
    let big = "a".repeat(20_000);
    let too_big = steps.post("/token", &[("client_id", APP_ID), ("token", big.as_str())]).await?;
    steps.table.row("a body that is too large", 413, too_big.status);
    let secret = api_secret(issuer);
    for _ in 0..510 {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "dev-api"),
            ("client_secret", secret.as_str()),
        ];
        steps.post("/token", &form).await?;
    }
    steps.table.row("the number of tokens", 500, issuer.lock().grants.access_tokens().count());
    let metadata = json!({ "redirect_uris": ["http://127.0.0.1/"], "token_endpoint_auth_method": "none" });
    for _ in 0..100 {
        steps.register(metadata.clone()).await?;
    }
    steps.table.row("the oldest client is removed", true, issuer.client(client).is_none());
    Ok(())
}

/// Starts again with the same directory.
fn files(steps: &mut Steps, issuer: &Issuer, options: &Options) -> Result<(), Box<dyn Error>> {
    let again = Issuer::open(options)?;
    steps.table.row("the keys after a restart", issuer.public_keys(), again.public_keys());
    steps.table.row("the variables after a restart", issuer.variables(), again.variables());
    steps.table.row("the clients after a restart", 100, again.registered());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(issuer.store_path())?.permissions().mode() & 0o777;
        steps.table.row("the mode of the file", "600", format!("{mode:o}").as_str());
        fs::set_permissions(issuer.store_path(), fs::Permissions::from_mode(0o644))?;
        let problem = Issuer::open(options).err().map(|error| error.to_string()).unwrap_or_default();
        steps.table.row("a file that others can read", true, problem.contains("mode 644, expected 600"));
        fs::set_permissions(issuer.store_path(), fs::Permissions::from_mode(0o600))?;
    }
    let fresh = options.directory.join("fresh");
    let open = || {
        let options = Options { port: 1, directory: fresh.clone(), ..Options::default() };
        std::thread::spawn(move || {
            Issuer::open(&options).map(|issuer| issuer.variables()).map_err(|e| e.to_string())
        })
    };
    let variables = [open(), open()].map(|thread| thread.join().map_err(|_| "a panic"));
    let [Ok(one), Ok(other)] = variables else { return Err("an issuer panicked".into()) };
    steps.table.row("two programs that start together", one?, other?);

    fs::write(issuer.store_path(), "{")?;
    let problem = Issuer::open(options).err().map(|error| error.to_string()).unwrap_or_default();
    steps.table.row("a damaged file", true, problem.contains("is damaged: delete it"));
    Ok(())
}

fn command_line(steps: &mut Steps) {
    for (arguments, expected) in [
        (["--address", "0.0.0.0"], "expected a loopback address"),
        (["--address", "192.168.1.2"], "expected a loopback address"),
        (["--event-receiver", "http://10.0.0.1/events"], "expected an http URL with a loopback host"),
        (["--port", "99999"], "expected a port"),
        (["--redirect-uri", "http://example.com/"], "expected an https URL"),
        (["--listen", "x"], "is unknown"),
    ] {
        let problem = Options::parse(arguments.map(str::to_owned)).err().unwrap_or_default();
        steps.table.row(&arguments.join(" "), true, problem.contains(expected));
    }
}
