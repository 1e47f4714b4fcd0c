//! The configuration of a model of this class, read off the names and shapes in a file.
//!
//! Tensors do not show the number of groups of a norm, which samplers change the number of frames,
//! how causal convolutions are padded, nor how latents are scaled.

use super::config::{Config, DOWN_BLOCK, UP_BLOCK};
use crate::recognition::{BlockNames, Levels, TensorShapes};

const fn names(levels: &'static str) -> BlockNames {
    BlockNames { levels, blocks: "resnets", weight: "conv1.conv.weight" }
}

/// The configuration that a file with these tensors may have.
pub(super) fn config(tensors: &TensorShapes<'_>) -> Option<Config> {
    // The decoder's norms read the latents too, the encoder's samplers are of single frames.
    let is_decoder = tensors.has("decoder.up_blocks.0.resnets.0.norm1.conv_y.conv.weight");
    let is_encoder = tensors.rank("encoder.down_blocks.0.downsamplers.0.conv.weight") == Some(4);
    if !(is_decoder || is_encoder) {
        return None;
    }
    let levels = Levels::of_halves(tensors, &[names("encoder.down_blocks")], &[names("decoder.up_blocks")])?;
    let latents = tensors.inputs(&["decoder.conv_in.conv.weight"]);
    let moments = tensors.outputs(&["encoder.conv_out.conv.weight"]);
    let output = tensors.outputs(&["decoder.conv_out.conv.weight"]);
    let input = tensors.inputs(&["encoder.conv_in.conv.weight"]);
    Some(Config {
        in_channels: input.or(output)?,
        out_channels: output.or(input)?,
        down_block_types: vec![DOWN_BLOCK.to_owned(); levels.channels.len()],
        up_block_types: vec![UP_BLOCK.to_owned(); levels.channels.len()],
        block_out_channels: levels.channels,
        layers_per_block: levels.blocks,
        latent_channels: latents.or(moments.map(|moments| moments / 2))?,
        use_quant_conv: tensors.has("quant_conv.weight"),
        use_post_quant_conv: tensors.has("post_quant_conv.weight"),
        ..Config::default()
    })
}
