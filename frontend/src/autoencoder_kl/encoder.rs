//! The encoder: an image to mean and log-variance of its latents (`Encoder` of diffusers' `vae.py`,
//! before the optional `quant_conv`).

use ir::{BuildError, Value};

use super::blocks::{convolution, downsample, mid_block, norm, resnet_blocks};
use super::network::Network;
use crate::declaration::Declaration;
use crate::layers::planar_pointwise;

/// Declares what an encode step makes of `sample` `[batch, in_channels, 1, height, width]`.
pub(crate) fn encode(network: &Network, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    let moments = d.scope("encoder", |d| {
        let moments = encoder(network, d, sample)?;
        d.returns(moments);
        Ok(moments)
    })?;
    if network.quantizes[0] {
        d.scope("quant_conv", |d| planar_pointwise(d, moments, 2 * network.latents))
    } else {
        Ok(moments)
    }
}

fn encoder(network: &Network, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    let last = network.levels() - 1;
    let mut hidden = d.scope("conv_in", |d| convolution(d, sample, network.encoder_widths[0]))?;
    for (level, &outputs) in network.encoder_widths.iter().enumerate() {
        hidden = d.scope(&format!("down_blocks.{level}"), |d| {
            let mut hidden = resnet_blocks(network, d, network.layers, hidden, outputs)?;
            if level != last {
                hidden = d.scope("downsamplers.0", |d| downsample(d, hidden))?;
            }
            d.returns(hidden);
            Ok(hidden)
        })?;
    }
    hidden = d.scope("mid_block", |d| mid_block(network, d, hidden))?;
    hidden = d.scope("conv_norm_out", |d| norm(network, d, hidden))?;
    hidden = d.scope("conv_act", |d| d.silu(hidden))?;
    d.scope("conv_out", |d| convolution(d, hidden, 2 * network.latents))
}
