//! The configuration of a model of this class, read off the names and shapes in a file, in any of
//! its spellings.
//!
//! Tensors do not show the number of groups of a norm, nor how latents are scaled.

use super::config::{Config, DOWN_BLOCK, UP_BLOCK};
use crate::recognition::{BlockNames, Levels, TensorShapes};

const fn names(levels: &'static str, blocks: &'static str) -> BlockNames {
    BlockNames { levels, blocks, weight: "conv1.weight" }
}

/// The configuration that a file with these tensors may have.
pub(super) fn config(tensors: &TensorShapes<'_>) -> Option<Config> {
    // Where kernels have three axes it is a model of videos.
    let is_of_images = |half: &str| tensors.rank(&format!("{half}.conv_in.weight")).is_none_or(|rank| rank == 4);
    if !(is_of_images("encoder") && is_of_images("decoder")) {
        return None;
    }
    // LDM numbers the decoder's levels from the highest resolution down.
    let levels = Levels::of(
        tensors,
        &[names("encoder.down_blocks", "resnets"), names("encoder.down", "block")],
        &[names("decoder.up_blocks", "resnets")],
        &[names("decoder.up", "block")],
    )?;
    let latents = tensors.inputs(&["decoder.conv_in.weight"]);
    let moments = tensors.outputs(&["encoder.conv_out.weight"]);
    let output = tensors.outputs(&["decoder.conv_out.weight"]);
    let input = tensors.inputs(&["encoder.conv_in.weight"]);
    let attention = ["mid_block.attentions.0.group_norm.weight", "mid.attn_1.norm.weight"];
    // A file of one half has one of these convolutions, and does not show whether there is the other.
    let [quant, post_quant] = ["quant_conv.weight", "post_quant_conv.weight"].map(|name| tensors.has(name));
    Some(Config {
        in_channels: input.or(output)?,
        out_channels: output.or(input)?,
        down_block_types: vec![DOWN_BLOCK.to_owned(); levels.channels.len()],
        up_block_types: vec![UP_BLOCK.to_owned(); levels.channels.len()],
        block_out_channels: levels.channels,
        layers_per_block: levels.layers,
        latent_channels: latents.or(moments.map(|moments| moments / 2))?,
        use_quant_conv: if input.is_some() { quant } else { post_quant },
        use_post_quant_conv: if output.is_some() { post_quant } else { quant },
        mid_block_add_attention: attention.into_iter().any(|name| tensors.has(name)),
        ..Config::default()
    })
}
