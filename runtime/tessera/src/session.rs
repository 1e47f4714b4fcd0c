//! What outlives a call: a model's weights in the forms that kernels read, its compiled steps, the memory and threads that run
//! them, and the plans by which clips went through. A second call like an earlier one finds all of it.
//!
//! What is kept is bounded: the programs and plans that were used last, the workspaces of as many calls as ever ran at once. Weights
//! are kept until they are dropped or replaced; calls that run meanwhile end on those that they began with.

use std::sync::{Arc, Mutex, PoisonError};

use backend_cpu::program::{Executable, Workspace};
use backend_cpu::target::Target;
use backend_cpu::weights::Weights;
use backend_tpu_stablehlo::pjrt::Optimization;
use frontend::{Autoencoder, Half, Step, Taps};
use ir::Graph;
use passes::Precision;

use crate::checkpoint::Checkpoint;
use crate::engine::{NativeSteps, PjrtSession};
use crate::error::Result;
use crate::memory_plan::TilingDecision;
use crate::options::RunOptions;
use crate::parameters::{self, Parameters};
use crate::route::Route;

/// Compiled steps that are kept: three positions of the nine tiles of a frame, and a few clips of other sizes.
const MOST_PROGRAMS: usize = 64;
/// Plans that are kept.
const MOST_PLANS: usize = 32;

/// All that is kept of a model with one checkpoint.
pub(crate) struct Session {
    pub(crate) checkpoint: Arc<Checkpoint>,
    pub(crate) weights: Weights,
    pub(crate) cpu: Kept<Executable, Workspace>,
    pub(crate) interpreter: Kept<Graph, rayon::ThreadPool>,
    /// The plugin that was used last, with the weights on its device.
    pub(crate) plugin: Mutex<Option<Arc<PjrtSession>>>,
    plans: Mutex<Vec<(PlanKey, Arc<KeptPlan>)>>,
    /// Halves whose tensors were seen to be whole.
    checked: Mutex<Vec<Half>>,
}

impl Session {
    /// Nothing but the checkpoint.
    pub(crate) fn new(checkpoint: Arc<Checkpoint>) -> Self {
        Self {
            weights: Weights::new(Arc::new(Parameters(checkpoint.clone()))),
            checkpoint,
            cpu: Kept::default(),
            interpreter: Kept::default(),
            plugin: Mutex::default(),
            plans: Mutex::default(),
            checked: Mutex::default(),
        }
    }

    /// Checks, once, that the checkpoint has every tensor of `half`, in its shape, as numbers.
    ///
    /// # Errors
    /// [`weights::Error::NotTheModel`] with all that is wrong.
    pub(crate) fn check_weights(&self, model: &dyn Autoencoder, half: Half) -> Result<()> {
        if !lock(&self.checked).contains(&half) {
            self.checkpoint.check(&parameters::expected(model, half)?)?;
            lock(&self.checked).push(half);
        }
        Ok(())
    }

    /// The plan that a call like this one went by.
    pub(crate) fn plan(&self, key: &PlanKey) -> Option<Arc<KeptPlan>> {
        recall(&mut lock(&self.plans), |found| found == key)
    }

    /// Keeps a plan for calls like this one.
    pub(crate) fn keep_plan(&self, key: PlanKey, plan: KeptPlan) -> Arc<KeptPlan> {
        let plan = Arc::new(plan);
        remember(&mut lock(&self.plans), key, plan.clone(), MOST_PLANS);
        plan
    }
}

/// What a plan depends on, but for the memory that happens to be free.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlanKey {
    pub(crate) half: Half,
    /// [B, C, T, H, W] of the input.
    pub(crate) shape: [usize; 5],
    pub(crate) in_memory: bool,
    pub(crate) threads: usize,
    pub(crate) target: Option<Target>,
    /// Without what only concerns how a run is looked at.
    pub(crate) options: RunOptions,
}

/// How a clip goes through the model.
pub(crate) struct KeptPlan {
    pub(crate) route: Route,
    pub(crate) decision: TilingDecision,
    /// What planning has found of its steps, for native code.
    pub(crate) native: Option<NativeSteps>,
    /// Bytes of weights that were made when it was decided.
    pub(crate) weights_made: usize,
}

impl KeptPlan {
    /// Bytes that a call which goes by it adds to what the process holds: all that it needs but what earlier calls have left.
    pub(crate) fn adds(&self, session: &Session) -> u64 {
        let Some(memory) = self.decision.memory else { return 0 };
        let made = session.weights.bytes().saturating_sub(self.weights_made) as u64;
        let idle = session.cpu.of_workspaces(Workspace::bytes) as u64;
        let needs = memory.total().saturating_sub(memory.process);
        needs
            .saturating_sub(made.min(memory.weights))
            .saturating_sub(idle.min(memory.arena.saturating_add(memory.states)))
    }
}

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
fn recall<K, V: Clone>(entries: &mut Vec<(K, V)>, is: impl Fn(&K) -> bool) -> Option<V> {
    let place = entries.iter().position(|(key, _)| is(key))?;
    let entry = entries.remove(place);
    let value = entry.1.clone();
    entries.push(entry);
    Some(value)
}

/// Puts an entry last; the first ones, which were not used for longest, go where there are too many.
fn remember<K: PartialEq, V>(entries: &mut Vec<(K, V)>, key: K, value: V, most: usize) {
    entries.retain(|(known, _)| *known != key);
    entries.push((key, value));
    let surplus = entries.len().saturating_sub(most);
    entries.drain(..surplus);
}

/// A lock whose holder cannot have left anything half done: entries go in and out whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
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
