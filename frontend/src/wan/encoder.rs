//! The encoder: video, in patches, to what `quant_conv` makes mean and log-variance of the latents
//! of (`WanEncoder3d`).

use ir::{BuildError, Value};

use super::blocks::{Resampling, attention_block, causal_convolution, downsample, mid_block, residual_block};
use super::network::Network;
use super::shortcuts::average_down;
use crate::declaration::Declaration;
use crate::layers::length_norm;

/// Declares what a step makes of a video `[batch, channel, time, height, width]`.
pub(super) fn encoder(network: &Network, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    let mut hidden = d.scope("conv_in", |d| causal_convolution(network, d, sample, network.encoder_base))?;
    hidden = if network.is_residual { down_blocks(network, d, hidden)? } else { down_layers(network, d, hidden)? };
    hidden = d.scope("mid_block", |d| mid_block(network, d, hidden))?;
    hidden = d.scope("norm_out", |d| length_norm(d, hidden))?;
    hidden = d.silu(hidden)?;
    d.scope("conv_out", |d| causal_convolution(network, d, hidden, 2 * network.latents))
}

/// What the sampler behind a level does, if there is one.
fn resampling(network: &Network, level: usize) -> Option<Resampling> {
    network.halves_time.get(level).map(|&time| Resampling::of(time))
}

/// The layers of all levels, which the reference numbers in one list, attentions among them.
fn down_layers(network: &Network, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError> {
    let mut layer = 0;
    let mut numbered = || {
        layer += 1;
        format!("down_blocks.{}", layer - 1)
    };
    let mut hidden = input;
    for (level, outputs) in network.encoder_widths().into_iter().enumerate() {
        for _ in 0..network.layers {
            hidden = d.scope(&numbered(), |d| residual_block(network, d, hidden, outputs))?;
            if network.attends(level) {
                hidden = d.scope(&numbered(), |d| attention_block(d, hidden))?;
            }
        }
        if let Some(resampling) = resampling(network, level) {
            hidden = d.scope(&numbered(), |d| downsample(d, hidden, resampling))?;
        }
    }
    Ok(hidden)
}

/// Levels with a shortcut around each (`WanResidualDownBlock`), which have no attention.
fn down_blocks(network: &Network, d: &mut Declaration<'_>, input: Value) -> Result<Value, BuildError> {
    let mut hidden = input;
    for (level, outputs) in network.encoder_widths().into_iter().enumerate() {
        hidden = d.scope(&format!("down_blocks.{level}"), |d| {
            let (input, resampling) = (hidden, resampling(network, level));
            let mut hidden = input;
            for layer in 0..network.layers {
                hidden = d.scope(&format!("resnets.{layer}"), |d| residual_block(network, d, hidden, outputs))?;
            }
            if let Some(resampling) = resampling {
                hidden = d.scope("downsampler", |d| downsample(d, hidden, resampling))?;
            }
            let shortcut = average_down(d, input, resampling, outputs)?;
            let output = d.add(hidden, shortcut)?;
            d.returns(output);
            Ok(output)
        })?;
    }
    Ok(hidden)
}
