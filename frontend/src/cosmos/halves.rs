//! Encoder and decoder: video to latents (`CosmosEncoder3d` before `quant_conv`), latents to video
//! (`CosmosDecoder3d` behind `post_quant_conv`).

use ir::{BuildError, Value};

use super::blocks::{downsample, level, mid_block, normalized_projection, pointwise, projection, upsample};
use super::config::Config;
use super::patches::{patches, unpatched};
use crate::declaration::Declaration;

type Built = Result<Value, BuildError>;

/// Declares what an encode step makes of `sample` `[batch, in_channels, time, height, width]`.
pub(super) fn encode(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Built {
    let latents = d.scope("encoder", |d| {
        let latents = encoder(config, d, sample)?;
        d.returns(latents);
        Ok(latents)
    })?;
    d.scope("quant_conv", |d| pointwise(d, latents, config.latent_channels))
}

fn encoder(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Built {
    let mut hidden = d.scope("patch_embed", |d| {
        let patches = patches(config, d, sample)?;
        d.returns(patches);
        Ok(patches)
    })?;
    hidden = d.scope("conv_in", |d| projection(d, hidden, config.encoder_block_out_channels[0]))?;
    for (i, block) in config.down_blocks().into_iter().enumerate() {
        hidden = d.scope(&format!("down_blocks.{i}"), |d| {
            level(d, hidden, config.num_layers, block, ("downsamplers.0", downsample))
        })?;
    }
    hidden = d.scope("mid_block", |d| mid_block(d, hidden))?;
    normalized_projection(d, ["norm_out", "conv_out"], hidden, config.latent_channels)
}

/// Declares what a decode step makes of `latents` `[batch, latent_channels, time, height, width]`.
pub(super) fn decode(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Built {
    let latents = d.scope("post_quant_conv", |d| pointwise(d, latents, config.latent_channels))?;
    d.scope("decoder", |d| {
        let sample = decoder(config, d, latents)?;
        d.returns(sample);
        Ok(sample)
    })
}

fn decoder(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Built {
    let widths = &config.decode_block_out_channels;
    let mut hidden = d.scope("conv_in", |d| projection(d, latents, widths[widths.len() - 1]))?;
    hidden = d.scope("mid_block", |d| mid_block(d, hidden))?;
    for (i, block) in config.up_blocks().into_iter().enumerate() {
        hidden = d.scope(&format!("up_blocks.{i}"), |d| {
            level(d, hidden, config.num_layers + 1, block, ("upsamplers.0", upsample))
        })?;
    }
    let values = config.out_channels * config.patch_size.pow(3);
    hidden = normalized_projection(d, ["norm_out", "conv_out"], hidden, values)?;
    d.scope("unpatch_embed", |d| {
        let sample = unpatched(config, d, hidden)?;
        d.returns(sample);
        Ok(sample)
    })
}
