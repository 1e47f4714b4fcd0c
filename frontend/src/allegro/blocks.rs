//! The modules over time, and the blocks that have them behind residual blocks of single frames.
//!
//! Each function declares one module of the reference in the scope that the caller has opened for
//! it: the declaration's path is the module's own.

use ir::rearrange::{CHANNELS_FASTEST, depth_to_space, space_to_depth};
use ir::{BuildError, Dims, FirstFrame, PadMode, Value};
use smallvec::smallvec;

use super::config::Config;
use crate::autoencoder_kl::{Network, blocks};
use crate::declaration::Declaration;
use crate::layers::{self, channels, frame_by_frame, kernel, space};

/// Epsilon of the norms in front of convolutions over time.
const TIME_EPSILON: f64 = 1e-5;

type Built = Result<Value, BuildError>;

/// What a module over time does to the number of frames.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Frames {
    Kept,
    Halved,
    Doubled,
}

/// Four convolutions over time, each after a norm and an activation, around which the input is led
/// (`AllegroTemporalConvLayer`). Those that change the number of frames see the neighbours of a place,
/// zeros beyond the borders; the others see that place alone.
///
/// A clip has its first frame twice, and its last, where a convolution sees neighbours in time. The
/// norms in front of it count these frames, too.
pub(super) fn over_time(groups: usize, d: &mut Declaration<'_>, input: Value, frames: Frames) -> Built {
    let count = channels(d, input);
    let reach = if frames == Frames::Kept { 1 } else { 3 };
    let [batch, number, height, width] =
        [d.ty(input).shape[0], space(d, input)[0], space(d, input)[1], space(d, input)[2]];
    let (around, hidden) = match frames {
        Frames::Kept => (input, layer(d, "conv1", 2, groups, input, count, [3, 1, 1])?),
        Frames::Halved => {
            let both = space_to_depth(d, input, [2, 1, 1], CHANNELS_FASTEST)?;
            let limit = smallvec![batch, count, number / 2, height, width];
            let first = d.slice(both, smallvec![0; 5], limit)?;
            (first, layer(d, "conv1", 2, groups, input, count, [2, reach, reach])?)
        }
        Frames::Doubled => {
            let twice = d.resize_nearest(input, [2 * number, height, width], FirstFrame::Joined)?;
            let both = layer(d, "conv1", 2, groups, input, 2 * count, [1, reach, reach])?;
            (twice, depth_to_space(d, both, [2, 1, 1], CHANNELS_FASTEST)?)
        }
    };
    let last = [("conv2", 3), ("conv3", 3), ("conv4", 2)]
        .into_iter()
        .try_fold(hidden, |hidden, (name, place)| layer(d, name, place, groups, hidden, count, [3, reach, reach]))?;
    let output = d.add(around, last)?;
    d.returns_images(output)?;
    Ok(output)
}

/// A norm, an activation and a convolution of this window, which stands at this place of the list
/// `name`. Of a window of two frames each pair of frames makes one.
fn layer(
    d: &mut Declaration<'_>,
    name: &str,
    place: usize,
    groups: usize,
    input: Value,
    outputs: usize,
    window: [usize; 3],
) -> Built {
    let [frames, height, width] = window;
    let inputs = channels(d, input);
    let input = if frames == 3 {
        let end: Dims = smallvec![0, 0, 1, 0, 0];
        d.pad(input, end.clone(), end, PadMode::Edge)?
    } else {
        input
    };
    d.scope(name, |d| {
        let hidden = d.scope("0", |d| layers::group_norm(d, input, groups, TIME_EPSILON))?;
        let hidden = d.silu(hidden)?;
        d.scope(&place.to_string(), |d| {
            let weight = kernel(d, "weight", outputs, inputs, window)?;
            let stride = if frames == 2 { 2 } else { 1 };
            let padding = [[0, 0], [height / 2; 2], [width / 2; 2]];
            let output = layers::convolution(d, "bias", hidden, weight, [stride, 1, 1], padding)?;
            d.returns(output);
            Ok(output)
        })
    })
}

/// Pairs of a residual block of single frames, `resnets.0` ..., and a module over time,
/// `temp_convs.0` ....
pub(super) fn layers_of_block(
    images: &Network,
    d: &mut Declaration<'_>,
    count: usize,
    input: Value,
    outputs: usize,
) -> Built {
    (0..count).try_fold(input, |hidden, i| residual_pair(images, d, i, hidden, outputs))
}

fn residual_pair(images: &Network, d: &mut Declaration<'_>, i: usize, input: Value, outputs: usize) -> Built {
    let hidden = d.scope(&format!("resnets.{i}"), |d| {
        frame_by_frame(d, input, |d, frames| blocks::resnet_block(images, d, frames, outputs))
    })?;
    d.scope(&format!("temp_convs.{i}"), |d| over_time(images.groups, d, hidden, Frames::Kept))
}

/// A pair, attention in each frame, a pair (`AllegroMidBlock3DConv`).
pub(super) fn mid_block(images: &Network, d: &mut Declaration<'_>, input: Value) -> Built {
    let outputs = channels(d, input);
    let hidden = residual_pair(images, d, 0, input, outputs)?;
    let hidden =
        d.scope("attentions.0", |d| frame_by_frame(d, hidden, |d, frames| blocks::attention_block(images, d, frames)))?;
    let output = residual_pair(images, d, 1, hidden, outputs)?;
    d.returns(output);
    Ok(output)
}

/// A 3x3 convolution of each frame, and added to it one over time.
pub(super) fn first_convolutions(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let hidden =
        d.scope("conv_in", |d| frame_by_frame(d, input, |d, frames| blocks::convolution(d, frames, outputs)))?;
    let change = d.scope("temp_conv_in", |d| layers::time_convolution(d, hidden))?;
    d.add(change, hidden)
}

/// A norm and an activation of each frame, a convolution over time that is added, and a 3x3
/// convolution of each frame.
pub(super) fn last_convolutions(config: &Config, d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let images = config.of_images();
    let hidden = frame_by_frame(d, input, |d, frames| {
        let normalized = d.scope("conv_norm_out", |d| blocks::norm(&images, d, frames))?;
        d.scope("conv_act", |d| d.silu(normalized))
    })?;
    let change = d.scope("temp_conv_out", |d| layers::time_convolution(d, hidden))?;
    let hidden = d.add(change, hidden)?;
    d.scope("conv_out", |d| frame_by_frame(d, hidden, |d, frames| blocks::convolution(d, frames, outputs)))
}
