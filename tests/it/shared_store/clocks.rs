//! The clock of one replica is wrong. Those of the authorization server and of the store are right.

use actix_protect_api::{
    Clock as _, Revocation, TokenFault,
    test::{MemoryStore, TestClock},
};
use serde_json::json;

use super::Replica;
use crate::support::{
    service::{OK, timed_issuer, token},
    time::eventually,
};

/// The seconds that are added to the time of a revocation.
const ALLOWANCE: i64 = 5;

#[actix_web::test]
async fn a_replica_with_a_wrong_clock_misses_no_token_that_was_issued_before_the_revocation() {
    let ((issuer, right), store) = (timed_issuer(), MemoryStore::new());
    store.set_clock(right.clone());
    let now = right.unix_time();
    for ahead in [-30, 30] {
        let wrong = TestClock::new();
        wrong.set_unix_time(now + ahead);
        let one = Replica::start(&issuer, &store, &wrong).await;
        let two = Replica::start(&issuer, &store, &right).await;
        for (revoking, other, rejected_for) in [(&one, &two, ahead.max(0)), (&two, &one, 0)] {
            let name = format!("{ahead}-{revoking:p}");
            let claims = |issued: i64| json!({ "sub": name, "iat": now + issued });
            // Issued at the moment of the revocation, and the first one that is accepted after a new login.
            let tokens = [issuer.opaque(claims(0)), issuer.jwt(claims(0))];
            let later = [
                issuer.opaque(claims(rejected_for + ALLOWANCE + 1)),
                issuer.jwt(claims(rejected_for + ALLOWANCE + 1)),
            ];
            for bearer in tokens.iter().chain(&later) {
                assert_eq!([one.api.outcome(bearer).await, two.api.outcome(bearer).await], [OK; 2]);
            }
            revoking.protect.revoke(Revocation::subject(&*name)).await.unwrap();
            for bearer in &tokens {
                let revoked = token(TokenFault::Revoked);
                assert_eq!(revoking.api.outcome(bearer).await, revoked, "{ahead}");
                assert!(eventually(async || other.api.outcome(bearer).await == revoked).await, "{ahead}");
            }
            for bearer in &later {
                assert_eq!(
                    [one.api.outcome(bearer).await, two.api.outcome(bearer).await],
                    [OK; 2],
                    "{ahead}"
                );
            }
        }
    }
}
