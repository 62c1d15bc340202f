//! The applications of the walks, and their log records.

use actix_protect_api::{ProtectApiBuilder, test::TestIssuer};

pub(super) use crate::support::api::{api_of, record_of, show_reference};
use crate::support::{
    app::{Call, TestApp},
    logs::{self, Record},
};

/// An API of these settings on a port, with the routes of [`api_of`].
pub(crate) fn api(builder: ProtectApiBuilder) -> TestApp {
    api_of(builder.build().unwrap())
}

/// A `GET /` with this value of the header.
pub(crate) fn authorized(app: &TestApp, value: &str) -> Call {
    app.get("/").header("Authorization", value)
}

/// The record of a call that is refused with this status.
pub(crate) async fn refused(call: Call, status: u16) -> Record {
    let answer = call.send().await;
    assert_eq!(answer.status, status, "{answer:?}");
    record_of(&answer)
}

/// The record of the first refusal while introspection pauses, after other tokens failed. Bounded.
pub(crate) async fn paused_line(app: &TestApp, issuer: &TestIssuer) -> Record {
    for _ in 0..500 {
        let line = refused(app.get("/").token(&issuer.opaque(serde_json::json!({}))), 503).await;
        if line.text.contains("are paused") {
            return line;
        }
    }
    panic!("introspection does not pause");
}

/// Makes a call that must be accepted. Returns the entry for the table.
pub(crate) async fn works(call: Call) -> String {
    let answer = call.send().await;
    assert_eq!(answer.status, 200, "the fix does not mend it: {answer:?}");
    "200".to_owned()
}

/// The record of this event about this issuer, with this text.
#[track_caller]
pub(crate) fn told(issuer: &TestIssuer, event: &str, says: &str) -> Record {
    let of = |record: &Record| record.value("event") == event && record.value("issuer") == issuer.issuer();
    logs::last(|record| of(record) && record.text.contains(says))
        .unwrap_or_else(|| panic!("no record of {event} says {says:?}"))
}
