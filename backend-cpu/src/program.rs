//! Programs: a compiled step, its memory, and running it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::slice;
use std::sync::Arc;
use std::time::Instant;

use ir::analysis::weight_only;
use ir::finite::NonFinite;
use ir::{Graph, Op, Path, Recipe, Role, TensorType, Value};
use passes::buffer_plan::{self, BufferPlan};
use passes::inline::inlined;
use rayon::prelude::*;

use crate::buffer::{ALIGNMENT, AlignedBuffer, BufferError};
use crate::guard;
use crate::inspect::{Inspection, SpanRecorder, Watched, extent, watched};
use crate::instruction_selection::{Call, Place, Schedule, UnsupportedOp, lives_in_output, schedule};
use crate::isa::Isa;
use crate::jit::{self, Code, CodegenError, Listing};
use crate::kernel::Kernel;
use crate::options::{Choices, CompileOptions};
use crate::profile::{CallSummary, summaries};
use crate::separate_buffers::SeparateBuffers;
use crate::target::Target;
use crate::weights::{Data, WeightError, WeightFormat, Weights};

/// Why a graph has no program.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The graph is not what this backend takes.
    #[error(transparent)]
    Unsupported(#[from] UnsupportedOp),
    /// Code generation failed.
    #[error(transparent)]
    Codegen(#[from] CodegenError),
}

/// Why a program did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The caller gave the wrong tensors.
    #[error("{kind} \"{name}\": {message}")]
    Argument {
        /// Input or state.
        kind: &'static str,
        /// Which.
        name: String,
        /// What was expected and what was given.
        message: String,
    },
    /// Not enough memory.
    #[error(transparent)]
    Memory(#[from] BufferError),
    /// The observer asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A value is not all numbers, which [`Inspection::check_finite`] asked to be looked at.
    #[error("{0}")]
    NonFinite(Box<NonFinite>),
}

/// A named tensor that enters or leaves a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its type, row-major; elements are f32, those of a state may be bf16.
    pub ty: TensorType,
}

/// Tensors that go from one step to the next, by name: the bytes of each, in its port's type.
pub type States = HashMap<String, AlignedBuffer<u8>>;

/// What a run gives.
#[derive(Debug)]
pub struct Outputs {
    /// In the order of [`Program::results`].
    pub results: Vec<AlignedBuffer>,
    /// In the order of [`Program::taps`].
    pub taps: Vec<AlignedBuffer>,
    /// What the next step reads.
    pub states: States,
}

/// A compiled step: code for one graph on one instruction set. It holds no weights and no
/// activations, and can be run by several threads at once.
pub struct Program {
    isa: Isa,
    code: Code,
    schedule: Schedule,
    plan: BufferPlan,
    inputs: Vec<(Value, Port)>,
    states: Vec<(Value, Port)>,
    outputs: Vec<(Role, Port)>,
    /// For each value that is written to an output's memory, which output.
    in_output: HashMap<Value, usize>,
    /// What each call is.
    calls: Vec<CallSummary>,
    /// The value that each call completes.
    watched: Vec<Option<Watched>>,
}

/// Compiles the final graph of a CPU pipeline.
///
/// # Errors
/// When an op has no kernel (the message names it), or code generation fails.
pub fn compile<'a>(graph: &Graph, options: impl Into<CompileOptions<'a>>) -> Result<Program, CompileError> {
    let options = options.into();
    let isa = options.target.isa;
    let schedule = schedule(graph, options)?;
    let code = Code::compile(&schedule.kernels, isa)?;
    let (plan, in_output) = plan(graph);
    let ports = |pick: fn(&Op) -> Option<(&String, &TensorType)>| {
        graph
            .nodes()
            .filter_map(|(value, node)| pick(&node.op).map(|(name, ty)| (value, port(name, ty))))
            .collect::<Vec<_>>()
    };
    let inputs = ports(|op| match op {
        Op::Input { name, ty } => Some((name, ty)),
        _ => None,
    });
    let states = ports(|op| match op {
        Op::State { name, ty } => Some((name, ty)),
        _ => None,
    });
    let outputs = graph.outputs().iter().map(|o| (o.role, port(&o.name, graph.ty(o.value)))).collect();
    let calls = summaries(graph, &schedule, &plan);
    let watched = watched(graph, &schedule);
    for call in &calls {
        log::trace!("{}: {} as {}", call.path, call.kind, call.kernel);
    }
    log::debug!(
        "compiled @{} for {isa}: {} calls of {} kernels, arena {} bytes",
        graph.name,
        schedule.calls.len(),
        schedule.kernels.len(),
        plan.arena_bytes
    );
    Ok(Program { isa, code, schedule, plan, inputs, states, outputs, in_output, calls, watched })
}

/// Which algorithm [`compile`] chooses for each weight that a convolution of this graph reads.
///
/// # Errors
/// When an op has no kernel.
pub fn choices(graph: &Graph, options: CompileOptions<'_>) -> Result<Choices, UnsupportedOp> {
    let weights = schedule(graph, options)?.weights;
    let chosen = weights.into_iter().filter_map(|(recipe, format)| match format {
        WeightFormat::Packed(packing) => Some((recipe, packing)),
        WeightFormat::Dense => None,
    });
    Ok(chosen.collect())
}

/// Where every value goes: its place in the arena, or the output whose memory it is written to.
pub(crate) fn plan(graph: &Graph) -> (BufferPlan, HashMap<Value, usize>) {
    let weight_only = weight_only(graph);
    let in_output: HashMap<Value, usize> = (0..graph.outputs().len())
        .filter(|&index| lives_in_output(graph, index, &weight_only))
        .map(|index| (graph.outputs()[index].value, index))
        .collect();
    let inlined = inlined(graph);
    let in_arena = |v: Value| {
        !weight_only[v.index()] && !inlined[v.index()] && !graph.op(v).is_leaf() && !in_output.contains_key(&v)
    };
    (buffer_plan::plan(graph, &in_arena, &inlined, ALIGNMENT), in_output)
}

fn port(name: &str, ty: &TensorType) -> Port {
    Port { name: name.to_owned(), ty: ty.clone() }
}

/// The CLIF and the assembly of every kernel that `graph` needs.
///
/// # Errors
/// As [`compile`].
pub fn listings(graph: &Graph, target: Target) -> Result<Vec<Listing>, CompileError> {
    Ok(jit::listings(&schedule(graph, target.into())?.kernels, target.isa)?)
}

impl Program {
    /// The instruction set it is for.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// What a run must be given.
    pub fn inputs(&self) -> impl Iterator<Item = &Port> {
        self.inputs.iter().map(|(_, port)| port)
    }

    /// What a run takes from the step before.
    pub fn states(&self) -> impl Iterator<Item = &Port> {
        self.states.iter().map(|(_, port)| port)
    }

    /// What a run gives.
    pub fn results(&self) -> impl Iterator<Item = &Port> {
        self.outputs_of(Role::Result)
    }

    /// The activations that a run lays open.
    pub fn taps(&self) -> impl Iterator<Item = &Port> {
        self.outputs_of(Role::Tap)
    }

    fn outputs_of(&self, role: Role) -> impl Iterator<Item = &Port> {
        self.outputs.iter().filter(move |(r, _)| *r == role).map(|(_, port)| port)
    }

    /// The memory plan of its intermediate values.
    pub fn plan(&self) -> &BufferPlan {
        &self.plan
    }

    /// Bytes of intermediate values and temporaries.
    pub fn arena_bytes(&self) -> usize {
        self.plan.arena_bytes + self.schedule.temporary_bytes
    }

    /// Its distinct kernels, by name, with the number of calls of each.
    pub fn kernels(&self) -> Vec<(String, usize)> {
        let mut counts = vec![0; self.schedule.kernels.len()];
        self.schedule.calls.iter().for_each(|call| counts[call.kernel] += 1);
        self.schedule.kernels.iter().map(Kernel::to_string).zip(counts).collect()
    }

    /// Its calls, in the order in which a run makes them.
    pub fn calls(&self) -> &[CallSummary] {
        &self.calls
    }

    /// Makes the weights that the program reads, those that no program before has made.
    ///
    /// # Errors
    /// When the checkpoint lacks a parameter or memory runs out.
    pub fn bind(self: &Arc<Self>, weights: &Weights) -> Result<Executable, WeightError> {
        // The largest first: parameters stand in memory beside what is made of them, and later most
        // of that is there.
        let mut largest_first: Vec<_> = self.schedule.weights.iter().collect();
        largest_first.sort_by_key(|(recipe, _)| Reverse(recipe.ty().elements()));
        let get = |(recipe, format): &(Recipe, WeightFormat)| weights.get(recipe, *format, self.isa);
        largest_first.into_par_iter().try_for_each(|weight| get(weight).map(drop))?;
        let weights = self.schedule.weights.iter().map(get).collect::<Result<Vec<_>, _>>()?;
        Ok(Executable { program: self.clone(), weights })
    }
}

/// Memory that runs share: the arena of intermediate values and the scratch of each thread. It
/// grows to what the largest program needs.
pub struct Workspace {
    pool: rayon::ThreadPool,
    arena: AlignedBuffer<u8>,
    temporary: AlignedBuffer<u8>,
    scratch: Vec<AlignedBuffer<u8>>,
    /// The states that the last run has read.
    spare: Vec<AlignedBuffer<u8>>,
}

impl Workspace {
    /// A workspace with so many threads.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn new(threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool =
            rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("tessera-{i}")).build()?;
        Ok(Self {
            pool,
            arena: AlignedBuffer::default(),
            temporary: AlignedBuffer::default(),
            scratch: vec![],
            spare: vec![],
        })
    }

    /// The threads that run kernels.
    pub fn pool(&self) -> &rayon::ThreadPool {
        &self.pool
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        let buffers = [&self.arena, &self.temporary].into_iter().chain(&self.scratch).chain(&self.spare);
        buffers.map(|buffer| buffer.len()).sum()
    }

    /// Grows to what `program` needs.
    fn reserve(&mut self, program: &Program) -> Result<(), BufferError> {
        let grow = |buffer: &mut AlignedBuffer<u8>, bytes: usize| {
            if buffer.len() < bytes {
                // The old memory goes before the new comes.
                *buffer = AlignedBuffer::default();
                *buffer = AlignedBuffer::zeroed(bytes)?;
            }
            Ok(())
        };
        grow(&mut self.arena, program.plan.arena_bytes)?;
        grow(&mut self.temporary, program.schedule.temporary_bytes)?;
        self.scratch.resize_with(self.pool.current_num_threads(), AlignedBuffer::default);
        let scratch = program.schedule.kernels.iter().map(Kernel::scratch_bytes).max().unwrap_or(0);
        self.scratch.iter_mut().try_for_each(|buffer| grow(buffer, scratch))
    }
}

/// A program with its weights.
pub struct Executable {
    program: Arc<Program>,
    weights: Vec<Arc<Data>>,
}

/// Told how far a run has come: the share of its floating-point operations that is done, and the
/// module whose op comes next. Breaking stops the run.
pub type Observer<'a> = dyn FnMut(f64, &Path) -> ControlFlow<()> + 'a;

/// A pointer that threads may share.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Shared(*mut u8);

// SAFETY: the pointer is only given to kernels, whose blocks write disjoint memory and read what no
// block of the same call writes; see `Executable::run`.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Executable {
    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Runs the step: `inputs` in the order of [`Program::inputs`], `states` as the step before
    /// left them.
    ///
    /// The result does not depend on the number of threads.
    ///
    /// # Errors
    /// When tensors are missing or of the wrong size, memory runs out, or `observe` breaks.
    pub fn run(
        &self,
        workspace: &mut Workspace,
        inputs: &[&[f32]],
        states: States,
        observe: &mut Observer<'_>,
    ) -> Result<Outputs, RunError> {
        self.run_inspected(workspace, inputs, states, observe, Inspection::default())
    }

    /// [`Self::run`], looked at.
    ///
    /// # Errors
    /// As [`Self::run`]; [`RunError::NonFinite`] if values are looked at.
    pub fn run_inspected(
        &self,
        workspace: &mut Workspace,
        inputs: &[&[f32]],
        states: States,
        observe: &mut Observer<'_>,
        mut inspection: Inspection<'_>,
    ) -> Result<Outputs, RunError> {
        let program = &*self.program;
        self.check(inputs, &states)?;
        workspace.reserve(program)?;
        // New states take the memory of those of the last run, which nobody needs any more: fresh
        // pages cost time. What they hold is overwritten whole.
        let mut spare = std::mem::take(&mut workspace.spare);
        let mut outputs = Vec::with_capacity(program.outputs.len());
        for (role, port) in &program.outputs {
            let bytes = port.ty.bytes();
            let used = spare.iter().position(|buffer| *role == Role::State && buffer.len() == bytes);
            outputs.push(used.map_or_else(|| AlignedBuffer::<u8>::zeroed(bytes), |at| Ok(spare.swap_remove(at)))?);
        }
        drop(spare);

        // Every value's memory. Reads go through `*mut` as writes do: a kernel takes one table of
        // pointers.
        let mut places: HashMap<Value, *mut u8> = HashMap::new();
        for ((value, _), tensor) in program.inputs.iter().zip(inputs) {
            places.insert(*value, tensor.as_ptr().cast_mut().cast());
        }
        for (value, port) in &program.states {
            places.insert(*value, states[&port.name].as_ptr().cast_mut());
        }
        let output_places: Vec<*mut u8> = outputs.iter_mut().map(|buffer| buffer.as_mut_ptr()).collect();
        for (value, index) in &program.in_output {
            places.insert(*value, output_places[*index]);
        }
        let arena = workspace.arena.as_mut_ptr();
        let temporary = workspace.temporary.as_mut_ptr();
        let scratch: Vec<(Shared, usize)> =
            workspace.scratch.iter_mut().map(|b| (Shared(b.as_mut_ptr()), b.len())).collect();
        let given = &mut program.inputs.iter().map(|(value, _)| *value).zip(inputs.iter().copied());
        let separate =
            guard::is_on().then(|| SeparateBuffers::new(&program.plan, &program.schedule, given)).transpose()?;
        let together = |place: Place| match place {
            Place::Value(value) => match program.plan.placement(value) {
                // In bounds: the arena has `arena_bytes`, and every placement ends within them.
                Some(placement) => arena.wrapping_add(placement.offset),
                None => places[&value],
            },
            Place::Output(index) => output_places[index],
            Place::Weights(index) => self.weights[index].bytes().as_ptr().cast_mut(),
            Place::Temporary(offset) => temporary.wrapping_add(offset),
        };
        let address =
            |place| separate.as_ref().and_then(|buffers| buffers.address(place)).unwrap_or_else(|| together(place));

        let total: u64 = program.calls.iter().map(|call| call.cost.flops).sum();
        let mut done = 0;
        let mut extents = HashMap::new();
        for (index, (call, summary)) in program.schedule.calls.iter().zip(&program.calls).enumerate() {
            if observe(done as f64 / total.max(1) as f64, &summary.path).is_break() {
                return Err(RunError::Interrupted);
            }
            let arguments: Vec<Shared> = call.arguments.iter().map(|&place| Shared(address(place))).collect();
            let started = Instant::now();
            let recorder = inspection.spans.as_ref().map(|_| SpanRecorder::new(index, scratch.len()));
            self.run_call(&workspace.pool, call, &arguments, &scratch, recorder.as_ref());
            if let Some(timed) = &mut inspection.timed {
                timed(index, started.elapsed());
            }
            if let Some((tell, recorder)) = inspection.spans.as_mut().zip(recorder) {
                recorder.spans().for_each(|span| tell(&span));
            }
            if inspection.check_finite
                && let Some(watched) = &program.watched[index]
            {
                // SAFETY: every value's memory has the bytes of its type, and this one's was
                // written just now.
                let bytes = |value, ty: &TensorType| unsafe {
                    slice::from_raw_parts(address(Place::Value(value)).cast_const(), ty.bytes())
                };
                let result = extent(&watched.ty, bytes(watched.value, &watched.ty));
                extents.insert(watched.value, result);
                if !result.is_finite() {
                    let given = program.inputs.iter().chain(&program.states);
                    extents.extend(given.map(|(value, port)| (*value, extent(&port.ty, bytes(*value, &port.ty)))));
                    return Err(RunError::NonFinite(Box::new(watched.non_finite(result, &extents))));
                }
            }
            done += summary.cost.flops;
        }
        workspace.spare = states.into_values().collect();

        let mut run = Outputs { results: vec![], taps: vec![], states: States::new() };
        for ((role, port), buffer) in program.outputs.iter().zip(outputs) {
            match role {
                Role::Result => run.results.push(buffer.into_f32()),
                Role::Tap => run.taps.push(buffer.into_f32()),
                Role::State => {
                    run.states.insert(port.name.clone(), buffer);
                }
            }
        }
        Ok(run)
    }

    /// Shares the blocks of one call out over the threads.
    fn run_call(
        &self,
        pool: &rayon::ThreadPool,
        call: &Call,
        arguments: &[Shared],
        scratch: &[(Shared, usize)],
        recorder: Option<&SpanRecorder>,
    ) {
        let kernel = &self.program.schedule.kernels[call.kernel];
        if matches!(kernel, Kernel::Gather(_)) && arguments[0].0 == arguments[1].0 {
            // A reshape that the plan made a view: the elements are there already.
            return;
        }
        let function = self.program.code.function(call.kernel);
        let run_block = |block: usize| {
            let thread = rayon::current_thread_index().unwrap_or(0);
            let (scratch, reserved) = scratch[thread];
            let scratch = scratch.0.wrapping_add(guard::scratch_start(reserved, kernel.scratch_bytes()));
            let started = recorder.map(|_| Instant::now());
            // SAFETY: `Shared` is a pointer in memory, so the table is one of pointers. Each points
            // to a tensor with the number of elements that the kernel was specialised to: sizes of
            // inputs and states are checked by `check`, those of weights when they are made,
            // outputs and the arena are allocated to the same types the kernel was scheduled from.
            // Blocks of one call write disjoint parts of the result and read nothing that another
            // block writes (the plan gives a result the memory of an operand only where an element
            // is read by the block that writes it). The scratch belongs to this thread and has the
            // largest kernel's size, and with guards the last of its bytes are this kernel's.
            unsafe { function(arguments.as_ptr().cast(), scratch, block) }
            if let Some((recorder, started)) = recorder.zip(started) {
                recorder.add(thread, started);
            }
        };
        match kernel.blocks() {
            1 => pool.install(|| run_block(0)),
            blocks => pool.install(|| (0..blocks).into_par_iter().with_max_len(1).for_each(run_block)),
        }
    }

    /// Checks that every input and state is there in its size, and no other. What elements they
    /// are, types say: inputs and results of programs are f32 ([`schedule`] refuses others),
    /// states are bytes that a step of the same precision left. Slices are aligned as f32 is,
    /// which is all that kernels ask of what they read; what they write is in buffers of ours.
    fn check(&self, inputs: &[&[f32]], states: &States) -> Result<(), RunError> {
        let refused = |kind, name: &str, message| Err(RunError::Argument { kind, name: name.to_owned(), message });
        let argument = |kind, port: &Port, found: Option<usize>| match found {
            Some(found) if found == port.ty.bytes() => Ok(()),
            Some(found) => {
                refused(kind, &port.name, format!("expected {} ({} bytes), found {found}", port.ty, port.ty.bytes()))
            }
            None => refused(kind, &port.name, format!("missing; expected {}", port.ty)),
        };
        for (index, (_, port)) in self.program.inputs.iter().enumerate() {
            argument("input", port, inputs.get(index).map(|tensor| size_of_val(*tensor)))?;
        }
        for (_, port) in &self.program.states {
            argument("state", port, states.get(&port.name).map(|buffer| buffer.len()))?;
        }
        if inputs.len() > self.program.inputs.len() {
            let (name, takes) = (self.program.inputs.len().to_string(), self.program.inputs.len());
            return refused("input", &name, format!("the program takes {takes}, found {}", inputs.len()));
        }
        let ports = &self.program.states;
        match states.keys().filter(|name| ports.iter().all(|(_, port)| port.name != **name)).min() {
            Some(name) => refused("state", name, "the program reads no such state".to_owned()),
            None => Ok(()),
        }
    }
}
