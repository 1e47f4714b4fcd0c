//! A clip through its steps: each sample of a batch from its first frames to its last, with what one step leaves to the next;
//! tile by tile where frames are tiled. The same for both halves and for every engine.
//!
//! Samples and tiles come one after the other, or as many at once as there are lanes. Results leave in the same order.
//!
//! Which tiles there are is in [`crate::tiling`], how they are blended in `blend`.

use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use frontend::{Config, Half, Step, StepKind, decode_batches, encode_batches};

use crate::blend::Blender;
use crate::engine::{Engine, Work};
use crate::error::{Error, Result};
use crate::observer::{Observer, Progress, StepPlace, Tap};
use crate::source::{Replay, Source};
use crate::spill::Spill;
use crate::steps::Steps;
use crate::tiling::Grid;

/// In which order the tiles of a clip's batches of frames run. Both orders give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TileOrder {
    /// All tiles of a batch, then the next batch. Frames leave as their batch is done; every tile's states are kept.
    FrameMajor,
    /// All batches of a tile, then the next tile. One tile's states are kept; results wait on disk until all tiles are done.
    TileMajor,
}

/// A clip's way through one half of the model.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// The half.
    pub half: Half,
    /// [B, C, T, H, W] of the input; none is 0.
    pub shape: [usize; 5],
    /// The tiles of its frames.
    pub grid: Grid,
    /// Their order.
    pub order: TileOrder,
    /// Steps that may run at once: of tiles, or of samples where frames go through whole.
    pub lanes: usize,
}

impl Route {
    /// The frames of each step of a sample.
    pub(crate) fn batches(&self) -> Vec<Range<usize>> {
        match self.half {
            Half::Decoder => decode_batches(self.shape[2]).collect(),
            Half::Encoder => encode_batches(self.shape[2]).collect(),
        }
    }

    /// The step over a batch of frames of one tile.
    pub(crate) fn step(&self, batch: usize, frames: usize, (row, column): (usize, usize)) -> Step {
        let kind = match (self.half, batch) {
            (Half::Decoder, _) if frames == self.shape[2] => StepKind::DecodeWhole,
            (Half::Decoder, 0) => StepKind::DecodeFirst,
            (Half::Decoder, _) => StepKind::DecodeNext,
            (Half::Encoder, _) if frames == self.shape[2] => StepKind::EncodeWhole,
            (Half::Encoder, 0) => StepKind::EncodeFirst,
            (Half::Encoder, _) => StepKind::EncodeNext,
        };
        let (height, width) = (self.grid.rows[row].input.len(), self.grid.columns[column].input.len());
        // One sample at a time: group norms gather their statistics within a sample, so this is what the reference computes.
        Step { kind, batch: 1, frames, height, width }
    }

    /// The step whose algorithms the others take: the first over the first tile, which is the largest.
    pub(crate) fn leading_step(&self) -> Step {
        let frames = self.batches().first().map_or(0, ExactSizeIterator::len);
        self.step(0, frames, (0, 0))
    }

    /// Frames of the result of a step over so many frames.
    pub(crate) fn result_frames(&self, config: &Config, frames: usize) -> usize {
        match self.half {
            Half::Decoder => config.decoded_step_frames(frames),
            Half::Encoder => config.encoded_step_frames(frames),
        }
    }

    /// Video frames of a step over so many frames of input.
    fn video_frames(&self, config: &Config, frames: usize) -> usize {
        match self.half {
            Half::Decoder => config.decoded_step_frames(frames),
            Half::Encoder => frames,
        }
    }

    /// Channels of the result.
    pub(crate) fn result_channels(&self, config: &Config) -> usize {
        match self.half {
            Half::Decoder => config.out_channels,
            Half::Encoder => 2 * config.latent_channels,
        }
    }

    /// Copies the window of a tile from whole frames, [planes, H, W], to `to`.
    fn cut(&self, (row, column): (usize, usize), frames: &[f32], to: &mut Vec<f32>) -> Result<()> {
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

/// Runs every step of a clip. `sink` gets each batch's result, [1, C, T, H, W], with the number of its sample, in order.
///
/// # Errors
/// [`Error::Interrupted`] if the observer breaks; what `source`, `sink` or the observer return; what declaring, compiling,
/// binding or running a step reports; [`files::Error::Spill`] if results cannot wait on disk.
pub(crate) fn run<E: Engine>(
    steps: &mut Steps<'_, E>,
    config: &Config,
    route: &Route,
    source: &mut dyn Source,
    sink: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    observer: &mut dyn Observer,
) -> Result<()> {
    let batches = route.batches();
    let frames: usize = batches.iter().map(|batch| route.video_frames(config, batch.len())).sum();
    let area = |(row, column): (usize, usize)| {
        (route.grid.rows[row].input.len() * route.grid.columns[column].input.len()) as f64
    };
    let mut passage = Passage {
        steps,
        observer,
        config,
        route,
        batches: &batches,
        tile: 0,
        frames_done: 0,
        frames_total: route.shape[0] * frames,
        work_done: 0.0,
        work_total: (route.shape[0] * frames) as f64 * route.grid.places().map(area).sum::<f64>(),
    };
    if route.grid.tiles() == 1 {
        // Of a source that streams, samples come one after the other.
        let at_once = if source.is_random_access() { route.lanes } else { 1 };
        for first in (0..route.shape[0]).step_by(at_once) {
            passage.untiled(first..route.shape[0].min(first + at_once), source, sink)?;
        }
        return passage.done();
    }
    for sample in 0..route.shape[0] {
        match route.order {
            TileOrder::FrameMajor => passage.frame_major(sample, source, sink)?,
            TileOrder::TileMajor => passage.tile_major(sample, source, sink)?,
        }
    }
    passage.done()
}

/// A clip that is on its way.
struct Passage<'a, 'b, E: Engine> {
    steps: &'a mut Steps<'b, E>,
    observer: &'a mut dyn Observer,
    config: &'a Config,
    route: &'a Route,
    batches: &'a [Range<usize>],
    /// The first tile of those that run.
    tile: usize,
    frames_done: usize,
    frames_total: usize,
    /// Of steps that ran: the video frames of each times the area of its input.
    work_done: f64,
    work_total: f64,
}

/// Which step runs.
#[derive(Clone, Copy)]
struct Place {
    sample: usize,
    batch: usize,
    /// Row and column.
    tile: (usize, usize),
}

impl<E: Engine> Passage<'_, '_, E> {
    /// Runs samples at once. Results of the first leave as they come, those of others wait on disk until it is their turn.
    fn untiled(
        &mut self,
        samples: Range<usize>,
        source: &mut dyn Source,
        sink: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let mut frames = vec![vec![]; samples.len()];
        let mut states: Vec<_> = samples.clone().map(|_| E::States::default()).collect();
        let mut waiting = if samples.len() > 1 { Some(Spill::new()?) } else { None };
        for batch in 0..self.batches.len() {
            for (sample, frames) in samples.clone().zip(&mut frames) {
                source.load(sample, &self.batches[batch], frames)?;
            }
            let places: Vec<_> = samples.clone().map(|sample| Place { sample, batch, tile: (0, 0) }).collect();
            let outputs = self.run(&places, &frames, &mut states)?;
            for (sample, result) in samples.clone().zip(&outputs) {
                match &mut waiting {
                    Some(waiting) if sample > samples.start => waiting.push(result)?,
                    _ => sink(sample, result)?,
                }
            }
            self.batch_done(batch);
        }
        let Some(mut waiting) = waiting else { return Ok(()) };
        let (others, mut result) = (samples.len() - 1, vec![]);
        for (sample, place) in samples.skip(1).zip(0..) {
            for batch in 0..self.batches.len() {
                self.tell()?;
                waiting.read(batch * others + place, &mut result)?;
                sink(sample, &result)?;
                self.batch_done(batch);
            }
        }
        Ok(())
    }

    fn frame_major(
        &mut self,
        sample: usize,
        source: &mut dyn Source,
        sink: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let (mut frames, mut windows) = (vec![], vec![vec![]; self.route.lanes]);
        let mut blender = Blender::new(&self.route.grid);
        let tiles: Vec<_> = self.route.grid.places().collect();
        let mut states: Vec<_> = tiles.iter().map(|_| E::States::default()).collect();
        for batch in 0..self.batches.len() {
            source.load(sample, &self.batches[batch], &mut frames)?;
            self.start(&mut blender, batch)?;
            for (tiles, states) in tiles.chunks(self.route.lanes).zip(states.chunks_mut(self.route.lanes)) {
                let mut results = self.tiles(sample, batch, tiles, &frames, &mut windows, states)?;
                for (&(row, column), result) in tiles.iter().zip(&mut results) {
                    blender.add(row, column, result);
                }
            }
            sink(sample, blender.frames())?;
            self.batch_done(batch);
        }
        Ok(())
    }

    fn tile_major(
        &mut self,
        sample: usize,
        source: &mut dyn Source,
        sink: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let mut results = Spill::new()?;
        self.tiles_to_disk(sample, source, &mut results)?;
        let mut blender = Blender::new(&self.route.grid);
        let mut result = vec![];
        let (tiles, lanes, batches) = (self.route.grid.tiles(), self.route.lanes, self.batches.len());
        for batch in 0..batches {
            self.start(&mut blender, batch)?;
            for (number, (row, column)) in self.route.grid.places().enumerate() {
                let first = number / lanes * lanes;
                let at_once = lanes.min(tiles - first);
                results.read(first * batches + batch * at_once + (number - first), &mut result)?;
                blender.add(row, column, &mut result);
            }
            sink(sample, blender.frames())?;
            self.batch_done(batch);
        }
        Ok(())
    }

    /// Runs every batch of as many tiles as there are lanes, then of the next ones; results go to `results` as they come.
    fn tiles_to_disk(&mut self, sample: usize, source: &mut dyn Source, results: &mut Spill) -> Result<()> {
        let (mut frames, mut windows) = (vec![], vec![vec![]; self.route.lanes]);
        let mut source = Replay::new(source, sample, self.batches)?;
        let tiles: Vec<_> = self.route.grid.places().collect();
        for tiles in tiles.chunks(self.route.lanes) {
            let mut states: Vec<_> = tiles.iter().map(|_| E::States::default()).collect();
            for batch in 0..self.batches.len() {
                source.load(batch, &mut frames)?;
                for result in &self.tiles(sample, batch, tiles, &frames, &mut windows, &mut states)? {
                    results.push(result)?;
                }
            }
        }
        Ok(())
    }

    /// Runs one batch of tiles at once, cut from whole `frames`.
    fn tiles(
        &mut self,
        sample: usize,
        batch: usize,
        tiles: &[(usize, usize)],
        frames: &[f32],
        windows: &mut [Vec<f32>],
        states: &mut [E::States],
    ) -> Result<Vec<E::Buffer>> {
        for (&tile, window) in tiles.iter().zip(&mut *windows) {
            self.route.cut(tile, frames, window)?;
        }
        let places: Vec<_> = tiles.iter().map(|&tile| Place { sample, batch, tile }).collect();
        self.run(&places, &windows[..tiles.len()], states)
    }

    /// Makes room for a batch's frames.
    fn start(&self, blender: &mut Blender<'_>, batch: usize) -> Result<()> {
        let frames = self.route.result_frames(self.config, self.batches[batch].len());
        let planes = self.route.result_channels(self.config) * frames;
        blender
            .start(planes)
            .map_err(|cause| Error::Memory { step: "the frames of a step".into(), problem: cause.to_string() })
    }

    /// Runs steps of one batch at once and shows them to the observer; `states` becomes what they leave. Returns their results.
    fn run(&mut self, places: &[Place], inputs: &[Vec<f32>], states: &mut [E::States]) -> Result<Vec<E::Buffer>> {
        let step = |&Place { batch, tile, .. }: &Place| self.route.step(batch, self.batches[batch].len(), tile);
        let steps: Vec<Step> = places.iter().map(step).collect();
        let video = |step: &Step| (self.route.video_frames(self.config, step.frames) * step.height * step.width) as f64;
        let work: f64 = steps.iter().map(video).sum();
        let observer = &mut *self.observer;
        self.steps.prepare(&steps, &mut |preparation| observer.preparing(preparation))?;
        let number = |(row, column): (usize, usize)| row * self.route.grid.columns.len() + column;
        self.tile = places.first().map_or(0, |place| number(place.tile));
        let (tile, tiles) = (self.tile, self.route.grid.tiles());
        let run_before = self.steps.account().run;
        let mut started = None;
        let (frames_done, frames_total) = (self.frames_done, self.frames_total);
        let mut observe = |step_share: f64| {
            let run = run_before + started.get_or_insert_with(Instant::now).elapsed();
            let share = (self.work_done + step_share * work) / self.work_total;
            let seconds_left = seconds_left(run, share);
            observer.progress(&Progress { frames_done, frames_total, tile, tiles, step_share, share, seconds_left })
        };
        let step_place = |&Place { sample, batch, tile }: &Place| StepPlace { sample, step: batch, tile: number(tile) };
        let to_run = steps.iter().zip(places).zip(inputs).zip(&mut *states);
        let to_run = to_run.map(|(((&step, place), input), states)| Work {
            step,
            place: step_place(place),
            input,
            states: std::mem::take(states),
        });
        let outputs = self.steps.run(to_run.collect(), &mut observe)?;
        self.work_done += work;
        let mut results = vec![];
        for ((&Place { sample, batch, tile }, output), states) in places.iter().zip(outputs).zip(states) {
            let tile = number(tile);
            for (module, ty, data) in &output.taps {
                self.observer.tap(&Tap { sample, step: batch, tile, module, ty, data })?;
            }
            // Behind the last batch nobody reads them.
            if batch + 1 < self.batches.len() {
                *states = output.states;
            }
            results.push(output.result);
        }
        Ok(results)
    }

    /// Shows the observer how far the clip is, between steps.
    fn tell(&mut self) -> Result<()> {
        let (frames_done, frames_total) = (self.frames_done, self.frames_total);
        let share = self.work_done / self.work_total;
        let seconds_left = seconds_left(self.steps.account().run, share);
        let (tile, tiles) = (self.tile, self.route.grid.tiles());
        let now = Progress { frames_done, frames_total, tile, tiles, step_share: 0.0, share, seconds_left };
        match self.observer.progress(&now) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Interrupted),
        }
    }

    /// The frames of a batch have gone to the sink.
    fn batch_done(&mut self, batch: usize) {
        self.frames_done += self.route.video_frames(self.config, self.batches[batch].len());
    }

    /// Tells the observer that all is done.
    fn done(mut self) -> Result<()> {
        (self.work_done, self.work_total) = (1.0, 1.0);
        self.tell()
    }
}

/// How long the rest takes, if the share `done` took so long.
fn seconds_left(run: Duration, done: f64) -> Option<f64> {
    (done > 0.0).then(|| run.as_secs_f64() * (1.0 - done) / done)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use backend_cpu::isa::Isa;
    use backend_cpu::options::Choices;
    use backend_cpu::weights::Weights;
    use passes::Precision;

    use super::*;
    use crate::demo;
    use crate::engine::CpuEngine;
    use crate::options::RunOptions;
    use crate::parameters::Parameters;
    use crate::source::{InMemory, Stream};
    use crate::tiling::{Overlap, Tiling};

    /// Values in [-1, 1] that repeat late.
    fn noise(elements: usize) -> Vec<f32> {
        (0..elements as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    /// What comes out of the demo's model, sample by sample, and how many steps ran.
    fn outputs(route: &Route, source: &mut dyn Source) -> (Vec<(usize, Vec<f32>)>, usize) {
        let config = demo::config().unwrap();
        let checkpoint = Arc::new(demo::checkpoint().unwrap());
        let weights = Weights::new(Arc::new(Parameters(checkpoint.clone())));
        let options = RunOptions::default();
        let engine = CpuEngine::new(Isa::probe().into(), &options, &weights, &checkpoint, Choices::default());
        let mut steps = Steps::new(&config, &options, engine, 3, route.lanes).unwrap();
        let mut found = vec![];
        let mut sink = |sample, data: &[f32]| {
            found.push((sample, data.to_vec()));
            Ok(())
        };
        run(&mut steps, &config, route, source, &mut sink, &mut ()).unwrap();
        (found, steps.account().program_runs)
    }

    /// Both orders, in one lane and in several, of frames in memory and of frames that come once.
    fn check_orders(half: Half, shape: [usize; 5], tiles: usize) {
        let config = demo::config().unwrap();
        let tiling = Tiling { height: 32, width: 40, overlap: Overlap { height: 0.25, width: 0.2 } };
        let grid = tiling.grid(&config, half, shape[3], shape[4]).unwrap();
        assert_eq!(grid.tiles(), tiles);
        let route = |order, lanes| Route { half, shape, grid: grid.clone(), order, lanes };
        let data = noise(shape.iter().product());
        let [batch, channels, frames, height, width] = shape;
        let batches = route(TileOrder::FrameMajor, 1).batches();
        let mut expected: Option<Vec<(usize, Vec<f32>)>> = None;
        let (frames_first, tiles_first) = (TileOrder::FrameMajor, TileOrder::TileMajor);
        for (order, lanes, streams) in
            [(frames_first, 1, false), (tiles_first, 1, true), (frames_first, 2, true), (tiles_first, 4, false)]
        {
            let mut given = vec![0; batch];
            let mut next = |sample: usize, count: usize| {
                let planes =
                    (0..channels).flat_map(|c| (given[sample]..given[sample] + count).map(move |t| c * frames + t));
                let plane = height * width;
                let start = sample * channels * frames;
                let taken = planes.flat_map(|p| data[(start + p) * plane..][..plane].iter().copied()).collect();
                given[sample] += count;
                Ok(taken)
            };
            let source: &mut dyn Source = match streams {
                false => &mut InMemory { data: &data, shape },
                true => &mut Stream { next: &mut next, shape },
            };
            let (found, runs) = outputs(&route(order, lanes), source);
            assert_eq!(runs, tiles * batches.len() * batch);
            assert!(*expected.get_or_insert_with(|| found.clone()) == found, "{half} {order:?} {lanes} {streams}");
        }
    }

    /// The result of every batch of every tile, where they run in this order, each tile's batches in theirs. Memory that steps
    /// share holds what other tiles left there.
    fn results(
        route: &Route,
        precision: Precision,
        data: &[f32],
        order: &[(usize, (usize, usize))],
    ) -> BTreeMap<(usize, (usize, usize)), Vec<f32>> {
        let config = demo::config().unwrap();
        let checkpoint = Arc::new(demo::checkpoint().unwrap());
        let weights = Weights::new(Arc::new(Parameters(checkpoint.clone())));
        let options = RunOptions { precision, ..RunOptions::default() };
        let engine = CpuEngine::new(Isa::probe().into(), &options, &weights, &checkpoint, Choices::default());
        let mut steps = Steps::new(&config, &options, engine, 2, 1).unwrap();
        let mut source = InMemory { data, shape: route.shape };
        let (mut frames, mut window, batches) = (vec![], vec![], route.batches());
        let (mut states, mut found) = (BTreeMap::new(), BTreeMap::new());
        for &(batch, tile) in order {
            source.load(0, &batches[batch], &mut frames).unwrap();
            route.cut(tile, &frames, &mut window).unwrap();
            let step = route.step(batch, batches[batch].len(), tile);
            steps.prepare(&[step], &mut |_| ControlFlow::Continue(())).unwrap();
            let place = StepPlace { sample: 0, step: batch, tile: 0 };
            let work = Work { step, place, input: &window, states: states.remove(&tile).unwrap_or_default() };
            let outputs = steps.run(vec![work], &mut |_| ControlFlow::Continue(())).unwrap().swap_remove(0);
            states.insert(tile, outputs.states);
            found.insert((batch, tile), outputs.result.to_vec());
        }
        found
    }

    #[test]
    fn tiles_in_any_order_give_the_same_bits() {
        let config = demo::config().unwrap();
        let tiling = Tiling { height: 16, width: 24, overlap: Overlap { height: 0.5, width: 0.0 } };
        for (half, shape) in [(Half::Decoder, [1, 16, 4, 3, 5]), (Half::Encoder, [1, 3, 16, 22, 40])] {
            let grid = tiling.grid(&config, half, shape[3], shape[4]).unwrap();
            let route = Route { half, shape, grid, order: TileOrder::FrameMajor, lanes: 1 };
            let (data, tiles) = (noise(shape.iter().product()), route.grid.places().collect::<Vec<_>>());
            let batches = 0..route.batches().len();
            assert!(tiles.len() >= 4 && batches.len() == 2, "{} tiles, {batches:?}", tiles.len());
            let forth: Vec<_> = batches.clone().flat_map(|b| tiles.iter().map(move |tile| (b, *tile))).collect();
            let back: Vec<_> = tiles.iter().rev().flat_map(|tile| batches.clone().map(move |b| (b, *tile))).collect();
            // Batches in order, the tiles of each in another one.
            let mut mixed = forth.clone();
            mixed.sort_by_key(|&(b, (row, column))| (b, (3 * row + 5 * column + b) % 4, row));
            for precision in Precision::ALL {
                let expected = results(&route, precision, &data, &forth);
                for order in [&back, &mixed] {
                    assert!(results(&route, precision, &data, order) == expected, "{half}, {precision}, {order:?}");
                }
            }
        }
    }

    #[test]
    fn both_orders_decode_to_the_same_bits() {
        check_orders(Half::Decoder, [2, 16, 5, 6, 9], 6);
    }

    #[test]
    fn both_orders_encode_to_the_same_bits() {
        check_orders(Half::Encoder, [1, 3, 17, 44, 50], 4);
    }
}
