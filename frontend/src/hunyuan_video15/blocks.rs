//! The modules that encoder and decoder are made of, but for samplers: residual blocks and
//! attention.
//!
//! Each function declares one module of the reference (diffusers'
//! `autoencoder_kl_hunyuanvideo15.py`) in the scope that the caller has opened for it: the
//! declaration's path is the module's own. Videos are `[batch, channel, time, height, width]`.

use ir::{BuildError, Value};

use crate::declaration::Declaration;
use crate::layers::{self, AttentionWeights, channels, length_norm};

type Built = Result<Value, BuildError>;

/// A 3x3x3 convolution that sees no later frame (`HunyuanVideo15CausalConv3d`).
pub(super) fn causal_convolution(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    layers::replicated_convolution(d, input, outputs, [1, 1, 1])
}

/// Two convolutions, each after a norm and an activation, around which the input is led
/// (`HunyuanVideo15ResnetBlock`).
fn resnet_block(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let mut hidden = input;
    for (norm, conv) in [("norm1", "conv1"), ("norm2", "conv2")] {
        hidden = d.scope(norm, |d| length_norm(d, hidden))?;
        hidden = d.silu(hidden)?;
        hidden = d.scope(conv, |d| causal_convolution(d, hidden, outputs))?;
    }
    let shortcut = if channels(d, input) == outputs {
        input
    } else {
        d.scope("conv_shortcut", |d| layers::tapped_pointwise_convolution(d, input, outputs))?
    };
    let output = d.add(hidden, shortcut)?;
    d.returns(output);
    Ok(output)
}

/// The residual blocks `resnets.0`, `resnets.1` ... of a block, all with the same number of output
/// channels.
pub(super) fn resnet_blocks(d: &mut Declaration<'_>, count: usize, input: Value, outputs: usize) -> Built {
    (0..count).try_fold(input, |hidden, i| d.scope(&format!("resnets.{i}"), |d| resnet_block(d, hidden, outputs)))
}

/// Attention among the positions of all frames, of which each sees its own frame and the earlier
/// ones, around which the input is led (`HunyuanVideo15AttnBlock`).
fn attention_block(d: &mut Declaration<'_>, input: Value) -> Built {
    let normalized = d.scope("norm", |d| length_norm(d, input))?;
    let attended = layers::frame_causal_attention(d, normalized, AttentionWeights::Convolutions)?;
    let count = channels(d, input);
    let projected = d.scope("proj_out", |d| layers::tapped_pointwise_convolution(d, attended, count))?;
    let output = d.add(projected, input)?;
    d.returns(output);
    Ok(output)
}

/// A residual block, attention, a residual block (`HunyuanVideo15MidBlock`).
pub(super) fn mid_block(d: &mut Declaration<'_>, input: Value) -> Built {
    let outputs = channels(d, input);
    let hidden = d.scope("resnets.0", |d| resnet_block(d, input, outputs))?;
    let hidden = d.scope("attentions.0", |d| attention_block(d, hidden))?;
    let output = d.scope("resnets.1", |d| resnet_block(d, hidden, outputs))?;
    d.returns(output);
    Ok(output)
}
