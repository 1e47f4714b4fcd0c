//! Reading frames: clips, pictures, arrays.
//!
//! [`open`] chooses the format by what the file begins with, one file of this module each; every
//! reader streams: it holds a few frames, whatever the clip's length. What a file says of itself is
//! checked against the file's size before memory is taken for it. What is not read here (other
//! codecs and containers) goes through `ffmpeg`, if there is one on the PATH.
//!
//! What is no file, such as a socket or bytes in memory, is read by [`Spooled`], from any `Read`,
//! in any format but a folder of pictures: it waits on disk.
//!
//! Frames are returned as they come, of any number and size: what a model takes is not known here.

#[cfg(feature = "codecs")]
mod animation;
mod array;
mod clip_file;
mod content;
#[cfg(feature = "codecs")]
mod ffmpeg;
#[cfg(feature = "codecs")]
mod folder;
#[cfg(feature = "codecs")]
mod gif;
#[cfg(feature = "codecs")]
mod h264;
#[cfg(feature = "codecs")]
mod jpeg;
#[cfg(feature = "codecs")]
mod mp4;
mod npy;
mod open;
#[cfg(feature = "codecs")]
mod orientation;
#[cfg(feature = "codecs")]
mod picture_file;
mod pictures;
#[cfg(feature = "codecs")]
mod png;
mod reader;
#[cfg(feature = "codecs")]
mod resize;
mod rgb;
mod spooled;
#[cfg(test)]
mod tests;
#[cfg(feature = "codecs")]
mod webp;
mod y4m;

pub use crate::layout::{Axes, ValueRange};
pub use open::{KNOWN_INPUTS, files, open, open_without_ffmpeg};
pub use reader::{ClipReader, Frames, Note, ReadOptions, ReadShape};
pub use spooled::Spooled;

/// Nothing is resized without codecs, and [`ReadOptions::check`] says so.
#[cfg(not(feature = "codecs"))]
mod resize {
    pub(super) enum Resize {}

    impl Resize {
        pub(super) fn new(_: (usize, usize), _: Option<(usize, usize)>) -> Option<Resize> {
            None
        }

        pub(super) fn pixels(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result<(), String> {
            match *self {}
        }

        pub(super) fn plane(&mut self, _: &[f32], _: &mut Vec<f32>) -> Result<(), String> {
            match *self {}
        }
    }
}
