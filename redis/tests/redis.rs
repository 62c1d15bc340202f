//! Tests against real servers: `redis-server` (Debian and Ubuntu: `apt-get install redis-server`), on loopback.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot continue must fail at that place")]

mod cluster;
mod failover;
mod partition;
mod proxy;
mod replicas;
mod server;
mod tls;

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    time::Duration,
};

use actix_protect_api::{
    cache::CacheKey,
    shared_store::{Position, RecordBatch, SharedStore as _, StoreEntry},
};
use actix_protect_api_redis::RedisStore;
use server::Server;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn key(number: u8) -> CacheKey {
    CacheKey::from_bytes([number; 32])
}

fn records(batch: &RecordBatch) -> Vec<&str> {
    batch.records.iter().map(|(_, record)| str::from_utf8(record).unwrap()).collect()
}

/// Returns whether the list does not exist.
fn is_missing(mut batch: RecordBatch) -> bool {
    batch.unix_time = None;
    batch == RecordBatch::default()
}

/// Repeats an operation until it succeeds.
async fn eventually<T, E: std::fmt::Debug>(operation: impl AsyncFn() -> Result<T, E>) -> T {
    let mut last = None;
    for _ in 0..600 {
        match operation().await {
            Ok(value) => return value,
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no success within 30 s: {last:?}");
}

#[tokio::test]
async fn one_of_several_callers_gets_the_claim_and_the_others_get_the_verdict() {
    let server = Server::start();
    let (one, two) = (server.store(), server.store());
    assert_eq!(one.get(&key(1)).await.unwrap(), None);
    assert_eq!(one.get_or_claim(&key(1), MINUTE).await.unwrap(), StoreEntry::Claimed);
    assert_eq!(two.get_or_claim(&key(1), MINUTE).await.unwrap(), StoreEntry::Busy);
    assert_eq!(two.get(&key(1)).await.unwrap(), Some(StoreEntry::Busy));
    assert_eq!(two.get_or_claim(&key(2), MINUTE).await.unwrap(), StoreEntry::Claimed);
    one.put(&key(1), b"\0\xff", MINUTE).await.unwrap();
    let found = StoreEntry::Found(b"\0\xff".into());
    assert_eq!(two.get_or_claim(&key(1), MINUTE).await.unwrap(), found);
    assert_eq!(two.get(&key(1)).await.unwrap(), Some(found));
    one.remove(&key(1)).await.unwrap();
    assert_eq!(two.get(&key(1)).await.unwrap(), None);
}

#[tokio::test]
async fn verdicts_and_claims_end_and_a_verdict_is_never_a_claim() {
    let server = Server::start();
    let store = server.store();
    store.get_or_claim(&key(1), MINUTE).await.unwrap();
    store.put(&key(2), b"v", Duration::from_secs(30)).await.unwrap();
    store.put(&key(3), b"v", Duration::ZERO).await.unwrap();
    store.put(&key(4), b"c", Duration::MAX).await.unwrap();
    let name = |number| format!("actix-protect-api:v:{}", key(number).to_hex());
    let lives = |number| server.query::<i64>(&["PTTL", &name(number)]);
    assert!((50_000..=60_000).contains(&lives(1)), "{}", lives(1));
    assert!((20_000..=30_000).contains(&lives(2)), "{}", lives(2));
    eventually(async || store.get(&key(3)).await.unwrap().map_or(Ok(()), Err)).await;
    assert!(lives(4) > 30_000_000_000);
    assert_eq!(store.get(&key(4)).await.unwrap(), Some(StoreEntry::Found(b"c".into())));
    // A value of another program is a verdict that cannot be decrypted.
    for other in ["", "x", "vc"] {
        server.query::<String>(&["SET", &name(5), other]);
        assert!(matches!(store.get(&key(5)).await.unwrap(), Some(StoreEntry::Found(_))), "{other}");
    }
}

#[tokio::test]
async fn records_are_read_in_order_from_any_position() {
    let server = Server::start();
    let (one, two) = (server.store(), server.store());
    assert!(is_missing(two.read(None).await.unwrap()));
    let mut positions = Vec::new();
    for record in ["1", "2", "3"] {
        positions.push(one.append(record.as_bytes(), DAY).await.unwrap());
    }
    assert!(positions.is_sorted());
    let batch = two.read(None).await.unwrap();
    assert_eq!(records(&batch), ["1", "2", "3"]);
    assert_eq!(batch.records.iter().map(|(position, _)| *position).collect::<Vec<_>>(), positions);
    assert_eq!((batch.end, batch.total_appended, batch.length), (Some(positions[2]), 3, 3));
    assert!(batch.oldest_age.unwrap() < MINUTE);
    let now = i64::try_from(server.time() / 1000).unwrap();
    assert!((now - 60..=now).contains(&batch.unix_time.unwrap()));
    assert_eq!(records(&two.read(Some(positions[1])).await.unwrap()), ["3"]);
    let empty = two.read(Some(positions[2])).await.unwrap();
    assert_eq!((records(&empty), empty.total_appended, empty.end), (vec![], 3, Some(positions[2])));
}

#[tokio::test]
async fn a_waiting_read_returns_when_a_record_is_appended() {
    let server = Server::start();
    let (one, two) = (server.store(), server.store());
    let first = one.append(b"1", DAY).await.unwrap();
    let read = async || loop {
        let batch = two.read(Some(first)).await.unwrap();
        if !batch.records.is_empty() {
            break batch;
        }
    };
    let (batch, second) = tokio::join!(read(), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        one.append(b"2", DAY).await.unwrap()
    });
    assert_eq!((records(&batch), batch.end), (vec!["2"], Some(second)));
}

#[tokio::test]
async fn more_records_than_one_read_returns_are_read_in_parts() {
    let server = Server::start();
    let store = server.store();
    server.append_many(2500);
    let mut read = Vec::new();
    loop {
        let batch = store.read(read.last().copied()).await.unwrap();
        assert_eq!(batch.total_appended, 2500);
        read.extend(batch.records.iter().map(|(position, _)| *position));
        if read.last().copied() == batch.end {
            break;
        }
    }
    assert_eq!(read.len(), 2500);
    assert!(read.is_sorted());
}

#[tokio::test]
async fn lost_records_are_visible_in_the_counts() {
    let server = Server::start();
    let store = server.store();
    for record in ["1", "2"] {
        store.append(record.as_bytes(), DAY).await.unwrap();
    }
    let before = store.read(None).await.unwrap();
    // Another program deletes a record that was not read.
    let third = store.append(b"3", DAY).await.unwrap();
    server.query::<i64>(&["XDEL", "actix-protect-api:records", &third.to_string()]);
    let after = store.read(before.end).await.unwrap();
    assert_eq!((records(&after), after.total_appended, after.length), (vec![], 3, 2));
    assert_eq!(after.end, Some(third));

    server.query::<String>(&["FLUSHALL"]);
    assert!(is_missing(store.read(after.end).await.unwrap()));
    store.append(b"4", DAY).await.unwrap();
    let batch = store.read(after.end).await.unwrap();
    assert_eq!((records(&batch), batch.total_appended), (vec!["4"], 1));
}

#[tokio::test]
async fn records_before_a_position_are_deleted_on_request() {
    let server = Server::start();
    let store = server.store();
    store.trim(Position::new(1, 0)).await.unwrap();
    store.append(b"1", DAY).await.unwrap();
    let second = store.append(b"2", DAY).await.unwrap();
    store.trim(second).await.unwrap();
    let batch = store.read(None).await.unwrap();
    assert_eq!((records(&batch), batch.total_appended, batch.length), (vec!["2"], 2, 1));
}

/// The last of the records that are over stays: it shows that only such records were deleted.
#[tokio::test]
async fn records_are_deleted_after_their_time_except_for_the_last_of_them() {
    let server = Server::start();
    let store = server.store();
    let (now, day) = (server.time(), DAY.as_secs().to_string());
    // More than are checked at once.
    for number in 0..150 {
        server.add(now - 73 * 60 * 60 * 1000 + number, "73", &day);
    }
    for (hours, keep) in [(48, &*day), (25, &*day), (24, "200000"), (23, &*day), (1, "60")] {
        server.add(now - hours * 60 * 60 * 1000, &hours.to_string(), keep);
    }
    store.append(b"0", DAY).await.unwrap();
    let batch = eventually(async || {
        let batch = store.read(None).await.unwrap();
        if batch.length > 4 { Err(batch) } else { Ok(batch) }
    })
    .await;
    assert_eq!((records(&batch), batch.total_appended), (vec!["25", "24", "23", "0"], 156));
    assert!(batch.oldest_age.unwrap() > DAY);
}

#[tokio::test]
async fn a_record_that_is_kept_for_long_does_not_keep_those_behind_it() {
    let server = Server::start();
    let store = server.store();
    let (now, day, year) = (server.time(), DAY.as_secs().to_string(), "31536000");
    server.add(now - 100 * 60 * 60 * 1000, "over", &day);
    server.add(now - 99 * 60 * 60 * 1000, "long", year);
    for number in 0..250 {
        server.add(now - 48 * 60 * 60 * 1000 + number, "over", if number == 120 { year } else { &day });
    }
    server.add(now - 1000, "new", &day);
    store.append(b"newest", DAY).await.unwrap();
    let batch = eventually(async || {
        let batch = store.read(None).await.unwrap();
        if batch.length > 5 { Err(batch) } else { Ok(batch) }
    })
    .await;
    assert_eq!(records(&batch), ["over", "long", "over", "new", "newest"]);
    assert_eq!(batch.total_appended, 254);
}

/// The first page has only records that are still needed.
#[tokio::test]
async fn a_hundred_records_that_are_kept_for_long_do_not_keep_those_behind_them() {
    let server = Server::start();
    let store = server.store();
    let (now, day, year) = (server.time(), DAY.as_secs().to_string(), "31536000");
    for number in 0..100 {
        server.add(now - 99 * 60 * 60 * 1000 + number, "long", year);
    }
    for number in 0..250 {
        server.add(now - 48 * 60 * 60 * 1000 + number, "over", &day);
    }
    store.append(b"newest", DAY).await.unwrap();
    let length = eventually(async || {
        let length = store.read(None).await.unwrap().length;
        if length > 101 { Err(length) } else { Ok(length) }
    })
    .await;
    assert_eq!(length, 101);
}

/// The server responds to each `MULTI`, and to each command in it, with an error.
#[tokio::test]
async fn a_server_whose_memory_is_full_is_read_and_rejects_new_values() {
    let server = Server::start();
    let store = server.store();
    let first = store.append(b"1", DAY).await.unwrap();
    store.put(&key(1), b"v", MINUTE).await.unwrap();
    server.query::<String>(&["CONFIG", "SET", "maxmemory", "100kb"]);
    let batch = store.read(None).await.unwrap();
    assert_eq!((records(&batch), batch.end, batch.total_appended), (vec!["1"], Some(first), 1));
    assert!(batch.is_read_only);
    assert_eq!(records(&store.read(Some(first)).await.unwrap()), [""; 0]);
    assert_eq!(store.get(&key(1)).await.unwrap(), Some(StoreEntry::Found(b"v".into())));
    for error in [
        store.append(b"2", DAY).await.unwrap_err(),
        store.put(&key(2), b"v", MINUTE).await.unwrap_err(),
        store.get_or_claim(&key(2), MINUTE).await.unwrap_err(),
    ] {
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("OOM"), "{source}");
    }
    store.remove(&key(1)).await.unwrap();
    server.query::<String>(&["CONFIG", "SET", "maxmemory", "0"]);
    store.append(b"2", DAY).await.unwrap();
    let batch = store.read(Some(first)).await.unwrap();
    assert_eq!((records(&batch), batch.is_read_only), (vec!["2"], false));
    assert_eq!(server.keys(), 1, "only the stream of records");
}

#[tokio::test]
async fn a_server_that_accepts_writes_with_replicas_only_is_read_only() {
    let server = Server::start();
    let store = server.store();
    store.append(b"1", DAY).await.unwrap();
    server.query::<String>(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let batch = store.read(None).await.unwrap();
    assert_eq!((records(&batch), batch.is_read_only), (vec!["1"], true));
}

#[tokio::test]
async fn old_records_are_deleted_while_the_memory_is_full() {
    let server = Server::start();
    let now = server.time();
    for hours in [50, 49, 48] {
        server.add(now - hours * 60 * 60 * 1000, "over", &DAY.as_secs().to_string());
    }
    server.query::<String>(&["CONFIG", "SET", "maxmemory", "100kb"]);
    let store = server.store();
    store.append(b"1", DAY).await.unwrap_err();
    eventually(async || {
        let length = store.read(None).await.unwrap().length;
        if length == 1 { Ok(()) } else { Err(length) }
    })
    .await;
}

#[tokio::test]
async fn stores_with_other_prefixes_share_nothing() {
    let server = Server::start();
    let (one, two) = (server.store(), server.store().key_prefix("other:"));
    one.put(&key(1), b"v", MINUTE).await.unwrap();
    one.append(b"1", DAY).await.unwrap();
    assert_eq!(two.get(&key(1)).await.unwrap(), None);
    assert_eq!(two.read(None).await.unwrap().total_appended, 0);
    two.append(b"2", DAY).await.unwrap();
    assert_eq!(server.query::<i64>(&["EXISTS", "other:records"]), 1);
}

#[tokio::test]
async fn a_server_that_starts_later_and_restarts_is_used() {
    let mut server = Server::start();
    server.stop();
    let store = server.store();
    store.get(&key(1)).await.unwrap_err();
    store.read(None).await.unwrap_err();
    store.append(b"1", DAY).await.unwrap_err();
    server.restart();
    let first = eventually(async || store.append(b"1", DAY).await).await;
    eventually(async || store.get(&key(1)).await).await;
    assert_eq!(records(&eventually(async || store.read(None).await).await), ["1"]);
    // Without persistence, a restart loses everything.
    server.stop();
    server.restart();
    let second = eventually(async || store.append(b"2", DAY).await).await;
    assert!(second > first);
    let batch = eventually(async || store.read(Some(first)).await).await;
    assert_eq!((records(&batch), batch.total_appended), (vec!["2"], 1));
}

#[tokio::test]
async fn a_server_that_does_not_respond_is_an_error_and_not_a_hang() {
    let server = Server::start();
    let store = server.store();
    store.get(&key(1)).await.unwrap();
    server.pause();
    store.get(&key(1)).await.unwrap_err();
    store.read(None).await.unwrap_err();
    store.append(b"1", DAY).await.unwrap_err();
    server.resume();
    eventually(async || store.get(&key(1)).await).await;
    eventually(async || store.read(None).await).await;
}

#[tokio::test]
async fn a_wrong_password_is_an_error_that_does_not_show_it() {
    let server = Server::start_with(&["--requirepass", "right"]);
    let url = server.url().replace("redis://", "redis://:hunter2@");
    let store = RedisStore::open(&url).unwrap();
    let error = store.get(&key(1)).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("WRONGPASS") || source.contains("AuthenticationFailed"), "{source}");
    assert!(!format!("{error:?}{error}{source}{store:?}").contains("hunter2"));
    let right = RedisStore::open(&server.url().replace("redis://", "redis://:right@")).unwrap();
    right.get(&key(1)).await.unwrap();
}

/// The permissions in the documentation are sufficient, and a store that may not write is an error.
#[tokio::test]
async fn the_documented_permissions_are_sufficient() {
    let server = Server::start();
    let rules = include_str!("../src/lib.rs").split("ACL SETUSER api on >password ").nth(1).unwrap();
    let rules = rules.split("```").next().unwrap().replace("//!", " ");
    let command: Vec<&str> =
        ["ACL", "SETUSER", "api", "on", ">password"].into_iter().chain(rules.split_whitespace()).collect();
    server.query::<String>(&command);
    let store = RedisStore::open(&server.url().replace("redis://", "redis://api:password@")).unwrap();
    store.get_or_claim(&key(1), MINUTE).await.unwrap();
    store.put(&key(1), b"v", MINUTE).await.unwrap();
    store.get(&key(1)).await.unwrap();
    store.remove(&key(1)).await.unwrap();
    let position = store.append(b"1", Duration::ZERO).await.unwrap();
    assert_eq!(records(&store.read(None).await.unwrap()), ["1"]);
    store.trim(position).await.unwrap();
    let log: Vec<redis::Value> = server.query(&["ACL", "LOG"]);
    assert!(log.is_empty(), "{log:?}");
    store.key_prefix("other:").get(&key(1)).await.unwrap_err();
}

/// Runs [`wait_with_a_server`] in a child process and kills it, so that nothing is dropped.
#[tokio::test]
async fn a_server_ends_when_the_process_is_killed_that_started_it() {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "wait_with_a_server", "--nocapture"]);
    let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = lines.map(Result::unwrap).find_map(|line| Some(line.split_once("port ")?.1.to_owned()));
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", port.unwrap())).unwrap();
    client.get_connection().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    eventually(async || client.get_connection().map_or(Ok(()), |_| Err("it runs"))).await;
}

#[test]
#[ignore = "a part of the test of a killed process"]
fn wait_with_a_server() {
    let server = Server::start();
    writeln!(std::io::stdout(), "port {}", server.port()).unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn debug_shows_no_address() {
    let store = RedisStore::open("redis://user:hunter2@redis.example.com/0").unwrap();
    assert_eq!(
        format!("{store:?}"),
        r#"RedisStore { address: "server", key_prefix: "actix-protect-api:", .. }"#
    );
}
