//! The memory of calls that run at once, in this process: each says before it begins what it will
//! add, and waits while that does not fit beside the others.
//!
//! A plan is made as if a call were alone, so that tiles, and with them the pixels, do not depend
//! on what else runs. A call that is alone is never kept waiting: whether it fits was decided when
//! it was planned.

use std::ops::ControlFlow;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::memory::resident_bytes;

/// How long to wait between two looks at whether to go on waiting.
const TICK: Duration = Duration::from_millis(50);

/// Calls that run, with what each adds to the process.
#[derive(Debug, Default)]
struct Running {
    /// What the process held before the first of them.
    base: u64,
    /// By number.
    calls: Vec<(u64, u64)>,
    next: u64,
}

/// The calls of a process.
#[derive(Debug)]
pub(crate) struct Ledger {
    running: Mutex<Running>,
    ended: Condvar,
}

/// The ledger of this process.
pub(crate) static LEDGER: Ledger = Ledger::new();

/// A call that may run. Dropping it makes room for others.
#[derive(Debug)]
#[must_use]
pub(crate) struct Admission<'a> {
    ledger: &'a Ledger,
    number: u64,
}

impl Ledger {
    const fn new() -> Self {
        let running = Running { base: 0, calls: Vec::new(), next: 0 };
        Self { running: Mutex::new(running), ended: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the process holds without what running calls have added, as far as the system tells.
    pub(crate) fn base(&self) -> Option<u64> {
        let running = self.lock();
        if running.calls.is_empty() { resident_bytes() } else { Some(running.base) }
    }

    /// Admits a call that adds so many bytes once they fit `budget` beside what others add. `None`
    /// if `waiting`, which is asked as long as they do not, breaks.
    pub(crate) fn admit(
        &self,
        adds: u64,
        budget: u64,
        waiting: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Option<Admission<'_>> {
        let mut running = self.lock();
        loop {
            let others = running.calls.iter().fold(0, |sum: u64, (_, adds)| sum.saturating_add(*adds));
            if running.calls.is_empty() {
                running.base = resident_bytes().unwrap_or(0);
            }
            let held = resident_bytes().unwrap_or(0).max(running.base.saturating_add(others));
            if running.calls.is_empty() || held.saturating_add(adds) <= budget {
                let number = running.next;
                running.next += 1;
                running.calls.push((number, adds));
                return Some(Admission { ledger: self, number });
            }
            if waiting().is_break() {
                return None;
            }
            running = self.ended.wait_timeout(running, TICK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.ledger.lock().calls.retain(|(number, _)| *number != self.number);
        self.ledger.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_call_waits_for_what_another_holds() {
        let ledger = Ledger::new();
        let go_on = &mut || ControlFlow::Continue(());
        let budget = resident_bytes().unwrap_or(0) + (1 << 40);
        let first = ledger.admit(1 << 39, budget, go_on).unwrap();
        // What fits beside it runs at once.
        let second = ledger.admit(1 << 38, budget, &mut || panic!("nobody waits")).unwrap();
        let mut asked = 0;
        let mut give_up = || {
            asked += 1;
            if asked == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        assert!(ledger.admit(1 << 39, budget, &mut give_up).is_none());
        thread::scope(|scope| {
            let third = scope.spawn(|| ledger.admit(1 << 39, budget, &mut || ControlFlow::Continue(())).is_some());
            drop(first);
            assert!(third.join().unwrap());
        });
        drop(second);
    }

    #[test]
    fn a_call_that_is_alone_is_admitted_whatever_it_needs() {
        let ledger = Ledger::new();
        assert!(ledger.admit(u64::MAX, 1, &mut || panic!("nobody waits")).is_some());
        assert_eq!(ledger.base().is_some(), resident_bytes().is_some());
    }
}
