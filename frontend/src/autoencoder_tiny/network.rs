//! The modules of both halves: convolutions in a row, and blocks of three of them with the input
//! led around (`EncoderTiny`, `DecoderTiny` of diffusers' `vae.py`, `AutoencoderTinyBlock` of
//! `unets/unet_2d_blocks.py`). Layers are numbered as the reference's, activations and resizes
//! among them.

use ir::{BuildError, FirstFrame, UnaryFunction, Value};

use super::config::Config;
use crate::declaration::Declaration;
use crate::layers::{self, Function, space};

type Built = Result<Value, BuildError>;

/// Latents are softly kept within plus and minus this.
const BOUND: f64 = 3.0;

/// Declares what a decode step makes of `latents` `[batch, latent_channels, 1, height, width]`.
pub(super) fn decode(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Built {
    d.scope("decoder", |d| {
        let bounded = layers::affine(d, latents, 1.0 / BOUND, 0.0)?;
        let bounded = d.unary(bounded, UnaryFunction::Tanh)?;
        let bounded = layers::affine(d, bounded, BOUND, 0.0)?;
        let sample = decoder(config, d, bounded)?;
        let sample = layers::affine(d, sample, 2.0, -1.0)?;
        d.returns(sample);
        Ok(sample)
    })
}

/// Declares what an encode step makes of `sample` `[batch, in_channels, 1, height, width]`.
pub(super) fn encode(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Built {
    d.scope("encoder", |d| {
        let sample = layers::affine(d, sample, 0.5, 0.5)?;
        let latents = encoder(config, d, sample)?;
        d.returns(latents);
        Ok(latents)
    })
}

/// Gives the layers of a half their numbers.
struct Layers(usize);

impl Layers {
    /// The next layer, made by `build`.
    fn next(&mut self, d: &mut Declaration<'_>, build: impl FnOnce(&mut Declaration<'_>) -> Built) -> Built {
        let name = format!("layers.{}", self.0);
        self.0 += 1;
        d.scope(&name, build)
    }
}

fn decoder(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Built {
    let mut layers = Layers(0);
    let function = config.function();
    let width = config.decoder_block_out_channels[0];
    let mut hidden = layers.next(d, |d| convolution(d, latents, width, 1, true))?;
    hidden = layers.next(d, |d| function.of(d, hidden))?;
    let last = config.num_decoder_blocks.len() - 1;
    for (stage, &blocks) in config.num_decoder_blocks.iter().enumerate() {
        for _ in 0..blocks {
            hidden = layers.next(d, |d| block(d, hidden, width, function))?;
        }
        if stage == last {
            break;
        }
        let [frames, height, columns] = space(d, hidden);
        let size = [frames, height * config.upsampling_scaling_factor, columns * config.upsampling_scaling_factor];
        hidden = layers.next(d, |d| d.resize_nearest(hidden, size, FirstFrame::Joined))?;
        hidden = layers.next(d, |d| convolution(d, hidden, width, 1, false))?;
    }
    layers.next(d, |d| convolution(d, hidden, config.out_channels, 1, true))
}

fn encoder(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Built {
    let mut layers = Layers(0);
    let function = config.function();
    let width = config.encoder_block_out_channels[0];
    let mut hidden = sample;
    for (stage, &blocks) in config.num_encoder_blocks.iter().enumerate() {
        let (stride, has_bias) = if stage == 0 { (1, true) } else { (2, false) };
        hidden = layers.next(d, |d| convolution(d, hidden, width, stride, has_bias))?;
        for _ in 0..blocks {
            hidden = layers.next(d, |d| block(d, hidden, width, function))?;
        }
    }
    layers.next(d, |d| convolution(d, hidden, config.latent_channels, 1, true))
}

/// Three convolutions with activations between them, around which the input is led; then the
/// rectifier.
fn block(d: &mut Declaration<'_>, input: Value, width: usize, function: Function) -> Built {
    let mut hidden = d.scope("conv.0", |d| convolution(d, input, width, 1, true))?;
    for name in ["conv.2", "conv.4"] {
        hidden = function.of(d, hidden)?;
        hidden = d.scope(name, |d| convolution(d, hidden, width, 1, true))?;
    }
    let sum = d.add(hidden, input)?;
    let output = layers::relu(d, sum)?;
    d.returns(output);
    Ok(output)
}

/// A 3x3 convolution, around which are zeros.
fn convolution(d: &mut Declaration<'_>, input: Value, outputs: usize, stride: usize, has_bias: bool) -> Built {
    let output = if has_bias {
        layers::planar_convolution(d, ["weight", "bias"], input, outputs, stride, 1)?
    } else {
        layers::planar_product(d, input, outputs, 3, stride)?
    };
    d.returns(output);
    Ok(output)
}
