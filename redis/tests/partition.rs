//! A replica of an API that is cut off from Redis.

use actix_protect_api::{Revocation, SharedStoreState, test::TestIssuer};
use actix_protect_api_redis::RedisStore;
use serde_json::json;

use crate::{
    proxy::Network,
    replicas::{becomes, is_rejected, replica_with, status},
    server::Server,
};

#[actix_web::test]
async fn a_replica_that_is_cut_off_is_blind_and_exchanges_revocations_later() {
    let (issuer, server, network) = (TestIssuer::start(), Server::start(), Network::default());
    let url = format!("redis://127.0.0.1:{}", network.proxy(server.port()));
    let one = replica_with(&issuer, server.store());
    let cut_off = replica_with(&issuer, RedisStore::open(&url).unwrap());
    let [alice, bob] = ["alice", "bob"].map(|user| issuer.jwt(json!({ "sub": user })));
    let carol = issuer.opaque(json!({ "sub": "carol" }));
    for protect in [&one, &cut_off] {
        becomes(protect, SharedStoreState::Reading).await;
        for token in [&alice, &bob, &carol] {
            assert_eq!(status(protect, token).await, 200);
        }
    }

    network.set_cut(true);
    one.revoke(Revocation::subject("alice")).await.unwrap();
    one.revoke(Revocation::token(carol.clone())).await.unwrap();
    issuer.revoke(&carol);
    becomes(&cut_off, SharedStoreState::Blind).await;
    is_rejected(&cut_off, &carol).await;
    assert_eq!(status(&cut_off, &alice).await, 200);
    cut_off.revoke(Revocation::subject("bob")).await.unwrap_err();
    assert_eq!((status(&cut_off, &bob).await, status(&one, &bob).await), (401, 200));

    network.set_cut(false);
    is_rejected(&cut_off, &alice).await;
    is_rejected(&one, &bob).await;
    becomes(&cut_off, SharedStoreState::Reading).await;
}
