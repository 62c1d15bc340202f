//! `from_env` reads the environment of the process. The tests run child processes: this binary with one ignored test.

use std::{collections::BTreeSet, process::Output};

use actix_protect_api::{
    ProtectApi,
    test::{Endpoint, Fault, TestIssuer},
};
use actix_web::{App, web};
use serde_json::json;

use crate::support::{
    app::{MISSING, TestApp, serve},
    child::{self, text},
};

const TOKEN: &str = "PROTECT_API_TEST_TOKEN";
const WORKERS: usize = 4;

/// Runs one of the tests below in a process with these variables of this crate.
fn child(test: &str, variables: impl IntoIterator<Item = (String, String)>) -> Output {
    let mut command = child::command(module_path!(), test);
    command.envs(variables).env("RUST_BACKTRACE", "0");
    child::output(command)
}

fn variable(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
#[ignore = "runs as a child process"]
fn child_prints_its_configuration() {
    println!("{:?}", ProtectApi::from_env());
    println!("{:?}", ProtectApi::from_env_with_prefix("MY_API_"));
    assert!(ProtectApi::try_from_env().is_ok());
    assert!(ProtectApi::try_from_env_with_prefix("NO_SUCH_").is_err());
}

#[test]
fn from_env_reads_the_environment_of_the_process() {
    let output = child(
        "child_prints_its_configuration",
        [
            variable("MONOCLOUD_BACKEND_TENANT_DOMAIN", "first.example.test"),
            variable("MONOCLOUD_BACKEND_AUDIENCE", "first-api"),
            variable("MONOCLOUD_BACKEND_CLOCK_TOLERANCE", "17"),
            variable("MY_API_TENANT_DOMAIN", "second.example.test"),
            variable("MY_API_AUDIENCE", "second-api"),
        ],
    );
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for part in
        ["first.example.test", "first-api", "clock_tolerance: 17", "second.example.test", "second-api"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn from_env_panics_with_all_problems_and_no_secret() {
    let output = child(
        "child_prints_its_configuration",
        [
            variable("MONOCLOUD_BACKEND_TENANT_DOMAIN", "https://me:hunter2@tenant.example.test"),
            variable("MONOCLOUD_BACKEND_CLIENT_ID", "me"),
            variable("MONOCLOUD_BACKEND_CLIENT_SECRET", "hunter2"),
            variable("MONOCLOUD_BACKEND_CLIENT_AUTH_METHOD", "private_key_jwt"),
            variable("MONOCLOUD_BACKEND_RESPONSE_TIMEOUT", "10s"),
        ],
    );
    let text = text(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("invalid configuration, 4 problems:"), "{text}");
    for name in ["TENANT_DOMAIN", "AUDIENCE", "CLIENT_SECRET", "RESPONSE_TIMEOUT"] {
        assert!(text.contains(&format!("\n  - MONOCLOUD_BACKEND_{name}: ")), "{name}: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    // The panic names the place of the call, not one in the crate.
    assert!(text.contains("from_env.rs:"), "{text}");
}

/// A handler that returns the worker.
async fn worker() -> String {
    format!("{:?}", std::thread::current().id())
}

/// Calls the application on several connections, one after the other, until every worker has responded.
async fn call_every_worker(app: &TestApp, token: &str) {
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        let answer = app.get("/").token(token).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        seen.insert(answer.body);
        if seen.len() == WORKERS {
            return;
        }
    }
    panic!("only {} of {WORKERS} workers answered", seen.len());
}

#[actix_web::test]
#[ignore = "runs as a child process"]
async fn child_serves_with_from_env_inside_the_closure() {
    let Ok(token) = std::env::var(TOKEN) else { return };
    let app =
        serve!(WORKERS, || { App::new().wrap(ProtectApi::from_env()).route("/", web::get().to(worker)) });
    app.get("/").send().await.refuses(MISSING);
    call_every_worker(&app, &token).await;
}

#[test]
fn from_env_inside_the_closure_shares_everything_between_workers() {
    let issuer = TestIssuer::start();
    for token in [issuer.opaque(json!({})), issuer.jwt(json!({}))] {
        issuer.reset_counters();
        let mut variables = issuer.variables();
        variables.push(variable("MONOCLOUD_BACKEND_INTROSPECTION_CACHE_DURATION", "60"));
        variables.push(variable(TOKEN, &token));
        let output = child("child_serves_with_from_env_inside_the_closure", variables);
        assert!(output.status.success(), "{}", text(&output));
        let is_jwt = token.contains('.');
        assert_eq!(issuer.count(Endpoint::Discovery), 1);
        assert_eq!(issuer.count(Endpoint::Introspection), usize::from(!is_jwt));
        assert_eq!(issuer.count(Endpoint::Jwks), usize::from(is_jwt));
    }
}

#[actix_web::test]
async fn configurations_made_inside_the_closure_share_the_calls_in_flight() {
    let issuer = TestIssuer::start();
    let variables = issuer.variables();
    let app = serve!(WORKERS, move || {
        let protect = ProtectApi::try_from_variables("MONOCLOUD_BACKEND_", variables.clone()).unwrap();
        App::new().wrap(protect).route("/", web::get().to(worker))
    });
    let token = issuer.opaque(json!({}));
    issuer.fault(Endpoint::Introspection, Fault::hold());
    let mut calls = Vec::new();
    for _ in 0..8 {
        calls.push(actix_web::rt::spawn(app.get("/").token(&token).send()));
    }
    issuer.received(Endpoint::Introspection, 1).await;
    // All requests wait for the call in flight. A test cannot observe when all have arrived.
    actix_web::rt::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(issuer.count(Endpoint::Introspection), 1);
    issuer.release(Endpoint::Introspection);
    let mut workers = BTreeSet::new();
    for call in calls {
        let answer = call.await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        workers.insert(answer.body);
    }
    assert!(workers.len() > 1, "one worker had all the calls: nothing is shown");
    assert_eq!(issuer.count(Endpoint::Introspection), 1);
    assert_eq!(issuer.count(Endpoint::Discovery), 1);
}

#[actix_web::test]
async fn a_cloned_handle_and_one_made_inside_the_closure_are_the_same() {
    let issuer = TestIssuer::start();
    let mut variables = issuer.variables();
    variables.push(variable("MONOCLOUD_BACKEND_INTROSPECTION_CACHE_DURATION", "60"));
    let protect = ProtectApi::try_from_variables("MONOCLOUD_BACKEND_", variables.clone()).unwrap();
    let cloned = serve!(WORKERS, move || App::new().wrap(protect.clone()).route("/", web::get().to(worker)));
    let made = serve!(WORKERS, move || {
        let protect = ProtectApi::try_from_variables("MONOCLOUD_BACKEND_", variables.clone()).unwrap();
        App::new().wrap(protect).route("/", web::get().to(worker))
    });
    let token = issuer.opaque(json!({}));
    call_every_worker(&cloned, &token).await;
    call_every_worker(&made, &token).await;
    assert_eq!(issuer.count(Endpoint::Introspection), 1);
    assert_eq!(issuer.count(Endpoint::Discovery), 1);
}
