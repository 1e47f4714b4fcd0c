//! The modules that encoder and decoder are made of: norms, residual blocks, attention, samplers.
//!
//! Each function declares one module of the reference (diffusers'
//! `autoencoder_kl_hunyuan_video.py`, `attention_processor.py`) in the scope that the caller has
//! opened for it: the declaration's path is the module's own. Videos are `[batch, channel, time,
//! height, width]`.

use ir::{BuildError, FirstFrame, Value};

use super::config::Config;
use crate::declaration::Declaration;
use crate::layers::{self, AttentionWeights, channels, replicated_convolution, space};

/// Epsilon of every norm.
const EPSILON: f64 = 1e-6;

type Built = Result<Value, BuildError>;

/// A 3x3x3 convolution that sees no later frame (`HunyuanVideoCausalConv3d`).
pub(super) fn causal_convolution(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    replicated_convolution(d, input, outputs, [1, 1, 1])
}

/// A group norm over all frames of the clip, or of the tile along time that stands for one.
pub(super) fn norm(config: &Config, d: &mut Declaration<'_>, input: Value) -> Built {
    layers::group_norm(d, input, config.norm_num_groups, EPSILON)
}

/// Two convolutions, each after a norm and an activation, around which the input is led
/// (`HunyuanVideoResnetBlockCausal3D`).
fn resnet_block(config: &Config, d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let mut hidden = input;
    for (norm_name, conv) in [("norm1", "conv1"), ("norm2", "conv2")] {
        hidden = d.scope(norm_name, |d| norm(config, d, hidden))?;
        hidden = d.silu(hidden)?;
        hidden = d.scope(conv, |d| causal_convolution(d, hidden, outputs))?;
    }
    let shortcut = if channels(d, input) == outputs {
        input
    } else {
        d.scope("conv_shortcut", |d| {
            let shortcut = d.scope("conv", |d| layers::tapped_pointwise_convolution(d, input, outputs))?;
            d.returns(shortcut);
            Ok(shortcut)
        })?
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
) -> Built {
    (0..count)
        .try_fold(input, |hidden, i| d.scope(&format!("resnets.{i}"), |d| resnet_block(config, d, hidden, outputs)))
}

/// Attention among the positions of all frames, of which each sees its own frame and the earlier
/// ones, around which the input is led (`Attention` with the mask of
/// `prepare_causal_attention_mask`). The reference has it on tokens, and so does a tap.
fn attention_block(config: &Config, d: &mut Declaration<'_>, input: Value) -> Built {
    let normalized = d.scope("group_norm", |d| norm(config, d, input))?;
    let attended = layers::frame_causal_attention(d, normalized, AttentionWeights::Apart)?;
    let projected = d.scope("to_out.0", |d| layers::linear(d, attended, channels(d, input)))?;
    let output = d.add(projected, input)?;
    layers::returns_tokens(d, output)?;
    Ok(output)
}

/// A residual block, attention if the model has it, a residual block (`HunyuanVideoMidBlock3D`).
pub(super) fn mid_block(config: &Config, d: &mut Declaration<'_>, input: Value) -> Built {
    let outputs = channels(d, input);
    let mut hidden = d.scope("resnets.0", |d| resnet_block(config, d, input, outputs))?;
    if config.mid_block_add_attention {
        hidden = d.scope("attentions.0", |d| attention_block(config, d, hidden))?;
    }
    let output = d.scope("resnets.1", |d| resnet_block(config, d, hidden, outputs))?;
    d.returns(output);
    Ok(output)
}

/// Makes `factors` frames, rows and columns of one, but one frame of the first, then convolves
/// (`HunyuanVideoUpsampleCausal3D`).
pub(super) fn upsample(d: &mut Declaration<'_>, input: Value, factors: [usize; 3]) -> Built {
    let [frames, height, width] = space(d, input);
    let [time, rows, columns] = factors;
    let first = if time == 1 { FirstFrame::Joined } else { FirstFrame::Apart };
    let size = [(frames - 1) * time + 1, height * rows, width * columns];
    let resized = d.resize_nearest(input, size, first)?;
    let count = channels(d, input);
    let output = d.scope("conv", |d| causal_convolution(d, resized, count))?;
    d.returns(output);
    Ok(output)
}

/// Convolves with these strides (`HunyuanVideoDownsampleCausal3D`). Sizes are divided, rounding up.
pub(super) fn downsample(d: &mut Declaration<'_>, input: Value, strides: [usize; 3]) -> Built {
    let count = channels(d, input);
    let output = d.scope("conv", |d| replicated_convolution(d, input, count, strides))?;
    d.returns(output);
    Ok(output)
}
