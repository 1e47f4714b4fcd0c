//! The decoder: latents to video (`HunyuanVideo15Decoder3D`).

use ir::{BuildError, Value};

use super::blocks::{causal_convolution, mid_block, resnet_blocks};
use super::config::Config;
use super::samplers::{repeated, upsample};
use crate::declaration::Declaration;
use crate::layers::length_norm;

/// Declares what a step makes of `latents` `[batch, latent_channels, time, height, width]`.
pub(super) fn decode(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    d.scope("decoder", |d| {
        let sample = decoder(config, d, latents)?;
        d.returns(sample);
        Ok(sample)
    })
}

fn decoder(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let lowest = config.lowest();
    let wide = d.scope("conv_in", |d| causal_convolution(d, latents, lowest))?;
    let shortcut = repeated(d, latents, lowest / config.latent_channels)?;
    let mut hidden = d.add(wide, shortcut)?;
    hidden = d.scope("mid_block", |d| mid_block(d, hidden))?;
    for (level, &outputs) in config.decoder_channels().iter().enumerate() {
        hidden = d.scope(&format!("up_blocks.{level}"), |d| {
            let mut hidden = resnet_blocks(d, config.layers_per_block + 1, hidden, outputs)?;
            if let Some(sampler) = config.upsampler(level) {
                hidden = d.scope("upsamplers.0", |d| upsample(d, hidden, sampler))?;
            }
            d.returns(hidden);
            Ok(hidden)
        })?;
    }
    hidden = d.scope("norm_out", |d| length_norm(d, hidden))?;
    hidden = d.scope("conv_act", |d| d.silu(hidden))?;
    d.scope("conv_out", |d| causal_convolution(d, hidden, config.out_channels))
}
