//! Each signature algorithm with each kind of forgery, through the whole middleware. With `--nocapture` it prints the table.

use actix_protect_api::{
    TokenFault,
    test::{Algorithm, JwtOptions, TestIssuer, TestKey},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::json;

use crate::support::{
    jwt::decoded,
    service::{OK, api, jwts_only, token},
};

const SIGNING: [Algorithm; 10] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::ES512,
    Algorithm::EdDSA,
];

#[actix_web::test]
async fn each_algorithm_passes_and_none_of_its_forgeries() {
    let issuer = TestIssuer::builder().algorithms(SIGNING).start();
    let api = api(jwts_only(&issuer)).await;
    println!("{:<6} good  wrong key  other curve  tampered  HS256 with the public key  none", "");
    for algorithm in SIGNING {
        let key = issuer.key(algorithm);
        let good = issuer.jwt_with(JwtOptions::new().key(&key), json!({}));
        let stranger = TestKey::generate(algorithm, key.kid());
        let wrong_key = issuer.jwt_with(JwtOptions::new().key(&stranger), json!({}));
        // Signed with a real key of the issuer, under the name of one of another type or curve.
        let other =
            issuer.key(if algorithm == Algorithm::ES256 { Algorithm::ES384 } else { Algorithm::ES256 });
        let other_curve = issuer.jwt_with(JwtOptions::new().key(&other).kid(key.kid()), json!({}));
        let hmac = TestKey::hmac(key.public_pem(), key.kid());
        let hs256 = issuer.jwt_with(JwtOptions::new().key(&hmac), json!({}));
        let none = issuer.jwt_with(JwtOptions::new().algorithm(Algorithm::None).kid(key.kid()), json!({}));

        let mut cells = Vec::new();
        for (forged, expected) in [
            (good.clone(), OK),
            (wrong_key, token(TokenFault::Signature)),
            (other_curve, token(TokenFault::UnknownKey)),
            (tampered(&good), token(TokenFault::Signature)),
            (hs256, token(TokenFault::Algorithm)),
            (none, token(TokenFault::Algorithm)),
        ] {
            let seen = api.outcome(&forged).await;
            assert_eq!(seen, expected, "{algorithm:?}: {forged}");
            cells.push(if seen == OK { "200" } else { "401" });
        }
        println!(
            "{:<6} {:<5} {:<10} {:<12} {:<9} {:<26} {}",
            format!("{algorithm:?}"),
            cells[0],
            cells[1],
            cells[2],
            cells[3],
            cells[4],
            cells[5]
        );
    }
}

/// Replaces the subject and keeps the signature.
fn tampered(jwt: &str) -> String {
    let parts: Vec<&str> = jwt.split('.').collect();
    let (_, mut claims) = decoded(jwt);
    claims["sub"] = json!("mallory");
    format!("{}.{}.{}", parts[0], BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()), parts[2])
}
