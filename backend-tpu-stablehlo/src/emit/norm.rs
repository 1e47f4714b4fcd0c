//! Group normalisation: statistics, and the fused op that reads them.
//!
//! Everything is computed in f32 and rounded once. Each line works on whole tensors, but nothing full-size is meant to be
//! made in f32: a reduction reads its operand converted, and the normalisation is one chain of elementwise ops.

use ir::types::VideoAxes;
use ir::{Activation, ElementType, FirstFrame};

use super::body::{Body, Tensor};
use super::elementwise::silu_of_f32;
use super::resample::resize_nearest;

/// Of this many rows of the first frame one is taken into the sample of which the sums are shifted.
const SAMPLED_ROWS: usize = 16;

/// Mean and reciprocal standard deviation of each batch element and group, `[batch, groups, 2]` in f32.
///
/// One pass over the elements: sums of `d` and `d²` with `d = x - k`, where `k` is the group's mean over a few rows. Then
/// `mean = k + E[d]` and `variance = E[d²] - E[d]²` do not cancel, as `E[x²] - E[x]²` does in f32 where the mean is large
/// beside the deviation (Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance").
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
    let places = [axes.batch, axes.channel];
    let mean = body.broadcast("mean", &mean, &places, &input.dims);
    let factor = body.broadcast("factor", &factor, &places, &input.dims);
    let offset = body.broadcast("offset", by.offset, &[axes.channel], &input.dims);
    let x = body.to("f32", input, ElementType::F32);
    let centered = body.elementwise("centered", "subtract", &[&x, &mean]);
    let scaled = body.elementwise("scaled", "multiply", &[&centered, &factor]);
    let mut y = body.elementwise("normalized", "add", &[&scaled, &offset]);
    if let Some((gain, shift, first_frame)) = by.gain_and_shift {
        let size = axes.space.map(|axis| input.dims[axis]);
        let gain = resize_nearest(body, gain, axes, size, first_frame);
        let gain = body.to("gain", &gain, ElementType::F32);
        let shift = resize_nearest(body, shift, axes, size, first_frame);
        let shift = body.to("shift", &shift, ElementType::F32);
        let product = body.elementwise("product", "multiply", &[&y, &gain]);
        y = body.elementwise("modulated", "add", &[&product, &shift]);
    }
    if by.activation == Activation::Silu {
        y = silu_of_f32(body, &y);
    }
    body.to("", &y, input.element)
}
