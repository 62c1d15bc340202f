//! The leases of one configuration on one worker, in the order of their expiry.

use std::{cmp::Ordering, collections::BTreeSet, ops::Bound, rc::Rc, sync::Arc, time::Duration};

use super::{Entry, LeaseEnd, recheck};
use crate::{protect_api::state::State, revocation::Standing};

/// The number of leases that one step handles. A step takes well below a millisecond.
const STEP: usize = 64;

/// The maximum number of leases of one configuration that a worker validates at the same time. The other places for calls are left
/// to requests. Each configuration has its places, because its authorization server may not respond.
const RECHECKS_AT_ONCE: usize = 4;

/// The time over which validations are spread that an eviction causes.
const SOON: Duration = Duration::from_secs(1);

/// A lease, and a time at which something is due.
struct Timer<T> {
    at: T,
    lease: Rc<Entry>,
}

/// A lease that has ended and must be woken.
pub(super) type Ended = (Rc<Entry>, LeaseEnd);

/// A lease whose validation is due, and the place of the validation. The place is free again when it is dropped, also if the task
/// is cancelled.
pub(super) type DueLease = (Rc<Entry>, Rc<()>);

pub(super) struct Timers {
    state: Arc<State>,
    /// Every lease that has not ended.
    expiries: BTreeSet<Timer<i64>>,
    /// The leases that are validated again, except those that are being validated now.
    rechecks: BTreeSet<Timer<Duration>>,
    /// One reference for each validation that runs, and this one.
    places: Rc<()>,
    /// The number of revocation records at the start of the last comparison with them.
    generation: u64,
    /// The last lease that a running comparison with the records has handled.
    comparison: Option<Bound<Timer<i64>>>,
}

impl Timers {
    pub(super) fn new(state: &Arc<State>) -> Self {
        Self {
            state: Arc::clone(state),
            expiries: BTreeSet::new(),
            rechecks: BTreeSet::new(),
            places: Rc::new(()),
            generation: state.validator.revocations.generation(),
            comparison: None,
        }
    }

    /// Returns whether there are no leases and no validations.
    pub(super) fn is_unused(&self) -> bool {
        self.expiries.is_empty() && Rc::strong_count(&self.places) == 1
    }

    pub(super) fn contains(&self, lease: &Rc<Entry>) -> bool {
        self.expiries.contains(&Timer::new(lease.expires_at(), lease))
    }

    /// Adds a lease. Returns its end if it has ended already.
    pub(super) fn add(&mut self, lease: &Rc<Entry>) -> Option<LeaseEnd> {
        let now = self.state.clock.unix_time();
        self.expiries.insert(Timer::new(lease.expires_at(), lease));
        if let Some(interval) = lease.interval() {
            self.schedule(lease, recheck::with_jitter(interval));
        }
        // Compared after it was added, so that a record of another thread is not missed.
        let end = if lease.expires_at() <= now { Some(LeaseEnd::Expired) } else { self.compare(lease, now) };
        if end.is_some() {
            drop(self.remove(lease));
        }
        end
    }

    /// Removes a lease. The timers are returned, so that they can be dropped after the borrow of all timers.
    #[must_use]
    pub(super) fn remove(&mut self, lease: &Rc<Entry>) -> impl Sized + use<> {
        let next = lease.with_recheck(|recheck| recheck.next.take()).flatten();
        let recheck = next.and_then(|at| self.rechecks.take(&Timer::new(at, lease)));
        (self.expiries.take(&Timer::new(lease.expires_at(), lease)), recheck)
    }

    /// Sets the time until the next validation.
    pub(super) fn schedule(&mut self, lease: &Rc<Entry>, delay: Duration) {
        let at = self.state.clock.monotonic().saturating_add(delay);
        if let Some(before) = lease.with_recheck(|recheck| recheck.next.replace(at)) {
            if let Some(before) = before {
                self.rechecks.remove(&Timer::new(before, lease));
            }
            self.rechecks.insert(Timer::new(at, lease));
        }
    }

    /// Removes and returns a lease whose validation is due, with the place of the validation. Returns `None` if no place is free.
    pub(super) fn due_for_recheck(&mut self) -> Option<DueLease> {
        let first = self.rechecks.first()?;
        if first.at > self.state.clock.monotonic() || Rc::strong_count(&self.places) > RECHECKS_AT_ONCE {
            return None;
        }
        let lease = self.rechecks.pop_first()?.lease;
        lease.with_recheck(|recheck| recheck.next = None);
        Some((lease, Rc::clone(&self.places)))
    }

    /// Ends leases that have expired or are revoked. Returns whether another step is necessary.
    pub(super) fn step(&mut self, ended: &mut Vec<Ended>) -> bool {
        let now = self.state.clock.unix_time();
        let mut left = STEP;
        while left > 0
            && let Some(lease) = self.expiries.first().filter(|first| first.at <= now).map(Timer::lease)
        {
            drop(self.remove(&lease));
            ended.push((lease, LeaseEnd::Expired));
            left -= 1;
        }
        let generation = self.state.validator.revocations.generation();
        if self.comparison.is_none() && generation != self.generation {
            self.generation = generation;
            self.comparison = Some(Bound::Unbounded);
        }
        if let Some(from) = self.comparison.take() {
            self.comparison = self.compare_some(from, left, now, ended);
        }
        left == 0 || self.comparison.is_some()
    }

    /// Compares at most this number of leases with the records. Returns where to continue.
    fn compare_some(
        &mut self,
        from: Bound<Timer<i64>>,
        count: usize,
        now: i64,
        ended: &mut Vec<Ended>,
    ) -> Option<Bound<Timer<i64>>> {
        let rest = self.expiries.range((from.as_ref(), Bound::Unbounded));
        let leases: Vec<_> = rest.take(count).map(Timer::lease).collect();
        for lease in &leases {
            if let Some(end) = self.compare(lease, now) {
                drop(self.remove(lease));
                ended.push((Rc::clone(lease), end));
            }
        }
        match leases.last() {
            Some(last) if leases.len() == count => Some(Bound::Excluded(Timer::new(last.expires_at(), last))),
            None if count == 0 => Some(from),
            _ => None,
        }
    }

    fn compare(&mut self, lease: &Rc<Entry>, now: i64) -> Option<LeaseEnd> {
        match lease.standing(now) {
            Standing::Clear => None,
            Standing::Revoked => Some(LeaseEnd::Revoked),
            Standing::Stale => {
                let next = lease.with_recheck(|recheck| recheck.next).flatten();
                if next.is_some_and(|at| at > self.state.clock.monotonic().saturating_add(SOON)) {
                    self.schedule(lease, recheck::with_jitter(SOON));
                }
                None
            }
        }
    }
}

impl<T> Timer<T> {
    fn new(at: T, lease: &Rc<Entry>) -> Self {
        Self { at, lease: Rc::clone(lease) }
    }

    fn lease(&self) -> Rc<Entry> {
        Rc::clone(&self.lease)
    }
}

/// Leases with the same time are ordered by their addresses.
impl<T: Ord> Ord for Timer<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        let address = |timer: &Self| Rc::as_ptr(&timer.lease).addr();
        self.at.cmp(&other.at).then_with(|| address(self).cmp(&address(other)))
    }
}

impl<T: Ord> PartialOrd for Timer<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> PartialEq for Timer<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T: Ord> Eq for Timer<T> {}
