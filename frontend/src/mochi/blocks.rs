//! The modules that both halves are made of: norms, causal convolutions, residual blocks.
//!
//! Each function declares one module of the reference (diffusers' `autoencoder_kl_mochi.py`) in the
//! scope that the caller has opened for it: the declaration's path is the module's own. Videos are
//! `[batch, channel, time, height, width]`.

use ir::{Activation, BuildError, Value};

use super::config::GROUPS;
use crate::declaration::Declaration;
use crate::layers::{self, FramesBefore, KERNEL_REACH, channels, edged_convolution, kernel};

/// Epsilon of every norm.
const EPSILON: f64 = 1e-5;

type Built = Result<Value, BuildError>;

/// A group norm of each frame by itself (`MochiChunkedGroupNorm3D`), and what follows it.
pub(super) fn norm(d: &mut Declaration<'_>, input: Value, activation: Activation) -> Built {
    layers::frame_group_norm(d, input, ["norm_layer.weight", "norm_layer.bias"], GROUPS, EPSILON, activation)
}

/// A convolution that sees no later frame and, where there is none, the nearest frame and pixel
/// (`CogVideoXCausalConv3d` that replicates).
pub(super) fn causal_convolution(
    d: &mut Declaration<'_>,
    input: Value,
    outputs: usize,
    window: [usize; 3],
    strides: [usize; 3],
) -> Built {
    let output = d.scope("conv", |d| {
        let inputs = channels(d, input);
        let [frames, rows, columns] = window;
        let behind = if frames > 1 { layers::behind(d, input, frames - 1, FramesBefore::First)? } else { input };
        let weight = kernel(d, "weight", outputs, inputs, window)?;
        let around = [rows, columns].map(|length| (length - 1) / 2);
        let output = edged_convolution(d, "bias", behind, weight, strides, around)?;
        d.returns(output);
        Ok(output)
    })?;
    d.returns(output);
    Ok(output)
}

/// Two convolutions, each after a norm and an activation, around which the input is led
/// (`MochiResnetBlock3D`).
pub(super) fn residual_block(d: &mut Declaration<'_>, input: Value) -> Built {
    const WINDOW: usize = KERNEL_REACH + 1;
    let count = channels(d, input);
    let mut hidden = input;
    for (norm_name, conv) in [("norm1", "conv1"), ("norm2", "conv2")] {
        hidden = d.scope(norm_name, |d| norm(d, hidden, Activation::Silu))?;
        hidden = d.scope(conv, |d| causal_convolution(d, hidden, count, [WINDOW; 3], [1; 3]))?;
    }
    let output = d.add(hidden, input)?;
    d.returns(output);
    Ok(output)
}
