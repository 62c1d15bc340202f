//! Two replicas of an API with one Redis.

use std::{sync::Arc, time::Duration};

use actix_protect_api::{
    ClientAuthentication, ProtectApi, Revocation, SharedStoreState,
    test::{Endpoint, TestIssuer, bearer},
};
use actix_protect_api_redis::RedisStore;
use actix_web::{App, HttpResponse, test, web};
use serde_json::json;

use crate::{eventually, server::Server};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn replica(issuer: &TestIssuer, server: &Server) -> ProtectApi {
    replica_with(issuer, server.store())
}

pub(crate) fn replica_with(issuer: &TestIssuer, store: RedisStore) -> ProtectApi {
    ProtectApi::builder(issuer.issuer(), issuer.audience())
        .client(issuer.client_id(), ClientAuthentication::client_secret_basic(issuer.client_secret()))
        .introspection_cache_duration(Duration::from_secs(100))
        .store_timeout(Duration::from_secs(5))
        .shared_store(Arc::new(store), KEY)
        .build()
        .unwrap()
}

pub(crate) async fn status(protect: &ProtectApi, token: &str) -> u16 {
    let service = App::new().wrap(protect.clone()).route("/", web::get().to(HttpResponse::Ok));
    let app = test::init_service(service).await;
    let request = test::TestRequest::get().insert_header(bearer(token)).to_request();
    test::call_service(&app, request).await.status().as_u16()
}

pub(crate) async fn becomes(protect: &ProtectApi, state: SharedStoreState) {
    eventually(async || if protect.status().shared_store == state { Ok(()) } else { Err(state) }).await;
}

pub(crate) async fn is_rejected(protect: &ProtectApi, token: &str) {
    eventually(async || match status(protect, token).await {
        401 => Ok(()),
        other => Err(other),
    })
    .await;
}

#[actix_web::test]
async fn replicas_share_verdicts_and_revocations_and_recover_from_losses() {
    let (issuer, mut server) = (TestIssuer::start(), Server::start());
    let (one, two) = (replica(&issuer, &server), replica(&issuer, &server));
    for protect in [&one, &two] {
        becomes(protect, SharedStoreState::Reading).await;
    }
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    assert_eq!(status(&one, &alice).await, 200);
    eventually(async || if server.keys() == 1 { Ok(()) } else { Err(server.keys()) }).await;
    assert_eq!((status(&two, &alice).await, issuer.count(Endpoint::Introspection)), (200, 1));

    one.revoke(Revocation::subject("alice")).await.unwrap();
    is_rejected(&two, &alice).await;
    assert_eq!(status(&one, &alice).await, 401);

    // Everything is lost, and the replica that revoked appends its record again.
    server.query::<String>(&["FLUSHALL"]);
    let cold = replica(&issuer, &server);
    is_rejected(&cold, &alice).await;

    // The store is down: requests are served, and a revocation reaches the others later.
    let bob = issuer.jwt(json!({ "sub": "bob" }));
    assert_eq!(status(&two, &bob).await, 200);
    server.stop();
    becomes(&two, SharedStoreState::Blind).await;
    assert_eq!(status(&two, &issuer.opaque(json!({ "sub": "carol" }))).await, 200);
    one.revoke(Revocation::subject("bob")).await.unwrap_err();
    assert_eq!((status(&one, &bob).await, status(&two, &bob).await), (401, 200));
    server.restart();
    is_rejected(&two, &bob).await;
    becomes(&one, SharedStoreState::Reading).await;
    assert_eq!(status(&two, &alice).await, 401);
}

#[actix_web::test]
async fn replicas_are_blind_with_a_full_server_but_apply_its_revocations_and_send_theirs_later() {
    let (issuer, server) = (TestIssuer::start(), Server::start());
    let one = replica(&issuer, &server);
    becomes(&one, SharedStoreState::Reading).await;
    let (alice, bob) = (issuer.jwt(json!({ "sub": "alice" })), issuer.jwt(json!({ "sub": "bob" })));
    one.revoke(Revocation::subject("alice")).await.unwrap();
    server.query::<String>(&["CONFIG", "SET", "maxmemory", "100kb"]);
    let two = replica(&issuer, &server);
    is_rejected(&two, &alice).await;
    becomes(&one, SharedStoreState::Blind).await;
    becomes(&two, SharedStoreState::Blind).await;
    assert_eq!(status(&two, &bob).await, 200);
    // Verdicts are not shared, and requests are served.
    let carol = issuer.opaque(json!({ "sub": "carol" }));
    assert_eq!((status(&one, &carol).await, status(&two, &carol).await), (200, 200));

    one.revoke(Revocation::subject("bob")).await.unwrap_err();
    assert_eq!((status(&one, &bob).await, status(&two, &bob).await), (401, 200));
    server.query::<String>(&["CONFIG", "SET", "maxmemory", "0"]);
    is_rejected(&two, &bob).await;
    becomes(&two, SharedStoreState::Reading).await;
}
