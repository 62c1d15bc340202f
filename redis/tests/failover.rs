//! A group of servers with a sentinel, in which another server takes the place of the primary.

use std::net::{Ipv4Addr, TcpListener};

use actix_protect_api::{Revocation, SharedStoreState, shared_store::SharedStore as _, test::TestIssuer};
use actix_protect_api_redis::RedisStore;
use serde_json::json;

use crate::{
    DAY, eventually, records,
    replicas::{becomes, is_rejected, replica_with, status},
    server::{Server, free_port},
};

const LENGTH: &str = "XLEN actix-protect-api:records";

/// A primary, a replica of it, and a sentinel.
struct Group {
    primary: Server,
    replica: Server,
    sentinel: Server,
}

impl Group {
    fn start() -> Self {
        let primary = Server::start();
        let replica = Server::start_with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]);
        replica.wait_for("INFO replication", "master_link_status:up");
        let sentinel = Server::sentinel(primary.port());
        sentinel.wait_for("SENTINEL MASTER group", "num-slaves\n1");
        Self { primary, replica, sentinel }
    }

    fn store(&self) -> RedisStore {
        RedisStore::open_sentinels([self.sentinel.url().as_str()], "redis://group/0").unwrap()
    }

    /// Ends the replication: the replica connects again with a user that does not exist.
    fn cut_replication(&self) {
        for (name, value) in [("masteruser", "nobody"), ("masterauth", "nothing")] {
            self.replica.query::<String>(&["CONFIG", "SET", name, value]);
        }
        self.primary.query::<i64>(&["CLIENT", "KILL", "TYPE", "replica"]);
        self.replica.wait_for("INFO replication", "master_link_status:down");
    }
}

#[tokio::test]
async fn sentinels_are_an_address_and_a_failover_is_followed() {
    let mut group = Group::start();
    let store = group.store();
    let first = store.append(b"1", DAY).await.unwrap();
    store.read(None).await.unwrap();
    group.replica.wait_for(LENGTH, "1");
    group.primary.stop();
    let second = eventually(async || store.append(b"2", DAY).await).await;
    assert!(second > first);
    let batch = eventually(async || store.read(Some(first)).await).await;
    assert!(records(&batch).contains(&"2") && batch.total_appended >= 2, "{batch:?}");
    assert!(group.replica.query::<i64>(&["XLEN", "actix-protect-api:records"]) >= 2);
}

#[actix_web::test]
async fn revocations_that_a_failover_has_lost_are_sent_again() {
    let (issuer, mut group) = (TestIssuer::start(), Group::start());
    let [one, two] = [(); 2].map(|()| replica_with(&issuer, group.store()));
    for protect in [&one, &two] {
        becomes(protect, SharedStoreState::Reading).await;
    }
    let [alice, bob] = ["alice", "bob"].map(|user| issuer.jwt(json!({ "sub": user })));
    assert_eq!((status(&two, &alice).await, status(&two, &bob).await), (200, 200));
    one.revoke(Revocation::subject("alice")).await.unwrap();
    is_rejected(&two, &alice).await;
    group.replica.wait_for(LENGTH, "1");
    group.cut_replication();
    one.revoke(Revocation::subject("bob")).await.unwrap();
    is_rejected(&two, &bob).await;
    assert_eq!(group.replica.query::<i64>(&["XLEN", "actix-protect-api:records"]), 1);

    group.primary.stop();
    group.replica.wait_for("ROLE", "master");
    let new = replica_with(&issuer, group.store());
    is_rejected(&new, &bob).await;
    for protect in [&one, &two, &new] {
        becomes(protect, SharedStoreState::Reading).await;
        assert_eq!((status(protect, &alice).await, status(protect, &bob).await), (401, 401));
    }
}

/// A name or an address may lead to another server after a failover, while the connection to the old one stays open.
#[tokio::test]
async fn records_are_not_read_from_a_server_that_is_not_the_primary_any_more() {
    let server = Server::start();
    let store = server.store();
    store.append(b"1", DAY).await.unwrap();
    store.read(None).await.unwrap();
    server.query::<String>(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    store.read(None).await.unwrap_err();
    store.append(b"2", DAY).await.unwrap_err();
    server.query::<String>(&["REPLICAOF", "NO", "ONE"]);
    let batch = eventually(async || store.read(None).await).await;
    assert_eq!(records(&batch), ["1"]);
}

#[tokio::test]
async fn a_sentinel_that_does_not_respond_does_not_stop_the_others() {
    let group = Group::start();
    // Connections to it are open and silent.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let sentinels = [url.as_str(), &group.sentinel.url()];
    let store = RedisStore::open_sentinels(sentinels, "redis://group/0").unwrap();
    eventually(async || store.append(b"1", DAY).await).await;
    assert_eq!(records(&eventually(async || store.read(None).await).await), ["1"]);
    drop(silent);
}
