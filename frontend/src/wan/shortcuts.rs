//! Shortcuts without weights around the blocks of a level: what a sampler does, done by moving,
//! averaging and repeating channels.

use ir::rearrange::{CHANNELS_SLOWEST, channel_means, depth_to_space, repeat_channels, space_to_depth};
use ir::{BuildError, PadMode, Value};
use smallvec::smallvec;

use super::blocks::Resampling;
use crate::declaration::Declaration;
use crate::layers::{channels, space};
use crate::step::Position;

/// Frames, rows and columns that become one, or that one becomes.
fn factors(resampling: Option<Resampling>) -> [usize; 3] {
    match resampling {
        None => [1, 1, 1],
        Some(Resampling::Space) => [1, 2, 2],
        Some(Resampling::SpaceAndTime) => [2, 2, 2],
    }
}

/// Blocks of places as channels, of which neighbours are averaged (`AvgDown3D`). Frames that a
/// block lacks are zeros before the first.
pub(super) fn average_down(
    d: &mut Declaration<'_>,
    input: Value,
    resampling: Option<Resampling>,
    outputs: usize,
) -> Result<Value, BuildError> {
    d.scope("avg_shortcut", |d| {
        let factors = factors(resampling);
        let [frames, ..] = space(d, input);
        let missing = frames.next_multiple_of(factors[0]) - frames;
        let mut hidden = input;
        if missing > 0 {
            hidden = d.pad(hidden, smallvec![0, 0, missing, 0, 0], smallvec![0; 5], PadMode::Zero)?;
        }
        if factors != [1, 1, 1] {
            hidden = space_to_depth(d, hidden, factors, CHANNELS_SLOWEST)?;
        }
        let group = channels(d, hidden) / outputs;
        if group > 1 {
            hidden = channel_means(d, hidden, group)?;
        }
        d.returns(hidden);
        Ok(hidden)
    })
}

/// Channels, each repeated as often as it takes, as blocks of places (`DupUp3D`). Of the first
/// frame of a clip the last alone stays.
pub(super) fn duplicate_up(
    d: &mut Declaration<'_>,
    input: Value,
    resampling: Resampling,
    outputs: usize,
) -> Result<Value, BuildError> {
    d.scope("avg_shortcut", |d| {
        let factors = factors(Some(resampling));
        let times = outputs * factors.iter().product::<usize>() / channels(d, input);
        let repeated = if times > 1 { repeat_channels(d, input, times)? } else { input };
        let mut output = depth_to_space(d, repeated, factors, CHANNELS_SLOWEST)?;
        let surplus = factors[0] - 1;
        if d.kind().position != Position::Next && surplus > 0 {
            let limit = d.ty(output).shape.clone();
            output = d.slice(output, smallvec![0, 0, surplus, 0, 0], limit)?;
        }
        d.returns(output);
        Ok(output)
    })
}
