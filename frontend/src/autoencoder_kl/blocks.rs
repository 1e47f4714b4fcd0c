//! The modules that encoder and decoder are made of: norms, residual blocks, attention, samplers.
//!
//! Each function declares one module of the reference (diffusers' `unets/unet_2d_blocks.py`,
//! `resnet.py`, `upsampling.py`, `downsampling.py`, `attention_processor.py`) in the scope that the
//! caller has opened for it: the declaration's path is the module's own. Images are videos of one
//! frame, `[batch, channel, 1, height, width]`.

use ir::{BuildError, FirstFrame, PadMode, Value};
use smallvec::smallvec;

use super::network::Network;
use crate::declaration::Declaration;
use crate::layers::{self, AttentionWeights, channels, space};

/// Epsilon of every norm.
const EPSILON: f64 = 1e-6;

type Built = Result<Value, BuildError>;

/// A 3x3 convolution, around which are zeros.
pub(crate) fn convolution(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    convolution_with(d, input, outputs, 1, 1)
}

fn convolution_with(d: &mut Declaration<'_>, input: Value, outputs: usize, stride: usize, padding: usize) -> Built {
    let output = layers::planar_convolution(d, ["weight", "bias"], input, outputs, stride, padding)?;
    d.returns(output);
    Ok(output)
}

pub(crate) fn norm(network: &Network, d: &mut Declaration<'_>, input: Value) -> Built {
    layers::group_norm(d, input, network.groups, EPSILON)
}

/// Two convolutions, each after a norm and an activation, around which the input is led
/// (`ResnetBlock2D`).
pub(crate) fn resnet_block(network: &Network, d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let mut hidden = input;
    for (norm_name, conv) in [("norm1", "conv1"), ("norm2", "conv2")] {
        hidden = d.scope(norm_name, |d| norm(network, d, hidden))?;
        hidden = d.silu(hidden)?;
        hidden = d.scope(conv, |d| convolution(d, hidden, outputs))?;
    }
    let shortcut = if channels(d, input) == outputs {
        input
    } else {
        d.scope("conv_shortcut", |d| layers::planar_pointwise(d, input, outputs))?
    };
    let output = d.add(hidden, shortcut)?;
    d.returns(output);
    Ok(output)
}

/// The residual blocks `resnets.0`, `resnets.1` ... of a block, all with the same number of output
/// channels.
pub(super) fn resnet_blocks(
    network: &Network,
    d: &mut Declaration<'_>,
    count: usize,
    input: Value,
    outputs: usize,
) -> Built {
    (0..count)
        .try_fold(input, |hidden, i| d.scope(&format!("resnets.{i}"), |d| resnet_block(network, d, hidden, outputs)))
}

/// Attention among the positions of the image, around which the input is led (`Attention`).
pub(crate) fn attention_block(network: &Network, d: &mut Declaration<'_>, input: Value) -> Built {
    let normalized = d.scope("group_norm", |d| norm(network, d, input))?;
    let attended = layers::frame_attention(d, normalized, AttentionWeights::Apart)?;
    let projected = d.scope("to_out.0", |d| layers::linear(d, attended, channels(d, input)))?;
    let output = d.add(projected, input)?;
    d.returns(output);
    Ok(output)
}

/// A residual block, attention if the model has it, a residual block (`UNetMidBlock2D`).
pub(super) fn mid_block(network: &Network, d: &mut Declaration<'_>, input: Value) -> Built {
    let outputs = channels(d, input);
    let mut hidden = d.scope("resnets.0", |d| resnet_block(network, d, input, outputs))?;
    if network.attends {
        hidden = d.scope("attentions.0", |d| attention_block(network, d, hidden))?;
    }
    let output = d.scope("resnets.1", |d| resnet_block(network, d, hidden, outputs))?;
    d.returns(output);
    Ok(output)
}

/// Doubles height and width, then convolves (`Upsample2D`).
pub(crate) fn upsample(d: &mut Declaration<'_>, input: Value) -> Built {
    let [frames, height, width] = space(d, input);
    let resized = d.resize_nearest(input, [frames, 2 * height, 2 * width], FirstFrame::Joined)?;
    let count = channels(d, input);
    let output = d.scope("conv", |d| convolution(d, resized, count))?;
    d.returns(output);
    Ok(output)
}

/// Convolves with stride 2 after one row and column of zeros below and to the right
/// (`Downsample2D`). Height and width are halved, rounding down.
pub(crate) fn downsample(d: &mut Declaration<'_>, input: Value) -> Built {
    let padded = d.pad(input, smallvec![0; 5], smallvec![0, 0, 0, 1, 1], PadMode::Zero)?;
    let count = channels(d, input);
    let output = d.scope("conv", |d| convolution_with(d, padded, count, 2, 0))?;
    d.returns(output);
    Ok(output)
}
