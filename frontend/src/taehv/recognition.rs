//! The configuration of a model of this class, read off the names and shapes in a file.
//!
//! Tensors do not show whether what the network takes for pixels are patches: as many as have three
//! channels a pixel are taken for some.

use super::config::Config;
use crate::recognition::TensorShapes;

/// The layers with weights of a half, in order.
struct Half {
    /// Output channels of each convolution between blocks.
    convolutions: Vec<usize>,
    /// Of what the first of them reads.
    input: usize,
    /// Whether each level changes the number of frames.
    changes_time: Vec<bool>,
    /// Blocks of all levels.
    blocks: usize,
}

/// The configuration that a file with these tensors may have.
pub(super) fn config(tensors: &TensorShapes<'_>) -> Option<Config> {
    let (encoder, decoder) = (half(tensors, "encoder"), half(tensors, "decoder"));
    let known = encoder.as_ref().or(decoder.as_ref())?;
    let reversed = |half: &Half| half.changes_time.iter().rev().copied().collect();
    let usual = Config::default();
    let (pixels, latents) = match (&encoder, &decoder) {
        (_, Some(decoder)) => (decoder.convolutions.last().copied()?, decoder.input),
        (encoder, None) => encoder.as_ref().and_then(|half| Some((half.input, half.convolutions.last().copied()?)))?,
    };
    let patch_size = (1..=16).find(|patch| pixels == 3 * patch * patch).unwrap_or(1);
    Some(Config {
        image_channels: pixels / (patch_size * patch_size),
        latent_channels: latents,
        patch_size,
        encoder_time_downscale: encoder.as_ref().map_or_else(|| reversed(known), |half| half.changes_time.clone()),
        decoder_time_upscale: decoder.as_ref().map_or_else(|| reversed(known), |half| half.changes_time.clone()),
        encoder_channels: encoder.as_ref().map_or(usual.encoder_channels, |half| half.convolutions[0]),
        decoder_channels: match &decoder {
            Some(half) => half.convolutions.split_last()?.1.to_vec(),
            None => usual.decoder_channels,
        },
        num_blocks: known.blocks.checked_div(known.changes_time.len())?,
    })
}

/// A half: one list of blocks, of pools or growths over time, and of convolutions.
fn half(tensors: &TensorShapes<'_>, list: &str) -> Option<Half> {
    let mut half = Half { convolutions: vec![], input: 0, changes_time: vec![], blocks: 0 };
    for number in tensors.numbers(list) {
        let name = |weight: &str| format!("{list}.{number}.{weight}");
        let (over_time, convolution) = (name("conv.weight"), name("weight"));
        if tensors.has(&name("conv.0.weight")) {
            half.blocks += 1;
        } else if let (Some(outputs), Some(inputs)) = (tensors.outputs(&[&over_time]), tensors.inputs(&[&over_time])) {
            half.changes_time.push(outputs != inputs);
        } else if tensors.rank(&convolution) == Some(4) {
            if half.convolutions.is_empty() {
                half.input = tensors.inputs(&[&convolution])?;
            }
            half.convolutions.push(tensors.outputs(&[&convolution])?);
        } else {
            return None;
        }
    }
    (half.convolutions.len() > 1 && !half.changes_time.is_empty()).then_some(half)
}
