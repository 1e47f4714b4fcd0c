//! Norms with their parameters.

use ir::{Activation, ChannelNormKind, ElementType, TensorType, Value};

use super::{Built, channels, parameter};
use crate::declaration::Declaration;

/// Below this length a vector of channels is not brought to length 1 (PyTorch's `F.normalize`).
const LEAST_LENGTH: f64 = 1e-12;

/// The channels of each position brought to the length of their number's root, times a gain a
/// channel, whose `gamma` has as many axes of length 1 behind it as `axes` says.
pub(crate) fn length_norm_with(d: &mut Declaration<'_>, input: Value, axes: usize) -> Built {
    let count = channels(d, input);
    let shape = std::iter::once(count).chain(std::iter::repeat_n(1, axes));
    let gamma = parameter(d, "gamma", TensorType::plain(ElementType::F32, shape.collect::<Vec<_>>()))?;
    let scale = d.reshape(gamma, TensorType::plain(ElementType::F32, [count]))?;
    d.channel_norm(input, Some(scale), None, ChannelNormKind::L2, LEAST_LENGTH, Activation::None)
}

/// The same of videos (`WanRMS_norm`, `HunyuanVideo15RMS_norm`).
pub(crate) fn length_norm(d: &mut Declaration<'_>, input: Value) -> Built {
    let output = length_norm_with(d, input, 3)?;
    d.returns(output);
    Ok(output)
}

/// A group norm over channels, with a scale and an offset a channel (`GroupNorm`); its statistics
/// are those of all frames of the step.
pub(crate) fn group_norm(d: &mut Declaration<'_>, input: Value, groups: usize, epsilon: f64) -> Built {
    let per_channel = TensorType::plain(ElementType::F32, [channels(d, input)]);
    let scale = parameter(d, "weight", per_channel.clone())?;
    let offset = parameter(d, "bias", per_channel)?;
    let output = d.group_norm(input, scale, offset, groups, epsilon)?;
    d.returns(output);
    Ok(output)
}
