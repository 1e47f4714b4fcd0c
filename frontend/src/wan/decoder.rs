//! The decoder: latents behind `post_quant_conv` to video, in patches (`WanDecoder3d`).

use ir::{BuildError, Value};

use super::blocks::{Resampling, causal_convolution, mid_block, residual_block, upsample};
use super::network::Network;
use super::shortcuts::duplicate_up;
use crate::declaration::Declaration;
use crate::layers::length_norm;

/// Declares what a step makes of latents `[batch, channel, time, height, width]`.
pub(super) fn decoder(network: &Network, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let widths = network.decoder_widths();
    let last = widths.len() - 1;
    let mut hidden = d.scope("conv_in", |d| causal_convolution(network, d, latents, widths[0]))?;
    hidden = d.scope("mid_block", |d| mid_block(network, d, hidden))?;
    for (level, &outputs) in widths.iter().enumerate() {
        let resampling = (level != last).then(|| Resampling::of(network.doubles_time(level)));
        hidden = d.scope(&format!("up_blocks.{level}"), |d| {
            let output = up_block(network, d, hidden, outputs, resampling)?;
            d.returns(output);
            Ok(output)
        })?;
    }
    hidden = d.scope("norm_out", |d| length_norm(d, hidden))?;
    hidden = d.silu(hidden)?;
    let [_, outputs] = network.channels;
    d.scope("conv_out", |d| causal_convolution(network, d, hidden, outputs))
}

/// Residual blocks and a sampler, if the level has one; with a shortcut around all of them where
/// the network has shortcuts (`WanUpBlock`, `WanResidualUpBlock`).
fn up_block(
    network: &Network,
    d: &mut Declaration<'_>,
    input: Value,
    outputs: usize,
    resampling: Option<Resampling>,
) -> Result<Value, BuildError> {
    let mut hidden = input;
    for layer in 0..=network.layers {
        hidden = d.scope(&format!("resnets.{layer}"), |d| residual_block(network, d, hidden, outputs))?;
    }
    let Some(resampling) = resampling else { return Ok(hidden) };
    if !network.is_residual {
        // Of an odd number the smaller half, as in the reference.
        return d.scope("upsamplers.0", |d| upsample(d, hidden, resampling, outputs / 2));
    }
    let upsampled = d.scope("upsampler", |d| upsample(d, hidden, resampling, outputs))?;
    let shortcut = duplicate_up(d, input, resampling, outputs)?;
    d.add(upsampled, shortcut)
}
