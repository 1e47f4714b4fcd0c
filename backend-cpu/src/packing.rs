//! The form of a convolution's packed weights, and the part of them that a kernel reads.
//!
//! Where a step has one frame in front of which stand zeros, as at the beginning of a clip, most taps
//! over time see nothing but zeros: of a causal kernel of three all but the last. Such a step is
//! computed with the taps that see something. It does not want weights of its own for that, since
//! they stand in those of the other steps: also where time is transformed, since of F(2, 3)'s four
//! planes over time the first is the first tap, and the last is the last.
//!
//! How weights are packed is in `pack` and `winograd`.

use std::ops::Range;

use crate::blocking::{Algorithm, Problem, TIME_PLANES};

/// How the weights of a convolution are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Packing {
    /// The name of the family whose panels read them.
    pub family: &'static str,
    /// They are transformed as it asks.
    pub algorithm: Algorithm,
    /// The first of the taps over time that are packed, and how many.
    pub taps: [usize; 2],
}

/// Which rows of a panel of packed weights a kernel reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PackedRows {
    /// The first of each plane.
    pub first: usize,
    /// All that a plane has.
    pub of_plane: usize,
}

impl Packing {
    /// The algorithm that computes a convolution with so many taps from `first` on, where these are
    /// packed, and the rows that it reads; none if they are not there by themselves, or the algorithm
    /// does not apply to `problem`, the convolution with these taps alone.
    pub(crate) fn part(&self, problem: &Problem, first: usize) -> Option<(Algorithm, PackedRows)> {
        let [packed_first, packed] = self.taps;
        let [count, height, width] = problem.kernel;
        let first = first.checked_sub(packed_first).filter(|first| first + count <= packed)?;
        let rows = |taps: usize| self.algorithm.taps([taps, height, width]) * self.algorithm.words(problem.inputs);
        let (algorithm, rows) = match self.algorithm.over_space_alone() {
            Some(over_space) if count < packed => {
                // The planes over time that are no mixture of taps.
                let plane = match (count, first) {
                    (1, 0) => 0,
                    (1, 2) => TIME_PLANES - 1,
                    _ => return None,
                };
                let words = self.algorithm.words(problem.inputs);
                (over_space, PackedRows { first: plane * words, of_plane: TIME_PLANES * words })
            }
            Some(_) => (self.algorithm, PackedRows { first: 0, of_plane: rows(packed) }),
            None => (self.algorithm, PackedRows { first: rows(first), of_plane: rows(packed) }),
        };
        algorithm.applies(problem).then_some((algorithm, rows))
    }
}

/// The taps of a kernel over time that see a frame of the input, of a convolution with one frame of
/// result: the others see zeros that stand before or behind. `padding` is how many stand before;
/// all taps if none sees a frame.
pub(crate) fn seen_taps(taps: usize, padding: usize, frames: usize) -> Range<usize> {
    let seen = padding.min(taps)..padding.saturating_add(frames).min(taps);
    if seen.is_empty() { 0..taps } else { seen }
}
