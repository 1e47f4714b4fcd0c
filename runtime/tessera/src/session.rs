//! What outlives a call: a model's weights in the forms that kernels read, its compiled steps, the
//! memory and threads that run them, and the plans by which clips went through. A second call like
//! an earlier one finds all of it.
//!
//! What is kept is bounded, see [`crate::kept`]. Weights are kept until they are dropped or
//! replaced; calls that run meanwhile end on those that they began with.

use std::sync::{Arc, Mutex};

use backend_cpu::program::{Executable, Workspace};
use backend_cpu::target::Target;
use backend_cpu::weights::Weights;
use frontend::{Autoencoder, Half};
use ir::Graph;

use crate::checkpoint::Checkpoint;
use crate::engine::PjrtSession;
use crate::error::Result;
use crate::kept::{Kept, lock, recall, remember};
use crate::lowering::NativeSteps;
use crate::options::RunOptions;
use crate::parameters::{self, Parameters};
use crate::route::Route;
use crate::tiling_decision::TilingDecision;

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
    /// Bytes that a call which goes by it adds to what the process holds: all that it needs but
    /// what earlier calls have left.
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
