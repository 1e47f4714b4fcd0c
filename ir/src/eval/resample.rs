//! Ops that change the resolution of a video: nearest-neighbour resize and average pool.

use std::ops::Range;

use super::shape_ops::{axis_offsets, gather, offset_at};
use super::{OutOfMemory, Real, Tensor};
use crate::attribute::FirstFrame;
use crate::types::TensorType;

/// Where a video of type `to` reads a video of type `from` that is resized to it: for each axis and
/// place along it, how far into `from` it reaches.
pub(super) fn nearest_offset(
    from: &TensorType,
    to: &TensorType,
    first_frame: FirstFrame,
) -> impl Fn(usize, usize) -> Option<usize> {
    let time = to.layout.video().expect("resize_nearest_v1").space[0];
    let strides = from.strides();
    move |axis, at| {
        let (size, resized) = (from.shape[axis], to.shape[axis]);
        let source = match (first_frame, at) {
            (FirstFrame::Apart, 0) => 0,
            (FirstFrame::Apart, _) if axis == time => 1 + (at - 1) * (size - 1) / (resized - 1),
            _ => at * size / resized,
        };
        Some(source * strides[axis])
    }
}

pub(super) fn resize_nearest<T: Real>(
    input: &Tensor<T>,
    first_frame: FirstFrame,
    ty: &TensorType,
) -> Result<Tensor<T>, OutOfMemory> {
    gather(input, ty, nearest_offset(&input.ty, ty, first_frame))
}

pub(super) fn average_pool<T: Real>(
    input: &Tensor<T>,
    window: [usize; 3],
    first_frame: FirstFrame,
    ty: &TensorType,
) -> Result<Tensor<T>, OutOfMemory> {
    let axes = ty.layout.video().expect("average_pool_v1");
    let strides = input.ty.strides();
    let frames = |frame: usize| -> Range<usize> {
        match (first_frame, frame) {
            (FirstFrame::Joined, _) => frame * window[0]..(frame + 1) * window[0],
            (FirstFrame::Apart, 0) => 0..1,
            (FirstFrame::Apart, _) => 1 + (frame - 1) * window[0]..1 + frame * window[0],
        }
    };
    // Where each window starts.
    let offsets = axis_offsets(ty, |axis, at| {
        let start = match axes.space.iter().position(|&a| a == axis) {
            None => at,
            Some(0) => frames(at).start,
            Some(dimension) => at * window[dimension],
        };
        Some(start * strides[axis])
    });
    let last = offsets.last().expect("five axes");
    Ok(Tensor::zeros(ty)?.fill_rows(|position, row| {
        let base = offset_at(&offsets, position).expect("windows lie inside");
        let depth = frames(position[axes.space[0]]).len();
        for t in 0..depth {
            for y in 0..window[1] {
                for x in 0..window[2] {
                    let step = t * strides[axes.space[0]] + y * strides[axes.space[1]] + x * strides[axes.space[2]];
                    row.iter_mut()
                        .zip(last)
                        .for_each(|(sum, at)| *sum += input.data[base + step + at.unwrap_or_default()]);
                }
            }
        }
        let count = T::from_f64((depth * window[1] * window[2]) as f64);
        row.iter_mut().for_each(|sum| *sum = *sum / count);
    }))
}
