//! Video and image autoencoders, each declared once.
//!
//! From a checkpoint's `config.json` and the sizes of one step, [`declare`] makes a channel-first
//! [`ir::Graph`] that computes what diffusers' reference computes, op for op, under the
//! checkpoint's own parameter names.
//!
//! | module | what lives there |
//! |---|---|
//! | [`autoencoder`] | what every model answers: sizes, steps, the declaration, scaling, tiles |
//! | [`recognition`] | which models a file without `config.json` may hold |
//! | [`registry`] | the models by the class that `config.json` names |
//! | [`config_json`] | reading fields from `config.json`, for all models alike |
//! | `config_rules` | what configurations of several classes must obey |
//! | `network` | networks that several classes describe |
//! | [`step`] | halves and steps |
//! | [`frame_steps`] | how the frames of a clip fall into steps |
//! | [`declaration`] | declaring a step, with taps |
//! | [`mod@parameters`] | the tensors that a checkpoint must hold, the modules that can be tapped |
//! | [`latent_scaling`], [`tile_rule`] | what pipelines do to latents; the tiles that a model takes by itself |
//! | `layers` | modules that models share |
//! | [`autoencoder_dc`] | `AutoencoderDC` |
//! | [`autoencoder_kl`] | `AutoencoderKL` |
//! | [`flux2`] | `AutoencoderKLFlux2` |
//! | [`autoencoder_tiny`] | `AutoencoderTiny` |
//! | [`taehv`] | `TAEHV`, its authors' and not diffusers' |
//! | [`cogvideox`] | `AutoencoderKLCogVideoX` |
//! | [`wan`] | `AutoencoderKLWan` |
//! | [`qwen_image`] | `AutoencoderKLQwenImage` |
//! | [`qwen_image_21`] | `AutoencoderKLQwenImage21` |
//!
//! A model is one folder: its configuration, its modules, and its answers in `mod.rs`. No other
//! crate names one.
//!
//! This crate knows no backend, no pass and no file. Running tiles and blending them are the
//! caller's.

pub mod autoencoder;
pub mod autoencoder_dc;
pub mod autoencoder_kl;
pub mod autoencoder_tiny;
pub mod cogvideox;
pub mod config_json;
mod config_rules;
pub mod declaration;
pub mod flux2;
pub mod frame_steps;
pub mod latent_scaling;
mod layers;
mod network;
pub mod parameters;
pub mod qwen_image;
pub mod qwen_image_21;
pub mod recognition;
pub mod registry;
pub mod step;
pub mod taehv;
pub mod tile_rule;
pub mod wan;

pub use autoencoder::{Autoencoder, Channels, Dialect, Medium, Translate};
pub use config_json::{ConfigError, ConfigProblem, ConfigWarning, Configuration};
pub use declaration::{DeclareError, Taps, declare};
pub use frame_steps::FrameSteps;
pub use latent_scaling::{LatentScaling, ScalingError, Spread, StoredStatistics};
pub use parameters::{parameters, tap_names};
pub use recognition::{Recognised, TensorShapes, recognise};
pub use registry::{Published, published, read_config};
pub use step::{Half, Position, Step, StepKind};
pub use tile_rule::TileRule;
