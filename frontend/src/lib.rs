//! The CogVideoX video VAE (`AutoencoderKLCogVideoX`), declared once.
//!
//! From a checkpoint's `config.json` and the sizes of one step, [`declare`] makes a channel-first [`ir::Graph`] that
//! computes what diffusers' reference computes, op for op, under the checkpoint's own parameter names.
//!
//! | module | what lives there |
//! |---|---|
//! | [`config`] | the configuration, what follows from it, which values are allowed |
//! | [`config_json`] | reading it from `config.json` |
//! | [`batches`] | how a clip's frames fall into steps, and how many frames come out |
//! | [`step`] | the steps, and declaring one |
//! | [`mod@parameters`] | the tensors that a checkpoint must hold |
//! | `blocks`, `decoder`, `encoder` | the modules of the network |
//!
//! This crate knows no backend, no pass and no file. Tiles, blending and the scaling of latents are the caller's.

pub mod batches;
mod blocks;
pub mod config;
pub mod config_json;
mod decoder;
mod encoder;
pub mod parameters;
pub mod step;

pub use batches::{decode_batches, encode_batches};
pub use config::{CausalPadding, Config, ConfigProblem};
pub use config_json::{ConfigError, ConfigWarning};
pub use parameters::{Half, parameters, tap_names};
pub use step::{DeclareError, Step, StepKind, Taps, declare};
