//! The steps of `steps.mjs` with the client of rmcp. `run.sh rmcp` builds and runs it, as an example of the package
//! `examples/mcp`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it prints the steps")]

use std::{collections::HashMap, env, error::Error, process::ExitCode, time::Duration};

use actix_web::rt::time::sleep;
use reqwest::{Client, Url, header::COOKIE, header::LOCATION, header::SET_COOKIE, redirect::Policy};
use rmcp::{
    RoleClient, ServiceExt as _,
    model::CallToolRequestParams,
    service::{ClientInitializeError, RunningService, ServiceError},
    transport::{
        StreamableHttpClientTransport,
        auth::{AuthClient, AuthorizationCallback, AuthorizationRequest, OAuthState, WWWAuthenticateParams},
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::Value;

const REDIRECT: &str = "http://127.0.0.1:9/callback";

type Outcome<T = String> = Result<T, Box<dyn Error>>;

/// Follows the redirects of an authorization request, with cookies. Returns the URL of the client.
async fn browse(url: &str) -> Outcome {
    let client = Client::builder().redirect(Policy::none()).build()?;
    let (mut url, mut cookies) = (Url::parse(url)?, HashMap::new());
    for _ in 0..20 {
        let cookie: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let response = client.get(url.clone()).header(COOKIE, cookie.join("; ")).send().await?;
        for line in response.headers().get_all(SET_COOKIE) {
            let pair = line.to_str()?.split(';').next().and_then(|pair| pair.split_once('='));
            if let Some((name, value)) = pair {
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let location = response.headers().get(LOCATION).ok_or("no redirect")?.to_str()?;
        url = url.join(location)?;
        if url.as_str().starts_with(REDIRECT) {
            return Ok(url.into());
        }
    }
    Err("too many redirects".into())
}

/// The authorization server, and the MCP server.
struct Servers {
    issuer: String,
    endpoint: String,
}

impl Servers {
    async fn set_lifetime(&self, seconds: u32) -> Outcome<()> {
        Client::new().post(format!("{}/__admin/ttl?seconds={seconds}", self.issuer)).send().await?;
        Ok(())
    }

    /// The scopes and resources of the authorization requests so far.
    async fn authorizations(&self) -> Outcome<Vec<(String, String)>> {
        let response = Client::new().get(format!("{}/__admin/requests", self.issuer)).send().await?;
        let requests: Vec<Value> = serde_json::from_str(&response.text().await?)?;
        let text = |request: &Value, name: &str| {
            request.pointer(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let of_clients = requests.iter().filter(|request| {
            request.get("path") == Some(&"/auth".into()) && request.pointer("/query/client_id").is_some()
        });
        Ok(of_clients
            .map(|request| (text(request, "/query/scope"), text(request, "/query/resource")))
            .collect())
    }
}

/// A client with its tokens.
struct Session<'s> {
    servers: &'s Servers,
    client: Option<AuthClient<Client>>,
}

type Connected = RunningService<RoleClient, ()>;

impl Session<'_> {
    /// Connects. A challenge starts an authorization.
    async fn connect(&mut self) -> Outcome<Connected> {
        let config = || StreamableHttpClientTransportConfig::with_uri(self.servers.endpoint.as_str());
        let challenge = match &self.client {
            Some(client) => {
                let transport = StreamableHttpClientTransport::with_client(client.clone(), config());
                match ().serve(transport).await {
                    Ok(connected) => return Ok(connected),
                    Err(error) => challenge_of(error)?,
                }
            }
            None => match ().serve(StreamableHttpClientTransport::with_client(Client::new(), config())).await
            {
                Ok(_) => return Err("connected without a token".into()),
                Err(error) => challenge_of(error)?,
            },
        };
        let mut state = OAuthState::new(self.servers.endpoint.as_str(), None).await?;
        // Without this selection, rmcp adds all scopes of the metadata document to those of the challenge.
        let request = AuthorizationRequest::new(REDIRECT).with_initial_scope_selection();
        let request = request.with_client_name("interop").with_challenge(challenge);
        state.start_authorization(request).await?;
        state.handle_callback_url(&browse(&state.get_authorization_url().await?).await?).await?;
        let manager = state.into_authorization_manager().ok_or("not authorized")?;
        let client = AuthClient::new(Client::new(), manager);
        self.client = Some(client.clone());
        Ok(().serve(StreamableHttpClientTransport::with_client(client, config())).await?)
    }

    async fn tools(&mut self) -> Outcome {
        let connected = self.connect().await?;
        let tools = connected.list_all_tools().await?;
        connected.cancel().await?;
        Ok(tools.iter().map(|tool| &*tool.name).collect::<Vec<_>>().join(" "))
    }

    async fn call_once(&mut self, tool: &'static str) -> Outcome<Result<String, ServiceError>> {
        let connected = self.connect().await?;
        let outcome = connected.call_tool(CallToolRequestParams::new(tool)).await;
        connected.cancel().await?;
        Ok(outcome.map(|result| {
            let text = result.content.first().and_then(|content| content.as_text());
            text.map(|text| text.text.clone()).unwrap_or_default()
        }))
    }

    /// Calls a tool. After `insufficient_scope` it requests the scopes of the challenge and retries once, as rmcp
    /// recommends to applications.
    async fn call(&mut self, tool: &'static str) -> Outcome {
        let error = match self.call_once(tool).await? {
            Ok(text) => return Ok(text),
            Err(error) => error,
        };
        let challenge = error.auth_challenge().ok_or_else(|| error.to_string())?;
        let parameters = WWWAuthenticateParams::parse(challenge, &Url::parse(&self.servers.endpoint)?);
        let is_insufficient = parameters.is_insufficient_scope();
        let scope = parameters.scope.filter(|_| is_insufficient);
        let client = self.client.as_ref().ok_or("no client")?;
        {
            let manager = client.auth_manager.lock().await;
            let url = manager.request_scope_upgrade(&scope.ok_or("no scope is missing")?).await?;
            let answer = AuthorizationCallback::from_redirect_url(&browse(&url).await?)?;
            manager
                .exchange_code_for_token_with_issuer(
                    &answer.code,
                    &answer.csrf_token,
                    answer.issuer.as_deref(),
                )
                .await?;
        }
        Ok(self.call_once(tool).await??)
    }
}

fn challenge_of(error: ClientInitializeError) -> Outcome {
    match error.auth_challenge() {
        Some(challenge) => Ok(challenge.to_owned()),
        None => Err(error.into()),
    }
}

/// Prints a step, and returns whether it failed.
fn report(title: &str, outcome: &Outcome) -> bool {
    match outcome {
        Ok(detail) => println!("STEP|rmcp|{title}|ok|{detail}"),
        Err(error) => {
            println!("STEP|rmcp|{title}|FAILED|{error}");
            eprintln!("{error:?}");
        }
    }
    outcome.is_err()
}

fn expect(condition: bool, text: impl FnOnce() -> String) -> Outcome<()> {
    if condition { Ok(()) } else { Err(text().into()) }
}

async fn first_authorization(session: &mut Session<'_>, before: usize) -> Outcome {
    let tools = session.tools().await?;
    expect(tools.contains("write_document"), || format!("the tools are {tools}"))?;
    let seen = session.servers.authorizations().await?;
    let (scope, resource) = seen.get(before).ok_or("no authorization")?;
    expect(*resource == session.servers.endpoint, || format!("the resource is {resource}"))?;
    expect(!scope.contains("files:"), || format!("the first scope is {scope}"))?;
    Ok(format!("scope {scope}"))
}

async fn read(session: &mut Session<'_>) -> Outcome {
    let text = session.call("read_document").await?;
    expect(text == "alice reads", || format!("the result is {text}"))?;
    let seen = session.servers.authorizations().await?;
    let scope = seen.last().map(|(scope, _)| scope.clone()).unwrap_or_default();
    let names: Vec<&str> = scope.split(' ').collect();
    expect(names.contains(&"mcp") && names.contains(&"files:read"), || format!("the scope is {scope}"))?;
    Ok(format!("scope {scope}"))
}

async fn rejected(session: &mut Session<'_>) -> Outcome {
    let before = session.servers.authorizations().await?.len();
    let outcome = session.call("write_document").await;
    let attempts = session.servers.authorizations().await?.len() - before;
    expect(attempts <= 3, || format!("{attempts} authorizations"))?;
    match outcome {
        Ok(text) => Err(format!("the result is {text}").into()),
        Err(error) => {
            let text = error.to_string();
            let text = text.rsplit(": ").next().unwrap_or_default();
            Ok(format!("{attempts} authorization(s), then: {text}"))
        }
    }
}

async fn again(session: &mut Session<'_>) -> Outcome {
    let text = session.call("read_document").await?;
    expect(text == "alice reads", || format!("the result is {text}"))?;
    Ok(String::new())
}

async fn expired(session: &mut Session<'_>) -> Outcome {
    session.client = None;
    session.servers.set_lifetime(2).await?;
    session.tools().await?;
    session.servers.set_lifetime(3600).await?;
    sleep(Duration::from_millis(3500)).await;
    again(session).await
}

#[actix_web::main]
async fn main() -> Outcome<ExitCode> {
    let servers = Servers { issuer: env::var("INTEROP_ISSUER")?, endpoint: env::var("INTEROP_MCP")? };
    let before = servers.authorizations().await?.len();
    let mut session = Session { servers: &servers, client: None };
    let failed = [
        report("discovery and first authorization", &first_authorization(&mut session, before).await),
        report("step-up after insufficient_scope", &read(&mut session).await),
        report("rejection of a tool whose scope is not granted", &rejected(&mut session).await),
        report("another tool still works", &again(&mut session).await),
        report("expired token", &expired(&mut session).await),
    ];
    Ok(if failed.contains(&true) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
