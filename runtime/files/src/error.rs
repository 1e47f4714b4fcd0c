//! The one error type of this package.
//!
//! A message is for the person who reads it: what was wrong, where (file, tensor), what was
//! expected, what to do. It is whole in one line; an underlying cause is part of the line and not
//! chained behind it, so that nothing is said twice.
//!
//! What can be wrong with a tensor of a file is here in full, also where it is others that expect
//! something of it.

use std::io;
use std::path::PathBuf;

/// A result with this package's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by kind; see the module's documentation for what a message holds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file to be read is not there.
    #[error("{}: no such file; {hint}", path.display())]
    MissingFile {
        /// The file looked for.
        path: PathBuf,
        /// What the file should be, or where to get it.
        hint: String,
    },
    /// A file is there but cannot be opened or read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A file holds no tensors that can be read: it is something else, or damaged.
    #[error("{}: not a usable {format} file: {problem}", path.display())]
    BadTensorFile {
        /// The file.
        path: PathBuf,
        /// What it was taken for: safetensors, PyTorch, NumPy, or just tensor.
        format: &'static str,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// A tensor that is asked for is not in the file.
    #[error("{}: no tensor `{tensor}`; the file has {present}", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor asked for.
        tensor: String,
        /// The file's tensors with their shapes.
        present: String,
    },
    /// A tensor's element type cannot be read as numbers.
    #[error("{}: tensor `{tensor}` is {found}, expected {expected}", path.display())]
    WrongDtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its element type.
        found: String,
        /// The element types that are accepted.
        expected: &'static str,
    },
    /// A tensor's shape does not fit.
    #[error("{}: tensor `{tensor}` has shape {found:?}: {problem}", path.display())]
    WrongShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// What was expected and what to do.
        problem: String,
    },
    /// Tensors that wait on disk cannot be put there.
    #[error(
        "{}: a temporary file here failed: {cause}; make room there, or set TMPDIR to another folder",
        folder.display()
    )]
    Spill {
        /// The folder of temporary files.
        folder: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// An output path whose ending says no known format.
    #[error("{}: `{ending}` is not an output format; known: {known}", path.display())]
    UnknownOutput {
        /// The output path.
        path: PathBuf,
        /// The ending found.
        ending: String,
        /// The endings known.
        known: &'static str,
    },
    /// An output's place cannot take it; found before any work is done.
    #[error("{}: {problem}", path.display())]
    OutputPlace {
        /// The output path.
        path: PathBuf,
        /// What is in the way and what to do.
        problem: String,
    },
    /// Writing failed half-way, such as on a full disk; the output was not touched.
    #[error("{}: writing failed: {cause}; nothing was put at this path", path.display())]
    Write {
        /// The output path.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// An output is complete but cannot be put in its place; it is kept where it was written.
    #[error("{}: {problem}; the finished output is kept as `{}`", path.display(), kept.display())]
    NotInPlace {
        /// The output path.
        path: PathBuf,
        /// What is in the way.
        problem: String,
        /// Where the output is now.
        kept: PathBuf,
    },
    /// What was to be written cannot be put into its format.
    #[error("{}: the {format} encoder failed: {problem}", path.display())]
    Encode {
        /// The output path.
        path: PathBuf,
        /// The format.
        format: &'static str,
        /// What the encoder said.
        problem: String,
    },
}
