//! No token, secret or claim value gets into the log or into `Debug`.

use actix_protect_api::{
    AuthenticatedRequest, ClientAuthentication, ProtectApi,
    test::{Endpoint, Fault, TestIssuer},
};
use actix_web::{App, web};
use serde_json::json;

use crate::support::{
    app::{serve, whoami},
    logs,
};

const SECRET: &str = "the-client-secret-4f9a1c77d2";
/// Part of every claim's value.
const VALUE: &str = "claim-value-83b1f0";

fn claims() -> serde_json::Value {
    json!({
        "sub": format!("{VALUE}-sub"), "scope": format!("read {VALUE}-scope"), "groups": [format!("{VALUE}-group")],
        "email": format!("{VALUE}@example.test"), "client_id": format!("{VALUE}-client"), "jti": format!("{VALUE}-jti"),
    })
}

/// Fits no token of these tests: the text of serde's error quotes the claim.
#[derive(serde::Deserialize)]
struct Misfit {
    email: u8,
}

async fn misfit(caller: AuthenticatedRequest<Misfit>) -> String {
    caller.claims().email.to_string()
}

#[actix_web::test]
async fn no_token_secret_or_claim_value_is_logged_whatever_happens() {
    logs::capture();
    let issuer = TestIssuer::builder().client("api", SECRET).start();
    let make = |secret: &str| {
        ProtectApi::builder(issuer.issuer(), issuer.audience())
            .client("api", ClientAuthentication::client_secret_basic(secret))
            .introspection_cache(std::time::Duration::from_secs(60))
            .build()
            .unwrap()
    };
    let (protect, wrong) = (make(SECRET), make(&format!("{SECRET}-but-wrong")));
    let app = serve!(move || {
        App::new()
            .service(web::resource("/").wrap(protect.clone()).route(web::get().to(whoami)))
            .service(web::resource("/read").wrap(protect.clone().scopes(["no"])).route(web::get().to(whoami)))
            .service(
                web::resource("/group").wrap(protect.clone().groups(["no"])).route(web::get().to(whoami)),
            )
            .service(web::resource("/misfit").wrap(protect.clone()).route(web::get().to(misfit)))
            .service(web::resource("/wrong").wrap(wrong.clone()).route(web::get().to(whoami)))
    });

    let minted = |changes: serde_json::Value| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        [issuer.opaque(claims.clone()), issuer.jwt(claims)]
    };
    let mut tokens = Vec::new();
    for changes in [
        json!({}),
        json!({ "exp": 1_000 }),
        json!({ "aud": format!("{VALUE}-aud") }),
        json!({ "iss": format!("https://{VALUE}.example.test") }),
        json!({ "nbf": 4_000_000_000_u32 }),
        json!({ "exp": format!("{VALUE}-exp") }),
        json!({ "cnf": { "x5t#S256": format!("{VALUE}-cnf") } }),
        json!({ "token_type": format!("{VALUE}-type") }),
        json!({ "scope": { VALUE: VALUE } }),
    ] {
        tokens.extend(minted(changes));
    }
    let broken = issuer.jwt(claims());
    tokens.push(format!("{broken}tampered"));
    tokens.push("unknown-token-57d0c3".to_owned());
    let odd = issuer.opaque(claims());
    issuer.set_answer(&odd, &format!("{{\"active\":true,\"sub\":\"{VALUE}\",\"sub\":\"{VALUE}\"}}"));
    tokens.push(odd);

    for token in &tokens {
        for path in ["/", "/read", "/group", "/misfit", "/wrong"] {
            app.get(path).token(token).send().await;
        }
        app.get("/").header("Authorization", format!("Bearer {token} {token}")).send().await;
        app.get("/").token(token).token(token).send().await;
        app.get(&format!("/?access_token={token}")).send().await;
        app.get("/").header("Authorization", format!("Basic {token}")).send().await;
    }
    for fault in [
        Fault::status(500).with_body(format!("no: {VALUE}")),
        Fault::status(400).with_body(format!("{{\"error_description\":\"{VALUE}\"}}")),
        Fault::body(format!("{{\"active\":\"{VALUE}\"}}")),
        Fault::body(format!("<html>{VALUE}")),
        Fault::truncate(),
        Fault::reset(),
        Fault::redirect(&format!("https://{VALUE}.example.test/")),
    ] {
        issuer.fault(Endpoint::Introspection, fault);
        let token = &issuer.opaque(claims());
        app.get("/").token(token).send().await;
        tokens.push(token.clone());
    }

    let records = logs::records();
    assert!(
        records.iter().any(|record| record.contains("request refused")),
        "nothing was captured: {records:?}"
    );
    assert!(records.iter().any(|record| record.starts_with("ERROR")), "no fault of ours was provoked");
    for record in &records {
        assert!(!record.contains(SECRET), "the client secret: {record}");
        assert!(!record.contains(VALUE), "a claim's value: {record}");
        for token in &tokens {
            assert!(!record.contains(token.as_str()), "a token: {record}");
            // Nor a part of it: the payload of a JWT is the claims.
            let parts = token.split('.').filter(|part| part.len() > 20);
            assert!(!parts.clone().any(|part| record.contains(part)), "a part of a token: {record}");
        }
    }
}

#[actix_web::test]
async fn debug_shows_no_token_secret_or_claim_value() {
    async fn shown(caller: AuthenticatedRequest) -> String {
        format!("{caller:?} {caller:#?}")
    }
    let issuer = TestIssuer::builder().client("api", SECRET).start();
    for authentication in [
        ClientAuthentication::client_secret_basic(SECRET),
        ClientAuthentication::client_secret_post(SECRET),
        ClientAuthentication::client_secret_jwt(SECRET),
    ] {
        let builder = ProtectApi::builder(issuer.issuer(), issuer.audience()).client("api", authentication);
        assert!(!format!("{builder:?} {builder:#?}").contains(SECRET));
        let protect = builder.build().unwrap();
        let text = format!("{protect:?} {protect:#?}");
        assert!(!text.contains(SECRET), "{text}");
        assert!(text.contains(issuer.issuer()), "{text}");
        let app = serve!(move || App::new().wrap(protect.clone()).route("/", web::get().to(shown)));
        for token in [issuer.opaque(claims()), issuer.jwt(claims())] {
            let answer = app.get("/").token(&token).send().await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(answer.body.contains("AuthenticatedRequest"));
            assert!(!answer.body.contains(VALUE) && !answer.body.contains(&token), "{answer:?}");
            assert!(!answer.body.contains(SECRET));
        }
    }
}
