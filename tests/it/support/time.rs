//! Durations, and waiting for what has no clock that a test could move.

use std::time::Duration;

use actix_web::rt::time::sleep;

/// No test waits longer than this for a response. It is long, because a machine under load is slow.
pub(crate) const PATIENCE: Duration = seconds(30);

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Returns whether this becomes true within some seconds.
pub(crate) async fn eventually(is_so: impl AsyncFn() -> bool) -> bool {
    for _ in 0..500 {
        if is_so().await {
            return true;
        }
        sleep(Duration::from_millis(20)).await;
    }
    false
}
