//! The decoder: some frames of latents to as many of video (`TemporalDecoder`).
//!
//! Behind every residual block of single frames stands one over time, which sees a frame on both
//! sides, zeros where there is none, and takes the statistics of its norms over all frames.

use ir::{BuildError, ElementType, PadMode, TensorType, UnaryFunction, Value};
use smallvec::smallvec;

use super::config::{Config, GROUPS};
use crate::autoencoder_kl::{Network, blocks};
use crate::declaration::Declaration;
use crate::layers::{self, TIME_PADDING, TIME_WINDOW, channels, frame_by_frame, kernel, parameter, time_convolution};

/// Epsilon of the norms of residual blocks over time.
const TIME_EPSILON: f64 = 1e-5;

type Built = Result<Value, BuildError>;

/// Declares what a decode step makes of `latents` `[batch, latent_channels, time, height, width]`.
pub(super) fn decode(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Built {
    d.scope("decoder", |d| {
        let sample = decoder(config, d, latents)?;
        d.returns_images(sample)?;
        Ok(sample)
    })
}

fn decoder(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Built {
    let images = config.of_images();
    let widths = &config.block_out_channels;
    let last = config.levels() - 1;
    let mut hidden =
        d.scope("conv_in", |d| frame_by_frame(d, latents, |d, frames| blocks::convolution(d, frames, widths[last])))?;
    hidden = d.scope("mid_block", |d| mid_block(&images, d, hidden))?;
    for (level, &outputs) in widths.iter().rev().enumerate() {
        hidden = d.scope(&format!("up_blocks.{level}"), |d| {
            let mut hidden = hidden;
            for i in 0..=config.layers_per_block {
                hidden = d.scope(&format!("resnets.{i}"), |d| residual_block(&images, d, hidden, outputs))?;
            }
            if level != last {
                hidden = d.scope("upsamplers.0", |d| frame_by_frame(d, hidden, blocks::upsample))?;
            }
            d.returns_images(hidden)?;
            Ok(hidden)
        })?;
    }
    hidden = frame_by_frame(d, hidden, |d, frames| {
        let normalized = d.scope("conv_norm_out", |d| blocks::norm(&images, d, frames))?;
        let active = d.scope("conv_act", |d| d.silu(normalized))?;
        d.scope("conv_out", |d| blocks::convolution(d, active, config.out_channels))
    })?;
    d.scope("time_conv_out", |d| time_convolution(d, hidden))
}

/// Residual blocks with attention between them (`MidBlockTemporalDecoder`). Of a number of layers
/// other than two the reference has more of them or fewer, but it has one attention and goes on no
/// further than behind it: with one layer there is none, and of more the first two run.
fn mid_block(images: &Network, d: &mut Declaration<'_>, input: Value) -> Built {
    let outputs = channels(d, input);
    let mut hidden = d.scope("resnets.0", |d| residual_block(images, d, input, outputs))?;
    if images.layers > 1 {
        hidden = d.scope("attentions.0", |d| {
            frame_by_frame(d, hidden, |d, frames| blocks::attention_block(images, d, frames))
        })?;
        hidden = d.scope("resnets.1", |d| residual_block(images, d, hidden, outputs))?;
    }
    d.returns_images(hidden)?;
    Ok(hidden)
}

/// A residual block of each frame, then one over time, mixed by what was learned
/// (`SpatioTemporalResBlock`).
///
/// The second is led around itself: it is its input plus `change`. So the mix `(1 - m) * input + m *
/// (input + change)`, where `m` is the sigmoid of a parameter, is `input + m * change`, and `m` goes
/// into the weights of the last convolution.
fn residual_block(images: &Network, d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let of_frames = d.scope("spatial_res_block", |d| {
        frame_by_frame(d, input, |d, frames| blocks::resnet_block(images, d, frames, outputs))
    })?;
    let share = d.scope("time_mixer", |d| {
        let factor = parameter(d, "mix_factor", TensorType::plain(ElementType::F32, [1]))?;
        d.unary(factor, UnaryFunction::Sigmoid)
    })?;
    let change = d.scope("temporal_res_block", |d| change_over_time(d, of_frames, share))?;
    let mixed = d.add(change, of_frames)?;
    d.scope("time_mixer", |d| d.returns(mixed));
    d.returns_images(mixed)?;
    Ok(mixed)
}

/// What a residual block over time adds to its input (`TemporalResnetBlock`), times `share`, `[1]`.
fn change_over_time(d: &mut Declaration<'_>, input: Value, share: Value) -> Built {
    let hidden = d.scope("norm1", |d| layers::group_norm(d, input, GROUPS, TIME_EPSILON))?;
    let hidden = d.silu(hidden)?;
    let hidden = d.scope("conv1", |d| time_convolution(d, hidden))?;
    let hidden = d.scope("norm2", |d| layers::group_norm(d, hidden, GROUPS, TIME_EPSILON))?;
    let hidden = d.silu(hidden)?;
    let count = channels(d, input);
    let convolve = |d: &mut Declaration<'_>, [weight, bias]: [Value; 2]| {
        let product = d.convolution(hidden, weight, None, None, None, [1, 1, 1], TIME_PADDING, 0)?;
        d.add_bias(product, bias)
    };
    let (weights, change) = d.scope("conv2", |d| {
        let weight = kernel(d, "weight", count, count, TIME_WINDOW)?;
        let weights = [weight, parameter(d, "bias", TensorType::plain(ElementType::F32, [count]))?];
        let [weight, bias] = weights.map(|of| {
            let shares = everywhere(d, share, of)?;
            d.multiply(of, shares)
        });
        let change = convolve(d, [weight?, bias?])?;
        // What the module returns is nothing but an activation.
        d.returns_made(|d| convolve(d, weights))?;
        Ok((weights, change))
    })?;
    d.returns_made(|d| {
        let change = convolve(d, weights)?;
        d.add(change, input)
    })?;
    Ok(change)
}

/// A number, `[1]`, as a tensor of the type of another one.
fn everywhere(d: &mut Declaration<'_>, number: Value, like: Value) -> Built {
    let ty = d.ty(like).clone();
    let ones = TensorType { shape: smallvec![1; ty.rank()], ..ty.clone() };
    let number = d.reshape(number, ones)?;
    let high = ty.shape.iter().map(|length| length - 1).collect();
    d.pad(number, smallvec![0; ty.rank()], high, PadMode::Edge)
}
