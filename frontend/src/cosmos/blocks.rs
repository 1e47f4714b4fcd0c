//! The modules that both halves are made of: factored convolutions, residual blocks, attention,
//! samplers.
//!
//! Each function declares one module of the reference (diffusers' `autoencoder_kl_cosmos.py`) in
//! the scope that the caller has opened for it: the declaration's path is the module's own. Videos
//! are `[batch, channel, time, height, width]`, and whole clips.

use ir::{BuildError, FirstFrame, PadMode, Value};
use smallvec::smallvec;

use super::config::Block;
use crate::declaration::Declaration;
use crate::layers::{
    self, AttentionWeights, FramesBefore, channels, convolution, frame_attention, frame_by_frame, frames_joined,
    group_norm, kernel, pointwise_convolution, space, time_attention,
};

/// Epsilon of every norm, which has one group.
const EPSILON: f64 = 1e-6;
const GROUPS: usize = 1;

type Built = Result<Value, BuildError>;

/// A 1x1x1 convolution (`CosmosCausalConv3d` of a kernel of 1).
pub(super) fn pointwise(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let output = pointwise_convolution(d, input, outputs)?;
    d.returns(output);
    Ok(output)
}

/// A 3x3 convolution of each frame, over zeros around.
fn space_convolution(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let inputs = channels(d, input);
    let weight = kernel(d, "weight", outputs, inputs, [1, 3, 3])?;
    convolution(d, "bias", input, weight, [1, 1, 1], [[0, 0], [1, 1], [1, 1]])
}

/// A convolution over a frame and the two before it, in steps of `stride` frames; the first frame
/// stands for those that are not there (`CosmosCausalConv3d` of a kernel of 3 over time).
fn time_convolution(d: &mut Declaration<'_>, input: Value, outputs: usize, stride: usize) -> Built {
    let inputs = channels(d, input);
    let weight = kernel(d, "weight", outputs, inputs, [3, 1, 1])?;
    let behind = layers::behind(d, input, 3 - stride, FramesBefore::First)?;
    let output = convolution(d, "bias", behind, weight, [stride, 1, 1], [[0, 0]; 3])?;
    d.returns(output);
    Ok(output)
}

/// A convolution of each frame, then one over time (`CosmosConvProjection3d`).
pub(super) fn projection(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let of_frames = d.scope("conv_s", |d| {
        let output = space_convolution(d, input, outputs)?;
        d.returns(output);
        Ok(output)
    })?;
    over_time(d, of_frames, outputs)
}

/// The second half of a [`projection`].
fn over_time(d: &mut Declaration<'_>, of_frames: Value, outputs: usize) -> Built {
    let output = d.scope("conv_t", |d| time_convolution(d, of_frames, outputs, 1))?;
    d.returns(output);
    Ok(output)
}

/// A norm of each frame by itself (`CosmosCausalGroupNorm` of one group) over frames as samples of
/// so many videos.
fn norm_of_samples(d: &mut Declaration<'_>, frames: Value, batch: usize) -> Built {
    let output = d.scope("norm", |d| group_norm(d, frames, GROUPS, EPSILON))?;
    d.returns_made(|d| frames_joined(d, output, batch))?;
    Ok(output)
}

/// A norm, an activation and a [`projection`]. As far as they are of each frame they are declared
/// frame by frame, and the norm is done where the convolution reads.
pub(super) fn normalized_projection(
    d: &mut Declaration<'_>,
    [norm, conv]: [&str; 2],
    input: Value,
    outputs: usize,
) -> Built {
    let batch = d.ty(input).shape[0];
    let of_frames = frame_by_frame(d, input, |d, frames| {
        let normalized = d.scope(norm, |d| norm_of_samples(d, frames, batch))?;
        let active = d.silu(normalized)?;
        d.scope(&format!("{conv}.conv_s"), |d| {
            let output = space_convolution(d, active, outputs)?;
            d.returns_made(|d| frames_joined(d, output, batch))?;
            Ok(output)
        })
    })?;
    d.scope(conv, |d| over_time(d, of_frames, outputs))
}

/// Two convolutions, each after a norm and an activation, around which the input is led
/// (`CosmosResnetBlock3d`).
pub(super) fn residual_block(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let shortcut =
        if channels(d, input) == outputs { input } else { d.scope("conv_shortcut", |d| pointwise(d, input, outputs))? };
    let hidden = normalized_projection(d, ["norm1", "conv1"], input, outputs)?;
    let hidden = normalized_projection(d, ["norm2", "conv2"], hidden, outputs)?;
    let output = d.add(hidden, shortcut)?;
    d.returns(output);
    Ok(output)
}

/// Among what attention is.
#[derive(Clone, Copy)]
enum Among {
    /// The positions of each frame.
    Positions,
    /// The frames of each position, of which each sees itself and the earlier ones.
    Frames,
}

/// Attention of one head, around which the input is led (`CosmosCausalAttention`).
fn attention_block(d: &mut Declaration<'_>, input: Value, among: Among) -> Built {
    let (batch, count) = (d.ty(input).shape[0], channels(d, input));
    let normalized = d.scope("norm", |d| frame_by_frame(d, input, |d, frames| norm_of_samples(d, frames, batch)))?;
    let attended = match among {
        Among::Positions => frame_attention(d, normalized, AttentionWeights::Convolutions)?,
        Among::Frames => {
            let parts = layers::queries_keys_values(d, normalized, AttentionWeights::Convolutions)?;
            time_attention(d, parts, 1, (count as f64).sqrt().recip())?
        }
    };
    let projected = d.scope("to_out.0", |d| pointwise(d, attended, count))?;
    let output = d.add(projected, input)?;
    d.returns(output);
    Ok(output)
}

/// Attention in each frame, then over time, by these numbers in their lists.
fn attentions(d: &mut Declaration<'_>, input: Value, number: usize) -> Built {
    let hidden = d.scope(&format!("attentions.{number}"), |d| attention_block(d, input, Among::Positions))?;
    d.scope(&format!("temp_attentions.{number}"), |d| attention_block(d, hidden, Among::Frames))
}

/// A residual block, attention, a residual block (`CosmosMidBlock3d`).
pub(super) fn mid_block(d: &mut Declaration<'_>, input: Value) -> Built {
    let outputs = channels(d, input);
    let hidden = d.scope("resnets.0", |d| residual_block(d, input, outputs))?;
    let hidden = attentions(d, hidden, 0)?;
    let output = d.scope("resnets.1", |d| residual_block(d, hidden, outputs))?;
    d.returns(output);
    Ok(output)
}

/// Residual blocks, with attention behind each if the block has any, and a sampler of this name
/// (`CosmosDownBlock3d`, `CosmosUpBlock3d`).
pub(super) fn level(
    d: &mut Declaration<'_>,
    input: Value,
    layers: usize,
    block: Block,
    (name, sampler): (&str, impl FnOnce(&mut Declaration<'_>, Value, Block) -> Built),
) -> Built {
    let mut hidden = input;
    for i in 0..layers {
        hidden = d.scope(&format!("resnets.{i}"), |d| residual_block(d, hidden, block.outputs))?;
        if block.attends {
            hidden = attentions(d, hidden, i)?;
        }
    }
    if block.has_sampler {
        hidden = d.scope(name, |d| {
            let output = sampler(d, hidden, block)?;
            d.returns(output);
            Ok(output)
        })?;
    }
    d.returns(hidden);
    Ok(hidden)
}

/// Halves height and width, and the frames but for the first, each by a convolution and a mean
/// that are added (`CosmosDownsample3d`).
pub(super) fn downsample(d: &mut Declaration<'_>, input: Value, block: Block) -> Built {
    if !block.resamples_space && !block.resamples_time {
        return Ok(input);
    }
    let (mut hidden, count) = (input, channels(d, input));
    if block.resamples_space {
        let padded = d.pad(hidden, smallvec![0; 5], smallvec![0, 0, 0, 1, 1], PadMode::Zero)?;
        let convolved = d.scope("conv1", |d| {
            let weight = kernel(d, "weight", count, count, [1, 3, 3])?;
            let output = convolution(d, "bias", padded, weight, [1, 2, 2], [[0, 0]; 3])?;
            d.returns(output);
            Ok(output)
        })?;
        // Height and width are even: what was padded is in no window of the mean.
        let mean = d.average_pool(hidden, [1, 2, 2], FirstFrame::Joined)?;
        hidden = d.add(convolved, mean)?;
    }
    if block.resamples_time {
        let doubled = d.pad(hidden, smallvec![0, 0, 1, 0, 0], smallvec![0; 5], PadMode::Edge)?;
        let convolved = d.scope("conv2", |d| time_convolution(d, doubled, count, 2))?;
        let mean = d.average_pool(doubled, [2, 1, 1], FirstFrame::Joined)?;
        hidden = d.add(convolved, mean)?;
    }
    d.scope("conv3", |d| pointwise(d, hidden, count))
}

/// Doubles the frames but for the first, then height and width, each time with a convolution that
/// is added (`CosmosUpsample3d`).
pub(super) fn upsample(d: &mut Declaration<'_>, input: Value, block: Block) -> Built {
    if !block.resamples_space && !block.resamples_time {
        return Ok(input);
    }
    let (mut hidden, count) = (input, channels(d, input));
    if block.resamples_time {
        let [frames, height, width] = space(d, hidden);
        let first = if frames > 1 { FirstFrame::Apart } else { FirstFrame::Joined };
        let doubled = d.resize_nearest(hidden, [2 * frames - 1, height, width], first)?;
        let convolved = d.scope("conv1", |d| time_convolution(d, doubled, count, 1))?;
        hidden = d.add(convolved, doubled)?;
    }
    if block.resamples_space {
        let [frames, height, width] = space(d, hidden);
        let doubled = d.resize_nearest(hidden, [frames, 2 * height, 2 * width], FirstFrame::Joined)?;
        let convolved = d.scope("conv2", |d| {
            let output = space_convolution(d, doubled, count)?;
            d.returns(output);
            Ok(output)
        })?;
        hidden = d.add(convolved, doubled)?;
    }
    d.scope("conv3", |d| pointwise(d, hidden, count))
}
