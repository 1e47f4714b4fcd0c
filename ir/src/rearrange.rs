//! Rearrangements of channels and places of a video, composed of ops: pixel shuffles over time,
//! height and width, means of neighbouring channels, repeated channels. There is no op for them.
//!
//! All are declared over the channel-last form, so that behind the pass `channel-last` the
//! transposes that stand around them are gone: means and repeats are one op between views, a
//! shuffle is one transpose between views. Channels that are the fastest of a block move as runs;
//! where a convolution makes the block, [`with_outputs_in`] orders its weights so, once.

use smallvec::smallvec;

use crate::attribute::FirstFrame;
use crate::builder::{BuildError, Builder};
use crate::graph::Value;
use crate::layout::{Axis, Layout};
use crate::types::{Dims, TensorType};

/// In which order the channels of a block hold its places: channel, time, height and width, each
/// once, the slowest first.
pub type BlockOrder = [Axis; 4];

/// Channels first, as PyTorch's `pixel_shuffle`.
pub const CHANNELS_SLOWEST: BlockOrder = [Axis::Channel, Axis::Time, Axis::Height, Axis::Width];
/// Channels last: what is fastest to move.
pub const CHANNELS_FASTEST: BlockOrder = [Axis::Time, Axis::Height, Axis::Width, Axis::Channel];

/// The axes of a block within each place: its sizes of time, height and width, and its channels.
fn sizes(order: BlockOrder, factors: [usize; 3], channels: usize) -> Dims {
    let size = |axis| match axis {
        Axis::Time => factors[0],
        Axis::Height => factors[1],
        Axis::Width => factors[2],
        _ => channels,
    };
    order.into_iter().map(size).collect()
}

/// Where each axis of `to` is in `from`.
fn places(from: BlockOrder, to: BlockOrder) -> Dims {
    to.iter().map(|axis| from.iter().position(|other| other == axis).unwrap_or_default()).collect()
}

/// Depth to space: every `factors` (time, height, width) channels become a block of places. A video
/// of C channels becomes one of `C / (rt * rh * rw)`, whose frames, rows and columns are `factors`
/// times as many.
///
/// # Errors
/// When `input` is no video, or its channels do not divide.
pub fn depth_to_space(
    b: &mut Builder,
    input: Value,
    factors: [usize; 3],
    order: BlockOrder,
) -> Result<Value, BuildError> {
    in_layout(b, input, Layout::NTHWC, |b, input| {
        let ty = b.ty(input).clone();
        let [batch, frames, rows, columns, all] = [0, 1, 2, 3, 4].map(|axis| ty.shape[axis]);
        let [by_time, by_height, by_width] = factors;
        let channels = all / factors.iter().product::<usize>().max(1);
        let mut apart: Dims = smallvec![batch, frames, rows, columns];
        apart.extend(sizes(order, factors, channels));
        let apart = b.reshape(input, TensorType::plain(ty.element, apart))?;
        let [time, height, width, channel] = block_axes(order);
        let beside = b.transpose(apart, smallvec![0, 1, 4 + time, 2, 4 + height, 3, 4 + width, 4 + channel])?;
        let space = [frames * by_time, rows * by_height, columns * by_width];
        b.reshape(beside, ty.video_like(batch, channels, space))
    })
}

/// Space to depth, the reverse of [`depth_to_space`]: every block of `factors` places becomes
/// channels.
///
/// # Errors
/// When `input` is no video, or its frames, rows or columns do not divide.
pub fn space_to_depth(
    b: &mut Builder,
    input: Value,
    factors: [usize; 3],
    order: BlockOrder,
) -> Result<Value, BuildError> {
    in_layout(b, input, Layout::NTHWC, |b, input| {
        let ty = b.ty(input).clone();
        let [batch, frames, rows, columns, channels] = [0, 1, 2, 3, 4].map(|axis| ty.shape[axis]);
        let [by_time, by_height, by_width] = factors;
        let [frames, rows, columns] =
            [(frames, by_time), (rows, by_height), (columns, by_width)].map(|(n, by)| n / by.max(1));
        let apart = [batch, frames, by_time, rows, by_height, columns, by_width, channels];
        let apart = b.reshape(input, TensorType::plain(ty.element, apart))?;
        let within = |axis| match axis {
            Axis::Time => 2,
            Axis::Height => 4,
            Axis::Width => 6,
            _ => 7,
        };
        let mut permutation: Dims = smallvec![0, 1, 3, 5];
        permutation.extend(order.map(within));
        let behind = b.transpose(apart, permutation)?;
        let all = channels * factors.iter().product::<usize>();
        b.reshape(behind, ty.video_like(batch, all, [frames, rows, columns]))
    })
}

/// Where time, height, width and the channels are in a block.
fn block_axes(order: BlockOrder) -> [usize; 4] {
    let places = places(order, CHANNELS_FASTEST);
    [places[0], places[1], places[2], places[3]]
}

/// The weight (`oidhw`, or any tensor with the outputs first, such as a bias) of a convolution
/// whose output channels are blocks in the order `to`, of one that made them in the order `from`.
/// Over parameters it is a recipe, made once.
///
/// # Errors
/// When the outputs are not a multiple of the factors.
pub fn with_outputs_in(
    b: &mut Builder,
    weight: Value,
    factors: [usize; 3],
    [from, to]: [BlockOrder; 2],
) -> Result<Value, BuildError> {
    let ty = b.ty(weight).clone();
    let outputs = ty.shape.first().copied().unwrap_or(1);
    let channels = outputs / factors.iter().product::<usize>().max(1);
    let mut apart = sizes(from, factors, channels);
    apart.extend(ty.shape.iter().skip(1).copied());
    let mut permutation = places(from, to);
    permutation.extend(4..apart.len());
    let apart = b.reshape(weight, TensorType::plain(ty.element, apart))?;
    let permuted = b.transpose(apart, permutation)?;
    b.reshape(permuted, ty)
}

/// The mean of each `group` neighbouring channels.
///
/// # Errors
/// When `input` is no video in a floating-point type, or its channels do not divide.
pub fn channel_means(b: &mut Builder, input: Value, group: usize) -> Result<Value, BuildError> {
    in_layout(b, input, Layout::NTHWC, |b, input| {
        let ty = b.ty(input).clone();
        let [batch, frames, rows, columns, channels] = [0, 1, 2, 3, 4].map(|axis| ty.shape[axis]);
        let groups = channels / group.max(1);
        // This refuses groups that leave a rest; then channels are columns of a video of one.
        let apart = b.reshape(input, ty.video_like(batch, group, [frames, rows, columns * groups]))?;
        let as_columns = b.reshape(apart, ty.video_like(batch, 1, [frames, rows, columns * channels]))?;
        let means = in_layout(b, as_columns, Layout::NCTHW, |b, input| {
            b.average_pool(input, [1, 1, group], FirstFrame::Joined)
        })?;
        b.reshape(means, ty.video_like(batch, groups, [frames, rows, columns]))
    })
}

/// Each channel `times` times, one behind the other, as PyTorch's `repeat_interleave`. (All
/// channels so often is a `concatenate`.)
///
/// # Errors
/// When `input` is no video.
pub fn repeat_channels(b: &mut Builder, input: Value, times: usize) -> Result<Value, BuildError> {
    in_layout(b, input, Layout::NTHWC, |b, input| {
        let ty = b.ty(input).clone();
        let [batch, frames, rows, columns, channels] = [0, 1, 2, 3, 4].map(|axis| ty.shape[axis]);
        // Channels as rows of one column.
        let all = rows * columns * channels;
        let as_rows = b.reshape(input, ty.video_like(batch, 1, [frames, all, 1]))?;
        let repeated = in_layout(b, as_rows, Layout::NCTHW, |b, input| {
            b.resize_nearest(input, [frames, all, times], FirstFrame::Joined)
        })?;
        b.reshape(repeated, ty.video_like(batch, channels * times, [frames, rows, columns]))
    })
}

/// What `make` makes of a video in this layout, in the video's own.
fn in_layout(
    b: &mut Builder,
    input: Value,
    layout: Layout,
    make: impl FnOnce(&mut Builder, Value) -> Result<Value, BuildError>,
) -> Result<Value, BuildError> {
    let own = b.ty(input).layout;
    let (Some(there), Some(back)) = (own.order_of(layout), layout.order_of(own)) else {
        // No video: an op that wants one says so.
        return b.resize_nearest(input, [1; 3], FirstFrame::Joined);
    };
    if own == layout {
        return make(b, input);
    }
    let turned = b.transpose(input, there)?;
    let made = make(b, turned)?;
    b.transpose(made, back)
}
