//! The modules that encoder and decoder are made of: norms, residual blocks, attention, samplers.
//!
//! Each function declares one module of the reference (diffusers' `autoencoder_kl_wan.py`) in the
//! scope that the caller has opened for it: the declaration's path is the module's own. Videos are
//! `[batch, channel, time, height, width]`.

use ir::{BuildError, ElementType, FirstFrame, TensorType, Value};
use smallvec::smallvec;

use super::network::Network;
use crate::declaration::Declaration;
use crate::layers::{
    self, AttentionWeights, FramesBefore, KERNEL_REACH, channels, convolution, kernel, length_norm,
    pointwise_convolution, space,
};
use crate::step::Position;

type Built = Result<Value, BuildError>;

/// What a sampler does to the frames.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Resampling {
    /// Nothing.
    Space,
    /// Doubles or halves their number too, but for the first of a clip.
    SpaceAndTime,
}

impl Resampling {
    pub(super) fn of(time: bool) -> Self {
        if time { Self::SpaceAndTime } else { Self::Space }
    }
}

/// A 3x3x3 convolution that sees no later frame and zeros before the first (`WanCausalConv3d`); of
/// images alone one of 3x3.
pub(super) fn causal_convolution(network: &Network, d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    if network.is_planar {
        let output = layers::planar_convolution(d, ["weight", "bias"], input, outputs, 1, 1)?;
        d.returns(output);
        return Ok(output);
    }
    let inputs = channels(d, input);
    let behind = layers::behind(d, input, KERNEL_REACH, FramesBefore::Zeros)?;
    let weight = kernel(d, "weight", outputs, inputs, [3, 3, 3])?;
    let output = convolution(d, "bias", behind, weight, [1, 1, 1], [[0, 0], [1, 1], [1, 1]])?;
    d.returns(output);
    Ok(output)
}

/// A convolution of each position by itself.
pub(super) fn pointwise(network: &Network, d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    if network.is_planar {
        let product = layers::planar_product(d, input, outputs, 1, 1)?;
        return layers::bias(d, "bias", product);
    }
    pointwise_convolution(d, input, outputs)
}

/// The norm of each frame in front of attention.
fn frame_norm(d: &mut Declaration<'_>, input: Value) -> Built {
    let output = layers::length_norm_with(d, input, 2)?;
    d.returns_images(output)?;
    Ok(output)
}

/// Two convolutions, each after a norm and an activation, around which the input is led
/// (`WanResidualBlock`).
pub(super) fn residual_block(network: &Network, d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let shortcut = if channels(d, input) == outputs {
        input
    } else {
        d.scope("conv_shortcut", |d| {
            let shortcut = pointwise(network, d, input, outputs)?;
            d.returns(shortcut);
            Ok(shortcut)
        })?
    };
    let mut hidden = input;
    for (norm_name, conv) in [("norm1", "conv1"), ("norm2", "conv2")] {
        hidden = d.scope(norm_name, |d| length_norm(d, hidden))?;
        hidden = d.silu(hidden)?;
        hidden = d.scope(conv, |d| causal_convolution(network, d, hidden, outputs))?;
    }
    let output = d.add(hidden, shortcut)?;
    d.returns(output);
    Ok(output)
}

/// Attention among the positions of each frame, around which the input is led
/// (`WanAttentionBlock`).
pub(super) fn attention_block(d: &mut Declaration<'_>, input: Value) -> Built {
    let normalized = d.scope("norm", |d| frame_norm(d, input))?;
    let attended = layers::frame_attention(d, normalized, AttentionWeights::Fused)?;
    let projected = d.scope("proj", |d| layers::planar_pointwise(d, attended, channels(d, input)))?;
    let output = d.add(projected, input)?;
    d.returns(output);
    Ok(output)
}

/// A residual block, attention, a residual block (`WanMidBlock`).
pub(super) fn mid_block(network: &Network, d: &mut Declaration<'_>, input: Value) -> Built {
    let outputs = channels(d, input);
    let hidden = d.scope("resnets.0", |d| residual_block(network, d, input, outputs))?;
    let hidden = d.scope("attentions.0", |d| attention_block(d, hidden))?;
    let output = d.scope("resnets.1", |d| residual_block(network, d, hidden, outputs))?;
    d.returns(output);
    Ok(output)
}

/// Doubles height and width, and behind the first frame of a clip the frames if asked to; then
/// convolves each frame (`WanResample` of the modes `upsample2d` and `upsample3d`).
pub(super) fn upsample(d: &mut Declaration<'_>, input: Value, resampling: Resampling, outputs: usize) -> Built {
    let hidden = match resampling {
        Resampling::Space => input,
        Resampling::SpaceAndTime => double_frames(d, input)?,
    };
    let [frames, height, width] = space(d, hidden);
    let resized = d.scope("resample.0", |d| {
        let resized = d.resize_nearest(hidden, [frames, 2 * height, 2 * width], FirstFrame::Joined)?;
        d.returns_images(resized)?;
        Ok(resized)
    })?;
    let output = resample(d, resized, outputs, 1, 1)?;
    d.returns(output);
    Ok(output)
}

/// The convolution of a sampler, frame by frame.
fn resample(d: &mut Declaration<'_>, input: Value, outputs: usize, stride: usize, padding: usize) -> Built {
    d.scope("resample.1", |d| {
        let output = layers::planar_convolution(d, ["weight", "bias"], input, outputs, stride, padding)?;
        d.returns_images(output)?;
        Ok(output)
    })
}

/// Each frame becomes two, the halves of a convolution's channels. The first of a clip stays as it
/// is, and the others do not see it.
fn double_frames(d: &mut Declaration<'_>, input: Value) -> Built {
    d.scope("time_conv", |d| match d.kind().position {
        Position::Next => {
            let (count, [frames, height, width], batch) = (channels(d, input), space(d, input), d.ty(input).shape[0]);
            let behind = layers::behind(d, input, KERNEL_REACH, FramesBefore::Zeros)?;
            let weight = kernel(d, "weight", 2 * count, count, [3, 1, 1])?;
            let both = convolution(d, "bias", behind, weight, [1, 1, 1], [[0, 0]; 3])?;
            d.returns(both);
            let element = ElementType::F32;
            let apart = d.reshape(both, TensorType::plain(element, [batch, 2, count, frames, height, width]))?;
            let interleaved = d.transpose(apart, smallvec![0, 2, 3, 1, 4, 5])?;
            let ty = TensorType { shape: smallvec![batch, count, 2 * frames, height, width], ..d.ty(input).clone() };
            d.reshape(interleaved, ty)
        }
        Position::First => {
            layers::leave_zeros(d, input, KERNEL_REACH)?;
            Ok(input)
        }
        Position::Whole => Ok(input),
    })
}

/// Halves height and width by a convolution of stride 2 after one row and column of zeros below and
/// to the right; behind the first frame of a clip also the frames, if asked to (`WanResample` of
/// the modes `downsample2d` and `downsample3d`).
pub(super) fn downsample(d: &mut Declaration<'_>, input: Value, resampling: Resampling) -> Built {
    let count = channels(d, input);
    let padded = d.pad(input, smallvec![0; 5], smallvec![0, 0, 0, 1, 1], ir::PadMode::Zero)?;
    let halved = resample(d, padded, count, 2, 0)?;
    let output = match resampling {
        Resampling::Space => halved,
        Resampling::SpaceAndTime => halve_frames(d, halved)?,
    };
    d.returns(output);
    Ok(output)
}

/// Two frames become one, by a convolution that also sees the one before them. The first of a clip
/// stays as it is.
fn halve_frames(d: &mut Declaration<'_>, input: Value) -> Built {
    d.scope("time_conv", |d| {
        let count = channels(d, input);
        let behind = layers::behind(d, input, 1, FramesBefore::None)?;
        if d.kind().position != Position::Next {
            return Ok(input);
        }
        let weight = kernel(d, "weight", count, count, [3, 1, 1])?;
        let output = convolution(d, "bias", behind, weight, [2, 1, 1], [[0, 0]; 3])?;
        d.returns(output);
        Ok(output)
    })
}
