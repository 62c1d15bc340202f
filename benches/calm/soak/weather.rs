//! The faults of the authorization server, and their times.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use actix_protect_api::test::{
    Endpoint::{self, AuthorizationServerMetadata, Discovery, Introspection, Jwks},
    Fault, Rotation, TestIssuer,
};
use actix_web::rt;
use serde_json::{Value, json};

use super::{DEADLINE, Scene, crowd::Crowd};

/// How long most outages last, and one in [`LONG_EVERY`].
const SHORT: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(12);
const LONG_EVERY: usize = 6;
/// How long after an outage everything must work: pauses grow with it, and end about as long after it as it lasted, but the
/// first one takes five seconds. One for the way.
const SETTLED_AFTER_SHORT: Duration = Duration::from_secs(6);
const SETTLED_AFTER_LONG: Duration = Duration::from_secs(11);
/// How long it stays well after that.
const CALM: Duration = Duration::from_secs(3);

pub(super) struct Weather {
    well: Value,
    outage: Cell<Option<Outage>>,
    outages: Cell<usize>,
    /// From then on everything must work, unless there is an outage.
    settled: Cell<Instant>,
    /// Until then a misconfiguration may be felt.
    misconfigured: Cell<Instant>,
}

/// One way in which things go wrong.
#[derive(Clone, Copy)]
struct Outage {
    name: &'static str,
    begin: fn(&TestIssuer),
    /// Whether it looks as if our settings were wrong, which is answered 500.
    misconfigures: bool,
    /// Whether the keys change meanwhile.
    rotates: bool,
}

const fn outage(name: &'static str, begin: fn(&TestIssuer)) -> Outage {
    Outage { name, begin, misconfigures: false, rotates: false }
}

const fn misconfiguration(name: &'static str, begin: fn(&TestIssuer)) -> Outage {
    Outage { misconfigures: true, ..outage(name, begin) }
}

const fn rotating(name: &'static str, begin: fn(&TestIssuer)) -> Outage {
    Outage { rotates: true, ..outage(name, begin) }
}

const DOCUMENTS: [Endpoint; 2] = [Discovery, AuthorizationServerMetadata];
pub(super) const EVERYTHING: [Endpoint; 4] = [Discovery, AuthorizationServerMetadata, Jwks, Introspection];

const OUTAGES: [Outage; 25] = [
    rotating("everything resets", |issuer| always(issuer, &EVERYTHING, &Fault::reset())),
    outage("introspection flaps", flap),
    outage("introspection resets", |issuer| always(issuer, &[Introspection], &Fault::reset())),
    outage("introspection answers 503", |issuer| always(issuer, &[Introspection], &Fault::status(503))),
    outage("introspection answers 429", |issuer| {
        always(issuer, &[Introspection], &Fault::status(429).with_header("Retry-After", "2"));
    }),
    outage("introspection is slow", |issuer| always(issuer, &[Introspection], &Fault::delay(DEADLINE / 2))),
    outage("introspection is late", |issuer| always(issuer, &[Introspection], &Fault::delay(DEADLINE * 2))),
    outage("introspection trickles", |issuer| {
        always(issuer, &[Introspection], &Fault::trickle(DEADLINE / 10));
    }),
    outage("introspection is cut short", |issuer| always(issuer, &[Introspection], &Fault::truncate())),
    outage("introspection is no JSON", |issuer| always(issuer, &[Introspection], &Fault::body("nonsense"))),
    outage("active is a string", |issuer| {
        always(issuer, &[Introspection], &Fault::body(r#"{"active":"true"}"#));
    }),
    outage("introspection is HTML", |issuer| {
        always(issuer, &[Introspection], &Fault::content_type("text/html"));
    }),
    outage("introspection is endless", |issuer| {
        always(issuer, &[Introspection], &Fault::body(" ".repeat(128 << 10)));
    }),
    misconfiguration("our secret is refused", |issuer| {
        always(issuer, &[Introspection], &Fault::status(401));
    }),
    misconfiguration("introspection redirects", |issuer| {
        let elsewhere = issuer.url(Endpoint::Other);
        always(issuer, &[Introspection], &Fault::redirect(&elsewhere));
    }),
    misconfiguration("the metadata states another issuer", |issuer| {
        issuer.set_metadata(|mut metadata| {
            if let Some(members) = metadata.as_object_mut() {
                members.insert("issuer".to_owned(), json!("https://somebody.example"));
            }
            metadata
        });
    }),
    outage("the metadata is HTML", |issuer| always(issuer, &DOCUMENTS, &Fault::content_type("text/html"))),
    outage("the metadata answers 503", |issuer| always(issuer, &DOCUMENTS, &Fault::status(503))),
    outage("the metadata is late", |issuer| always(issuer, &DOCUMENTS, &Fault::delay(DEADLINE * 2))),
    rotating("the key set answers 503", |issuer| always(issuer, &[Jwks], &Fault::status(503))),
    rotating("the key set is cut short", |issuer| always(issuer, &[Jwks], &Fault::truncate())),
    rotating("the key set is no JSON", |issuer| always(issuer, &[Jwks], &Fault::body("nonsense"))),
    outage("the key set is empty", |issuer| always(issuer, &[Jwks], &Fault::body(r#"{"keys":[]}"#))),
    rotating("keys are added, and all is well", |_| {}),
    outage("everything is silent", |issuer| always(issuer, &EVERYTHING, &Fault::hold())),
];

fn always(issuer: &TestIssuer, endpoints: &[Endpoint], fault: &Fault) {
    for endpoint in endpoints {
        issuer.fault(*endpoint, fault.clone().always());
    }
}

/// Good and bad answers take turns.
fn flap(issuer: &TestIssuer) {
    for round in 0..1000 {
        let fault = match round % 4 {
            0 => Fault::reset(),
            1 => Fault::status(503),
            2 => Fault::truncate(),
            _ => Fault::delay(DEADLINE / 5),
        };
        issuer.fault(Introspection, fault.times(1 + round % 3));
        issuer.fault(Introspection, Fault::real().times(1 + round % 5));
    }
}

impl Weather {
    pub(super) fn new(issuer: &TestIssuer) -> Self {
        let mut well = Value::Null;
        issuer.set_metadata(|metadata| {
            well = metadata.clone();
            metadata
        });
        let now = Instant::now();
        Self {
            well,
            outage: Cell::new(None),
            outages: Cell::new(0),
            settled: Cell::new(now),
            misconfigured: Cell::new(now),
        }
    }

    /// Whether nothing was wrong, nor was felt any more, from then until now.
    pub(super) fn was_calm_since(&self, then: Instant) -> bool {
        self.outage.get().is_none() && then >= self.settled.get()
    }

    /// Whether settings looked wrong at any time from then until now, or shortly before.
    pub(super) fn was_misconfigured_since(&self, then: Instant) -> bool {
        self.outage.get().is_some_and(|outage| outage.misconfigures) || then < self.misconfigured.get()
    }

    pub(super) fn outages(&self) -> usize {
        self.outages.get()
    }

    pub(super) fn describe(&self) -> String {
        let number = self.outages.get();
        match self.outage.get() {
            Some(outage) => format!("during outage {number}, {}", outage.name),
            None => format!("after outage {number}, {}", nth(number.saturating_sub(1)).name),
        }
    }

    fn begin(&self, outage: Outage, issuer: &TestIssuer) {
        self.outage.set(Some(outage));
        self.outages.set(self.outages.get() + 1);
        (outage.begin)(issuer);
    }

    fn end(&self, issuer: &TestIssuer, settles: Duration) {
        let well = self.well.clone();
        issuer.clear_faults();
        issuer.set_metadata(|_| well);
        let settled = Instant::now() + settles;
        self.settled.set(settled);
        if self.outage.take().is_some_and(|outage| outage.misconfigures) {
            self.misconfigured.set(settled);
        }
    }
}

/// All of them in turn, those of one kind apart from each other; the first two come first.
fn nth(number: usize) -> Outage {
    // 25 and 7 have no common factor.
    let order = if number < 2 { number } else { number * 7 };
    OUTAGES.into_iter().nth(order % OUTAGES.len()).unwrap_or(OUTAGES[0])
}

/// One outage after the other, with fair weather between them, until it is over.
pub(super) async fn change(scene: &Rc<Scene>, crowd: &Crowd) {
    let Scene { issuer, weather, .. } = &**scene;
    rt::time::sleep(Duration::from_secs(1)).await;
    for number in 0.. {
        let (lasts, settles) = if number % LONG_EVERY == LONG_EVERY - 1 {
            (LONG, SETTLED_AFTER_LONG)
        } else {
            (SHORT, SETTLED_AFTER_SHORT)
        };
        // Only whole ones.
        if scene.started.elapsed() + lasts + settles + CALM > scene.duration {
            break;
        }
        let outage = nth(number);
        weather.begin(outage, issuer);
        if outage.rotates {
            rotate(issuer);
        }
        rt::time::sleep(lasts).await;
        weather.end(issuer, settles);
        rt::time::sleep(settles).await;
        if outage.rotates {
            // A new key signs once everybody had the time to fetch it.
            crowd.renew_jwts(issuer);
        }
        rt::time::sleep(CALM).await;
    }
    while !scene.is_over() {
        rt::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Adds a key and keeps the one before; older ones are no longer used and go.
fn rotate(issuer: &TestIssuer) {
    issuer.rotate_keys(Rotation::Add);
    let mut keys = issuer.jwks();
    if let Some(keys) = keys.get_mut("keys").and_then(Value::as_array_mut) {
        let old = keys.len().saturating_sub(2);
        keys.drain(..old);
    }
    issuer.publish_jwks(keys);
}
