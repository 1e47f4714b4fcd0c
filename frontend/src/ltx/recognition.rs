//! The halves of a network of this family, read off the names and shapes in a file, in either of its
//! spellings: levels, channels, samplers. What a class makes of them is the class's.
//!
//! The spellings differ in what is numbered: diffusers has levels, the authors all modules of a half
//! in one list. Samplers are told by the channels of their convolutions and of what comes behind.

use super::network::{Generation, Sampler};
use crate::recognition::TensorShapes;

/// Channels of the colours of a pixel.
const COLOURS: usize = 3;

/// What is known of a network.
pub(crate) struct Found {
    pub(crate) generation: Generation,
    /// Channels of the video, and of the latents.
    pub(crate) channels: usize,
    pub(crate) latents: usize,
    pub(crate) patch: usize,
    pub(crate) encoder: Option<FoundEncoder>,
    pub(crate) decoder: Option<FoundDecoder>,
}

/// A level of the encoder.
pub(crate) struct FoundEncoderLevel {
    pub(crate) layers: usize,
    pub(crate) sampler: Option<Sampler>,
    pub(crate) outputs: usize,
}

/// An encoder, from the highest resolution down.
pub(crate) struct FoundEncoder {
    pub(crate) first: usize,
    pub(crate) levels: Vec<FoundEncoderLevel>,
    pub(crate) layers: usize,
    /// Whether residual blocks change the number of channels, or samplers do.
    pub(crate) is_older: bool,
}

/// A level of the decoder: its blocks, and the sampler in front of them.
pub(crate) struct FoundDecoderLevel {
    pub(crate) layers: usize,
    pub(crate) noise: bool,
    pub(crate) sampler: Option<Sampler>,
    pub(crate) outputs: usize,
    /// What the sampler divides the channels by.
    pub(crate) divisor: usize,
}

/// A decoder, from the lowest resolution up.
pub(crate) struct FoundDecoder {
    pub(crate) first: usize,
    pub(crate) layers: usize,
    pub(crate) noise: bool,
    pub(crate) levels: Vec<FoundDecoderLevel>,
    pub(crate) timestep: bool,
}

impl FoundDecoder {
    /// Whether each sampler doubles time, height and width.
    pub(crate) fn doubles_all(&self) -> bool {
        let mut samplers = self.levels.iter().filter_map(|level| level.sampler);
        samplers.all(|sampler| sampler.factors() == [2, 2, 2])
    }
}

/// A module of a half, in the order in which modules run.
#[derive(Clone, Copy)]
enum Module {
    /// Residual blocks in a row.
    Blocks { layers: usize, noise: bool },
    /// A residual block that changes the number of channels.
    Widening,
    /// A sampler, whose convolution makes so many channels.
    Sampler { strided: bool, made: usize },
}

/// A module, and the channels that it reads, where it has weights.
#[derive(Clone, Copy)]
struct Placed {
    module: Module,
    inputs: Option<usize>,
}

/// The network that a file with these tensors may hold.
pub(crate) fn network(tensors: &TensorShapes<'_>) -> Option<Found> {
    let (encoder, decoder) = (encoder(tensors), decoder(tensors));
    if encoder.is_none() && decoder.is_none() {
        return None;
    }
    let pixels = tensors.inputs(&["encoder.conv_in.conv.weight"]);
    let pixels = pixels.or_else(|| tensors.outputs(&["decoder.conv_out.conv.weight"]))?;
    let patch = (1..=16).find(|patch| pixels == COLOURS * patch * patch).unwrap_or(1);
    // Means, and one log-variance.
    let moments = tensors.outputs(&["encoder.conv_out.conv.weight"]);
    let latents = tensors.inputs(&["decoder.conv_in.conv.weight"]);
    let latents = latents.or_else(|| moments?.checked_sub(1))?;
    let is_older = encoder.as_ref().is_some_and(|half| half.is_older || half.first != latents)
        || decoder.as_ref().is_some_and(|half| half.timestep)
        || widens(tensors, "decoder.up_blocks");
    Some(Found {
        generation: if is_older { Generation::First } else { Generation::Second },
        channels: pixels / (patch * patch),
        latents,
        patch,
        encoder,
        decoder,
    })
}

/// Whether a residual block among the modules of this list changes the number of channels.
fn widens(tensors: &TensorShapes<'_>, list: &str) -> bool {
    tensors.numbers(list).into_iter().any(|number| {
        ["conv1", "conv_in.conv1", "conv_out.conv1"]
            .iter()
            .any(|name| tensors.has(&format!("{list}.{number}.{name}.conv.weight")))
    })
}

fn blocks(tensors: &TensorShapes<'_>, list: &str) -> Placed {
    let first = |layer: usize| format!("{list}.{layer}.conv1.conv.weight");
    let layers = (0..).take_while(|layer| tensors.has(&first(*layer))).count();
    let noise = tensors.has(&format!("{list}.0.per_channel_scale1"));
    Placed { module: Module::Blocks { layers, noise }, inputs: tensors.inputs(&[&first(0)]) }
}

fn widening(tensors: &TensorShapes<'_>, module: &str) -> Option<Placed> {
    let inputs = tensors.inputs(&[&format!("{module}.conv1.conv.weight")])?;
    Some(Placed { module: Module::Widening, inputs: Some(inputs) })
}

fn sampler(tensors: &TensorShapes<'_>, module: &str) -> Option<Placed> {
    let strided = format!("{module}.conv.weight");
    let (strided, weight) =
        if tensors.has(&strided) { (true, strided) } else { (false, format!("{module}.conv.conv.weight")) };
    let (made, inputs) = (tensors.outputs(&[&weight])?, tensors.inputs(&[&weight])?);
    Some(Placed { module: Module::Sampler { strided, made }, inputs: Some(inputs) })
}

/// The modules of this number in a half's list: in the authors' spelling one, in diffusers' those of
/// a level, in this order.
fn modules(tensors: &TensorShapes<'_>, list: &str, number: usize, in_level: [&str; 3]) -> Vec<Placed> {
    let path = format!("{list}.{number}");
    let theirs = blocks(tensors, &format!("{path}.res_blocks"));
    if theirs.inputs.is_some() {
        return vec![theirs];
    }
    if let Some(one) = widening(tensors, &path).or_else(|| sampler(tensors, &path)) {
        return vec![one];
    }
    let of = |name: &str| {
        let path = format!("{path}.{name}");
        match name {
            "resnets" => Some(blocks(tensors, &path)),
            "conv_in" | "conv_out" => widening(tensors, &path),
            _ => sampler(tensors, &path),
        }
    };
    in_level.into_iter().filter_map(of).collect()
}

/// All modules of a half's list.
fn listed(tensors: &TensorShapes<'_>, list: &str, in_level: [&str; 3]) -> Option<Vec<Placed>> {
    Some((0..tensors.length(list)?).flat_map(|number| modules(tensors, list, number, in_level)).collect())
}

/// Whether the modules of a half are numbered in one list.
fn is_authors(tensors: &TensorShapes<'_>, list: &str) -> bool {
    tensors.numbers(list).iter().any(|number| tensors.has(&format!("{list}.{number}.res_blocks.0.conv1.conv.weight")))
}

/// Channels behind the module of this place: what the next one with weights reads.
fn behind(modules: &[Placed], place: usize, last: usize) -> usize {
    modules.iter().skip(place + 1).find_map(|module| module.inputs).unwrap_or(last)
}

/// The sampler whose block is of so many places.
fn shuffled(places: usize) -> Option<Sampler> {
    match places {
        2 => Some(Sampler::Shuffled([2, 1, 1])),
        4 => Some(Sampler::Shuffled([1, 2, 2])),
        8 => Some(Sampler::Shuffled([2, 2, 2])),
        _ => None,
    }
}

fn encoder(tensors: &TensorShapes<'_>) -> Option<FoundEncoder> {
    const LIST: &str = "encoder.down_blocks";
    let first = tensors.outputs(&["encoder.conv_in.conv.weight"])?;
    let last = tensors.inputs(&["encoder.conv_out.conv.weight"])?;
    let mut all = listed(tensors, LIST, ["resnets", "downsamplers.0", "conv_out"])?;
    if !is_authors(tensors, LIST) {
        all.push(blocks(tensors, "encoder.mid_block.resnets"));
    }
    let mut found = FoundEncoder { first, levels: vec![], layers: 0, is_older: widens(tensors, LIST) };
    for (place, placed) in all.iter().enumerate() {
        let outputs = behind(&all, place, last);
        match (placed.module, found.levels.last_mut()) {
            (Module::Blocks { layers, .. }, _) if place + 1 == all.len() => found.layers = layers,
            (Module::Blocks { layers, .. }, _) => {
                found.levels.push(FoundEncoderLevel { layers, sampler: None, outputs });
            }
            (Module::Widening, level) => level?.outputs = outputs,
            (Module::Sampler { strided, made }, level) => {
                found.is_older |= strided;
                let level = level?;
                level.outputs = outputs;
                level.sampler = Some(if strided { Sampler::Strided } else { shuffled(outputs.checked_div(made)?)? });
            }
        }
    }
    Some(found).filter(|half| !half.levels.is_empty())
}

fn decoder(tensors: &TensorShapes<'_>) -> Option<FoundDecoder> {
    const LIST: &str = "decoder.up_blocks";
    let first = tensors.outputs(&["decoder.conv_in.conv.weight"])?;
    let last = tensors.inputs(&["decoder.conv_out.conv.weight"])?;
    let mut all = listed(tensors, LIST, ["conv_in", "upsamplers.0", "resnets"])?;
    if !is_authors(tensors, LIST) {
        all.insert(0, blocks(tensors, "decoder.mid_block.resnets"));
    }
    let timestep = tensors.has("decoder.timestep_scale_multiplier");
    let mut found = FoundDecoder { first, layers: 0, noise: false, levels: vec![], timestep };
    // What stands in front of a level's blocks.
    let (mut sampler, mut divisor) = (None, 1);
    for (place, placed) in all.iter().enumerate() {
        let outputs = behind(&all, place, last);
        match placed.module {
            Module::Blocks { layers, noise } if place == 0 => (found.layers, found.noise) = (layers, noise),
            Module::Blocks { layers, noise } => {
                found.levels.push(FoundDecoderLevel { layers, noise, sampler: sampler.take(), outputs, divisor });
                divisor = 1;
            }
            Module::Widening => {}
            Module::Sampler { made, .. } => {
                let inputs = placed.inputs?;
                divisor = inputs.checked_div(outputs)?;
                sampler = Some(shuffled(made.checked_mul(divisor)?.checked_div(inputs)?)?);
            }
        }
    }
    Some(found).filter(|half| !half.levels.is_empty())
}
