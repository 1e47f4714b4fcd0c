//! The decoder: latents to video (`WanDecoder3d`, behind `post_quant_conv`).

use ir::{BuildError, Value};

use super::blocks::{Resampling, causal_convolution, mid_block, norm, residual_block, upsample};
use super::config::Config;
use crate::declaration::Declaration;
use crate::layers::pointwise_convolution;

/// Declares what a decode step makes of `latents` `[batch, z_dim, time, height, width]`.
pub(super) fn decode(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let hidden = d.scope("post_quant_conv", |d| pointwise_convolution(d, latents, config.z_dim))?;
    d.scope("decoder", |d| {
        let sample = decoder(config, d, hidden)?;
        d.returns(sample);
        Ok(sample)
    })
}

fn decoder(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let widths = config.decoder_widths();
    let last = widths.len() - 1;
    let mut hidden = d.scope("conv_in", |d| causal_convolution(d, latents, widths[0]))?;
    hidden = d.scope("mid_block", |d| mid_block(d, hidden))?;
    for (level, &outputs) in widths.iter().enumerate() {
        hidden = d.scope(&format!("up_blocks.{level}"), |d| {
            let mut hidden = hidden;
            for layer in 0..=config.num_res_blocks {
                hidden = d.scope(&format!("resnets.{layer}"), |d| residual_block(d, hidden, outputs))?;
            }
            if level != last {
                let resampling = Resampling::of(config.doubles_time(level));
                hidden = d.scope("upsamplers.0", |d| upsample(d, hidden, resampling, outputs / 2))?;
            }
            d.returns(hidden);
            Ok(hidden)
        })?;
    }
    hidden = d.scope("norm_out", |d| norm(d, hidden))?;
    hidden = d.silu(hidden)?;
    d.scope("conv_out", |d| causal_convolution(d, hidden, config.out_channels))
}
