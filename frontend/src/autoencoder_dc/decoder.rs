//! The decoder: latents to an image (`Decoder`).

use ir::{BuildError, Value};

use super::blocks::{convolution, norm};
use super::config::Config;
use super::samplers::{repeats, up};
use crate::declaration::Declaration;

/// Declares what a decode step makes of `latents` `[batch, latent_channels, 1, height, width]`.
pub(super) fn decoder(config: &Config, d: &mut Declaration<'_>, latents: Value) -> Result<Value, BuildError> {
    let widths = &config.decoder_block_out_channels;
    let (layers, resizes) = (&config.decoder_layers_per_block, config.resizes());
    let lowest = widths[widths.len() - 1];
    let mut hidden = d.scope("conv_in", |d| convolution(d, latents, lowest, 1, true))?;
    if config.decoder_in_shortcut {
        let shortcut = repeats(d, latents, lowest)?;
        hidden = d.add(hidden, shortcut)?;
    }
    for (level, &count) in layers.iter().enumerate().rev().filter(|(_, count)| **count > 0) {
        let blocks = config.decoder_level(level);
        hidden = d.scope(&format!("up_blocks.{level}"), |d| {
            let mut hidden = hidden;
            let mut modules = 0..;
            let mut numbered = || modules.next().unwrap_or_default().to_string();
            if level + 1 < widths.len() {
                hidden = d.scope(&numbered(), |d| up(d, hidden, widths[level], resizes, true))?;
            }
            for _ in 0..count {
                hidden = d.scope(&numbered(), |d| blocks.block(d, hidden))?;
            }
            d.returns(hidden);
            Ok(hidden)
        })?;
    }
    hidden = d.scope("norm_out", |d| norm(d, hidden))?;
    hidden = config.last_function().of(d, hidden)?;
    // Without blocks at the highest resolution the last convolution is a sampler.
    let sample = d.scope("conv_out", |d| match layers[0] {
        0 => up(d, hidden, config.in_channels, resizes, false),
        _ => convolution(d, hidden, config.in_channels, 1, true),
    })?;
    d.returns(sample);
    Ok(sample)
}
