//! Group normalisation: statistics, and the fused op that reads them.
//!
//! Everything is computed in f32 and rounded once. Each line works on whole tensors, but nothing
//! full-size is meant to be made in f32: a reduction reads its operand converted, and the
//! normalisation is one chain of elementwise ops.

use ir::types::VideoAxes;
use ir::{Activation, ElementType, FirstFrame};

use super::body::{Body, Tensor};
use super::elementwise::silu_of_f32;
use super::resample::resize_nearest;

/// Of this many rows of the first frame one is taken into the sample of which the sums are shifted.
const SAMPLED_ROWS: usize = 16;

/// Mean and reciprocal standard deviation of each batch element and group, `[batch, groups, 2]` in
/// f32.
///
/// One pass over the elements: sums of `d` and `d²` with `d = x - k`, where `k` is the group's mean
/// over a few rows. Then `mean = k + E[d]` and `variance = E[d²] - E[d]²` do not cancel,
/// as `E[x²] - E[x]²` does in f32 where the mean is large
/// beside the deviation (Chan, Golub and LeVeque 1983, "Algorithms for computing the sample
/// variance").
pub(super) fn group_statistics(
    body: &mut Body,
    input: &Tensor,
    axes: VideoAxes,
    groups: usize,
    epsilon: f64,
) -> Tensor {
    let batch = input.dims[axes.batch];
    let channels = input.dims[axes.channel];
    let (mut limit, mut stride) = (input.dims.clone(), vec![1; 5]);
    limit[axes.space[0]] = 1;
    stride[axes.space[1]] = SAMPLED_ROWS;
    let sample = body.slice("sample", input, &[0; 5], &limit, &stride);
    let sample = body.to("sample_f32", &sample, ElementType::F32);
    let center = group_means(body, "center", &sample, axes, groups);
    let center_of_channel = per_channel(body, &center, channels);
    let x = body.to("f32", input, ElementType::F32);
    let center_of_element = body.broadcast("center", &center_of_channel, &[axes.batch, axes.channel], &input.dims);
    let difference = body.elementwise("difference", "subtract", &[&x, &center_of_element]);
    let square = body.elementwise("square", "multiply", &[&difference, &difference]);
    let shifted_mean = group_means(body, "shifted_mean", &difference, axes, groups);
    let mean_square = group_means(body, "mean_square", &square, axes, groups);
    let mean = body.elementwise("mean", "add", &[&center, &shifted_mean]);
    let square_of_mean = body.elementwise("square_of_mean", "multiply", &[&shifted_mean, &shifted_mean]);
    let variance = body.elementwise("variance", "subtract", &[&mean_square, &square_of_mean]);
    // Rounding may leave it below zero.
    let zero = body.splat("zero", 0.0, ElementType::F32, &variance.dims);
    let variance = body.elementwise("variance", "maximum", &[&variance, &zero]);
    let epsilon = body.splat("epsilon", epsilon, ElementType::F32, &variance.dims);
    let sum = body.elementwise("variance", "add", &[&variance, &epsilon]);
    let rstd = body.elementwise("rstd", "rsqrt", &[&sum]);
    let [mean, rstd] = [&mean, &rstd].map(|tensor| body.reshape("column", tensor, &[batch, groups, 1]));
    body.concatenate("", &[&mean, &rstd], 2)
}

/// The mean of each batch element and group, `[batch, groups]`.
fn group_means(body: &mut Body, hint: &str, input: &Tensor, axes: VideoAxes, groups: usize) -> Tensor {
    let [batch, channels] = [axes.batch, axes.channel].map(|axis| input.dims[axis]);
    let sums = body.sum("channel_sums", input, &axes.space);
    let sums = body.reshape("group_sums", &sums, &[batch, groups, channels / groups]);
    let sums = body.sum("group_sums", &sums, &[2]);
    let count = input.dims.iter().product::<usize>() / batch / groups;
    body.scaled(hint, &sums, 1.0 / count as f64)
}

/// A number a group, `[batch, groups]`, for each channel, `[batch, channels]`.
fn per_channel(body: &mut Body, of_group: &Tensor, channels: usize) -> Tensor {
    let [batch, groups] = [of_group.dims[0], of_group.dims[1]];
    let repeated = body.broadcast("of_group", of_group, &[0, 1], &[batch, groups, channels / groups]);
    body.reshape("of_channel", &repeated, &[batch, channels])
}

/// What `normalize` reads beside its input.
pub(super) struct Modulation<'a> {
    pub statistics: &'a Tensor,
    pub scale: &'a Tensor,
    pub offset: &'a Tensor,
    pub gain_and_shift: Option<(&'a Tensor, &'a Tensor, FirstFrame)>,
    pub activation: Activation,
}

/// `activation(((input - mean) * rstd * scale + offset) * gain + shift)`.
pub(super) fn normalize(body: &mut Body, input: &Tensor, axes: VideoAxes, by: &Modulation<'_>) -> Tensor {
    let time = axes.space[0];
    let frames = input.dims[time];
    let affine = affine(body, input, axes, by);
    match by.gain_and_shift {
        None => {
            let y = elements(body, input, &affine, &Split::none(input, axes), None, by.activation);
            body.to("", &y, input.element)
        }
        Some((gain, shift, FirstFrame::Apart)) if frames > 1 && gain.dims[time] > 1 => {
            let parts = [0..1, 1..frames].into_iter().zip([0..1, 1..gain.dims[time]]);
            let parts: Vec<Tensor> = parts
                .map(|(own, small)| {
                    let x = body.slice_along("part", input, time, own);
                    let [gain, shift] = [gain, shift].map(|v| body.slice_along("part", v, time, small.clone()));
                    modulated(body, &x, axes, &affine, [&gain, &shift], by.activation)
                })
                .collect();
            body.concatenate("", &[&parts[0], &parts[1]], time)
        }
        Some((gain, shift, _)) => modulated(body, input, axes, &affine, [gain, shift], by.activation),
    }
}

/// What is subtracted from each channel, multiplied with it and added to it, `[batch, channels]`
/// each.
pub(super) struct Affine {
    mean: Tensor,
    factor: Tensor,
    offset: Tensor,
}

pub(super) fn affine(body: &mut Body, input: &Tensor, axes: VideoAxes, by: &Modulation<'_>) -> Affine {
    let [batch, channels] = [axes.batch, axes.channel].map(|axis| input.dims[axis]);
    let groups = by.statistics.dims[1];
    let column = |body: &mut Body, hint: &str, at: usize| {
        let column = body.slice_along("column", by.statistics, 2, at..at + 1);
        let of_group = body.reshape(hint, &column, &[batch, groups]);
        per_channel(body, &of_group, channels)
    };
    let mean = column(body, "mean", 0);
    let rstd = column(body, "rstd", 1);
    let scale = body.broadcast("scale", by.scale, &[1], &[batch, channels]);
    let factor = body.elementwise("factor", "multiply", &[&rstd, &scale]);
    let offset = body.broadcast("offset", by.offset, &[1], &[batch, channels]);
    Affine { mean, factor, offset }
}

/// A video with each axis of time, height and width as two, where a smaller video has as many
/// elements along the first of them: what is repeated along the second need not be made, as it had
/// to be to be reshaped.
struct Split {
    dims: Vec<usize>,
    /// Where the axes of the smaller video are.
    places: Vec<usize>,
    batch_and_channel: [usize; 2],
}

impl Split {
    /// Every axis as it is.
    fn none(video: &Tensor, axes: VideoAxes) -> Self {
        let places = (0..video.dims.len()).collect();
        Self { dims: video.dims.to_vec(), places, batch_and_channel: [axes.batch, axes.channel] }
    }

    /// `video` over a smaller one; each axis of that divides its own.
    fn over(video: &Tensor, small: &Tensor, axes: VideoAxes) -> Self {
        let (mut dims, mut places) = (Vec::new(), Vec::new());
        for (size, few) in video.dims.iter().zip(&small.dims) {
            places.push(dims.len());
            dims.push(*few);
            if size != few {
                dims.push(size / few);
            }
        }
        let batch_and_channel = [axes.batch, axes.channel].map(|axis| places[axis]);
        Self { dims, places, batch_and_channel }
    }
}

/// The normalised video, read against a gain and a shift of lower resolution with no frame apart.
///
/// They are resized along the width, where a TPU has no way to repeat elements but to make them,
/// and where sizes do not divide.
fn modulated(
    body: &mut Body,
    input: &Tensor,
    axes: VideoAxes,
    affine: &Affine,
    gain_and_shift: [&Tensor; 2],
    activation: Activation,
) -> Tensor {
    let [time, height, width] = axes.space;
    let [gain, shift] = gain_and_shift.map(|small| {
        let keep =
            |axis: usize| if input.dims[axis].is_multiple_of(small.dims[axis]) { small } else { input }.dims[axis];
        let size = [keep(time), input.dims[height], keep(width)];
        resize_nearest(body, small, axes, size, FirstFrame::Joined)
    });
    let split = Split::over(input, &gain, axes);
    let x =
        if split.dims.len() == input.dims.len() { input.clone() } else { body.reshape("split", input, &split.dims) };
    let y = elements(body, &x, affine, &split, Some([&gain, &shift]), activation);
    let y = body.to("", &y, input.element);
    if x.dims == input.dims { y } else { body.reshape("joined", &y, &input.dims) }
}

/// Some rows, normalised, read against the same rows of a gain and a shift that may have fewer
/// frames and columns. What is repeated is made: it is small.
pub(super) fn normalized_rows(
    body: &mut Body,
    input: &Tensor,
    axes: VideoAxes,
    affine: &Affine,
    gain_and_shift: Option<([&Tensor; 2], FirstFrame)>,
    activation: Activation,
) -> Tensor {
    let size = axes.space.map(|axis| input.dims[axis]);
    let resized = gain_and_shift
        .map(|(tensors, first_frame)| tensors.map(|small| resize_nearest(body, small, axes, size, first_frame)));
    let both = resized.as_ref().map(|[gain, shift]| [gain, shift]);
    let y = elements(body, input, affine, &Split::none(input, axes), both, activation);
    body.to("", &y, input.element)
}

/// All that is computed of each element, in f32.
fn elements(
    body: &mut Body,
    input: &Tensor,
    affine: &Affine,
    split: &Split,
    gain_and_shift: Option<[&Tensor; 2]>,
    activation: Activation,
) -> Tensor {
    let of_channel = |body: &mut Body, hint: &str, tensor: &Tensor| {
        body.broadcast(hint, tensor, &split.batch_and_channel, &split.dims)
    };
    let mean = of_channel(body, "mean", &affine.mean);
    let factor = of_channel(body, "factor", &affine.factor);
    let offset = of_channel(body, "offset", &affine.offset);
    let x = body.to("f32", input, ElementType::F32);
    let centered = body.elementwise("centered", "subtract", &[&x, &mean]);
    let scaled = body.elementwise("scaled", "multiply", &[&centered, &factor]);
    let mut y = body.elementwise("normalized", "add", &[&scaled, &offset]);
    if let Some(gain_and_shift) = gain_and_shift {
        let [gain, shift] = gain_and_shift.map(|small| {
            let wide = body.to("wide", small, ElementType::F32);
            if wide.dims[..] == split.dims[..] {
                wide
            } else {
                body.broadcast("repeated", &wide, &split.places, &split.dims)
            }
        });
        let product = body.elementwise("product", "multiply", &[&y, &gain]);
        y = body.elementwise("modulated", "add", &[&product, &shift]);
    }
    match activation {
        Activation::None => y,
        Activation::Silu => silu_of_f32(body, &y),
    }
}
