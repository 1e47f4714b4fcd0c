//! Linear layers over the channels of each position, and over vectors.

use ir::{BuildError, ElementType, TensorType, Value};
use smallvec::smallvec;

use super::{Built, channels, convolution, kernel_type, parameter, space};
use crate::declaration::Declaration;

/// The positions of each frame in a row, channels last: `[batch, time, height * width, channel]`.
pub(crate) fn tokens(d: &mut Declaration<'_>, video: Value) -> Built {
    let (count, [frames, height, width], batch) = (channels(d, video), space(d, video), d.ty(video).shape[0]);
    let last = d.transpose(video, smallvec![0, 2, 3, 4, 1])?;
    d.reshape(last, TensorType::plain(ElementType::F32, [batch, frames, height * width, count]))
}

/// A linear layer over the channels of each position of a video, whose `weight`, `[outputs,
/// inputs]`, and `bias` are this module's own (`Linear`). The reference has it on tokens, and so
/// does a tap.
pub(crate) fn linear(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let output = contraction(d, input, outputs)?;
    returns_tokens(d, output)?;
    Ok(output)
}

/// Says that the module whose ops are built now returns a video as tokens.
pub(crate) fn returns_tokens(d: &mut Declaration<'_>, video: Value) -> Result<(), BuildError> {
    let in_a_row = tokens(d, video)?;
    d.returns(in_a_row);
    Ok(())
}

/// A linear layer over a vector, which is a video of one position (`Linear`). The reference has it
/// on `[batch, channels]`, and so does a tap.
pub(crate) fn linear_of_vector(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let output = contraction(d, input, outputs)?;
    returns_vector(d, output)?;
    Ok(output)
}

/// Says that the module whose ops are built now returns a vector, which is a video of one position.
pub(crate) fn returns_vector(d: &mut Declaration<'_>, vector: Value) -> Result<(), BuildError> {
    let (batch, count) = (d.ty(vector).shape[0], channels(d, vector));
    d.returns_made(|d| d.reshape(vector, TensorType::plain(ElementType::F32, [batch, count])))
}

/// A 1x1x1 convolution by `weight`, `[outputs, inputs]`, and `bias`.
fn contraction(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let inputs = channels(d, input);
    let weight = parameter(d, "weight", TensorType::plain(ElementType::F32, [outputs, inputs]))?;
    let kernel = d.reshape(weight, kernel_type(outputs, inputs, [1, 1, 1]))?;
    convolution(d, "bias", input, kernel, [1, 1, 1], [[0, 0]; 3])
}
