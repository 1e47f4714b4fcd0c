//! Group normalisation, whole and in its two halves, and normalisation over the channels of a
//! position.
//!
//! Statistics are gathered in two passes, the mean and then the squared deviations from it, with
//! sums in f64 whatever `T` is. A group is summed by one thread, element after element.

use rayon::prelude::*;

use super::resample::nearest_offset;
use super::shape_ops::{axis_offsets, offset_at};
use super::{OutOfMemory, Real, Tensor, elementwise};
use crate::attribute::{Activation, ChannelNormKind, FirstFrame};
use crate::types::{Axis, ElementType, TensorType};

/// Mean and reciprocal standard deviation of each batch element and group, `[batch, groups, 2]`.
pub(super) fn group_statistics<T: Real>(
    input: &Tensor<T>,
    groups: usize,
    epsilon: f64,
) -> Result<Tensor<T>, OutOfMemory> {
    let axes = input.ty.layout.video().expect("group_statistics_v1");
    let (strides, shape) = (input.ty.strides(), &input.ty.shape);
    let in_group = shape[axes.channel] / groups;
    let batch_elements = strides[axes.batch];
    // The channels of a group are one run of elements where they lie between the batch and the
    // pixels (channel-first), a run in each pixel where they vary fastest (channel-last).
    let run = in_group * strides[axes.channel];
    let step = shape[axes.channel] * strides[axes.channel];
    let members = |batch: usize, group: usize| {
        let elements = &input.data[batch * batch_elements..(batch + 1) * batch_elements];
        let runs = elements.chunks_exact(step).map(move |block| &block[group * run..(group + 1) * run]);
        runs.flatten().map(|x| x.to_f64())
    };
    let count = (in_group * batch_elements / shape[axes.channel]) as f64;
    let ty = TensorType::plain(ElementType::F32, [shape[axes.batch], groups, 2]);
    let mut statistics = Tensor::zeros(&ty)?;
    statistics.data.par_chunks_mut(2).enumerate().for_each(|(i, pair)| {
        let (batch, group) = (i / groups, i % groups);
        let mean = members(batch, group).sum::<f64>() / count;
        let variance = members(batch, group).map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
        pair.copy_from_slice(&[T::from_f64(mean), T::from_f64(1.0 / (variance + epsilon).sqrt())]);
    });
    Ok(statistics)
}

pub(super) fn group_norm<T: Real>(
    input: &Tensor<T>,
    scale: &Tensor<T>,
    offset: &Tensor<T>,
    groups: usize,
    epsilon: f64,
    ty: &TensorType,
) -> Result<Tensor<T>, OutOfMemory> {
    let statistics = group_statistics(input, groups, epsilon)?;
    normalize(input, &statistics, [scale, offset], None, Activation::None, ty)
}

/// `modulation` is gain, shift, and how their first frame is read.
pub(super) fn normalize<T: Real>(
    input: &Tensor<T>,
    statistics: &Tensor<T>,
    [scale, offset]: [&Tensor<T>; 2],
    modulation: Option<(&Tensor<T>, &Tensor<T>, FirstFrame)>,
    activation: Activation,
    ty: &TensorType,
) -> Result<Tensor<T>, OutOfMemory> {
    let axes = ty.layout.video().expect("normalize_v1");
    let (groups, channels) = (statistics.ty.shape[1], ty.shape[axes.channel]);
    let in_group = channels / groups;
    let statistics_of = |batch: usize, channel: usize| {
        let at = (batch * groups + channel / in_group) * 2;
        (statistics.data[at], statistics.data[at + 1])
    };
    let modulation = modulation.map(|(gain, shift, first_frame)| {
        (&gain.data, &shift.data, axis_offsets(ty, nearest_offset(&gain.ty, ty, first_frame)))
    });
    let strides = ty.strides();
    Ok(Tensor::zeros(ty)?.fill_rows(|position, row| {
        let start: usize = position.iter().zip(&strides).map(|(at, stride)| at * stride).sum();
        let xs = &input.data[start..start + row.len()];
        for (last, (to, &x)) in row.iter_mut().zip(xs).enumerate() {
            let channel = if axes.channel == 4 { last } else { position[axes.channel] };
            let (mean, rstd) = statistics_of(position[axes.batch], channel);
            *to = (x - mean) * rstd * scale.data[channel] + offset.data[channel];
        }
        if let Some((gain, shift, offsets)) = &modulation {
            let base = offset_at(offsets, position).expect("none is outside");
            for (to, at) in row.iter_mut().zip(&offsets[4]) {
                let at = base + at.unwrap_or_default();
                *to = *to * gain[at] + shift[at];
            }
        }
        if activation == Activation::Silu {
            row.iter_mut().for_each(|x| *x = elementwise::silu(*x));
        }
    }))
}

/// `affine` is scale and offset; `terms` are the kind and epsilon.
pub(super) fn channel_norm<T: Real>(
    input: &Tensor<T>,
    affine: [Option<&Tensor<T>>; 2],
    terms: (ChannelNormKind, f64),
    activation: Activation,
    ty: &TensorType,
) -> Result<Tensor<T>, OutOfMemory> {
    let axis = ty.layout.place(Axis::Channel).expect("channel_norm_c2");
    let (channels, step) = (ty.shape[axis], ty.strides()[axis]);
    let mut result = Tensor::zeros(ty)?;
    // Of `step` positions that follow each other, all channels stand in one run of elements.
    let run = step * channels;
    let runs = result.data.par_chunks_mut(run).zip(input.data.par_chunks(run));
    runs.with_min_len((1 << 12) / run + 1).for_each(|(to, xs)| {
        for position in 0..step {
            let own = || xs[position..].iter().step_by(step).map(|x| x.to_f64());
            let (mean, factor) = mean_and_factor(own, channels as f64, terms);
            for (channel, x) in own().enumerate() {
                let mut y = T::from_f64((x - mean) * factor);
                let [scale, offset] = affine.map(|vector| vector.map(|vector| vector.data[channel]));
                y = scale.map_or(y, |scale| y * scale);
                y = offset.map_or(y, |offset| y + offset);
                to[position + channel * step] = if activation == Activation::Silu { elementwise::silu(y) } else { y };
            }
        }
    });
    Ok(result)
}

/// What is subtracted from the channels of a position, of which there are so many, and what the
/// difference is multiplied with.
fn mean_and_factor<I: Iterator<Item = f64>>(
    own: impl Fn() -> I,
    channels: f64,
    (kind, epsilon): (ChannelNormKind, f64),
) -> (f64, f64) {
    let mean = if kind == ChannelNormKind::Layer { own().sum::<f64>() / channels } else { 0.0 };
    let squares = own().map(|x| (x - mean) * (x - mean)).sum::<f64>();
    let factor = match kind {
        ChannelNormKind::Rms | ChannelNormKind::Layer => 1.0 / (squares / channels + epsilon).sqrt(),
        // The comparison is false for NaN, which stays.
        ChannelNormKind::L2 if squares.sqrt() < epsilon => channels.sqrt() / epsilon,
        ChannelNormKind::L2 => channels.sqrt() / squares.sqrt(),
    };
    (mean, factor)
}
