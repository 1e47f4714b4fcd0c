//! A PJRT plugin as an engine: the pass pipeline, StableHLO, and a program of the plugin's on one
//! of its devices. Weights and states stay on the device; a step's states are given up to it, and
//! it writes its own over them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use backend_tpu_stablehlo::pjrt::cache::{ExecutableCache, Origin};
use backend_tpu_stablehlo::pjrt::{
    Attributes, Buffer, Client, CompileOptions, Device, Element, Error as PjrtError, ErrorCode, Input,
    LoadedExecutable, NamedValue, Optimization, Plugin, Run, Signature,
};
use backend_tpu_stablehlo::{ArgumentRole, EmitOptions, Module, ModuleResult};
use frontend::{Autoencoder, Step, Taps, declare};
use half::{bf16, f16};
use ir::recipe::MakeError;
use ir::{ElementType, Recipe, Role, TensorType};
use passes::{Precision, tpu_pipeline};

use super::{Engine, StepObserver, StepOutputs, Work};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::kept::{Kept, ProgramKey};
use crate::lowering;
use crate::options::RunOptions;
use crate::parameters;

/// The first and the longest pause between two looks at a run.
const PAUSES: [Duration; 2] = [Duration::from_micros(100), Duration::from_millis(20)];

/// A plugin's device, with the weights that are on it and the programs that were compiled for it.
pub(crate) struct PjrtSession {
    client: Client,
    device: Device,
    /// How programs are compiled where nothing else is asked for.
    optimization: Option<Optimization>,
    cache: Option<ExecutableCache>,
    weights: Mutex<HashMap<String, Arc<Buffer>>>,
    kept: Kept<PjrtExecutable, ()>,
}

impl PjrtSession {
    /// Takes hold of the plugin's first device. Compiled programs are kept in the folder `cache`,
    /// if there is one.
    pub(crate) fn open(plugin: &Path, cache: Option<&Path>) -> Result<PjrtSession> {
        let plugin = Plugin::load(plugin)?;
        let client = Client::new(&plugin, &Attributes::new())?;
        let device = client.devices()?.into_iter().next();
        let device =
            device.ok_or_else(|| PjrtError::Mismatch(format!("{}: it has no device", plugin.path().display())))?;
        let optimization = (client.platform()?.0 == "tpu").then_some(Optimization::OF_TPUS);
        let cache = cache.map(|folder| ExecutableCache::new(folder, &client)).transpose()?;
        let (major, minor) = plugin.api_version();
        let attributes = plugin.attributes();
        let stablehlo = attributes.get("stablehlo_current_version").map_or("unknown".into(), NamedValue::to_string);
        log::debug!("{}: PJRT API {major}.{minor}, StableHLO {stablehlo}", plugin.path().display());
        Ok(PjrtSession { client, device, optimization, cache, weights: Mutex::default(), kept: Kept::default() })
    }

    /// Whether this is what [`Self::open`] would open.
    pub(crate) fn is_of(&self, plugin: &Path, cache: Option<&Path>) -> bool {
        self.client.plugin().path() == plugin && self.cache.as_ref().map(ExecutableCache::folder) == cache
    }

    /// What the device is, in the plugin's words.
    pub(crate) fn device(&self) -> &str {
        &self.device.description().kind
    }

    /// The weight that `recipe` makes, on the device.
    fn weight(&self, recipe: &Recipe, checkpoint: &Checkpoint) -> Result<Arc<Buffer>> {
        let lock = || self.weights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = lock().get(recipe.key()) {
            return Ok(made.clone());
        }
        let buffer = Arc::new(self.put(make(recipe, checkpoint)?, recipe.ty())?);
        Ok(lock().entry(recipe.key().to_owned()).or_insert(buffer).clone())
    }

    /// Values on the device, as elements of this type.
    fn put(&self, values: Vec<f32>, ty: &TensorType) -> Result<Buffer> {
        let buffer = match ty.element {
            ElementType::F32 => self.device.put(values, ty),
            ElementType::Bf16 => self.device.put(values.into_iter().map(bf16::from_f32).collect(), ty),
            ElementType::F16 => self.device.put(values.into_iter().map(f16::from_f32).collect(), ty),
            ElementType::I8 | ElementType::I32 => {
                Err(PjrtError::Mismatch(format!("values of type f32 for {ty}: no step has such an input")))
            }
        };
        Ok(buffer?)
    }
}

/// A buffer's values.
fn fetch(buffer: &Buffer) -> Result<Vec<f32>> {
    fn of<T: Element + Into<f32>>(buffer: &Buffer) -> Result<Vec<f32>> {
        Ok(buffer.fetch::<T>()?.wait()?.into_iter().map(Into::into).collect())
    }
    match buffer.ty().element {
        ElementType::F32 => Ok(buffer.fetch::<f32>()?.wait()?),
        ElementType::Bf16 => of::<bf16>(buffer),
        ElementType::F16 => of::<f16>(buffer),
        ElementType::I8 | ElementType::I32 => {
            Err(PjrtError::Mismatch(format!("{} for values of type f32: no step has such a result", buffer.ty()))
                .into())
        }
    }
}

/// Makes a weight of the checkpoint's parameters.
fn make(recipe: &Recipe, checkpoint: &Checkpoint) -> Result<Vec<f32>> {
    let made = recipe.make(|name, ty| parameters::read(checkpoint, name, ty));
    made.map(Cow::into_owned).map_err(|cause| match cause {
        MakeError::Parameter(error) => error,
        MakeError::Evaluate(cause) => PjrtError::Mismatch(format!("making a weight: {cause}")).into(),
    })
}

/// The engine: a session and the checkpoint that weights are made of.
pub(crate) struct PjrtEngine<'a> {
    session: &'a PjrtSession,
    checkpoint: &'a Checkpoint,
    precision: Precision,
    optimization: Option<Optimization>,
}

/// A compiled step without weights.
pub(crate) struct PjrtProgram {
    program: LoadedExecutable,
    module: Module,
    origin: Origin,
}

/// A compiled step with its weights.
pub(crate) struct PjrtExecutable {
    program: LoadedExecutable,
    arguments: Vec<Argument>,
    results: Vec<ModuleResult>,
    temporaries: usize,
}

/// Where an argument comes from.
enum Argument {
    Input(TensorType),
    State(String),
    Weight(Arc<Buffer>),
}

impl<'a> PjrtEngine<'a> {
    /// An engine in this session, with the precision and optimisation of the options.
    pub(crate) fn new(session: &'a PjrtSession, checkpoint: &'a Checkpoint, options: &RunOptions) -> Self {
        let optimization = options.optimization.or(session.optimization);
        Self { session, checkpoint, precision: options.precision, optimization }
    }
}

impl Engine for PjrtEngine<'_> {
    const LOOKS_INSIDE: bool = false;

    type Buffer = Vec<f32>;
    type States = BTreeMap<String, Buffer>;
    type Program = PjrtProgram;
    type Executable = PjrtExecutable;
    /// The plugin has its own threads.
    type Workspace = ();

    fn kept(&self) -> &Kept<PjrtExecutable, ()> {
        &self.session.kept
    }

    fn key(&self, step: &Step, taps: &Taps) -> ProgramKey {
        ProgramKey {
            step: *step,
            leading: None,
            taps: taps.clone(),
            precision: self.precision,
            target: None,
            optimization: self.optimization,
        }
    }

    fn workspace(&self, _: usize) -> Result<()> {
        Ok(())
    }

    fn compile(&self, model: &dyn Autoencoder, step: &Step, taps: &Taps) -> Result<PjrtProgram> {
        let graph = declare(model, step, taps)?;
        let graph = lowering::optimize(step, &graph, tpu_pipeline(self.precision))?;
        let module = lowering::stablehlo(step, &graph, &EmitOptions::default())?;
        let signature = Signature::from(&module);
        let options = CompileOptions::default().with_optimization(self.optimization);
        let (text, client) = (module.text.as_bytes(), &self.session.client);
        let (program, origin) = match &self.session.cache {
            Some(cache) => cache.program(client, text, signature, &options),
            None => client.compile(text, signature, &options).map(|program| (program, Origin::Compiled)),
        }
        .map_err(|cause| in_step(step, cause))?;
        Ok(PjrtProgram { program, module, origin })
    }

    fn is_cached(program: &PjrtProgram) -> bool {
        program.origin == Origin::Cached
    }

    fn bind(&self, (): &(), _: &Step, program: PjrtProgram) -> Result<PjrtExecutable> {
        let PjrtProgram { program, module, .. } = program;
        let arguments = module.arguments.into_iter().map(|argument| {
            Ok(match argument.role {
                ArgumentRole::Input => Argument::Input(argument.ty),
                ArgumentRole::State => Argument::State(argument.name),
                ArgumentRole::Weight(recipe) => Argument::Weight(self.session.weight(&recipe, self.checkpoint)?),
            })
        });
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        // Plugins need not tell.
        let temporaries = program.executable().memory().map_or(0, |memory| memory.temporaries as usize);
        Ok(PjrtExecutable { program, arguments, results: module.results, temporaries })
    }

    fn arena_bytes(executable: &PjrtExecutable) -> usize {
        executable.temporaries
    }

    fn run(
        &self,
        (): &mut (),
        executable: &PjrtExecutable,
        work: Work<'_, Self>,
        observe: &mut StepObserver<'_>,
    ) -> Result<StepOutputs<Self>> {
        let Work { step, input, conditions, mut states, .. } = work;
        let step = &step;
        let mut inputs = std::iter::once(input.to_vec()).chain(conditions);
        let arguments = executable.arguments.iter().map(|argument| {
            Ok(match argument {
                Argument::Input(ty) => {
                    let input = inputs.next();
                    let input = input.ok_or_else(|| Error::internal("running", step, &"an input is missing"))?;
                    Input::Donate(self.session.put(input, ty)?)
                }
                Argument::State(name) => Input::Donate(states.remove(name).ok_or_else(|| {
                    Error::internal("running", step, &format!("the step before left no state `{name}`"))
                })?),
                Argument::Weight(buffer) => Input::Keep(buffer),
            })
        });
        let arguments = arguments.collect::<Result<_>>()?;
        let run = executable.program.run(vec![arguments]).map_err(|cause| in_step(step, cause))?;
        wait(&run, observe)?;
        let buffers = run.wait().map_err(|cause| in_step(step, cause))?.pop().unwrap_or_default();
        let (mut result, mut taps, mut states) = (None, vec![], BTreeMap::new());
        for (ModuleResult { role, name, ty }, buffer) in executable.results.iter().zip(buffers) {
            match role {
                Role::Result => result = Some(fetch(&buffer)?),
                Role::Tap => taps.push((name.clone(), ty.clone(), fetch(&buffer)?)),
                Role::State => {
                    states.insert(name.clone(), buffer);
                }
            }
        }
        let result = result.ok_or_else(|| Error::internal("running", step, &"the step has no result"))?;
        Ok(StepOutputs { result, taps, states })
    }
}

/// A plugin's error about a step: memory that the device does not have is told with what helps.
fn in_step(step: &Step, cause: PjrtError) -> Error {
    match cause {
        PjrtError::Plugin { code: ErrorCode::RESOURCE_EXHAUSTED, .. } => {
            Error::memory(step, &format!("{cause}; in smaller tiles it needs less"))
        }
        cause => cause.into(),
    }
}

/// Waits for a run, so that the observer can end it: what the device has begun it finishes, but
/// nobody waits for it. How far it is, plugins do not tell.
fn wait(run: &Run, observe: &mut StepObserver<'_>) -> Result<()> {
    let [mut pause, longest] = PAUSES;
    while !run.is_done()? {
        if observe(0.0).is_break() {
            return Err(Error::Interrupted);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(longest);
    }
    Ok(())
}
