//! The encoder: video to mean and log-variance of the latents (`WanEncoder3d`, before
//! `quant_conv`).

use ir::{BuildError, Value};

use super::blocks::{Resampling, attention_block, causal_convolution, downsample, mid_block, norm, residual_block};
use super::config::Config;
use crate::declaration::Declaration;
use crate::layers::pointwise_convolution;

/// Declares what an encode step makes of `sample` `[batch, in_channels, time, height, width]`.
pub(super) fn encode(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    let moments = d.scope("encoder", |d| {
        let moments = encoder(config, d, sample)?;
        d.returns(moments);
        Ok(moments)
    })?;
    d.scope("quant_conv", |d| pointwise_convolution(d, moments, 2 * config.z_dim))
}

fn encoder(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    let widths = config.encoder_widths();
    let last = widths.len() - 1;
    let mut hidden = d.scope("conv_in", |d| causal_convolution(d, sample, config.base_dim * config.dim_mult[0]))?;
    // The reference numbers the layers of all levels in one list, attentions among them.
    let mut layer = 0;
    let mut numbered = || {
        layer += 1;
        format!("down_blocks.{}", layer - 1)
    };
    for (level, &outputs) in widths.iter().enumerate() {
        for _ in 0..config.num_res_blocks {
            hidden = d.scope(&numbered(), |d| residual_block(d, hidden, outputs))?;
            if config.attends(level) {
                hidden = d.scope(&numbered(), |d| attention_block(d, hidden))?;
            }
        }
        if level != last {
            let resampling = Resampling::of(config.halves_time(level));
            hidden = d.scope(&numbered(), |d| downsample(d, hidden, resampling))?;
        }
    }
    hidden = d.scope("mid_block", |d| mid_block(d, hidden))?;
    hidden = d.scope("norm_out", |d| norm(d, hidden))?;
    hidden = d.silu(hidden)?;
    d.scope("conv_out", |d| causal_convolution(d, hidden, 2 * config.z_dim))
}
