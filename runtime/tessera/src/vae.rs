//! The VAE: a configuration with its checkpoint, and the two ways through it.
//!
//! How a clip falls into steps and tiles is in `clip`; what runs them in `engine`.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use backend_cpu::target::Target;
use backend_tpu_stablehlo::pjrt::locate::PluginSpec;
use frontend::{Autoencoder, Half, LatentScaling, Medium};

use crate::cancellation::Cancellable;
use crate::checkpoint::Checkpoint;
use crate::clip;
use crate::conditions::{CallConditions, Conditions};
use crate::config_file;
use crate::engine::{CpuEngine, Engine, InterpretEngine, PjrtEngine, PjrtSession};
use crate::error::{Error, Result};
use crate::inspection::Inspection;
use crate::latent_form::LatentForm;
use crate::media::{ClipShape, FrameBlock};
use crate::memory_ledger::LEDGER;
use crate::memory_plan::{Decided, Plan};
use crate::model::{ModelFiles, locate};
use crate::observer::{Observer, Preparation};
use crate::options::{Backend, RunOptions};
use crate::parameters;
use crate::recognition::{self, Recognition};
use crate::report::{Report, Seconds};
use crate::results::{finite, in_range};
use crate::route::Route;
use crate::run_plan::RunPlan;
use crate::session::{KeptPlan, PlanKey, Session};
use crate::source::{InMemory, NextFrames, Source, Stream};
use crate::steps::{Account, Steps};
use crate::tiling_decision::TilingDecision;
use crate::video::{Video, VideoBuilder, VideoView};

pub use crate::config_file::read_config;

/// A model that is open: its declaration, and its weights, mapped.
///
/// What a call makes is kept for later ones: packed weights, compiled steps, memory and threads,
/// plans. Several threads may call at once; see [`RunOptions::memory`] and
/// [`RunOptions::cancellation`].
pub struct Vae {
    model: Arc<dyn Autoencoder>,
    warnings: Vec<String>,
    /// By what the model was recognised, if it had no configuration.
    recognition: Option<String>,
    session: RwLock<Arc<Session>>,
}

impl Vae {
    /// Opens the model in a folder, or a weights file, with its configuration beside it or
    /// [recognised](Self::recognised); see [`locate`].
    ///
    /// # Errors
    /// Those of [`locate`] and [`Self::open_files`].
    pub fn open(model: &Path) -> Result<Vae> {
        Vae::open_files(&locate(model, None)?)
    }

    /// Opens a model whose files are known; see [`crate::model::resolve`]. Which tensors a half
    /// needs is checked when that half is first asked for, so that a checkpoint of one half
    /// will do for it.
    ///
    /// # Errors
    /// Those of [`read_config`], [`Checkpoint::open`] and [`Self::recognised`].
    pub fn open_files(files: &ModelFiles) -> Result<Vae> {
        Vae::open_prefixed(files, None)
    }

    /// [`Self::open_files`] with only those of the weights whose names begin with `prefix`, where
    /// files hold several models. A configuration that the weights do not fit may be one that leaves
    /// out what their names and shapes tell; [`Self::account`] says so then.
    ///
    /// # Errors
    /// As [`Self::open_files`]; [`weights::Error::NoPrefix`].
    pub fn open_prefixed(files: &ModelFiles, prefix: Option<&str>) -> Result<Vae> {
        let config = files.config.as_ref().map(|path| Ok::<_, Error>((path, config_file::text(path)?))).transpose()?;
        let checkpoint = Checkpoint::open(&files.weights)?;
        let checkpoint = match prefix {
            Some(prefix) => checkpoint.under(prefix)?,
            None => checkpoint,
        };
        let Some((path, text)) = config else { return Vae::recognised(checkpoint) };
        let complete = config_file::model(path, &text).and_then(|(model, warnings)| {
            let mut vae = Vae::new(model, checkpoint.clone())?;
            vae.warnings.splice(..0, warnings.iter().map(|warning| format!("{}: {warning}", path.display())));
            Ok(vae)
        });
        if complete.as_ref().is_ok_and(|vae| Half::ALL.into_iter().any(|half| vae.check_weights(half).is_ok())) {
            return complete;
        }
        match recognition::completed(&checkpoint, &text) {
            Some(Recognition { model, account }) => {
                Ok(Vae { recognition: Some(account), ..Vae::new(model, checkpoint)? })
            }
            None => complete,
        }
    }

    /// The model that a checkpoint without a configuration is found to hold, by the names and shapes
    /// of its tensors and, among equals, by the name of its file; [`Self::account`] says which.
    ///
    /// # Errors
    /// [`Error::Unrecognised`]; as [`Self::new`].
    pub fn recognised(checkpoint: Checkpoint) -> Result<Vae> {
        let Recognition { model, account } = recognition::recognise(&checkpoint)?;
        Ok(Vae { recognition: Some(account), ..Vae::new(model, checkpoint)? })
    }

    /// The model of a configuration and a checkpoint that are open already. The model's tensors are
    /// found among the checkpoint's also where others stand beside them and where their names
    /// have more in them than the model's; see [`Checkpoint::account`].
    ///
    /// # Errors
    /// [`weights::Error::Ambiguous`] if they hold the model more than once,
    /// [`weights::Error::DuplicateTensor`] a tensor; [`Error::Declare`] if the configuration
    /// cannot be honoured; one that was read can.
    pub fn new(model: Arc<dyn Autoencoder>, checkpoint: Checkpoint) -> Result<Vae> {
        let (session, warnings) = session(&*model, checkpoint)?;
        Ok(Vae { model, warnings, recognition: None, session: RwLock::new(Arc::new(session)) })
    }

    /// Takes other weights for this model from here on, and forgets all that was made of the
    /// earlier ones. Calls that run end on those. Returns warnings as [`Self::warnings`] has
    /// them.
    ///
    /// # Errors
    /// As [`Self::new`]; then the earlier weights stay.
    pub fn replace_weights(&self, checkpoint: Checkpoint) -> Result<Vec<String>> {
        let (session, warnings) = session(&*self.model, checkpoint)?;
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(session);
        Ok(warnings)
    }

    /// Gives back the memory of all that calls have left: packed weights, programs, arenas, a
    /// plugin with what is on its device. The next call makes what it needs anew. Calls that
    /// run keep theirs until they end.
    pub fn free(&self) {
        let mut session = self.session.write().unwrap_or_else(PoisonError::into_inner);
        *session = Arc::new(Session::new(session.checkpoint.clone()));
    }

    fn session(&self) -> Arc<Session> {
        self.session.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The model's declaration.
    pub fn model(&self) -> &dyn Autoencoder {
        &*self.model
    }

    /// The same, to be kept.
    pub fn shared_model(&self) -> Arc<dyn Autoencoder> {
        self.model.clone()
    }

    /// What was passed over: fields of config.json and tensors that the model does not have.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Sentences about what a file was taken for: which model, where it has no configuration, and
    /// which of its tensors, where their names are not simply the model's.
    pub fn account(&self) -> Vec<String> {
        let names = self.session().checkpoint.account().map(str::to_owned);
        self.recognition.iter().cloned().chain(names).collect()
    }

    /// The weights on disk.
    pub fn checkpoint(&self) -> Arc<Checkpoint> {
        self.session().checkpoint.clone()
    }

    /// How the model's pipeline scales latents.
    ///
    /// # Errors
    /// [`weights::Error::NotTheModel`] if the numbers should be in the checkpoint and are not;
    /// [`Error::Scaling`] if they make no sense.
    pub fn latent_scaling(&self) -> Result<LatentScaling> {
        parameters::scaling(&*self.model, &self.session().checkpoint)
    }

    /// How many channels the model's latents have in files.
    pub fn latent_form(&self) -> LatentForm {
        LatentForm { channels: self.model.channels().latents, patch: self.model.latent_scaling().patch, size: None }
    }

    /// Checks that the checkpoint has every tensor of `half`, in its shape, as numbers.
    ///
    /// # Errors
    /// [`weights::Error::NotTheModel`] with all that is wrong.
    pub fn check_weights(&self, half: Half) -> Result<()> {
        self.session().check_weights(&*self.model, half)
    }

    /// The shape of the clip that `latents` decode to by `options`.
    ///
    /// # Errors
    /// As [`Self::decoded_shape_of`]; [`Error::Input`] if there are not as many values as the shape
    /// says.
    pub fn decoded_shape<'a>(&self, latents: impl Into<VideoView<'a>>, options: &RunOptions) -> Result<ClipShape> {
        let VideoView { data, shape } = latents.into();
        let clip = self.decoded_shape_of(shape, options)?;
        check_filled("latents", data, shape)?;
        Ok(clip)
    }

    /// The shape of the clip that latents [B, C, T, H, W] of this shape decode to by `options`.
    ///
    /// # Errors
    /// [`Error::Input`] if they are not latents of this model; [`Error::Options`] if frames are to
    /// be kept that it does not drop.
    pub fn decoded_shape_of(&self, latents: [usize; 5], options: &RunOptions) -> Result<ClipShape> {
        let [batch, _, frames, height, width] = latents;
        check_shape("latents", latents, self.model.channels().latents)?;
        self.check_medium("latents", latents)?;
        let dropped = options.dropped_frames(&*self.model, Half::Decoder)?;
        Ok(ClipShape {
            batch,
            channels: self.model.channels().output,
            frames: self.model.clip_frames(Half::Decoder, frames).saturating_sub(dropped),
            height: self.model.sample_size(height),
            width: self.model.sample_size(width),
        })
    }

    /// Checks that a model of images is given images.
    fn check_medium(&self, what: &'static str, found: [usize; 5]) -> Result<()> {
        match (self.model.medium(), found[2]) {
            (Medium::Video, _) | (Medium::Image, 1) => Ok(()),
            (Medium::Image, frames) => {
                let class = self.model.class_name();
                let problem = format!("{class} is a model of images, which are one frame each, and these are {frames}");
                Err(Error::Input { what, found, problem })
            }
        }
    }

    /// Decodes unscaled latents [B, C, T, H, W]; see [`crate::Latents::unscale`] for a pipeline's.
    /// `sink` gets the frames of each sample in order, in the reference's range, a step's at a
    /// time: [`crate::media::ClipWriter::write`] takes them as they are.
    ///
    /// # Errors
    /// [`Error::Input`], [`Error::Weights`], [`Error::Declare`], [`Error::Tiling`],
    /// [`Error::Budget`], [`files::Error::Spill`], [`Error::Memory`], [`Error::Threads`],
    /// [`Error::Target`]; [`Error::NonFiniteResult`] at the first frame with non-finite values;
    /// [`Error::Interrupted`] if the observer breaks; what `sink` and the observer return.
    pub fn decode<'a>(
        &self,
        latents: impl Into<VideoView<'a>>,
        options: &RunOptions,
        sink: &mut dyn FnMut(usize, &FrameBlock<'_>) -> Result<()>,
        observer: &mut dyn Observer,
    ) -> Result<Report> {
        let latents = latents.into();
        let shape = self.decoded_shape(latents, options)?;
        self.check_weights(Half::Decoder)?;
        let mut source = InMemory { data: latents.data, shape: latents.shape };
        let mut give = finite(Half::Decoder, shape, sink);
        let video = [shape.batch.saturating_mul(shape.frames), shape.height, shape.width];
        let job = self.job(Half::Decoder, latents.shape, video, options)?;
        self.run(&job, &mut source, &mut give, observer)
    }

    /// [`Self::decode`] to videos in memory.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_to_memory<'a>(
        &self,
        latents: impl Into<VideoView<'a>>,
        options: &RunOptions,
        observer: &mut dyn Observer,
    ) -> Result<(Video, Report)> {
        let latents = latents.into();
        let mut frames = VideoBuilder::new("the decoded frames", self.decoded_shape(latents, options)?)?;
        let mut sink = |sample: usize, block: &FrameBlock<'_>| {
            frames.add(sample, block);
            Ok(())
        };
        let report = self.decode(latents, options, &mut sink, observer)?;
        Ok((frames.finish(), report))
    }

    /// Encodes a video [B, C, T, H, W] to the moments of its latents, unscaled.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn encode<'a>(
        &self,
        clip: impl Into<VideoView<'a>>,
        options: &RunOptions,
        observer: &mut dyn Observer,
    ) -> Result<(Video, Report)> {
        let VideoView { data, shape } = clip.into();
        let [batch, channels, frames, height, width] = shape;
        let moments = self.encoded_shape(&ClipShape { batch, channels, frames, height, width })?;
        check_filled("clip", data, shape)?;
        let mut moments = VideoBuilder::new("the latents", moments)?;
        let mut sink = |sample: usize, block: &FrameBlock<'_>| {
            moments.add(sample, block);
            Ok(())
        };
        let report = self.encode_from(shape, &mut InMemory { data, shape }, options, &mut sink, observer)?;
        Ok((moments.finish(), report))
    }

    /// The shape of the moments that a clip encodes to.
    ///
    /// # Errors
    /// [`Error::Input`] if it is not a clip for this model.
    pub fn encoded_shape(&self, clip: &ClipShape) -> Result<ClipShape> {
        check_shape("clip", clip.axes(), self.model.channels().input)?;
        self.check_medium("clip", clip.axes())?;
        let least = self.model.least_size(Half::Encoder);
        if clip.height.min(clip.width) < least {
            let problem = format!(
                "its frames are {}x{} (width x height); the model needs at least {least}x{least} pixels, enlarge them",
                clip.width, clip.height
            );
            return Err(Error::Input { what: "clip", found: clip.axes(), problem });
        }
        let frames = self.model.encoded_frames(clip.frames);
        if frames == 0 {
            let least = self.model.temporal_compression();
            let problem = format!("the model makes a latent frame of {least} frames, and has fewer to make it of");
            return Err(Error::Input { what: "clip", found: clip.axes(), problem });
        }
        Ok(ClipShape {
            batch: clip.batch,
            channels: self.model.channels().moments,
            frames,
            height: self.model.latent_size(clip.height),
            width: self.model.latent_size(clip.width),
        })
    }

    /// Checks that the encoder takes frames of this height and width.
    fn check_unit(&self, found: [usize; 5]) -> Result<()> {
        let [.., height, width] = found;
        let unit = self.model.size_unit(Half::Encoder);
        if height.is_multiple_of(unit) && width.is_multiple_of(unit) {
            return Ok(());
        }
        let problem = format!(
            "its frames are {width}x{height} (width x height); the model takes multiples of {unit} alone, resize them"
        );
        Err(Error::Input { what: "clip", found, problem })
    }

    /// Encodes a video of this shape whose frames come as they are asked for: [`Self::encode`] in
    /// memory that does not depend on the length of the clip. `next` is asked for the frames of
    /// each sample in order, a step's at a time: it is given the sample and how many, and
    /// returns row-major [C, T, H, W]. `sink` gets the moments of each sample in the same way,
    /// in the shape that [`Self::encoded_shape`] tells.
    ///
    /// # Errors
    /// As [`Self::encode`], and what `next` returns; [`media::Error::InvalidClip`] if it gives
    /// another number of values.
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
        self.check_unit(axes)?;
        self.check_weights(Half::Encoder)?;
        let mut give = finite(Half::Encoder, moments, sink);
        let video = [batch.saturating_mul(frames), height, width];
        self.run(&self.job(Half::Encoder, axes, video, options)?, source, &mut give, observer)
    }

    /// How a call of `half` over an input [B, C, T, H, W] of this shape would go: nothing is run or
    /// compiled, and the call that follows goes by this plan while it fits. Of the encoder it is the
    /// plan for a clip that is all in memory.
    ///
    /// # Errors
    /// As [`Self::decode`] and [`Self::encode`], but for those of running.
    pub fn plan(&self, half: Half, shape: [usize; 5], options: &RunOptions) -> Result<RunPlan> {
        let [batch, channels, frames, height, width] = shape;
        let (result, video) = match half {
            Half::Decoder => {
                let clip = self.decoded_shape_of(shape, options)?;
                (clip, [clip.batch.saturating_mul(clip.frames), clip.height, clip.width])
            }
            Half::Encoder => {
                let moments = self.encoded_shape(&ClipShape { batch, channels, frames, height, width })?;
                self.check_unit(shape)?;
                (moments, [batch.saturating_mul(frames), height, width])
            }
        };
        options.check()?;
        let target = options.native_target()?;
        let session = self.session();
        let job = self.job(half, shape, video, options)?;
        let (plan, _) = self.kept_plan(&job, &session, options.threads()?, target, true)?;
        Ok(RunPlan::of(&plan.route, plan.decision.clone(), result))
    }

    /// What is to be run over an input [B, C, T, H, W].
    fn job<'a>(&self, half: Half, shape: [usize; 5], video: [usize; 3], options: &'a RunOptions) -> Result<Job<'a>> {
        let conditions = CallConditions::new(&*self.model, half, shape, &options.conditions)?;
        Ok(Job { half, shape, video, options, conditions })
    }

    /// Runs a job on the backend that its options name.
    fn run(
        &self,
        job: &Job<'_>,
        source: &mut dyn Source,
        sink: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
        observer: &mut dyn Observer,
    ) -> Result<Report> {
        let options = job.options;
        options.check()?;
        let threads = options.threads()?;
        let target = options.native_target()?;
        let observer = &mut Cancellable { observer, cancellation: options.cancellation.as_ref() };
        let session = self.session();
        let (plan, plan_kept) = self.kept_plan(job, &session, threads, target, source.is_random_access())?;
        let KeptPlan { route, decision, native, .. } = &*plan;
        log::info!("{decision}");
        let budget = options.budget();
        let _admission = LEDGER
            .admit(plan.adds(&session), budget, &mut || observer.preparing(Preparation::Wait))
            .ok_or(Error::Interrupted)?;
        let range = self.model.result_range(job.half, route.grid.tiles() > 1);
        let sink: &mut dyn FnMut(usize, &[f32]) -> Result<()> = &mut in_range(range, sink);
        let mut device = None;
        let account = match (target.zip(native.as_ref()), options.backend) {
            (Some((target, steps)), _) => {
                let Session { weights, checkpoint, cpu: kept, .. } = &*session;
                let engine = CpuEngine { target, options, steps, weights, checkpoint, kept };
                self.run_on(engine, job, route, source, sink, observer)?
            }
            (None, Backend::Pjrt) => {
                let plugin = plugin(&session, options)?;
                device = Some(plugin.device().to_owned());
                let engine = PjrtEngine::new(&plugin, &session.checkpoint, options);
                self.run_on(engine, job, route, source, sink, observer)?
            }
            (None, _) => {
                let Session { checkpoint, interpreter: kept, .. } = &*session;
                let engine = InterpretEngine { options, checkpoint, kept };
                self.run_on(engine, job, route, source, sink, observer)?
            }
        };
        let seconds = Seconds {
            load: account.load.as_secs_f64(),
            compile: account.compile.as_secs_f64(),
            run: account.run.as_secs_f64(),
        };
        let Account { programs_compiled, programs_cached, programs_kept, program_runs, arena_bytes, .. } = account;
        let [frames, height, width] = job.video;
        Ok(Report {
            frames,
            height,
            width,
            seconds,
            programs_compiled,
            programs_cached,
            programs_kept,
            plan_kept,
            program_runs,
            arena_bytes,
            tiling: TilingDecision { budget, ..decision.clone() },
            threads,
            workers: route.workers,
            precision: options.precision,
            isa: target.map_or("none", |target| target.isa.name()),
            device,
        })
    }

    /// The plan of an earlier call like this one, where it still fits, or a new one; and whether it
    /// is the former.
    fn kept_plan(
        &self,
        job: &Job<'_>,
        session: &Session,
        threads: usize,
        target: Option<Target>,
        in_memory: bool,
    ) -> Result<(Arc<KeptPlan>, bool)> {
        let &Job { half, shape, options, .. } = job;
        // What does not matter to a plan.
        let (inspection, conditions) = (Inspection::default(), Conditions::default());
        let asked = RunOptions { inspection, cancellation: None, conditions, ..options.clone() };
        let key = PlanKey { half, shape, in_memory, threads, target, options: asked };
        if let Some(kept) = session.plan(&key) {
            let held = LEDGER.base().unwrap_or(0);
            if held.saturating_add(kept.adds(session)) <= options.budget() {
                return Ok((kept, true));
            }
        }
        // What idle workspaces hold would count twice.
        session.cpu.drop_workspaces();
        let weights_made = session.weights.bytes();
        let (model, checkpoint) = (&*self.model, &*session.checkpoint);
        let plan = Plan { model, checkpoint, half, shape, options, threads, target, in_memory, weights_made };
        let Decided { route, decision, native } = plan.decide()?;
        let plan = KeptPlan { route, decision, native, weights_made };
        Ok((session.keep_plan(key, plan), false))
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
        let mut steps = Steps::new(&*self.model, job.options, engine, job.options.threads()?, route.workers)?;
        clip::run(&mut steps, &*self.model, route, &job.conditions, source, sink, observer)?;
        Ok(steps.account())
    }
}

/// The plugin that the options name: the one that is in use, or another in its place.
fn plugin(session: &Session, options: &RunOptions) -> Result<Arc<PjrtSession>> {
    let spec = options.plugin.clone().map_or_else(PluginSpec::from_env, Ok)?;
    let path = spec.locate()?;
    let mut plugin = session.plugin.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(plugin) = plugin.as_ref().filter(|plugin| plugin.is_of(&path, options.program_cache.as_deref())) {
        return Ok(plugin.clone());
    }
    // Plugins may allow one client at a time.
    *plugin = None;
    let opened = Arc::new(PjrtSession::open(&path, options.program_cache.as_deref())?);
    Ok(plugin.insert(opened).clone())
}

/// A session over the tensors of `checkpoint` that are the model's, and what was passed over.
fn session(model: &dyn Autoencoder, checkpoint: Checkpoint) -> Result<(Session, Vec<String>)> {
    let parts = parameters::all(model)?;
    let checkpoint = checkpoint.named(&parts, &parameters::dialects(model))?;
    let warnings = checkpoint.unexpected(&parts, |name| model.leaves_unread(name)).into_iter().collect();
    Ok((Session::new(Arc::new(checkpoint)), warnings))
}

/// What is to be run.
struct Job<'a> {
    half: Half,
    /// [B, C, T, H, W] of the input.
    shape: [usize; 5],
    /// Frames of all samples, height and width of the video: input or output.
    video: [usize; 3],
    options: &'a RunOptions,
    conditions: CallConditions,
}

fn check_filled(what: &'static str, data: &[f32], shape: [usize; 5]) -> Result<()> {
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
