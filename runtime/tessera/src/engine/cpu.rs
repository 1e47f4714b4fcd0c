//! The CPU backend as an engine: pass pipeline, native code, packed weights.

use std::collections::HashMap;
use std::sync::Arc;

use backend_cpu::buffer::AlignedBuffer;
use backend_cpu::inspect::{self, Span};
use backend_cpu::options::{Choices, CompileOptions};
use backend_cpu::program::{Executable, Program, RunError, States, Workspace};
use backend_cpu::target::Target;
use backend_cpu::tile::Algorithm;
use backend_cpu::weights::Weights;
use frontend::{Autoencoder, Step, Taps, declare};
use ir::Graph;
use passes::cpu_pipeline;
use serde_json::json;

use super::{Engine, StepObserver, StepOutputs, Work};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::inspection::Inspection;
use crate::lowering;
use crate::non_finite::NonFiniteActivation;
use crate::observer::StepPlace;
use crate::options::RunOptions;
use crate::session::{Kept, ProgramKey, Session};
use crate::timeline::Timeline;

/// Native code on one instruction set.
pub(crate) struct CpuEngine<'a> {
    target: Target,
    options: &'a RunOptions,
    weights: &'a Weights,
    checkpoint: &'a Checkpoint,
    kept: &'a Kept<Executable, Workspace>,
    steps: &'a NativeSteps,
}

/// What planning has found of the steps of a clip.
pub(crate) struct NativeSteps {
    /// The step whose algorithms the others take.
    pub(crate) leading: Step,
    /// The algorithms of all steps: where they differed, so would the form of weights, and each would be kept.
    pub(crate) choices: Choices,
    /// Final graphs, of steps without other taps than the options ask for.
    pub(crate) graphs: HashMap<Step, Arc<Graph>>,
}

impl<'a> CpuEngine<'a> {
    /// An engine for the session's weights.
    pub(crate) fn new(target: Target, options: &'a RunOptions, session: &'a Session, steps: &'a NativeSteps) -> Self {
        let Session { weights, checkpoint, cpu, .. } = session;
        Self { target, options, weights, checkpoint, kept: cpu, steps }
    }

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
        let options = CompileOptions { choices: Some(&self.steps.choices), ..self.target.into() };
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
        let Work { step, place, input, states } = work;
        let Inspection { check_finite, timeline } = &self.options.inspection;
        let mut note = |span: &Span| {
            if let Some(timeline) = timeline {
                self.note(timeline, executable.program(), span, place);
            }
        };
        let spans = timeline.is_some().then_some(&mut note as &mut dyn FnMut(&Span));
        let inspection = inspect::Inspection { timed: None, spans, check_finite: *check_finite };
        let run = executable.run_inspected(workspace, &[input], states, &mut |share, _| observe(share), inspection);
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
