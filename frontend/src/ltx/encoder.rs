//! The encoder: video, in patches, to means and log-variances of the latents
//! (`LTXVideoEncoder3d`).

use ir::rearrange::repeat_channels;
use ir::{BuildError, Value};
use smallvec::smallvec;

use super::blocks::Way;
use super::network::{EncoderLevel, Network, Sampler};
use crate::declaration::Declaration;
use crate::layers::channels;

/// The axis of a video's channels.
const CHANNELS: usize = 1;

/// Declares what a step makes of patches `[batch, channel, time, height, width]`.
pub(super) fn encoder(network: &Network, d: &mut Declaration<'_>, patches: Value) -> Result<Value, BuildError> {
    let plan = &network.encoder;
    let way =
        Way { generation: network.generation, causal: plan.causal, border: plan.border, epsilon: network.epsilon };
    let mut hidden = d.scope("conv_in", |d| way.convolution(d, patches, plan.first))?;
    for (number, level) in plan.levels.iter().enumerate() {
        hidden = d.scope(&format!("down_blocks.{number}"), |d| {
            let output = down_block(way, d, hidden, level)?;
            d.returns(output);
            Ok(output)
        })?;
    }
    hidden = d.scope("mid_block", |d| {
        let mut hidden = hidden;
        for layer in 0..plan.layers {
            let count = channels(d, hidden);
            hidden = d.scope(&format!("resnets.{layer}"), |d| way.residual_block(d, hidden, count, None, None))?;
        }
        d.returns(hidden);
        Ok(hidden)
    })?;
    hidden = d.scope("norm_out", |d| way.norm(d, hidden, None))?;
    hidden = d.silu(hidden)?;
    let means_and_one = d.scope("conv_out", |d| way.convolution(d, hidden, network.latents + 1))?;
    with_one_log_variance(d, means_and_one, network.latents)
}

/// Means and one log-variance, as means and as many log-variances.
fn with_one_log_variance(d: &mut Declaration<'_>, moments: Value, latents: usize) -> Result<Value, BuildError> {
    if latents == 1 {
        return Ok(moments);
    }
    let limit = d.ty(moments).shape.clone();
    let log_variance = d.slice(moments, smallvec![0, latents, 0, 0, 0], limit)?;
    let repeated = repeat_channels(d, log_variance, latents - 1)?;
    d.concatenate(smallvec![moments, repeated], CHANNELS)
}

/// Residual blocks, a sampler, and what changes the number of channels (`LTXVideoDownBlock3D`,
/// `LTXVideo095DownBlock3D`, `LTX2VideoDownBlock3D`).
fn down_block(way: Way, d: &mut Declaration<'_>, input: Value, level: &EncoderLevel) -> Result<Value, BuildError> {
    let (mut hidden, count) = (input, channels(d, input));
    for layer in 0..level.layers {
        hidden = d.scope(&format!("resnets.{layer}"), |d| way.residual_block(d, hidden, count, None, None))?;
    }
    if let Some(sampler) = level.sampler {
        hidden = d.scope("downsamplers.0", |d| match sampler {
            Sampler::Strided => way.strided_convolution(d, hidden),
            Sampler::Shuffled(factors) => way.downsample(d, hidden, factors, level.outputs),
        })?;
    }
    if level.widens && count != level.outputs {
        hidden = d.scope("conv_out", |d| way.residual_block(d, hidden, level.outputs, None, None))?;
    }
    Ok(hidden)
}
