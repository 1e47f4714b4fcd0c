//! The encoder: video to mean and log-variance of the latents (`CogVideoXEncoder3D`, before the optional `quant_conv`).

use ir::{BuildError, Builder, Value};

use crate::blocks::{
    FIXED_EPSILON, causal_convolution, downsample, group_norm, mid_block, pointwise_convolution, resnet_blocks,
};
use crate::config::CausalPadding;
use crate::step::Declaration;

/// Declares what an encode step makes of `sample` `[batch, in_channels, time, height, width]`.
pub(crate) fn encode(b: &mut Builder, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    let parameters = b.scope("encoder", |b| encoder(b, d, sample))?;
    if d.config.use_quant_conv {
        b.scope("quant_conv", |b| pointwise_convolution(b, parameters, 2 * d.config.out_channels))
    } else {
        Ok(parameters)
    }
}

fn encoder(b: &mut Builder, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    let config = d.config;
    let padding = config.pad_mode;
    let last = config.levels() - 1;

    let mut hidden = b.scope("conv_in", |b| causal_convolution(b, d, sample, config.block_out_channels[0], padding))?;
    for (level, &outputs) in config.block_out_channels.iter().enumerate() {
        hidden = b.scope(&format!("down_blocks.{level}"), |b| {
            // The reference does not pass its padding on to the down blocks.
            let (layers, padding) = (config.layers_per_block, CausalPadding::First);
            let mut hidden = resnet_blocks(b, d, layers, hidden, outputs, None, padding)?;
            if level != last {
                hidden = b.scope("downsamplers.0", |b| downsample(b, d, hidden, config.compresses_time(level)))?;
            }
            d.returns(b, hidden);
            Ok(hidden)
        })?;
    }
    hidden = b.scope("mid_block", |b| mid_block(b, d, hidden, None))?;
    hidden = b.scope("norm_out", |b| group_norm(b, d, hidden, FIXED_EPSILON))?;
    hidden = b.scope("conv_act", |b| b.silu(hidden))?;
    b.scope("conv_out", |b| causal_convolution(b, d, hidden, 2 * config.latent_channels, padding))
}
