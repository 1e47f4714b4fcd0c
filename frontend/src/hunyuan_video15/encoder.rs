//! The encoder: a video to mean and log-variance of its latents (`HunyuanVideo15Encoder3D`).

use ir::rearrange::channel_means;
use ir::{BuildError, Value};

use super::blocks::{causal_convolution, mid_block, resnet_blocks};
use super::config::Config;
use super::samplers::downsample;
use crate::declaration::Declaration;
use crate::layers::{channels, length_norm};

/// Declares what a step makes of `sample` `[batch, in_channels, time, height, width]`.
pub(super) fn encode(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    d.scope("encoder", |d| {
        let moments = encoder(config, d, sample)?;
        d.returns(moments);
        Ok(moments)
    })
}

fn encoder(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    let mut hidden = d.scope("conv_in", |d| causal_convolution(d, sample, config.block_out_channels[0]))?;
    for (level, &outputs) in config.block_out_channels.iter().enumerate() {
        hidden = d.scope(&format!("down_blocks.{level}"), |d| {
            let mut hidden = resnet_blocks(d, config.layers_per_block, hidden, outputs)?;
            if let Some(sampler) = config.downsampler(level) {
                hidden = d.scope("downsamplers.0", |d| downsample(d, hidden, sampler))?;
            }
            d.returns(hidden);
            Ok(hidden)
        })?;
    }
    hidden = d.scope("mid_block", |d| mid_block(d, hidden))?;
    let moments = 2 * config.latent_channels;
    let group = channels(d, hidden) / moments;
    let shortcut = if group > 1 { channel_means(d, hidden, group)? } else { hidden };
    hidden = d.scope("norm_out", |d| length_norm(d, hidden))?;
    hidden = d.scope("conv_act", |d| d.silu(hidden))?;
    hidden = d.scope("conv_out", |d| causal_convolution(d, hidden, moments))?;
    d.add(hidden, shortcut)
}
