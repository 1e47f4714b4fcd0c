//! The decoder: latents to an image (`Decoder` of diffusers' `vae.py`, behind the optional
//! `post_quant_conv`).

use ir::{BuildError, Value};

use super::blocks::{convolution, mid_block, norm, resnet_blocks, upsample};
use super::network::Network;
use crate::declaration::Declaration;
use crate::layers::planar_pointwise;

/// Declares what a decode step makes of `latents` `[batch, latent_channels, 1, height, width]`.
pub(super) fn decode(network: &Network, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let latents = if network.quantizes[1] {
        d.scope("post_quant_conv", |d| planar_pointwise(d, latents, network.latents))?
    } else {
        latents
    };
    d.scope("decoder", |d| {
        let sample = decoder(network, d, latents)?;
        d.returns(sample);
        Ok(sample)
    })
}

fn decoder(network: &Network, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let last = network.levels() - 1;
    let mut hidden = d.scope("conv_in", |d| convolution(d, latents, network.decoder_widths[last]))?;
    hidden = d.scope("mid_block", |d| mid_block(network, d, hidden))?;
    for (level, &outputs) in network.decoder_widths.iter().rev().enumerate() {
        hidden = d.scope(&format!("up_blocks.{level}"), |d| {
            let mut hidden = resnet_blocks(network, d, network.layers + 1, hidden, outputs)?;
            if level != last {
                hidden = d.scope("upsamplers.0", |d| upsample(d, hidden))?;
            }
            d.returns(hidden);
            Ok(hidden)
        })?;
    }
    hidden = d.scope("conv_norm_out", |d| norm(network, d, hidden))?;
    hidden = d.scope("conv_act", |d| d.silu(hidden))?;
    d.scope("conv_out", |d| convolution(d, hidden, network.channels[1]))
}
