//! The one error type of this package.
//!
//! A message is for the person who reads it: what was wrong, where (file, tensor), what was
//! expected, what to do. It is whole in one line. What is wrong with a file as such is
//! [`files::Error`].

use std::path::PathBuf;

/// A result with this package's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by kind; see the module's documentation for what a message holds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read, or a tensor of it.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// No model where one was looked for.
    #[error("{}: no model here: {problem}", path.display())]
    NoModel {
        /// The folder or file given.
        path: PathBuf,
        /// What was looked for and not found.
        problem: String,
    },
    /// A model on the hub cannot be had.
    #[error("{model}: {problem}")]
    Hub {
        /// The id as the person gave it.
        model: String,
        /// What is missing or went wrong, and what to do.
        problem: String,
    },
    /// A model on the hub, in a build without the feature `hub`.
    #[error(
        "{model}: there is no path of this name here, and this build has no hub (the package `weights` is without its \
         feature `hub`); name a folder or a file with the model"
    )]
    NoHub {
        /// The id as the person gave it.
        model: String,
    },
    /// An index of shards is no such index, or its shards are not as it says.
    #[error("{}: not a usable index of shards: {problem}", path.display())]
    ShardIndex {
        /// The index.
        path: PathBuf,
        /// The field or tensor, and what is wrong with it.
        problem: String,
    },
    /// The weights are not those of the configuration.
    #[error("{}: not the {half} that config.json describes: {problem}", path.display())]
    NotTheModel {
        /// The weights file.
        path: PathBuf,
        /// Which half was asked for.
        half: String,
        /// Which tensors are missing, of another shape or not of floating-point numbers: the first
        /// few and how many.
        problem: String,
    },
    /// The scale of a weight of eight bits that cannot be taken.
    #[error("{}: tensor `{weight}` is {dtype} with the scale `{scale}`, {problem}", path.display())]
    Scale {
        /// The checkpoint.
        path: PathBuf,
        /// The weight as the file calls it.
        weight: String,
        /// Its element type.
        dtype: String,
        /// Its scale as the file calls it.
        scale: String,
        /// What is wrong with that.
        problem: String,
    },
    /// Two tensors are the same one of the model's.
    #[error("{}: tensors `{first}` and `{second}` both become `{name}` {how}; keep one of them", path.display())]
    DuplicateTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The model's name for both.
        name: String,
        /// One name as the file has it.
        first: String,
        /// The other name as the file has it.
        second: String,
        /// By what they become so.
        how: Box<str>,
    },
    /// Several parts of a checkpoint hold the model's weights.
    #[error(
        "{}: the {half} is in it more than once, under {}; append `#` and one of them to the model's name, as in `#{}`",
        path.display(),
        prefixes.iter().map(|prefix| format!("`{prefix}.`")).collect::<Vec<_>>().join(" and "),
        prefixes.first().map_or("", String::as_str)
    )]
    Ambiguous {
        /// The checkpoint.
        path: PathBuf,
        /// The half of the model.
        half: String,
        /// What the names of each begin with.
        prefixes: Vec<String>,
    },
    /// No weights where they were said to be.
    #[error("{}: no tensor's name begins with `{prefix}.`; names begin with {present}", path.display())]
    NoPrefix {
        /// The checkpoint.
        path: PathBuf,
        /// What was asked for.
        prefix: String,
        /// What there is.
        present: String,
    },
    /// Whoever is told how far a download has come asked to stop.
    #[error("interrupted")]
    Interrupted,
}
