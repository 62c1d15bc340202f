//! The methods of a token that did not come with an HTTP request.

use actix_protect_api::{
    AuthError, AuthErrorKind, Claims, Clock as _, GroupOptions, ProtectApi, TokenFault, ValidatedToken,
    test::TestIssuer,
};
use serde::Deserialize;
use serde_json::json;

use crate::support::{
    service::{introspecting, jwts_only, timed_issuer},
    time::seconds,
};

async fn validate(protect: &ProtectApi, token: &str) -> ValidatedToken {
    protect.validate(token, None).await.unwrap()
}

#[actix_web::test]
async fn a_token_without_a_request_has_the_parts_of_a_caller() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let claims = json!({
        "sub": "alice", "client_id": "app", "scope": "read write", "groups": ["staff"], "exp": 4_000_000_000_u64,
    });
    for token in [issuer.opaque(claims.clone()), issuer.jwt(claims)] {
        let token = validate(&protect, &token).await;
        assert_eq!((token.subject(), token.client_id()), (Some("alice"), Some("app")));
        assert_eq!((token.issuer(), token.expires_at()), (issuer.issuer(), Some(4_000_000_000)));
        assert!(token.audience().contains(issuer.audience()));
        assert_eq!(token.principal().unwrap().to_string(), format!("{} alice", issuer.issuer()));
        assert_eq!(token.groups(), ["staff"]);
        assert!(token.has_group("staff") && !token.has_group("sales"));
        assert!(token.has_scope("read") && !token.has_scope("rea") && token.scopes().contains("write"));
        assert_eq!(token.claims_as::<Claims>().unwrap().subject(), Some("alice"));
        assert_eq!(token.claims().members(), token.clone().into_claims().members());
    }
    let machine = validate(&protect, &issuer.opaque(json!({ "sub": null }))).await;
    assert_eq!((machine.subject(), machine.principal()), (None, None));
    assert!(machine.groups().is_empty());
}

#[actix_web::test]
async fn requirements_of_a_token_without_a_request_return_the_error_of_a_403() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let claims = json!({ "sub": "alice", "scope": "read", "groups": ["staff"] });
    let token = validate(&protect, &issuer.opaque(claims)).await;
    for met in [
        token.require_scopes(["read"]),
        token.require_scopes(Vec::<String>::new()),
        token.require_any_scope(["write", "read"]),
        token.require_any_scope(Vec::<String>::new()),
        token.require_groups(["sales", "staff"]),
        token.require_groups(Vec::<String>::new()),
    ] {
        assert!(met.is_ok());
    }
    let kind = |outcome: Result<(), AuthError>| outcome.unwrap_err().kind();
    assert_eq!(kind(token.require_scopes(["read", "write"])), AuthErrorKind::InsufficientScope);
    assert_eq!(kind(token.require_any_scope(["write", "admin"])), AuthErrorKind::InsufficientScope);
    assert_eq!(kind(token.require_groups(["sales"])), AuthErrorKind::InsufficientGroups);
    assert!(token.require_scopes(["write"]).unwrap_err().is_client_fault());
}

#[actix_web::test]
async fn the_authentication_of_a_token_without_a_request_can_be_required() {
    let (issuer, clock) = timed_issuer();
    let protect = introspecting(&issuer).clock(clock.clone()).build().unwrap();
    let now = clock.unix_time();
    let claims = json!({ "acr": "phr", "auth_time": now - 100, "amr": ["pwd", "otp"] });
    for token in [issuer.opaque(claims.clone()), issuer.jwt(claims)] {
        let token = validate(&protect, &token).await;
        assert_eq!((token.acr(), token.auth_time()), (Some("phr"), Some(now - 100)));
        assert_eq!(token.amr(), ["pwd", "otp"]);
        assert!(token.require_acr(["mfa", "phr"]).is_ok() && token.require_acr::<&str>([]).is_ok());
        assert!(token.require_authenticated_within(seconds(100)).is_ok());
        let error = token.require_acr(["mfa", "PHR"]).unwrap_err();
        assert_eq!(error.kind(), AuthErrorKind::InsufficientAuthentication);
        assert_eq!((error.acr_values(), error.max_authentication_age()), ("mfa PHR", None));
        let error = token.require_authenticated_within(seconds(30)).unwrap_err();
        assert_eq!((error.acr_values(), error.max_authentication_age()), ("", Some(30)));
        clock.advance(seconds(61));
        assert!(token.require_authenticated_within(seconds(100)).is_err());
        clock.set_unix_time(now);
    }
    let machine = validate(&protect, &issuer.opaque(json!({}))).await;
    assert_eq!((machine.acr(), machine.auth_time(), machine.amr().len()), (None, None, 0));
    assert!(machine.require_acr(["phr"]).is_err());
    assert!(machine.require_authenticated_within(seconds(3600)).is_err());
}

#[actix_web::test]
async fn groups_of_a_token_without_a_request_are_those_of_its_issuer() {
    let (one, two) = (TestIssuer::start(), TestIssuer::start());
    let first = jwts_only(&one).groups_claim("roles").build().unwrap();
    let second = jwts_only(&two).groups_claim("teams").groups_match_all(true).build().unwrap();
    let protect = ProtectApi::any_of([first, second]).build().unwrap();
    let claims = json!({ "sub": "alice", "roles": ["admin", "ops"], "teams": ["blue"] });
    let (by_one, by_two) = (one.jwt(claims.clone()), two.jwt(claims));
    let (by_one, by_two) = (validate(&protect, &by_one).await, validate(&protect, &by_two).await);
    assert_eq!((by_one.groups(), by_two.groups()), (vec!["admin", "ops"], vec!["blue"]));
    assert!(by_one.require_groups(["admin", "other"]).is_ok());
    assert!(by_two.require_groups(["blue"]).is_ok());
    assert!(by_two.require_groups(["blue", "other"]).is_err());
    let roles = GroupOptions::default().claim("roles");
    assert!(by_two.is_in_groups(["ops", "admin"], &roles));
    assert!(!by_two.is_in_groups(["ops", "none"], &roles));
    assert!(by_two.is_in_groups(["ops", "none"], &roles.match_all(false)));
}

#[derive(Debug, Deserialize)]
struct Employee {
    department: String,
}

#[actix_web::test]
async fn claims_of_a_token_without_a_request_have_the_type_of_the_application() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let token = validate(&protect, &issuer.opaque(json!({ "sub": "alice", "department": "sales" }))).await;
    assert_eq!(token.claims_as::<Employee>().unwrap().department, "sales");
    let token = validate(&protect, &issuer.opaque(json!({ "sub": "alice", "department": 4711 }))).await;
    let error = token.claims_as::<Employee>().unwrap_err();
    assert_eq!(error.kind(), AuthErrorKind::InvalidToken(TokenFault::Claims));
    assert!(!format!("{error} {error:?}").contains("4711"));
    assert!(!format!("{token:?}").contains("alice"), "{token:?}");
}

#[test]
fn a_token_without_a_request_can_move_to_another_thread() {
    fn is_send<T: Send + Sync + Clone + 'static>() {}
    is_send::<ValidatedToken>();
}
