//! Failures of the store and of a replica, and what is accepted meanwhile.

use std::{
    env,
    time::{Duration, Instant},
};

use actix_protect_api::test::TestIssuer;
use actix_web::rt::time::sleep;

use crate::{
    process::{Fleet, client, revoke, signal, status},
    proxy::Network,
    redis::{Kind, Redis},
    watch::{Tokens, Watch},
};

#[derive(Clone, Copy, PartialEq)]
enum Failure {
    Killed,
    Stopped,
    Paused,
    Flushed,
    Full,
    Slow,
    ReplicaStopped,
    /// The replica with this number is cut off from Redis.
    CutOff(usize),
    /// The primary is killed, or stopped, and another server takes its place.
    PrimaryKilled,
    PrimaryStopped,
    /// As `PrimaryKilled`, but the other server lacks the last records.
    RecordsLost,
}

const CASES: [(Kind, Failure, &str, &str); 19] = [
    (Kind::Server, Failure::Killed, "accept", "Redis killed, started again (empty) after 4 s"),
    (Kind::Server, Failure::Stopped, "accept", "Redis stopped (SIGSTOP) for 4 s"),
    (Kind::Server, Failure::Stopped, "introspect", "Redis stopped for 4 s, JWTS_WHEN_BLIND=introspect"),
    (Kind::Server, Failure::Stopped, "reject", "Redis stopped for 4 s, JWTS_WHEN_BLIND=reject"),
    (Kind::Server, Failure::Paused, "accept", "CLIENT PAUSE of 4 s"),
    (Kind::Server, Failure::Flushed, "accept", "FLUSHALL"),
    (Kind::Server, Failure::Full, "accept", "memory full for 4 s"),
    (Kind::Server, Failure::Slow, "accept", "Redis slower by 200 ms for 4 s"),
    (Kind::Server, Failure::ReplicaStopped, "accept", "one replica stopped (SIGSTOP) for 10 s"),
    (Kind::Server, Failure::CutOff(2), "accept", "one replica cut off for 4 s"),
    (Kind::Server, Failure::CutOff(0), "accept", "the revoking replica cut off for 4 s"),
    (Kind::Tls, Failure::Killed, "accept", "TLS: Redis killed, started again (empty) after 4 s"),
    (Kind::Tls, Failure::Stopped, "accept", "TLS: Redis stopped (SIGSTOP) for 4 s"),
    (Kind::Sentinels, Failure::PrimaryKilled, "accept", "sentinel: primary killed"),
    (Kind::Sentinels, Failure::PrimaryStopped, "accept", "sentinel: primary stopped (SIGSTOP)"),
    (Kind::Sentinels, Failure::RecordsLost, "accept", "sentinel: primary killed, last records lost"),
    (Kind::Cluster, Failure::PrimaryKilled, "accept", "cluster: primary killed"),
    (Kind::Cluster, Failure::PrimaryStopped, "accept", "cluster: primary stopped (SIGSTOP)"),
    (Kind::Cluster, Failure::RecordsLost, "accept", "cluster: primary killed, last records lost"),
];

/// `BLIND_FOR`, one round trip to the store, and the time of a call.
const BOUND: Duration = Duration::from_millis(1500);

pub(crate) async fn run() {
    println!(
        "| failure | lasted ms | `revoke` | opaque accepted for ms | after the bound | JWT accepted for ms | \
         after the end for ms | revoked before, accepted | new replica, accepted | revoked after, rejected in ms | \
         good, 4xx | good, 5xx | good, no response | slowest ms |"
    );
    println!("|{}", " --- |".repeat(14));
    let only = env::var("ONLY").unwrap_or_default();
    for (kind, failure, when_blind, name) in CASES {
        if name.contains(&only) {
            Scene::start(kind, failure, when_blind).await.measure(name).await;
        }
    }
}

struct Scene {
    failure: Failure,
    issuer: TestIssuer,
    redis: Redis,
    /// The port of the server of the records.
    primary: u16,
    networks: [Network; 3],
    fleet: Fleet,
    when_blind: &'static str,
}

impl Scene {
    async fn start(kind: Kind, failure: Failure, when_blind: &'static str) -> Self {
        let (issuer, mut redis) = (TestIssuer::start(), Redis::start(kind).await);
        let (networks, primary) = (<[Network; 3]>::default(), redis.primary().port);
        let needs_network = matches!(failure, Failure::Slow | Failure::CutOff(_));
        let variables = networks.each_ref().map(|network| {
            let proxy = needs_network.then(|| network.proxy(primary));
            [redis.variables(proxy), setting(when_blind)].concat()
        });
        let fleet = Fleet::start(&issuer, variables);
        Self { failure, issuer, redis, primary, networks, fleet, when_blind }
    }

    /// Revokes both tokens at the first replica. Returns the statuses.
    async fn revoke(&self, tokens: &Tokens) -> String {
        let mut statuses = Vec::new();
        for token in tokens.both() {
            statuses.push(revoke(&client(), &self.fleet.urls[0], token).await.to_string());
        }
        statuses.join(", ")
    }

    fn fail(&mut self) {
        match self.failure {
            Failure::Killed | Failure::PrimaryKilled | Failure::RecordsLost => {
                self.redis.primary().process = None;
            }
            Failure::Stopped | Failure::PrimaryStopped => {
                signal(self.redis.primary().process.as_ref().unwrap(), "STOP");
            }
            Failure::Paused => drop(self.redis.primary().command("CLIENT PAUSE 4300 ALL")),
            Failure::Flushed => drop(self.redis.primary().command("FLUSHALL")),
            Failure::Full => drop(self.redis.primary().command("CONFIG SET maxmemory 100kb")),
            Failure::Slow => self.networks.iter().for_each(|network| network.set_delay(100)),
            Failure::ReplicaStopped => signal(&self.fleet.processes[2], "STOP"),
            Failure::CutOff(replica) => self.networks[replica].set_cut(true),
        }
    }

    /// Ends the failure, which has lasted since then.
    async fn repair(&mut self, started: Instant) {
        let length = if self.failure == Failure::ReplicaStopped { 10 } else { 4 };
        let left = Duration::from_secs(length).saturating_sub(started.elapsed());
        match self.failure {
            // The other server takes its place earlier or later.
            Failure::PrimaryKilled | Failure::PrimaryStopped | Failure::RecordsLost => {
                self.redis.promoted(self.primary).await;
            }
            _ => sleep(left).await,
        }
        match self.failure {
            Failure::Killed => self.redis.servers[0].start_again(),
            Failure::Stopped => signal(self.redis.servers[0].process.as_ref().unwrap(), "CONT"),
            Failure::Full => drop(self.redis.servers[0].command("CONFIG SET maxmemory 0")),
            Failure::Slow => self.networks.iter().for_each(|network| network.set_delay(0)),
            Failure::ReplicaStopped => signal(&self.fleet.processes[2], "CONT"),
            Failure::CutOff(replica) => self.networks[replica].set_cut(false),
            // The others end without a command.
            _ => {}
        }
    }

    /// Starts another replica, and returns how many of these tokens it accepts after some time.
    async fn accepted_by_a_new_replica(&mut self, revoked: &[&Tokens]) -> usize {
        let variables = [self.redis.variables(None), setting(self.when_blind)].concat();
        self.fleet.add(&self.issuer, variables);
        sleep(Duration::from_secs(1)).await;
        let mut accepted = 0;
        for tokens in revoked {
            for token in tokens.both() {
                let status = status(&client(), self.fleet.urls.last().unwrap(), token).await;
                accepted += usize::from(status != 401);
            }
        }
        accepted
    }

    async fn measure(mut self, name: &str) {
        let urls = self.fleet.urls.clone();
        let [good, before, edge, during, after] =
            ["good", "before", "edge", "during", "after"].map(|user| Tokens::new(&self.issuer, user));
        for url in &urls {
            for tokens in [&good, &before, &edge, &during, &after] {
                for token in tokens.both() {
                    assert_eq!(status(&client(), url, token).await, 200);
                }
            }
        }
        assert_eq!(self.revoke(&before).await, "204, 204");
        sleep(Duration::from_secs(1)).await;

        let [good_watches, before_watches, edge_watches, after_watches] =
            [&good, &before, &edge, &after].map(|tokens| tokens.watch(&urls));
        let [opaque, jwt] = during.watch(&urls);
        sleep(Duration::from_secs(2)).await;
        if self.failure == Failure::RecordsLost {
            self.redis.cut_replication().await;
        }
        assert_eq!(self.revoke(&edge).await, "204, 204");
        sleep(Duration::from_millis(100)).await;

        let started = Instant::now();
        self.fail();
        sleep(Duration::from_millis(300)).await;
        // `introspect` and blind replicas ask the authorization server.
        for token in during.both() {
            self.issuer.revoke(token);
        }
        let revoked = Instant::now();
        let statuses = self.revoke(&during).await;
        let took = revoked.elapsed();
        self.repair(started).await;
        let ended = Instant::now();
        sleep(Duration::from_secs(4)).await;

        let revoked_after = Instant::now();
        assert_eq!(self.revoke(&after).await, "204, 204");
        sleep(Duration::from_secs(2)).await;
        let new = self.accepted_by_a_new_replica(&[&before, &edge, &during, &after]).await;

        let sum = |watches: &[Watch], is_counted: &dyn Fn(Instant, u16) -> bool| -> usize {
            watches.iter().map(|watch| watch.count(|one| is_counted(one.at, one.status))).sum()
        };
        // A replica that is cut off cannot send its revocation before.
        let sent = if self.failure == Failure::CutOff(0) { ended } else { revoked };
        let late = opaque.count(|one| one.status == 200 && one.at > sent + BOUND);
        // Accepted after the failure began, although revoked before.
        let still = sum(&before_watches, &|_, status| status == 200)
            + sum(&edge_watches, &|at, status| status == 200 && at > started);
        let slowest = good_watches.iter().flat_map(Watch::responses).map(|one| one.took).max();
        println!(
            "| {name} | {} | {statuses} in {} ms | {} | {late} | {} | {} | {still} | {new} of 8 | {} | {} | {} | {} of {} | {} |",
            (ended - started).as_millis(),
            took.as_millis(),
            opaque.accepted_for(revoked),
            jwt.accepted_for(revoked),
            jwt.accepted_for(ended),
            after_watches.iter().map(|watch| watch.accepted_for(revoked_after)).max().unwrap_or(0),
            sum(&good_watches, &|_, status| (400..500).contains(&status)),
            sum(&good_watches, &|_, status| status >= 500),
            sum(&good_watches, &|_, status| status == 0),
            sum(&good_watches, &|_, _| true),
            slowest.unwrap_or_default().as_millis(),
        );
    }
}

fn setting(when_blind: &str) -> Vec<(&'static str, String)> {
    vec![("MONOCLOUD_BACKEND_JWTS_WHEN_BLIND", when_blind.to_owned())]
}
