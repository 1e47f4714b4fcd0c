//! The configuration of a model of this class, read off the names and shapes in a file, in either of
//! its spellings. A file of an encoder alone is one of `AutoencoderKL`, whose encoder it is.
//!
//! Tensors do not show how large videos were in training, nor how latents are scaled.

use super::config::Config;
use crate::autoencoder_kl::DOWN_BLOCK;
use crate::recognition::{BlockNames, Levels, TensorShapes};

const fn names(levels: &'static str, blocks: &'static str, weight: &'static str) -> BlockNames {
    BlockNames { levels, blocks, weight }
}

/// The configuration that a file with these tensors may have.
pub(super) fn config(tensors: &TensorShapes<'_>) -> Option<Config> {
    let behind = ["decoder.time_conv_out.weight", "decoder.conv_out.time_mix_conv.weight"];
    if !behind.iter().any(|name| tensors.has(name)) {
        return None;
    }
    let encoder =
        [names("encoder.down_blocks", "resnets", "conv1.weight"), names("encoder.down", "block", "conv1.weight")];
    let levels = Levels::of_halves(
        tensors,
        &encoder,
        &[names("decoder.up_blocks", "resnets", "spatial_res_block.conv1.weight")],
    )
    .or_else(|| {
        // LDM numbers the decoder's levels from the highest resolution down.
        let levels = Levels::downwards(tensors, &[names("decoder.up", "block", "conv1.weight")])?;
        Some(Levels { blocks: levels.blocks.checked_sub(1)?, ..levels })
    })?;
    let output = tensors.outputs(&["decoder.conv_out.weight"]);
    Some(Config {
        in_channels: tensors.inputs(&["encoder.conv_in.weight"]).or(output)?,
        out_channels: output?,
        down_block_types: vec![DOWN_BLOCK.to_owned(); levels.channels.len()],
        block_out_channels: levels.channels,
        layers_per_block: levels.blocks,
        latent_channels: tensors.inputs(&["decoder.conv_in.weight"])?,
        ..Config::default()
    })
}
