//! The modules that encoder and decoder are made of: spatial norms, residual blocks, samplers.
//!
//! Each function declares one module of the reference (diffusers' `autoencoder_kl_cogvideox.py`,
//! `upsampling.py`, `downsampling.py`) in the scope that the caller has opened for it: the
//! declaration's path is the module's own. Videos are `[batch, channel, time, height, width]`.

use ir::{BuildError, FirstFrame, PadMode, Value};
use smallvec::smallvec;

use super::config::{CausalPadding, Config};
use crate::declaration::Declaration;
use crate::layers::{
    self, FramesBefore, KERNEL_REACH, channels, convolution, group_norm, kernel, pointwise_convolution, space,
};

/// Epsilon of the norms that the configuration's `norm_eps` does not reach.
pub(super) const FIXED_EPSILON: f64 = 1e-6;

type Built = Result<Value, BuildError>;

/// A 3x3x3 convolution that sees no later frame (`CogVideoXCausalConv3d`).
///
/// With [`CausalPadding::First`], two frames stand in front: those of the state named by this
/// module, or in a first step the first frame twice. The last two frames of all that is the new
/// state.
pub(super) fn causal_convolution(
    d: &mut Declaration<'_>,
    input: Value,
    outputs: usize,
    padding: CausalPadding,
) -> Built {
    let inputs = channels(d, input);
    let (padded, zeros) = match padding {
        CausalPadding::First => {
            (layers::behind(d, input, KERNEL_REACH, FramesBefore::First)?, [[0, 0], [1, 1], [1, 1]])
        }
        CausalPadding::Replicate => (layers::replicated(d, input)?, [[0, 0]; 3]),
    };
    let weight = kernel(d, "conv.weight", outputs, inputs, [3, 3, 3])?;
    let output = convolution(d, "conv.bias", padded, weight, [1, 1, 1], zeros)?;
    d.returns(output);
    Ok(output)
}

/// A 1x1x1 convolution inside a `CogVideoXCausalConv3d`, which then has nothing to pad and no
/// state.
fn causal_pointwise_convolution(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let inputs = channels(d, input);
    let weight = kernel(d, "conv.weight", outputs, inputs, [1, 1, 1])?;
    let output = convolution(d, "conv.bias", input, weight, [1, 1, 1], [[0, 0]; 3])?;
    d.returns(output);
    Ok(output)
}

/// A group norm that the latents scale and shift at each place (`CogVideoXSpatialNorm3D`, after
/// Zheng et al. 2022, arXiv:2209.09002): `norm_layer(input) * conv_y(latents) + conv_b(latents)`
/// with the latents resized to the input.
pub(super) fn spatial_norm(config: &Config, d: &mut Declaration<'_>, input: Value, latents: Value) -> Built {
    let (outputs, size) = (channels(d, input), space(d, input));
    let resized = d.resize_nearest(latents, size, first_frame(size[0]))?;
    let gain = d.scope("conv_y", |d| causal_pointwise_convolution(d, resized, outputs))?;
    let shift = d.scope("conv_b", |d| causal_pointwise_convolution(d, resized, outputs))?;
    let normalized = d.scope("norm_layer", |d| group_norm(d, input, config.norm_num_groups, FIXED_EPSILON))?;
    let scaled = d.multiply(normalized, gain)?;
    let output = d.add(scaled, shift)?;
    d.returns(output);
    Ok(output)
}

/// Two convolutions, each after a norm and an activation, around which the input is led
/// (`CogVideoXResnetBlock3D`). With latents, the norms are spatial norms.
pub(super) fn resnet_block(
    config: &Config,
    d: &mut Declaration<'_>,
    input: Value,
    outputs: usize,
    latents: Option<Value>,
    padding: CausalPadding,
) -> Built {
    let mut hidden = input;
    for (norm, conv) in [("norm1", "conv1"), ("norm2", "conv2")] {
        hidden = d.scope(norm, |d| match latents {
            Some(latents) => spatial_norm(config, d, hidden, latents),
            None => group_norm(d, hidden, config.norm_num_groups, config.norm_eps),
        })?;
        hidden = d.silu(hidden)?;
        hidden = d.scope(conv, |d| causal_convolution(d, hidden, outputs, padding))?;
    }
    let shortcut = if channels(d, input) == outputs {
        input
    } else {
        d.scope("conv_shortcut", |d| pointwise_convolution(d, input, outputs))?
    };
    let output = d.add(hidden, shortcut)?;
    d.returns(output);
    Ok(output)
}

/// The residual blocks `resnets.0`, `resnets.1` ... of a block, all with the same number of output
/// channels.
pub(super) fn resnet_blocks(
    config: &Config,
    d: &mut Declaration<'_>,
    count: usize,
    input: Value,
    outputs: usize,
    latents: Option<Value>,
    padding: CausalPadding,
) -> Built {
    (0..count).try_fold(input, |hidden, i| {
        d.scope(&format!("resnets.{i}"), |d| resnet_block(config, d, hidden, outputs, latents, padding))
    })
}

/// The two residual blocks between the levels and the latents (`CogVideoXMidBlock3D`).
pub(super) fn mid_block(config: &Config, d: &mut Declaration<'_>, input: Value, latents: Option<Value>) -> Built {
    let (outputs, padding) = (channels(d, input), config.pad_mode);
    let output = resnet_blocks(config, d, 2, input, outputs, latents, padding)?;
    d.returns(output);
    Ok(output)
}

/// Doubles height and width, and with `time` the frames (an odd first one stays one), then
/// convolves each frame (`CogVideoXUpsample3D`).
pub(super) fn upsample(d: &mut Declaration<'_>, input: Value, time: bool) -> Built {
    let [frames, height, width] = space(d, input);
    let (to, apart) =
        if time { (Config::upsampled_frames(frames), first_frame(frames)) } else { (frames, FirstFrame::Joined) };
    let resized = d.resize_nearest(input, [to, 2 * height, 2 * width], apart)?;
    let count = channels(d, input);
    let output = layers::planar_convolution(d, ["conv.weight", "conv.bias"], resized, count, 1, 1)?;
    d.returns(output);
    Ok(output)
}

/// With `time`, averages frames in pairs (an odd first one stays as it is); then convolves each
/// frame with stride 2 after one row and column of zeros below and to the right
/// (`CogVideoXDownsample3D`). Height and width are halved, rounding down.
pub(super) fn downsample(d: &mut Declaration<'_>, input: Value, time: bool) -> Built {
    let mut hidden = input;
    if time {
        let [frames, ..] = space(d, input);
        let apart = if frames % 2 == 1 { FirstFrame::Apart } else { FirstFrame::Joined };
        hidden = d.average_pool(input, [2, 1, 1], apart)?;
    }
    let padded = d.pad(hidden, smallvec![0; 5], smallvec![0, 0, 0, 1, 1], PadMode::Zero)?;
    let count = channels(d, input);
    let output = layers::planar_convolution(d, ["conv.weight", "conv.bias"], padded, count, 2, 0)?;
    d.returns(output);
    Ok(output)
}

/// How a resize to or of this many frames treats the first: apart when their number is odd, but for
/// a single frame.
fn first_frame(frames: usize) -> FirstFrame {
    if frames > 1 && frames % 2 == 1 { FirstFrame::Apart } else { FirstFrame::Joined }
}
