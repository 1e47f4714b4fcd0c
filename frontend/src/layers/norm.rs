//! Norms with their parameters.

use ir::{Activation, ChannelNormKind, ElementType, TensorType, Value};

use super::{Built, channels, frame_by_frame, frames_joined, parameter};
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
    let [scale, offset] = scale_and_offset(d, ["weight", "bias"], channels(d, input))?;
    let output = d.group_norm(input, scale, offset, groups, epsilon)?;
    d.returns(output);
    Ok(output)
}

/// A group norm of each frame by itself, whose scale and offset have these names, and then
/// `activation`, before which a tap looks.
pub(crate) fn frame_group_norm(
    d: &mut Declaration<'_>,
    input: Value,
    names: [&str; 2],
    groups: usize,
    epsilon: f64,
    activation: Activation,
) -> Built {
    let [scale, offset] = scale_and_offset(d, names, channels(d, input))?;
    let batch = d.ty(input).shape[0];
    // With the activation among the samples, the two are one op.
    frame_by_frame(d, input, |d, images| {
        let normalized = d.group_norm(images, scale, offset, groups, epsilon)?;
        d.returns_made(|d| frames_joined(d, normalized, batch))?;
        match activation {
            Activation::None => Ok(normalized),
            Activation::Silu => d.silu(normalized),
        }
    })
}

fn scale_and_offset(
    d: &mut Declaration<'_>,
    [scale, offset]: [&str; 2],
    count: usize,
) -> Result<[Value; 2], ir::BuildError> {
    let per_channel = TensorType::plain(ElementType::F32, [count]);
    let scale = parameter(d, scale, per_channel.clone())?;
    Ok([scale, parameter(d, offset, per_channel)?])
}
