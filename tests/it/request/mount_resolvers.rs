//! Resolvers of one mount: several sources of tokens and certificates over one configuration.

use std::time::Duration;

use actix_protect_api::{
    AuthenticatedRequest, ProtectApi, ResolverError,
    certificate::CertificateThumbprint,
    test::{Endpoint, TestIssuer, authenticate},
};
use actix_web::{
    App, HttpRequest, rt,
    test::{self, TestRequest},
    web,
};
use serde_json::json;

use crate::support::{
    app::{INVALID, MISSING, TestApp, optional_whoami, protect, serve, whoami, with_scope},
    service::{introspecting, jwts_only},
};

type Token = Result<Option<String>, ResolverError>;
type Certificate = Result<Option<CertificateThumbprint>, ResolverError>;

/// A token resolver that reads this header, in which `fail` makes it fail.
fn header(name: &'static str) -> impl Fn(&HttpRequest) -> Token + Clone + Send + Sync + 'static {
    move |request| match request.headers().get(name).map(|value| value.to_str()).transpose()? {
        Some("fail") => Err("the store of sessions is down".into()),
        token => Ok(token.map(str::to_owned)),
    }
}

/// A certificate resolver that reads this header: the byte of which the thumbprint consists.
fn certificate(name: &'static str) -> impl Fn(&HttpRequest) -> Certificate + Clone + Send + Sync + 'static {
    move |request| {
        let Some(byte) = request.headers().get(name) else { return Ok(None) };
        Ok(Some(CertificateThumbprint::from_sha256([byte.to_str()?.parse()?; 32])))
    }
}

/// The claims of a token that is bound to the certificate of sevens.
fn bound() -> serde_json::Value {
    json!({ "sub": "alice", "cnf": { "x5t#S256": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc" } })
}

/// `/` with the outer mount only, `/inner` with both.
fn nested(outer: ProtectApi, inner: ProtectApi) -> TestApp {
    serve!(move || {
        let resource = web::resource("/inner").wrap(inner.clone()).route(web::get().to(optional_whoami));
        App::new().wrap(outer.clone()).route("/", web::get().to(optional_whoami)).service(resource)
    })
}

#[actix_web::test]
async fn mounts_with_different_resolvers_share_one_cache() {
    let issuer = TestIssuer::start();
    let protect =
        introspecting(&issuer).introspection_cache_duration(Duration::from_secs(60)).build().unwrap();
    let app = serve!(move || {
        let route = |path, protect| web::resource(path).wrap(protect).route(web::get().to(whoami));
        let later = protect.async_token_resolver(|request| {
            Box::pin(async move {
                rt::task::yield_now().await;
                header("x-later")(request)
            })
        });
        App::new()
            .service(route("/header", protect.clone()))
            .service(route("/token", protect.token_resolver(header("x-token"))))
            .service(route("/later", later))
    });
    let token = issuer.opaque(json!({ "sub": "alice" }));
    app.get("/header").token(&token).send().await.is(200, "alice");
    app.get("/token").header("x-token", &token).send().await.is(200, "alice");
    app.get("/later").header("x-later", &token).send().await.is(200, "alice");
    // `None` falls back to the header, and a failure is an invalid token.
    app.get("/token").token(&token).send().await.is(200, "alice");
    app.get("/token").header("x-token", "fail").token(&token).send().await.refuses(INVALID);
    app.get("/header").header("x-token", &token).send().await.refuses(MISSING);
    app.get("/token").header("x-later", &token).send().await.refuses(MISSING);
    assert_eq!((issuer.count(Endpoint::Introspection), issuer.count(Endpoint::Discovery)), (1, 1));
}

#[actix_web::test]
async fn the_resolver_of_a_mount_replaces_that_of_the_configuration() {
    let issuer = TestIssuer::start();
    let configured = introspecting(&issuer)
        .token_resolver(header("x-token"))
        .certificate_resolver(certificate("x-certificate"))
        .build()
        .unwrap();
    let app = serve!(move || {
        let route = |path, protect| web::resource(path).wrap(protect).route(web::get().to(whoami));
        App::new()
            .service(route("/other", configured.token_resolver(header("x-other"))))
            .service(route("/proxy", configured.certificate_resolver(certificate("x-proxy")).scopes(["a"])))
    });
    let (alice, bob) = (issuer.opaque(json!({ "sub": "alice" })), issuer.opaque(json!({ "sub": "bob" })));
    app.get("/other").header("x-token", &alice).header("x-other", &bob).send().await.is(200, "bob");
    app.get("/other").header("x-token", &alice).send().await.refuses(MISSING);
    let mut claims = bound();
    claims["scope"] = json!("a");
    let bound = issuer.opaque(claims);
    let call = || app.get("/proxy").header("x-token", &bound);
    call().header("x-proxy", "7").header("x-certificate", "8").send().await.is(200, "alice");
    call().header("x-proxy", "8").header("x-certificate", "7").send().await.refuses(with_scope(INVALID, "a"));
    call().header("x-certificate", "7").send().await.refuses(with_scope(INVALID, "a"));
    call().header("x-proxy", "x").send().await.refuses(with_scope(INVALID, "a"));
}

#[actix_web::test]
async fn a_nested_mount_with_another_resolver_validates_the_token_that_it_finds() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let other = protect.token_resolver(header("x-token"));
    let (alice, bob) = (issuer.opaque(json!({ "sub": "alice" })), issuer.opaque(json!({ "sub": "bob" })));
    let calls = || issuer.count(Endpoint::Introspection);

    let app = nested(protect.clone(), other.clone());
    app.get("/inner").token(&alice).header("x-token", &bob).send().await.is(200, "bob");
    app.get("/inner").token(&alice).header("x-token", "unknown").send().await.refuses(INVALID);
    app.get("/inner").token(&alice).header("x-token", "").send().await.refuses(INVALID);
    // The same token is not introspected again.
    let before = calls();
    app.get("/inner").token(&alice).header("x-token", &alice).send().await.is(200, "alice");
    app.get("/inner").token(&alice).send().await.is(200, "alice");
    assert_eq!(calls() - before, 2);

    // The inner mount reads the header, although the outer one reads another place.
    let app = nested(other.clone(), protect.clone());
    app.get("/inner").token(&alice).header("x-token", &bob).send().await.is(200, "alice");
    app.get("/inner").header("x-token", &bob).send().await.refuses(MISSING);
    app.get("/inner").token("unknown").header("x-token", &bob).send().await.refuses(INVALID);

    // Mounts that are made from one handle have one resolver.
    let app = nested(other.clone(), other.groups(Vec::<String>::new()));
    let before = calls();
    app.get("/inner").token(&alice).header("x-token", &bob).send().await.is(200, "bob");
    assert_eq!(calls() - before, 1);
}

#[actix_web::test]
async fn a_nested_mount_with_another_resolver_has_its_requirements_checked_for_its_token() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = nested(protect.clone(), protect.token_resolver(header("x-token")).scopes(["write"]));
    let writer = issuer.opaque(json!({ "sub": "alice", "scope": "write" }));
    let reader = issuer.opaque(json!({ "sub": "bob", "scope": "read" }));
    app.get("/inner").token(&writer).header("x-token", &reader).send().await.lacks_scope("write");
    app.get("/inner").token(&reader).header("x-token", &writer).send().await.is(200, "alice");
}

#[actix_web::test]
async fn an_optional_mount_with_another_resolver_does_not_inherit_the_caller() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let other = protect.token_resolver(header("x-token"));
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    let app = nested(other.clone(), protect.optional());
    app.get("/inner").header("x-token", &alice).send().await.is(200, "anonymous");
    app.get("/inner").header("x-token", &alice).token("unknown").send().await.refuses(INVALID);
    let app = nested(protect.optional(), other.clone());
    app.get("/").header("x-token", &alice).send().await.is(200, "anonymous");
    app.get("/inner").header("x-token", &alice).send().await.is(200, "alice");
    app.get("/inner").send().await.refuses(MISSING);
    let app = nested(protect.optional(), other.optional());
    app.get("/inner").header("x-token", &alice).send().await.is(200, "alice");
    app.get("/inner").header("x-token", "fail").send().await.refuses(INVALID);
    app.get("/inner").send().await.is(200, "anonymous");
}

#[actix_web::test]
async fn each_mount_compares_a_bound_token_with_its_certificate() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let outer = protect.certificate_resolver(certificate("x-outer"));
    let app = nested(outer.clone(), protect.certificate_resolver(certificate("x-inner")));
    let token = issuer.opaque(bound());
    let call = |outer, inner| {
        app.get("/inner").token(&token).header("x-outer", outer).header("x-inner", inner).send()
    };
    call("7", "7").await.is(200, "alice");
    assert_eq!(issuer.count(Endpoint::Introspection), 1, "the verdict is not about the certificate");
    call("7", "8").await.refuses(INVALID);
    call("8", "7").await.refuses(INVALID);
    app.get("/inner").token(&token).header("x-outer", "7").send().await.refuses(INVALID);
    // Without a resolver, the certificate is that of the connection: there is none.
    let app = nested(outer, protect);
    app.get("/").token(&token).header("x-outer", "7").send().await.is(200, "alice");
    app.get("/inner").token(&token).header("x-outer", "7").send().await.refuses(INVALID);
}

#[actix_web::test]
async fn several_issuers_have_one_resolver_for_each_mount() {
    let (one, two) = (TestIssuer::start(), TestIssuer::start());
    let second = jwts_only(&two).token_resolver(header("x-second")).build().unwrap();
    let set = ProtectApi::any_of([jwts_only(&one).build().unwrap(), second.clone()]).build().unwrap();
    let [alice, bob] = ["alice", "bob"].map(|name| two.jwt(json!({ "sub": name })));
    let app = nested(set.clone(), set.token_resolver(header("x-token")));
    app.get("/inner").token(&alice).header("x-token", &bob).send().await.is(200, "bob");
    app.get("/inner").token(&alice).header("x-token", "a.b.c").send().await.refuses(INVALID);
    let carol = one.jwt(json!({ "sub": "carol" }));
    app.get("/inner").token(&alice).header("x-token", &carol).send().await.is(200, "carol");
    // The same holds for a mount of one of the issuers, whose configuration has another resolver.
    let app = nested(set.clone(), second.clone());
    app.get("/inner").token(&alice).header("x-second", &bob).send().await.is(200, "bob");
    app.get("/inner").token(&alice).header("x-second", &carol).send().await.refuses(INVALID);

    let error = ProtectApi::any_of([second.token_resolver(header("x-token"))]).build().unwrap_err();
    assert!(error.to_string().contains("resolvers of a mount"), "{error}");
}

#[actix_web::test]
async fn a_mount_with_tenants_has_its_resolver_also_for_their_tokens() {
    let (platform, tenant) = (TestIssuer::start(), TestIssuer::start());
    let tenant_api = jwts_only(&tenant).build().unwrap();
    let set = |tenant_api: ProtectApi| {
        ProtectApi::any_of([jwts_only(&platform).build().unwrap()])
            .tenants(
                |request| request.issuer.map(str::to_owned),
                move |_| {
                    let tenant_api = tenant_api.clone();
                    Box::pin(async move { Ok(Some(tenant_api)) })
                },
            )
            .build()
            .unwrap()
    };
    let [alice, bob] = ["alice", "bob"].map(|name| tenant.jwt(json!({ "sub": name })));
    let good = set(tenant_api.clone());
    let app = nested(good.clone(), good.token_resolver(header("x-token")));
    app.get("/inner").token(&alice).header("x-token", &bob).send().await.is(200, "bob");
    app.get("/inner").token(&alice).header("x-token", "a.b.c").send().await.refuses(INVALID);
    // The resolver of a tenant would have no effect, so it is a fault of the configuration.
    let bad = set(tenant_api.token_resolver(header("x-token")));
    let app = nested(bad.clone(), bad);
    assert_eq!(app.get("/").token(&alice).send().await.status, 500);
}

#[actix_web::test]
async fn a_request_that_a_test_authenticated_passes_every_resolver() {
    let protect = ProtectApi::builder("https://issuer.example.test", "my-api")
        .token_resolver(header("x-token"))
        .build()
        .unwrap();
    let route = |path, protect| web::resource(path).wrap(protect).route(web::get().to(whoami));
    let mounted = protect.token_resolver(header("x-other"));
    let inner = route("/{tail}", protect.token_resolver(header("x-inner")));
    let middle = web::scope("/middle").wrap(mounted.clone()).service(inner);
    let app = App::new()
        .service(route("/configured", protect.clone()))
        .service(route("/mounted", mounted))
        .service(web::scope("/outer").wrap(protect.clone()).service(middle));
    let app = test::init_service(app).await;
    for path in ["/configured", "/mounted", "/outer/middle/inner"] {
        let request = TestRequest::get().uri(path).to_request();
        let request = authenticate(&protect, request, json!({ "sub": "alice" }));
        assert_eq!(test::call_and_read_body(&app, request).await, "alice", "{path}");
    }
}

#[actix_web::test]
async fn a_request_that_a_test_authenticated_has_the_first_token_issuer() {
    let protect = ProtectApi::builder("https://issuer.example.test/{tenantid}", "my-api")
        .metadata_url("https://issuer.example.test/metadata")
        .token_issuers(["https://issuer.example.test/1", "https://issuer.example.test/2"])
        .build()
        .unwrap();
    let show = |caller: AuthenticatedRequest| async move { caller.issuer().to_owned() };
    let app = App::new().service(web::resource("/").wrap(protect.clone()).route(web::get().to(show)));
    let app = test::init_service(app).await;
    let request = authenticate(&protect, TestRequest::get().uri("/").to_request(), json!({}));
    assert_eq!(test::call_and_read_body(&app, request).await, "https://issuer.example.test/1");
}

#[test]
fn debug_shows_which_resolvers_a_mount_has() {
    let protect = ProtectApi::builder("https://issuer.example.test", "my-api").build().unwrap();
    assert!(format!("{protect:?}").contains("Resolvers { token: false, certificate: false }"));
    let mounted = protect.token_resolver(header("x-token"));
    assert!(format!("{mounted:?}").contains("Resolvers { token: true, certificate: false }"));
    let mounted = mounted.certificate_resolver(certificate("x-certificate"));
    assert!(format!("{mounted:?}").contains("Resolvers { token: true, certificate: true }"));
}
