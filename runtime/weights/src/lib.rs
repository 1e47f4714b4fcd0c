//! A model's files, on disk or on the hub, and its weights by name.
//!
//! | module | what lives there |
//! |---|---|
//! | [`model`], `locate` | what a person names as a model; the files that it comes to, found on disk |
//! | `file_names`, `model_files` | how a model's files are called; which they are |
//! | [`hub`] | ids on the hub, its settings and its cache; fetching, with feature `hub` |
//! | [`shard_index`] | which tensor is in which file, where weights are in shards |
//! | [`checkpoint`] | the tensors by name, in one file or in shards |
//! | [`expected`] | what a caller says of a half of its model: names, shapes, further namings |
//! | `weight_names` | which of a file's tensors are the model's |
//! | `scales` | the scales of weights of eight bits |
//! | `completeness` | what a half lacks, and what no half reads |
//! | [`error`] | the one error type |
//!
//! Nothing here knows a configuration or a network: what tensors there should be, the caller says.
//! What a file of tensors is made of is package `files`.
//!
//! The feature `hub` (on by default) brings HTTP, TLS and checksums. Without it an id on the hub is
//! an error that says so.

pub mod checkpoint;
mod completeness;
pub mod error;
pub mod expected;
mod file_names;
pub mod hub;
mod locate;
pub mod model;
mod model_files;
mod scales;
pub mod shard_index;
mod weight_names;

pub use checkpoint::Checkpoint;
pub use error::{Error, Result};
pub use expected::{Dialect, ExpectedHalf};
