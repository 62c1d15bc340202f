//! A flood of malformed, unsigned and forged JWTs against an API that introspects: no call is made for them, and valid
//! callers are served.

use std::{cell::Cell, collections::BTreeMap, rc::Rc, time::Duration};

use actix_protect_api::test::{Algorithm, Endpoint, JwtOptions, TestIssuer, TestKey};
use actix_web::rt;
use serde_json::json;

use crate::{
    api::{Api, build, introspecting},
    caller::Caller,
    report::Report,
};

const ATTACKERS: usize = 16;

pub(crate) async fn run(count: usize) -> bool {
    let mut report =
        Report::new("malformed-jwts: JWTs that nobody signed, with and without introspection of JWTs");
    for introspects in [false, true] {
        flood(&mut report, introspects, count).await;
    }
    report.finish()
}

async fn flood(report: &mut Report, introspects: bool, count: usize) {
    let issuer = TestIssuer::start();
    let api = Api::start(&build(introspecting(&issuer).introspect_jwt_tokens(introspects)));
    let (valid_jwt, opaque) = (issuer.jwt(json!({ "sub": "alice" })), issuer.opaque(json!({ "sub": "bob" })));
    let attacks = attacks(&issuer, &valid_jwt);
    // The keys are fetched now.
    assert_eq!(Caller::new(api.address).status(&valid_jwt).await.ok(), Some(200));
    let (calls, over) = (issuer.count(Endpoint::Introspection), Rc::new(Cell::new(false)));

    let valid = [&valid_jwt, &opaque].map(|token| {
        let (token, over, address) = (token.clone(), Rc::clone(&over), api.address);
        rt::spawn(async move {
            let (mut caller, mut all, mut good) = (Caller::new(address), 0_usize, 0_usize);
            while !over.get() {
                all += 1;
                good += usize::from(caller.status(&token).await.unwrap_or(0) == 200);
                rt::time::sleep(Duration::from_millis(2)).await;
            }
            [all, good]
        })
    });
    let attackers: Vec<_> = (0..ATTACKERS)
        .map(|_| {
            let (attacks, address) = (attacks.clone(), api.address);
            rt::spawn(async move {
                let (mut caller, mut statuses) = (Caller::new(address), BTreeMap::<u16, usize>::new());
                for token in attacks.iter().cycle().take(count / ATTACKERS) {
                    *statuses.entry(caller.status(token).await.unwrap_or(0)).or_default() += 1;
                }
                statuses
            })
        })
        .collect();
    let mut statuses = BTreeMap::<u16, usize>::new();
    for attacker in attackers {
        for (status, count) in attacker.await.expect("a client that ends") {
            *statuses.entry(status).or_default() += count;
        }
    }
    over.set(true);
    let (mut all, mut good) = (0, 0);
    for client in valid {
        let [requests, accepted] = client.await.expect("a client that ends");
        all += requests;
        good += accepted;
    }
    let total: usize = statuses.values().sum();
    let mode = if introspects { "JWTs introspected" } else { "JWTs validated locally" };
    report.exactly(
        format!("{mode}: attacks rejected with 401"),
        statuses.get(&401).copied().unwrap_or(0),
        total,
    );
    // A valid caller's request costs one call at most; the attacks cost none.
    let introspections = issuer.count(Endpoint::Introspection) - calls;
    report.at_most(format!("{mode}: introspections, valid callers included"), introspections, all);
    report.tell(format!("{mode}: requests of valid callers"), all);
    report.at_least(format!("{mode}: of them accepted"), good, all - all / 100);
    api.stop().await;
}

fn attacks(issuer: &TestIssuer, valid: &str) -> Vec<String> {
    let (header, rest) = valid.split_once('.').expect("a JWT");
    let foreign = TestKey::generate(Algorithm::ES256, "made-up");
    let mut tokens = vec![
        format!("{header}A.{rest}"),
        format!("{header}+.{rest}"),
        format!("{header}/w.{rest}"),
        // {"alg":"none"}; without `alg`; with a byte order mark.
        format!("eyJhbGciOiJub25lIn0.{rest}"),
        format!("eyJ0eXAiOiJKV1QifQ.{rest}"),
        format!("77u_eyJhbGciOiJFUzI1NiJ9.{rest}"),
    ];
    tokens.extend((0..20).map(|n| issuer.jwt_with(JwtOptions::new().key(&foreign), json!({ "n": n }))));
    let own_kid = foreign.with_kid("es256-1");
    tokens.extend((0..20).map(|n| issuer.jwt_with(JwtOptions::new().key(&own_kid), json!({ "n": n }))));
    tokens
}
