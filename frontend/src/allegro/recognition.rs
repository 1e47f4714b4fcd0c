//! The configuration of a model of this class, read off the names and shapes in a file.
//!
//! Tensors do not show the number of groups of a norm, nor the size of tiles, nor how latents are
//! scaled.

use super::config::{Config, DOWN_BLOCK, UP_BLOCK};
use crate::recognition::{BlockNames, Levels, TensorShapes};

const fn names(levels: &'static str) -> BlockNames {
    BlockNames { levels, blocks: "resnets", weight: "conv1.weight" }
}

/// The configuration that a file with these tensors may have.
pub(super) fn config(tensors: &TensorShapes<'_>) -> Option<Config> {
    if !["encoder", "decoder"].iter().any(|half| tensors.has(&format!("{half}.temp_conv_in.weight"))) {
        return None;
    }
    let levels = Levels::of_halves(tensors, &[names("encoder.down_blocks")], &[names("decoder.up_blocks")])?;
    let count = levels.channels.len();
    let changes_time = |modules: &str, sampler: &str| -> Vec<bool> {
        (0..count).map(|level| tensors.has(&format!("{modules}.{level}.{sampler}.conv1.2.weight"))).collect()
    };
    let mut down = changes_time("encoder.down_blocks", "temp_convs_down");
    let mut up = changes_time("decoder.up_blocks", "temp_conv_up");
    // Of a file of one half, the other has as many samplers.
    if !tensors.has("encoder.conv_in.weight") {
        down.clone_from(&up);
    } else if !tensors.has("decoder.conv_in.weight") {
        up.clone_from(&down);
    }
    let samplers = down.iter().filter(|halves| **halves).count();
    let latents = tensors.inputs(&["decoder.conv_in.weight"]);
    let moments = tensors.outputs(&["encoder.conv_out.weight"]);
    let output = tensors.outputs(&["decoder.conv_out.weight"]);
    let input = tensors.inputs(&["encoder.conv_in.weight"]);
    Some(Config {
        in_channels: input.or(output)?,
        out_channels: output.or(input)?,
        down_block_types: vec![DOWN_BLOCK.to_owned(); count],
        up_block_types: vec![UP_BLOCK.to_owned(); count],
        block_out_channels: levels.channels,
        temporal_downsample_blocks: down,
        temporal_upsample_blocks: up,
        latent_channels: latents.or(moments.map(|moments| moments / 2))?,
        layers_per_block: levels.blocks,
        temporal_compression_ratio: 1_usize.checked_shl(u32::try_from(samplers).ok()?)?,
        ..Config::default()
    })
}
