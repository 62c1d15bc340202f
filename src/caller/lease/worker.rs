//! All leases of one worker, and the task that ends them. There is no timer for each lease: ten times a second, the task reads
//! the clocks and the number of revocation records.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use actix_web::rt;
use tokio::task::yield_now;

use super::{
    Entry, LeaseEnd, recheck,
    timers::{DueLease, Timers},
};

/// The time between two steps. Tests and administrators can set the clocks, so the task does not wait for a longer time.
const TICK: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Worker {
    /// The timers of each configuration, by the id of its state.
    timers: RefCell<HashMap<u64, Timers>>,
    is_running: Cell<bool>,
}

thread_local! {
    static WORKER: Worker = Worker::default();
}

/// Adds a lease, and starts the task of this worker if it does not run.
pub(super) fn add(lease: &Rc<Entry>) {
    WORKER.with(|worker| worker.add(lease));
}

/// Removes a lease that was dropped.
pub(super) fn remove(lease: &Rc<Entry>) {
    // If the thread ends, its leases are gone.
    let _removed = WORKER.try_with(|worker| worker.remove(lease));
}

/// Changes a lease, if it has not ended or been dropped.
pub(super) fn replace(lease: &Rc<Entry>, change: impl FnOnce()) {
    WORKER.with(|worker| {
        if worker.contains(lease) {
            worker.replace(lease, change);
        }
    });
}

/// Changes a lease. If it has expired, it continues.
pub(super) fn replace_or_add(lease: &Rc<Entry>, change: impl FnOnce()) {
    WORKER.with(|worker| worker.replace(lease, change));
}

/// Ends a lease, if it has not ended or been dropped.
pub(super) fn end(lease: &Rc<Entry>, end: LeaseEnd) {
    WORKER.with(|worker| {
        if worker.contains(lease) {
            worker.remove(lease);
            lease.finish(end);
        }
    });
}

/// Sets the time until the next validation of a lease, if it has not ended or been dropped.
pub(super) fn schedule(lease: &Rc<Entry>, delay: Duration) {
    WORKER.with(|worker| {
        if let Some(timers) = worker.timers.borrow_mut().get_mut(&lease.state.id)
            && timers.contains(lease)
        {
            timers.schedule(lease, delay);
        }
    });
}

impl Worker {
    fn add(&self, lease: &Rc<Entry>) {
        let end = {
            let mut timers = self.timers.borrow_mut();
            let timers = timers.entry(lease.state.id).or_insert_with(|| Timers::new(&lease.state));
            timers.add(lease)
        };
        match end {
            Some(end) => lease.finish(end),
            None if self.is_running.get() => {}
            None => {
                let running = Running::start();
                drop(rt::spawn(run(running)));
            }
        }
    }

    fn remove(&self, lease: &Rc<Entry>) {
        let removed = self.timers.borrow_mut().get_mut(&lease.state.id).map(|timers| timers.remove(lease));
        drop(removed);
    }

    fn contains(&self, lease: &Rc<Entry>) -> bool {
        self.timers.borrow().get(&lease.state.id).is_some_and(|timers| timers.contains(lease))
    }

    fn replace(&self, lease: &Rc<Entry>, change: impl FnOnce()) {
        self.remove(lease);
        change();
        self.add(lease);
    }

    /// Ends leases. Returns whether another step is necessary.
    fn step(&self) -> bool {
        let mut ended = Vec::new();
        let mut has_more = false;
        for timers in self.timers.borrow_mut().values_mut() {
            has_more |= timers.step(&mut ended);
        }
        for (lease, end) in ended {
            lease.finish(end);
        }
        has_more
    }

    /// Starts the validations that are due.
    fn start_rechecks(&self) {
        for timers in self.timers.borrow_mut().values_mut() {
            while let Some(due) = timers.due_for_recheck() {
                start_recheck(due);
            }
        }
    }

    /// Starts the next validation of one configuration, if it is due.
    fn start_next_recheck(&self, id: u64) {
        let due = self.timers.borrow_mut().get_mut(&id).and_then(Timers::due_for_recheck);
        due.into_iter().for_each(start_recheck);
    }

    /// Removes the timers of configurations without leases. Returns whether none are left.
    fn tidy(&self) -> bool {
        let unused: Vec<_> = self.timers.borrow_mut().extract_if(|_, timers| timers.is_unused()).collect();
        drop(unused);
        self.timers.borrow().is_empty()
    }
}

/// Starts a validation. The next one of its configuration starts when it has ended.
fn start_recheck((lease, place): DueLease) {
    drop(rt::spawn(async move {
        let id = lease.state.id;
        recheck::run(lease).await;
        drop(place);
        WORKER.with(|worker| worker.start_next_recheck(id));
    }));
}

/// Ends when the worker has no leases.
async fn run(running: Running) {
    loop {
        rt::time::sleep(TICK).await;
        while WORKER.with(Worker::step) {
            yield_now().await;
        }
        WORKER.with(Worker::start_rechecks);
        if WORKER.with(Worker::tidy) {
            break;
        }
    }
    drop(running);
}

/// Marks that the task runs. If the runtime of the thread ends, the task is dropped, and a later lease starts another one.
struct Running;

impl Running {
    fn start() -> Self {
        WORKER.with(|worker| worker.is_running.set(true));
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _is_over = WORKER.try_with(|worker| worker.is_running.set(false));
    }
}
