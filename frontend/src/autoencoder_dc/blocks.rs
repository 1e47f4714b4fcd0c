//! The modules that levels are made of: residual blocks, linear attention over several scales, gated
//! convolutions (`ResBlock`, `EfficientViTBlock`, `SanaMultiscaleLinearAttention`, `GLUMBConv`).
//! Images are videos of one frame, `[batch, channel, 1, height, width]`.

use ir::{Activation, BuildError, ChannelNormKind, ElementType, TensorType, Value};
use smallvec::smallvec;

use super::config::BlockKind;
use crate::declaration::Declaration;
use crate::layers::{self, Function, channels, parameter, space, tokens};

type Built = Result<Value, BuildError>;

/// Epsilon of every norm.
const NORM_EPSILON: f64 = 1e-5;
/// What is added to sums of scores.
const ATTENTION_EPSILON: f64 = 1e-15;
/// Channels of a gated convolution for one of its input; its gates have as many.
const EXPANSION: usize = 4;

/// What one level's blocks are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level<'a> {
    pub(super) kind: BlockKind,
    /// Of residual blocks.
    pub(super) function: Function,
    /// Channels of a head.
    pub(super) head: usize,
    /// Kernel sizes of the scales beside the first.
    pub(super) scales: &'a [usize],
}

impl Level<'_> {
    /// Declares one of the blocks.
    pub(super) fn block(&self, d: &mut Declaration<'_>, input: Value) -> Built {
        let output = match self.kind {
            BlockKind::Residual => residual_block(d, input, self.function)?,
            BlockKind::Attention => {
                let attended = d.scope("attn", |d| attention(d, input, self.head, self.scales))?;
                d.scope("conv_out", |d| gated_convolution(d, attended))?
            }
        };
        d.returns(output);
        Ok(output)
    }
}

/// A 3x3 convolution, around which are zeros.
pub(super) fn convolution(
    d: &mut Declaration<'_>,
    input: Value,
    outputs: usize,
    stride: usize,
    has_bias: bool,
) -> Built {
    let product = layers::planar_product(d, input, outputs, 3, stride)?;
    let output = if has_bias { layers::bias(d, "bias", product)? } else { product };
    d.returns(output);
    Ok(output)
}

/// Norm over the channels of each pixel, by the root of their mean square (`RMSNorm`). The reference
/// has channels last, and so does a tap.
pub(super) fn norm(d: &mut Declaration<'_>, input: Value) -> Built {
    let ty = TensorType::plain(ElementType::F32, [channels(d, input)]);
    let scale = parameter(d, "weight", ty.clone())?;
    let offset = parameter(d, "bias", ty)?;
    let (kind, activation) = (ChannelNormKind::Rms, Activation::None);
    let output = d.channel_norm(input, Some(scale), Some(offset), kind, NORM_EPSILON, activation)?;
    d.returns_made(|d| d.transpose(output, smallvec![0, 2, 3, 4, 1]))?;
    Ok(output)
}

/// Two convolutions with an activation between them, then a norm; the input is led around them.
fn residual_block(d: &mut Declaration<'_>, input: Value, function: Function) -> Built {
    let count = channels(d, input);
    let hidden = d.scope("conv1", |d| convolution(d, input, count, 1, true))?;
    let hidden = function.of(d, hidden)?;
    let hidden = d.scope("conv2", |d| convolution(d, hidden, count, 1, false))?;
    let hidden = d.scope("norm", |d| norm(d, hidden))?;
    d.add(hidden, input)
}

/// Linear attention among all pixels, of queries, keys and values as they are and convolved over
/// neighbourhoods of other sizes; the input is led around it.
///
/// The reference cuts the channels of all scales, in which queries stand in front of keys and these
/// in front of values, into heads of neighbouring channels, thirds of which are then called query,
/// key and value: weights are stored in the order that makes this right.
fn attention(d: &mut Declaration<'_>, input: Value, head: usize, scales: &[usize]) -> Built {
    let (count, [frames, height, width]) = (channels(d, input), space(d, input));
    let batch = d.ty(input).shape[0];
    let inner = count / head * head;
    let mut parts = vec![];
    for name in ["to_q", "to_k", "to_v"] {
        parts.push(d.scope(name, |d| layers::channel_last_linear(d, input, inner, false))?);
    }
    let first = d.concatenate(parts.into_iter().collect(), 1)?;
    let mut all = vec![first];
    for (i, &size) in scales.iter().enumerate() {
        all.push(d.scope(&format!("to_qkv_multiscale.{i}"), |d| projection(d, first, head, size))?);
    }
    let heads = all.len() * inner / head;
    let all = if all.len() == 1 { first } else { d.concatenate(all.into_iter().collect(), 1)? };

    let pixels = tokens(d, all)?;
    let places = frames * height * width;
    let apart = TensorType::plain(ElementType::F32, [batch, places, heads, 3, head]);
    let apart = d.reshape(pixels, apart)?;
    let mut of_heads = vec![];
    for part in 0..3 {
        let limit = smallvec![batch, places, heads, part + 1, head];
        let third = d.slice(apart, smallvec![0, 0, 0, part, 0], limit)?;
        let third = d.reshape(third, TensorType::plain(ElementType::F32, [batch, places, heads * head]))?;
        of_heads.push(if part < 2 { layers::relu(d, third)? } else { third });
    }
    let made = d.linear_attention(of_heads[0], of_heads[1], of_heads[2], heads, ATTENTION_EPSILON)?;
    let last = ir::Layout::NCTHW.channel_last();
    let made =
        d.reshape(made, TensorType::with_layout(ElementType::F32, last, [batch, frames, height, width, heads * head]))?;
    let made = d.transpose(made, smallvec![0, 4, 1, 2, 3])?;

    let hidden = d.scope("to_out", |d| layers::channel_last_linear(d, made, count, false))?;
    let hidden = d.scope("norm_out", |d| norm(d, hidden))?;
    let output = d.add(hidden, input)?;
    d.returns(output);
    Ok(output)
}

/// Queries, keys and values over neighbourhoods: each channel by itself, then each third of a head
/// by itself (`SanaMultiscaleAttentionProjection`).
fn projection(d: &mut Declaration<'_>, input: Value, head: usize, size: usize) -> Built {
    let count = channels(d, input);
    let hidden = d.scope("proj_in", |d| grouped_product(d, input, count, size))?;
    let output = d.scope("proj_out", |d| grouped_product(d, hidden, count / head, 1))?;
    d.returns(output);
    Ok(output)
}

/// A convolution of each of so many groups of channels by itself, without a bias; zeros around keep
/// height and width.
fn grouped_product(d: &mut Declaration<'_>, input: Value, groups: usize, size: usize) -> Built {
    let count = channels(d, input);
    let planar = TensorType::plain(ElementType::F32, [count, count / groups, size, size]);
    let planar = parameter(d, "weight", planar)?;
    let kernel = d.reshape(planar, layers::kernel_type(count, count / groups, [1, size, size]))?;
    let around = [size / 2; 2];
    let output = d.grouped_convolution(input, kernel, None, groups, [1; 3], [[0, 0], around, around])?;
    d.returns(output);
    Ok(output)
}

/// A wide depthwise convolution, half of whose channels gate the other half, between pointwise ones;
/// then a norm, and the input is led around all of it.
fn gated_convolution(d: &mut Declaration<'_>, input: Value) -> Built {
    let count = channels(d, input);
    let wide = EXPANSION * count;
    let hidden = d.scope("conv_inverted", |d| {
        let product = layers::planar_product(d, input, 2 * wide, 1, 1)?;
        let output = layers::bias(d, "bias", product)?;
        d.returns(output);
        Ok(output)
    })?;
    let hidden = d.silu(hidden)?;
    let hidden = d.scope("conv_depth", |d| {
        let planar = TensorType::plain(ElementType::F32, [2 * wide, 1, 3, 3]);
        let planar = parameter(d, "weight", planar)?;
        let kernel = d.reshape(planar, layers::kernel_type(2 * wide, 1, [1, 3, 3]))?;
        let product = d.grouped_convolution(hidden, kernel, None, 2 * wide, [1; 3], [[0, 0], [1, 1], [1, 1]])?;
        let output = layers::bias(d, "bias", product)?;
        d.returns(output);
        Ok(output)
    })?;
    let limit = d.ty(hidden).shape.clone();
    let (mut middle, mut start) = (limit.clone(), smallvec![0; 5]);
    (middle[1], start[1]) = (wide, wide);
    let main = d.slice(hidden, smallvec![0; 5], middle)?;
    let gate = d.slice(hidden, start, limit)?;
    let gate = d.silu(gate)?;
    let gated = d.multiply(main, gate)?;
    let hidden = d.scope("conv_point", |d| {
        let output = layers::planar_product(d, gated, count, 1, 1)?;
        d.returns(output);
        Ok(output)
    })?;
    let hidden = d.scope("norm", |d| norm(d, hidden))?;
    let output = d.add(hidden, input)?;
    d.returns(output);
    Ok(output)
}
