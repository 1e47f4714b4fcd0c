//! Tessera as a library: a VAE from its checkpoint, latents to video and video to latents.
//!
//! ```no_run
//! use tessera::{Latents, LatentsLayout, RunOptions, Vae};
//!
//! let vae = Vae::open("vae".as_ref())?;
//! let mut latents = Latents::read("latents.safetensors", LatentsLayout::Auto, vae.latent_form(), false)?;
//! latents.unscale(&vae.latent_scaling()?)?;
//! let (rate, options) = (tessera::media::FrameRate::new(8.0)?, RunOptions::default());
//! let mut writer = tessera::media::create("clip.mp4".as_ref(), vae.decoded_shape(&latents, &options)?, rate)?;
//! vae.decode(&latents, &options, &mut |sample, frames| Ok(writer.write(sample, frames)?), &mut ())?;
//! writer.finish()?;
//! # Ok::<(), tessera::Error>(())
//! ```
//!
//! | module | what lives there |
//! |---|---|
//! | [`vae`] | opening a model, decoding, encoding |
//! | [`conditions`] | what a model is given beside its video: numbers, noise |
//! | [`options`], [`report`], [`observer`] | how to run; what it cost; progress, interruption and activations on the way |
//! | `demo` (feature) | the small model and the latents that are part of the program |
//! | [`latents`] | the tensor to decode; undoing the pipeline's scaling |
//! | `latent_form` | how many channels latents have in files: as they are, or in patches |
//! | [`posterior`], `latent_writer` | the encoder's moments to latents, mean or drawn; writing them |
//! | [`inspection`], [`non_finite`], [`timeline`] | looking into steps: non-finite values, when what ran |
//! | [`weight_sums`] | what a checkpoint has of weights, summed up |
//! | `video`, [`whole_run`] | videos in memory, and a run over them |
//! | [`lowering`] | a step through the passes and to native code or StableHLO, for those who want to see it |
//! | [`tiling`], [`tile_sizes`] | the geometry of tiles; which sizes are worth a look |
//! | [`frame_tiling`], `frame_joiner` | the geometry of tiles along time; such tiles to a clip |
//! | [`memory_estimate`], [`amount`] | how much memory a run needs, part by part; amounts as people read them |
//! | [`memory_plan`], `tiling_decision`, `run_plan` | what a run will need of memory, and how frames are cut because of it; telling it, before it runs too |
//! | `session`, `kept`, `memory_ledger`, `cancellation` | what outlives a call, in bounded number; memory of calls that run at once; ending one |
//! | [`memory`], [`memory_budget`], [`error`] | how much memory there is; how much may be taken; the one error type |
//! | [`route`], `clip`, `source` | a clip in steps and tiles; running it; where its frames come from |
//! | `blend` | tiles to whole frames |
//! | `steps`, `engine` | compiled steps; what runs one |
//! | `parameters` | what the configuration expects of a checkpoint; the checkpoint as the source of a step's parameters |
//!
//! Nothing here knows the model's layers: that is package `frontend`. What a person names as a
//! model, fetching it, and its weights by name are package [`weights`]; files as such, of tensors
//! among others, package [`files`]; clips and pictures package [`media`]. Comparing, timing and
//! compiling ahead of time are package `workbench`.
//!
//! Features: `codecs`, clips and pictures in `media`; `hub`, models by id in `weights`; `demo`, the
//! small model of the program. Without them there is no TLS, no codec and no data.

pub mod amount;
mod blend;
mod cancellation;
mod clip;
pub mod conditions;
mod config_file;
#[cfg(any(test, feature = "demo"))]
pub mod demo;
mod engine;
pub mod error;
mod frame_joiner;
pub mod frame_tiling;
#[cfg(test)]
mod framewise;
pub mod inspection;
mod kept;
mod latent_form;
mod latent_writer;
pub mod latents;
pub mod lowering;
pub mod memory;
pub mod memory_budget;
pub mod memory_estimate;
mod memory_ledger;
pub mod memory_plan;
pub mod non_finite;
pub mod observer;
pub mod options;
mod parameters;
pub mod posterior;
mod recognition;
pub mod report;
mod results;
pub mod route;
mod run_plan;
mod session;
mod source;
mod step_place;
mod steps;
pub mod tile_sizes;
pub mod tiling;
mod tiling_decision;
pub mod timeline;
pub mod vae;
mod video;
pub mod weight_sums;
pub mod whole_run;

pub use ::{files, media};
pub use cancellation::Cancellation;
pub use conditions::Conditions;
pub use error::{Error, Result};
pub use files::{fragment, tensor_file};
pub(crate) use files::{spill, text_file};
pub use frame_tiling::FrameTiling;
pub use frontend::LatentScaling;
pub use hub::{Download, HubOptions};
pub use inspection::Inspection;
pub use latent_form::LatentForm;
pub use latent_writer::{LatentContent, LatentWriter};
pub use latents::{Latents, LatentsAccount, LatentsLayout};
pub use media::quality;
pub use memory_budget::MemoryBudget;
pub use memory_estimate::MemoryEstimate;
pub use model::{ModelSpec, resolve};
pub use observer::{Observer, Preparation, Progress, Tap};
pub use options::{Backend, FrameTilingChoice, Parallel, RunOptions, TilingChoice};
pub use passes::Precision;
pub use report::{Report, Seconds};
pub use route::TileOrder;
pub use run_plan::RunPlan;
pub use source::NextFrames;
pub use step_place::StepPlace;
pub use tiling::{Overlap, Tiling};
pub use tiling_decision::TilingDecision;
pub use vae::Vae;
pub use video::{FramePlaces, Video, VideoBuilder, VideoView};
pub use weights::{checkpoint, hub, model, shard_index};
pub use whole_run::RunInput;

/// The README's library example, kept compiling.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
