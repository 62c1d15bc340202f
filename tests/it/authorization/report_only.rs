//! Rules that are reported and not enforced: requirements of a mount, and the trial of a configuration.

use std::time::Duration;

use actix_protect_api::{
    AuthErrorKind, AuthenticatedRequest, CertificateBinding, Clock as _, ProtectApi, ProtectApiBuilder,
    RequiredScopes, Revocation, Scoped, Trial,
    test::{TestClock, TestIssuer},
};
use actix_web::{App, test::init_service, web};
use serde_json::{Value, json};

use crate::support::{
    app::{Answer, TestApp, serve},
    logs,
    service::{introspecting, jwts_only, timed_issuer},
};

/// Returns the class and the fault with which the request would be rejected.
async fn show(caller: AuthenticatedRequest) -> String {
    let error = caller.would_be_rejected();
    error.map_or_else(|| "accepted".to_owned(), |error| error.kind().fault().to_owned())
}

/// One mount around `/`.
fn serving(protect: ProtectApi) -> TestApp {
    serve!(move || App::new().wrap(protect.clone()).route("/", web::get().to(show)))
}

async fn get(app: &TestApp, token: &str) -> Answer {
    app.get("/").token(token).send().await
}

/// The records and the count of this issuer with this event.
fn records(issuer: &TestIssuer, event: &str) -> Vec<logs::Record> {
    let is_it =
        |record: &logs::Record| record.value("event") == event && record.value("issuer") == issuer.issuer();
    logs::records().into_iter().filter(is_it).collect()
}

/// The number of reports with this label.
fn reports(issuer: &TestIssuer, client: &str) -> usize {
    records(issuer, "would_reject").iter().filter(|record| record.value("client") == client).count()
}

#[actix_web::test]
async fn the_requirements_of_a_mount_are_reported_and_not_enforced() {
    logs::capture();
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let token = |claims: Value| issuer.jwt(claims);
    let with_client = |client: &str| token(json!({ "client_id": client }));
    for (mount, fault) in [
        (protect.scopes(["write"]), "insufficient_scope"),
        (protect.any_scope(["write", "admin"]), "insufficient_scope"),
        (protect.groups(["staff"]), "insufficient_groups"),
        (protect.acr(["gold"]), "insufficient_user_authentication"),
        (protect.authenticated_within(Duration::from_secs(60)), "insufficient_user_authentication"),
    ] {
        let rejects = serving(mount.clone());
        let class = get(&rejects, &with_client("spa")).await.status;
        assert!([401, 403].contains(&class));
        let app = serving(mount.report_only());
        let before = records(&issuer, "would_reject").len();
        get(&app, &with_client("spa")).await.is(200, fault);
        let record = &records(&issuer, "would_reject")[before];
        let values = ["rule", "fault", "client"].map(|key| record.value(key));
        assert_eq!(values, ["mount", fault, "spa"], "{record}");
        let meets = json!({
            "scope": "write", "groups": ["staff"], "acr": "gold", "auth_time": actix_protect_api::SystemClock::new().unix_time()
        });
        get(&app, &token(meets)).await.is(200, "accepted");
        assert_eq!(records(&issuer, "would_reject").len(), before + 1);
        // The token must be valid.
        assert_eq!(get(&app, "").await.status, 400);
        assert_eq!(app.get("/").send().await.status, 401);
        assert_eq!(get(&app, &token(json!({ "exp": 1 }))).await.status, 401);
        assert_eq!(get(&app, &token(json!({ "aud": "another" }))).await.status, 401);
        assert_eq!(get(&app, &token(json!({ "iss": "https://another.example" }))).await.status, 401);
    }
    assert_eq!(reports(&issuer, "spa"), 5);
}

#[actix_web::test]
async fn a_warning_at_the_start_names_the_requirements() {
    logs::capture();
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let mount = protect.scopes(["posts:write"]).routes(["POST /posts"]).report_only();
    for _ in 0..2 {
        init_service(App::new().wrap(mount.clone())).await;
    }
    let records = records(&issuer, "report_only");
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0].level, log::Level::Warn);
    assert!(records[0].text.contains("POST /posts: scopes posts:write; only reported"), "{records:?}");
    assert_eq!(protect.explain().to_string(), "POST /posts: scopes posts:write; only reported\n");
}

#[actix_web::test]
async fn rules_of_the_configuration_are_enforced_by_a_mount_that_reports() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).claim_rule("never", |_| false).build().unwrap();
    assert_eq!(
        get(&serving(protect.scopes(["write"]).report_only()), &issuer.jwt(json!({}))).await.status,
        403
    );
    let protect = introspecting(&issuer).certificate_binding(CertificateBinding::Required).build().unwrap();
    assert_eq!(
        get(&serving(protect.scopes(["write"]).report_only()), &issuer.jwt(json!({}))).await.status,
        401
    );
    // A revoked token is rejected.
    let protect = introspecting(&issuer).realm("revoked").build().unwrap();
    let token = issuer.jwt(json!({}));
    protect.revoke(Revocation::token(&token)).await.unwrap();
    assert_eq!(get(&serving(protect.scopes(["write"]).report_only()), &token).await.status, 401);
}

struct Write;

impl RequiredScopes for Write {
    const SCOPES: &'static [&'static str] = &["write"];
}

#[actix_web::test]
async fn other_mounts_and_extractors_enforce_their_requirements() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let app = serve!(move || {
        let scoped = |caller: Scoped<Write>| async move { caller.subject().unwrap_or("nobody").to_owned() };
        let required = |caller: AuthenticatedRequest| async move {
            caller.require_scopes(["write"]).map(|()| "accepted")
        };
        let reports = protect.scopes(["write"]).report_only();
        App::new()
            .service(
                web::scope("/outer")
                    .wrap(reports.clone())
                    .service(web::resource("/same").wrap(protect.clone()).route(web::get().to(show)))
                    .service(
                        web::resource("/inner").wrap(protect.scopes(["admin"])).route(web::get().to(show)),
                    )
                    .service(
                        web::resource("/both")
                            .wrap(protect.groups(["staff"]).report_only())
                            .route(web::get().to(show)),
                    ),
            )
            .service(
                web::scope("/enforced")
                    .wrap(protect.scopes(["read"]))
                    .service(web::resource("/inner").wrap(reports.clone()).route(web::get().to(show))),
            )
            .service(web::resource("/scoped").wrap(reports.clone()).route(web::get().to(scoped)))
            .service(web::resource("/required").wrap(reports).route(web::get().to(required)))
    });
    let (reader, nobody) = (issuer.jwt(json!({ "scope": "read" })), issuer.jwt(json!({})));
    let send = async |path: &str, token: &str| app.get(path).token(token).send().await;
    send("/outer/same", &nobody).await.is(200, "insufficient_scope");
    send("/outer/both", &nobody).await.is(200, "insufficient_scope");
    send("/enforced/inner", &reader).await.is(200, "insufficient_scope");
    for (path, token, scope) in [
        // Challenges do not name scopes that are not enforced.
        ("/outer/inner", &reader, "admin"),
        ("/enforced/inner", &nobody, "read"),
        ("/scoped", &reader, "write"),
        ("/required", &reader, "write"),
    ] {
        send(path, token).await.lacks_scope(scope);
    }
    assert_eq!(app.get("/outer/same").send().await.challenge(), Some("Bearer"));
}

#[actix_web::test]
async fn the_client_label_is_bounded() {
    logs::capture();
    let issuer = TestIssuer::start();
    let app = serving(introspecting(&issuer).build().unwrap().scopes(["write"]).report_only());
    for number in 0..60 {
        let token = issuer.jwt(json!({ "client_id": format!("client-{number}") }));
        get(&app, &token).await.is(200, "insufficient_scope");
    }
    let clients = ["client-0", "client-49", "client-50", "other"];
    assert_eq!(clients.map(|client| reports(&issuer, client)), [1, 1, 0, 10]);
}

#[actix_web::test]
async fn a_token_without_a_request_is_reported_too() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap().scopes(["write"]);
    let token = issuer.jwt(json!({}));
    assert_eq!(protect.validate(&token, None).await.unwrap_err().kind(), AuthErrorKind::InsufficientScope);
    let valid = protect.report_only().validate(&token, None).await.unwrap();
    assert_eq!(valid.would_be_rejected().unwrap().kind(), AuthErrorKind::InsufficientScope);
}

// The trial.

fn day(clock: &TestClock, days: i64) -> String {
    // The test clock starts at a fixed time.
    let (mut date, mut left) = (1970_i64, clock.unix_time() / 86_400 + days);
    let length = |year: i64| if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) { 366 } else { 365 };
    while left >= length(date) {
        left -= length(date);
        date += 1;
    }
    let mut month = 1;
    for days in [31, length(date) - 337, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < days {
            break;
        }
        left -= days;
        month += 1;
    }
    format!("{date:04}-{month:02}-{:02}", left + 1)
}

fn trying(issuer: &TestIssuer, clock: &TestClock, trial: Trial) -> ProtectApiBuilder {
    introspecting(issuer).clock(clock.clone()).trial(trial)
}

/// A rule, the fault of a token that does not meet it, and claims that meet it.
type RuleCase = (fn(Trial) -> Trial, &'static str, Value);

#[actix_web::test]
async fn each_rule_of_a_trial_is_reported_until_its_date_and_then_enforced() {
    logs::capture();
    let cases: [RuleCase; 4] = [
        (
            |trial| trial.audience("https://api.example/v2"),
            "audience",
            json!({ "aud": ["AUD", "https://api.example/v2"] }),
        ),
        (|trial| trial.require_at_jwt(), "type", Value::Null),
        (|trial| trial.require_certificate_binding(), "binding", Value::Null),
        (|trial| trial.acr(["gold"]), "insufficient_user_authentication", json!({ "acr": "gold" })),
    ];
    for (trial, fault, meets) in cases {
        let (issuer, clock) = timed_issuer();
        let long = json!({ "exp": clock.unix_time() + 30 * 86_400, "client_id": "spa" });
        let options = actix_protect_api::test::JwtOptions::new().header("typ", "JWT");
        let token = issuer.jwt_with(options, long);
        let [enforced, ended] = [false, true].map(|ends| {
            let trial = trial(Trial::until(day(&clock, 2)));
            let trial = if ends { trial.then_end() } else { trial };
            serving(trying(&issuer, &clock, trial).build().unwrap())
        });
        for app in [&enforced, &ended] {
            get(app, &token).await.is(200, fault);
        }
        let record = records(&issuer, "would_reject").pop().unwrap();
        assert_eq!([record.value("rule"), record.value("fault")], ["trial", fault]);
        if let Value::Object(_) = &meets {
            let text = meets.to_string().replace("AUD", issuer.audience());
            let meets = issuer.jwt(serde_json::from_str(&text).unwrap());
            get(&enforced, &meets).await.is(200, "accepted");
        }
        clock.advance(Duration::from_secs(2 * 86_400));
        assert_eq!(get(&enforced, &token).await.status, 401, "{fault}");
        get(&ended, &token).await.is(200, "accepted");
        // The rules of the configuration are enforced as before.
        assert_eq!(get(&ended, &issuer.jwt(json!({ "aud": "another" }))).await.status, 401);
    }
}

#[actix_web::test]
async fn at_jwt_concerns_jwts_only() {
    let (issuer, clock) = timed_issuer();
    let app =
        serving(trying(&issuer, &clock, Trial::until(day(&clock, 2)).require_at_jwt()).build().unwrap());
    let typed = |typ: &str| {
        issuer.jwt_with(
            actix_protect_api::test::JwtOptions::new().header("typ", typ),
            json!({ "scope": "read" }),
        )
    };
    get(&app, &issuer.opaque(json!({}))).await.is(200, "accepted");
    get(&app, &typed("at+jwt")).await.is(200, "accepted");
    get(&app, &typed("application/at+jwt")).await.is(200, "accepted");
    get(&app, &typed("JWT")).await.is(200, "type");
}

#[actix_web::test]
async fn nested_mounts_count_a_trial_once() {
    logs::capture();
    let (issuer, clock) = timed_issuer();
    let protect = trying(&issuer, &clock, Trial::until(day(&clock, 2)).acr(["gold"])).build().unwrap();
    let app = serve!(move || {
        App::new().wrap(protect.clone()).service(
            web::scope("/a")
                .wrap(protect.clone())
                .service(web::resource("/b").wrap(protect.clone()).route(web::get().to(show))),
        )
    });
    let answer = app.get("/a/b").token(&issuer.jwt(json!({ "client_id": "spa" }))).send().await;
    answer.is(200, "insufficient_user_authentication");
    assert_eq!(reports(&issuer, "spa"), 1);
}

#[actix_web::test]
async fn a_trial_is_announced_at_the_start() {
    logs::capture();
    for (days, ends, text) in [
        (2, false, "are reported until DATE, and enforced from then on"),
        (2, true, "are reported until DATE, and have no effect from then on"),
        (-1, false, "are enforced since DATE"),
        (-1, true, "have no effect since DATE"),
    ] {
        let (issuer, clock) = timed_issuer();
        let date = day(&clock, days);
        let text = format!(
            "the rules of the trial (audience \"new\", type at+jwt, binding to the client certificate, acr \"gold\") {}",
            text.replace("DATE", &date)
        );
        let trial =
            Trial::until(date).audience("new").require_at_jwt().require_certificate_binding().acr(["gold"]);
        let trial = if ends { trial.then_end() } else { trial };
        let _protect = trying(&issuer, &clock, trial).build().unwrap();
        let records = records(&issuer, "report_only");
        assert!(records.len() == 1 && records[0].text.contains(&text), "{records:?}");
    }
}

#[actix_web::test]
async fn variables_set_a_trial() {
    let issuer = TestIssuer::start();
    let read = |variables: &[(&str, &str)]| {
        let own =
            variables.iter().map(|(name, value)| (format!("MONOCLOUD_BACKEND_{name}"), (*value).to_owned()));
        ProtectApi::try_from_variables("MONOCLOUD_BACKEND_", issuer.variables().into_iter().chain(own))
    };
    let protect = read(&[
        ("TRIAL_UNTIL", "9999-12-31"),
        ("TRIAL_AUDIENCES", "one two"),
        ("TRIAL_REQUIRE_AT_JWT", "true"),
        ("TRIAL_REQUIRE_CERTIFICATE_BINDING", "true"),
        ("TRIAL_ACR", "gold silver"),
        ("TRIAL_THEN_END", "true"),
    ]);
    let in_code = Trial::until("9999-12-31").audience("one").audience("two").require_at_jwt();
    let in_code = in_code.require_certificate_binding().acr(["gold", "silver"]).then_end();
    let in_code = format!("{:?}", jwts_only(&issuer).trial(in_code).build().unwrap());
    let trial =
        |text: &str| text.split("trial: ").nth(1).unwrap().split(", client: ").next().unwrap().to_owned();
    assert_eq!(trial(&format!("{:?}", protect.unwrap())), trial(&in_code));
    for (variables, name, text) in [
        (&[("TRIAL_ACR", "gold")][..], "TRIAL_UNTIL", "is missing, expected YYYY-MM-DD"),
        (&[("TRIAL_UNTIL", "soon"), ("TRIAL_ACR", "gold")], "TRIAL_UNTIL", "has the date \"soon\""),
        (&[("TRIAL_UNTIL", "2027-04-01")], "TRIAL_UNTIL", "has no rule"),
        (&[("TRIAL_UNTIL", "2027-04-01"), ("TRIAL_REQUIRE_AT_JWT", "false")], "TRIAL_UNTIL", "has no rule"),
        (&[("TRIAL_UNTIL", "2027-04-01"), ("TRIAL_ACR", "a\"b")], "TRIAL_UNTIL", "has an acr"),
    ] {
        let error = read(variables).unwrap_err();
        let [problem] = error.problems() else { panic!("{error}") };
        assert_eq!(problem.name, format!("MONOCLOUD_BACKEND_{name}"), "{error}");
        assert!(problem.message.contains(text), "{error}");
    }
    let empty = jwts_only(&issuer).trial(Trial::until("2027-04-01").audience(" ")).build().unwrap_err();
    assert!(empty.to_string().contains("an empty audience"), "{empty}");
}

/// Causes each log record and metric of reported rules, at each level.
pub(crate) async fn every_report() {
    let (issuer, clock) = timed_issuer();
    let trial = Trial::until(day(&clock, 2)).acr(["gold"]);
    let protect = trying(&issuer, &clock, trial).build().unwrap().scopes(["write"]).report_only();
    let app = serving(protect);
    for _ in 0..2 {
        get(&app, &issuer.jwt(json!({}))).await.is(200, "insufficient_user_authentication");
    }
}
