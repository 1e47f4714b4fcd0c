//! Encoder and decoder: video to what `quant_conv` makes mean and log-variance of
//! (`EasyAnimateEncoder`), latents behind `post_quant_conv` to video (`EasyAnimateDecoder`).

use ir::{BuildError, Value};

use super::blocks::{Statistics, causal_convolution, downsample, norm, residual_blocks, upsample};
use super::config::Config;
use crate::declaration::Declaration;
use crate::layers::pointwise_convolution;

type Built = Result<Value, BuildError>;

/// Over which frames norms gather their statistics, but for the decoder's lowest resolution.
fn statistics(config: &Config) -> Statistics {
    if config.spatial_group_norm { Statistics::OfFrames } else { Statistics::OfSteps }
}

/// Declares what an encode step makes of `sample` `[batch, in_channels, time, height, width]`.
pub(super) fn encode(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Built {
    let moments = d.scope("encoder", |d| {
        let moments = encoder(config, d, sample)?;
        d.returns(moments);
        Ok(moments)
    })?;
    d.scope("quant_conv", |d| pointwise_convolution(d, moments, 2 * config.latent_channels))
}

fn encoder(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Built {
    let (groups, layers, statistics) = (config.norm_num_groups, config.layers_per_block, statistics(config));
    let widths = &config.block_out_channels;
    let mut hidden = d.scope("conv_in", |d| causal_convolution(d, sample, widths[0]))?;
    for (level, &outputs) in widths.iter().enumerate() {
        hidden = d.scope(&format!("down_blocks.{level}"), |d| {
            let mut hidden = residual_blocks(d, layers, hidden, outputs, groups, statistics)?;
            if let Some(time) = config.halves_time(level) {
                hidden = d.scope("downsampler", |d| downsample(d, hidden, time))?;
            }
            d.returns(hidden);
            Ok(hidden)
        })?;
    }
    let lowest = widths[config.levels() - 1];
    hidden = d.scope("mid_block", |d| mid_block(d, layers, hidden, lowest, groups, statistics))?;
    hidden = d.scope("conv_norm_out", |d| norm(d, hidden, groups, statistics))?;
    d.scope("conv_out", |d| causal_convolution(d, hidden, 2 * config.latent_channels))
}

/// Declares what a decode step makes of `latents` `[batch, latent_channels, time, height, width]`.
pub(super) fn decode(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Built {
    let latents = d.scope("post_quant_conv", |d| pointwise_convolution(d, latents, config.latent_channels))?;
    d.scope("decoder", |d| {
        let sample = decoder(config, d, latents)?;
        d.returns(sample);
        Ok(sample)
    })
}

fn decoder(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Built {
    let (groups, layers, statistics) = (config.norm_num_groups, config.layers_per_block, statistics(config));
    let widths = &config.block_out_channels;
    let lowest = widths[config.levels() - 1];
    let mut hidden = d.scope("conv_in", |d| causal_convolution(d, latents, lowest))?;
    // The reference does not pass `spatial_group_norm` on to it.
    hidden = d.scope("mid_block", |d| mid_block(d, layers, hidden, lowest, groups, Statistics::OfFrames))?;
    for (level, &outputs) in widths.iter().rev().enumerate() {
        hidden = d.scope(&format!("up_blocks.{level}"), |d| {
            let mut hidden = residual_blocks(d, layers + 1, hidden, outputs, groups, statistics)?;
            if let Some(time) = config.doubles_time(level) {
                hidden = d.scope("upsampler", |d| upsample(d, hidden, time, statistics))?;
            }
            d.returns(hidden);
            Ok(hidden)
        })?;
    }
    hidden = d.scope("conv_norm_out", |d| norm(d, hidden, groups, statistics))?;
    d.scope("conv_out", |d| causal_convolution(d, hidden, config.out_channels))
}

/// Residual blocks alone (`EasyAnimateMidBlock3d`).
fn mid_block(
    d: &mut Declaration<'_>,
    layers: usize,
    input: Value,
    outputs: usize,
    groups: usize,
    statistics: Statistics,
) -> Built {
    let output = residual_blocks(d, layers, input, outputs, groups, statistics)?;
    d.returns(output);
    Ok(output)
}
