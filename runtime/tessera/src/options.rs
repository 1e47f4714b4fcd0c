//! How to run a model.

use std::num::NonZero;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;

use backend_cpu::target::Target;
use backend_tpu_stablehlo::pjrt::Optimization;
use backend_tpu_stablehlo::pjrt::locate::PluginSpec;
use frontend::{Autoencoder, FrameSteps, Half, Taps};
use passes::Precision;

use crate::cancellation::Cancellation;
use crate::conditions::Conditions;
use crate::error::{Error, Result};
use crate::frame_tiling::FrameTiling;
use crate::inspection::Inspection;
use crate::memory_budget::MemoryBudget;
use crate::tiling::{Overlap, Tiling};

/// The most threads that can be asked for.
pub const MOST_THREADS: usize = 1024;

/// Where compiled programs are kept unless another folder is asked for: the folder that
/// `TESSERA_CACHE_DIR` names, or one among the user's caches; `None` where there is neither.
pub fn usual_program_cache() -> Option<PathBuf> {
    match ir::knobs::CACHE_DIR.get() {
        Some(folder) => Some(folder.into()),
        None => Some(ir::knobs::cache_folder()?.join("tessera/programs")),
    }
}

/// What runs the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// Native code.
    #[default]
    Cpu,
    /// A PJRT plugin: XLA for CPUs, TPUs or GPUs.
    Pjrt,
    /// The evaluator, op by op: the definition of every op, hundreds of times slower.
    Interpret,
}

/// Whether frames are cut into tiles that are run apart and blended; see [`crate::tiling`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TilingChoice {
    /// With a PJRT plugin, whole frames. Else frames go through whole where that fits the memory
    /// budget, or in the largest tiles that do, shared out evenly, with overlaps as near as
    /// they divide to those asked for.
    #[default]
    Auto,
    /// Frames go through whole, or are refused.
    Off,
    /// Tiles of this size in pixels, as diffusers' `enable_tiling` has them: only frames larger
    /// than a tile are cut. A size that does not divide is refused; [`crate::Tiling::nearest`]
    /// finds one that does.
    Size {
        /// Height of a tile in pixels.
        height: usize,
        /// Width of a tile in pixels.
        width: usize,
    },
    /// Tiles of the size that the model's `enable_tiling` takes without arguments.
    Usual,
    /// Tiles of this size in pixels that begin so many pixels after each other, as some of diffusers'
    /// `enable_tiling` have them. What cannot be had is refused.
    Strided {
        /// Height and width of a tile in pixels.
        size: [usize; 2],
        /// Pixels from one tile to the next, down and to the right.
        stride: [usize; 2],
    },
}

impl TilingChoice {
    /// The tiles that are asked for, for one half; `None` where frames go through whole or as memory
    /// has it. `overlap` is that of tiles without a stride, the model's own if there is none.
    ///
    /// # Errors
    /// [`Error::Tiling`] if they do not fit together.
    pub fn tiling(self, model: &dyn Autoencoder, half: Half, overlap: Option<Overlap>) -> Result<Option<Tiling>> {
        let overlap = overlap.unwrap_or_else(|| Overlap::of(model, half));
        let tiling = match self {
            Self::Auto | Self::Off => return Ok(None),
            Self::Size { height, width } => Tiling { height, width, overlap },
            Self::Usual => Tiling { overlap, ..Tiling::of(model, half) },
            Self::Strided { size, stride } => return Tiling::strided(model, half, size, stride).map(Some),
        };
        tiling.check(model, half)?;
        Ok(Some(tiling))
    }
}

/// Whether clips are cut along time into tiles that are clips of their own; see
/// [`crate::frame_tiling`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FrameTilingChoice {
    /// As the reference does by itself.
    #[default]
    Usual,
    /// Clips go through as one.
    Off,
    /// In these tiles, where a clip is longer than one. A model that has none refuses them.
    Of(FrameTiling),
}

/// What is run at once, by workers: each runs one step at a time, with its share of the threads and
/// with memory of its own. All threads of a worker work on one kernel; a worker more means fewer
/// threads that wait for each other at its end. Results are the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parallel {
    /// Samples, or tiles, if a step is small enough that this is faster; see
    /// [`crate::memory_plan`].
    #[default]
    Auto,
    /// Samples of a batch of latents or of a clip in memory, where frames go through whole.
    Batch,
    /// Tiles of the same frames.
    Tiles,
    /// Nothing: all threads work on one step.
    None,
}

/// Why time is never cut into parts that run at once.
const TIME_IS_CAUSAL: &str = "frames are not independent: every causal convolution of a step reads the frames that the step \
     before left it, so steps run in order; samples (batch) and tiles can be spread";

impl FromStr for Parallel {
    type Err = Error;

    /// Reads `auto`, `batch`, `tiles` or `none`.
    ///
    /// # Errors
    /// [`Error::Parallel`], which for `time` says why it cannot be.
    fn from_str(text: &str) -> Result<Self> {
        let refused = |reason| Err(Error::Parallel { axis: text.into(), reason });
        match text {
            "auto" => Ok(Parallel::Auto),
            "batch" => Ok(Parallel::Batch),
            "tiles" => Ok(Parallel::Tiles),
            "none" => Ok(Parallel::None),
            "time" | "frames" => refused(TIME_IS_CAUSAL),
            _ => refused("expected auto, batch, tiles or none"),
        }
    }
}

/// How to decode or encode. Made by [`RunOptions::default`] and the methods `with_...`.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct RunOptions {
    /// What runs the steps.
    pub backend: Backend,
    /// From 1 to [`MOST_THREADS`]; by default as many as the system offers. Results do not depend
    /// on it.
    pub threads: Option<usize>,
    /// For [`Backend::Cpu`]; by default what [`Target::from_env_or_probe`] finds.
    pub target: Option<Target>,
    /// What elements are computed with and kept in. Inputs and results are f32 in any case.
    pub precision: Precision,
    /// For [`Backend::Pjrt`]; by default the one that
    /// [`backend_tpu_stablehlo::pjrt::locate::PLUGIN_VARIABLE`] names.
    pub plugin: Option<PluginSpec>,
    /// For [`Backend::Pjrt`]: how hard the plugin optimises; by default [`Optimization::OF_TPUS`]
    /// on TPUs, elsewhere what the plugin chooses.
    pub optimization: Option<Optimization>,
    /// For [`Backend::Pjrt`]: the folder where compiled programs are kept from run to run, if they
    /// are.
    pub program_cache: Option<PathBuf>,
    /// What to look at while steps run.
    pub inspection: Inspection,
    /// Which activations to lay open: [`crate::Observer::tap`] gets them.
    pub taps: Taps,
    /// Whether frames are cut into tiles.
    pub tiling: TilingChoice,
    /// What neighbouring tiles have in common; by default what those of the reference have.
    pub overlap: Option<Overlap>,
    /// Whether clips are cut along time.
    pub frame_tiling: FrameTilingChoice,
    /// Latent frames of every step but the first, where results do not depend on it, or where it is
    /// the caller's to say in the reference too. By default as many as the reference takes, or, in
    /// native code and where results do not depend on it, twice as many if memory allows.
    /// Activations are of the reference's steps: with [`Self::taps`] there is no choice.
    pub step_frames: Option<usize>,
    /// What the model is given beside the video: the timestep of a diffusion, noise. What only one
    /// half takes the other passes over.
    pub conditions: Conditions,
    /// Of decoding: whether the frames are kept too that the reference drops from the beginning of
    /// a clip. Of a model that drops none it is refused.
    pub keep_all_frames: bool,
    /// What may run at once, as far as the memory budget allows. The evaluator runs one step at a
    /// time. So does a PJRT plugin, unless batch or tiles are asked for: then two, so that
    /// tensors of the one travel while the other runs.
    pub parallel: Parallel,
    /// How much memory it may take, with whatever other calls of this process take at the same
    /// time: a call that does not fit beside them waits. What cannot be done within it is
    /// refused before any work. The evaluator and PJRT plugins, whose memory is not planned
    /// here, have no regard for it.
    pub memory: MemoryBudget,
    /// Ends the call from another thread.
    pub cancellation: Option<Cancellation>,
    /// Bytes of that budget which the caller takes for itself, in what it does with results.
    pub taken: u64,
}

/// Methods that set one field of [`RunOptions`] each.
macro_rules! setters {
    ($($with:ident: $field:ident = $ty:ty;)+) => {
        impl RunOptions {
            $(
                #[doc = concat!("Sets [`Self::", stringify!($field), "`].")]
                #[must_use]
                pub fn $with(mut self, $field: impl Into<$ty>) -> Self {
                    self.$field = $field.into();
                    self
                }
            )+
        }
    };
}

setters! {
    with_backend: backend = Backend;
    with_threads: threads = Option<usize>;
    with_target: target = Option<Target>;
    with_precision: precision = Precision;
    with_plugin: plugin = Option<PluginSpec>;
    with_optimization: optimization = Option<Optimization>;
    with_program_cache: program_cache = Option<PathBuf>;
    with_inspection: inspection = Inspection;
    with_taps: taps = Taps;
    with_tiling: tiling = TilingChoice;
    with_overlap: overlap = Option<Overlap>;
    with_frame_tiling: frame_tiling = FrameTilingChoice;
    with_step_frames: step_frames = Option<usize>;
    with_conditions: conditions = Conditions;
    with_keep_all_frames: keep_all_frames = bool;
    with_parallel: parallel = Parallel;
    with_memory: memory = MemoryBudget;
    with_cancellation: cancellation = Option<Cancellation>;
    with_taken: taken = u64;
}

impl RunOptions {
    /// Bytes that the process may hold, without what the caller takes for itself.
    pub(crate) fn budget(&self) -> u64 {
        self.memory.bytes().saturating_sub(self.taken)
    }

    /// Refuses what the backend does not have.
    pub(crate) fn check(&self) -> Result<()> {
        if self.backend != Backend::Pjrt && (self.plugin.is_some() || self.optimization.is_some()) {
            let named =
                if self.plugin.is_some() { "a PJRT plugin is named" } else { "a level of optimisation is named" };
            let problem = format!("{named}, which the backend `pjrt` alone takes: ask for that one");
            return Err(Error::Options { problem });
        }
        Ok(())
    }

    /// Frames at the beginning of what `half` makes of a clip that are dropped.
    ///
    /// # Errors
    /// [`Error::Options`] if all are to be kept of a model that drops none.
    pub fn dropped_frames(&self, model: &dyn Autoencoder, half: Half) -> Result<usize> {
        match (half, self.keep_all_frames, model.dropped_frames()) {
            (Half::Encoder, ..) => Ok(0),
            (Half::Decoder, false, dropped) => Ok(dropped),
            (Half::Decoder, true, 0) => {
                let class = model.class_name();
                let problem = format!("all frames are to be kept, of which {class} drops none: do not ask for it");
                Err(Error::Options { problem })
            }
            (Half::Decoder, true, _) => Ok(0),
        }
    }

    /// How the frames of a clip fall into steps of `half`: where activations are looked at, into
    /// those of the reference.
    ///
    /// # Errors
    /// [`Error::StepFrames`] if steps of [`Self::step_frames`] would give other numbers, or
    /// activations are to be looked at.
    pub fn frame_steps(&self, model: &dyn Autoencoder, half: Half) -> Result<FrameSteps> {
        let usual = match self.taps {
            Taps::None => model.frame_steps(half),
            Taps::All | Taps::Named(_) => model.reference_steps(half),
        };
        let Some(asked) = self.step_frames else { return Ok(usual) };
        let refused = |problem| Err(Error::StepFrames { half, asked, problem });
        if self.taps != Taps::None {
            return refused("activations are those of the reference's steps".into());
        }
        let frames = match half {
            Half::Decoder => asked,
            Half::Encoder => asked.saturating_mul(model.temporal_compression()),
        };
        usual.with_frames(frames).map_or_else(
            || {
                refused(match usual {
                    FrameSteps::Fixed { frames } | FrameSteps::Chunks { frames, .. } => {
                        format!("cut otherwise than into steps of {frames}, a clip gives other numbers")
                    }
                    FrameSteps::Free { unit, .. }
                    | FrameSteps::Ragged { unit, .. }
                    | FrameSteps::WholeUnits { unit, streams: true } => {
                        format!("a step takes a multiple of {unit} frames, not {frames}")
                    }
                    FrameSteps::Parts { .. } => "a step takes one frame or more".into(),
                    FrameSteps::Whole | FrameSteps::WholeUnits { .. } | FrameSteps::Units { .. } => {
                        "all frames of a clip go through in one step".into()
                    }
                })
            },
            Ok,
        )
    }

    /// The tiles along time into which a clip of so many frames of the input of `half` is cut, if it
    /// is.
    ///
    /// # Errors
    /// [`Error::FrameTiling`] if the model has no such tiles.
    pub fn frame_tiling(&self, model: &dyn Autoencoder, half: Half, frames: usize) -> Result<Option<FrameTiling>> {
        let tiling = match self.frame_tiling {
            FrameTilingChoice::Off => None,
            FrameTilingChoice::Usual => {
                let usual = model.frame_tile_rule(half).is_some_and(|rule| rule.usual);
                FrameTiling::of(model, half).filter(|_| usual)
            }
            FrameTilingChoice::Of(tiling) => {
                tiling.check(model, half)?;
                Some(tiling)
            }
        };
        Ok(tiling.filter(|tiling| tiling.applies(model, half, frames)))
    }

    /// The number of threads asked for, or the default.
    pub fn threads(&self) -> Result<usize> {
        let threads =
            self.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS));
        if (1..=MOST_THREADS).contains(&threads) {
            return Ok(threads);
        }
        Err(Error::Threads { threads, problem: format!("expected 1 to {MOST_THREADS}") })
    }

    /// What steps are compiled for; `None` where the backend makes no native code of ours.
    pub(crate) fn native_target(&self) -> Result<Option<Target>> {
        match self.backend {
            Backend::Cpu => self.target().map(Some),
            Backend::Pjrt | Backend::Interpret => Ok(None),
        }
    }

    /// The instruction set asked for, or the default.
    pub fn target(&self) -> Result<Target> {
        self.target.map_or_else(|| Ok(Target::from_env_or_probe()?), Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_plugins_is_refused_elsewhere() {
        let optimized = |backend| RunOptions { backend, optimization: Some(Optimization::O1), ..RunOptions::default() };
        let message = optimized(Backend::Cpu).check().unwrap_err().to_string();
        assert!(
            message.contains("a level of optimisation is named, which the backend `pjrt` alone takes"),
            "{message}"
        );
        assert!(optimized(Backend::Pjrt).check().is_ok());
    }

    #[test]
    fn what_may_run_at_once_is_named_and_time_is_refused_with_its_reason() {
        let names = ["auto", "batch", "tiles", "none"].map(|text| text.parse::<Parallel>().unwrap());
        assert_eq!(names, [Parallel::Auto, Parallel::Batch, Parallel::Tiles, Parallel::None]);
        let complaint = |text: &str| text.parse::<Parallel>().unwrap_err().to_string();
        assert!(complaint("time").contains("every causal convolution of a step reads"), "{}", complaint("time"));
        assert!(complaint("width").ends_with("expected auto, batch, tiles or none"));
    }
}
