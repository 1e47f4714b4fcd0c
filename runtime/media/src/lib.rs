//! Reading and writing frames: clips, pictures and arrays of them, streamed.
//!
//! | module | what lives there |
//! |---|---|
//! | [`write`](mod@write) | writing: H.264 in MP4, GIF, y4m, PNG, a folder of PNGs, safetensors, npy |
//! | [`read`] | reading: the same, and JPEG, WebP, other clips through an `ffmpeg` |
//! | [`clip`] | the shape of a clip, blocks of its frames |
//! | [`frame_rate`] | frames a second as a fraction |
//! | [`layout`] | which axis of an array is which, and which values are black and white |
//! | `colour`, `h264_bits` | pixels and Y'CbCr; parameter sets of H.264 |
//! | [`quality`] | how near decoded frames are to their source |
//! | [`comparison`], [`contact_sheet`] | a clip beside what became of it, and as one picture |
//! | [`error`] | the one error type |
//!
//! Without the feature `codecs`, which is there by default, y4m, `.npy` and `.safetensors` are read
//! and written, and nothing is resized; all else is [`Error::NoCodecs`].
//!
//! What is not given as a path: see [`stream()`] and [`write_to`] for `Write`, [`read::Spooled`]
//! for `Read`.
//!
//! Files as such are package [`files`]. Nothing here knows a model.

pub mod clip;
mod colour;
pub mod comparison;
#[cfg(feature = "codecs")]
pub mod contact_sheet;
pub mod error;
pub mod frame_rate;
#[cfg(feature = "codecs")]
mod h264_bits;
pub mod layout;
pub mod quality;
pub mod read;
pub mod write;

pub use clip::{ClipShape, FrameBlock};
pub use error::{Error, Remedy, Result};
pub use frame_rate::FrameRate;
pub use write::{
    ArrayAxes, ArrayWriter, ClipWriter, KNOWN_OUTPUTS, Output, Outputs, TensorLabel, check_stream, create,
    create_images, outputs, played_rate, stream, write_to,
};
