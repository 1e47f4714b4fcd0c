//! The configuration of a model of this class, read off the names and shapes in a file, in either of
//! its spellings.
//!
//! Tensors do not show the activation function.

use super::config::Config;
use crate::recognition::TensorShapes;

/// A half: channels of all its stages, blocks of each, and channels of what goes in and comes out.
struct Stages {
    width: usize,
    blocks: Vec<usize>,
    input: usize,
    output: usize,
}

/// The configuration that a file with these tensors may have.
pub(super) fn config(tensors: &TensorShapes<'_>) -> Option<Config> {
    let half = |own: &str, authors: &str| stages(tensors, own).or_else(|| stages(tensors, authors));
    let encoder = half("encoder.layers", "taesd_encoder");
    let decoder = half("decoder.layers", "taesd_decoder");
    let usual = Config::default();
    let (first, second) = (encoder.as_ref().or(decoder.as_ref())?, decoder.as_ref().or(encoder.as_ref())?);
    // Of a file of one half, the other is its mirror image.
    let [mut num_encoder_blocks, mut num_decoder_blocks] = [first, second].map(|half| half.blocks.clone());
    if encoder.is_none() {
        num_encoder_blocks.reverse();
    } else if decoder.is_none() {
        num_decoder_blocks.reverse();
    }
    let (image, latents) = match (&encoder, &decoder) {
        (Some(encoder), _) => (encoder.input, encoder.output),
        (None, decoder) => decoder.as_ref().map(|decoder| (decoder.output, decoder.input))?,
    };
    Some(Config {
        in_channels: image,
        out_channels: decoder.as_ref().map_or(image, |decoder| decoder.output),
        encoder_block_out_channels: vec![first.width; num_encoder_blocks.len()],
        decoder_block_out_channels: vec![second.width; num_decoder_blocks.len()],
        num_encoder_blocks,
        num_decoder_blocks,
        latent_channels: latents,
        ..usual
    })
}

/// The stages of a list of layers: each begins with a convolution, and one without blocks ends all.
fn stages(tensors: &TensorShapes<'_>, list: &str) -> Option<Stages> {
    let mut blocks = vec![];
    let mut convolutions = vec![];
    for number in tensors.numbers(list) {
        let (block, convolution) = (format!("{list}.{number}.conv.0.weight"), format!("{list}.{number}.weight"));
        match (tensors.has(&block), blocks.last_mut()) {
            (true, blocks) => *blocks? += 1,
            (false, _) if tensors.rank(&convolution) == Some(4) => {
                convolutions.push(convolution);
                blocks.push(0);
            }
            (false, _) => return None,
        }
    }
    blocks.pop();
    let (first, last) = (convolutions.first()?, convolutions.last()?);
    Some(Stages {
        width: tensors.outputs(&[first])?,
        input: tensors.inputs(&[first])?,
        output: tensors.outputs(&[last])?,
        blocks: Some(blocks).filter(|blocks| !blocks.is_empty())?,
    })
}
