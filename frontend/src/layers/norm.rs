//! Norms with their parameters.

use ir::{ElementType, TensorType, Value};

use super::{Built, channels, parameter};
use crate::declaration::Declaration;

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
