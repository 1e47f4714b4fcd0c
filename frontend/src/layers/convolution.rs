//! Convolutions with their weights and biases, and what they see beyond the borders.

use ir::{Border, BuildError, Builder, ElementType, Layout, PadMode, TensorType, Value};
use smallvec::smallvec;

use super::{Built, KERNEL_REACH, channels, parameter};
use crate::declaration::Declaration;

/// The type of a convolution's weight over time, height and width.
pub(crate) fn kernel_type(outputs: usize, inputs: usize, window: [usize; 3]) -> TensorType {
    let [time, height, width] = window;
    TensorType::with_layout(ElementType::F32, Layout::OIDHW, [outputs, inputs, time, height, width])
}

/// The weight `name` of the module whose ops are built now, `[outputs, inputs, time, height,
/// width]`.
pub(crate) fn kernel(b: &mut Builder, name: &str, outputs: usize, inputs: usize, window: [usize; 3]) -> Built {
    parameter(b, name, kernel_type(outputs, inputs, window))
}

/// A convolution by `weight`, then the bias of this name. Padding is with zeros, before and behind
/// each axis.
pub(crate) fn convolution(
    b: &mut Builder,
    bias: &str,
    input: Value,
    weight: Value,
    strides: [usize; 3],
    padding: [[usize; 2]; 3],
) -> Built {
    bordered_convolution(b, bias, input, weight, strides, padding, Border::ZERO)
}

/// [`convolution`] whose padding is what `border` says of each axis.
pub(crate) fn bordered_convolution(
    b: &mut Builder,
    bias: &str,
    input: Value,
    weight: Value,
    strides: [usize; 3],
    padding: [[usize; 2]; 3],
    border: Border,
) -> Built {
    let product = b.bordered_convolution(input, weight, None, None, None, strides, padding, 0, border)?;
    self::bias(b, bias, product)
}

/// Adds a number a channel, the parameter `name` of this module.
pub(crate) fn bias(b: &mut Builder, name: &str, input: Value) -> Built {
    let bias = parameter(b, name, TensorType::plain(ElementType::F32, [channels(b, input)]))?;
    b.add_bias(input, bias)
}

/// [`convolution`] over frames whose edges go on beyond them, by so many rows and so many columns
/// on both sides; nothing stands around them in time.
pub(crate) fn edged_convolution(
    b: &mut Builder,
    bias: &str,
    input: Value,
    weight: Value,
    strides: [usize; 3],
    [rows, columns]: [usize; 2],
) -> Built {
    let border = Border([PadMode::Zero, PadMode::Edge, PadMode::Edge]);
    let padding = [[0, 0], [rows, rows], [columns, columns]];
    let border = if [rows, columns] == [0, 0] { Border::ZERO } else { border };
    bordered_convolution(b, bias, input, weight, strides, padding, border)
}

/// A 1x1x1 convolution whose `weight` and `bias` are this module's own.
pub(crate) fn pointwise_convolution(b: &mut Builder, input: Value, outputs: usize) -> Result<Value, BuildError> {
    let weight = kernel(b, "weight", outputs, channels(b, input), [1, 1, 1])?;
    convolution(b, "bias", input, weight, [1, 1, 1], [[0, 0]; 3])
}

/// A 1x1x1 convolution whose `weight` and `bias` are this module's own, and whose result a tap sees.
pub(crate) fn tapped_pointwise_convolution(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let output = pointwise_convolution(d, input, outputs)?;
    d.returns(output);
    Ok(output)
}

/// A clip with what a 3x3x3 convolution sees beyond it that sees no later frame, where borders are
/// replicated: in front of it its first frame twice, around each frame its outermost pixels.
pub(crate) fn replicated(b: &mut Builder, input: Value) -> Built {
    b.pad(input, smallvec![0, 0, KERNEL_REACH, 1, 1], smallvec![0, 0, 0, 1, 1], PadMode::Edge)
}

/// A 3x3x3 convolution of a clip that is [`replicated`]. Its weights are those of the module `conv`
/// in this one.
pub(crate) fn replicated_convolution(
    d: &mut Declaration<'_>,
    input: Value,
    outputs: usize,
    strides: [usize; 3],
) -> Built {
    let inputs = channels(d, input);
    let padded = replicated(d, input)?;
    let output = d.scope("conv", |d| {
        let weight = kernel(d, "weight", outputs, inputs, [3, 3, 3])?;
        let output = convolution(d, "bias", padded, weight, strides, [[0, 0]; 3])?;
        d.returns(output);
        Ok(output)
    })?;
    d.returns(output);
    Ok(output)
}

/// A 3x3 convolution, frame by frame, by a weight of four axes and a bias of these names: a
/// `Conv2d`'s in the checkpoint.
pub(crate) fn planar_convolution(
    b: &mut Builder,
    [weight, bias]: [&str; 2],
    input: Value,
    outputs: usize,
    stride: usize,
    padding: usize,
) -> Built {
    let weight = planar_kernel(b, weight, outputs, channels(b, input), 3)?;
    let around = [padding, padding];
    convolution(b, bias, input, weight, [1, stride, stride], [[0, 0], around, around])
}

/// A convolution of a square window without a bias, frame by frame, whose `weight`, of four axes, is
/// this module's own; zeros around keep height and width, or divide them by the stride, rounding up.
pub(crate) fn planar_product(b: &mut Builder, input: Value, outputs: usize, size: usize, stride: usize) -> Built {
    let weight = planar_kernel(b, "weight", outputs, channels(b, input), size)?;
    let around = [size / 2; 2];
    b.convolution(input, weight, None, None, None, [1, stride, stride], [[0, 0], around, around], 0)
}

/// A 1x1 convolution, frame by frame, whose `weight`, of four axes, and `bias` are this module's
/// own.
pub(crate) fn planar_pointwise(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let inputs = channels(d, input);
    let weight = planar_kernel(d, "weight", outputs, inputs, 1)?;
    let output = convolution(d, "bias", input, weight, [1, 1, 1], [[0, 0]; 3])?;
    d.returns_images(output)?;
    Ok(output)
}

/// A square weight of four axes as one over a single frame.
fn planar_kernel(b: &mut Builder, name: &str, outputs: usize, inputs: usize, size: usize) -> Built {
    let planar = parameter(b, name, TensorType::plain(ElementType::F32, [outputs, inputs, size, size]))?;
    b.reshape(planar, kernel_type(outputs, inputs, [1, size, size]))
}

/// The window of a convolution over a frame and its neighbours, and the zeros around what it reads.
pub(crate) const TIME_WINDOW: [usize; 3] = [3, 1, 1];
pub(crate) const TIME_PADDING: [[usize; 2]; 3] = [[1, 1], [0, 0], [0, 0]];

/// A convolution over a frame and its neighbours, zeros where there is none, with as many channels
/// as it reads.
pub(crate) fn time_convolution(d: &mut Declaration<'_>, input: Value) -> Built {
    let count = channels(d, input);
    let weight = kernel(d, "weight", count, count, TIME_WINDOW)?;
    let output = convolution(d, "bias", input, weight, [1, 1, 1], TIME_PADDING)?;
    d.returns(output);
    Ok(output)
}
