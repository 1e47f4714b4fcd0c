//! The configuration of a model of this class, read off the names and shapes in a file.
//!
//! Tensors do not show the number of groups of a norm, nor whether norms are of single frames, nor
//! how latents are scaled. Which samplers change the number of frames they do not show either: the
//! two next to the lowest resolution are taken for such, as the published model has it.

use super::config::{Config, MOST_TIME_SAMPLERS, SPACE_DOWN, SPACE_UP, TIME_DOWN, TIME_UP};
use crate::recognition::{BlockNames, Levels, TensorShapes};

const fn names(levels: &'static str) -> BlockNames {
    BlockNames { levels, blocks: "convs", weight: "conv1.weight" }
}

/// The configuration that a file with these tensors may have.
pub(super) fn config(tensors: &TensorShapes<'_>) -> Option<Config> {
    let levels = Levels::of_halves(tensors, &[names("encoder.down_blocks")], &[names("decoder.up_blocks")])?;
    let count = levels.channels.len();
    // Both halves have the last of their samplers next to their last level.
    let types = |space: &str, time: &str| -> Vec<String> {
        let of = |level: usize| if level + MOST_TIME_SAMPLERS + 1 < count { space } else { time };
        (0..count).map(|level| of(level).to_owned()).collect()
    };
    let latents = tensors.inputs(&["decoder.conv_in.weight"]);
    let moments = tensors.outputs(&["encoder.conv_out.weight"]);
    let output = tensors.outputs(&["decoder.conv_out.weight"]);
    let input = tensors.inputs(&["encoder.conv_in.weight"]);
    Some(Config {
        in_channels: input.or(output)?,
        latent_channels: latents.or(moments.map(|moments| moments / 2))?,
        out_channels: output.or(input)?,
        block_out_channels: levels.channels,
        down_block_types: types(SPACE_DOWN, TIME_DOWN),
        up_block_types: types(SPACE_UP, TIME_UP),
        layers_per_block: levels.blocks,
        ..Config::default()
    })
}
