//! How an API stands with its authorization server: for readiness probes and dashboards.

use crate::breaker::BreakerState;

/// A snapshot; see [`ProtectApi::status`](crate::ProtectApi::status). Taking it makes no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Whether the metadata is known. It is fetched with the first token, so a server that has seen none does not
    /// know it yet.
    pub metadata_known: bool,
    /// Whether the key set is known, where JWTs are validated locally; it is fetched with the first JWT.
    pub keys_known: bool,
    /// Whether introspection is paused, because the authorization server failed repeatedly.
    pub introspection: Introspecting,
    /// Introspections under way, over all workers.
    pub calls_in_flight: usize,
    /// The most that were ever under way at once.
    pub most_calls_in_flight: usize,
    /// Requests that wait for their turn to introspect.
    pub calls_waiting: usize,
    /// Verdicts in the in-memory cache, those included whose time is over and whose place is not needed yet.
    pub cached_verdicts: usize,
}

/// What the circuit breaker of introspection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Introspecting {
    /// There are no client credentials: nothing is introspected.
    Off,
    /// Calls go through.
    Calling,
    /// Calls are answered 503 at once, for some seconds.
    Paused,
    /// One call is under way to find out whether the others may follow.
    Probing,
}

impl From<BreakerState> for Introspecting {
    fn from(state: BreakerState) -> Self {
        match state {
            BreakerState::Closed => Self::Calling,
            BreakerState::Open => Self::Paused,
            BreakerState::HalfOpen => Self::Probing,
        }
    }
}
