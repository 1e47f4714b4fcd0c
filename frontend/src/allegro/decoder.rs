//! The decoder: latents to a video (`AllegroDecoder3D`, after `post_quant_conv`).

use ir::{BuildError, Value};

use super::blocks::{Frames, first_convolutions, last_convolutions, layers_of_block, mid_block, over_time};
use super::config::Config;
use crate::autoencoder_kl::blocks;
use crate::declaration::Declaration;
use crate::layers::{frame_by_frame, planar_pointwise};

/// Declares what a decode step makes of `latents` `[batch, latent_channels, time, height, width]`.
pub(super) fn decode(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let latents = d.scope("post_quant_conv", |d| planar_pointwise(d, latents, config.latent_channels))?;
    d.scope("decoder", |d| {
        let sample = decoder(config, d, latents)?;
        d.returns(sample);
        Ok(sample)
    })
}

fn decoder(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let images = config.of_images();
    let last = config.levels() - 1;
    let mut hidden = first_convolutions(d, latents, config.block_out_channels[last])?;
    hidden = d.scope("mid_block", |d| mid_block(&images, d, hidden))?;
    for (level, &outputs) in config.block_out_channels.iter().rev().enumerate() {
        hidden = d.scope(&format!("up_blocks.{level}"), |d| {
            let mut hidden = layers_of_block(&images, d, config.layers_per_block + 1, hidden, outputs)?;
            if config.temporal_upsample_blocks[level] {
                hidden = d.scope("temp_conv_up", |d| over_time(images.groups, d, hidden, Frames::Doubled))?;
            }
            if level != last {
                hidden = d.scope("upsamplers.0", |d| frame_by_frame(d, hidden, blocks::upsample))?;
            }
            d.returns(hidden);
            Ok(hidden)
        })?;
    }
    last_convolutions(config, d, hidden, config.out_channels)
}
