//! Frames that a causal module reaches back to, carried from step to step as its state.

use ir::{Dims, PadMode, Value};
use smallvec::smallvec;

use super::Built;
use crate::declaration::Declaration;

/// Frames that a kernel of 3 reaches back.
pub(crate) const KERNEL_REACH: usize = 2;

/// The time axis of a channel-first video.
const TIME: usize = 2;

/// What a module sees before the first frame of a clip.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FramesBefore {
    /// The first frame again and again.
    First,
    /// Zeros.
    Zeros,
    /// No frames at all: a first step has its own alone.
    None,
}

/// `input` behind the `reach` frames that this module sees before it: those of the state, or at the
/// beginning of a clip what `before` says. The last of all these frames are the new state, `[batch,
/// channel, reach, height, width]`.
pub(crate) fn behind(d: &mut Declaration<'_>, input: Value, reach: usize, before: FramesBefore) -> Built {
    let behind = if d.kind().position.reads_states() {
        let mut ty = d.ty(input).clone();
        ty.shape[TIME] = reach;
        let state = d.state(ty)?;
        d.concatenate(smallvec![state, input], TIME)?
    } else {
        let low = smallvec![0, 0, reach, 0, 0];
        match before {
            FramesBefore::First => d.pad(input, low, smallvec![0; 5], PadMode::Edge)?,
            FramesBefore::Zeros => d.pad(input, low, smallvec![0; 5], PadMode::Zero)?,
            FramesBefore::None => input,
        }
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

/// Leaves zeros as the state of this module, `[batch, channel, reach, height, width]`: what it has
/// seen does not count for later steps.
pub(crate) fn leave_zeros(d: &mut Declaration<'_>, input: Value, reach: usize) -> Result<(), ir::BuildError> {
    let padded = d.pad(input, smallvec![0, 0, reach, 0, 0], smallvec![0; 5], PadMode::Zero)?;
    let mut limit: Dims = d.ty(padded).shape.clone();
    limit[TIME] = reach;
    let zeros = d.slice(padded, smallvec![0; 5], limit)?;
    d.leaves(zeros);
    Ok(())
}
