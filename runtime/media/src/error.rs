//! The one error type of this package.
//!
//! A message is for the person who reads it: what was wrong, where (file, frame), what was
//! expected, what to do. It is whole in one line. What would help is told as data where a caller
//! knows better how to say it ([`Remedy`]).

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::{Path, PathBuf};

use crate::layout::ValueRange;

/// A result with this package's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by kind; see the module's documentation for what a message holds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read, holds no such tensor, or cannot be written.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// A clip to be read is damaged, or is not what a clip should be.
    #[error("{}: not a usable clip: {problem}{}", path.display(), clause(remedy.as_ref()))]
    BadClip {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and, where it helps, at which frame.
        problem: String,
        /// What to read it with instead.
        remedy: Option<Remedy>,
    },
    /// A clip to be read is in a format that is not read here, or not without ffmpeg.
    #[error("{}: cannot be read as a clip: {problem}", path.display())]
    UnsupportedInput {
        /// The file or folder.
        path: PathBuf,
        /// What it is and what would help.
        problem: String,
    },
    /// What was asked for needs codecs, and this build has none.
    #[error(
        "{}: {what} needs codecs, and this build has none (feature `codecs` of package `media`); without them y4m, \
         .npy and .safetensors are read and written",
        path.display()
    )]
    NoCodecs {
        /// The file or folder.
        path: PathBuf,
        /// The format, or what was to be done.
        what: String,
    },
    /// A clip to be read has fewer frames than were asked for.
    #[error("{}: {asked} frames were asked for, the clip has {found}", path.display())]
    TooFewFrames {
        /// The file or folder.
        path: PathBuf,
        /// How many were asked for.
        asked: usize,
        /// How many there are.
        found: usize,
    },
    /// A clip that the chosen format cannot hold.
    #[error("{}: {problem}", path.display())]
    UnsupportedClip {
        /// The output path.
        path: PathBuf,
        /// What does not fit, and which format takes it.
        problem: String,
    },
    /// A clip's shape or frame rate that no format can hold, or a way to read it that makes no
    /// sense.
    #[error("not a clip: {problem}")]
    InvalidClip {
        /// What is wrong.
        problem: String,
    },
    /// The axes or the range of an array were told of what is no array.
    #[error("{}: axes and range are of the numbers of an .npy or .safetensors, and this is neither", path.display())]
    NoArray {
        /// The file or folder.
        path: PathBuf,
    },
    /// A pipe, or whatever else takes a clip frame by frame, takes no more.
    #[error("{}: writing failed: {cause}; the frames before are written", path.display())]
    Stream {
        /// What the stream is called.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// Frames were handed to a writer out of order, too many or too few: a mistake of the calling
    /// code.
    #[error("{}: frames out of order: {problem}", path.display())]
    FrameOrder {
        /// The output path.
        path: PathBuf,
        /// What was expected and what came.
        problem: String,
    },
}

/// With which options of [`ReadOptions`](crate::read::ReadOptions) a clip could be read that is not
/// read as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// The first so many frames are whole.
    Frames(usize),
    /// Which values are black and white has to be said: one of these.
    Range(Vec<ValueRange>),
}

impl Display for Remedy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Remedy::Frames(_) => "those before it are whole",
            Remedy::Range(_) => "say which",
        })
    }
}

/// A remedy as the end of a sentence.
fn clause(remedy: Option<&Remedy>) -> String {
    remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default()
}

/// [`Error::BadClip`] without a remedy.
pub(crate) fn bad(path: &Path, problem: impl Into<String>) -> Error {
    Error::BadClip { path: path.into(), problem: problem.into(), remedy: None }
}

/// [`Error::UnsupportedInput`].
pub(crate) fn unsupported(path: &Path, problem: impl Into<String>) -> Error {
    Error::UnsupportedInput { path: path.into(), problem: problem.into() }
}
