//! Writing what the encoder made, while it is made: latents as a pipeline keeps them, as the
//! decoder takes them, or the moments.
//!
//! The file says in its metadata which it is: see [`crate::latents`], which reads it back.

use std::collections::HashMap;
use std::path::Path;

use files::place::require_ending;
use frontend::{LatentScaling, Medium};
use media::{ArrayAxes, ArrayWriter, ClipShape, ClipWriter, FrameBlock, Output, TensorLabel};

use crate::error::Result;
use crate::latents::{LAYOUT_LABEL, Latents, LatentsLayout, MOMENTS_NAME, SCALED_LABEL, USUAL_NAME};
use crate::posterior::{Draw, Posterior};

/// How the name of a file of latents ends.
const ENDING: &str = "safetensors";

/// What to write. Latents of images are [B, C, H, W], and their moments [B, 2 C, H, W].
#[derive(Debug, Clone, PartialEq)]
pub enum LatentContent {
    /// Tensor `latents` [B, T, C, H, W], scaled: what a diffusers pipeline keeps.
    Scaled {
        /// The mean or a draw.
        draw: Draw,
        /// How the model scales.
        scaling: LatentScaling,
    },
    /// Tensor `latents` [B, C, T, H, W], as the decoder takes them.
    Unscaled {
        /// The mean or a draw.
        draw: Draw,
    },
    /// Tensor `parameters` [B, 2 C, T, H, W]: means and log-variances, unscaled.
    Moments,
}

/// A safetensors file of f32 that takes moments as they come; it appears whole at [`Self::finish`]
/// or not at all.
pub struct LatentWriter {
    array: Box<ArrayWriter>,
    posterior: Posterior,
    content: LatentContent,
    /// Of the moments.
    shape: ClipShape,
}

impl LatentWriter {
    /// Opens a file for what becomes of moments of this shape, of a model of videos or images.
    ///
    /// # Errors
    /// [`files::Error::UnknownOutput`] unless the path ends in `.safetensors`;
    /// [`media::Error::InvalidClip`]; [`files::Error::OutputPlace`].
    pub fn create(path: &Path, moments: ClipShape, content: LatentContent, medium: Medium) -> Result<LatentWriter> {
        require_ending(path, ENDING, ".safetensors, for latents")?;
        moments.check()?;
        let latents = ClipShape { channels: moments.channels / 2, ..moments };
        let (axes, layout) = match (medium, &content) {
            (Medium::Image, _) => (ArrayAxes::Bchw, LatentsLayout::Bchw),
            (Medium::Video, LatentContent::Scaled { .. }) => (ArrayAxes::Btchw, LatentsLayout::Btchw),
            (Medium::Video, _) => (ArrayAxes::Bcthw, LatentsLayout::Bcthw),
        };
        let label = |scaled: bool| {
            let layout = (LAYOUT_LABEL.to_owned(), layout.to_string());
            let metadata = Some(HashMap::from([layout, (SCALED_LABEL.to_owned(), scaled.to_string())]));
            TensorLabel { name: USUAL_NAME, axes, metadata }
        };
        let (shape, draw, label) = match &content {
            LatentContent::Scaled { draw, .. } => (latents, *draw, label(true)),
            LatentContent::Unscaled { draw } => (latents, *draw, label(false)),
            LatentContent::Moments => (moments, Draw::Mean, TensorLabel { name: MOMENTS_NAME, axes, metadata: None }),
        };
        let array = Box::new(ArrayWriter::tensor(path, shape, label)?);
        Ok(LatentWriter { array, posterior: Posterior::new(draw), content, shape: moments })
    }

    /// Appends moments [2 C, T, H, W]. Blocks of a sample come in the order of frames; samples one
    /// after the other.
    ///
    /// # Errors
    /// [`media::Error::FrameOrder`], [`files::Error::Write`];
    /// [`Error::Scaling`](crate::Error::Scaling) if the model's scaling makes no sense.
    pub fn write(&mut self, sample: usize, moments: &FrameBlock<'_>) -> Result<()> {
        let channels = self.shape.channels / 2;
        let latents = |posterior: &mut Posterior| Latents {
            data: posterior.latents(moments, channels),
            shape: [1, channels, moments.frames, self.shape.height, self.shape.width],
        };
        let data = match &self.content {
            LatentContent::Moments => return Ok(self.array.write(sample, moments)?),
            LatentContent::Unscaled { .. } => latents(&mut self.posterior).data,
            LatentContent::Scaled { scaling, .. } => {
                let mut latents = latents(&mut self.posterior);
                latents.scale(scaling)?;
                latents.data
            }
        };
        Ok(self.array.write(sample, &FrameBlock { data: &data, frames: moments.frames })?)
    }

    /// Puts the file in its place, replacing what was there.
    ///
    /// # Errors
    /// [`media::Error::FrameOrder`] if frames are missing, [`files::Error::Write`],
    /// [`files::Error::NotInPlace`].
    pub fn finish(self) -> Result<Output> {
        Ok(self.array.finish()?)
    }
}
