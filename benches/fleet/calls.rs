//! The calls of the fleet to the authorization server.

use actix_protect_api::test::{Endpoint, TestIssuer};
use futures_util::future::join_all;
use serde_json::json;

use crate::{
    process::{Fleet, client, status},
    redis::{Kind, Redis},
};

pub(crate) async fn run() {
    let (issuer, redis) = (TestIssuer::start(), Redis::start(Kind::Server).await);
    let fleet = Fleet::start(&issuer, [(); 3].map(|()| redis.variables(None)));
    let client = client();
    let warm = issuer.opaque(json!({}));
    for url in &fleet.urls {
        assert_eq!(status(&client, url, &warm).await, 200);
    }

    issuer.reset_counters();
    let tokens: Vec<_> = (0..1000).map(|_| issuer.opaque(json!({}))).collect();
    // Ten clients at each replica, in different orders.
    let workers = fleet.urls.iter().enumerate().flat_map(|(replica, url)| {
        let (client, tokens) = (&client, &tokens);
        (0..10).map(move |worker| async move {
            for index in (worker..2000).step_by(10) {
                let token = &tokens[(index * 7 + replica * 333) % 1000];
                assert_eq!(status(client, url, token).await, 200);
            }
        })
    });
    join_all(workers).await;
    let calls = issuer.count(Endpoint::Introspection);
    println!("1000 tokens, 6000 requests at 3 replicas: {calls} calls");

    issuer.reset_counters();
    let token = issuer.opaque(json!({}));
    let burst = (0..600).map(|index| status(&client, &fleet.urls[index % 3], &token));
    let accepted = join_all(burst).await.iter().filter(|status| **status == 200).count();
    let calls = issuer.count(Endpoint::Introspection);
    println!("600 requests at once with one token: {accepted} accepted, {calls} calls");
}
