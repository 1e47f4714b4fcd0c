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
//! | [`condition`] | what a step reads beside its video |
//! | [`mod@parameters`] | the tensors that a checkpoint must hold, the modules that can be tapped |
//! | [`latent_scaling`], [`tile_rule`] | what pipelines do to latents; the tiles that a model takes by itself |
//! | `layers` | modules that models share |
//! | [`allegro`] | `AutoencoderKLAllegro` |
//! | [`autoencoder_dc`] | `AutoencoderDC` |
//! | [`autoencoder_kl`] | `AutoencoderKL` |
//! | [`flux2`] | `AutoencoderKLFlux2` |
//! | [`autoencoder_tiny`] | `AutoencoderTiny` |
//! | [`taehv`] | `TAEHV`, its authors' and not diffusers' |
//! | [`cogvideox`] | `AutoencoderKLCogVideoX` |
//! | [`hunyuan_video`] | `AutoencoderKLHunyuanVideo` |
//! | [`hunyuan_video15`] | `AutoencoderKLHunyuanVideo15` |
//! | [`cosmos`] | `AutoencoderKLCosmos` |
//! | [`magvit`] | `AutoencoderKLMagvit` |
//! | [`mochi`] | `AutoencoderKLMochi` |
//! | [`temporal_decoder`] | `AutoencoderKLTemporalDecoder` |
//! | [`wan`] | `AutoencoderKLWan` |
//! | [`qwen_image`] | `AutoencoderKLQwenImage` |
//! | [`qwen_image_21`] | `AutoencoderKLQwenImage21` |
//! | [`ltx`] | `AutoencoderKLLTXVideo` |
//! | [`ltx2`] | `AutoencoderKLLTX2Video` |
//!
//! A model is one folder: its configuration, its modules, and its answers in `mod.rs`. No other
//! crate names one.
//!
//! This crate knows no backend, no pass and no file. Running tiles and blending them are the
//! caller's.

pub mod allegro;
pub mod autoencoder;
pub mod autoencoder_dc;
pub mod autoencoder_kl;
pub mod autoencoder_tiny;
pub mod cogvideox;
pub mod condition;
pub mod config_json;
mod config_rules;
pub mod cosmos;
pub mod declaration;
pub mod flux2;
pub mod frame_steps;
pub mod hunyuan_video;
pub mod hunyuan_video15;
pub mod latent_scaling;
mod layers;
pub mod ltx;
pub mod ltx2;
pub mod magvit;
pub mod mochi;
mod network;
pub mod parameters;
pub mod qwen_image;
pub mod qwen_image_21;
pub mod recognition;
pub mod registry;
pub mod step;
pub mod taehv;
pub mod temporal_decoder;
pub mod tile_rule;
pub mod wan;

pub use autoencoder::{Autoencoder, Channels, Dialect, Medium, Translate};
pub use condition::{Condition, ConditionKind, TIMESTEP};
pub use config_json::{ConfigError, ConfigProblem, ConfigWarning, Configuration, Configured, field_text};
pub use declaration::{DeclareError, Taps, declare};
pub use frame_steps::FrameSteps;
pub use latent_scaling::{LatentScaling, ScalingError, Spread, StoredStatistics, Unscaling};
pub use parameters::{parameters, tap_names};
pub use recognition::{Recognised, TensorShapes, Told, recognise};
pub use registry::{Published, published, read_config};
pub use step::{Half, Position, Step, StepKind};
pub use tile_rule::{Corners, FrameTileRule, LastTile, SurplusFrame, TileRule};
