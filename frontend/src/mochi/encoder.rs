//! The encoder: video to mean and log-variance of its latents (`MochiEncoder3D`), a clip at a time.
//!
//! It is causal, and its convolutions could go in steps as the decoder's do. Its attention over
//! time sees all earlier frames: in steps, their keys and values would be a state that grows with
//! every step, so that each would be a program of its own, and of every level but the first, so
//! that the states of a long clip would outweigh what a step needs. A clip goes through in one
//! piece instead, as in the reference; tiles bound its memory.

use ir::{Activation, BuildError, ChannelNormKind, ElementType, Elements, Layout, TensorType, UnaryFunction, Value};
use smallvec::smallvec;

use super::blocks::{causal_convolution, norm, residual_block};
use super::config::{Config, GROUPS};
use crate::declaration::Declaration;
use crate::layers::{channel_last_linear, channels, space, time_attention, time_tokens, untapped_linear};

/// The frequencies of the features are the powers of two with these exponents (`FourierFeatures`).
const EXPONENTS: [i32; 2] = [6, 7];

/// Channels of a head of attention.
const HEAD_CHANNELS: usize = GROUPS;

/// Below this length a head's channels are not brought to length 1.
const HEAD_EPSILON: f64 = 1e-5;

type Built = Result<Value, BuildError>;

/// Declares what an encode step makes of `sample` `[batch, channel, time, height, width]`.
pub(super) fn encode(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Built {
    d.scope("encoder", |d| {
        let moments = encoder(config, d, sample)?;
        d.returns(moments);
        Ok(moments)
    })
}

fn encoder(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Built {
    let widths = &config.encoder_block_out_channels;
    let last = |values: usize| values - 1;
    let (layers, attends) = (&config.layers_per_block, &config.add_attention_block);
    let mut hidden = d.scope("fourier_features", |d| fourier_features(d, sample))?;
    hidden = d.scope("proj_in", |d| channel_last_linear(d, hidden, widths[0], true))?;
    hidden = d.scope("block_in", |d| block(d, hidden, layers[0], attends[0]))?;
    for level in 0..config.levels() - 1 {
        hidden = d.scope(&format!("down_blocks.{level}"), |d| {
            let by = config.expansion(level);
            let window = [by.time, by.space, by.space];
            let hidden = d.scope("conv_in", |d| causal_convolution(d, hidden, widths[level + 1], window, window))?;
            block(d, hidden, layers[level + 1], attends[level + 1])
        })?;
    }
    hidden = d.scope("block_out", |d| block(d, hidden, layers[last(layers.len())], attends[last(attends.len())]))?;
    hidden = d.scope("norm_out", |d| norm(d, hidden, Activation::Silu))?;
    d.scope("proj_out", |d| channel_last_linear(d, hidden, 2 * config.latent_channels, false))
}

/// The video, and sines and then cosines of it at each frequency (`FourierFeatures`): those of a
/// channel stand one behind the other. Angles go to 800: in bf16 they are rounded by as much as a
/// radian, as they are in the reference, which computes them in f32 of a video in bf16.
fn fourier_features(d: &mut Declaration<'_>, sample: Value) -> Built {
    let (count, [frames, rows, columns], batch) = (channels(d, sample), space(d, sample), d.ty(sample).shape[0]);
    let last = d.transpose(sample, smallvec![0, 2, 3, 4, 1])?;
    let apart = TensorType::plain(ElementType::F32, [batch * frames * rows * columns, count, 1]);
    let mut angles = smallvec![];
    for exponent in EXPONENTS {
        let frequency = std::f64::consts::TAU * 2_f64.powi(exponent);
        let frequency = constant(d, frequency, last)?;
        let turned = d.multiply(last, frequency)?;
        angles.push(d.reshape(turned, apart.clone())?);
    }
    let all = count * angles.len();
    let angles = d.concatenate(angles, 2)?;
    let ty = TensorType::with_layout(ElementType::F32, Layout::NTHWC, [batch, frames, rows, columns, all]);
    let angles = d.reshape(angles, ty)?;
    let angles = d.transpose(angles, smallvec![0, 4, 1, 2, 3])?;
    let sines = d.unary(angles, UnaryFunction::Sine)?;
    let cosines = d.unary(angles, UnaryFunction::Cosine)?;
    let features = d.concatenate(smallvec![sample, sines, cosines], 1)?;
    d.returns(features);
    Ok(features)
}

/// A value of the type of another one that is this number everywhere.
fn constant(d: &mut Declaration<'_>, number: f64, like: Value) -> Built {
    let ty = d.ty(like).clone();
    d.constant(Elements::Splat(number), ty)
}

/// Residual blocks, each with attention over time behind it if the block has any
/// (`MochiMidBlock3D`, and `MochiDownBlock3D` behind its convolution).
fn block(d: &mut Declaration<'_>, input: Value, layers: usize, attends: bool) -> Built {
    let mut hidden = input;
    for i in 0..layers {
        hidden = d.scope(&format!("resnets.{i}"), |d| residual_block(d, hidden))?;
        if attends {
            let normalized = d.scope(&format!("norms.{i}"), |d| norm(d, hidden, Activation::None))?;
            let attended = d.scope(&format!("attentions.{i}"), |d| attention(d, normalized))?;
            hidden = d.add(attended, hidden)?;
        }
    }
    d.returns(hidden);
    Ok(hidden)
}

/// Attention among the frames of each position, between queries and keys of length 1
/// (`MochiVaeAttnProcessor2_0`). Of a single frame the reference takes the values alone, which is
/// what attention makes of them.
fn attention(d: &mut Declaration<'_>, input: Value) -> Built {
    let heads = channels(d, input) / HEAD_CHANNELS;
    let query = d.scope("to_q", |d| projection(d, input, false))?;
    let key = d.scope("to_k", |d| projection(d, input, false))?;
    let value = d.scope("to_v", |d| projection(d, input, false))?;
    let query = d.scope("norm_q", |d| head_norm(d, query, heads))?;
    let key = d.scope("norm_k", |d| head_norm(d, key, heads))?;
    // Both are longer by the root of a head's channels than in the reference, which divides their
    // product by it once more.
    let scale = (HEAD_CHANNELS as f64).powf(-1.5);
    let attended = time_attention(d, [query, key, value], heads, scale)?;
    let output = d.scope("to_out.0", |d| projection(d, attended, true))?;
    d.returns_made(|d| pixels(d, output))?;
    Ok(output)
}

/// A linear layer, which the reference has on the frames of each pixel.
fn projection(d: &mut Declaration<'_>, input: Value, has_bias: bool) -> Built {
    let output = untapped_linear(d, input, channels(d, input), has_bias)?;
    d.returns_made(|d| pixels(d, output))?;
    Ok(output)
}

/// The frames of each pixel, `[batch * height * width, time, channel]`.
fn pixels(d: &mut Declaration<'_>, video: Value) -> Built {
    let (count, [frames, rows, columns], batch) = (channels(d, video), space(d, video), d.ty(video).shape[0]);
    let tokens = time_tokens(d, video)?;
    d.reshape(tokens, TensorType::plain(ElementType::F32, [batch * rows * columns, frames, count]))
}

/// The channels of each head brought to the length of the root of their number; the reference
/// brings them to length 1 (`LpNorm`), and so does a tap.
fn head_norm(d: &mut Declaration<'_>, input: Value, heads: usize) -> Built {
    let (count, [frames, rows, columns], batch) = (channels(d, input), space(d, input), d.ty(input).shape[0]);
    let last = d.transpose(input, smallvec![0, 2, 3, 4, 1])?;
    // Heads beside each other as columns.
    let beside = [batch, frames, rows, columns * heads, HEAD_CHANNELS];
    let beside = d.reshape(last, TensorType::with_layout(ElementType::F32, Layout::NTHWC, beside))?;
    let beside = d.transpose(beside, smallvec![0, 4, 1, 2, 3])?;
    let normalized = d.channel_norm(beside, None, None, ChannelNormKind::L2, HEAD_EPSILON, Activation::None)?;
    let last = d.transpose(normalized, smallvec![0, 2, 3, 4, 1])?;
    let together = [batch, frames, rows, columns, count];
    let together = d.reshape(last, TensorType::with_layout(ElementType::F32, Layout::NTHWC, together))?;
    let output = d.transpose(together, smallvec![0, 4, 1, 2, 3])?;
    d.returns_made(|d| {
        let length = constant(d, (HEAD_CHANNELS as f64).sqrt().recip(), output)?;
        let unit = d.multiply(output, length)?;
        let unit = pixels(d, unit)?;
        let apart = [batch * rows * columns, frames, heads, HEAD_CHANNELS];
        let apart = d.reshape(unit, TensorType::plain(ElementType::F32, apart))?;
        d.transpose(apart, smallvec![0, 2, 1, 3])
    })?;
    Ok(output)
}
