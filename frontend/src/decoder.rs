//! The decoder: latents to video (`CogVideoXDecoder3D`, behind the optional `post_quant_conv`).

use ir::{BuildError, Builder, Value};

use crate::blocks::{causal_convolution, mid_block, pointwise_convolution, resnet_blocks, spatial_norm, upsample};
use crate::step::Declaration;

/// Declares what a decode step makes of `latents` `[batch, latent_channels, time, height, width]`.
pub(crate) fn decode(b: &mut Builder, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let latents = if d.config.use_post_quant_conv {
        b.scope("post_quant_conv", |b| pointwise_convolution(b, latents, d.config.out_channels))?
    } else {
        latents
    };
    b.scope("decoder", |b| decoder(b, d, latents))
}

fn decoder(b: &mut Builder, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let config = d.config;
    let padding = config.pad_mode;
    let levels = config.block_out_channels.iter().rev().copied();
    let (lowest, last) = (config.block_out_channels[config.levels() - 1], config.levels() - 1);

    let mut hidden = b.scope("conv_in", |b| causal_convolution(b, d, latents, lowest, padding))?;
    hidden = b.scope("mid_block", |b| mid_block(b, d, hidden, Some(latents)))?;
    for (level, outputs) in levels.enumerate() {
        hidden = b.scope(&format!("up_blocks.{level}"), |b| {
            let layers = config.layers_per_block + 1;
            let mut hidden = resnet_blocks(b, d, layers, hidden, outputs, Some(latents), padding)?;
            if level != last {
                hidden = b.scope("upsamplers.0", |b| upsample(b, d, hidden, config.compresses_time(level)))?;
            }
            d.returns(b, hidden);
            Ok(hidden)
        })?;
    }
    hidden = b.scope("norm_out", |b| spatial_norm(b, d, hidden, latents))?;
    hidden = b.scope("conv_act", |b| b.silu(hidden))?;
    b.scope("conv_out", |b| causal_convolution(b, d, hidden, config.out_channels, padding))
}
