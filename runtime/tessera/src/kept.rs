//! What is kept of earlier calls, in bounded number: the entries that were used last, among them
//! the compiled steps of an engine, and the workspaces of as many calls as ever ran at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backend_cpu::target::Target;
use backend_tpu_stablehlo::pjrt::Optimization;
use frontend::{Step, Taps};
use passes::Precision;

/// Compiled steps that are kept: three positions of the nine tiles of a frame, and a few clips of
/// other sizes.
const MOST_PROGRAMS: usize = 64;

/// What tells compiled steps apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProgramKey {
    pub(crate) step: Step,
    /// The step whose algorithms it takes, where it takes another's.
    pub(crate) leading: Option<Step>,
    pub(crate) taps: Taps,
    pub(crate) precision: Precision,
    pub(crate) target: Option<Target>,
    pub(crate) optimization: Option<Optimization>,
}

/// Compiled steps of one engine, and what they run in when nobody uses it.
pub(crate) struct Kept<X, W> {
    programs: Mutex<Vec<(ProgramKey, Arc<X>)>>,
    /// By their number of threads.
    workspaces: Mutex<Vec<(usize, W)>>,
}

impl<X, W> Default for Kept<X, W> {
    fn default() -> Self {
        Self { programs: Mutex::default(), workspaces: Mutex::default() }
    }
}

impl<X, W> Kept<X, W> {
    /// The compiled step, if it is kept.
    pub(crate) fn program(&self, key: &ProgramKey) -> Option<Arc<X>> {
        recall(&mut lock(&self.programs), |found| found == key)
    }

    /// Keeps a compiled step.
    pub(crate) fn keep_program(&self, key: ProgramKey, program: X) -> Arc<X> {
        let program = Arc::new(program);
        remember(&mut lock(&self.programs), key, program.clone(), MOST_PROGRAMS);
        program
    }

    /// A workspace of so many threads that nobody uses.
    pub(crate) fn take_workspace(&self, threads: usize) -> Option<W> {
        let mut idle = lock(&self.workspaces);
        let place = idle.iter().rposition(|(of, _)| *of == threads)?;
        Some(idle.remove(place).1)
    }

    /// Gives a workspace back.
    pub(crate) fn keep_workspace(&self, threads: usize, workspace: W) {
        lock(&self.workspaces).push((threads, workspace));
    }

    /// Frees the workspaces that nobody uses.
    pub(crate) fn drop_workspaces(&self) {
        lock(&self.workspaces).clear();
    }

    /// What `measure` says of the workspaces that nobody uses, in sum.
    pub(crate) fn of_workspaces(&self, measure: impl Fn(&W) -> usize) -> usize {
        lock(&self.workspaces).iter().map(|(_, workspace)| measure(workspace)).sum()
    }
}

/// Finds an entry and puts it last, where what was used most recently is.
pub(crate) fn recall<K, V: Clone>(entries: &mut Vec<(K, V)>, is: impl Fn(&K) -> bool) -> Option<V> {
    let place = entries.iter().position(|(key, _)| is(key))?;
    let entry = entries.remove(place);
    let value = entry.1.clone();
    entries.push(entry);
    Some(value)
}

/// Puts an entry last; the first ones, which were not used for longest, go where there are too
/// many.
pub(crate) fn remember<K: PartialEq, V>(entries: &mut Vec<(K, V)>, key: K, value: V, most: usize) {
    entries.retain(|(known, _)| *known != key);
    entries.push((key, value));
    let surplus = entries.len().saturating_sub(most);
    entries.drain(..surplus);
}

/// A lock whose holder cannot have left anything half done: entries go in and out whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut entries = vec![];
        for key in 0..3 {
            remember(&mut entries, key, key * 10, 3);
        }
        assert_eq!(recall(&mut entries, |key| *key == 0), Some(0));
        remember(&mut entries, 3, 30, 3);
        assert_eq!(recall(&mut entries, |key| *key == 1), None);
        assert_eq!(entries.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [2, 0, 3]);
        remember(&mut entries, 2, 21, 3);
        assert_eq!(entries.last(), Some(&(2, 21)));
    }

    #[test]
    fn workspaces_go_to_who_asks_for_as_many_threads() {
        let kept = Kept::<(), &str>::default();
        kept.keep_workspace(1, "small");
        kept.keep_workspace(2, "large");
        assert_eq!(kept.of_workspaces(|name| name.len()), 10);
        assert_eq!((kept.take_workspace(2), kept.take_workspace(2)), (Some("large"), None));
        kept.drop_workspaces();
        assert_eq!(kept.take_workspace(1), None);
    }
}
