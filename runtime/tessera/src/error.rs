//! The one error type of this package.
//!
//! A message is for the person who reads it: what was wrong, where (file, tensor), what was
//! expected, what to do. It is whole in one line; an underlying cause is part of the line and not
//! chained behind it, so that nothing is said twice.

use std::fmt::Display;
use std::path::PathBuf;

use backend_cpu::target::TargetError;
use backend_cpu::weights::WeightError;
use backend_tpu_stablehlo::pjrt;
use backend_tpu_stablehlo::pjrt::child::ChildError;
use backend_tpu_stablehlo::pjrt::locate::LocateError;
use frontend::{ConfigError, DeclareError, Half, ScalingError, Step};

use crate::amount::at_most;
use crate::frame_tiling::FrameTiling;
use crate::memory_estimate::MemoryEstimate;
use crate::non_finite::NonFiniteActivation;
use crate::tiling::Tiling;

/// A result with this package's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by kind; see the module's documentation for what a message holds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read, holds no such tensor, or cannot be written.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// A clip cannot be read or written.
    #[error(transparent)]
    Media(media::Error),
    /// A model's files or weights cannot be had, or are not what the configuration asks for.
    #[error(transparent)]
    Weights(weights::Error),
    /// config.json cannot be used.
    #[error("{}: {}", path.display(), one_line(cause))]
    Config {
        /// The file.
        path: PathBuf,
        /// Every field that cannot be honoured.
        cause: ConfigError,
    },
    /// A file of weights without a config.json beside it, whose model its tensors do not tell.
    #[error(
        "{}: there is no config.json beside it, and which model it is cannot be told: {problem}; put the model's \
         config.json there, or name it", path.display()
    )]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// What its tensors look like.
        problem: String,
    },
    /// A tensor to decode or encode that the model does not take.
    #[error("{what} of shape {found:?}: {problem}")]
    Input {
        /// Latents or a clip.
        what: &'static str,
        /// Its shape.
        found: [usize; 5],
        /// What was expected.
        problem: String,
    },
    /// Tiles that would give frames of a wrong size.
    #[error("{tiling} do not fit together in the {half}: {problem}")]
    Tiling {
        /// The tiles asked for.
        tiling: Tiling,
        /// The half of the model that they were asked for.
        half: Half,
        /// Along which axis, and the nearest sizes and overlaps that fit.
        problem: String,
    },
    /// Tiles along time that the model does not have, or that would give a clip of a wrong length.
    #[error("{tiling} cannot be had of the {half}: {problem}")]
    FrameTiling {
        /// The tiles asked for.
        tiling: FrameTiling,
        /// The half of the model that they were asked for.
        half: Half,
        /// What is against them.
        problem: String,
        /// The nearest that can be had.
        nearest: Option<FrameTiling>,
    },
    /// A step that the model does not have: an image too small to encode, an unknown module to tap,
    /// sizes beyond the address space.
    #[error("{}", one_line(.0))]
    Declare(#[from] DeclareError),
    /// What the environment asks of the CPU cannot be had.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Steps of a number of frames that the model cannot take.
    #[error("the {half} cannot take {asked} latent frames a step: {problem}")]
    StepFrames {
        /// The half.
        half: Half,
        /// Latent frames asked for.
        asked: usize,
        /// What is against it.
        problem: String,
    },
    /// A condition that the model does not have, or not so.
    #[error("{problem}")]
    Condition {
        /// Which, and what was expected.
        problem: String,
    },
    /// Options that contradict each other.
    #[error("{problem}")]
    Options {
        /// Which, and what to do.
        problem: String,
    },
    /// No PJRT plugin where one was looked for.
    #[error("{}", one_line(.0))]
    NoPlugin(Box<LocateError>),
    /// A PJRT plugin cannot be used, or refuses something.
    #[error("{}", one_line(.0))]
    Pjrt(Box<pjrt::Error>),
    /// What was done with a PJRT plugin in a child process failed.
    #[error("{}", one_line(.0))]
    PluginChild(Box<ChildError>),
    /// The system gives no threads.
    #[error(
        "{threads} threads cannot be started: {problem}; ask for fewer, or raise the limits on memory and processes"
    )]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        problem: String,
    },
    /// An axis along which nothing can run at once.
    #[error("`{axis}` cannot be run in parallel: {reason}")]
    Parallel {
        /// The axis asked for.
        axis: String,
        /// Why not, or what is known.
        reason: &'static str,
    },
    /// A step needs more memory than there is.
    #[error(
        "{step}: not enough memory: {problem}; decode a smaller or shorter clip, or use a machine with more memory"
    )]
    Memory {
        /// The step, or what else needed the memory.
        step: String,
        /// What could not be had.
        problem: String,
    },
    /// A clip for which the memory budget is too small, told before any work.
    #[error(
        "the {half} over [B, C, T, H, W] = {shape:?} needs {needed} {how}, the memory budget is {}; give it a larger \
         budget, free memory, or take a smaller clip",
        at_most(*budget)
    )]
    Budget {
        /// The half of the model.
        half: Half,
        /// The shape of what it was to run over.
        shape: [usize; 5],
        /// The least that was found to be needed.
        needed: Box<MemoryEstimate>,
        /// What was allowed, in bytes.
        budget: u64,
        /// In which tiles.
        how: &'static str,
    },
    /// The observer asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A fault of Tessera itself: a valid model and valid input that one of its stages refuses.
    #[error("internal fault of Tessera in {stage} of {step}: {problem}; please report it with the model's config.json")]
    Internal {
        /// Pass pipeline, code generation, running.
        stage: &'static str,
        /// The step.
        step: String,
        /// What the stage said.
        problem: String,
    },
    /// A file holds several tensors and none was chosen.
    #[error("{}: which tensor? Append `#NAME` to the path; the file has {present}", path.display())]
    AmbiguousTensor {
        /// The file.
        path: PathBuf,
        /// The file's tensors with their shapes.
        present: String,
    },
    /// Latents whose patches are in a row, of which height and width are not known.
    #[error(
        "{}: tensor `{tensor}` is {tokens} patches of {patch}x{patch} in a row, which are {}", path.display(), not_of(*size)
    )]
    PackedSize {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// How many patches there are.
        tokens: usize,
        /// Height and width of a patch.
        patch: usize,
        /// Height and width of the latents that were said, if any were.
        size: Option<[usize; 2]>,
    },
    /// A tensor holds NaN or infinity.
    #[error(
        "{}: tensor `{tensor}` has {count} of {total} values that are not finite, the first ({value}) at {index:?}, in \
         frame {frame} of sample {sample}; the program that wrote it overflowed or failed",
        path.display(),
        sample = index[0]
    )]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// How many values are not finite.
        count: usize,
        /// How many values there are.
        total: usize,
        /// The first such value.
        value: f32,
        /// Its index in the file's axes, samples first.
        index: Box<[usize; 5]>,
        /// The frame that it is in.
        frame: usize,
    },
    /// The model made NaN or infinity of numbers.
    #[error(
        "the {half} made {count} of {total} values that are not finite, the first ({value}) in frame {frame} of sample \
         {sample}: weights are damaged, or values grew beyond f32"
    )]
    NonFiniteResult {
        /// The half of the model.
        half: Half,
        /// How many values of these frames are not finite.
        count: usize,
        /// How many values these frames have.
        total: usize,
        /// The first such value.
        value: f32,
        /// The sample that it is in.
        sample: usize,
        /// The frame of the result that it is in: of the video, or of the latents.
        frame: usize,
    },
    /// A step made a value that is not a number, and
    /// [`crate::inspection::Inspection::check_finite`] asked to be told.
    #[error("{0}")]
    NonFiniteActivation(Box<NonFiniteActivation>),
    /// The numbers that undo the scaling of latents make no sense.
    #[error(transparent)]
    Scaling(#[from] ScalingError),
}

impl Error {
    /// [`Error::Internal`] for this stage of a step.
    pub fn internal(stage: &'static str, step: &Step, cause: &dyn Display) -> Error {
        Error::Internal { stage, step: step.to_string(), problem: one_line(cause) }
    }

    /// [`Error::Memory`] for a step.
    pub fn memory(step: &Step, cause: &dyn Display) -> Error {
        Error::Memory { step: step.to_string(), problem: one_line(cause) }
    }

    /// For a step whose weights cannot be had.
    pub fn binding(step: &Step, cause: WeightError) -> Error {
        match cause {
            // Ours, and already in words for the reader.
            WeightError::Source(cause) => match cause.downcast::<Error>() {
                Ok(error) => *error,
                Err(cause) => Error::internal("reading weights", step, &cause),
            },
            WeightError::Memory(cause) => Error::memory(step, &cause),
            cause => Error::internal("packing weights", step, &cause),
        }
    }
}

impl From<media::Error> for Error {
    /// What is wrong with a file as such is [`Error::Files`], whoever found it.
    fn from(error: media::Error) -> Error {
        match error {
            media::Error::Files(error) => Error::Files(error),
            error => Error::Media(error),
        }
    }
}

impl From<weights::Error> for Error {
    fn from(error: weights::Error) -> Error {
        match error {
            weights::Error::Files(error) => Error::Files(error),
            weights::Error::Interrupted => Error::Interrupted,
            error => Error::Weights(error),
        }
    }
}

impl From<ChildError> for Error {
    fn from(error: ChildError) -> Error {
        match error {
            ChildError::Interrupted => Error::Interrupted,
            error => Error::PluginChild(Box::new(error)),
        }
    }
}

impl From<LocateError> for Error {
    fn from(error: LocateError) -> Error {
        Error::NoPlugin(Box::new(error))
    }
}

impl From<pjrt::Error> for Error {
    fn from(error: pjrt::Error) -> Error {
        Error::Pjrt(Box::new(error))
    }
}

/// What a number of patches is not.
fn not_of(size: Option<[usize; 2]>) -> String {
    match size {
        None => "no square: the image's height and width must be said".into(),
        Some([height, width]) => format!("not those of latents of {height}x{width} (height x width)"),
    }
}

/// An error that is several lines long, on one.
fn one_line(error: &dyn Display) -> String {
    let lines = error.to_string();
    let lines: Vec<&str> = lines.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ").replace(":;", ":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_weights_hands_on_is_called_as_if_it_came_from_here() {
        assert!(matches!(weights::Error::Interrupted.into(), Error::Interrupted));
        let missing = files::Error::MissingFile { path: "x".into(), hint: "a hint".into() };
        assert!(matches!(weights::Error::Files(missing).into(), Error::Files(files::Error::MissingFile { .. })));
        let own: Error = weights::Error::NoHub { model: "owner/name".into() }.into();
        assert!(matches!(&own, Error::Weights(_)) && own.to_string().starts_with("owner/name: "), "{own}");
    }
}
