//! Several issuers behind one mount, and tokens that do not come with an HTTP request.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use actix_protect_api::{
    AuthErrorKind, AuthenticatedRequest, ClientAuthentication, ProtectApi, Revocation, TenantRequest,
    TokenFault,
    test::{Endpoint, Fault, JwtOptions, TestClock, TestIssuer},
};
use actix_web::{App, web};
use serde_json::json;

use crate::support::{
    app::{TestApp, serve, whoami},
    service::introspecting,
};

/// Two issuers with different audiences.
struct Pair {
    staff: TestIssuer,
    partners: TestIssuer,
    staff_api: ProtectApi,
    partners_api: ProtectApi,
}

impl Pair {
    fn start() -> Self {
        let start = |audience: &str| TestIssuer::builder().audience(audience).start();
        let (staff, partners) = (start("staff-api"), start("partners-api"));
        let build = |issuer: &TestIssuer| introspecting(issuer).build().unwrap();
        Self { staff_api: build(&staff), partners_api: build(&partners), staff, partners }
    }

    fn both(&self) -> [ProtectApi; 2] {
        [self.staff_api.clone(), self.partners_api.clone()]
    }

    fn calls(&self) -> usize {
        [&self.staff, &self.partners]
            .into_iter()
            .flat_map(|issuer| {
                [Endpoint::Introspection, Endpoint::Jwks, Endpoint::Discovery]
                    .map(|endpoint| issuer.count(endpoint))
            })
            .sum()
    }
}

async fn principal(caller: AuthenticatedRequest) -> String {
    caller.principal().map(|principal| principal.to_string()).unwrap_or_default()
}

fn serving(protect: ProtectApi) -> TestApp {
    serve!(move || {
        let inner = web::scope("/inner").wrap(protect.scopes(["read"])).route("", web::get().to(whoami));
        App::new()
            .wrap(protect.clone())
            .route("/", web::get().to(whoami))
            .route("/principal", web::get().to(principal))
            .service(inner)
    })
}

async fn status(app: &TestApp, token: &str) -> u16 {
    app.get("/").token(token).send().await.status
}

#[actix_web::test]
async fn a_jwt_is_validated_by_the_issuer_that_it_names() {
    let pair = Pair::start();
    let app = serving(ProtectApi::any_of(pair.both()).build().unwrap());
    for issuer in [&pair.staff, &pair.partners] {
        let token = issuer.jwt(json!({ "sub": "alice" }));
        app.get("/").token(&token).send().await.is(200, "alice");
        let expected = format!("{} alice", issuer.issuer());
        app.get("/principal").token(&token).send().await.is(200, &expected);
    }
}

#[actix_web::test]
async fn a_token_is_never_validated_by_the_rules_of_another_issuer() {
    let pair = Pair::start();
    let app = serving(ProtectApi::any_of(pair.both()).build().unwrap());
    let issuers = [&pair.staff, &pair.partners];
    for (signer, named, audience) in (0..8).map(|case: usize| (case % 2, case / 2 % 2, case / 4 % 2)) {
        let claims =
            json!({ "sub": "alice", "iss": issuers[named].issuer(), "aud": issuers[audience].audience() });
        let token = issuers[signer].jwt(claims);
        let expected = if signer == named && named == audience { 200 } else { 401 };
        assert_eq!(status(&app, &token).await, expected, "signed by {signer}, of {named}, for {audience}");
    }
}

#[actix_web::test]
async fn a_jwt_of_an_unknown_issuer_causes_no_call() {
    let pair = Pair::start();
    let app = serving(ProtectApi::any_of(pair.both()).opaque_in_order(&pair.both()).build().unwrap());
    let before = pair.calls();
    for number in 0..50 {
        let names = [json!(format!("https://{number}.example.test")), json!(null), json!(7), json!("")];
        for name in names {
            let token = pair.staff.jwt(json!({ "iss": name }));
            assert_eq!(status(&app, &token).await, 401, "{name}");
        }
    }
    // A malformed JWT is not opaque.
    let token = pair.staff.jwt(json!({}));
    let (header, _) = token.split_once('.').unwrap();
    assert_eq!(status(&app, &format!("{header}.AAAA.AAAA")).await, 401);
    assert_eq!(pair.calls(), before);
}

#[actix_web::test]
async fn an_opaque_token_needs_a_route() {
    let pair = Pair::start();
    let app = serving(ProtectApi::any_of(pair.both()).build().unwrap());
    let token = pair.staff.opaque(json!({}));
    assert_eq!(status(&app, &token).await, 401);
    assert_eq!(pair.calls(), 0);
}

#[actix_web::test]
async fn opaque_tokens_are_routed_by_their_prefix() {
    let pair = Pair::start();
    let (staff, partners) = (pair.staff.opaque(json!({})), pair.partners.opaque(json!({})));
    let prefix = partners.get(..8).unwrap();
    assert!(!staff.starts_with(prefix));
    let protect = ProtectApi::any_of(pair.both())
        .opaque_prefix(prefix, &pair.partners_api)
        .opaque_in_order([&pair.staff_api])
        .build();
    let app = serving(protect.unwrap());
    assert_eq!((status(&app, &staff).await, status(&app, &partners).await), (200, 200));
    let count = |issuer: &TestIssuer| issuer.count(Endpoint::Introspection);
    assert_eq!((count(&pair.staff), count(&pair.partners)), (1, 1));
}

#[actix_web::test]
async fn opaque_tokens_are_routed_by_the_request() {
    let pair = Pair::start();
    let partners = pair.partners.issuer().to_owned();
    let protect = ProtectApi::any_of(pair.both())
        .opaque_by_request(move |request| (request.path() == "/").then(|| partners.clone()))
        .build();
    let app = serving(protect.unwrap());
    let (staff, partners) = (pair.staff.opaque(json!({})), pair.partners.opaque(json!({})));
    assert_eq!((status(&app, &partners).await, status(&app, &staff).await), (200, 401));
    assert_eq!(app.get("/principal").token(&partners).send().await.status, 401);
    assert_eq!(pair.staff.count(Endpoint::Introspection), 0);
    // The function decides, also if an order is set: `None` sends the token to no issuer.
    let protect =
        ProtectApi::any_of(pair.both()).opaque_by_request(|_| None).opaque_in_order(&pair.both()).build();
    assert_eq!(status(&serving(protect.unwrap()), &staff).await, 401);
    assert_eq!(pair.staff.count(Endpoint::Introspection), 0);
}

#[actix_web::test]
async fn opaque_tokens_are_tried_in_order_and_the_issuer_that_knows_one_is_cached() {
    let pair = Pair::start();
    let protect = ProtectApi::any_of(pair.both()).opaque_in_order(&pair.both()).build().unwrap();
    let app = serving(protect);
    let token = pair.partners.opaque(json!({ "sub": "bob" }));
    for _ in 0..3 {
        app.get("/").token(&token).send().await.is(200, "bob");
    }
    let count = |issuer: &TestIssuer| issuer.count(Endpoint::Introspection);
    assert_eq!((count(&pair.staff), count(&pair.partners)), (1, 3));
    assert_eq!(status(&app, "unknown-to-both").await, 401);
    assert_eq!((count(&pair.staff), count(&pair.partners)), (2, 4));
    // A revoked token stays with its issuer.
    pair.partners.revoke(&token);
    assert_eq!(status(&app, &token).await, 401);
    assert_eq!((count(&pair.staff), count(&pair.partners)), (2, 5));
}

#[actix_web::test]
async fn an_issuer_that_fails_costs_the_tokens_of_the_others_nothing() {
    let pair = Pair::start();
    let app = serving(ProtectApi::any_of(pair.both()).opaque_in_order(&pair.both()).build().unwrap());
    let (staff, partners) = (pair.staff.opaque(json!({})), pair.partners.opaque(json!({})));
    pair.staff.fault(Endpoint::Introspection, Fault::status(500).always());
    assert_eq!(status(&app, &partners).await, 200);
    // The token may be valid: the first issuer could not say.
    assert_eq!(status(&app, &staff).await, 503);
}

#[actix_web::test]
async fn inner_mounts_reuse_the_verdict_of_the_issuer() {
    let pair = Pair::start();
    let app = serving(ProtectApi::any_of(pair.both()).opaque_in_order(&pair.both()).build().unwrap());
    let token = pair.partners.opaque(json!({ "sub": "bob", "scope": "read" }));
    app.get("/inner").token(&token).send().await.is(200, "bob");
    assert_eq!(pair.partners.count(Endpoint::Introspection), 1);
    let token = pair.partners.opaque(json!({ "sub": "bob" }));
    assert_eq!(app.get("/inner").token(&token).send().await.status, 403);
}

#[actix_web::test]
async fn every_problem_of_several_issuers_is_reported() {
    let pair = Pair::start();
    let [staff, partners] = pair.both();
    let again = ProtectApi::builder(pair.staff.issuer(), "another-api").build().unwrap();
    let error = ProtectApi::any_of([staff.clone(), again, staff.scopes(["read"])])
        .opaque_in_order([&partners, &staff, &staff, &staff])
        .build()
        .unwrap_err();
    let text = error.to_string();
    for part in ["configured twice", "has requirements", "at most 3", "is not in the list of issuers"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(ProtectApi::any_of([]).build().unwrap_err().to_string().contains("no issuer"));
}

#[actix_web::test]
async fn a_jwt_is_routed_by_the_configured_values_of_iss() {
    let pair = Pair::start();
    let issuers = ["https://sts.example.test/one", "https://sts.example.test/two"];
    let staff = introspecting(&pair.staff).token_issuers(issuers).build().unwrap();
    let protect = ProtectApi::any_of([staff.clone(), pair.partners_api.clone()]).build().unwrap();
    let app = serving(protect);
    for issuer in issuers {
        let token = |signer: &TestIssuer| {
            signer.jwt(json!({ "sub": "alice", "iss": issuer, "aud": pair.staff.audience() }))
        };
        assert_eq!(status(&app, &token(&pair.staff)).await, 200);
        assert_eq!(status(&app, &token(&pair.partners)).await, 401);
    }
    assert_eq!(
        status(&app, &pair.staff.jwt(json!({}))).await,
        401,
        "the issuer of the metadata is not in the list"
    );
    let second = introspecting(&pair.partners).token_issuers([issuers[1]]).build().unwrap();
    let error = ProtectApi::any_of([staff, second]).build().unwrap_err();
    assert!(error.to_string().contains("configured twice"), "{error}");
}

#[actix_web::test]
async fn each_issuer_has_a_status() {
    let pair = Pair::start();
    let protect = ProtectApi::any_of(pair.both()).build().unwrap();
    let statuses = protect.statuses();
    let issuers: Vec<_> = statuses.iter().map(|(issuer, _)| issuer.as_str()).collect();
    assert_eq!(issuers, [pair.staff.issuer(), pair.partners.issuer()]);
}

#[actix_web::test]
async fn a_token_without_a_request_is_validated_with_the_same_rules() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let opaque = issuer.opaque(json!({ "sub": "alice", "scope": "read" }));
    let jwt = issuer.jwt(json!({ "sub": "alice" }));
    for token in [&opaque, &jwt] {
        let valid = protect.validate(token, None).await.unwrap();
        assert_eq!((valid.subject(), valid.issuer()), (Some("alice"), issuer.issuer()));
    }
    let kind =
        async |protect: &ProtectApi, token: &str| protect.validate(token, None).await.unwrap_err().kind();
    let reads = protect.scopes(["read"]);
    assert!(reads.validate(&opaque, None).await.is_ok());
    assert_eq!(kind(&reads, &jwt).await, AuthErrorKind::InsufficientScope);
    issuer.revoke(&opaque);
    assert_eq!(kind(&protect, &opaque).await, AuthErrorKind::InvalidToken(TokenFault::Inactive));
    for malformed in ["", " ", "a b", "a\r\nb"] {
        assert_eq!(kind(&protect, malformed).await, AuthErrorKind::InvalidToken(TokenFault::Malformed));
    }
    let expired = issuer.jwt_with(JwtOptions::default(), json!({ "exp": 1 }));
    assert_eq!(kind(&protect, &expired).await, AuthErrorKind::InvalidToken(TokenFault::Expired));
}

#[actix_web::test]
async fn calls_without_a_mount_share_their_connections() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    for _ in 0..5 {
        assert!(protect.validate(&issuer.opaque(json!({})), None).await.is_ok());
    }
    assert_eq!((issuer.count(Endpoint::Introspection), issuer.connections()), (5, 1));
}

/// An API whose tenants are the first labels of hosts, and the number of calls of its resolver.
struct Tenancy {
    app: TestApp,
    protect: ProtectApi,
    calls: Arc<AtomicUsize>,
    is_down: Arc<AtomicBool>,
    clock: TestClock,
    platform: TestIssuer,
    one: TestIssuer,
    two: TestIssuer,
}

fn tenancy(max_tenants: usize) -> Tenancy {
    let clock = TestClock::new();
    let start = || TestIssuer::builder().clock(clock.clone()).start();
    let (platform, one, two) = (start(), start(), start());
    let (calls, is_down) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let known = [&one, &two].map(|issuer| {
        (issuer.issuer().to_owned(), issuer.audience().to_owned(), issuer.client_secret(), issuer.client_id())
    });
    let (seen, down) = (Arc::clone(&calls), Arc::clone(&is_down));
    let resolve = move |tenant: String| -> Pin<Box<dyn Future<Output = _>>> {
        seen.fetch_add(1, Relaxed);
        let index = match tenant.as_str() {
            "one" => Some(0),
            "two" => Some(1),
            _ => None,
        };
        let known = index.map(|index| known[index].clone());
        let down = down.load(Relaxed);
        Box::pin(async move {
            if down {
                return Err("the database is down".into());
            }
            let Some((issuer, audience, secret, id)) = known else { return Ok(None) };
            let client = ClientAuthentication::client_secret_basic(secret);
            Ok(Some(ProtectApi::builder(issuer, audience).client(id, client).build()?))
        })
    };
    let name = |request: TenantRequest<'_>| Some(request.host?.strip_suffix(".example.test")?.to_owned());
    let protect = introspecting(&platform).clock(clock.clone()).build().unwrap();
    let protect = ProtectApi::any_of([protect]).tenants(name, resolve).max_tenants(max_tenants);
    let protect = protect.build().unwrap();
    Tenancy { app: serving(protect.clone()), protect, calls, is_down, clock, platform, one, two }
}

impl Tenancy {
    async fn status(&self, host: &str, token: &str) -> u16 {
        let target = format!("http://{host}.example.test:8080/");
        self.app.get(&target).token(token).send().await.status
    }

    fn calls(&self) -> usize {
        self.calls.load(Relaxed)
    }
}

#[actix_web::test]
async fn a_tenant_is_found_once_and_validates_only_its_tokens() {
    let api = tenancy(10);
    let (one, two) = (api.one.jwt(json!({})), api.two.opaque(json!({})));
    for _ in 0..3 {
        assert_eq!(api.status("one", &one).await, 200);
        assert_eq!(api.status("two", &two).await, 200);
        assert_eq!(api.status("one", &two).await, 401);
        assert_eq!(api.status("two", &one).await, 401);
    }
    assert_eq!(api.calls(), 2);
    // The platform's tokens need no tenant.
    assert_eq!(api.status("one", &api.platform.jwt(json!({}))).await, 200);
    // No tenant is named, or an unknown one, which is cached.
    assert_eq!(api.app.get("/").token(&one).send().await.status, 401);
    for _ in 0..3 {
        assert_eq!(api.status("three", &one).await, 401);
    }
    assert_eq!(api.calls(), 3);
}

#[actix_web::test]
async fn a_tenant_is_resolved_again_and_kept_while_the_resolver_fails() {
    let api = tenancy(10);
    let one = api.one.jwt(json!({ "exp": 4_000_000_000_u64 }));
    assert_eq!(api.status("one", &one).await, 200);
    api.is_down.store(true, Relaxed);
    assert_eq!(api.status("two", &one).await, 503, "its configuration is not known");
    api.clock.advance(Duration::from_secs(301));
    assert_eq!(api.status("one", &one).await, 200);
    assert!(api.calls() >= 3);
    api.clock.advance(Duration::from_secs(3600));
    assert_eq!(api.status("one", &one).await, 503, "the last configuration is too old");
    api.is_down.store(false, Relaxed);
    assert_eq!(api.status("one", &one).await, 200);
}

#[actix_web::test]
async fn the_number_of_cached_tenants_is_limited() {
    let api = tenancy(1);
    let (one, two) = (api.one.jwt(json!({})), api.two.jwt(json!({})));
    for _ in 0..3 {
        assert_eq!(api.status("one", &one).await, 200);
        assert_eq!(api.status("two", &two).await, 200);
    }
    assert!(api.calls() > 2, "both tenants were cached");
}

#[actix_web::test]
async fn a_revocation_outlives_the_cached_tenant() {
    let api = tenancy(1);
    let (one, two) = (api.one.jwt(json!({ "sub": "alice" })), api.two.jwt(json!({})));
    // Neither tenant is cached.
    let opaque = api.one.opaque(json!({}));
    for token in [&one, &opaque] {
        api.protect.revoke(Revocation::token(token)).await.unwrap();
    }
    let revocation = Revocation::subject("bob");
    assert!(api.protect.revoke(revocation.clone()).await.is_err(), "the issuer is required");
    api.protect.revoke(revocation.of_issuer(api.one.issuer())).await.unwrap();
    for _ in 0..3 {
        assert_eq!(api.status("one", &one).await, 401);
        assert_eq!(api.status("one", &opaque).await, 401);
        assert_eq!(api.status("one", &api.one.jwt(json!({ "sub": "bob" }))).await, 401);
        assert_eq!(api.status("one", &api.one.jwt(json!({ "sub": "carol" }))).await, 200);
        assert_eq!(api.status("two", &two).await, 200, "it replaces the other tenant");
    }
}

/// An API with one tenant for each of two issuers, by the path, and few places for waiting requests.
#[actix_web::test]
async fn a_logout_token_of_a_tenant_ends_its_sessions_only() {
    let tenancy = tenancy(10);
    let Tenancy { protect, platform, one, two, .. } = &tenancy;
    let protect = protect.clone();
    let app = serve!(move || {
        App::new()
            .service(protect.backchannel_logout("/logout", ["spa"]))
            .service(web::resource("/").wrap(protect.clone()).route(web::get().to(principal)))
    });
    let status = async |host: &str, token: &str| {
        app.get(&format!("http://{host}.example.test/")).token(token).send().await.status
    };
    let deliver = async |host: &str, token: &str| {
        let call = app.post(&format!("http://{host}.example.test/logout"));
        call.body("application/x-www-form-urlencoded", &format!("logout_token={token}")).send().await.status
    };
    let tokens = [one, two].map(|issuer| issuer.jwt(json!({ "sub": "alice", "sid": "s" })));
    let logout = |issuer: &TestIssuer| issuer.logout_token(json!({ "aud": "spa", "sid": "s" }));
    // The keys of another issuer, an unknown tenant, and the tenant of another issuer.
    let forged = two.logout_token(json!({ "aud": "spa", "sid": "s", "iss": one.issuer() }));
    for (host, token) in [("one", &forged), ("three", &logout(one)), ("two", &logout(one))] {
        assert_eq!(deliver(host, token).await, 400, "{host}");
    }
    assert_eq!([status("one", &tokens[0]).await, status("two", &tokens[1]).await], [200, 200]);
    assert_eq!(deliver("one", &logout(one)).await, 200);
    assert_eq!([status("one", &tokens[0]).await, status("two", &tokens[1]).await], [401, 200]);
    assert_eq!(deliver("one", &logout(platform)).await, 200, "the configured issuer");
    tenancy.is_down.store(true, Relaxed);
    assert_eq!(deliver("two", &logout(two)).await, 200, "the tenant is cached");
    assert_eq!(status("two", &tokens[1]).await, 401);
    assert_eq!(deliver("four", &logout(two)).await, 503);
}

fn two_tenants(pair: &Pair, max_waiting: usize) -> TestApp {
    let platform = introspecting(&TestIssuer::start());
    let platform = platform.max_waiting(max_waiting).response_timeout(Duration::from_secs(2));
    let apis = [&pair.staff, &pair.partners].map(|issuer| {
        introspecting(issuer).introspection_cache_duration(Duration::from_secs(60)).build().unwrap()
    });
    let resolve = move |tenant: String| -> Pin<Box<dyn Future<Output = _>>> {
        let [staff, partners] = apis.clone();
        match tenant.as_str() {
            "/" => Box::pin(async { Ok(Some(staff)) }),
            "/principal" => Box::pin(async { Ok(Some(partners)) }),
            _ => Box::pin(std::future::pending()),
        }
    };
    let name = |request: TenantRequest<'_>| request.path.map(str::to_owned);
    let tenants = ProtectApi::any_of([platform.build().unwrap()]).tenants(name, resolve);
    serving(tenants.tenant_refresh(Duration::from_secs(3600)).build().unwrap())
}

#[actix_web::test]
async fn waiting_requests_of_one_tenant_cost_the_cached_tokens_of_another_nothing() {
    let pair = Pair::start();
    let app = two_tenants(&pair, 2);
    let cached = pair.partners.opaque(json!({ "sub": "bob" }));
    assert_eq!(app.get("/principal").token(&cached).send().await.status, 200);
    pair.staff.fault(Endpoint::Introspection, Fault::hold().always());
    let waiting = (0..6).map(|number| app.get("/").token(&format!("waits-{number}")).send());
    let waiting = actix_web::rt::spawn(futures_util::future::join_all(waiting));
    while pair.staff.count(Endpoint::Introspection) < 2 {
        actix_web::rt::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..5 {
        assert_eq!(app.get("/principal").token(&cached).send().await.status, 200);
    }
    pair.staff.release(Endpoint::Introspection);
    let statuses: Vec<_> = waiting.await.unwrap().iter().map(|answer| answer.status).collect();
    assert!(statuses.iter().filter(|status| **status == 503).count() >= 4, "{statuses:?}");
}

#[actix_web::test]
async fn tenant_resolver_calls_that_hang_are_503_and_end() {
    let pair = Pair::start();
    let app = two_tenants(&pair, 1024);
    let hanging = (0..64).map(|number| app.get(&format!("/hangs/{number}")).token("opaque").send());
    for answer in futures_util::future::join_all(hanging).await {
        assert_eq!(answer.status, 503);
    }
    let token = pair.partners.opaque(json!({}));
    assert_eq!(app.get("/principal").token(&token).send().await.status, 200, "no call is left");
    let long = format!("/{}", "x".repeat(300));
    assert_eq!(app.get(&long).token("opaque").send().await.status, 401, "the name is too long");
}
