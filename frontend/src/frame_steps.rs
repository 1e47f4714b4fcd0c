//! How the frames of a clip fall into steps, and where else they may be cut.

use std::ops::Range;

use crate::step::Position;

/// Where a half may cut a clip along time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameSteps {
    /// Steps of so many frames; what is left over joins the first. Cut elsewhere, a clip gives
    /// other numbers: norms gather their statistics over a step's frames.
    Fixed {
        /// Frames of a step.
        frames: usize,
    },
    /// A first step of `first` frames, then steps of some units each, and the same numbers however
    /// many units go into one. Frames behind the last whole unit are not read.
    Free {
        /// Frames of the first step.
        first: usize,
        /// Frames that are not cut apart.
        unit: usize,
        /// Frames of a step: a multiple of the unit.
        frames: usize,
    },
    /// A first step of `first` frames, then steps of so many, the last of what whole units are left.
    /// Cut elsewhere, a clip gives other numbers: norms gather their statistics over a step's frames.
    /// Frames behind the last whole unit are not read.
    Chunks {
        /// Frames of the first step.
        first: usize,
        /// Frames that are not cut apart.
        unit: usize,
        /// Frames of a step: a multiple of the unit.
        frames: usize,
    },
    /// Steps of some units each, and the same numbers however many units go into one; the last may
    /// end within a unit, which the model fills up.
    Ragged {
        /// Frames that are not cut apart.
        unit: usize,
        /// Frames of a step: a multiple of the unit.
        frames: usize,
    },
    /// Steps of so many frames, the last of what is left, each as if it were a clip of its own. So
    /// many are usual: in the reference, too, the caller says how many, and norms gather their
    /// statistics over them.
    Parts {
        /// Frames of a step.
        frames: usize,
    },
    /// All frames in one step.
    Whole,
    /// All frames in one step: the first one, and then whole units. Frames behind the last whole
    /// unit are not read.
    WholeUnits {
        /// Frames that are not cut apart.
        unit: usize,
        /// Whether the clip may be cut behind its first frame and between units, and gives the same
        /// numbers.
        streams: bool,
    },
    /// All frames in one step, in whole units from the first on. Frames behind the last whole unit
    /// are not read.
    Units {
        /// Frames that are not cut apart.
        unit: usize,
    },
}

impl FrameSteps {
    /// Frames of a step that is neither the first nor the last; `None` where there is but one.
    pub fn usual(self) -> Option<usize> {
        match self {
            Self::Fixed { frames }
            | Self::Free { frames, .. }
            | Self::Chunks { frames, .. }
            | Self::Ragged { frames, .. }
            | Self::Parts { frames } => Some(frames),
            Self::Whole | Self::WholeUnits { .. } | Self::Units { .. } => None,
        }
    }

    /// Whether a clip is never cut.
    pub fn is_whole(self) -> bool {
        matches!(self, Self::Whole | Self::WholeUnits { streams: false, .. } | Self::Units { .. })
    }

    /// Where in a clip the step is that comes first, where the clip is as long as may be.
    pub fn first(self) -> Position {
        match self {
            Self::Whole | Self::WholeUnits { .. } | Self::Units { .. } => Position::Whole,
            Self::Fixed { .. } | Self::Free { .. } | Self::Chunks { .. } | Self::Ragged { .. } | Self::Parts { .. } => {
                Position::First
            }
        }
    }

    /// The most frames that a step of a clip has: of so many frames, where one step takes them all.
    pub fn most(self, clip: usize) -> usize {
        match self {
            Self::Fixed { frames } => (2 * frames - 1).min(clip),
            Self::Free { first, frames, .. } | Self::Chunks { first, frames, .. } => first.max(frames).min(clip),
            Self::Ragged { frames, .. } | Self::Parts { frames } => frames.min(clip),
            Self::Whole | Self::WholeUnits { .. } | Self::Units { .. } => clip,
        }
    }

    /// The same with so many frames a step, where that gives the same numbers, and they are whole
    /// units, or where how many they are is the caller's to say.
    pub fn with_frames(self, frames: usize) -> Option<Self> {
        match self {
            Self::Free { first, unit, .. } if frames > 0 && frames.is_multiple_of(unit) => {
                Some(Self::Free { first, unit, frames })
            }
            Self::Ragged { unit, .. } if frames > 0 && frames.is_multiple_of(unit) => {
                Some(Self::Ragged { unit, frames })
            }
            Self::WholeUnits { unit, streams: true } if frames > 0 && frames.is_multiple_of(unit) => {
                Some(Self::Free { first: 1, unit, frames })
            }
            Self::Parts { .. } if frames > 0 => Some(Self::Parts { frames }),
            Self::Free { .. }
            | Self::Fixed { .. }
            | Self::Chunks { .. }
            | Self::Ragged { .. }
            | Self::Parts { .. }
            | Self::Whole
            | Self::WholeUnits { .. }
            | Self::Units { .. } => None,
        }
    }

    /// The same in steps of twice as many frames, where how many they are is nobody's to say and gives
    /// the same numbers.
    pub fn doubled(self) -> Option<Self> {
        match self {
            Self::Free { frames, .. } | Self::Ragged { frames, .. } => {
                frames.checked_mul(2).and_then(|frames| self.with_frames(frames))
            }
            Self::Fixed { .. }
            | Self::Chunks { .. }
            | Self::Parts { .. }
            | Self::Whole
            | Self::WholeUnits { .. }
            | Self::Units { .. } => None,
        }
    }

    /// The frames of each step of a clip: of 13 in fixed steps of 2, they are 3 + 2 + 2 + 2 + 2 +
    /// 2; without frames there are none.
    pub fn of_clip(self, clip: usize) -> ClipSteps {
        let (first, each, clip) = match self {
            Self::Fixed { frames } => (frames + clip % frames, frames, clip),
            Self::Free { first, unit, frames } | Self::Chunks { first, unit, frames } => {
                (first, frames, first.min(clip) + clip.saturating_sub(first) / unit * unit)
            }
            Self::Parts { frames } => (frames.min(clip), frames, clip),
            Self::Ragged { frames, .. } => (frames, frames, clip),
            Self::Whole => (clip, clip.max(1), clip),
            Self::WholeUnits { unit, .. } => {
                let read = clip.min(1) + clip.saturating_sub(1) / unit * unit;
                (read, read.max(1), read)
            }
            Self::Units { unit } => {
                let read = clip / unit * unit;
                (read, read.max(1), read)
            }
        };
        ClipSteps { clip, first, each, front: 0, back: count(clip, first, each) }
    }
}

/// How many steps a clip has.
fn count(clip: usize, first: usize, each: usize) -> usize {
    if clip == 0 { 0 } else { 1 + clip.saturating_sub(first).div_ceil(each) }
}

/// The frames of each step of a clip, in order.
#[derive(Clone, Debug)]
pub struct ClipSteps {
    /// Frames that steps read.
    clip: usize,
    first: usize,
    each: usize,
    front: usize,
    back: usize,
}

impl Iterator for ClipSteps {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        self.nth(0)
    }

    fn nth(&mut self, skipped: usize) -> Option<Range<usize>> {
        let step = self.front.saturating_add(skipped);
        self.front = step.saturating_add(1).min(self.back);
        let start = |step: usize| match step {
            0 => 0,
            _ => self.first + self.each * (step - 1),
        };
        (step < self.back).then(|| {
            start(step)..self.clip.min(start(step).saturating_add(if step == 0 { self.first } else { self.each }))
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.back - self.front;
        (left, Some(left))
    }
}

impl ExactSizeIterator for ClipSteps {}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED: FrameSteps = FrameSteps::Fixed { frames: 2 };
    const FREE: FrameSteps = FrameSteps::Free { first: 1, unit: 4, frames: 8 };

    fn lengths(steps: FrameSteps, clip: usize) -> Vec<usize> {
        steps.of_clip(clip).map(|step| step.len()).collect()
    }

    #[test]
    fn what_is_left_over_joins_a_fixed_first_step() {
        assert_eq!(lengths(FIXED, 13), [3, 2, 2, 2, 2, 2]);
        assert_eq!(lengths(FIXED, 1), [1]);
        assert_eq!(lengths(FIXED, 4), [2, 2]);
        let eight = FrameSteps::Fixed { frames: 8 };
        for (clip, steps) in
            [(9, vec![9]), (12, vec![12]), (17, vec![9, 8]), (5, vec![5]), (0, vec![]), (23, vec![15, 8])]
        {
            assert_eq!(lengths(eight, clip), steps);
        }
        assert_eq!(eight.of_clip(23).collect::<Vec<_>>(), [0..15, 15..23]);
        assert_eq!((FIXED.usual(), FIXED.most(100), FIXED.most(2), FIXED.with_frames(4)), (Some(2), 3, 2, None));
    }

    #[test]
    fn free_steps_are_whole_units_behind_the_first_frame() {
        assert_eq!(lengths(FREE, 1), [1]);
        assert_eq!(lengths(FREE, 4), [1]);
        assert_eq!(lengths(FREE, 9), [1, 8]);
        assert_eq!(lengths(FREE, 24), [1, 8, 8, 4]);
        let small = FREE.with_frames(4).unwrap();
        assert_eq!(small, FrameSteps::Free { first: 1, unit: 4, frames: 4 });
        assert_eq!(lengths(small, 24), [1, 4, 4, 4, 4, 4]);
        assert_eq!((FREE.with_frames(6), FREE.with_frames(0), FrameSteps::Whole.with_frames(4)), (None, None, None));
        assert_eq!(small.doubled(), Some(FREE));
        assert_eq!((FIXED.doubled(), FrameSteps::WholeUnits { unit: 4, streams: true }.doubled()), (None, None));
        let long = FREE.with_frames(usize::MAX / 4 * 4).unwrap();
        assert_eq!(long.doubled(), None);
        assert_eq!((lengths(long, 24), long.most(24)), (vec![1, 20], 24));
        assert_eq!(FREE.most(100), 8);
    }

    #[test]
    fn chunks_are_cut_as_free_steps_and_cannot_be_cut_otherwise() {
        let chunks = FrameSteps::Chunks { first: 1, unit: 2, frames: 4 };
        for (clip, steps) in [(1, vec![1]), (2, vec![1]), (8, vec![1, 4, 2]), (9, vec![1, 4, 4])] {
            assert_eq!(lengths(chunks, clip), steps);
        }
        assert_eq!((chunks.usual(), chunks.most(9), chunks.with_frames(2)), (Some(4), 4, None));
    }

    #[test]
    fn whole_units_are_one_step_unless_they_may_be_cut() {
        let units = |streams| FrameSteps::WholeUnits { unit: 8, streams };
        for streams in [true, false] {
            for (clip, steps) in [(0, vec![]), (1, vec![1]), (8, vec![1]), (9, vec![9]), (24, vec![17])] {
                assert_eq!(lengths(units(streams), clip), steps, "{clip}");
            }
            assert_eq!((units(streams).usual(), units(streams).most(24)), (None, 24));
        }
        assert_eq!(units(true).with_frames(16), Some(FrameSteps::Free { first: 1, unit: 8, frames: 16 }));
        assert_eq!((units(true).with_frames(4), units(false).with_frames(8)), (None, None));
    }

    #[test]
    fn units_are_one_step_from_the_first_frame_on() {
        let units = FrameSteps::Units { unit: 4 };
        for (clip, steps) in [(0, vec![]), (3, vec![]), (4, vec![4]), (11, vec![8])] {
            assert_eq!(lengths(units, clip), steps, "{clip}");
        }
        assert_eq!((units.usual(), units.most(24), units.with_frames(4), units.is_whole()), (None, 24, None, true));
    }

    #[test]
    fn what_is_left_over_of_parts_is_the_last() {
        let parts = FrameSteps::Parts { frames: 14 };
        for (clip, steps) in [(0, vec![]), (1, vec![1]), (14, vec![14]), (25, vec![14, 11]), (28, vec![14, 14])] {
            assert_eq!(lengths(parts, clip), steps);
        }
        let smaller = parts.with_frames(8).unwrap();
        assert_eq!((lengths(smaller, 25), smaller.most(5), smaller.most(25)), (vec![8, 8, 8, 1], 5, 8));
        assert_eq!((parts.usual(), parts.with_frames(0)), (Some(14), None));
    }

    #[test]
    fn a_ragged_clip_ends_anywhere() {
        let ragged = FrameSteps::Ragged { unit: 4, frames: 8 };
        for (clip, steps) in [(0, vec![]), (1, vec![1]), (8, vec![8]), (17, vec![8, 8, 1])] {
            assert_eq!(lengths(ragged, clip), steps);
        }
        assert_eq!(lengths(ragged.with_frames(4).unwrap(), 9), [4, 4, 1]);
        assert_eq!((ragged.with_frames(0), ragged.with_frames(6), ragged.usual()), (None, None, Some(8)));
        assert_eq!((ragged.most(5), ragged.most(100)), (5, 8));
    }

    #[test]
    fn steps_cover_every_clip_without_gaps() {
        for clip in 1..100 {
            let parts = FrameSteps::Parts { frames: 3 };
            for (steps, read) in
                [(FIXED, clip), (FREE, 1 + (clip - 1) / 4 * 4), (parts, clip), (FrameSteps::Whole, clip)]
            {
                assert_eq!(steps.of_clip(clip).flatten().collect::<Vec<_>>(), (0..read).collect::<Vec<_>>());
                assert!(steps.of_clip(clip).all(|step| step.len() <= steps.most(clip)));
            }
        }
        assert_eq!(FrameSteps::Whole.of_clip(0).len(), 0);
        assert_eq!(FIXED.of_clip(usize::MAX).len(), usize::MAX / 2);
        assert_eq!(FIXED.of_clip(usize::MAX).nth(1), Some(3..5));
    }
}
