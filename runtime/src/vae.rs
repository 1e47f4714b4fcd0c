//! The VAE: a configuration with its checkpoint, and the two ways through it.
//!
//! How a clip falls into steps is in `clip`; what runs them in `engine`. Tiles are not known here: height and width go
//! through whole.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use backend_cpu::weights::Weights;
use frontend::{Config, ConfigWarning, Half};

use crate::checkpoint::Checkpoint;
use crate::clip::{self, ClipInput};
use crate::engine::{CpuEngine, Engine, InterpretEngine};
use crate::error::{Error, Result};
use crate::latents::{LatentScaling, Latents};
use crate::media::{ClipShape, FrameBlock};
use crate::model::{ModelFiles, locate};
use crate::observer::Observer;
use crate::options::{Backend, RunOptions};
use crate::parameters;
use crate::report::{Report, Seconds};
use crate::steps::{Account, Steps};

/// A model that is open: its configuration, and its weights, mapped.
///
/// Weights are packed when a step first needs them and kept for all later calls.
pub struct Vae {
    config: Config,
    warnings: Vec<String>,
    checkpoint: Arc<Checkpoint>,
    weights: Weights,
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
/// [`Error::Read`]; [`Error::Config`] with every field that cannot be honoured.
pub fn read_config(path: &Path) -> Result<(Config, Vec<ConfigWarning>)> {
    let text = fs::read_to_string(path).map_err(|cause| Error::Read { path: path.into(), cause })?;
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

    /// Opens a model whose files are known; see [`crate::model::resolve`]. Which tensors a half needs is checked when that half is first asked for,
    /// so that a checkpoint of one half will do for it.
    ///
    /// # Errors
    /// Those of [`read_config`] and [`Checkpoint::open`].
    pub fn open_files(files: &ModelFiles) -> Result<Vae> {
        let (config, warnings) = read_config(&files.config)?;
        let mut vae = Vae::new(config, Checkpoint::open(&files.weights)?)?;
        let of_config = warnings.iter().map(|warning| format!("{}: {warning}", files.config.display()));
        vae.warnings.splice(..0, of_config);
        Ok(vae)
    }

    /// The model of a configuration and a checkpoint that are open already.
    ///
    /// # Errors
    /// [`Error::Declare`] if the configuration cannot be honoured; one that was read can.
    pub fn new(config: Config, checkpoint: Checkpoint) -> Result<Vae> {
        let checkpoint = Arc::new(checkpoint);
        let warnings = parameters::unused(&checkpoint, &config)?.into_iter().collect();
        let weights = Weights::new(checkpoint.clone());
        Ok(Vae { config, warnings, checkpoint, weights })
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
    /// [`Error::Weights`] with all that is wrong.
    pub fn check_weights(&self, half: Half) -> Result<()> {
        parameters::check(&self.checkpoint, &self.config, half)
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

    /// Decodes unscaled latents [B, C, T, H, W]; see [`LatentScaling::unscale`] for a pipeline's. `sink` gets the frames of
    /// each sample in order, unclamped, a step's at a time: [`crate::media::ClipWriter::write`] takes them as they are.
    ///
    /// # Errors
    /// [`Error::Input`], [`Error::Weights`], [`Error::Declare`], [`Error::Memory`], [`Error::Threads`], [`Error::Isa`];
    /// [`Error::Interrupted`] if the observer breaks; what `sink` and the observer return.
    pub fn decode(
        &self,
        latents: &Latents,
        options: &RunOptions,
        sink: &mut dyn FnMut(usize, &FrameBlock<'_>) -> Result<()>,
        observer: &mut dyn Observer,
    ) -> Result<Report> {
        let shape = self.decoded_shape(latents)?;
        self.check_weights(Half::Decoder)?;
        let input = ClipInput { half: Half::Decoder, data: &latents.data, shape: latents.shape };
        // No overflow: a step whose result is beyond the address space is refused when it is declared.
        let frame = |shape: &ClipShape| shape.channels * shape.height * shape.width;
        let mut give = |sample, data: &[f32]| sink(sample, &FrameBlock { data, frames: data.len() / frame(&shape) });
        let video = [shape.batch.saturating_mul(shape.frames), shape.height, shape.width];
        self.run(input, options, video, &mut give, observer)
    }

    /// Encodes a video [B, C, T, H, W] to the moments of its latents, unscaled.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn encode(&self, clip: &Clip, options: &RunOptions, observer: &mut dyn Observer) -> Result<(Moments, Report)> {
        check_input("clip", &clip.data, clip.shape, self.config.in_channels)?;
        self.check_weights(Half::Encoder)?;
        let [batch, _, frames, height, width] = clip.shape;
        let (channels, latent_frames) = (2 * self.config.latent_channels, self.config.encoded_frames(frames));
        let latent_size = [self.config.latent_size(height), self.config.latent_size(width)];
        let shape = [batch, channels, latent_frames, latent_size[0], latent_size[1]];
        let mut data = zeros("the latents", shape)?;

        let plane = latent_size[0] * latent_size[1];
        // Frames that are already there, of the sample they are of.
        let mut filled = (0, 0);
        let mut gather = |sample: usize, step: &[f32]| {
            let frames = step.len() / (channels * plane);
            let first = if filled.0 == sample { filled.1 } else { 0 };
            for (channel, values) in step.chunks_exact(frames * plane).enumerate() {
                let start = ((sample * channels + channel) * latent_frames + first) * plane;
                data[start..start + values.len()].copy_from_slice(values);
            }
            filled = (sample, first + frames);
            Ok(())
        };
        let input = ClipInput { half: Half::Encoder, data: &clip.data, shape: clip.shape };
        let report = self.run(input, options, [batch * frames, height, width], &mut gather, observer)?;
        Ok((Moments { data, shape }, report))
    }

    /// Runs `input` on the backend that `options` name. `video` is the number, height and width of the video's frames.
    fn run(
        &self,
        input: ClipInput<'_>,
        options: &RunOptions,
        [frames, height, width]: [usize; 3],
        sink: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
        observer: &mut dyn Observer,
    ) -> Result<Report> {
        let threads = options.threads()?;
        let (isa, account) = match options.backend {
            Backend::Cpu => {
                let isa = options.isa()?;
                let engine = CpuEngine::new(isa, threads, &self.weights)?;
                (isa.name(), self.run_on(engine, input, options, sink, observer)?)
            }
            Backend::Interpret => {
                let engine = InterpretEngine::new(threads, &self.checkpoint)?;
                ("none", self.run_on(engine, input, options, sink, observer)?)
            }
        };
        let seconds = Seconds {
            load: account.load.as_secs_f64(),
            compile: account.compile.as_secs_f64(),
            run: account.run.as_secs_f64(),
        };
        let Account { programs_compiled, program_runs, arena_bytes, .. } = account;
        Ok(Report { frames, height, width, seconds, programs_compiled, program_runs, arena_bytes, threads, isa })
    }

    fn run_on(
        &self,
        engine: impl Engine,
        input: ClipInput<'_>,
        options: &RunOptions,
        sink: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
        observer: &mut dyn Observer,
    ) -> Result<Account> {
        let mut steps = Steps::new(&self.config, &options.taps, engine);
        clip::run(&mut steps, &self.config, input, sink, observer)?;
        Ok(steps.account())
    }
}

fn check_input(what: &'static str, data: &[f32], shape: [usize; 5], channels: usize) -> Result<()> {
    let fail = |problem| Err(Error::Input { what, found: shape, problem });
    if shape.contains(&0) {
        return fail("an axis of [B, C, T, H, W] is empty".into());
    }
    if shape[1] != channels {
        return fail(format!("the model takes {channels} channels, axis 1 of [B, C, T, H, W]"));
    }
    let elements = shape.into_iter().try_fold(1_usize, usize::checked_mul);
    if elements != Some(data.len()) {
        return fail(format!("{} values do not fill it", data.len()));
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
