//! How this resource server authenticates to the introspection endpoint.

use actix_protect_api::ClientAuthentication;
use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::{app::ProtectedApp, server::Server};

const ENDPOINT: &str = "/token/introspection";
const ODD_CLIENT: &str = "rs odd:id+1";

async fn find() -> Server {
    Server::find("oidc-provider").await
}

fn serve(server: &Server, client: &str, authentication: ClientAuthentication) -> ProtectedApp {
    ProtectedApp::serve(server.without_client("http").client(client, authentication).build().unwrap())
}

async fn assert_accepted(server: &Server, app: &ProtectedApp) -> Value {
    app.get("/", server.token("opaque-valid")).await.claims();
    server.last_request(ENDPOINT).await
}

#[actix_web::test]
async fn client_secret_basic_is_accepted_and_stays_out_of_the_form() {
    let server = find().await;
    let secret = server.secret("rs-basic");
    let app = serve(&server, "rs-basic", ClientAuthentication::client_secret_basic(secret));

    let sent = assert_accepted(&server, &app).await;

    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("rs-basic:{secret}")));
    assert_eq!(sent["headers"]["authorization"], expected);
    assert!(sent["form"].get("client_id").is_none() && sent["form"].get("client_secret").is_none(), "{sent}");
}

#[actix_web::test]
async fn an_odd_id_and_secret_are_form_encoded_in_the_header_and_in_the_body() {
    let server = find().await;
    let secret = server.secret(ODD_CLIENT);

    // The server takes either method where one of the two is registered.
    for authentication in
        [ClientAuthentication::client_secret_basic(secret), ClientAuthentication::client_secret_post(secret)]
    {
        assert_accepted(&server, &serve(&server, ODD_CLIENT, authentication)).await;
    }
}

#[actix_web::test]
async fn client_secret_post_is_accepted_and_stays_out_of_the_headers() {
    let server = find().await;
    let secret = server.secret("rs-post");
    let app = serve(&server, "rs-post", ClientAuthentication::client_secret_post(secret));

    let sent = assert_accepted(&server, &app).await;

    assert_eq!(sent["form"]["client_id"], "rs-post");
    assert_eq!(sent["form"]["client_secret"], secret);
    assert!(sent["headers"].get("authorization").is_none(), "{sent}");
}

#[actix_web::test]
async fn refused_credentials_are_our_fault() {
    let server = find().await;
    let token = server.token("opaque-valid");

    for (client, authentication) in [
        ("rs-basic", ClientAuthentication::client_secret_basic("wrong")),
        ("rs-post", ClientAuthentication::client_secret_post("wrong")),
        ("rs-unheard-of", ClientAuthentication::client_secret_basic(server.secret("rs-basic"))),
        (
            "rs-secret-jwt",
            ClientAuthentication::client_secret_jwt("wrong-secret-wrong-secret-wrong-secret-wrong"),
        ),
    ] {
        let app = serve(&server, client, authentication);
        app.get("/", token).await.assert_our_fault(500);
    }
    assert!(server.requests(ENDPOINT).await >= 4);
}

#[actix_web::test]
async fn client_secret_jwt_is_accepted() {
    let server = find().await;
    let secret = server.secret("rs-secret-jwt");
    let app = serve(&server, "rs-secret-jwt", ClientAuthentication::client_secret_jwt(secret));

    let sent = assert_accepted(&server, &app).await;

    let (header, claims) = assertion(&server, "rs-secret-jwt", &sent);
    assert_eq!(header["alg"], "HS256");
    assert!(!sent.to_string().contains(secret) && !claims.to_string().contains(secret), "{sent}");
}

#[actix_web::test]
async fn private_key_jwt_is_accepted_with_every_algorithm() {
    let server = find().await;
    let keys: Value = serde_json::from_str(&Server::file("client-jwks.json")).unwrap();

    for (kid, alg) in [
        ("client-es256", "ES256"),
        ("client-rs256", "RS256"),
        ("client-ps256", "PS256"),
        ("client-eddsa", "EdDSA"),
    ] {
        let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap();
        let authentication = ClientAuthentication::private_key_jwt(key.to_string());
        let app = serve(&server, "rs-private-key-jwt", authentication);

        let sent = assert_accepted(&server, &app).await;

        let (header, _) = assertion(&server, "rs-private-key-jwt", &sent);
        assert_eq!((header["alg"].as_str(), header["kid"].as_str()), (Some(alg), Some(kid)));
    }
}

#[actix_web::test]
async fn every_call_carries_a_fresh_assertion() {
    let server = find().await;
    let secret = server.secret("rs-secret-jwt");
    let app = serve(&server, "rs-secret-jwt", ClientAuthentication::client_secret_jwt(secret));

    let first = assertion(&server, "rs-secret-jwt", &assert_accepted(&server, &app).await).1;
    let second = assertion(&server, "rs-secret-jwt", &assert_accepted(&server, &app).await).1;

    assert_ne!(first["jti"], second["jti"]);
}

#[actix_web::test]
async fn a_client_registered_for_signed_answers_still_gets_json() {
    let server = find().await;
    let basic = ClientAuthentication::client_secret_basic;

    let signed = serve(&server, "rs-jwtresp-rs256", basic(server.secret("rs-jwtresp-rs256")));
    assert_accepted(&server, &signed).await;

    // This one may only have encrypted answers: the registration does not fit.
    let encrypted = serve(&server, "rs-jwtresp-enc", basic(server.secret("rs-jwtresp-enc")));
    encrypted.get("/", server.token("opaque-valid")).await.assert_our_fault(500);
}

/// Returns header and claims of the client assertion in a request. Asserts the requirements of RFC 7523 section 3.
fn assertion(server: &Server, client: &str, sent: &Value) -> (Value, Value) {
    let form = &sent["form"];
    assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    assert!(form.get("client_secret").is_none() && sent["headers"].get("authorization").is_none(), "{sent}");

    let mut parts = form["client_assertion"].as_str().unwrap().split('.').map(|part| {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap_or_default()
    });
    let (header, claims) = (parts.next().unwrap(), parts.next().unwrap());
    assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some(client), Some(client)));
    assert_eq!(claims["aud"], server.issuer("http"));
    let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert!((1..=60).contains(&lifetime), "{claims}");
    assert!(!claims["jti"].as_str().unwrap().is_empty());
    (header, claims)
}
