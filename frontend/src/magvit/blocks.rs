//! The modules that both halves are made of: norms, causal convolutions, residual blocks, samplers.
//!
//! Each function declares one module of the reference (diffusers' `autoencoder_kl_magvit.py`) in
//! the scope that the caller has opened for it: the declaration's path is the module's own. Videos
//! are `[batch, channel, time, height, width]`.

use ir::rearrange::{CHANNELS_FASTEST, depth_to_space};
use ir::{Activation, BuildError, Dims, Elements, FirstFrame, PadMode, Value};
use smallvec::smallvec;

use crate::declaration::Declaration;
use crate::layers::{self, FramesBefore, KERNEL_REACH, channels, convolution, kernel, pointwise_convolution, space};
use crate::step::Position;

/// Epsilon of every norm.
const EPSILON: f64 = 1e-6;

type Built = Result<Value, BuildError>;

/// The frames over which norms gather their statistics.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Statistics {
    /// Each by itself.
    OfFrames,
    /// Those of a step.
    OfSteps,
}

/// A group norm and the activation behind it.
pub(super) fn norm(d: &mut Declaration<'_>, input: Value, groups: usize, statistics: Statistics) -> Built {
    match statistics {
        Statistics::OfFrames => {
            layers::frame_group_norm(d, input, ["weight", "bias"], groups, EPSILON, Activation::Silu)
        }
        Statistics::OfSteps => {
            let normalized = layers::group_norm(d, input, groups, EPSILON)?;
            d.silu(normalized)
        }
    }
}

/// A 3x3x3 convolution over zeros around that sees no later frame, and before a clip its first one
/// (`EasyAnimateCausalConv3d`).
pub(super) fn causal_convolution(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let inputs = channels(d, input);
    let weight = kernel(d, "weight", outputs, inputs, [3; 3])?;
    let behind = layers::behind(d, input, KERNEL_REACH, FramesBefore::First)?;
    let output = convolution(d, "bias", behind, weight, [1; 3], [[0, 0], [1, 1], [1, 1]])?;
    d.returns(output);
    Ok(output)
}

/// Two convolutions, each after a norm and an activation, around which the input is led
/// (`EasyAnimateResidualBlock3D`).
fn residual_block(
    d: &mut Declaration<'_>,
    input: Value,
    outputs: usize,
    groups: usize,
    statistics: Statistics,
) -> Built {
    let shortcut = if channels(d, input) == outputs {
        input
    } else {
        d.scope("shortcut", |d| {
            let shortcut = pointwise_convolution(d, input, outputs)?;
            d.returns(shortcut);
            Ok(shortcut)
        })?
    };
    let mut hidden = input;
    for (norm_name, conv) in [("norm1", "conv1"), ("norm2", "conv2")] {
        hidden = d.scope(norm_name, |d| norm(d, hidden, groups, statistics))?;
        hidden = d.scope(conv, |d| causal_convolution(d, hidden, outputs))?;
    }
    let output = d.add(hidden, shortcut)?;
    d.returns(output);
    Ok(output)
}

/// The residual blocks `convs.0`, `convs.1` ... of a block, all with the same number of output
/// channels.
pub(super) fn residual_blocks(
    d: &mut Declaration<'_>,
    count: usize,
    input: Value,
    outputs: usize,
    groups: usize,
    statistics: Statistics,
) -> Built {
    (0..count).try_fold(input, |hidden, i| {
        d.scope(&format!("convs.{i}"), |d| residual_block(d, hidden, outputs, groups, statistics))
    })
}

/// Halves height and width by a convolution of stride 2 over one row and column of zeros below and
/// to the right; with `time` the frames too, but for the first of a clip
/// (`EasyAnimateDownsampler3D`). Heights and widths that are odd are rounded down.
pub(super) fn downsample(d: &mut Declaration<'_>, input: Value, time: bool) -> Built {
    let output = d.scope("conv", |d| {
        let count = channels(d, input);
        let weight = kernel(d, "weight", count, count, [3; 3])?;
        // Windows that are two frames apart have one in common.
        let (stride, reach) = if time { (2, KERNEL_REACH - 1) } else { (1, KERNEL_REACH) };
        let mut behind = layers::behind(d, input, reach, FramesBefore::First)?;
        if time && !d.kind().position.reads_states() {
            behind = d.pad(behind, smallvec![0, 0, KERNEL_REACH - reach, 0, 0], smallvec![0; 5], PadMode::Edge)?;
        }
        let output = convolution(d, "bias", behind, weight, [stride, 2, 2], [[0, 0], [0, 1], [0, 1]])?;
        d.returns(output);
        Ok(output)
    })?;
    d.returns(output);
    Ok(output)
}

/// Doubles height and width, and convolves; with `time` then doubles the frames, but for the first
/// of a clip (`EasyAnimateUpsampler3D`).
pub(super) fn upsample(d: &mut Declaration<'_>, input: Value, time: bool, statistics: Statistics) -> Built {
    let [frames, height, width] = space(d, input);
    let resized = d.resize_nearest(input, [frames, 2 * height, 2 * width], FirstFrame::Joined)?;
    let convolved = d.scope("conv", |d| causal_convolution(d, resized, channels(d, input)))?;
    let output = match (time && d.kind().position == Position::Next, statistics) {
        (false, _) => convolved,
        (true, Statistics::OfFrames) => {
            d.resize_nearest(convolved, [2 * frames, 2 * height, 2 * width], FirstFrame::Joined)?
        }
        (true, Statistics::OfSteps) => interpolate(d, convolved)?,
    };
    d.returns(output);
    Ok(output)
}

/// Two frames in place of each, a quarter of a frame before and behind it, each between it and its
/// neighbour; outside of the step it is its own neighbour (PyTorch's `interpolate` of the mode
/// `trilinear`, with corners that are not aligned).
fn interpolate(d: &mut Declaration<'_>, input: Value) -> Built {
    let ends = smallvec![0, 0, 1, 0, 0];
    let padded = d.pad(input, Dims::clone(&ends), ends, PadMode::Edge)?;
    let own = share(d, input, 0.75)?;
    let [before, behind] = [0, 2].map(|first| {
        let mut limit = d.ty(input).shape.clone();
        limit[2] += first;
        let neighbours = d.slice(padded, smallvec![0, 0, first, 0, 0], limit)?;
        let quarter = share(d, neighbours, 0.25)?;
        d.add(own, quarter)
    });
    let both = d.concatenate(smallvec![before?, behind?], 1)?;
    depth_to_space(d, both, [2, 1, 1], CHANNELS_FASTEST)
}

/// A value times a number.
fn share(d: &mut Declaration<'_>, input: Value, number: f64) -> Built {
    let ty = d.ty(input).clone();
    let number = d.constant(Elements::Splat(number), ty)?;
    d.multiply(input, number)
}
