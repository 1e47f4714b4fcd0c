//! Where in a clip a step is, for observers, timelines and messages.

use frontend::Step;

/// Where a step is in a clip.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepPlace {
    /// The sample of the batch.
    pub sample: usize,
    /// The step of the sample, from 0.
    pub step: usize,
    /// The tile of the frames, from 0, row by row.
    pub tile: usize,
}

impl StepPlace {
    /// What `step` is called in messages: `step 0 (decode-first, ...) of sample 0, tile 2`.
    pub(crate) fn describe(self, step: &Step) -> String {
        let Self { sample, step: number, tile } = self;
        format!("step {number} ({step}) of sample {sample}, tile {tile}")
    }
}
