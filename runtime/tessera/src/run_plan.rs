//! How a call would go, for those who want to know before it runs: its tiles and steps, what memory
//! it will need. Deciding that is in `memory_plan`.

use frontend::Step;
use media::ClipShape;

use crate::route::Route;
use crate::tiling_decision::TilingDecision;

/// How a call of one half would go.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RunPlan {
    /// The shape of what comes of it: frames, or moments.
    pub result: ClipShape,
    /// How frames are cut into tiles, why, and what memory that is expected to need.
    pub tiling: TilingDecision,
    /// Distinct steps, in the order in which they are first run, and how often each runs for all
    /// samples together.
    pub steps: Vec<(Step, usize)>,
    /// Steps that run at once; see [`crate::Parallel`].
    pub workers: usize,
}

impl RunPlan {
    pub(crate) fn of(route: &Route, tiling: TilingDecision, result: ClipShape) -> Self {
        let mut steps: Vec<(Step, usize)> = vec![];
        let tiles = || (0..route.grid.rows.len()).flat_map(|row| (0..route.grid.columns.len()).map(move |c| (row, c)));
        for step in (0..route.batches().len()).flat_map(|batch| tiles().map(move |tile| route.step(batch, tile))) {
            match steps.iter_mut().find(|(known, _)| *known == step) {
                Some((_, runs)) => *runs += route.shape[0],
                None => steps.push((step, route.shape[0])),
            }
        }
        Self { result, tiling, steps, workers: route.workers }
    }
}
