//! A clip's way through one half of the model: its frames in tiles along time and in steps, its
//! tiles in space, and their order. Running it is in `clip`.

use std::ops::Range;

use frontend::{Autoencoder, FrameSteps, Half, Position, Step, StepKind};

use crate::error::{Error, Result};
use crate::frame_tiling::{FrameTile, FrameTiling};
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

/// The frames of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Of the input.
    pub frames: Range<usize>,
    /// What comes of them, in the result of their tile along time, or of the clip where it has
    /// none.
    pub result: Range<usize>,
    /// Where in the tile, or in the clip, they are.
    pub position: Position,
    /// The tile along time that they are of; 0 where there are none.
    pub frame_tile: usize,
}

/// A clip's way through one half of the model.
#[derive(Debug, Clone)]
pub struct Route {
    /// The half.
    pub half: Half,
    /// [B, C, T, H, W] of the input; none is 0.
    pub shape: [usize; 5],
    /// The tiles of its frames.
    pub grid: Grid,
    /// Their order.
    pub order: TileOrder,
    /// Steps that may run at once: of tiles, or of samples where frames go through whole.
    pub workers: usize,
    /// How its frames fall into steps.
    pub frame_steps: FrameSteps,
    /// Frames at the beginning of its result that go no further.
    dropped: usize,
    /// The frames of each step of a sample.
    batches: Vec<Batch>,
    /// The tiles along time; none where the clip goes through as one.
    frame_tiles: Vec<FrameTile>,
}

impl Route {
    /// The way of a clip of this shape, whose frames fall into steps by `frame_steps`, behind being
    /// cut along time by `frame_tiling` if it is; one step at a time.
    ///
    /// # Errors
    /// [`Error::FrameTiling`].
    pub fn new(
        model: &dyn Autoencoder,
        half: Half,
        shape: [usize; 5],
        frame_steps: FrameSteps,
        frame_tiling: Option<FrameTiling>,
        grid: Grid,
        order: TileOrder,
    ) -> Result<Self> {
        let [.., frames, _, _] = shape;
        let frame_tiles = frame_tiling.map_or(Ok(vec![]), |tiling| tiling.tiles(model, half, frames))?;
        let mut batches = vec![];
        if frame_tiles.is_empty() {
            batches_of(model, half, frame_steps, 0..frames, 0, &mut batches);
        }
        for (number, tile) in frame_tiles.iter().enumerate() {
            batches_of(model, half, frame_steps, tile.input.clone(), number, &mut batches);
        }
        Ok(Self { half, shape, grid, order, workers: 1, frame_steps, dropped: 0, batches, frame_tiles })
    }

    /// The same way with so many steps at once.
    #[must_use]
    pub fn with_workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// The same way, of whose result the first frames go no further: fewer than those of its first
    /// step.
    #[must_use]
    pub(crate) fn without_first(self, dropped: usize) -> Self {
        Self { dropped, ..self }
    }

    /// The frames of each step of a sample.
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// The tiles along time; none where the clip goes through as one.
    pub fn frame_tiles(&self) -> &[FrameTile] {
        &self.frame_tiles
    }

    /// The first of all batches that go through steps of the same sizes, for each such size.
    pub(crate) fn distinct_batches(&self) -> Vec<usize> {
        let mut distinct: Vec<usize> = vec![];
        let size = |batch: usize| (self.batches[batch].position, self.batches[batch].frames.len());
        for batch in 0..self.batches.len() {
            if !distinct.iter().any(|&known| size(known) == size(batch)) {
                distinct.push(batch);
            }
        }
        distinct
    }

    /// The step over a batch of frames of one tile.
    pub fn step(&self, batch: usize, (row, column): (usize, usize)) -> Step {
        let Batch { frames, position, .. } = &self.batches[batch];
        let kind = StepKind::new(self.half, *position);
        let (height, width) = (self.grid.rows[row].input.len(), self.grid.columns[column].input.len());
        // One sample at a time: group norms gather their statistics within a sample, so this is
        // what the reference computes.
        Step { kind, batch: 1, frames: frames.len(), height, width }
    }

    /// The step whose algorithms the others take: the first over the first tile, which is the largest,
    /// of those over the most frames, of which a clip has the most.
    pub fn leading_step(&self) -> Step {
        let most = (0..self.batches.len()).map(|batch| self.video_frames(batch)).max();
        let batch = (0..self.batches.len()).find(|&batch| Some(self.video_frames(batch)) == most);
        self.step(batch.unwrap_or(0), (0, 0))
    }

    /// Which call of each module the step over a batch of a tile of this number is, as the
    /// reference makes them: clip by clip, which tiles along time are, and in each those of the
    /// first tile first.
    pub(crate) fn call(&self, batch: usize, tile: usize) -> usize {
        let of = |batch: &Batch| batch.frame_tile;
        let clip = of(&self.batches[batch]);
        let before = self.batches.partition_point(|batch| of(batch) < clip);
        let steps = self.batches.partition_point(|batch| of(batch) <= clip) - before;
        before * self.grid.tiles() + tile * steps + (batch - before)
    }

    /// Whether the step over a batch reads what the one before it left.
    pub(crate) fn reads_states(&self, batch: usize) -> bool {
        self.batches.get(batch).is_some_and(|batch| batch.position.reads_states())
    }

    /// Video frames of the step over a batch.
    pub(crate) fn video_frames(&self, batch: usize) -> usize {
        let Batch { frames, result, .. } = &self.batches[batch];
        match self.half {
            Half::Decoder => result.len(),
            Half::Encoder => frames.len(),
        }
    }

    /// The frames of a batch's result that leave with it, counted as [`Batch::result`] does.
    pub(crate) fn leaving(&self, batch: usize) -> Range<usize> {
        let Batch { result, frame_tile, .. } = &self.batches[batch];
        let dropped = if *frame_tile == 0 { self.dropped } else { 0 };
        let kept = self.frame_tiles.get(*frame_tile).map_or(0..result.end, FrameTile::kept_range);
        let end = result.end.min(kept.end);
        result.start.max(kept.start).max(dropped).min(end)..end
    }

    /// The most frames that leave with a batch.
    pub(crate) fn most_leaving(&self) -> usize {
        (0..self.batches.len()).map(|batch| self.leaving(batch).len()).max().unwrap_or(0)
    }

    /// The last frames of the tile along time of a batch that the next one is blended with.
    pub(crate) fn left_to_next_tile(&self, batch: usize) -> usize {
        self.frame_tiles.get(self.batches[batch].frame_tile + 1).map_or(0, |next| next.blend)
    }

    /// Frames of the video that are done once a batch is and were not before: made, or read.
    pub(crate) fn new_frames(&self, batch: usize) -> usize {
        match self.half {
            Half::Decoder => self.leaving(batch).len(),
            Half::Encoder => self.batches[batch].frames.end.saturating_sub(self.read_before(batch)),
        }
    }

    /// The end of the frames of the input that were read before a batch.
    fn read_before(&self, batch: usize) -> usize {
        let Some(before) = batch.checked_sub(1) else { return 0 };
        let tile_before = self.batches[batch].frame_tile.checked_sub(1);
        let end = tile_before.map_or(0, |tile| self.frame_tiles[tile].input.end);
        self.batches[before].frames.end.max(end)
    }

    /// Frames of the input that a batch has in common with those before it, at most.
    pub(crate) fn shared_frames(&self) -> usize {
        let shared = |batch: usize| self.read_before(batch).saturating_sub(self.batches[batch].frames.start);
        (0..self.batches.len()).map(shared).max().unwrap_or(0)
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

/// Puts the steps of the frames `clip`, which are a clip of their own, behind `batches`.
fn batches_of(
    model: &dyn Autoencoder,
    half: Half,
    frame_steps: FrameSteps,
    clip: Range<usize>,
    frame_tile: usize,
    batches: &mut Vec<Batch>,
) {
    let steps = frame_steps.of_clip(clip.len());
    let (count, mut made) = (steps.len(), 0);
    for (number, frames) in steps.enumerate() {
        let kind = StepKind::of_clip(half, number, count);
        let result = made..made + model.result_frames(kind, frames.len());
        made = result.end;
        let frames = clip.start + frames.start..clip.start + frames.end;
        batches.push(Batch { frames, result, position: kind.position, frame_tile });
    }
}

#[cfg(test)]
mod tests {
    use frontend::SurplusFrame;

    use super::*;
    use crate::framewise::Framewise;

    fn route(model: &dyn Autoencoder, half: Half, frames: usize, tiling: Option<FrameTiling>) -> Route {
        let shape = [1, model.input_channels(half), frames, 16, 16];
        let grid = Grid::whole(model, half, 16, 16);
        Route::new(model, half, shape, model.frame_steps(half), tiling, grid, TileOrder::FrameMajor).unwrap()
    }

    #[test]
    fn tiles_along_time_are_clips_of_their_own() {
        let model = Framewise::new(SurplusFrame::First, false);
        let tiling = FrameTiling { frames: 16, stride: 8 };
        let route = route(&model, Half::Decoder, 9, Some(tiling));
        let batches = route.batches().iter();
        let found: Vec<_> = batches.map(|b| (b.frames.clone(), b.result.clone(), b.position, b.frame_tile)).collect();
        let (first, next, whole) = (Position::First, Position::Next, Position::Whole);
        assert_eq!(
            found,
            [
                (0..3, 0..9, first, 0),
                (3..5, 9..17, next, 0),
                (2..5, 0..9, first, 1),
                (5..7, 9..17, next, 1),
                (4..7, 0..9, first, 2),
                (7..9, 9..17, next, 2),
                (6..9, 0..9, whole, 3)
            ]
        );
        // 9 and then 8 each; of the last tile 8, of which all leave.
        let leaving: Vec<_> = (0..7).map(|batch| route.leaving(batch)).collect();
        assert_eq!(leaving, [0..9, 9..9, 1..9, 9..9, 1..9, 9..9, 1..9]);
        assert_eq!((0..7).map(|batch| route.new_frames(batch)).sum::<usize>(), 33);
        assert_eq!((0..7).map(|batch| route.call(batch, 0)).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!((route.distinct_batches(), route.shared_frames()), (vec![0, 1, 6], 3));
    }
}
