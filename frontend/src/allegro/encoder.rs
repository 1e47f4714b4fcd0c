//! The encoder: a video to mean and log-variance of its latents (`AllegroEncoder3D`, before
//! `quant_conv`).

use ir::{BuildError, Value};

use super::blocks::{Frames, first_convolutions, last_convolutions, layers_of_block, mid_block, over_time};
use super::config::Config;
use crate::autoencoder_kl::blocks;
use crate::declaration::Declaration;
use crate::layers::{frame_by_frame, planar_pointwise};

/// Declares what an encode step makes of `sample` `[batch, in_channels, time, height, width]`.
pub(super) fn encode(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    let moments = d.scope("encoder", |d| {
        let moments = encoder(config, d, sample)?;
        d.returns(moments);
        Ok(moments)
    })?;
    d.scope("quant_conv", |d| planar_pointwise(d, moments, 2 * config.latent_channels))
}

fn encoder(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    let images = config.of_images();
    let last = config.levels() - 1;
    let mut hidden = first_convolutions(d, sample, config.block_out_channels[0])?;
    for (level, &outputs) in config.block_out_channels.iter().enumerate() {
        hidden = d.scope(&format!("down_blocks.{level}"), |d| {
            let mut hidden = layers_of_block(&images, d, config.layers_per_block, hidden, outputs)?;
            if config.temporal_downsample_blocks[level] {
                hidden = d.scope("temp_convs_down", |d| over_time(images.groups, d, hidden, Frames::Halved))?;
            }
            if level != last {
                hidden = d.scope("downsamplers.0", |d| frame_by_frame(d, hidden, blocks::downsample))?;
            }
            d.returns(hidden);
            Ok(hidden)
        })?;
    }
    hidden = d.scope("mid_block", |d| mid_block(&images, d, hidden))?;
    last_convolutions(config, d, hidden, 2 * config.latent_channels)
}
