//! A network of this family, read off the names and shapes in a file, in diffusers' spelling or in
//! that of the model's authors.
//!
//! Tensors do not show whether what the first convolution reads are patches: three or four channels
//! a pixel are taken for colours, with or without transparency.

use super::network::Network;
use crate::recognition::TensorShapes;

/// A layer of a half, in the order in which it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    /// A residual block that gives so many channels.
    Residual { outputs: usize },
    /// Attention in each frame.
    Attention,
    /// A sampler, over time too or not.
    Sampler { time: bool },
}

/// The layers of one resolution; the sampler between this one and the next is the last.
struct Level {
    outputs: usize,
    residuals: usize,
    attends: bool,
    sampler: Option<bool>,
}

/// The network that a file with these tensors may hold.
pub(crate) fn network(tensors: &TensorShapes<'_>) -> Option<Network> {
    let is_residual = ["decoder.up_blocks.0.upsampler.resample.1", "decoder.upsamples.0.upsamples.0.residual.2"]
        .into_iter()
        .chain(["encoder.down_blocks.0.downsampler.resample.1", "encoder.downsamples.0.downsamples.0.residual.2"])
        .any(|module| tensors.has(&format!("{module}.weight")));
    let encoder = levels(&encoder_layers(tensors, is_residual));
    let decoder: Option<Vec<_>> =
        levels(&decoder_layers(tensors, is_residual)).map(|levels| levels.into_iter().rev().collect());
    // From the highest resolution down, as everything from here on.
    let widths =
        |levels: &Option<Vec<Level>>| levels.as_ref().map(|all| all.iter().map(|level| level.outputs).collect());
    let (encoder_widths, decoder_widths): (Option<Vec<usize>>, Option<Vec<usize>>) =
        (widths(&encoder), widths(&decoder));
    let highest = |widths: &Option<Vec<usize>>| widths.as_ref().map(|widths| widths[0]);

    let encoder_base =
        tensors.outputs(&["encoder.conv_in.weight", "encoder.conv1.weight"]).or(highest(&decoder_widths))?;
    let multiples = match (&encoder_widths, &decoder_widths) {
        (Some(widths), _) => multiples(widths, encoder_base)?,
        (None, widths) => multiples(widths.as_ref()?, encoder_base)?,
    };
    let decoder_base = match highest(&decoder_widths) {
        Some(width) => width.checked_div(multiples[0])?,
        None => encoder_base,
    };
    let latents = tensors.inputs(&["decoder.conv_in.weight", "decoder.conv1.weight"]);
    let moments = tensors.outputs(&["encoder.conv_out.weight", "encoder.head.2.weight"]);
    let output = tensors.outputs(&["decoder.conv_out.weight", "decoder.head.2.weight"]);
    let input = tensors.inputs(&["encoder.conv_in.weight", "encoder.conv1.weight"]);
    let channels = [input.or(output)?, output.or(input)?];
    // Of the decoder, the sampler behind a level is the one before the next higher.
    let halves_time = match (&encoder, &decoder) {
        (Some(levels), _) => levels.iter().filter_map(|level| level.sampler).collect(),
        (None, levels) => levels.as_ref()?.iter().filter_map(|level| level.sampler).collect(),
    };
    let attends = |level: &Level| level.attends;
    let attention_scales = encoder.iter().flatten().enumerate().filter(|(_, level)| attends(level));
    let first = ["encoder.conv_in.weight", "encoder.conv1.weight", "decoder.conv_in.weight", "decoder.conv1.weight"];
    let is_planar = match first.into_iter().find_map(|name| tensors.rank(name))? {
        5 => false,
        4 => true,
        _ => return None,
    };
    Some(Network {
        encoder_base,
        decoder_base,
        latents: latents.or(moments.map(|moments| moments / 2))?,
        layers: match (&encoder, &decoder) {
            (_, Some(levels)) => levels[0].residuals.checked_sub(1)?,
            (levels, None) => levels.as_ref()?[0].residuals,
        },
        attention_scales: attention_scales.map(|(level, _)| 0.5_f64.powi(level as i32)).collect(),
        halves_time,
        is_residual,
        is_planar,
        channels,
        patch: patch(channels),
        multiples,
    })
}

/// Each width as a multiple of `base`, if they are.
fn multiples(widths: &[usize], base: usize) -> Option<Vec<usize>> {
    widths.iter().map(|width| (base > 0 && width.is_multiple_of(base)).then(|| width / base)).collect()
}

/// Height and width of the patches whose pixels have three channels, else four; 1 if there are none
/// such.
fn patch(channels: [usize; 2]) -> usize {
    let of = |colours: usize| (1..=16).find(|patch| channels == [colours * patch * patch; 2]);
    of(3).or_else(|| of(4)).unwrap_or(1)
}

fn encoder_layers(tensors: &TensorShapes<'_>, is_residual: bool) -> Vec<Layer> {
    if !is_residual {
        let numbered = |list: &str| run(tensors, |layer| format!("encoder.{list}.{layer}"));
        return [numbered("down_blocks"), numbered("downsamples")].concat();
    }
    let of_level = |level: usize| {
        let mut layers = run(tensors, |layer| format!("encoder.downsamples.{level}.downsamples.{layer}"));
        layers.extend(run(tensors, |layer| format!("encoder.down_blocks.{level}.resnets.{layer}")));
        layers.extend(layer(tensors, &format!("encoder.down_blocks.{level}.downsampler")));
        layers
    };
    (0..).map(of_level).take_while(|layers| !layers.is_empty()).flatten().collect()
}

fn decoder_layers(tensors: &TensorShapes<'_>, is_residual: bool) -> Vec<Layer> {
    let of_level = |level: usize| {
        let mut layers = run(tensors, |layer| format!("decoder.upsamples.{level}.upsamples.{layer}"));
        layers.extend(run(tensors, |layer| format!("decoder.up_blocks.{level}.resnets.{layer}")));
        let sampler = if is_residual { "upsampler" } else { "upsamplers.0" };
        layers.extend(layer(tensors, &format!("decoder.up_blocks.{level}.{sampler}")));
        layers
    };
    let by_level = (0..).map(of_level).take_while(|layers| !layers.is_empty()).flatten();
    let numbered = run(tensors, |layer| format!("decoder.upsamples.{layer}"));
    by_level.chain(numbered).collect()
}

/// The layers that `path` names, from 0 on.
fn run(tensors: &TensorShapes<'_>, path: impl Fn(usize) -> String) -> Vec<Layer> {
    (0..).map_while(|number| layer(tensors, &path(number))).collect()
}

/// What stands at this path, if it is a layer.
fn layer(tensors: &TensorShapes<'_>, path: &str) -> Option<Layer> {
    let convolutions = [format!("{path}.conv1.weight"), format!("{path}.residual.2.weight")];
    if let Some(outputs) = tensors.outputs(&convolutions.each_ref().map(String::as_str)) {
        return Some(Layer::Residual { outputs });
    }
    if tensors.has(&format!("{path}.to_qkv.weight")) {
        return Some(Layer::Attention);
    }
    let time = tensors.has(&format!("{path}.time_conv.weight"));
    tensors.has(&format!("{path}.resample.1.weight")).then_some(Layer::Sampler { time })
}

/// The levels of a half, in the order in which they run; `None` where one has no residual block.
fn levels(layers: &[Layer]) -> Option<Vec<Level>> {
    let of_level = |layers: &[Layer]| {
        let outputs = |layer: &Layer| match layer {
            Layer::Residual { outputs } => Some(*outputs),
            Layer::Attention | Layer::Sampler { .. } => None,
        };
        Some(Level {
            outputs: layers.iter().find_map(outputs)?,
            residuals: layers.iter().filter_map(outputs).count(),
            attends: layers.contains(&Layer::Attention),
            sampler: layers.iter().find_map(|layer| match layer {
                Layer::Sampler { time } => Some(*time),
                Layer::Residual { .. } | Layer::Attention => None,
            }),
        })
    };
    layers
        .split_inclusive(|layer| matches!(layer, Layer::Sampler { .. }))
        .map(of_level)
        .collect::<Option<Vec<_>>>()
        .filter(|levels| !levels.is_empty())
}
