//! Tessera as a library: a CogVideoX VAE from its checkpoint, latents to video and video to latents.
//!
//! ```no_run
//! use runtime::{Latents, LatentsLayout, RunOptions, Vae};
//!
//! let vae = Vae::open("CogVideoX-2b/vae".as_ref())?;
//! let mut latents = Latents::read("latents.safetensors", LatentsLayout::Auto, vae.config().latent_channels, false)?;
//! vae.latent_scaling().unscale(&mut latents)?;
//! let rate = runtime::media::FrameRate::new(8.0)?;
//! let mut writer = runtime::media::create("clip.mp4".as_ref(), vae.decoded_shape(&latents)?, rate)?;
//! vae.decode(&latents, &RunOptions::default(), &mut |sample, frames| writer.write(sample, frames), &mut ())?;
//! writer.finish()?;
//! # Ok::<(), runtime::Error>(())
//! ```
//!
//! | module | what lives there |
//! |---|---|
//! | [`vae`] | opening a model, decoding, encoding |
//! | [`options`], [`report`], [`observer`] | how to run; what it cost; progress, interruption and activations on the way |
//! | [`demo`] | the small model and the latents that are part of the program |
//! | [`model`], [`hub`] | a folder, a file or a hub id, and the files it comes to; fetching them |
//! | [`checkpoint`], [`shard_index`], [`tensor_file`] | the weights by name, in shards too; the safetensors file underneath |
//! | [`latents`] | the tensor to decode, and undoing the pipeline's scaling |
//! | [`lowering`] | a step through the passes and the CPU backend, for those who want to see it |
//! | [`media`] | writing frames, streamed, as a clip, pictures or an array |
//! | [`memory`], [`error`] | how much memory there is; the one error type |
//! | `clip`, `steps`, `engine`, `parameters` | a clip in steps; compiled steps; what runs one; the checkpoint as its source |
//!
//! Nothing here knows the model's layers: that is package `frontend`.

pub mod checkpoint;
mod clip;
pub mod demo;
mod engine;
pub mod error;
pub mod hub;
pub mod latents;
pub mod lowering;
pub mod media;
pub mod memory;
pub mod model;
pub mod observer;
pub mod options;
mod parameters;
pub mod report;
pub mod shard_index;
mod steps;
pub mod tensor_file;
pub mod vae;

pub use error::{Error, Result};
pub use hub::{Download, HubOptions};
pub use latents::{LatentScaling, Latents, LatentsLayout};
pub use model::{ModelSpec, resolve};
pub use observer::{Observer, Progress, Tap};
pub use options::{Backend, RunOptions};
pub use report::{Report, Seconds};
pub use vae::{Clip, Moments, Vae};

/// The README's library example, kept compiling.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
