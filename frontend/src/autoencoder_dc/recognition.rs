//! The configuration of a model of this class, read off the names and shapes in a file.
//!
//! Tensors do not show activation functions, nor whether there are shortcuts.

use super::config::{Config, OfLevels};
use super::samplers::PLACES;
use crate::recognition::TensorShapes;

/// The levels of a half.
#[derive(Clone, Debug, Default)]
struct Half {
    widths: Vec<usize>,
    layers: Vec<usize>,
    types: Vec<String>,
    scales: Vec<Vec<usize>>,
    /// Channels of a head, where there is attention.
    head: Option<usize>,
    /// Output channels of the sampler of each level, if it has one.
    samplers: Vec<Option<usize>>,
}

/// The configuration that a file with these tensors may have.
pub(super) fn config(tensors: &TensorShapes<'_>) -> Option<Config> {
    let [encoder, decoder] = [half(tensors, "encoder.down_blocks"), half(tensors, "decoder.up_blocks")];
    let known = encoder.clone().or_else(|| decoder.clone())?;
    let (down, up) = (encoder.unwrap_or_else(|| known.clone()), decoder.unwrap_or(known));
    let usual = Config::default();
    // The sampler of a level makes what the next one reads, or blocks of it.
    let unshuffles =
        down.samplers.iter().zip(down.widths.iter().skip(1)).find_map(|(made, width)| Some((*made)? < *width));
    let shuffles = up.samplers.iter().zip(&up.widths).find_map(|(made, width)| Some((*made)? > *width));
    let shuffles = shuffles.unwrap_or(true);
    let pixels = tensors.inputs(&["encoder.conv_in.weight", "encoder.conv_in.conv.weight"]);
    let last = || {
        let sampled = tensors.outputs(&["decoder.conv_out.conv.weight"]);
        let sampled = sampled.map(|made| if shuffles { made / PLACES } else { made });
        tensors.outputs(&["decoder.conv_out.weight"]).or(sampled)
    };
    let latents =
        tensors.inputs(&["decoder.conv_in.weight"]).or_else(|| tensors.outputs(&["encoder.conv_out.weight"]))?;
    let name = |first: bool, names: [&str; 2]| names[usize::from(!first)].to_owned();
    Some(Config {
        in_channels: pixels.or_else(last)?,
        latent_channels: latents,
        attention_head_dim: down.head.or(up.head).unwrap_or(usual.attention_head_dim),
        encoder_block_types: OfLevels::Each(down.types),
        decoder_block_types: OfLevels::Each(up.types),
        encoder_block_out_channels: down.widths,
        decoder_block_out_channels: up.widths,
        encoder_layers_per_block: down.layers,
        decoder_layers_per_block: up.layers,
        encoder_qkv_multiscales: down.scales,
        decoder_qkv_multiscales: up.scales,
        upsample_block_type: name(shuffles, ["pixel_shuffle", "interpolate"]),
        downsample_block_type: name(unshuffles.unwrap_or(true), ["pixel_unshuffle", "conv"]),
        ..usual
    })
}

/// The levels under `list`; the first may be without blocks, and is then as wide as the second.
fn half(tensors: &TensorShapes<'_>, list: &str) -> Option<Half> {
    let mut half = Half::default();
    for level in 0..tensors.length(list)? {
        let modules = format!("{list}.{level}");
        let (mut width, mut layers, mut kind) = (0, 0, "ResBlock");
        let (mut scales, mut sampler) = (vec![], None);
        for module in tensors.numbers(&modules) {
            let weight = |name: &str| format!("{modules}.{module}.{name}.weight");
            if let Some(outputs) = tensors.outputs(&[&weight("conv2")]) {
                (width, layers) = (outputs, layers + 1);
            } else if let Some(outputs) = tensors.outputs(&[&weight("attn.to_out")]) {
                (width, layers, kind) = (outputs, layers + 1, "EfficientViTBlock");
                let scale = |i: usize| tensors.height(&[&weight(&format!("attn.to_qkv_multiscale.{i}.proj_in"))]);
                scales = (0..).map_while(scale).collect();
                let head = tensors.inputs(&[&weight("attn.to_qkv_multiscale.0.proj_out")]);
                half.head = half.head.or(head);
            } else {
                sampler = tensors.outputs(&[&weight("conv")]);
            }
        }
        half.widths.push(width);
        half.layers.push(layers);
        half.types.push(kind.to_owned());
        half.scales.push(scales);
        half.samplers.push(sampler);
    }
    if let [first @ 0, second, ..] = &mut half.widths[..] {
        *first = *second;
    }
    Some(half).filter(|half| !half.widths.contains(&0))
}
