//! The state of one lease.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use actix_web::web;

use super::{LeaseEnd, grant::Grant, recheck::Recheck};
use crate::{
    bearer::BearerToken, caller::mount_chain::MountChain, certificate::CertificateThumbprint,
    error::AuthError, protect_api::state::State, revocation::Standing, telemetry::Denial,
    validator::ValidToken,
};

/// A lease. It is shared by the stream and the timers of its worker.
pub(super) struct Entry {
    mounts: Rc<MountChain>,
    pub(super) state: Arc<State>,
    connection: Option<Box<Connection>>,
    status: RefCell<Status>,
}

/// Parts of the connection that most leases do not have.
struct Connection {
    client: Option<web::Data<awc::Client>>,
    certificate: Option<CertificateThumbprint>,
}

struct Status {
    grant: Grant,
    recheck: Option<Box<Recheck>>,
    end: Option<LeaseEnd>,
    waker: Option<Waker>,
}

impl Entry {
    pub(super) fn new(
        mounts: Rc<MountChain>,
        state: Arc<State>,
        client: Option<web::Data<awc::Client>>,
        certificate: Option<CertificateThumbprint>,
        grant: Grant,
        recheck: Option<Box<Recheck>>,
    ) -> Self {
        let certificate = certificate.filter(|_| grant.is_bound());
        let has_any = client.is_some() || certificate.is_some();
        let connection = has_any.then(|| Box::new(Connection { client, certificate }));
        Self {
            mounts,
            state,
            connection,
            status: RefCell::new(Status { grant, recheck, end: None, waker: None }),
        }
    }

    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<LeaseEnd> {
        let mut status = self.status.borrow_mut();
        if let Some(end) = status.end {
            return Poll::Ready(end);
        }
        let is_known = status.waker.as_ref().is_some_and(|known| known.will_wake(context.waker()));
        let replaced = if is_known { None } else { status.waker.replace(context.waker().clone()) };
        // A waker may own the task of a stream, which may own a lease.
        drop(status);
        drop(replaced);
        Poll::Pending
    }

    pub(super) fn end(&self) -> Option<LeaseEnd> {
        self.status.borrow().end
    }

    /// Ends the lease and wakes its stream. Not called while the timers are borrowed, because a waker can run any code.
    pub(super) fn finish(&self, end: LeaseEnd) {
        self.state.telemetry.lease_ended(end.name());
        let mut status = self.status.borrow_mut();
        status.end = Some(end);
        let waker = status.waker.take();
        drop(status);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Drops the waker of a stream that has ended. Timers may hold the entry for longer.
    pub(super) fn clear_waker(&self) {
        let waker = self.status.borrow_mut().waker.take();
        drop(waker);
    }

    pub(super) fn expires_at(&self) -> i64 {
        self.status.borrow().grant.expires_at
    }

    /// Compares the token with the revocation records.
    pub(super) fn standing(&self, now: i64) -> Standing {
        let status = self.status.borrow();
        // Without re-validation no verdict can replace the present one.
        let requested_at = status.recheck.as_ref().map_or(u64::MAX, |recheck| recheck.requested_at);
        self.state.validator.revocations.check_marks(&status.grant.marks, requested_at, now)
    }

    /// Returns the time between validations, if a mount sets one.
    pub(super) fn interval(&self) -> Option<Duration> {
        self.mounts.recheck()
    }

    /// Reads or changes the state of the re-validation, if there is one.
    pub(super) fn with_recheck<T>(&self, change: impl FnOnce(&mut Recheck) -> T) -> Option<T> {
        self.status.borrow_mut().recheck.as_deref_mut().map(change)
    }

    /// Validates a token with the issuer, the mounts and the connection of the lease.
    pub(super) async fn validate(&self, token: &BearerToken) -> Result<ValidToken, Denial> {
        let connection = self.connection.as_deref();
        let certificate = connection.and_then(|connection| connection.certificate.as_ref());
        let client = connection.and_then(|connection| connection.client.as_ref());
        Box::pin(self.mounts.validate_again(&self.state, token, certificate, client)).await
    }

    /// Checks that a token may take the place of the present one.
    pub(super) fn check_successor(&self, new: &Grant, valid: &ValidToken) -> Result<(), AuthError> {
        let hierarchy = &self.state.settings.rules.hierarchy;
        self.status.borrow().grant.check_successor(new, valid.scopes(), hierarchy)
    }

    /// Replaces the token. The entry must not be in the timers.
    pub(super) fn replace(&self, grant: Grant, token: &BearerToken, valid: &ValidToken) {
        let mut status = self.status.borrow_mut();
        status.grant = grant;
        status.end = None;
        if let Some(recheck) = &mut status.recheck {
            **recheck = Recheck::new(&self.state, token, valid);
        }
    }

    pub(super) fn max_token_length(&self) -> usize {
        self.mounts.max_token_length()
    }
}
