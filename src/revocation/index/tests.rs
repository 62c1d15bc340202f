use std::{
    sync::atomic::{AtomicBool, AtomicI64},
    thread,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    claims::Claims,
    revocation::{IssuerKey, RecordTimes, Revocation, Revocations, key::keys_of},
};

const NOW: i64 = 1_700_000_000;
const DAY: i64 = 86_400;

fn issuer() -> IssuerKey {
    IssuerKey::new("https://as.example.test")
}

fn index(capacity: usize) -> Revocations {
    Revocations::new(Arc::default(), "https://as.example.test", capacity)
}

fn record(revocation: &Revocation, now: i64) -> Record {
    revocation.record(&issuer(), RecordTimes { now, latest: now, skew: 0, tolerance: 0, lifetime: DAY })
}

fn claims(claims: Value) -> Claims {
    serde_json::from_value(claims).unwrap()
}

fn add(index: &Revocations, revocation: &Revocation, now: i64) {
    index.add(&record(revocation, now), now);
}

fn standing(index: &Revocations, token: &str, claims: &Claims, now: i64) -> Standing {
    index.check(|| token, claims, || now)
}

#[test]
fn each_kind_of_record_applies_to_its_tokens_only() {
    let alice = json!({ "sub": "alice", "client_id": "spa", "jti": "1", "sid": "s", "iat": NOW - 10 });
    let other = json!({ "sub": "bob", "client_id": "cli", "jti": "2", "sid": "t", "iat": NOW - 10 });
    let records = [
        Revocation::token("token of alice"),
        Revocation::jwt_id("1"),
        Revocation::session("s"),
        Revocation::subject("alice"),
        Revocation::client("spa"),
    ];
    for record in records {
        let index = index(10);
        add(&index, &record, NOW);
        assert_eq!(standing(&index, "token of alice", &claims(alice.clone()), NOW), Standing::Revoked);
        assert_eq!(standing(&index, "token of bob", &claims(other.clone()), NOW), Standing::Clear);
        // Equal values in other claims are not the same.
        let swapped = json!({ "sub": "spa", "client_id": "alice", "jti": "s", "sid": "1" });
        assert_eq!(standing(&index, "alice", &claims(swapped), NOW), Standing::Clear, "{record:?}");
    }
    let index = index(10);
    add(&index, &Revocation::all_tokens(), NOW);
    assert_eq!(standing(&index, "token of bob", &claims(other), NOW), Standing::Revoked);
}

#[test]
fn session_state_is_a_session_if_there_is_no_sid() {
    let index = index(10);
    add(&index, &Revocation::session("s"), NOW);
    let with = |members: Value| standing(&index, "token", &claims(members), NOW);
    assert_eq!(with(json!({ "session_state": "s" })), Standing::Revoked);
    assert_eq!(with(json!({ "session_state": "s", "sid": "other" })), Standing::Clear);
    assert_eq!(with(json!({ "sid": 7 })), Standing::Clear, "not a session");
}

#[test]
fn records_of_one_issuer_do_not_apply_to_another() {
    let own = index(10);
    let times = RecordTimes { now: NOW, latest: NOW, skew: 0, tolerance: 0, lifetime: DAY };
    let other = IssuerKey::new("https://other.example.test");
    own.add(&Revocation::subject("alice").record(&other, times), NOW);
    assert_eq!(standing(&own, "token", &claims(json!({ "sub": "alice" })), NOW), Standing::Clear);
}

#[test]
fn a_token_that_was_issued_later_is_accepted() {
    let index = index(10);
    add(&index, &Revocation::subject("alice").issued_before(NOW - 100), NOW);
    let issued = |iat: Value| standing(&index, "token", &claims(json!({ "sub": "alice", "iat": iat })), NOW);
    assert_eq!(issued(json!(NOW - 101)), Standing::Revoked);
    assert_eq!(issued(json!(NOW - 100)), Standing::Revoked, "iat has whole seconds");
    assert_eq!(issued(json!(NOW - 99)), Standing::Clear);
    assert_eq!(issued(Value::Null), Standing::Revoked, "its time of issue is not known");
}

#[test]
fn without_a_given_time_tokens_issued_until_now_are_revoked() {
    let index = index(10);
    add(&index, &Revocation::subject("alice"), NOW);
    let issued = |iat: i64| standing(&index, "token", &claims(json!({ "sub": "alice", "iat": iat })), NOW);
    assert_eq!(issued(NOW + 5), Standing::Revoked, "the clock of the issuer may be ahead");
    assert_eq!(issued(NOW + 6), Standing::Clear);
    add(&index, &Revocation::session("s"), NOW);
    let late = claims(json!({ "sid": "s", "iat": NOW + 1000 }));
    assert_eq!(standing(&index, "token", &late, NOW), Standing::Revoked, "a session does not start again");
}

#[test]
fn a_record_ends_at_its_time_and_is_removed_by_later_ones() {
    let index = index(10);
    add(&index, &Revocation::token("one").until(NOW + 10), NOW);
    let one = claims(json!({}));
    assert_eq!(standing(&index, "one", &one, NOW + 9), Standing::Revoked);
    assert_eq!(standing(&index, "one", &one, NOW + 10), Standing::Clear);
    add(&index, &Revocation::token("two").until(NOW + 100), NOW + 10);
    assert_eq!(index.index.len(), 1);
}

#[test]
fn a_repeated_record_takes_one_place_and_the_latest_end_counts() {
    let index = index(10);
    for number in 0..1000 {
        add(&index, &Revocation::token("one").until(NOW + number), NOW);
    }
    assert_eq!((index.index.len(), index.index.rejects.number_of_ends()), (1, 1));
    add(&index, &Revocation::token("two"), NOW + 500);
    assert_eq!(standing(&index, "one", &claims(json!({})), NOW + 998), Standing::Revoked);
    add(&index, &Revocation::token("three"), NOW + 999);
    assert_eq!(index.index.len(), 2, "it has ended");
}

#[test]
fn a_token_is_checked_again_after_each_record() {
    let index = index(10);
    let alice = claims(json!({ "sub": "alice" }));
    assert_eq!(standing(&index, "token", &alice, NOW), Standing::Clear);
    add(&index, &Revocation::subject("bob"), NOW);
    assert_eq!(standing(&index, "token", &alice, NOW), Standing::Clear);
    assert_eq!(index.check(|| "token", &alice, || panic!("nothing is new")), Standing::Clear);
    add(&index, &Revocation::subject("alice"), NOW);
    assert_eq!(standing(&index, "token", &alice, NOW), Standing::Revoked);
}

#[test]
fn verdicts_that_were_requested_before_a_record_are_stale() {
    let index = index(10);
    let requested = |generation: u64| {
        let alice = claims(json!({ "sub": "alice" }));
        alice.record_memo().set_requested_at(generation);
        standing(&index, "token", &alice, NOW)
    };
    add(&index, &Revocation::subject("bob"), NOW);
    let before = index.generation();
    add(&index, &Revocation::subject("alice").verdicts_only(), NOW);
    assert_eq!((requested(before), requested(index.generation())), (Standing::Stale, Standing::Clear));
    let verified = claims(json!({ "sub": "alice" }));
    verified.record_memo().set_verified();
    assert_eq!(standing(&index, "token", &verified, NOW), Standing::Clear, "a signature does not age");
    add(&index, &Revocation::token("token").verdicts_only(), NOW);
    assert!(index.discards_inactive("token", before, NOW));
    assert!(!index.discards_inactive("other", before, NOW));
    assert!(!index.discards_inactive("token", index.generation(), NOW));
}

/// Returns an unsigned JWT with these claims.
fn jwt(claims: &Value, signature: &str) -> String {
    let segment = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.{signature}", segment(&json!({ "alg": "ES256" })), segment(claims))
}

/// Also if the response does not contain them, whatever the reason.
#[test]
fn records_for_the_claims_of_an_introspected_jwt_apply() {
    let token =
        jwt(&json!({ "sub": "alice", "sid": "s", "jti": "1", "client_id": "spa", "iat": NOW - 10 }), "AA");
    let response = || claims(json!({ "active": true }));
    for revocation in [
        Revocation::session("s"),
        Revocation::jwt_id("1"),
        Revocation::subject("alice"),
        Revocation::client("spa"),
    ] {
        let index = index(10);
        add(&index, &revocation, NOW);
        assert_eq!(standing(&index, &token, &response(), NOW), Standing::Revoked, "{revocation:?}");
        assert_eq!(standing(&index, "opaque", &response(), NOW), Standing::Clear);
    }
    let index = index(10);
    add(&index, &Revocation::subject("alice").issued_before(NOW - 11), NOW);
    assert_eq!(standing(&index, &token, &response(), NOW), Standing::Clear, "the iat of the JWT");
}

/// An ECDSA signature can be changed into another valid one.
#[test]
fn a_revoked_jwt_is_rejected_with_any_signature() {
    let index = index(10);
    let claims = || claims(json!({ "sub": "alice" }));
    add(&index, &Revocation::token(jwt(&json!({ "sub": "alice" }), "AA")), NOW);
    let other = jwt(&json!({ "sub": "alice" }), "BB");
    assert_eq!(standing(&index, &other, &claims(), NOW), Standing::Revoked);
    // Opaque tokens with dots are different tokens.
    add(&index, &Revocation::token("v4.public.one"), NOW);
    assert_eq!(standing(&index, "v4.public.two", &claims(), NOW), Standing::Clear);
}

#[test]
fn the_issuer_of_the_token_counts_and_not_its_spelling() {
    let index = index(10);
    let of = |iss: &str| claims(json!({ "iss": iss, "sub": "alice" }));
    add(&index, &Revocation::subject("alice"), NOW);
    assert_eq!(standing(&index, "token", &of("https://as.example.test/"), NOW), Standing::Revoked);
    assert_eq!(standing(&index, "token", &of("https://tenant.example.test"), NOW), Standing::Clear);
}

/// The response to the introspection of a JWT may name another issuer than the JWT.
#[test]
fn the_records_of_both_issuers_of_an_introspected_jwt_apply() {
    let token = jwt(&json!({ "iss": "https://jwt.example.test", "sub": "alice" }), "AA");
    let response = || claims(json!({ "iss": "https://as.example.test", "client_id": "spa" }));
    let times = RecordTimes { now: NOW, latest: NOW, skew: 0, tolerance: 0, lifetime: DAY };
    for issuer in ["https://jwt.example.test", "https://as.example.test"] {
        for revocation in [Revocation::subject("alice"), Revocation::client("spa"), Revocation::all_tokens()]
        {
            let index = index(10);
            index.add(&revocation.record(&IssuerKey::new(issuer), times), NOW);
            assert_eq!(standing(&index, &token, &response(), NOW), Standing::Revoked, "{revocation:?}");
        }
    }
}

#[test]
fn a_record_of_a_jwt_lasts_until_the_jwt_expires() {
    let index = index(10);
    let token = jwt(&json!({ "exp": NOW + 10 * DAY }), "AA");
    add(&index, &Revocation::token(&*token), NOW);
    assert_eq!(standing(&index, &token, &claims(json!({})), NOW + 10 * DAY - 1), Standing::Revoked);
}

#[test]
fn evictions_take_no_place_of_revocations() {
    let index = index(2);
    for number in 0..5 {
        add(&index, &Revocation::subject(number.to_string()).verdicts_only(), NOW);
    }
    add(&index, &Revocation::token("one"), NOW);
    assert_eq!(standing(&index, "two", &claims(json!({ "iat": NOW })), NOW), Standing::Stale);
    let verified = claims(json!({ "iat": NOW }));
    verified.record_memo().set_verified();
    assert_eq!(standing(&index, "two", &verified, NOW), Standing::Clear);
}

#[test]
fn a_full_index_revokes_all_tokens_that_were_issued_until_now() {
    let index = index(2);
    for number in 0..3 {
        add(&index, &Revocation::token(number.to_string()), NOW);
    }
    let issued = |token: &str, iat| standing(&index, token, &claims(json!({ "iat": iat })), NOW);
    assert_eq!(issued("unknown", NOW + 5), Standing::Revoked);
    assert_eq!(issued("unknown", NOW + 6), Standing::Clear, "a new token");
    assert_eq!([issued("0", NOW + 9), issued("1", NOW + 9)], [Standing::Revoked; 2], "nothing is dropped");
    assert_eq!(index.index.len(), 3);
    add(&index, &Revocation::token("1"), NOW);
    assert_eq!(issued("unknown", NOW + 6), Standing::Clear, "it has a place");
}

/// Two replicas share the records: the one that evicts twice, and one that requested the verdict in between.
#[test]
fn a_verdict_between_two_evictions_is_stale_before_the_second_one_has_a_position() {
    let index = index(10);
    let eviction = record(&Revocation::token("token").verdicts_only(), NOW);
    let is_stale = |read_until| index.discards_stored("token", None, read_until, NOW);
    let (first, second) = (Some(Position::new(7, 0)), Some(Position::new(8, 0)));
    index.add(&eviction, NOW);
    index.add(&eviction, NOW);
    index.index.set_position(&eviction, 1, Position::new(7, 0));
    assert_eq!([is_stale(None), is_stale(first)], [true; 2]);
    index.index.set_position(&eviction, 1, Position::new(8, 0));
    assert_eq!([is_stale(first), is_stale(second)], [true, false]);
    // Its own records are read too, and change nothing.
    let generation = index.generation();
    index.index.add(&eviction, second, 10, NOW);
    assert_eq!((index.generation(), is_stale(second)), (generation, false));
}

/// The clock of one of the issuers is ahead.
#[test]
fn a_full_index_revokes_the_tokens_of_an_issuer_whose_clock_is_ahead() {
    let index = index(1);
    index.index.allow_skew(600);
    index.index.allow_skew(0);
    add(&index, &Revocation::token("one"), NOW);
    add(&index, &Revocation::token("two"), NOW);
    let issued = |iat: i64| standing(&index, "two", &claims(json!({ "iat": iat })), NOW);
    assert_eq!([issued(NOW + 605), issued(NOW + 606)], [Standing::Revoked, Standing::Clear]);
}

/// The issuer of an opaque token is not known if there are several.
#[test]
fn a_full_index_revokes_all_tokens_if_the_issuer_is_not_known() {
    let index = index(1);
    let times = RecordTimes { now: NOW, latest: NOW, skew: 0, tolerance: 0, lifetime: DAY };
    add(&index, &Revocation::token("one"), NOW);
    index.add(&Revocation::token("two").record(&IssuerKey::NONE, times), NOW);
    let second = claims(json!({ "iss": "https://second.example.test", "iat": NOW }));
    assert_eq!(standing(&index, "two", &second, NOW), Standing::Revoked);
}

#[test]
fn each_limit_is_logged_once_when_it_is_reached() {
    let index = index(1);
    let is_logged = || {
        let RevocationIndex { is_full_of_rejects, is_full_of_discards, .. } = &*index.index;
        [is_full_of_rejects, is_full_of_discards].map(|flag| flag.load(Ordering::Relaxed))
    };
    let [one, two] = ["one", "two"].map(Revocation::subject);
    for (revocation, logged) in [
        (one.clone(), [false, false]),
        (two.clone(), [true, false]),
        (one.clone(), [true, false]),
        (one.verdicts_only(), [true, false]),
        (two.clone().verdicts_only(), [true, true]),
        (two, [true, true]),
    ] {
        add(&index, &revocation, NOW);
        assert_eq!(is_logged(), logged, "{revocation:?}");
    }
}

#[test]
fn debug_shows_no_token_and_no_name() {
    let revocation = Revocation::subject("alice");
    assert!(!format!("{revocation:?} {:?}", index(1)).contains("alice"));
}

/// A revoked token stays revoked while other threads add records.
#[test]
fn a_revoked_token_is_never_accepted_again() {
    let (index, alice) = (index(1_000_000), claims(json!({ "sub": "alice" })));
    add(&index, &Revocation::subject("alice"), NOW);
    let (ends, accepted) = (AtomicBool::new(false), AtomicI64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..20_000).for_each(|number| add(&index, &Revocation::token(number.to_string()), NOW));
            ends.store(true, Ordering::Relaxed);
        });
        while !ends.load(Ordering::Relaxed) {
            if standing(&index, "token", &alice, NOW) != Standing::Revoked {
                accepted.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    assert_eq!(accepted.into_inner(), 0);
}

/// A record, and the time at which it is added.
fn any_record() -> impl Strategy<Value = (u8, u8, Option<i64>, i64, i64)> {
    (0..6_u8, 0..3_u8, proptest::option::of(-20..20_i64), 0..30_i64, 0..5_i64)
}

fn revocation(kind: u8, value: u8) -> Revocation {
    let value = value.to_string();
    match kind {
        0 => Revocation::token(value),
        1 => Revocation::jwt_id(value),
        2 => Revocation::session(value),
        3 => Revocation::subject(value),
        4 => Revocation::client(value),
        _ => Revocation::all_tokens(),
    }
}

proptest! {
    /// The index rejects every token that one of the records rejects, whatever its size. With enough places it rejects
    /// no other token, except after records with the same key and different ends.
    #[test]
    fn no_record_in_effect_is_ever_dropped(
        records in prop::collection::vec(any_record(), 1..20),
        capacity in 1..8_usize,
        (token, jti, sid, sub, client) in (0..3_u8, 0..3_u8, 0..3_u8, 0..3_u8, 0..3_u8),
        iat in -25..=CLOCK_ALLOWANCE,
    ) {
        let index = index(capacity);
        let claims = claims(json!({
            "jti": jti.to_string(), "sid": sid.to_string(), "sub": sub.to_string(),
            "client_id": client.to_string(), "iat": NOW + iat,
        }));
        let (mut now, mut added) = (NOW, Vec::new());
        for (kind, value, before, until, pause) in records {
            let revocation = revocation(kind, value).until(now + until);
            let revocation =
                before.into_iter().fold(revocation, |known, before| known.issued_before(NOW + before));
            let record = record(&revocation, now);
            index.add(&record, now);
            added.push(record);
            now += pause;
            let text = token.to_string();
            let keys = keys_of(&text, issuer(), &[&claims]);
            let is_revoked = added.iter().any(|record| {
                keys.contains(&record.key)
                    && record.until > now
                    && record.issued_before.is_none_or(|before| NOW + iat <= before)
            });
            if is_revoked {
                prop_assert_eq!(index.check(|| &text, &claims, || now), Standing::Revoked);
            }
        }
    }
}
