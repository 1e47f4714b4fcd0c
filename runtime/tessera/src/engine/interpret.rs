//! The evaluator as an engine: the declared graph, op by op, as `ir` defines it; in bf16, the graph
//! behind the passes, since what is rounded where is theirs to say. Slow; what the CPU backend is
//! judged by.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use frontend::{Autoencoder, Step, Taps, declare};
use ir::analysis::weight_only;
use ir::eval::{Bindings, Computed, EvalError, Leaf, LeafKind, Tensor, evaluate_watched};
use ir::finite::{Extent, NonFinite, Reads};
use ir::{Graph, Op, Role};
use passes::{Precision, cpu_pipeline};
use serde_json::json;

use super::{Engine, StepObserver, StepOutputs, Work};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::inspection::Inspection;
use crate::kept::{Kept, ProgramKey};
use crate::lowering;
use crate::non_finite::NonFiniteActivation;
use crate::options::RunOptions;
use crate::parameters;
use crate::step_place::StepPlace;

/// How long to wait between two looks at the observer.
const TICK: Duration = Duration::from_millis(50);

/// The evaluator over one checkpoint.
pub(crate) struct InterpretEngine<'a> {
    pub(crate) options: &'a RunOptions,
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) kept: &'a Kept<Graph, rayon::ThreadPool>,
}

/// Looks at ops as they are computed.
struct Inspector<'a> {
    graph: &'a Graph,
    weights: Vec<bool>,
    inspection: &'a Inspection,
    place: StepPlace,
    /// When the op before was done.
    since: Instant,
    /// The first value that is not all numbers.
    found: Option<NonFinite>,
}

impl Inspector<'_> {
    fn look(&mut self, op: &Computed<'_, f32>) -> ControlFlow<()> {
        if let Some(timeline) = &self.inspection.timeline {
            let StepPlace { sample, step, tile } = self.place;
            let details = json!({"module": &*op.node.path, "sample": sample, "step": step, "tile": tile});
            timeline.add("op", op.node.op.mnemonic(), self.since, details);
            self.since = Instant::now();
        }
        if !self.inspection.check_finite {
            return ControlFlow::Continue(());
        }
        let result = extent(op.result);
        if result.is_finite() {
            return ControlFlow::Continue(());
        }
        let Reads { inputs, parameters } = Reads::of(self.graph, &self.weights, &op.node.op.operands());
        self.found = Some(NonFinite {
            mnemonic: op.node.op.mnemonic(),
            path: op.node.path.clone(),
            ty: op.node.ty.clone(),
            result,
            inputs: inputs.into_iter().map(|(value, words)| (words, extent((op.operand)(value)))).collect(),
            parameters,
        });
        ControlFlow::Break(())
    }
}

fn extent(tensor: &Tensor<f32>) -> Extent {
    Extent::of(tensor.data.iter().map(|value| f64::from(*value)))
}

/// The tensors of one run. Parameters are read from the checkpoint when the evaluator first asks
/// for them, which also tells how far it has come and is where it can be stopped.
struct RunBindings<'a> {
    checkpoint: &'a Checkpoint,
    /// By name, row-major in the shape that the graph declares.
    inputs: BTreeMap<&'a str, &'a [f32]>,
    states: BTreeMap<String, Tensor<f32>>,
    parameters_read: AtomicUsize,
    stopped: AtomicBool,
}

impl Bindings<f32> for RunBindings<'_> {
    fn tensor(&self, leaf: Leaf<'_>) -> Option<Cow<'_, Tensor<f32>>> {
        let owned = |data| Some(Cow::Owned(Tensor { ty: leaf.ty.clone(), data }));
        match leaf.kind {
            LeafKind::Input => owned(self.inputs.get(leaf.name)?.to_vec()),
            LeafKind::State => self.states.get(leaf.name).map(Cow::Borrowed),
            LeafKind::Parameter if self.stopped.load(Ordering::Relaxed) => None,
            LeafKind::Parameter => {
                self.parameters_read.fetch_add(1, Ordering::Relaxed);
                owned(parameters::read(self.checkpoint, leaf.name, leaf.ty).ok()?.into_owned())
            }
        }
    }
}

impl Engine for InterpretEngine<'_> {
    const LOOKS_INSIDE: bool = true;

    type Buffer = Vec<f32>;
    type States = BTreeMap<String, Tensor<f32>>;
    type Program = Graph;
    type Executable = Graph;
    type Workspace = rayon::ThreadPool;

    fn kept(&self) -> &Kept<Graph, rayon::ThreadPool> {
        self.kept
    }

    fn key(&self, step: &Step, taps: &Taps) -> ProgramKey {
        ProgramKey {
            step: *step,
            leading: None,
            taps: taps.clone(),
            precision: self.options.precision,
            target: None,
            optimization: None,
        }
    }

    fn workspace(&self, threads: usize) -> Result<rayon::ThreadPool> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.map_err(|cause| Error::Threads { threads, problem: cause.to_string() })
    }

    fn compile(&self, model: &dyn Autoencoder, step: &Step, taps: &Taps) -> Result<Graph> {
        let graph = declare(model, step, taps)?;
        match self.options.precision {
            Precision::F32 => Ok(graph),
            precision => lowering::optimize(step, &graph, cpu_pipeline(precision)),
        }
    }

    fn bind(&self, _: &rayon::ThreadPool, _: &Step, graph: Graph) -> Result<Graph> {
        Ok(graph)
    }

    fn arena_bytes(_: &Graph) -> usize {
        0
    }

    fn run(
        &self,
        pool: &mut rayon::ThreadPool,
        graph: &Graph,
        work: Work<'_, Self>,
        observe: &mut StepObserver<'_>,
    ) -> Result<StepOutputs<Self>> {
        let Work { step, place, input, conditions, states } = work;
        let step = &step;
        let names = graph.nodes().filter_map(|(_, node)| match &node.op {
            Op::Input { name, .. } => Some(name.as_str()),
            _ => None,
        });
        let inputs = std::iter::once(input).chain(conditions.iter().map(Vec::as_slice));
        let parameters = graph.nodes().filter(|(_, node)| matches!(node.op, Op::Parameter { .. })).count();
        let bindings = RunBindings {
            checkpoint: self.checkpoint,
            inputs: names.zip(inputs).collect(),
            states,
            parameters_read: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        };
        let mut inspector = Inspector {
            graph,
            weights: weight_only(graph),
            inspection: &self.options.inspection,
            place,
            since: Instant::now(),
            found: None,
        };
        let (done, finished) = channel();
        let evaluated = pool.in_place_scope(|scope| {
            let (bindings, inspector) = (&bindings, &mut inspector);
            scope.spawn(move |_| {
                // The receiver is there until a result came.
                let _ = done.send(evaluate_watched(graph, bindings, &mut |op| inspector.look(op)));
            });
            loop {
                let share = bindings.parameters_read.load(Ordering::Relaxed) as f64 / parameters.max(1) as f64;
                if observe(share).is_break() {
                    bindings.stopped.store(true, Ordering::Relaxed);
                }
                match finished.recv_timeout(TICK) {
                    Ok(evaluated) => break Some(evaluated),
                    Err(RecvTimeoutError::Timeout) => {}
                    // The evaluator panicked; the scope passes that on.
                    Err(RecvTimeoutError::Disconnected) => break None,
                }
            }
        });
        if let Some(found) = inspector.found {
            let found = NonFiniteActivation::new(found, *step, place, self.checkpoint);
            return Err(Error::NonFiniteActivation(Box::new(found)));
        }
        if bindings.stopped.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let outputs = match evaluated {
            Some(Ok(outputs)) => outputs,
            Some(Err(cause @ EvalError::Memory { .. })) => return Err(Error::memory(step, &cause)),
            Some(Err(cause)) => return Err(Error::internal("the evaluator", step, &cause)),
            None => return Err(Error::internal("the evaluator", step, &"it gave no answer")),
        };
        let (mut result, mut taps, mut states) = (None, vec![], BTreeMap::new());
        for (output, tensor) in outputs {
            match output.role {
                Role::Result => result = Some(tensor.data),
                Role::Tap => taps.push((output.name, tensor.ty, tensor.data)),
                Role::State => {
                    states.insert(output.name, tensor);
                }
            }
        }
        let result = result.ok_or_else(|| Error::internal("the evaluator", step, &"the step has no result"))?;
        Ok(StepOutputs { result, taps, states })
    }
}
