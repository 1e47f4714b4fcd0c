//! What runs a step: the CPU backend, a PJRT plugin or the evaluator, behind one trait.
//!
//! An engine knows one step at a time. Which steps a clip falls into, and what goes from one to the
//! next, is in [`crate::steps`] and [`crate::clip`].

mod cpu;
mod interpret;
mod pjrt;

use std::ops::{ControlFlow, DerefMut};

use frontend::{Autoencoder, Step, Taps};
use ir::TensorType;

use crate::error::Result;
use crate::kept::{Kept, ProgramKey};
use crate::step_place::StepPlace;

pub(crate) use cpu::CpuEngine;
pub(crate) use interpret::InterpretEngine;
pub(crate) use pjrt::{PjrtEngine, PjrtSession};

/// Told the share of a step that is done; breaking stops the step.
pub(crate) type StepObserver<'a> = dyn FnMut(f64) -> ControlFlow<()> + 'a;

/// What a step gives.
pub(crate) struct StepOutputs<E: Engine + ?Sized> {
    /// The graph's one result, row-major in its declared shape.
    pub result: E::Buffer,
    /// Each tapped module with what it returned, in the order of the graph.
    pub taps: Vec<(String, TensorType, E::Buffer)>,
    /// For the next step.
    pub states: E::States,
}

/// A step to run.
pub(crate) struct Work<'a, E: Engine + ?Sized> {
    pub step: Step,
    /// Where it is in the clip.
    pub place: StepPlace,
    /// Row-major in the shape that the step declares.
    pub input: &'a [f32],
    /// What else the step reads, in the order of its inputs.
    pub conditions: Vec<Vec<f32>>,
    /// What the step before left.
    pub states: E::States,
}

/// Runs steps. A step goes through three calls whose times are told apart: compile, bind, run.
pub(crate) trait Engine: Sync {
    /// Whether it looks at every op where [`crate::Inspection::check_finite`] asks for it. Of one
    /// that cannot look inside its programs what modules return is looked at, as taps.
    const LOOKS_INSIDE: bool;

    /// A tensor that a step made.
    type Buffer: DerefMut<Target = [f32]> + Send;
    /// What one step leaves to the next; empty in front of a first step.
    type States: Default + Send;
    /// A step without weights.
    type Program;
    /// A step with its weights. Several threads may run it at once.
    type Executable: Send + Sync;
    /// Threads, and memory that steps share which run one after the other.
    type Workspace: Send;

    /// What outlives this engine.
    fn kept(&self) -> &Kept<Self::Executable, Self::Workspace>;

    /// What tells `step` apart from others that this or another engine has compiled.
    fn key(&self, step: &Step, taps: &Taps) -> ProgramKey;

    /// A workspace with so many threads.
    ///
    /// # Errors
    /// [`crate::Error::Threads`].
    fn workspace(&self, threads: usize) -> Result<Self::Workspace>;

    /// Declares a step and makes a program of it.
    fn compile(&self, model: &dyn Autoencoder, step: &Step, taps: &Taps) -> Result<Self::Program>;

    /// Whether a program was read from disk instead of being compiled.
    fn is_cached(_: &Self::Program) -> bool {
        false
    }

    /// Gives a program its weights; the threads of `workspace` make them.
    fn bind(&self, workspace: &Self::Workspace, step: &Step, program: Self::Program) -> Result<Self::Executable>;

    /// Bytes of intermediate values that a run needs; 0 when that is not planned ahead.
    fn arena_bytes(executable: &Self::Executable) -> usize;

    /// Runs a step.
    ///
    /// # Errors
    /// [`crate::Error::Interrupted`] if `observe` breaks; what is wrong with memory or states.
    fn run(
        &self,
        workspace: &mut Self::Workspace,
        executable: &Self::Executable,
        work: Work<'_, Self>,
        observe: &mut StepObserver<'_>,
    ) -> Result<StepOutputs<Self>>;
}
