//! The CPU backend as an engine: pass pipeline, native code, packed weights.

use std::sync::Arc;

use backend_cpu::buffer::AlignedBuffer;
use backend_cpu::isa::Isa;
use backend_cpu::program::{Executable, Program, RunError, States, Workspace};
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
    weights: &'a Weights,
}

impl<'a> CpuEngine<'a> {
    /// An engine for these weights.
    pub(crate) fn new(isa: Isa, weights: &'a Weights) -> Self {
        Self { isa, weights }
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
        let graph = lowering::optimize(step, &graph, cpu_pipeline(Precision::F32))?;
        let program = lowering::compile(step, &graph, self.isa)?;
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
