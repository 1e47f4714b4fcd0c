//! Convolution, direct, in both layouts.
//!
//! Each element is a sum in `T` over the kernel's taps (time, height, width), for each tap over the
//! input channels, in this order in both layouts; then the bias and the residual are added. Taps
//! that fall on zeros of the padding add nothing; any other border is made first. The inner loop is
//! contiguous: along the width for channel-first videos, along the output channels for channel-last
//! ones.

use std::ops::Range;

use rayon::prelude::*;

use super::{OutOfMemory, Real, Tensor, elementwise, shape_ops};
use crate::attribute::{Border, PadMode};
use crate::types::{Dims, Layout, TensorType};

/// Pixels of a row that a channel-last convolution makes at a time, so that they stay in the
/// nearest cache while the weights stream past.
const PIXELS: usize = 8;

/// A convolution with its operands at hand.
pub(super) struct Convolution<'a, T> {
    pub input: &'a Tensor<T>,
    pub weight: &'a Tensor<T>,
    pub bias: Option<&'a Tensor<T>>,
    pub residual: Option<&'a Tensor<T>>,
    pub cache: Option<&'a Tensor<T>>,
    pub strides: [usize; 3],
    pub padding: [[usize; 2]; 3],
    pub repeat_first: usize,
    pub border: Border,
}

/// Each of `groups` groups of channels by itself, one behind the other.
pub(super) fn grouped<T: Real>(
    input: &Tensor<T>,
    weight: &Tensor<T>,
    bias: Option<&Tensor<T>>,
    groups: usize,
    strides: [usize; 3],
    padding: [[usize; 2]; 3],
    ty: &TensorType,
) -> Result<Tensor<T>, OutOfMemory> {
    let channel = ty.layout.video().expect("a video").channel;
    let output = weight.ty.layout.kernel().expect("convolution_c1").output;
    // The part of an axis that belongs to a group.
    let part = |of: &Tensor<T>, axis: usize, group: usize| {
        let mut ty = of.ty.clone();
        ty.shape[axis] /= groups;
        let start = (0..ty.rank()).map(|other| if other == axis { group * ty.shape[axis] } else { 0 }).collect();
        shape_ops::slice(of, &start, &ty)
    };
    let mut result = ty.clone();
    result.shape[channel] /= groups;
    let convolved = |group: usize| {
        let (input, weight) = (&part(input, channel, group)?, &part(weight, output, group)?);
        let bias = bias.map(|bias| part(bias, 0, group)).transpose()?;
        let (residual, cache, repeat_first, border) = (None, None, 0, Border::ZERO);
        let bias = bias.as_ref();
        Convolution { input, weight, bias, residual, cache, strides, padding, repeat_first, border }.evaluate(&result)
    };
    let parts: Vec<Tensor<T>> = (0..groups).map(convolved).collect::<Result<_, _>>()?;
    shape_ops::concatenate(&parts.iter().collect::<Vec<_>>(), channel, ty)
}

/// One batch element's frame of a video: where channel, row and column lead, as offsets into
/// `data`.
struct Frame<'a, T> {
    data: &'a [T],
    channel: usize,
    row: usize,
    column: usize,
}

impl<T: Real> Convolution<'_, T> {
    pub(super) fn evaluate(&self, ty: &TensorType) -> Result<Tensor<T>, OutOfMemory> {
        if self.border != Border::ZERO {
            let (input, padding) = (&self.surrounded()?, [[0; 2]; 3]);
            return Convolution { input, cache: None, padding, repeat_first: 0, border: Border::ZERO, ..*self }
                .evaluate(ty);
        }
        let mut result = Tensor::zeros(ty)?;
        let [frames, height, width] = ty.space().expect("a video");
        let outputs = ty.channels().expect("a video");
        if ty.layout == Layout::NCTHW {
            result.data.par_chunks_mut(height * width).enumerate().for_each(|(plane, elements)| {
                let (batch, output, frame) = (plane / frames / outputs, plane / frames % outputs, plane % frames);
                self.plane(batch, output, frame, width, elements);
            });
        } else {
            let weight = self.weight_rows();
            result.data.par_chunks_mut(width * outputs).enumerate().for_each(|(row, elements)| {
                let (batch, frame, y) = (row / height / frames, row / height % frames, row % height);
                for (i, pixels) in elements.chunks_mut(PIXELS * outputs).enumerate() {
                    self.pixels(&weight, [batch, frame, y, i * PIXELS], outputs, pixels);
                }
            });
        }
        if let Some(bias) = self.bias {
            elementwise::add_per_channel(&mut result, bias);
        }
        if let Some(residual) = self.residual {
            elementwise::update(&mut result, residual, |x, r| x + r);
        }
        Ok(result)
    }

    /// The input with the frames in front and all that stands around them.
    fn surrounded(&self) -> Result<Tensor<T>, OutOfMemory> {
        let axes = self.input.ty.layout.video().expect("a video");
        let [time, ..] = axes.space;
        // A type with other sizes of time, height and width.
        let sized = |of: &TensorType, more: [usize; 3]| {
            let mut ty = of.clone();
            axes.space.into_iter().zip(more).for_each(|(axis, more)| ty.shape[axis] += more);
            ty
        };
        let mut low: Dims = self.input.ty.shape.iter().map(|_| 0).collect();
        let whole = match self.cache {
            Some(cache) => {
                let ty = sized(&self.input.ty, [cache.ty.shape[time], 0, 0]);
                shape_ops::concatenate(&[cache, self.input], time, &ty)?
            }
            None => {
                low[time] = self.repeat_first;
                let ty = sized(&self.input.ty, [self.repeat_first, 0, 0]);
                shape_ops::pad(self.input, &low, |_| PadMode::Edge, &ty)?
            }
        };
        axes.space.into_iter().zip(self.padding).for_each(|(axis, [front, _])| low[axis] = front);
        let mode =
            |axis| axes.space.iter().position(|place| *place == axis).map_or(PadMode::Zero, |i| self.border.0[i]);
        shape_ops::pad(&whole, &low, mode, &sized(&whole.ty, self.padding.map(|[low, high]| low + high)))
    }

    /// Time, height and width of the kernel.
    fn window(&self) -> [usize; 3] {
        let axes = self.weight.ty.layout.kernel().expect("convolution_c1");
        axes.space.map(|axis| self.weight.ty.shape[axis])
    }

    /// The frame that output frame `frame` reads through the tap `kt`; `None` on the padding.
    fn frame(&self, batch: usize, frame: usize, kt: usize) -> Option<Frame<'_, T>> {
        let at = (frame * self.strides[0] + kt).checked_sub(self.padding[0][0])?;
        let (video, at) = match self.cache {
            Some(cache) => {
                let cached = cache.ty.space().expect("convolution_c7")[0];
                if at < cached { (cache, at) } else { (self.input, at - cached) }
            }
            None => (self.input, at.saturating_sub(self.repeat_first)),
        };
        let axes = video.ty.layout.video().expect("a video");
        let strides = video.ty.strides();
        if at >= video.ty.shape[axes.space[0]] {
            return None;
        }
        Some(Frame {
            data: &video.data[batch * strides[axes.batch] + at * strides[axes.space[0]]..],
            channel: strides[axes.channel],
            row: strides[axes.space[1]],
            column: strides[axes.space[2]],
        })
    }

    /// The input row that output row `y` reads through the tap `ky`; `None` on the padding.
    fn row(&self, y: usize, ky: usize) -> Option<usize> {
        let height = self.input.ty.space().expect("a video")[1];
        (y * self.strides[1] + ky).checked_sub(self.padding[1][0]).filter(|&row| row < height)
    }

    /// The columns of the output in `0..width` that read the input, not the padding, through the
    /// tap `kx`.
    fn columns(&self, width: usize, kx: usize) -> Range<usize> {
        let (stride, low) = (self.strides[2], self.padding[2][0]);
        let input = self.input.ty.space().expect("a video")[2];
        let first = low.saturating_sub(kx).div_ceil(stride).min(width);
        let limit = (input + low).saturating_sub(kx).div_ceil(stride).clamp(first, width);
        first..limit
    }

    /// The input column that output column `x` reads through the tap `kx`; it must not be on the
    /// padding.
    fn column(&self, x: usize, kx: usize) -> usize {
        x * self.strides[2] + kx - self.padding[2][0]
    }

    /// Channel-first: the sums of one output channel of one frame.
    fn plane(&self, batch: usize, output: usize, frame: usize, width: usize, sums: &mut [T]) {
        let [depth, height, breadth] = self.window();
        let strides = self.weight.ty.strides();
        let inputs = self.weight.ty.shape[1];
        for kt in 0..depth {
            let Some(source) = self.frame(batch, frame, kt) else { continue };
            for ky in 0..height {
                for kx in 0..breadth {
                    let columns = self.columns(width, kx);
                    if columns.is_empty() {
                        continue;
                    }
                    let first = self.column(columns.start, kx);
                    let reach = (columns.len() - 1) * self.strides[2] + 1;
                    for channel in 0..inputs {
                        let weight =
                            output * strides[0] + channel * strides[1] + kt * strides[2] + ky * strides[3] + kx;
                        let weight = self.weight.data[weight];
                        for (y, sums) in sums.chunks_exact_mut(width).enumerate() {
                            let Some(row) = self.row(y, ky) else { continue };
                            let start = channel * source.channel + row * source.row + first * source.column;
                            let xs = &source.data[start..start + reach];
                            add_scaled(&mut sums[columns.clone()], xs, self.strides[2], weight);
                        }
                    }
                }
            }
        }
    }

    /// Channel-last: the weights as rows of one number an output channel, for each tap and input
    /// channel.
    fn weight_rows(&self) -> Vec<&[T]> {
        self.weight.data.chunks_exact(self.weight.ty.shape[4]).collect()
    }

    /// Channel-last: the sums of all output channels of neighbouring pixels; `at` is the batch
    /// element, frame, row and column of the first.
    fn pixels(&self, weight: &[&[T]], at: [usize; 4], outputs: usize, sums: &mut [T]) {
        let [batch, frame, y, x] = at;
        let [depth, height, breadth] = self.window();
        let inputs = self.weight.ty.shape[3];
        let end = x + sums.len() / outputs;
        for kt in 0..depth {
            let Some(source) = self.frame(batch, frame, kt) else { continue };
            for ky in 0..height {
                let Some(row) = self.row(y, ky) else { continue };
                for kx in 0..breadth {
                    let columns = self.columns(end, kx);
                    let columns = columns.start.max(x)..columns.end.max(x);
                    let tap = ((kt * height + ky) * breadth + kx) * inputs;
                    let sums = &mut sums[(columns.start - x) * outputs..(columns.end - x) * outputs];
                    for channel in 0..inputs {
                        for (column, sums) in columns.clone().zip(sums.chunks_exact_mut(outputs)) {
                            let column = self.column(column, kx);
                            let x = source.data[row * source.row + column * source.column + channel];
                            add_scaled(sums, weight[tap + channel], 1, x);
                        }
                    }
                }
            }
        }
    }
}

/// `sums[i] += xs[i * stride] * factor`.
fn add_scaled<T: Real>(sums: &mut [T], xs: &[T], stride: usize, factor: T) {
    if stride == 1 {
        sums.iter_mut().zip(xs).for_each(|(sum, &x)| *sum += x * factor);
    } else {
        sums.iter_mut().zip(xs.iter().step_by(stride)).for_each(|(sum, &x)| *sum += x * factor);
    }
}
