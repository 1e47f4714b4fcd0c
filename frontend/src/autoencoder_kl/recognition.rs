//! A network of this family, read off the names and shapes in a file, in any of its spellings.
//!
//! Tensors do not show the number of groups of a norm, nor how large images were in training: those
//! are the class's to say.

use super::network::Network;
use crate::recognition::{BlockNames, Levels, TensorShapes};

const fn names(levels: &'static str, blocks: &'static str) -> BlockNames {
    BlockNames { levels, blocks, weight: "conv1.weight" }
}

/// The network that a file with these tensors may hold.
pub(crate) fn network(tensors: &TensorShapes<'_>, groups: usize, sample_size: usize) -> Option<Network> {
    // Where kernels have three axes it is a model of videos.
    let is_of_images = |half: &str| tensors.rank(&format!("{half}.conv_in.weight")).is_none_or(|rank| rank == 4);
    if !(is_of_images("encoder") && is_of_images("decoder")) {
        return None;
    }
    let encoder =
        Levels::downwards(tensors, &[names("encoder.down_blocks", "resnets"), names("encoder.down", "block")]);
    // LDM numbers the decoder's levels from the highest resolution down.
    let decoder = Levels::upwards(tensors, &[names("decoder.up_blocks", "resnets")])
        .or_else(|| Levels::downwards(tensors, &[names("decoder.up", "block")]));
    let layers = match (&encoder, &decoder) {
        (Some(encoder), _) => encoder.blocks,
        (None, decoder) => decoder.as_ref()?.blocks - 1,
    };
    let widths = |levels: &Option<Levels>| levels.as_ref().map(|levels| levels.channels.clone());
    let (encoder, decoder) = (widths(&encoder), widths(&decoder));
    let latents = tensors.inputs(&["decoder.conv_in.weight"]);
    let moments = tensors.outputs(&["encoder.conv_out.weight"]);
    let output = tensors.outputs(&["decoder.conv_out.weight"]);
    let input = tensors.inputs(&["encoder.conv_in.weight"]);
    let attention = ["mid_block.attentions.0.group_norm.weight", "mid.attn_1.norm.weight"];
    // A file of one half has one of these convolutions, and does not show whether there is the other.
    let [quant, post_quant] = ["quant_conv.weight", "post_quant_conv.weight"].map(|name| tensors.has(name));
    Some(Network {
        channels: [input.or(output)?, output.or(input)?],
        encoder_widths: encoder.clone().or(decoder.clone())?,
        decoder_widths: decoder.or(encoder)?,
        layers,
        latents: latents.or(moments.map(|moments| moments / 2))?,
        groups,
        sample_size,
        quantizes: [
            if input.is_some() { quant } else { post_quant },
            if output.is_some() { post_quant } else { quant },
        ],
        attends: attention.into_iter().any(|name| tensors.has(name)),
    })
}
