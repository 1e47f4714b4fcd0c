//! Linear layers over the channels of each position, and over vectors.

use ir::{BuildError, ElementType, TensorType, Value};
use smallvec::smallvec;

use super::{Built, channels, kernel_type, parameter, space};
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
    let output = untapped_linear(d, input, outputs, true)?;
    returns_tokens(d, output)?;
    Ok(output)
}

/// Says that the module whose ops are built now returns a video as tokens.
pub(crate) fn returns_tokens(d: &mut Declaration<'_>, video: Value) -> Result<(), BuildError> {
    d.returns_made(|d| tokens(d, video))
}

/// A linear layer over a vector, which is a video of one position (`Linear`). The reference has it
/// on `[batch, channels]`, and so does a tap.
pub(crate) fn linear_of_vector(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let output = untapped_linear(d, input, outputs, true)?;
    returns_vector(d, output)?;
    Ok(output)
}

/// Says that the module whose ops are built now returns a vector, which is a video of one position.
pub(crate) fn returns_vector(d: &mut Declaration<'_>, vector: Value) -> Result<(), BuildError> {
    let (batch, count) = (d.ty(vector).shape[0], channels(d, vector));
    d.returns_made(|d| d.reshape(vector, TensorType::plain(ElementType::F32, [batch, count])))
}

/// A linear layer over the channels of each position of a video, with a bias or without. The
/// reference has it on the video with its channels last, and so does a tap.
pub(crate) fn channel_last_linear(d: &mut Declaration<'_>, input: Value, outputs: usize, has_bias: bool) -> Built {
    let output = untapped_linear(d, input, outputs, has_bias)?;
    d.returns_made(|d| d.transpose(output, smallvec![0, 2, 3, 4, 1]))?;
    Ok(output)
}

/// A linear layer over the channels of each position of a video, with a bias or without. What the
/// module returns is the caller's to say.
pub(crate) fn untapped_linear(d: &mut Declaration<'_>, input: Value, outputs: usize, has_bias: bool) -> Built {
    let kernel = linear_kernel(d, outputs, channels(d, input))?;
    let product = d.convolution(input, kernel, None, None, None, [1, 1, 1], [[0, 0]; 3], 0)?;
    if !has_bias {
        return Ok(product);
    }
    let bias = parameter(d, "bias", TensorType::plain(ElementType::F32, [outputs]))?;
    d.add_bias(product, bias)
}

/// The `weight` of a linear layer as that of a 1x1x1 convolution.
pub(crate) fn linear_kernel(d: &mut Declaration<'_>, outputs: usize, inputs: usize) -> Result<Value, BuildError> {
    let weight = parameter(d, "weight", TensorType::plain(ElementType::F32, [outputs, inputs]))?;
    d.reshape(weight, kernel_type(outputs, inputs, [1, 1, 1]))
}
