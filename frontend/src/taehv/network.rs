//! The modules of both halves (`TAEHV`, `MemBlock`, `TPool`, `TGrow` of `taehv.py`). Layers are
//! numbered as the authors', activations and resizes among them; they work on frames, and so do
//! their taps.

use ir::rearrange::{CHANNELS_FASTEST, CHANNELS_SLOWEST, depth_to_space, space_to_depth};
use ir::{BuildError, ElementType, FirstFrame, PadMode, TensorType, UnaryFunction, Value};
use smallvec::smallvec;

use super::config::Config;
use crate::declaration::Declaration;
use crate::layers::{self, FramesBefore, channels, kernel_type, parameter, relu, space};
use crate::step::Position;

type Built = Result<Value, BuildError>;

/// Latents are softly kept within plus and minus this.
const BOUND: f64 = 3.0;

/// Declares what a decode step makes of `latents` `[batch, latent_channels, time, height, width]`.
pub(super) fn decode(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Built {
    let patches = d.scope("decoder", |d| decoder(config, d, latents))?;
    let patch = config.patch_size;
    let frames = if patch == 1 { patches } else { depth_to_space(d, patches, [1, patch, patch], CHANNELS_SLOWEST)? };
    let frames = layers::affine(d, frames, 2.0, -1.0)?;
    let surplus = config.frames_of_latent() - 1;
    if d.kind().position == Position::Next || surplus == 0 {
        return Ok(frames);
    }
    let limit = d.ty(frames).shape.clone();
    d.slice(frames, smallvec![0, 0, surplus, 0, 0], limit)
}

/// Declares what an encode step makes of `sample` `[batch, image_channels, time, height, width]`.
pub(super) fn encode(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Built {
    let sample = layers::affine(d, sample, 0.5, 0.5)?;
    let [frames, ..] = space(d, sample);
    let missing = frames.next_multiple_of(config.frames_of_latent()) - frames;
    let sample = match missing {
        0 => sample,
        _ => d.pad(sample, smallvec![0; 5], smallvec![0, 0, missing, 0, 0], PadMode::Edge)?,
    };
    let patch = config.patch_size;
    let sample = if patch == 1 { sample } else { space_to_depth(d, sample, [1, patch, patch], CHANNELS_SLOWEST)? };
    d.scope("encoder", |d| encoder(config, d, sample))
}

/// Gives the layers of a half their numbers.
struct Layers(usize);

impl Layers {
    /// The next layer, made by `build`.
    fn next(&mut self, d: &mut Declaration<'_>, build: impl FnOnce(&mut Declaration<'_>) -> Built) -> Built {
        let name = self.0.to_string();
        self.0 += 1;
        d.scope(&name, |d| {
            let output = build(d)?;
            d.returns_images(output)?;
            Ok(output)
        })
    }
}

fn decoder(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Built {
    let mut layers = Layers(0);
    let mut hidden = layers.next(d, |d| bounded(d, latents))?;
    hidden = layers.next(d, |d| convolution(d, hidden, config.decoder_channels[0], 1, true))?;
    hidden = layers.next(d, |d| relu(d, hidden))?;
    for (&outputs, &doubles_time) in config.decoder_channels[1..].iter().zip(&config.decoder_time_upscale) {
        for _ in 0..config.num_blocks {
            hidden = layers.next(d, |d| block(d, hidden))?;
        }
        let [frames, height, width] = space(d, hidden);
        hidden = layers.next(d, |d| d.resize_nearest(hidden, [frames, 2 * height, 2 * width], FirstFrame::Joined))?;
        hidden = layers.next(d, |d| grow(d, hidden, 1 + usize::from(doubles_time)))?;
        hidden = layers.next(d, |d| convolution(d, hidden, outputs, 1, false))?;
    }
    hidden = layers.next(d, |d| relu(d, hidden))?;
    let outputs = config.image_channels * config.patch_size * config.patch_size;
    layers.next(d, |d| convolution(d, hidden, outputs, 1, true))
}

fn encoder(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Built {
    let mut layers = Layers(0);
    let width = config.encoder_channels;
    let mut hidden = layers.next(d, |d| convolution(d, sample, width, 1, true))?;
    hidden = layers.next(d, |d| relu(d, hidden))?;
    for &halves_time in &config.encoder_time_downscale {
        hidden = layers.next(d, |d| pool(d, hidden, 1 + usize::from(halves_time)))?;
        hidden = layers.next(d, |d| convolution(d, hidden, width, 2, false))?;
        for _ in 0..config.num_blocks {
            hidden = layers.next(d, |d| block(d, hidden))?;
        }
    }
    layers.next(d, |d| convolution(d, hidden, config.latent_channels, 1, true))
}

/// Latents, softly kept within bounds (`Clamp`).
fn bounded(d: &mut Declaration<'_>, latents: Value) -> Built {
    let bounded = layers::affine(d, latents, 1.0 / BOUND, 0.0)?;
    let bounded = d.unary(bounded, UnaryFunction::Tanh)?;
    layers::affine(d, bounded, BOUND, 0.0)
}

/// A 3x3 convolution of each frame, around which are zeros.
fn convolution(d: &mut Declaration<'_>, input: Value, outputs: usize, stride: usize, has_bias: bool) -> Built {
    let product = layers::planar_product(d, input, outputs, 3, stride)?;
    if has_bias { layers::bias(d, "bias", product) } else { Ok(product) }
}

/// Three convolutions with rectifiers between them, of which the first also sees the frame before;
/// the input is led around them, then the rectifier (`MemBlock`).
fn block(d: &mut Declaration<'_>, input: Value) -> Built {
    let count = channels(d, input);
    let behind = layers::behind(d, input, 1, FramesBefore::Zeros)?;
    let mut hidden = d.scope("conv.0", |d| {
        let output = with_frame_before(d, behind, count)?;
        d.returns_images(output)?;
        Ok(output)
    })?;
    for name in ["conv.2", "conv.4"] {
        hidden = relu(d, hidden)?;
        hidden = d.scope(name, |d| {
            let output = convolution(d, hidden, count, 1, true)?;
            d.returns_images(output)?;
            Ok(output)
        })?;
    }
    let sum = d.add(hidden, input)?;
    relu(d, sum)
}

/// A 3x3 convolution of each frame's channels and those of the frame before, of a video that begins
/// with a frame before the first: one over two frames. The checkpoint has the frame's own weights in
/// front of the other's.
fn with_frame_before(d: &mut Declaration<'_>, behind: Value, outputs: usize) -> Built {
    let inputs = channels(d, behind);
    let weight = parameter(d, "weight", TensorType::plain(ElementType::F32, [outputs, 2 * inputs, 3, 3]))?;
    let [own, before] = [0, inputs].map(|start| {
        let part = d.slice(weight, smallvec![0, start, 0, 0], smallvec![outputs, start + inputs, 3, 3])?;
        d.reshape(part, kernel_type(outputs, inputs, [1, 3, 3]))
    });
    let kernel = d.concatenate(smallvec![before?, own?], 2)?;
    layers::convolution(d, "bias", behind, kernel, [1, 1, 1], [[0, 0], [1, 1], [1, 1]])
}

/// Each run of so many frames becomes one, by a convolution of their channels (`TPool`).
fn pool(d: &mut Declaration<'_>, input: Value, frames: usize) -> Built {
    let count = channels(d, input);
    d.scope("conv", |d| {
        let weight = parameter(d, "weight", TensorType::plain(ElementType::F32, [count, frames * count, 1, 1]))?;
        // Channels of the first frame come first.
        let apart = d.reshape(weight, TensorType::plain(ElementType::F32, [count, frames, count, 1, 1]))?;
        let kernel = d.transpose(apart, smallvec![0, 2, 1, 3, 4])?;
        let kernel = d.reshape(kernel, kernel_type(count, count, [frames, 1, 1]))?;
        let output = d.convolution(input, kernel, None, None, None, [frames, 1, 1], [[0, 0]; 3], 0)?;
        d.returns_images(output)?;
        Ok(output)
    })
}

/// Each frame becomes so many, parts of a convolution's channels (`TGrow`).
fn grow(d: &mut Declaration<'_>, input: Value, frames: usize) -> Built {
    let count = channels(d, input);
    let all = d.scope("conv", |d| {
        let output = layers::planar_product(d, input, frames * count, 1, 1)?;
        d.returns_images(output)?;
        Ok(output)
    })?;
    if frames == 1 { Ok(all) } else { depth_to_space(d, all, [frames, 1, 1], CHANNELS_FASTEST) }
}
