//! The CPU backend as an engine: pass pipeline, native code, packed weights.

use std::sync::Arc;

use backend_cpu::buffer::AlignedBuffer;
use backend_cpu::isa::Isa;
use backend_cpu::program::{Choices, CompileOptions, Executable, Program, RunError, States, Workspace};
use backend_cpu::weights::{WeightError, Weights};
use frontend::Step;
use ir::Graph;
use passes::{Precision, cpu_pipeline};

use super::{Engine, StepObserver, StepOutputs};
use crate::error::{Error, Result};
use crate::lowering;

/// Native code on one instruction set.
pub(crate) struct CpuEngine<'a> {
    isa: Isa,
    precision: Precision,
    weights: &'a Weights,
    /// The algorithms of all steps: where they differed, so would the form of weights, and each would be kept.
    choices: Choices,
}

impl<'a> CpuEngine<'a> {
    /// An engine for these weights, whose steps take the algorithms of one of them.
    pub(crate) fn new(isa: Isa, precision: Precision, weights: &'a Weights, choices: Choices) -> Self {
        Self { isa, precision, weights, choices }
    }
}

impl Engine for CpuEngine<'_> {
    type Buffer = AlignedBuffer;
    type States = States;
    type Program = Arc<Program>;
    type Executable = Executable;
    type Workspace = Workspace;

    fn workspace(&self, threads: usize) -> Result<Workspace> {
        Workspace::new(threads).map_err(|cause| Error::Threads { threads, problem: cause.to_string() })
    }

    fn compile(&self, step: &Step, graph: Graph) -> Result<Arc<Program>> {
        let graph = lowering::optimize(step, &graph, cpu_pipeline(self.precision))?;
        let options = CompileOptions { choices: Some(&self.choices), ..self.isa.into() };
        let program = lowering::compile(step, &graph, options)?;
        Ok(Arc::new(program))
    }

    fn bind(&self, workspace: &Workspace, step: &Step, program: Arc<Program>) -> Result<Executable> {
        workspace.pool().install(|| program.bind(self.weights)).map_err(|cause| match cause {
            // Ours, and already in words for the reader.
            WeightError::Source(cause) => match cause.downcast::<Error>() {
                Ok(error) => *error,
                Err(cause) => Error::internal("reading weights", step, &cause),
            },
            WeightError::Memory(cause) => Error::memory(step, &cause),
            cause => Error::internal("packing weights", step, &cause),
        })
    }

    fn arena_bytes(executable: &Executable) -> usize {
        executable.program().arena_bytes()
    }

    fn run(
        &self,
        workspace: &mut Workspace,
        step: &Step,
        executable: &Executable,
        input: &[f32],
        states: States,
        observe: &mut StepObserver<'_>,
    ) -> Result<StepOutputs<Self>> {
        let run = executable.run(workspace, &[input], states, &mut |share, _| observe(share));
        let mut outputs = run.map_err(|cause| match cause {
            RunError::Interrupted => Error::Interrupted,
            RunError::Memory(cause) => Error::memory(step, &cause),
            cause => Error::internal("running", step, &cause),
        })?;
        let result =
            outputs.results.pop().ok_or_else(|| Error::internal("running", step, &"the step has no result"))?;
        let taps = executable.program().taps().zip(outputs.taps);
        let taps = taps.map(|(port, buffer)| (port.name.clone(), port.ty.clone(), buffer)).collect();
        Ok(StepOutputs { result, taps, states: outputs.states })
    }
}
