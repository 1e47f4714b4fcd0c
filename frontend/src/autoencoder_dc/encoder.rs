//! The encoder: an image to latents (`Encoder`).

use ir::{BuildError, Value};

use super::blocks::{Level, convolution};
use super::config::Config;
use super::samplers::{down, means};
use crate::declaration::Declaration;

/// Declares what an encode step makes of `sample` `[batch, in_channels, 1, height, width]`.
pub(super) fn encoder(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    let widths = &config.encoder_block_out_channels;
    let (layers, unshuffles) = (&config.encoder_layers_per_block, config.unshuffles());
    // Without blocks at the highest resolution the first convolution is a sampler.
    let mut hidden = d.scope("conv_in", |d| match layers[0] {
        0 => down(d, sample, widths[1], unshuffles, false),
        _ => convolution(d, sample, widths[0], 1, true),
    })?;
    for (level, &count) in layers.iter().enumerate().filter(|(_, count)| **count > 0) {
        let blocks: Level<'_> = config.encoder_level(level);
        hidden = d.scope(&format!("down_blocks.{level}"), |d| {
            let mut hidden = hidden;
            for block in 0..count {
                hidden = d.scope(&block.to_string(), |d| blocks.block(d, hidden))?;
            }
            if let Some(&outputs) = widths.get(level + 1) {
                hidden = d.scope(&count.to_string(), |d| down(d, hidden, outputs, unshuffles, true))?;
            }
            d.returns(hidden);
            Ok(hidden)
        })?;
    }
    let latents = d.scope("conv_out", |d| convolution(d, hidden, config.latent_channels, 1, true))?;
    let latents = if config.encoder_out_shortcut {
        let shortcut = means(d, hidden, config.latent_channels)?;
        d.add(latents, shortcut)?
    } else {
        latents
    };
    d.returns(latents);
    Ok(latents)
}
