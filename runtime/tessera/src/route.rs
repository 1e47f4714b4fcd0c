//! A clip's way through one half of the model: its frames in steps, its tiles, and their order.
//! Running it is in `clip`.

use std::ops::Range;

use frontend::{Autoencoder, FrameSteps, Half, Step, StepKind};

use crate::error::{Error, Result};
use crate::tiling::Grid;

/// In which order the tiles of a clip's batches of frames run. Both orders give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TileOrder {
    /// All tiles of a batch, then the next batch. Frames leave as their batch is done; every tile's
    /// states are kept.
    FrameMajor,
    /// All batches of a tile, then the next tile. One tile's states are kept; results wait on disk
    /// until all tiles are done.
    TileMajor,
}

/// A clip's way through one half of the model.
#[derive(Debug, Clone)]
pub struct Route {
    /// The half.
    pub half: Half,
    /// [B, C, T, H, W] of the input; none is 0.
    pub shape: [usize; 5],
    /// How its frames fall into steps.
    pub frame_steps: FrameSteps,
    /// Frames at the beginning of its result that go no further.
    pub dropped: usize,
    /// The tiles of its frames.
    pub grid: Grid,
    /// Their order.
    pub order: TileOrder,
    /// Steps that may run at once: of tiles, or of samples where frames go through whole.
    pub workers: usize,
}

impl Route {
    /// The frames of each step of a sample.
    pub fn batches(&self) -> Vec<Range<usize>> {
        self.frame_steps.of_clip(self.shape[2]).collect()
    }

    /// Which kind of step a batch of frames goes through.
    pub(crate) fn kind(&self, batch: usize) -> StepKind {
        StepKind::of_clip(self.half, batch, self.frame_steps.of_clip(self.shape[2]).len())
    }

    /// The step over a batch of frames of one tile.
    pub fn step(&self, batch: usize, (row, column): (usize, usize)) -> Step {
        let frames = self.frame_steps.of_clip(self.shape[2]).nth(batch).map_or(0, |frames| frames.len());
        let kind = self.kind(batch);
        let (height, width) = (self.grid.rows[row].input.len(), self.grid.columns[column].input.len());
        // One sample at a time: group norms gather their statistics within a sample, so this is
        // what the reference computes.
        Step { kind, batch: 1, frames, height, width }
    }

    /// The step whose algorithms the others take: the first over the first tile, which is the
    /// largest.
    pub fn leading_step(&self) -> Step {
        self.step(0, (0, 0))
    }

    /// Frames of the result of the step over a batch of so many frames, with those that are dropped.
    pub fn result_frames(&self, model: &dyn Autoencoder, batch: usize, frames: usize) -> usize {
        model.result_frames(self.kind(batch), frames)
    }

    /// Frames of the results of a batch that are dropped.
    pub(crate) fn dropped(&self, batch: usize) -> usize {
        if batch == 0 { self.dropped } else { 0 }
    }

    /// Video frames of the step over a batch of so many frames of input, without those that are
    /// dropped.
    pub(crate) fn video_frames(&self, model: &dyn Autoencoder, batch: usize, frames: usize) -> usize {
        match self.half {
            Half::Decoder => self.result_frames(model, batch, frames) - self.dropped(batch),
            Half::Encoder => frames,
        }
    }

    /// Copies the window of a tile from whole frames, [planes, H, W], to `to`.
    pub(crate) fn cut(&self, (row, column): (usize, usize), frames: &[f32], to: &mut Vec<f32>) -> Result<()> {
        let (rows, columns) = (&self.grid.rows[row].input, &self.grid.columns[column].input);
        let [.., height, width] = self.shape;
        let planes = frames.len() / (height * width);
        to.clear();
        to.try_reserve_exact(planes * rows.len() * columns.len())
            .map_err(|cause| Error::Memory { step: "a tile's input".into(), problem: cause.to_string() })?;
        for image in frames.chunks_exact(height * width) {
            for line in image.chunks_exact(width).take(rows.end).skip(rows.start) {
                to.extend_from_slice(&line[columns.clone()]);
            }
        }
        Ok(())
    }
}
