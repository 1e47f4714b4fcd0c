//! Frames that a causal module reaches back to, carried from step to step as its state.

use ir::{Dims, PadMode, Value};
use smallvec::smallvec;

use super::Built;
use crate::declaration::Declaration;

/// Frames that a kernel of 3 reaches back.
pub(crate) const KERNEL_REACH: usize = 2;

/// The time axis of a channel-first video.
const TIME: usize = 2;

/// `input` behind the `reach` frames that this module sees before it: those of the state, or at the beginning of a clip the first
/// frame again. The last of all these frames are the new state, `[batch, channel, reach, height, width]`.
pub(crate) fn behind_first_frame(d: &mut Declaration<'_>, input: Value, reach: usize) -> Built {
    let behind = if d.kind().position.reads_states() {
        let mut ty = d.ty(input).clone();
        ty.shape[TIME] = reach;
        let state = d.state(ty)?;
        d.concatenate(smallvec![state, input], TIME)?
    } else {
        d.pad(input, smallvec![0, 0, reach, 0, 0], smallvec![0; 5], PadMode::Edge)?
    };
    if d.kind().position.leaves_states() {
        let limit: Dims = d.ty(behind).shape.clone();
        let mut start: Dims = smallvec![0; 5];
        start[TIME] = limit[TIME] - reach;
        let state = d.slice(behind, start, limit)?;
        d.leaves(state);
    }
    Ok(behind)
}
