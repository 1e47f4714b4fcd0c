//! The configuration of a model of this class, read off the names and shapes in a file, in either of
//! its spellings.
//!
//! Tensors do not show what the values of a patch are as channels, nor how latents are scaled. Of the
//! sizes that lay out attention and samplers some are taken that lay them out as they are there.

use super::config::Config;
use crate::recognition::TensorShapes;

/// Channels of the colours of a pixel.
const COLOURS: usize = 3;

/// A block of a half.
struct Block {
    outputs: usize,
    layers: usize,
    attends: bool,
    resamples_space: bool,
    resamples_time: bool,
}

/// A half: channels behind its first convolution, and its blocks, in the order in which they run.
struct Half {
    first: usize,
    blocks: Vec<Block>,
}

/// The configuration that a file with these tensors may have.
pub(super) fn config(tensors: &TensorShapes<'_>) -> Option<Config> {
    let (encoder, decoder) = (half(tensors, true), half(tensors, false));
    let known = encoder.as_ref().or(decoder.as_ref())?;
    let projection = |half: &str, name: &str| [format!("{half}.{name}.conv_s"), format!("{half}.{name}.0.conv3d")];
    let weights = |half: &str, name: &str| projection(half, name).map(|module| format!("{module}.weight"));
    let inputs = |half, name| tensors.inputs(&weights(half, name).each_ref().map(String::as_str));
    let outputs = |half, name| tensors.outputs(&weights(half, name).each_ref().map(String::as_str));
    let values = inputs("encoder", "conv_in").or_else(|| outputs("decoder", "conv_out"))?;
    let patch = [8_usize, 4, 2, 1].into_iter().find(|patch| values == COLOURS * patch.pow(3)).unwrap_or(1);
    let channels = values / patch.pow(3);
    let latents = inputs("decoder", "conv_in").or_else(|| outputs("encoder", "conv_out"))?;
    let mirrored = |half: &Half| -> Vec<usize> {
        let outputs: Vec<usize> = half.blocks.iter().map(|block| block.outputs).collect();
        std::iter::once(half.first).chain(outputs).rev().collect()
    };
    let own = |half: &Half| -> Vec<usize> { mirrored(half).into_iter().rev().collect() };
    let down = encoder.as_ref().map(own).or_else(|| decoder.as_ref().map(mirrored))?;
    // Listed from its last block to its first convolution.
    let up = decoder.as_ref().map(mirrored).or_else(|| encoder.as_ref().map(own))?;
    let count = |resamples: fn(&Block) -> bool| known.blocks.iter().filter(|block| resamples(block)).count();
    let ratio = |halvings: usize| patch.checked_shl(u32::try_from(halvings).ok()?);
    let usual = Config::default();
    // A resolution of its own for every block, from the highest down.
    let last = known.blocks.len().checked_sub(1)?;
    let resolution = usual.resolution.max(patch.checked_shl(u32::try_from(last).ok()?)?);
    let attention_resolutions = known.blocks.iter().enumerate().filter(|(_, block)| block.attends).map(|(i, _)| {
        let level = if encoder.is_some() { i } else { last - i };
        (resolution / patch) >> level
    });
    let fits = latents == usual.latent_channels;
    Some(Config {
        in_channels: channels,
        out_channels: outputs("decoder", "conv_out").map_or(channels, |values| values / patch.pow(3)),
        latent_channels: latents,
        attention_resolutions: attention_resolutions.collect(),
        resolution,
        num_layers: match &encoder {
            Some(half) => half.blocks[0].layers,
            None => known.blocks[0].layers.checked_sub(1)?,
        },
        patch_size: patch,
        spatial_compression_ratio: ratio(count(|block| block.resamples_space))?,
        temporal_compression_ratio: ratio(count(|block| block.resamples_time))?,
        encoder_block_out_channels: down,
        decode_block_out_channels: up,
        latents_mean: usual.latents_mean.clone().filter(|_| fits),
        latents_std: usual.latents_std.clone().filter(|_| fits),
        ..usual
    })
}

/// A half, in either spelling. The authors number the decoder's blocks from the highest resolution
/// down.
fn half(tensors: &TensorShapes<'_>, is_encoder: bool) -> Option<Half> {
    let (name, own, authors) =
        if is_encoder { ("encoder", "down_blocks", "down") } else { ("decoder", "up_blocks", "up") };
    let first = [format!("{name}.conv_in.conv_s.weight"), format!("{name}.conv_in.0.conv3d.weight")];
    let first = tensors.outputs(&first.each_ref().map(String::as_str))?;
    let diffusers = (0..).map_while(|block| of_diffusers(tensors, &format!("{name}.{own}.{block}"), is_encoder));
    let mut blocks: Vec<Block> = diffusers.collect();
    if blocks.is_empty() {
        let theirs = (0..).map_while(|block| of_authors(tensors, &format!("{name}.{authors}.{block}"), is_encoder));
        blocks = theirs.collect();
        if !is_encoder {
            blocks.reverse();
        }
    }
    Some(Half { first, blocks }).filter(|half| !half.blocks.is_empty())
}

fn of_diffusers(tensors: &TensorShapes<'_>, block: &str, is_encoder: bool) -> Option<Block> {
    let outputs = |layer: usize| tensors.outputs(&[&format!("{block}.resnets.{layer}.conv1.conv_s.weight")]);
    let sampler = if is_encoder { "downsamplers.0" } else { "upsamplers.0" };
    let [first, second] = ["conv1", "conv2"].map(|name| tensors.has(&format!("{block}.{sampler}.{name}.weight")));
    Some(Block {
        outputs: outputs(0)?,
        layers: (0..).map_while(outputs).count(),
        attends: tensors.has(&format!("{block}.attentions.0.to_q.weight")),
        resamples_space: if is_encoder { first } else { second },
        resamples_time: if is_encoder { second } else { first },
    })
}

fn of_authors(tensors: &TensorShapes<'_>, block: &str, is_encoder: bool) -> Option<Block> {
    let outputs = |layer: usize| tensors.outputs(&[&format!("{block}.block.{layer}.conv1.0.conv3d.weight")]);
    let sampler = if is_encoder { "downsample" } else { "upsample" };
    let [first, second] =
        ["conv1", "conv2"].map(|name| tensors.has(&format!("{block}.{sampler}.{name}.conv3d.weight")));
    Some(Block {
        outputs: outputs(0)?,
        layers: (0..).map_while(outputs).count(),
        attends: tensors.has(&format!("{block}.attn.0.0.q.conv3d.weight")),
        resamples_space: if is_encoder { first } else { second },
        resamples_time: if is_encoder { second } else { first },
    })
}
