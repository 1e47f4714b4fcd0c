//! The configuration of a model of this class, read off the names and shapes in a file.
//!
//! Tensors do not show how latents are scaled. Samplers are taken to give the channels of the next
//! level.

use super::config::Config;
use crate::recognition::{BlockNames, Levels, TensorShapes};

const fn names(levels: &'static str, blocks: &'static str) -> BlockNames {
    BlockNames { levels, blocks, weight: "conv1.conv.weight" }
}

/// The configuration that a file with these tensors may have.
pub(super) fn config(tensors: &TensorShapes<'_>) -> Option<Config> {
    let norms = ["mid_block.attentions.0.norm.gamma", "mid.attn_1.norm.gamma"];
    let convolutions = ["encoder.conv_in.conv.weight", "decoder.conv_in.conv.weight"];
    if !(norms.iter().any(|name| tensors.has(name)) && convolutions.iter().any(|name| tensors.has(name))) {
        return None;
    }
    let encoder =
        Levels::downwards(tensors, &[names("encoder.down_blocks", "resnets"), names("encoder.down", "block")]);
    let (levels, is_encoder) = match encoder {
        Some(levels) => (levels, true),
        None => {
            let levels =
                Levels::upwards(tensors, &[names("decoder.up_blocks", "resnets"), names("decoder.up", "block")])?;
            (Levels { blocks: levels.blocks - 1, ..levels }, false)
        }
    };
    let latents = tensors.inputs(&["decoder.conv_in.conv.weight"]);
    let moments = tensors.outputs(&["encoder.conv_out.conv.weight"]);
    let output = tensors.outputs(&["decoder.conv_out.conv.weight"]);
    let input = tensors.inputs(&["encoder.conv_in.conv.weight"]);
    // Of each level of the half, in its own order, the outputs of its sampler's convolution: those
    // of the next level for each of 4 or 8 places, or shared among them.
    let sampler = |level: usize| {
        let (own, original) = match is_encoder {
            true => ("encoder.down_blocks.{level}.downsamplers.0", "encoder.down.{level}.downsample"),
            false => ("decoder.up_blocks.{level}.upsamplers.0", "decoder.up.{level}.upsample"),
        };
        let weights = [own, original].map(|module| format!("{module}.conv.conv.weight"));
        let weights = weights.map(|name| name.replace("{level}", &level.to_string()));
        tensors.outputs(&[&weights[0], &weights[1]])
    };
    let widths: Vec<usize> = match is_encoder {
        true => levels.channels.clone(),
        false => levels.channels.iter().rev().copied().collect(),
    };
    let samplers: Vec<usize> = (0..widths.len()).map_while(sampler).collect();
    let over_time = |(outputs, next): (&usize, &usize)| match is_encoder {
        true => outputs.checked_mul(8) == Some(*next),
        false => next.checked_mul(8) == Some(*outputs),
    };
    let times = samplers.iter().zip(widths.iter().skip(1)).filter(|pair| over_time(*pair)).count();
    let power = |exponent: usize| u32::try_from(exponent).ok().and_then(|exponent| 1_usize.checked_shl(exponent));
    Some(Config {
        in_channels: input.or(output)?,
        out_channels: output.or(input)?,
        latent_channels: latents.or(moments.map(|moments| moments / 2))?,
        block_out_channels: levels.channels,
        layers_per_block: levels.blocks,
        spatial_compression_ratio: power(samplers.len())?,
        temporal_compression_ratio: power(times)?,
        ..Config::default()
    })
}
