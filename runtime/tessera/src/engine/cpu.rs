//! The CPU backend as an engine: pass pipeline, native code, packed weights.

use std::sync::Arc;

use backend_cpu::blocking::Algorithm;
use backend_cpu::buffer::AlignedBuffer;
use backend_cpu::inspect::{self, Span};
use backend_cpu::options::CompileOptions;
use backend_cpu::program::{Executable, Program, RunError, States, Workspace};
use backend_cpu::target::Target;
use backend_cpu::weights::Weights;
use frontend::{Autoencoder, Step, Taps, declare};
use passes::cpu_pipeline;
use serde_json::json;

use super::{Engine, StepObserver, StepOutputs, Work};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::inspection::Inspection;
use crate::kept::{Kept, ProgramKey};
use crate::lowering::{self, NativeSteps};
use crate::non_finite::NonFiniteActivation;
use crate::options::RunOptions;
use crate::step_place::StepPlace;
use crate::timeline::Timeline;

/// Native code on one instruction set.
pub(crate) struct CpuEngine<'a> {
    pub(crate) target: Target,
    pub(crate) options: &'a RunOptions,
    /// What planning has found of the steps.
    pub(crate) steps: &'a NativeSteps,
    pub(crate) weights: &'a Weights,
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) kept: &'a Kept<Executable, Workspace>,
}

impl CpuEngine<'_> {
    /// Notes which thread worked on which call of a program, and when.
    fn note(&self, timeline: &Timeline, program: &Program, span: &Span, place: StepPlace) {
        let call = &program.calls()[span.call];
        let details = json!({
            "module": &*call.path, "kernel": call.kernel, "algorithm": call.algorithm.map(Algorithm::name),
            "blocks": span.blocks, "sample": place.sample, "step": place.step, "tile": place.tile,
        });
        let thread = format!("tessera-{}", span.number);
        timeline.add_of(span.thread, &thread, "kernel", call.kind.clone(), [span.start, span.end], details);
    }
}

impl Engine for CpuEngine<'_> {
    const LOOKS_INSIDE: bool = true;

    type Buffer = AlignedBuffer;
    type States = States;
    type Program = Arc<Program>;
    type Executable = Executable;
    type Workspace = Workspace;

    fn kept(&self) -> &Kept<Executable, Workspace> {
        self.kept
    }

    fn key(&self, step: &Step, taps: &Taps) -> ProgramKey {
        ProgramKey {
            step: *step,
            leading: Some(self.steps.leading),
            taps: taps.clone(),
            precision: self.options.precision,
            target: Some(self.target),
            optimization: None,
        }
    }

    fn workspace(&self, threads: usize) -> Result<Workspace> {
        Workspace::new(threads).map_err(|cause| Error::Threads { threads, problem: cause.to_string() })
    }

    fn compile(&self, model: &dyn Autoencoder, step: &Step, taps: &Taps) -> Result<Arc<Program>> {
        let graph = match self.steps.graphs.get(step) {
            Some(graph) => graph.clone(),
            None => {
                let declared = declare(model, step, taps)?;
                Arc::new(lowering::optimize(step, &declared, cpu_pipeline(self.options.precision))?)
            }
        };
        let options = CompileOptions::from(self.target).with_choices(&self.steps.choices);
        let program = lowering::compile(step, &graph, options)?;
        Ok(Arc::new(program))
    }

    fn bind(&self, workspace: &Workspace, step: &Step, program: Arc<Program>) -> Result<Executable> {
        workspace.pool().install(|| program.bind(self.weights)).map_err(|cause| Error::binding(step, cause))
    }

    fn arena_bytes(executable: &Executable) -> usize {
        executable.program().arena_bytes()
    }

    fn run(
        &self,
        workspace: &mut Workspace,
        executable: &Executable,
        work: Work<'_, Self>,
        observe: &mut StepObserver<'_>,
    ) -> Result<StepOutputs<Self>> {
        let Work { step, place, input, conditions, states } = work;
        let inputs: Vec<&[f32]> = std::iter::once(input).chain(conditions.iter().map(Vec::as_slice)).collect();
        let Inspection { check_finite, timeline } = &self.options.inspection;
        let mut note = |span: &Span| {
            if let Some(timeline) = timeline {
                self.note(timeline, executable.program(), span, place);
            }
        };
        let spans = timeline.is_some().then_some(&mut note as &mut dyn FnMut(&Span));
        let inspection = inspect::Inspection { timed: None, spans, check_finite: *check_finite };
        let run = executable.run_inspected(workspace, &inputs, states, &mut |share, _| observe(share), inspection);
        let step = &step;
        let mut outputs = run.map_err(|cause| match cause {
            RunError::Interrupted => Error::Interrupted,
            RunError::Memory(cause) => Error::memory(step, &cause),
            RunError::NonFinite(found) => {
                let found = NonFiniteActivation::new(*found, *step, place, self.checkpoint);
                Error::NonFiniteActivation(Box::new(found))
            }
            cause => Error::internal("running", step, &cause),
        })?;
        let result =
            outputs.results.pop().ok_or_else(|| Error::internal("running", step, &"the step has no result"))?;
        let taps = executable.program().taps().zip(outputs.taps);
        let taps = taps.map(|(port, buffer)| (port.name.clone(), port.ty.clone(), buffer)).collect();
        Ok(StepOutputs { result, taps, states: outputs.states })
    }
}
