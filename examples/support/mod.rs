//! The harness of the examples: a logger, an authorization server, and a list of calls with their expected answers. The calls
//! are printed as curl commands, or made with `--check`. An application needs nothing of it.
#![expect(clippy::print_stdout, reason = "the examples print")]
#![allow(dead_code, unreachable_pub, clippy::allow_attributes, reason = "each example uses a part of it")]

use std::{error::Error, fmt::Display, io, net::TcpListener, process::ExitCode};

use actix_protect_api::{ClientAuthentication, ProtectApi, ProtectApiBuilder, test::TestIssuer};
use actix_web::{
    dev::{Server, ServerHandle},
    http::{
        Method,
        header::{HeaderMap, WWW_AUTHENTICATE},
    },
    rt,
};

/// The result of `main`.
pub type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Logs to the terminal: this crate at debug level, which has the reason of every rejection. `RUST_LOG` overrides it.
pub fn init_logger() {
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn,actix_protect_api=debug"));
}

/// The settings for a test issuer. In production, `ProtectApi::from_env()` reads them from the environment.
pub fn builder(issuer: &TestIssuer) -> ProtectApiBuilder {
    ProtectApi::builder(issuer.issuer(), issuer.audience())
        .client(issuer.client_id(), ClientAuthentication::client_secret_basic(issuer.client_secret()))
}

/// Whether the example checks itself.
pub fn wants_check() -> bool {
    std::env::args().any(|argument| argument == "--check")
}

/// Listens on a free port for a check, on port 8080 otherwise. Returns the URL, too.
pub fn listen() -> io::Result<(TcpListener, String)> {
    listen_on(if wants_check() { 0 } else { 8080 })
}

/// Listens on a free port. Returns the URL, too.
pub fn listen_on_free_port() -> io::Result<(TcpListener, String)> {
    listen_on(0)
}

fn listen_on(port: u16) -> io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let base = format!("http://{}", listener.local_addr()?);
    Ok((listener, base))
}

/// Makes the calls and reports whether each answer is the expected one; or prints the calls and serves until Ctrl-C.
pub async fn run(server: Server, base: &str, calls: &[Call]) -> Outcome {
    if wants_check() {
        let handle = start(server);
        let outcome = check(base, calls).await;
        handle.stop(false).await;
        return Ok(outcome);
    }
    serve(server, base, calls).await
}

/// Prints the calls as curl commands and serves until Ctrl-C.
pub async fn serve(server: Server, base: &str, calls: &[Call]) -> Outcome {
    println!("The API listens on {base}. Try, in another terminal:\n");
    for call in calls {
        println!("{}", call.as_curl(base));
    }
    println!("Stop with Ctrl-C.");
    server.await?;
    Ok(ExitCode::SUCCESS)
}

/// Serves in the background.
pub fn start(server: Server) -> ServerHandle {
    let handle = server.handle();
    rt::spawn(server);
    handle
}

/// Makes every call and prints a table. Fails if an answer is not the expected one.
pub async fn check(base: &str, calls: &[Call]) -> ExitCode {
    let mut table = Table::new();
    for call in calls {
        table.call(base, call).await;
    }
    table.finish()
}

/// Prints expected and actual results, one per line.
pub struct Table {
    client: awc::Client,
    rows: usize,
    failures: usize,
}

impl Table {
    pub fn new() -> Self {
        println!("{:<5} {:<36} {:<8} seen", "", "call", "expected");
        Self { client: awc::Client::default(), rows: 0, failures: 0 }
    }

    /// Makes a call.
    pub async fn call(&mut self, base: &str, call: &Call) {
        let (seen, holds) = call.make(&self.client, base).await;
        self.print(&call.title, &call.status, &seen, holds);
    }

    /// Compares two values.
    #[expect(clippy::needless_pass_by_value, reason = "literals are easier to read than references to them")]
    pub fn row<T: Display + PartialEq>(&mut self, title: &str, expected: T, seen: T) {
        let holds = expected == seen;
        self.print(title, &expected, &seen.to_string(), holds);
    }

    fn print(&mut self, title: &str, expected: &dyn Display, seen: &str, holds: bool) {
        self.rows += 1;
        self.failures += usize::from(!holds);
        let verdict = if holds { "ok" } else { "FAIL" };
        println!("{verdict:<5} {title:<36} {:<8} {seen}", expected.to_string());
    }

    pub fn finish(self) -> ExitCode {
        println!("{} calls, {} differ", self.rows, self.failures);
        if self.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// One request and its expected answer.
#[derive(Clone)]
pub struct Call {
    title: String,
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    content: Option<String>,
    client: Option<awc::Client>,
    curl_options: String,
    status: u16,
    shows: Vec<(&'static str, String)>,
    lacks: Vec<&'static str>,
    body: Vec<&'static str>,
}

/// The request.
impl Call {
    pub fn get(title: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new(title, Method::GET, path)
    }

    pub fn post(title: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new(title, Method::POST, path)
    }

    pub fn new(title: impl Into<String>, method: Method, path: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            method,
            path: path.into(),
            headers: Vec::new(),
            content: None,
            client: None,
            curl_options: String::new(),
            status: 200,
            shows: Vec::new(),
            lacks: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn token(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// An encoded form as the body.
    pub fn form(mut self, form: impl Into<String>) -> Self {
        self.content = Some(form.into());
        self.header("Content-Type", "application/x-www-form-urlencoded")
    }

    /// JSON as the body.
    pub fn json(mut self, json: impl Into<String>) -> Self {
        self.content = Some(json.into());
        self.header("Content-Type", "application/json")
    }

    /// Makes the call with this client, and curl with these options.
    pub fn with(mut self, client: &awc::Client, curl_options: &str) -> Self {
        self.client = Some(client.clone());
        self.curl_options = format!(" {curl_options}");
        self
    }
}

/// The answer.
impl Call {
    pub fn answers(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// A part of the `WWW-Authenticate` header.
    pub fn challenge(self, part: impl Into<String>) -> Self {
        self.shows("WWW-Authenticate", part)
    }

    /// A part of a header.
    pub fn shows(mut self, name: &'static str, part: impl Into<String>) -> Self {
        self.shows.push((name, part.into()));
        self
    }

    /// A header that is absent.
    pub fn lacks(mut self, name: &'static str) -> Self {
        self.lacks.push(name);
        self
    }

    /// A part of the body.
    pub fn body(mut self, part: &'static str) -> Self {
        self.body.push(part);
        self
    }
}

impl Call {
    pub fn as_curl(&self, base: &str) -> String {
        let method = if self.method == Method::GET { String::new() } else { format!(" -X {}", self.method) };
        // A shell replaces variables, such as `$TOKEN`, in double quotes only.
        let quote = |value: &str| if value.contains('$') { '"' } else { '\'' };
        let header = |(name, value): &(&str, String)| format!(" -H {0}{name}: {value}{0}", quote(value));
        let headers: Vec<String> = self.headers.iter().map(header).collect();
        let headers = headers.concat();
        let content = self.content.as_ref().map(|content| format!(" -d '{content}'")).unwrap_or_default();
        let Self { title, status, path, curl_options, .. } = self;
        format!("# {title}: {status}\ncurl -i{curl_options}{method}{headers}{content} '{base}{path}'\n")
    }

    /// Returns the answer as text, and whether it is the expected one.
    async fn make(&self, client: &awc::Client, base: &str) -> (String, bool) {
        let client = self.client.as_ref().unwrap_or(client);
        let mut request = client.request(self.method.clone(), format!("{base}{}", self.path));
        for (name, value) in &self.headers {
            request = request.append_header((*name, value.as_str()));
        }
        let sent = match &self.content {
            Some(content) => request.send_body(content.clone()),
            None => request.send(),
        };
        let mut response = match sent.await {
            Ok(response) => response,
            Err(error) => return (format!("no answer: {error}"), false),
        };
        let body = match response.body().await {
            Ok(body) => String::from_utf8_lossy(&body).into_owned(),
            Err(error) => return (format!("no whole answer: {error}"), false),
        };
        let status = response.status().as_u16();
        let headers = response.headers();
        let holds = status == self.status
            && self.shows.iter().all(|(name, part)| header(headers, name).contains(part))
            && self.lacks.iter().all(|name| !headers.contains_key(*name))
            && self.body.iter().all(|part| body.contains(part));
        let challenge = header(headers, WWW_AUTHENTICATE.as_str());
        let mut detail = if challenge.is_empty() { body.trim().replace('\n', " ") } else { challenge };
        let others = self.shows.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("www-authenticate"));
        for (name, _) in others {
            detail = format!("{name}: {}; {detail}", header(headers, name));
        }
        (format!("{status} {}", detail.chars().take(110).collect::<String>()), holds)
    }
}

fn header(headers: &HeaderMap, name: &str) -> String {
    let values: Vec<_> = headers.get_all(name).filter_map(|value| value.to_str().ok()).collect();
    values.join(", ")
}
