//! The VAE: a configuration with its checkpoint, and the two ways through it.
//!
//! How a clip falls into steps and tiles is in `clip`; what runs them in `engine`.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use backend_cpu::weights::Weights;
use backend_tpu_stablehlo::pjrt::locate::PluginSpec;
use frontend::{Config, ConfigError, ConfigWarning, Half, declare};
use passes::cpu_pipeline;

use crate::checkpoint::Checkpoint;
use crate::clip::{self, Route};
use crate::engine::{CpuEngine, Engine, InterpretEngine, PjrtEngine, PjrtSession};
use crate::error::{Error, Result};
use crate::latent_scaling::LatentScaling;
use crate::latents::Latents;
use crate::lowering;
use crate::media::{ClipShape, FrameBlock};
use crate::memory_plan::Plan;
use crate::model::{ModelFiles, locate};
use crate::observer::Observer;
use crate::options::{Backend, RunOptions};
use crate::parameters::{self, Parameters};
use crate::report::{Report, Seconds};
use crate::source::{InMemory, NextFrames, Source, Stream};
use crate::steps::{Account, Steps};
use crate::text_file::{self, NotText};

/// A model that is open: its configuration, and its weights, mapped.
///
/// Weights are packed when a step first needs them and kept for all later calls.
pub struct Vae {
    config: Config,
    warnings: Vec<String>,
    checkpoint: Arc<Checkpoint>,
    weights: Weights,
    /// The plugin that was used last, with the weights on its device.
    session: Mutex<Option<Arc<PjrtSession>>>,
}

/// A video to encode.
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// Row-major, in [-1, 1].
    pub data: Vec<f32>,
    /// [B, C, T, H, W].
    pub shape: [usize; 5],
}

/// What encoding gives: mean and log-variance of the latents, unscaled.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Row-major: of each sample first the means of all channels, then the log-variances.
    pub data: Vec<f32>,
    /// [B, 2 * latent_channels, T, H, W].
    pub shape: [usize; 5],
}

/// Reads a config.json.
///
/// # Errors
/// [`files::Error::Read`]; [`Error::Config`] with every field that cannot be honoured.
pub fn read_config(path: &Path) -> Result<(Config, Vec<ConfigWarning>)> {
    let text = text_file::read_json(path).map_err(|fault| match fault {
        NotText::Read(cause) => files::Error::Read { path: path.into(), cause }.into(),
        NotText::Other(problem) => Error::Config { path: path.into(), cause: ConfigError::Other(problem) },
    })?;
    Config::from_json(&text).map_err(|cause| Error::Config { path: path.into(), cause })
}

impl Vae {
    /// Opens the model in a folder, or a weights file with its configuration beside it; see [`locate`].
    ///
    /// # Errors
    /// Those of [`locate`] and [`Self::open_files`].
    pub fn open(model: &Path) -> Result<Vae> {
        Vae::open_files(&locate(model, None)?)
    }

    /// Opens a model whose files are known; see [`crate::model::resolve`]. Which tensors a half needs is checked when
    /// that half is first asked for, so that a checkpoint of one half will do for it.
    ///
    /// # Errors
    /// Those of [`read_config`] and [`Checkpoint::open`].
    pub fn open_files(files: &ModelFiles) -> Result<Vae> {
        Vae::open_prefixed(files, None)
    }

    /// [`Self::open_files`] with only those of the weights whose names begin with `prefix`, where files hold several
    /// models.
    ///
    /// # Errors
    /// As [`Self::open_files`]; [`weights::Error::NoPrefix`].
    pub fn open_prefixed(files: &ModelFiles, prefix: Option<&str>) -> Result<Vae> {
        let (config, warnings) = read_config(&files.config)?;
        let checkpoint = Checkpoint::open(&files.weights)?;
        let checkpoint = match prefix {
            Some(prefix) => checkpoint.under(prefix)?,
            None => checkpoint,
        };
        let mut vae = Vae::new(config, checkpoint)?;
        let of_config = warnings.iter().map(|warning| format!("{}: {warning}", files.config.display()));
        vae.warnings.splice(..0, of_config);
        Ok(vae)
    }

    /// The model of a configuration and a checkpoint that are open already. The model's tensors are found among the
    /// checkpoint's also where others stand beside them and where their names have more in them than the model's; see
    /// [`Checkpoint::account`].
    ///
    /// # Errors
    /// [`weights::Error::Ambiguous`] if they hold the model more than once, [`weights::Error::DuplicateTensor`] a tensor;
    /// [`Error::Declare`] if the configuration cannot be honoured; one that was read can.
    pub fn new(config: Config, checkpoint: Checkpoint) -> Result<Vae> {
        let halves = [parameters::expected(&config, Half::Encoder)?, parameters::expected(&config, Half::Decoder)?];
        let checkpoint = Arc::new(checkpoint.named(&halves, &[])?);
        let warnings = checkpoint.unexpected(&halves).into_iter().collect();
        let weights = Weights::new(Arc::new(Parameters(checkpoint.clone())));
        Ok(Vae { config, warnings, checkpoint, weights, session: Mutex::default() })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What was passed over: fields of config.json and tensors that the model does not have.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The weights on disk.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// How the model's pipeline scales latents.
    pub fn latent_scaling(&self) -> LatentScaling {
        let Config { scaling_factor, shift_factor, ref latents_mean, ref latents_std, .. } = self.config;
        LatentScaling {
            scaling_factor,
            shift_factor,
            latents_mean: latents_mean.clone(),
            latents_std: latents_std.clone(),
        }
    }

    /// Checks that the checkpoint has every tensor of `half`, in its shape, as numbers.
    ///
    /// # Errors
    /// [`weights::Error::NotTheModel`] with all that is wrong.
    pub fn check_weights(&self, half: Half) -> Result<()> {
        Ok(self.checkpoint.check(&parameters::expected(&self.config, half)?)?)
    }

    /// The shape of the clip that `latents` decode to.
    ///
    /// # Errors
    /// [`Error::Input`] if they are not latents of this model.
    pub fn decoded_shape(&self, latents: &Latents) -> Result<ClipShape> {
        let [batch, _, frames, height, width] = latents.shape;
        check_input("latents", &latents.data, latents.shape, self.config.latent_channels)?;
        Ok(ClipShape {
            batch,
            channels: self.config.out_channels,
            frames: self.config.decoded_frames(frames),
            height: self.config.sample_size(height),
            width: self.config.sample_size(width),
        })
    }

    /// Decodes unscaled latents [B, C, T, H, W]; see [`LatentScaling::unscale`] for a pipeline's. `sink` gets the
    /// frames of each sample in order, unclamped, a step's at a time: [`crate::media::ClipWriter::write`] takes them
    /// as they are.
    ///
    /// # Errors
    /// [`Error::Input`], [`Error::Weights`], [`Error::Declare`], [`Error::Tiling`], [`Error::Budget`],
    /// [`files::Error::Spill`], [`Error::Memory`], [`Error::Threads`], [`Error::Target`]; [`Error::NonFiniteResult`] at the
    /// first frame that is no numbers; [`Error::Interrupted`] if the observer breaks; what `sink` and the observer
    /// return.
    pub fn decode(
        &self,
        latents: &Latents,
        options: &RunOptions,
        sink: &mut dyn FnMut(usize, &FrameBlock<'_>) -> Result<()>,
        observer: &mut dyn Observer,
    ) -> Result<Report> {
        let shape = self.decoded_shape(latents)?;
        self.check_weights(Half::Decoder)?;
        let mut source = InMemory { data: &latents.data, shape: latents.shape };
        let mut give = finite(Half::Decoder, shape, sink);
        let video = [shape.batch.saturating_mul(shape.frames), shape.height, shape.width];
        let job = Job { half: Half::Decoder, shape: latents.shape, video, options };
        self.run(&job, &mut source, &mut give, observer)
    }

    /// Encodes a video [B, C, T, H, W] to the moments of its latents, unscaled.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn encode(&self, clip: &Clip, options: &RunOptions, observer: &mut dyn Observer) -> Result<(Moments, Report)> {
        check_input("clip", &clip.data, clip.shape, self.config.in_channels)?;
        let [batch, channels, frames, height, width] = clip.shape;
        let moments = self.encoded_shape(&ClipShape { batch, channels, frames, height, width })?;
        let mut data = zeros("the latents", moments.axes())?;
        let plane = moments.height * moments.width;
        // Frames that are already there, of the sample they are of.
        let mut filled = (0, 0);
        let mut gather = |sample: usize, block: &FrameBlock<'_>| {
            let first = if filled.0 == sample { filled.1 } else { 0 };
            for (channel, values) in block.data.chunks_exact(block.frames * plane).enumerate() {
                let start = ((sample * moments.channels + channel) * moments.frames + first) * plane;
                data[start..start + values.len()].copy_from_slice(values);
            }
            filled = (sample, first + block.frames);
            Ok(())
        };
        let mut source = InMemory { data: &clip.data, shape: clip.shape };
        let report = self.encode_from(clip.shape, &mut source, options, &mut gather, observer)?;
        Ok((Moments { data, shape: moments.axes() }, report))
    }

    /// The shape of the moments that a clip encodes to.
    ///
    /// # Errors
    /// [`Error::Input`] if it is not a clip for this model.
    pub fn encoded_shape(&self, clip: &ClipShape) -> Result<ClipShape> {
        check_shape("clip", clip.axes(), self.config.in_channels)?;
        let least = self.config.spatial_compression();
        if clip.height.min(clip.width) < least {
            let problem = format!(
                "its frames are {}x{} (width x height); the model needs at least {least}x{least} pixels, enlarge them",
                clip.width, clip.height
            );
            return Err(Error::Input { what: "clip", found: clip.axes(), problem });
        }
        Ok(ClipShape {
            batch: clip.batch,
            channels: 2 * self.config.latent_channels,
            frames: self.config.encoded_frames(clip.frames),
            height: self.config.latent_size(clip.height),
            width: self.config.latent_size(clip.width),
        })
    }

    /// Encodes a video of this shape whose frames come as they are asked for: [`Self::encode`] in memory that does
    /// not depend on the length of the clip. `next` is asked for the frames of each sample in order, a step's at a
    /// time: it is given the sample and how many, and returns row-major [C, T, H, W]. `sink` gets the moments of each
    /// sample in the same way, in the shape that [`Self::encoded_shape`] tells.
    ///
    /// # Errors
    /// As [`Self::encode`], and what `next` returns; [`Error::InvalidClip`] if it gives another number of values.
    pub fn encode_stream(
        &self,
        clip: &ClipShape,
        next: &mut NextFrames<'_>,
        options: &RunOptions,
        sink: &mut dyn FnMut(usize, &FrameBlock<'_>) -> Result<()>,
        observer: &mut dyn Observer,
    ) -> Result<Report> {
        self.encode_from(clip.axes(), &mut Stream { next, shape: clip.axes() }, options, sink, observer)
    }

    fn encode_from(
        &self,
        axes: [usize; 5],
        source: &mut dyn Source,
        options: &RunOptions,
        sink: &mut dyn FnMut(usize, &FrameBlock<'_>) -> Result<()>,
        observer: &mut dyn Observer,
    ) -> Result<Report> {
        let [batch, channels, frames, height, width] = axes;
        let moments = self.encoded_shape(&ClipShape { batch, channels, frames, height, width })?;
        self.check_weights(Half::Encoder)?;
        let mut give = finite(Half::Encoder, moments, sink);
        let video = [batch.saturating_mul(frames), height, width];
        self.run(&Job { half: Half::Encoder, shape: axes, video, options }, source, &mut give, observer)
    }

    /// Runs a job on the backend that its options name.
    fn run(
        &self,
        job: &Job<'_>,
        source: &mut dyn Source,
        sink: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
        observer: &mut dyn Observer,
    ) -> Result<Report> {
        job.options.check()?;
        let threads = job.options.threads()?;
        let target = match job.options.backend {
            Backend::Cpu => Some(job.options.target()?),
            Backend::Pjrt | Backend::Interpret => None,
        };
        let plan = Plan {
            config: &self.config,
            checkpoint: &self.checkpoint,
            half: job.half,
            shape: job.shape,
            options: job.options,
            threads,
            target,
            in_memory: source.is_random_access(),
            weights_made: self.weights.bytes(),
        };
        let (route, tiling) = plan.decide()?;
        log::info!("{tiling}");
        let precision = job.options.precision;
        let mut device = None;
        let account = match (target, job.options.backend) {
            (Some(target), _) => {
                let leading = route.leading_step();
                let graph = declare(&self.config, &leading, &job.options.taps)?;
                let graph = lowering::optimize(&leading, &graph, cpu_pipeline(precision))?;
                let choices = lowering::choices(&leading, &graph, target)?;
                let engine = CpuEngine::new(target, job.options, &self.weights, &self.checkpoint, choices);
                self.run_on(engine, job, &route, source, sink, observer)?
            }
            (None, Backend::Pjrt) => {
                let session = self.session(job.options)?;
                device = Some(session.device().to_owned());
                let engine = PjrtEngine::new(&session, &self.checkpoint, job.options);
                self.run_on(engine, job, &route, source, sink, observer)?
            }
            (None, _) => {
                let engine = InterpretEngine::new(job.options, &self.checkpoint);
                self.run_on(engine, job, &route, source, sink, observer)?
            }
        };
        let seconds = Seconds {
            load: account.load.as_secs_f64(),
            compile: account.compile.as_secs_f64(),
            run: account.run.as_secs_f64(),
        };
        let Account { programs_compiled, programs_cached, program_runs, arena_bytes, .. } = account;
        let [frames, height, width] = job.video;
        let isa = target.map_or("none", |target| target.isa.name());
        Ok(Report {
            frames,
            height,
            width,
            seconds,
            programs_compiled,
            programs_cached,
            program_runs,
            arena_bytes,
            tiling,
            threads,
            lanes: route.lanes,
            precision,
            isa,
            device,
        })
    }

    /// The plugin that the options name: the one that is in use, or another in its place.
    fn session(&self, options: &RunOptions) -> Result<Arc<PjrtSession>> {
        let spec = options.plugin.clone().map_or_else(PluginSpec::from_env, Ok)?;
        let plugin = spec.locate()?;
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) =
            session.as_ref().filter(|session| session.is_of(&plugin, options.program_cache.as_deref()))
        {
            return Ok(session.clone());
        }
        // Plugins may allow one client at a time.
        *session = None;
        let opened = Arc::new(PjrtSession::open(&plugin, options.program_cache.as_deref())?);
        Ok(session.insert(opened).clone())
    }

    fn run_on(
        &self,
        engine: impl Engine,
        job: &Job<'_>,
        route: &Route,
        source: &mut dyn Source,
        sink: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
        observer: &mut dyn Observer,
    ) -> Result<Account> {
        let mut steps = Steps::new(&self.config, job.options, engine, job.options.threads()?, route.lanes)?;
        clip::run(&mut steps, &self.config, route, source, sink, observer)?;
        Ok(steps.account())
    }
}

/// What is to be run.
struct Job<'a> {
    half: Half,
    /// [B, C, T, H, W] of the input.
    shape: [usize; 5],
    /// Frames of all samples, height and width of the video: input or output.
    video: [usize; 3],
    options: &'a RunOptions,
}

/// Hands frames of a clip of this shape, which come in order, to `sink` once they are seen to be numbers.
fn finite<'a>(
    half: Half,
    shape: ClipShape,
    sink: &'a mut dyn FnMut(usize, &FrameBlock<'_>) -> Result<()>,
) -> impl FnMut(usize, &[f32]) -> Result<()> + 'a {
    // The sample whose frames come, and how many of them came.
    let mut seen = (0, 0);
    move |sample, data| {
        // No overflow: a step whose result is beyond the address space is refused when it is declared.
        let plane = shape.height * shape.width;
        let block = FrameBlock { data, frames: data.len() / (shape.channels * plane).max(1) };
        let first = if seen.0 == sample { seen.1 } else { 0 };
        check_made(half, &block, plane, sample, first)?;
        seen = (sample, first + block.frames);
        sink(sample, &block)
    }
}

/// Checks that what a half made, [C, T, H, W] with T from frame `first` on, are numbers.
fn check_made(half: Half, block: &FrameBlock<'_>, plane: usize, sample: usize, first: usize) -> Result<()> {
    let bad = |value: &f32| !value.is_finite();
    // The earliest frame that has one, whatever its channel.
    let images = block.data.chunks_exact(plane).enumerate();
    let found = images.filter_map(|(i, image)| Some((i % block.frames, *image.iter().find(|value| bad(value))?)));
    let Some((frame, value)) = found.min_by_key(|(frame, _)| *frame) else { return Ok(()) };
    let count = block.data.iter().filter(|value| bad(value)).count();
    Err(Error::NonFiniteResult { half, count, total: block.data.len(), value, sample, frame: first + frame })
}

fn check_input(what: &'static str, data: &[f32], shape: [usize; 5], channels: usize) -> Result<()> {
    check_shape(what, shape, channels)?;
    let elements = shape.into_iter().try_fold(1_usize, usize::checked_mul);
    if elements != Some(data.len()) {
        let problem = format!("{} values do not fill it", data.len());
        return Err(Error::Input { what, found: shape, problem });
    }
    Ok(())
}

fn check_shape(what: &'static str, shape: [usize; 5], channels: usize) -> Result<()> {
    let fail = |problem| Err(Error::Input { what, found: shape, problem });
    if shape.contains(&0) {
        return fail("an axis of [B, C, T, H, W] is empty".into());
    }
    if shape[1] != channels {
        return fail(format!("the model takes {channels} channels, axis 1 of [B, C, T, H, W]"));
    }
    Ok(())
}

/// Zeros in this shape.
fn zeros(what: &str, shape: [usize; 5]) -> Result<Vec<f32>> {
    let fail = |problem: String| Error::Memory { step: what.into(), problem };
    let elements = shape.into_iter().try_fold(1_usize, usize::checked_mul);
    let elements = elements.ok_or_else(|| fail(format!("their shape is {shape:?}")))?;
    let mut data = vec![];
    data.try_reserve_exact(elements).map_err(|cause| fail(cause.to_string()))?;
    data.resize(elements, 0.0);
    Ok(data)
}
