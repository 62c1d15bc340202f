//! [`Lease`]: the time for which the caller of a long stream may use it.

mod end;
mod entry;
mod grant;
mod recheck;
mod renewal;
mod timers;
mod worker;

pub use self::end::LeaseEnd;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::web;

use self::{entry::Entry, grant::Grant, recheck::Recheck};
use super::mount_chain::MountChain;
use crate::{
    bearer::BearerToken, certificate::CertificateThumbprint, protect_api::state::State, validator::ValidToken,
};

/// The time for which the caller of a WebSocket or of another long stream may use it. A future that completes when the token
/// expires or is revoked, or is no longer accepted; see [`guide::revocation`](crate::guide::revocation).
///
/// ```no_run
/// # use actix_protect_api::{AuthenticatedRequest, LeaseEnd};
/// # async fn next_message() -> String { String::new() }
/// # async fn stream(caller: AuthenticatedRequest) {
/// use futures_util::future::{Either, select};
///
/// let mut lease = caller.lease();
/// loop {
///     let message = std::pin::pin!(next_message());
///     match select(&mut lease, message).await {
///         Either::Left((end, _)) => return println!("closed with {}: {end}", end.close_code()),
///         Either::Right((message, _)) => println!("{message}"),
///     }
/// }
/// # }
/// ```
///
/// - **Expiry**: at `exp`, or earlier with [`max_token_age`](crate::ProtectApiBuilder::max_token_age), with
///   [`clock_skew`](crate::ProtectApiBuilder::clock_skew) and without the tolerance.
/// - **Revocation**: by [`revoke`](crate::ProtectApi::revoke), or by an event of the authorization server.
/// - **Validation**: if the mount sets [`recheck`](crate::ProtectApi::recheck), the token is validated again and again, with the
///   requirements of the mount and of those around it.
///
/// The end is noticed within 0.2 s. A lease does not hold the request, and belongs to the thread of its worker. After the end it
/// completes at once each time.
#[must_use = "a stream ends with its lease only if the lease is awaited"]
pub struct Lease(Rc<Entry>);

/// The parts of a validated token from which a lease is made.
pub(crate) struct LeaseTerms<'t> {
    pub(crate) mounts: Rc<MountChain>,
    pub(crate) state: Arc<State>,
    pub(crate) client: Option<web::Data<awc::Client>>,
    pub(crate) certificate: Option<CertificateThumbprint>,
    pub(crate) token: &'t BearerToken,
    pub(crate) valid: &'t ValidToken,
    /// Whether a test authenticated the request, without a token that could be validated.
    pub(crate) is_simulated: bool,
}

impl Lease {
    pub(crate) fn new(terms: LeaseTerms<'_>) -> Self {
        let LeaseTerms { mounts, state, client, certificate, token, valid, is_simulated } = terms;
        let grant = Grant::new(&state, token, valid);
        let recheck = mounts.recheck().filter(|_| !is_simulated);
        let recheck = recheck.map(|_| Box::new(Recheck::new(&state, token, valid)));
        state.telemetry.lease_opened();
        let entry = Rc::new(Entry::new(mounts, state, client, certificate, grant, recheck));
        worker::add(&entry);
        Self(entry)
    }

    /// Waits for the end of the lease. Dropping the future has no effect, so it can be used in a loop.
    pub async fn ended(&mut self) -> LeaseEnd {
        self.await
    }
}

impl Future for Lease {
    type Output = LeaseEnd;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<LeaseEnd> {
        self.0.poll(context)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        worker::remove(&self.0);
        self.0.clear_waker();
        self.0.state.telemetry.lease_closed();
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("end", &self.0.end()).finish_non_exhaustive()
    }
}
