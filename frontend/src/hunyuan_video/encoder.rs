//! The encoder: a video to mean and log-variance of its latents (`HunyuanVideoEncoder3D`, before
//! `quant_conv`).

use ir::{BuildError, Value};

use super::blocks::{causal_convolution, downsample, mid_block, norm, resnet_blocks};
use super::config::Config;
use crate::declaration::Declaration;
use crate::layers::pointwise_convolution;

/// Declares what a step makes of `sample` `[batch, in_channels, time, height, width]`.
pub(super) fn encode(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    let moments = d.scope("encoder", |d| {
        let moments = encoder(config, d, sample)?;
        d.returns(moments);
        Ok(moments)
    })?;
    d.scope("quant_conv", |d| pointwise_convolution(d, moments, 2 * config.latent_channels))
}

fn encoder(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    let mut hidden = d.scope("conv_in", |d| causal_convolution(d, sample, config.block_out_channels[0]))?;
    for (level, &outputs) in config.block_out_channels.iter().enumerate() {
        hidden = d.scope(&format!("down_blocks.{level}"), |d| {
            let mut hidden = resnet_blocks(config, d, config.layers_per_block, hidden, outputs)?;
            if let Some(strides) = config.sampling(level) {
                hidden = d.scope("downsamplers.0", |d| downsample(d, hidden, strides))?;
            }
            d.returns(hidden);
            Ok(hidden)
        })?;
    }
    hidden = d.scope("mid_block", |d| mid_block(config, d, hidden))?;
    hidden = d.scope("conv_norm_out", |d| norm(config, d, hidden))?;
    hidden = d.scope("conv_act", |d| d.silu(hidden))?;
    d.scope("conv_out", |d| causal_convolution(d, hidden, 2 * config.latent_channels))
}
