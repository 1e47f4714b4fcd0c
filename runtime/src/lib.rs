//! What goes into the compiled VAE and what comes out of it: checkpoints, latents, clips.
//!
//! - [`checkpoint`] finds and maps the weights; [`tensor_file`] is the safetensors file underneath.
//! - [`latents`] reads the tensor to decode and undoes the pipeline's scaling.
//! - [`media`] writes decoded frames, streamed, as a clip, pictures or an array.
//! - [`error`] is the one error type of this package: its messages are for the person at the command line.
//!
//! Nothing here knows the model's layers: that is package `frontend`.

pub mod checkpoint;
pub mod error;
pub mod latents;
pub mod media;
pub mod tensor_file;

pub use error::{Error, Result};
