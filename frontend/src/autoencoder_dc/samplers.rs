//! Between levels: convolutions that halve or double height and width, with shortcuts around them
//! (`DCDownBlock2d`, `DCUpBlock2d`).

use ir::rearrange::{CHANNELS_SLOWEST, channel_means, depth_to_space, repeat_channels, space_to_depth};
use ir::{BuildError, FirstFrame, Value};

use super::blocks::convolution;
use crate::declaration::Declaration;
use crate::layers::{channels, space};

type Built = Result<Value, BuildError>;

/// Rows and columns that become one, or that one becomes.
const FACTORS: [usize; 3] = [1, 2, 2];
/// Places of such a block.
pub(super) const PLACES: usize = 4;

/// Halves height and width, by blocks of pixels as channels or by the convolution's stride.
pub(super) fn down(
    d: &mut Declaration<'_>,
    input: Value,
    outputs: usize,
    unshuffles: bool,
    has_shortcut: bool,
) -> Built {
    let main = if unshuffles {
        let made = d.scope("conv", |d| convolution(d, input, outputs / PLACES, 1, true))?;
        space_to_depth(d, made, FACTORS, CHANNELS_SLOWEST)?
    } else {
        d.scope("conv", |d| convolution(d, input, outputs, 2, true))?
    };
    let output = if has_shortcut {
        let places = space_to_depth(d, input, FACTORS, CHANNELS_SLOWEST)?;
        let shortcut = means(d, places, outputs)?;
        d.add(main, shortcut)?
    } else {
        main
    };
    d.returns(output);
    Ok(output)
}

/// Doubles height and width, by a resize or by channels as blocks of pixels.
pub(super) fn up(d: &mut Declaration<'_>, input: Value, outputs: usize, resizes: bool, has_shortcut: bool) -> Built {
    let main = if resizes {
        let [frames, height, width] = space(d, input);
        let resized = d.resize_nearest(input, [frames, 2 * height, 2 * width], FirstFrame::Joined)?;
        d.scope("conv", |d| convolution(d, resized, outputs, 1, true))?
    } else {
        let made = d.scope("conv", |d| convolution(d, input, outputs * PLACES, 1, true))?;
        depth_to_space(d, made, FACTORS, CHANNELS_SLOWEST)?
    };
    let output = if has_shortcut {
        let repeated = repeats(d, input, outputs * PLACES)?;
        let shortcut = depth_to_space(d, repeated, FACTORS, CHANNELS_SLOWEST)?;
        d.add(main, shortcut)?
    } else {
        main
    };
    d.returns(output);
    Ok(output)
}

/// Means of neighbouring channels, so many.
pub(super) fn means(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    match channels(d, input) / outputs {
        1 => Ok(input),
        group => channel_means(d, input, group),
    }
}

/// Each channel as often as it takes to have so many.
pub(super) fn repeats(d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    match outputs / channels(d, input) {
        1 => Ok(input),
        times => repeat_channels(d, input, times),
    }
}
