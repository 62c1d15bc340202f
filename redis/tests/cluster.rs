//! A cluster of several servers.

use actix_protect_api::{
    Revocation, SharedStoreState,
    shared_store::{SharedStore as _, StoreEntry},
    test::TestIssuer,
};
use actix_protect_api_redis::RedisStore;
use serde_json::json;

use crate::{
    DAY, MINUTE, eventually, key, records,
    replicas::{becomes, is_rejected, replica_with, status},
    server::{Server, free_port},
};

const RECORDS: &str = "actix-protect-api:records";

/// The hash slot of [`RECORDS`]. It belongs to the first server.
const SLOT: &str = "2409";

/// Three primaries with a third of the slots each. The cluster works also while one of them does not respond.
struct Cluster([Server; 3]);

impl Cluster {
    fn start() -> Self {
        let servers = [(); 3].map(|()| {
            let bus = free_port().to_string();
            let options =
                ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "60000"];
            let coverage = ["--cluster-require-full-coverage", "no"];
            (Server::start_with(&[&options[..], &coverage[..]].concat()), bus)
        });
        let [(first, _), others @ ..] = &servers;
        for (server, bus) in others {
            let port = server.port().to_string();
            first.query::<String>(&["CLUSTER", "MEET", "127.0.0.1", &port, bus]);
        }
        let cluster = Self(servers.map(|(server, _)| server));
        let slots = [["0", "5460"], ["5461", "10922"], ["10923", "16383"]];
        for (server, [first, last]) in cluster.0.iter().zip(slots) {
            server.query::<String>(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
        }
        for server in &cluster.0 {
            server.wait_for("CLUSTER INFO", "cluster_state:ok");
            server.wait_for("CLUSTER INFO", "cluster_slots_ok:16384");
            server.wait_for("CLUSTER INFO", "cluster_known_nodes:3");
        }
        cluster
    }

    fn store(&self) -> RedisStore {
        let urls = self.0.each_ref().map(Server::url);
        RedisStore::open_cluster(urls.iter().map(String::as_str)).unwrap()
    }

    /// Moves the list of records from the first server to the second.
    fn move_records(&self) {
        let [first, second, _] = &self.0;
        let [from, to] = [first, second].map(|server| server.query::<String>(&["CLUSTER", "MYID"]));
        let set_slot = |server: &Server, state: &str, id: &str| {
            server.query::<String>(&["CLUSTER", "SETSLOT", SLOT, state, id]);
        };
        set_slot(second, "IMPORTING", &from);
        set_slot(first, "MIGRATING", &to);
        let port = second.port().to_string();
        first.query::<String>(&["MIGRATE", "127.0.0.1", &port, RECORDS, "0", "5000"]);
        set_slot(second, "NODE", &to);
        set_slot(first, "NODE", &to);
    }
}

#[tokio::test]
async fn a_cluster_of_one_server_is_an_address() {
    let server =
        Server::start_with(&["--cluster-enabled", "yes", "--cluster-port", &free_port().to_string()]);
    server.query::<String>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    server.wait_for("CLUSTER INFO", "cluster_state:ok");
    let store = RedisStore::open_cluster([server.url().as_str()]).unwrap();
    assert_eq!(store.read(None).await.unwrap().total_appended, 0);
    let position = store.append(b"1", DAY).await.unwrap();
    assert_eq!(records(&store.read(None).await.unwrap()), ["1"]);
    store.trim(position).await.unwrap();
}

#[actix_web::test]
async fn verdicts_are_on_all_servers_of_a_cluster_and_revocations_on_one() {
    let (issuer, cluster) = (TestIssuer::start(), Cluster::start());
    let store = cluster.store();
    for number in 0..30 {
        assert_eq!(store.get_or_claim(&key(number), MINUTE).await.unwrap(), StoreEntry::Claimed);
        store.put(&key(number), &[number], MINUTE).await.unwrap();
        assert_eq!(store.get(&key(number)).await.unwrap(), Some(StoreEntry::Found(vec![number])));
    }
    assert!(cluster.0.iter().all(|server| server.keys() > 0));

    let [one, two] = [(); 2].map(|()| replica_with(&issuer, cluster.store()));
    for protect in [&one, &two] {
        becomes(protect, SharedStoreState::Reading).await;
    }
    let (alice, bob) = (issuer.jwt(json!({ "sub": "alice" })), issuer.opaque(json!({ "sub": "bob" })));
    assert_eq!((status(&two, &alice).await, status(&two, &bob).await), (200, 200));
    one.revoke(Revocation::subject("alice")).await.unwrap();
    one.revoke(Revocation::token(bob.clone())).await.unwrap();
    is_rejected(&two, &alice).await;
    is_rejected(&two, &bob).await;
    let [first, ..] = &cluster.0;
    assert_eq!(first.query::<i64>(&["XLEN", RECORDS]), 2);
}

#[tokio::test]
async fn records_that_move_to_another_server_of_the_cluster_are_read_there() {
    let cluster = Cluster::start();
    let store = cluster.store();
    let first = store.append(b"1", DAY).await.unwrap();
    store.read(None).await.unwrap();
    cluster.move_records();
    let second = eventually(async || store.append(b"2", DAY).await).await;
    assert!(second > first);
    let batch = eventually(async || store.read(Some(first)).await).await;
    // The position and the number of records have moved too.
    assert_eq!((records(&batch), batch.end, batch.total_appended), (vec!["2"], Some(second), 2));
    let [_, target, _] = &cluster.0;
    assert_eq!(target.query::<i64>(&["XLEN", RECORDS]), 2);
}

/// The server has the list until the end, and redirects requests for other keys of the slot.
#[tokio::test]
async fn records_are_read_while_their_slot_is_being_moved() {
    let cluster = Cluster::start();
    let store = cluster.store();
    let first = store.append(b"1", DAY).await.unwrap();
    store.read(None).await.unwrap();
    let [from, to, _] = &cluster.0;
    let [from_id, to_id] = [from, to].map(|server| server.query::<String>(&["CLUSTER", "MYID"]));
    to.query::<String>(&["CLUSTER", "SETSLOT", SLOT, "IMPORTING", &from_id]);
    from.query::<String>(&["CLUSTER", "SETSLOT", SLOT, "MIGRATING", &to_id]);
    let batch = store.read(None).await.unwrap();
    assert_eq!((records(&batch), batch.end, batch.is_read_only), (vec!["1"], Some(first), false));
}

/// Each new connection is attempted to all servers. One of them must not use up the time of the others.
#[tokio::test]
async fn a_server_that_does_not_respond_does_not_stop_the_others_of_the_cluster() {
    let cluster = Cluster::start();
    let [_, _, last] = &cluster.0;
    last.pause();
    let store = cluster.store();
    let position = eventually(async || store.append(b"1", DAY).await).await;
    let batch = eventually(async || store.read(None).await).await;
    assert_eq!((records(&batch), batch.end), (vec!["1"], Some(position)));
    last.resume();
}
