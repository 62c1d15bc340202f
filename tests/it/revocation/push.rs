//! Security events by push (RFC 8935, RFC 8417, RFC 9493, CAEP 1.0, RISC 1.0).

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use actix_protect_api::{
    ProtectApi, ProtectApiBuilder, Ssf,
    test::{Endpoint, Fault, JwtOptions, TestIssuer},
};
use actix_web::{App, web};
use serde_json::{Value, json};

use super::sources::{SECRET, STREAM, Site, any_bodies, bad_options, ssf, with_audience};
use crate::support::{
    app::{serve, whoami},
    logs,
    service::{introspecting, jwts_only, timed_issuer},
    time::seconds,
};

const REVOKED: [u16; 2] = [401, 401];
const VALID: [u16; 2] = [200, 200];

fn ok() -> (u16, String) {
    (202, String::new())
}

fn refused(code: &str) -> (u16, String) {
    (400, code.to_owned())
}

/// Each event, and the tokens that it revokes: those of the session, those of another session of the user.
#[actix_web::test]
async fn each_event_revokes_the_tokens_of_its_subject_and_no_others() {
    let site = Site::start();
    let opaque = |id: &str| json!({ "format": "opaque", "id": id });
    let events: [(&str, Value, [u16; 2], [u16; 2]); 16] = [
        ("session-revoked", json!("session"), REVOKED, VALID),
        ("session-revoked", json!("user"), REVOKED, REVOKED),
        ("session-revoked", json!("complex"), REVOKED, VALID),
        ("session-revoked", json!("in the event"), REVOKED, REVOKED),
        ("session-revoked", json!("device of the user"), REVOKED, REVOKED),
        ("credential-change", json!("user"), REVOKED, REVOKED),
        ("account-disabled", json!("user"), REVOKED, REVOKED),
        ("account-purged", json!("user"), REVOKED, REVOKED),
        ("account-credential-change-required", json!("user"), REVOKED, REVOKED),
        ("sessions-revoked", json!("user"), REVOKED, REVOKED),
        (
            "https://schemas.openid.net/secevent/risc/event-type/credential-compromise",
            json!("user"),
            REVOKED,
            REVOKED,
        ),
        ("account-disabled", json!("session"), VALID, VALID),
        ("session-revoked", json!("email"), VALID, VALID),
        ("session-revoked", json!("nothing"), VALID, VALID),
        ("token-claims-change", json!("user"), VALID, VALID),
        ("https://events.example/unknown", json!("user"), VALID, VALID),
    ];
    for (number, (event, subject, this_session, other_session)) in events.into_iter().enumerate() {
        let name = |name: &str| format!("{name}-{number}");
        let alice = name("alice");
        let this = site.tokens(json!({ "sub": alice, "sid": name("s") })).await;
        let other = site.tokens(json!({ "sub": alice, "sid": name("t") })).await;
        let bob = site.tokens(json!({ "sub": name("bob"), "sid": name("u") })).await;
        let user = site.user(&alice);
        let (sub_id, inner) = match subject.as_str().unwrap() {
            "session" => (opaque(&name("s")), Value::Null),
            "user" => (user, Value::Null),
            "complex" => {
                (json!({ "format": "complex", "user": user, "session": opaque(&name("s")) }), Value::Null)
            }
            "in the event" => (Value::Null, user),
            "device of the user" => {
                (json!({ "format": "complex", "user": user, "device": opaque("d") }), Value::Null)
            }
            "email" => (json!({ "format": "email", "email": alice }), Value::Null),
            _ => (Value::Null, Value::Null),
        };
        let event_value = json!({ "event_timestamp": site.now(), "change_type": "revoke", "subject": inner });
        let claims = json!({ "sub_id": sub_id, "events": { event: event_value } });
        assert_eq!(site.push(claims).await, ok(), "{event} {subject}");
        assert_eq!(site.statuses(&this).await, this_session, "{event} {subject}");
        assert_eq!(site.statuses(&other).await, other_session, "{event} {subject}");
        assert_eq!(site.statuses(&bob).await, VALID, "{event} {subject}");
    }
}

#[actix_web::test]
async fn one_token_is_revoked_by_its_identifier() {
    let site = Site::start();
    let this = site.tokens(json!({ "jti": "one" })).await;
    let other = site.tokens(json!({ "jti": "two" })).await;
    let sub_id = json!({ "format": "jwt_id", "iss": site.issuer.issuer(), "jti": "one" });
    let claims = json!({ "sub_id": sub_id, "events": { "session-revoked": {} } });
    assert_eq!(site.push(claims).await, ok());
    assert_eq!((site.statuses(&this).await, site.statuses(&other).await), (REVOKED, VALID));
}

#[actix_web::test]
async fn a_user_who_logs_in_again_is_accepted() {
    let site = Site::start();
    let now = site.now();
    // Seconds, milliseconds, the time in `toe`, `iat`, and a time after `iat`.
    for (number, (claims, event)) in [
        (json!({}), json!({ "event_timestamp": now })),
        (json!({}), json!({ "event_timestamp": now * 1000 })),
        (json!({ "toe": now }), json!({})),
        (json!({ "iat": now }), json!({})),
        (json!({ "iat": now }), json!({ "event_timestamp": now + 1_000_000 })),
    ]
    .into_iter()
    .enumerate()
    {
        let alice = format!("alice-{number}");
        let before = site.tokens(json!({ "sub": alice, "iat": now })).await;
        let after = site.tokens(json!({ "sub": alice, "iat": now + 1 })).await;
        let mut set = json!({ "sub_id": site.user(&alice), "events": { "session-revoked": event } });
        set.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        assert_eq!(site.push(set).await, ok());
        assert_eq!((site.statuses(&before).await, site.statuses(&after).await), (REVOKED, VALID), "{number}");
    }
}

#[actix_web::test]
async fn changed_claims_are_introspected_again() {
    let site = Site::start();
    let [opaque, _] = site.tokens(json!({ "sub": "alice" })).await;
    let calls = || site.issuer.count(Endpoint::Introspection);
    let before = calls();
    assert_eq!(site.app.get("/").token(&opaque).send().await.status, 200);
    assert_eq!(calls(), before);
    let claims = json!({ "sub_id": site.user("alice"), "events": { "token-claims-change": {} } });
    assert_eq!(site.push(claims).await, ok());
    assert_eq!(site.app.get("/").token(&opaque).send().await.status, 200);
    assert_eq!(calls(), before + 1);
}

#[actix_web::test]
async fn faults_are_rejected_with_a_code_and_have_no_effect() {
    let site = Site::start();
    let tokens = site.tokens(json!({ "sub": "alice", "sid": "s" })).await;
    let now = site.now();
    let week = 7 * 86_400 + 60;
    let event = json!({ "https://schemas.openid.net/secevent/caep/event-type/session-revoked": {} });
    let many: Value =
        (0..17).map(|n| (format!("urn:{n}"), json!({}))).collect::<serde_json::Map<_, _>>().into();
    for (code, changes) in [
        ("invalid_issuer", json!({ "iss": "https://elsewhere.example" })),
        ("invalid_issuer", json!({ "iss": format!("{}/x", site.issuer.issuer()) })),
        ("invalid_request", json!({ "iss": null })),
        ("invalid_audience", json!({ "aud": "https://elsewhere.example" })),
        ("invalid_audience", json!({ "aud": ["https://elsewhere.example", 7] })),
        ("invalid_audience", json!({ "aud": {} })),
        ("invalid_request", json!({ "jti": null })),
        ("invalid_request", json!({ "jti": "" })),
        ("invalid_request", json!({ "jti": " " })),
        ("invalid_request", json!({ "jti": 7 })),
        ("invalid_request", json!({ "iat": null })),
        ("invalid_request", json!({ "iat": "now" })),
        ("invalid_request", json!({ "iat": now + 61 })),
        ("invalid_request", json!({ "iat": now - week - 1 })),
        ("invalid_request", json!({ "exp": now - 60 })),
        ("invalid_request", json!({ "exp": "never" })),
        ("invalid_request", json!({ "events": null })),
        ("invalid_request", json!({ "events": {} })),
        ("invalid_request", json!({ "events": [] })),
        ("invalid_request", json!({ "events": { "session-revoked": 7 } })),
        ("invalid_request", json!({ "events": many })),
    ] {
        let mut claims = json!({ "aud": STREAM, "sub_id": site.user("alice"), "events": event });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        assert_eq!(site.push(claims).await, refused(code), "{changes}");
    }
    let claims = || json!({ "aud": STREAM, "sub_id": site.user("alice"), "events": event });
    for (code, options) in bad_options(&site.issuer) {
        let set = site.issuer.security_event_with(options.clone(), claims());
        assert_eq!(site.push_set(&set).await, refused(code), "{options:?}");
    }
    for typ in [json!("JWT"), json!(null), json!("logout+jwt")] {
        let options = JwtOptions::new().header("typ", typ);
        let set = site.issuer.security_event_with(options, claims());
        assert_eq!(site.push_set(&set).await, refused("invalid_request"));
    }
    assert_eq!(site.push_set(&tokens[1]).await, refused("invalid_audience"));
    assert_eq!(site.push_set("").await, refused("invalid_request"));
    assert_eq!(site.statuses(&tokens).await, VALID);
    // Times at the limits are accepted.
    for changes in [json!({ "iat": now + 60 }), json!({ "iat": now - week }), json!({ "exp": now - 59 })] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        assert_eq!(site.push(claims).await, ok(), "{changes}");
    }
    assert_eq!(site.statuses(&tokens).await, REVOKED);
}

/// A transmitter with a fault. If such an event were acknowledged, the transmitter would take the user for logged out.
#[actix_web::test]
async fn an_event_with_an_empty_subject_is_rejected_and_has_no_effect() {
    logs::capture();
    let site = Site::start();
    let tokens = site.tokens(json!({ "sub": "alice", "sid": "s" })).await;
    let (user, iss) = (site.user("alice"), site.issuer.issuer());
    for blank in ["", " \t"] {
        let session = json!({ "format": "opaque", "id": blank });
        for sub_id in [
            json!({ "format": "iss_sub", "iss": iss, "sub": blank }),
            json!({ "format": "iss_sub", "iss": blank, "sub": "alice" }),
            json!({ "format": "jwt_id", "iss": iss, "jti": blank }),
            session.clone(),
            json!({ "format": "complex", "user": user, "session": session }),
            json!({ "format": "aliases", "identifiers": [session] }),
        ] {
            for claims in [
                json!({ "sub_id": sub_id, "events": { "session-revoked": {} } }),
                json!({ "sub_id": sub_id, "events": { "token-claims-change": {} } }),
                // The first event has a subject, but none of them is applied.
                json!({ "events": {
                    "account-disabled": { "subject": user },
                    "session-revoked": { "subject": sub_id },
                } }),
            ] {
                assert_eq!(site.push(claims).await, refused("invalid_request"), "{sub_id}");
            }
        }
    }
    assert_eq!(site.statuses(&tokens).await, VALID);
    let rejected = |record: &logs::Record| {
        record.value("issuer") == iss
            && record.value("source") == "ssf_push"
            && record.value("outcome") == "rejected"
            && record.value("fault") == "malformed"
    };
    assert_eq!(logs::count(rejected), 36);
}

#[actix_web::test]
async fn an_event_is_no_access_token() {
    let site = Site::start();
    let claims =
        json!({ "aud": site.issuer.audience(), "exp": site.now() + 60, "sub": "alice", "scope": "read" });
    for set in [site.issuer.security_event(claims.clone()), site.issuer.logout_token(claims)] {
        assert_eq!(site.app.get("/").token(&set).send().await.status, 401);
    }
}

#[actix_web::test]
async fn events_without_effect_are_accepted() {
    let site = Site::start();
    let tokens = site.tokens(json!({ "sub": "alice", "sid": "s" })).await;
    let elsewhere = json!({ "format": "iss_sub", "iss": "https://elsewhere.example", "sub": "alice" });
    let session = json!({ "format": "opaque", "id": "s" });
    for (sub_id, events) in [
        (site.user("alice"), json!({ "credential-change": { "change_type": "create" } })),
        (site.user("alice"), json!({ "session-established": {}, "device-compliance-change": {} })),
        (session.clone(), json!({ "verification": { "state": "x" } })),
        (session.clone(), json!({ "stream-updated": { "status": "paused" } })),
        (elsewhere.clone(), json!({ "session-revoked": {} })),
        (
            json!({ "format": "complex", "user": elsewhere, "session": session }),
            json!({ "session-revoked": {} }),
        ),
        (json!("alice"), json!({ "session-revoked": {} })),
    ] {
        assert_eq!(site.push(json!({ "sub_id": sub_id, "events": events })).await, ok(), "{events}");
    }
    assert_eq!(site.statuses(&tokens).await, VALID);
}

#[actix_web::test]
async fn a_repeated_event_gets_the_same_response() {
    let site = Site::start();
    let tokens = site.tokens(json!({ "sub": "alice" })).await;
    let claims = json!({ "jti": "e", "sub_id": site.user("alice"), "events": { "session-revoked": {} } });
    for _ in 0..3 {
        assert_eq!(site.push(claims.clone()).await, ok());
    }
    assert_eq!(site.statuses(&tokens).await, REVOKED);
}

#[actix_web::test]
async fn the_transmitter_must_authenticate_if_a_value_is_set() {
    let (issuer, clock) = timed_issuer();
    let (settings, ssf) = (introspecting(&issuer), ssf(&issuer).authorization_header("Bearer right"));
    let site = Site::start_with(issuer, clock, settings, ssf);
    let tokens = site.tokens(json!({ "sub": "alice" })).await;
    let claims = with_audience(json!({ "sub_id": site.user("alice"), "events": { "session-revoked": {} } }));
    let set = site.issuer.security_event(claims);
    assert_eq!(site.push_set(&set).await, refused("authentication_failed"));
    let url = site.url("/events");
    for wrong in ["Bearer wrong", "right", "bearer right", "Bearer rightx", "Bearer"] {
        let (status, body) = site.issuer.deliver_with_authorization(&url, &set, wrong).await;
        assert_eq!(status, 400, "{wrong}");
        assert!(body.contains("authentication_failed"), "{body}");
    }
    assert_eq!(site.statuses(&tokens).await, VALID);
    assert_eq!(site.issuer.deliver_with_authorization(&url, &set, "Bearer right").await.0, 202);
    assert_eq!(site.statuses(&tokens).await, REVOKED);
}

#[actix_web::test]
async fn requests_are_limited_in_method_type_and_size() {
    let site = Site::start();
    let set = site.issuer.security_event(with_audience(json!({ "events": { "verification": {} } })));
    let post = |content_type: &str, body: &str| site.app.post("/events").body(content_type, body);
    let (status, code) = (site.app.get("/events").send().await.status, 405);
    assert_eq!(status, code);
    for (content_type, body, status) in [
        ("application/secevent+jwt", set.as_str(), 202),
        ("Application/SecEvent+JWT; charset=utf-8", &format!("{set}\r\n"), 202),
        ("application/jwt", &set, 400),
        ("application/x-www-form-urlencoded", &set, 400),
        ("application/secevent+jwt", &"a".repeat(64 * 1024), 400),
        ("application/secevent+jwt", &"a".repeat(64 * 1024 + 1), 413),
    ] {
        let answer = post(content_type, body).send().await;
        assert_eq!(answer.status, status, "{content_type} {}", body.len());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    // A body without a length.
    let chunk = format!("{:x}\r\n{}\r\n", 40_000, "a".repeat(40_000));
    let chunked = site.app.post("/events").header("Transfer-Encoding", "chunked");
    let answer = chunked.raw_body(&format!("{chunk}{chunk}0\r\n\r\n")).send().await;
    assert_eq!(answer.status, 413);
}

#[actix_web::test]
async fn a_flood_of_events_fetches_keys_once() {
    let site = Site::start();
    let claims = || with_audience(json!({ "events": { "verification": {} } }));
    assert_eq!(site.push(claims()).await, ok());
    let fetched = || (site.issuer.count(Endpoint::SsfConfiguration), site.issuer.count(Endpoint::Jwks));
    assert_eq!(fetched(), (1, 1));
    site.clock.advance(seconds(31));
    for number in 0..200 {
        let options = JwtOptions::new().kid(&number.to_string());
        let set = site.issuer.security_event_with(options, claims());
        assert_eq!(site.push_set(&set).await, refused("invalid_key"));
        let elsewhere = site.issuer.security_event(json!({ "iss": format!("https://{number}.example") }));
        assert_eq!(site.push_set(&elsewhere).await, refused("invalid_issuer"));
    }
    assert_eq!(fetched(), (1, 2));
}

/// The application creates the endpoints in the closure of each worker. A repeated event has no effect in any of them, a flood
/// does not log or fetch more than with one worker, and does not hide the records of other events.
#[actix_web::test]
async fn endpoints_that_each_worker_creates_share_their_state() {
    logs::capture();
    let (issuer, clock) = timed_issuer();
    let protect = jwts_only(&issuer).clock(clock.clone()).build().unwrap();
    let app = {
        let (protect, ssf) = (protect.clone(), ssf(&issuer));
        serve!(4, move || {
            // Several issuers are combined in the closure too.
            let protect = ProtectApi::any_of([protect.clone()]).build().unwrap();
            App::new()
                .service(protect.ssf_push("/events", ssf.clone()))
                .service(protect.backchannel_logout("/logout", ["spa"]))
                .service(protect.revocation_webhook("/webhook", SECRET, |_| Vec::new()))
        })
    };
    let url = |path: &str| format!("http://{}{path}", app.address());
    let user = json!({ "format": "iss_sub", "iss": issuer.issuer(), "sub": "alice" });
    let event = |options: JwtOptions| {
        let claims = json!({ "aud": STREAM, "sub_id": user, "events": { "session-revoked": {} } });
        issuer.security_event_with(options, claims)
    };
    let (set, logout) =
        (event(JwtOptions::new()), issuer.logout_token(json!({ "aud": "spa", "sub": "alice" })));
    for _ in 0..16 {
        assert_eq!(issuer.deliver(&url("/events"), &set).await.0, 202);
        assert_eq!(issuer.deliver_logout(&url("/logout"), &logout).await.0, 200);
    }
    let count = |source: &str, outcome: &str, level: Option<log::Level>| {
        logs::count(|record| {
            record.value("issuer") == issuer.issuer()
                && record.value("source") == source
                && record.value("outcome") == outcome
                && level.is_none_or(|level| record.level == level)
        })
    };
    for source in ["ssf_push", "backchannel_logout"] {
        assert_eq!(count(source, "applied", None), 1, "{source}");
        assert_eq!(count(source, "repeated", None), 15, "{source}");
    }
    clock.advance(seconds(31));
    let fetches = issuer.count(Endpoint::Jwks);
    let stranger = event(JwtOptions::new().kid("unknown"));
    let warning = Some(log::Level::Warn);
    for _ in 0..16 {
        assert_eq!(issuer.deliver(&url("/events"), &stranger).await.0, 400);
        assert_eq!(issuer.deliver_logout(&url("/logout"), "no token").await.0, 400);
        let webhook = app.post("/webhook").header("Authorization", "Bearer wrong");
        assert_eq!(webhook.body("application/json", "{}").send().await.status, 401);
    }
    assert_eq!(issuer.count(Endpoint::Jwks) - fetches, 1);
    for source in ["ssf_push", "backchannel_logout", "webhook"] {
        assert_eq!(count(source, "rejected", None), 16, "{source}");
        assert_eq!(count(source, "rejected", warning), 1, "{source}");
    }
    let paused = json!({ "aud": STREAM, "events": { "stream-updated": { "status": "paused" } } });
    assert_eq!(issuer.deliver(&url("/events"), &issuer.security_event(paused)).await.0, 202);
    assert_eq!(count("ssf_push", "stream_stopped", warning), 1, "it is logged during the flood");
}

/// Two endpoints with one transmitter, whose events concern two issuers: configured ones, or tenants.
#[actix_web::test]
async fn an_event_for_one_issuer_is_not_a_repeated_one_for_another() {
    let [transmitter, one, two] = [(); 3].map(|()| TestIssuer::start());
    let configured = [&transmitter, &one, &two].map(|issuer| jwts_only(issuer).build().unwrap());
    let tenants: HashMap<_, _> =
        [&one, &two].map(|tenant| (tenant.issuer().to_owned(), tenant.audience().to_owned())).into();
    let platform = ProtectApi::any_of([configured[0].clone()]).tenants(
        |request| request.issuer.map(str::to_owned),
        move |name| {
            let settings = tenants.get(&name).map(|audience| ProtectApi::builder(&name, audience));
            Box::pin(async move { Ok(settings.map(ProtectApiBuilder::build).transpose()?) })
        },
    );
    for (session, protect) in [("s", ProtectApi::any_of(configured)), ("t", platform)] {
        let protect = protect.build().unwrap();
        let settings = [&one, &two].map(|target| ssf(&transmitter).issuer(target.issuer()));
        let app = serve!(move || {
            let [one, two] = settings.clone();
            App::new()
                .service(protect.ssf_push("/one", one))
                .service(protect.ssf_push("/two", two))
                .service(web::resource("/").wrap(protect.clone()).route(web::get().to(whoami)))
        });
        let tokens = [&one, &two].map(|issuer| issuer.jwt(json!({ "sid": session })));
        let sub_id = json!({ "format": "opaque", "id": session });
        let claims = json!({ "aud": STREAM, "sub_id": sub_id, "events": { "session-revoked": {} } });
        let set = transmitter.security_event(claims);
        for (path, expected) in [("/one", [401, 200]), ("/two", [401, 401])] {
            let url = format!("http://{}{path}", app.address());
            assert_eq!(transmitter.deliver(&url, &set).await.0, 202);
            for (token, status) in tokens.iter().zip(expected) {
                assert_eq!(app.get("/").token(token).send().await.status, status, "{path}");
            }
        }
    }
}

/// The endpoints of a transmitter that is not the issuer, without keys at first.
#[actix_web::test]
async fn an_event_is_not_accepted_before_the_keys_are_known() {
    let (issuer, clock) = timed_issuer();
    let transmitter = TestIssuer::builder().path("/tenant").clock(clock.clone()).start();
    transmitter.fault(Endpoint::SsfConfiguration, Fault::status(503).times(1));
    let settings = jwts_only(&issuer);
    let site = Site::start_with(issuer, clock, settings, ssf(&transmitter));
    let token = site.issuer.jwt(json!({ "sub": "alice" }));
    let claims = json!({ "aud": STREAM, "sub_id": site.user("alice"), "events": { "session-revoked": {} } });
    let set = transmitter.security_event(claims);
    assert_eq!(site.push_set(&set).await, (503, String::new()));
    assert_eq!(site.app.get("/").token(&token).send().await.status, 200);
    site.clock.advance(seconds(5));
    assert_eq!(site.push_set(&set).await, ok());
    assert_eq!(site.app.get("/").token(&token).send().await.status, 401);
}

#[actix_web::test]
async fn keys_can_be_configured() {
    let key_sets: [fn(Ssf, &TestIssuer) -> Ssf; 3] = [
        |ssf, transmitter| ssf.jwks_uri(transmitter.url(Endpoint::Jwks)),
        |ssf, transmitter| ssf.jwks_document(transmitter.jwks().to_string()),
        |ssf, transmitter| ssf.configuration_url(transmitter.url(Endpoint::Discovery)),
    ];
    for (number, configure) in key_sets.into_iter().enumerate() {
        let (issuer, clock) = timed_issuer();
        let ssf = configure(ssf(&issuer), &issuer);
        let settings = jwts_only(&issuer);
        let site = Site::start_with(issuer, clock, settings, ssf);
        assert_eq!(site.push(json!({ "events": { "verification": {} } })).await, ok(), "{number}");
        assert_eq!(site.issuer.count(Endpoint::SsfConfiguration), 0);
    }
}

/// The transmitter is the issuer of the metadata, and tokens name others, or none.
#[actix_web::test]
async fn an_event_concerns_the_tokens_of_its_issuer_whatever_they_name() {
    let (issuer, clock) = timed_issuer();
    let names = ["https://one.push.example.test", "https://two.push.example.test"];
    let settings = introspecting(&issuer)
        .introspection_cache_duration(Duration::from_secs(60))
        .token_issuers(names)
        .accept_missing_issuer(true);
    let ssf = ssf(&issuer);
    let site = Site::start_with(issuer, clock, settings, ssf);
    let user = |iss: &str| json!({ "format": "iss_sub", "iss": iss, "sub": "alice" });
    for (number, (sub_id, statuses)) in [
        (user(names[1]), [200, 401, 200]),
        (user(site.issuer.issuer()), [401, 401, 401]),
        (json!({ "format": "opaque", "id": "2" }), [401, 401, 401]),
    ]
    .into_iter()
    .enumerate()
    {
        let issued = site.now();
        let tokens = [json!(names[0]), json!(names[1]), json!(null)].map(|iss| {
            let claims = json!({ "iss": iss, "sub": "alice", "sid": number.to_string(), "iat": issued });
            site.issuer.opaque(claims)
        });
        let seen = async || {
            let mut seen = Vec::new();
            for token in &tokens {
                seen.push(site.app.get("/").token(token).send().await.status);
            }
            seen
        };
        assert_eq!(seen().await, [200; 3], "{sub_id}");
        let claims = json!({ "sub_id": sub_id, "events": { "session-revoked": {} } });
        assert_eq!(site.push(claims).await, ok());
        assert_eq!(seen().await, statuses, "{sub_id}");
        // The next tokens are issued after the event.
        site.clock.advance(seconds(10));
    }
}

#[actix_web::test]
async fn a_transmitter_revokes_tokens_of_its_issuer_only() {
    let (one, two) = (TestIssuer::start(), TestIssuer::start());
    let both = || {
        let configured = [jwts_only(&one), jwts_only(&two)].map(|builder| builder.build().unwrap());
        ProtectApi::any_of(configured).build().unwrap()
    };
    let protect = both();
    let app = {
        let (protect, ssf) = (protect.clone(), ssf(&one));
        serve!(move || {
            App::new()
                .service(protect.ssf_push("/events", ssf.clone()))
                .service(web::resource("/").wrap(protect.clone()).route(web::get().to(whoami)))
        })
    };
    let claims = json!({ "sub": "alice", "sid": "s" });
    let tokens = [one.jwt(claims.clone()), two.jwt(claims)];
    let url = format!("http://{}/events", app.address());
    let status = async |token: &str| app.get("/").token(token).send().await.status;
    for (iss, sub_id) in [
        (two.issuer(), json!({ "format": "iss_sub", "iss": two.issuer(), "sub": "alice" })),
        (one.issuer(), json!({ "format": "opaque", "id": "s" })),
    ] {
        let set = one
            .security_event(json!({ "aud": STREAM, "sub_id": sub_id, "events": { "session-revoked": {} } }));
        assert_eq!(one.deliver(&url, &set).await.0, 202);
        let is_own = iss == one.issuer();
        assert_eq!(status(&tokens[0]).await, if is_own { 401 } else { 200 });
        assert_eq!(status(&tokens[1]).await, 200);
    }
    // A transmitter that is none of them needs the issuer.
    let elsewhere = || Ssf::transmitter("https://elsewhere.example").audience(STREAM);
    let other = both();
    assert!(catch_unwind(AssertUnwindSafe(|| other.ssf_push("/", elsewhere()))).is_err());
    drop(other.ssf_push("/", elsewhere().issuer(two.issuer())));
}

#[actix_web::test]
async fn a_transmitter_can_stand_for_a_tenant() {
    let (platform, tenant) = (TestIssuer::start(), TestIssuer::start());
    let (url, audience) = (tenant.issuer().to_owned(), tenant.audience().to_owned());
    let protect = ProtectApi::any_of([jwts_only(&platform).build().unwrap()])
        .tenants(
            |_| Some("tenant".to_owned()),
            move |_| {
                let settings = ProtectApi::builder(&url, &audience);
                Box::pin(async move { Ok(Some(settings.build()?)) })
            },
        )
        .build()
        .unwrap();
    let settings = ssf(&tenant).issuer(tenant.issuer());
    let app = {
        let protect = protect.clone();
        serve!(move || {
            App::new()
                .service(protect.ssf_push("/events", settings.clone()))
                .service(web::resource("/").wrap(protect.clone()).route(web::get().to(whoami)))
        })
    };
    let claims = json!({ "sub": "alice", "sid": "s" });
    let tokens = [platform.jwt(claims.clone()), tenant.jwt(claims)];
    let statuses = async || {
        let status = async |token: &str| app.get("/").token(token).send().await.status;
        [status(&tokens[0]).await, status(&tokens[1]).await]
    };
    assert_eq!(statuses().await, VALID);
    let event = |iss: &str| {
        let sub_id = json!({ "format": "iss_sub", "iss": iss, "sub": "alice" });
        json!({ "aud": STREAM, "sub_id": sub_id, "events": { "session-revoked": {} } })
    };
    let url = format!("http://{}/events", app.address());
    let set = tenant.security_event(event(platform.issuer()));
    assert_eq!((tenant.deliver(&url, &set).await.0, statuses().await), (202, VALID));
    let set = tenant.security_event(event(tenant.issuer()));
    assert_eq!((tenant.deliver(&url, &set).await.0, statuses().await), (202, [200, 401]));
    // Without tenants, the issuer must be one of the handle.
    let other = ProtectApi::builder(platform.issuer(), "api").build().unwrap();
    let settings = ssf(&tenant).issuer(tenant.issuer());
    assert!(catch_unwind(AssertUnwindSafe(|| other.ssf_push("/", settings))).is_err());
}

#[test]
fn invalid_settings_are_reported_at_the_start() {
    let protect = ProtectApi::builder("https://as.example", "api").build().unwrap();
    for (ssf, problem) in [
        (Ssf::transmitter("http://as.example").audience("a"), "issuer: "),
        (Ssf::transmitter("https://as.example"), "audience: "),
        (Ssf::transmitter("https://as.example").audience("a").jwks_document("{}"), "jwks_document: "),
        (Ssf::transmitter("https://as.example").audience("a").issuer("https://other.example"), "`issuer` of"),
    ] {
        let panic = catch_unwind(AssertUnwindSafe(|| protect.ssf_push("/", ssf))).err().unwrap();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains(problem), "{message}");
    }
}

#[actix_web::test]
async fn no_body_causes_a_panic_or_a_5xx() {
    let site = Site::start();
    let set = site.issuer.security_event(with_audience(json!({ "events": { "verification": {} } })));
    for body in any_bodies(&set) {
        let status = site.app.post("/events").body("application/secevent+jwt", &body).send().await.status;
        assert!([202, 400].contains(&status), "{status}: {body}");
    }
}
