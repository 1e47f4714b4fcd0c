//! The encoder: video to mean and log-variance of the latents (`CogVideoXEncoder3D`, before the
//! optional `quant_conv`).

use ir::{BuildError, Value};

use super::blocks::{FIXED_EPSILON, causal_convolution, downsample, mid_block, resnet_blocks};
use super::config::{CausalPadding, Config};
use crate::declaration::Declaration;
use crate::layers::{group_norm, pointwise_convolution};

/// Declares what an encode step makes of `sample` `[batch, in_channels, time, height, width]`.
pub(super) fn encode(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    let parameters = d.scope("encoder", |d| encoder(config, d, sample))?;
    if config.use_quant_conv {
        d.scope("quant_conv", |d| pointwise_convolution(d, parameters, 2 * config.out_channels))
    } else {
        Ok(parameters)
    }
}

fn encoder(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    let padding = config.pad_mode;
    let last = config.levels() - 1;

    let mut hidden = d.scope("conv_in", |d| causal_convolution(d, sample, config.block_out_channels[0], padding))?;
    for (level, &outputs) in config.block_out_channels.iter().enumerate() {
        hidden = d.scope(&format!("down_blocks.{level}"), |d| {
            // The reference does not pass its padding on to the down blocks.
            let (layers, padding) = (config.layers_per_block, CausalPadding::First);
            let mut hidden = resnet_blocks(config, d, layers, hidden, outputs, None, padding)?;
            if level != last {
                hidden = d.scope("downsamplers.0", |d| downsample(d, hidden, config.compresses_time(level)))?;
            }
            d.returns(hidden);
            Ok(hidden)
        })?;
    }
    hidden = d.scope("mid_block", |d| mid_block(config, d, hidden, None))?;
    hidden = d.scope("norm_out", |d| group_norm(d, hidden, config.norm_num_groups, FIXED_EPSILON))?;
    hidden = d.scope("conv_act", |d| d.silu(hidden))?;
    d.scope("conv_out", |d| causal_convolution(d, hidden, 2 * config.latent_channels, padding))
}
