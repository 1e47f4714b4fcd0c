//! What runs a step: the CPU backend, a PJRT plugin or the evaluator, behind one trait.
//!
//! An engine knows one step at a time. Which steps a clip falls into, and what goes from one to the next, is in
//! [`crate::steps`] and [`crate::clip`].

mod cpu;
mod interpret;
mod pjrt;

use std::ops::{ControlFlow, DerefMut};

use frontend::Step;
use ir::{Graph, TensorType};

use crate::error::Result;

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

/// Runs steps. A step goes through three calls whose times are told apart: compile, bind, run.
pub(crate) trait Engine {
    /// A tensor that a step made.
    type Buffer: DerefMut<Target = [f32]>;
    /// What one step leaves to the next; empty in front of a first step.
    type States: Default;
    /// A step without weights.
    type Program;
    /// A step with its weights.
    type Executable;

    /// Makes a program of a declared graph.
    fn compile(&self, step: &Step, graph: Graph) -> Result<Self::Program>;

    /// Whether a program was read from disk instead of being compiled.
    fn is_cached(_: &Self::Program) -> bool {
        false
    }

    /// Gives a program its weights.
    fn bind(&self, step: &Step, program: Self::Program) -> Result<Self::Executable>;

    /// Bytes of intermediate values that a run needs; 0 when that is not planned ahead.
    fn arena_bytes(executable: &Self::Executable) -> usize;

    /// Runs a step over `input`, row-major in the shape that the graph declares.
    ///
    /// # Errors
    /// [`crate::Error::Interrupted`] if `observe` breaks; what is wrong with memory or states.
    fn run(
        &mut self,
        step: &Step,
        executable: &Self::Executable,
        input: &[f32],
        states: Self::States,
        observe: &mut StepObserver<'_>,
    ) -> Result<StepOutputs<Self>>;
}
