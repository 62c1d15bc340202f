//! Requests of a caller: with a token, or marked as authenticated without a server.

use std::{rc::Rc, sync::Arc};

use actix_web::HttpMessage;
use serde_json::{Map, Value, json};

use crate::test::{LIFETIME, expect_ok};
use crate::{
    bearer::BearerToken,
    cache::AgedVerdict,
    caller::{AuthContext, Caller},
    claims::Claims,
    protect_api::ProtectApi,
    telemetry::VerdictSource,
};

/// Marks a request as authenticated by this API, with these claims.
///
/// No token is sent and no call is made. The mounts of `protect` (and of its clones) check the claims as usual: a
/// missing scope is a 403, a wrong audience a 401. The claims replace the defaults `iss`, `aud`, `sub`
/// (`"test-subject"`), `iat` and `exp` (in an hour); `null` removes a default.
///
/// ```
/// use actix_protect_api::{AuthenticatedRequest, ProtectApi, test::authenticate};
/// use actix_web::{App, test, web};
/// use serde_json::json;
///
/// # #[actix_web::main] async fn main() {
/// let protect = ProtectApi::builder("https://issuer.example.test", "my-api").build().unwrap();
/// let hello = |caller: AuthenticatedRequest| async move { format!("hello {}", caller.subject().unwrap_or("machine")) };
/// let app = test::init_service(
///     App::new().service(web::resource("/").wrap(protect.clone().scopes(["read"])).route(web::get().to(hello))),
/// )
/// .await;
///
/// let request = test::TestRequest::get().uri("/").to_request();
/// let request = authenticate(&protect, request, json!({ "sub": "alice", "scope": "read" }));
/// assert_eq!(test::call_and_read_body(&app, request).await, "hello alice");
///
/// let request = test::TestRequest::get().uri("/").to_request();
/// let request = authenticate(&protect, request, json!({ "sub": "alice", "scope": "write" }));
/// assert_eq!(test::call_service(&app, request).await.status(), 403);
/// # }
/// ```
///
/// # Panics
/// If the claims are no object, or one of them has a shape that is not allowed.
#[track_caller]
pub fn authenticate<R: HttpMessage>(protect: &ProtectApi, request: R, claims: Value) -> R {
    let session = protect.session_for_test(claims);
    request.extensions_mut().insert(session);
    request
}

/// Returns the header that carries this token, for `insert_header`: `("Authorization", "Bearer …")`.
///
/// ```
/// use actix_protect_api::test::bearer;
///
/// let request = actix_web::test::TestRequest::get().insert_header(bearer("a-token"));
/// # let headers = request.to_http_request().headers().clone();
/// # assert_eq!(headers.get("authorization").unwrap(), "Bearer a-token");
/// ```
pub fn bearer(token: &str) -> (&'static str, String) {
    ("Authorization", format!("Bearer {token}"))
}

impl ProtectApi {
    #[track_caller]
    fn session_for_test(&self, claims: Value) -> AuthContext {
        let state = &self.state;
        let now = state.clock.unix_time();
        let rules = &state.settings.rules;
        let metadata = &state.validator.metadata;
        let fetched = metadata.load();
        let issuer = match rules.token_issuers.first() {
            Some(issuer) => issuer.as_str(),
            None => metadata.issuer(fetched.as_deref()),
        };
        let defaults = json!({
            "iss": issuer, "aud": rules.audiences, "sub": "test-subject", "iat": now, "exp": now + LIFETIME,
        });
        let mut members: Map<String, Value> = expect_ok(serde_json::from_value(defaults), "make claims");
        if let Some(client) = rules.allowed_clients.first() {
            members.insert("client_id".to_owned(), client.as_str().into());
        }
        members.extend::<Map<String, Value>>(expect_ok(
            serde_json::from_value(claims),
            "take the claims of a test",
        ));
        let claims = expect_ok(Claims::from_members(members), "take the claims of a test");
        let token = expect_ok(BearerToken::resolved("token-of-a-test", usize::MAX), "make a token");
        let valid = expect_ok(
            state.validator.valid_token(AgedVerdict::without_age(claims), VerdictSource::Introspection),
            "take the claims of a test",
        );
        let via = valid.via;
        let caller = Rc::new(Caller { valid, token, is_simulated: true });
        AuthContext::new(&Rc::new(Arc::clone(state)), &Rc::new(self.clone()), None, caller, None, via)
    }
}
