//! The configuration of a model of this class, read off the names and shapes in a file.
//!
//! Tensors do not show the number of groups of a norm, which samplers concern height and width and
//! which the number of frames, nor how latents are scaled.

use super::config::{Config, DOWN_BLOCK, UP_BLOCK};
use crate::recognition::{BlockNames, Levels, TensorShapes};

const fn names(levels: &'static str, blocks: &'static str) -> BlockNames {
    BlockNames { levels, blocks, weight: "conv1.conv.weight" }
}

/// The configuration that a file with these tensors may have.
pub(super) fn config(tensors: &TensorShapes<'_>) -> Option<Config> {
    // Group norms, and samplers whose convolutions are over time too.
    let has =
        |half: &str, modules: [&str; 2]| modules.iter().any(|module| tensors.has(&format!("{half}.{module}.weight")));
    let norm = ["mid_block.resnets.0.norm1", "mid.block_1.norm1"];
    let is_encoder = has("encoder", norm)
        && has("encoder", ["down_blocks.0.downsamplers.0.conv.conv", "down.0.downsample.conv.conv"]);
    let is_decoder = has("decoder", norm) && tensors.rank("decoder.conv_in.conv.weight") == Some(5);
    if !(is_decoder || is_encoder) {
        return None;
    }
    let encoder =
        Levels::downwards(tensors, &[names("encoder.down_blocks", "resnets"), names("encoder.down", "block")]);
    let levels = match encoder {
        Some(levels) => levels,
        None => {
            // Single files number the decoder's levels from the highest resolution down.
            let levels = Levels::upwards(tensors, &[names("decoder.up_blocks", "resnets")])
                .or_else(|| Levels::downwards(tensors, &[names("decoder.up", "block")]))?;
            Levels { blocks: levels.blocks - 1, ..levels }
        }
    };
    let latents = tensors.inputs(&["decoder.conv_in.conv.weight"]);
    let moments = tensors.outputs(&["encoder.conv_out.conv.weight"]);
    let output = tensors.outputs(&["decoder.conv_out.conv.weight"]);
    let input = tensors.inputs(&["encoder.conv_in.conv.weight"]);
    let attention = ["mid_block.attentions.0.group_norm.weight", "mid.attn_1.norm.weight"];
    Some(Config {
        in_channels: input.or(output)?,
        out_channels: output.or(input)?,
        latent_channels: latents.or(moments.map(|moments| moments / 2))?,
        down_block_types: vec![DOWN_BLOCK.to_owned(); levels.channels.len()],
        up_block_types: vec![UP_BLOCK.to_owned(); levels.channels.len()],
        block_out_channels: levels.channels,
        layers_per_block: levels.blocks,
        mid_block_add_attention: attention.into_iter().any(|name| tensors.has(name)),
        ..Config::default()
    })
}
