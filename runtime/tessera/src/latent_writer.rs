//! Writing what the encoder made, while it is made: latents as a pipeline keeps them, as the
//! decoder takes them, or the moments.
//!
//! The file says in its metadata which it is: see [`crate::latents`], which reads it back.

use std::collections::HashMap;
use std::path::Path;

use files::place::require_ending;
use frontend::{LatentScaling, Medium};
use media::{ArrayAxes, ArrayWriter, ClipShape, ClipWriter, FrameBlock, Output, TensorLabel};

use crate::error::{Error, Result};
use crate::latent_form::{LatentForm, in_patches};
use crate::latents::{LAYOUT_LABEL, Latents, LatentsLayout, MOMENTS_NAME, SCALED_LABEL, USUAL_NAME};
use crate::posterior::{Draw, Posterior};

/// How the name of a file of latents ends.
const ENDING: &str = "safetensors";

/// What to write. Latents of images are [B, C, H, W], and their moments [B, 2 C, H, W].
#[derive(Debug, Clone, PartialEq)]
pub enum LatentContent {
    /// Tensor `latents` [B, T, C, H, W], scaled, and in patches if the model's are kept so: what a
    /// diffusers pipeline keeps.
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
    form: LatentForm,
    /// Of the moments.
    shape: ClipShape,
    /// Of what is written.
    written: ClipShape,
    axes: ArrayAxes,
}

impl LatentWriter {
    /// Opens a file for what becomes of moments of this shape, of a model of videos or images whose
    /// latents have this form.
    ///
    /// # Errors
    /// [`files::Error::UnknownOutput`] unless the path ends in `.safetensors`;
    /// [`media::Error::InvalidClip`]; [`Error::Options`] if a draw or moments are asked of an encoder
    /// that gives latents without a variance; [`Error::Input`] if latents cannot be cut into patches;
    /// [`files::Error::OutputPlace`].
    pub fn create(
        path: &Path,
        moments: ClipShape,
        form: LatentForm,
        content: LatentContent,
        medium: Medium,
    ) -> Result<LatentWriter> {
        require_ending(path, ENDING, ".safetensors, for latents")?;
        moments.check()?;
        check_content(&content, form.channels == moments.channels)?;
        let latents = ClipShape { channels: form.channels, ..moments };
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
        let (written, draw, label) = match &content {
            LatentContent::Scaled { draw, .. } => (patched(latents, form)?, *draw, label(true)),
            LatentContent::Unscaled { draw } => (latents, *draw, label(false)),
            LatentContent::Moments => (moments, Draw::Mean, TensorLabel { name: MOMENTS_NAME, axes, metadata: None }),
        };
        let array = Box::new(ArrayWriter::tensor(path, written, label)?);
        let posterior = Posterior::new(draw, form.channels, moments.channels);
        Ok(LatentWriter { array, posterior, content, form, shape: moments, written, axes })
    }

    /// The sizes of the tensor.
    pub fn tensor_shape(&self) -> Vec<usize> {
        self.axes.of(self.written)
    }

    /// Appends moments [2 C, T, H, W]. Blocks of a sample come in the order of frames; samples one
    /// after the other.
    ///
    /// # Errors
    /// [`media::Error::FrameOrder`], [`files::Error::Write`];
    /// [`Error::Scaling`](crate::Error::Scaling) if the model's scaling makes no sense.
    pub fn write(&mut self, sample: usize, moments: &FrameBlock<'_>) -> Result<()> {
        let channels = self.form.channels;
        let latents = |posterior: &mut Posterior| Latents {
            data: posterior.latents(moments),
            shape: [1, channels, moments.frames, self.shape.height, self.shape.width],
        };
        let data = match &self.content {
            LatentContent::Moments => return Ok(self.array.write(sample, moments)?),
            LatentContent::Unscaled { .. } => latents(&mut self.posterior).data,
            LatentContent::Scaled { scaling, .. } => {
                let mut latents = latents(&mut self.posterior);
                latents.scale(scaling)?;
                match self.form.patch {
                    1 => latents.data,
                    patch => in_patches(&latents, patch).data,
                }
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

/// The shape of latents of this shape as pipelines keep them.
fn patched(latents: ClipShape, form: LatentForm) -> Result<ClipShape> {
    let LatentForm { patch, .. } = form;
    let ClipShape { height, width, .. } = latents;
    if !(height.is_multiple_of(patch) && width.is_multiple_of(patch)) {
        let problem = format!(
            "pipelines keep latents of this model in patches of {patch}x{patch}, into which {width}x{height} (width x \
             height) do not fall: take a video of another size, or latents unscaled"
        );
        return Err(Error::Input { what: "latents", found: latents.axes(), problem });
    }
    Ok(ClipShape { channels: form.patched_channels(), height: height / patch, width: width / patch, ..latents })
}

/// Checks that the encoder gives a distribution where it takes one.
fn check_content(content: &LatentContent, are_latents: bool) -> Result<()> {
    use LatentContent::{Moments, Scaled, Unscaled};
    let problem = match content {
        Scaled { draw: Draw::Mean, .. } | Unscaled { draw: Draw::Mean } => return Ok(()),
        _ if !are_latents => return Ok(()),
        Scaled { .. } | Unscaled { .. } => {
            "the model's encoder gives latents without a variance: there is nothing to draw"
        }
        Moments => "the model's encoder gives latents without a variance: there are no moments, only latents",
    };
    Err(Error::Options { problem: problem.into() })
}
