//! The configuration of a model of this class, read off the names and shapes in a file, the decoder's
//! in either of its spellings.
//!
//! Tensors do not show how latents are scaled. How many rows and columns, and how many frames, become
//! one between two levels the encoder's kernels show, a decoder by itself only their product: as
//! many rows as the published model has are taken for some.

use super::config::{Config, FEATURES};
use crate::recognition::TensorShapes;

/// Rows, and columns, that become one between levels of the published model.
const ROWS: usize = 2;

/// A half, from the highest resolution down.
struct Half {
    widths: Vec<usize>,
    /// Residual blocks in front of the levels, of each level but the first, and behind all of them.
    layers: Vec<usize>,
    /// Frames, and rows, that become one between levels.
    expansions: Vec<[usize; 2]>,
    attends: Vec<bool>,
}

/// The configuration that a file with these tensors may have.
pub(super) fn config(tensors: &TensorShapes<'_>) -> Option<Config> {
    let (encoder, decoder) = (encoder(tensors), decoder(tensors));
    let known = encoder.as_ref().or(decoder.as_ref())?;
    let (down, up) = (known, decoder.as_ref().unwrap_or(known));
    let usual = Config::default();
    let output = tensors.outputs(&["decoder.proj_out.weight", "output_proj.weight"]);
    let features = tensors.inputs(&["encoder.proj_in.weight"]);
    let output = output.or(features.map(|features| features / FEATURES))?;
    let latents = tensors.inputs(&["decoder.conv_in.weight", "blocks.0.0.weight"]);
    let latents = latents.or(tensors.outputs(&["encoder.proj_out.weight"]).map(|moments| moments / 2))?;
    let fits = latents == usual.latent_channels;
    Some(Config {
        in_channels: features.unwrap_or(output.saturating_mul(FEATURES)),
        out_channels: output,
        encoder_block_out_channels: down.widths.clone(),
        decoder_block_out_channels: up.widths.clone(),
        latent_channels: latents,
        layers_per_block: known.layers.clone(),
        temporal_expansions: known.expansions.iter().map(|[time, _]| *time).collect(),
        spatial_expansions: known.expansions.iter().map(|[_, space]| *space).collect(),
        add_attention_block: known.attends.clone(),
        latents_mean: usual.latents_mean.clone().filter(|_| fits),
        latents_std: usual.latents_std.clone().filter(|_| fits),
        ..usual
    })
}

/// How many layers a list has whose first weights are called so.
fn layers(tensors: &TensorShapes<'_>, list: &str, weight: &str) -> usize {
    (0..).take_while(|layer| tensors.has(&format!("{list}.{layer}.{weight}"))).count()
}

fn encoder(tensors: &TensorShapes<'_>) -> Option<Half> {
    const CONVOLUTION: &str = "conv1.conv.weight";
    let mut half = Half {
        widths: vec![tensors.outputs(&["encoder.proj_in.weight"])?],
        layers: vec![layers(tensors, "encoder.block_in.resnets", CONVOLUTION)],
        expansions: vec![],
        attends: vec![tensors.has("encoder.block_in.attentions.0.to_q.weight")],
    };
    for level in 0.. {
        let block = format!("encoder.down_blocks.{level}");
        let kernel = format!("{block}.conv_in.conv.weight");
        let Some(&[outputs, _, frames, rows, _]) = tensors.shape(&kernel) else { break };
        half.widths.push(outputs);
        half.layers.push(layers(tensors, &format!("{block}.resnets"), CONVOLUTION));
        half.expansions.push([frames, rows]);
        half.attends.push(tensors.has(&format!("{block}.attentions.0.to_q.weight")));
    }
    half.layers.push(layers(tensors, "encoder.block_out.resnets", CONVOLUTION));
    half.attends.push(tensors.has("encoder.block_out.attentions.0.to_q.weight"));
    Some(half)
}

fn decoder(tensors: &TensorShapes<'_>) -> Option<Half> {
    let is_own = tensors.has("decoder.conv_in.weight");
    let first = tensors.outputs(&["decoder.conv_in.weight", "blocks.0.0.weight"])?;
    let convolution = if is_own { "conv1.conv.weight" } else { "stack.2.weight" };
    let block_in = if is_own {
        layers(tensors, "decoder.block_in.resnets", convolution)
    } else {
        // Behind the first convolution, which is in the same list.
        (1..).take_while(|layer| tensors.has(&format!("blocks.0.{layer}.{convolution}"))).count()
    };
    let (mut widths, mut of_layers, mut expansions) = (vec![first], vec![block_in], vec![]);
    for level in 0.. {
        let block = |level: usize| match is_own {
            true => (format!("decoder.up_blocks.{level}"), "resnets"),
            false => (format!("blocks.{}", level + 1), "blocks"),
        };
        let (module, list) = block(level);
        let Some(made) = tensors.outputs(&[&format!("{module}.proj.weight")]) else { break };
        of_layers.push(layers(tensors, &format!("{module}.{list}"), convolution));
        // What comes behind tells how many channels there are.
        let (next, list) = block(level + 1);
        let behind = [
            format!("{next}.{list}.0.{convolution}"),
            format!("{next}.proj.weight"),
            format!("{next}.0.{convolution}"),
            format!("decoder.block_out.resnets.0.{convolution}"),
            "decoder.proj_out.weight".to_owned(),
            "output_proj.weight".to_owned(),
        ];
        let width = behind.iter().find_map(|name| tensors.inputs(&[name]))?;
        let places = made.checked_div(width)?;
        let rows = if places.is_multiple_of(ROWS * ROWS) { ROWS } else { 1 };
        expansions.push([places / (rows * rows), rows]);
        widths.push(width);
    }
    of_layers.push(match is_own {
        true => layers(tensors, "decoder.block_out.resnets", convolution),
        false => layers(tensors, &format!("blocks.{}", widths.len()), convolution),
    });
    for from_lowest in [&mut widths, &mut of_layers] {
        from_lowest.reverse();
    }
    expansions.reverse();
    // Only encoders attend; the published one does so everywhere but in front of the levels.
    let attends = (0..of_layers.len()).map(|place| place > 0).collect();
    Some(Half { widths, layers: of_layers, expansions, attends })
}
