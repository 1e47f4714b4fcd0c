//! A clip through its steps: each sample of a batch from its first frames to its last, with what
//! one step leaves to the next; tile by tile where frames are tiled. The same for both halves and
//! for every engine.
//!
//! Samples and tiles come one after the other, or as many at once as there are workers. Results
//! leave in the same order.
//!
//! Which tiles there are is in [`crate::tiling`], how they are blended in `blend`; tiles along time
//! are in [`crate::frame_tiling`] and `frame_joiner`.

use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use frontend::{Autoencoder, Step};

use crate::blend::Blender;
use crate::conditions::CallConditions;
use crate::engine::{Engine, Work};
use crate::error::{Error, Result};
use crate::frame_joiner::FrameJoiner;
use crate::observer::{Observer, Progress, Tap};
use crate::route::{Batch, Route, TileOrder};
use crate::source::{Overlapping, Replay, Source};
use crate::spill::Spill;
use crate::step_place::StepPlace;
use crate::steps::Steps;

/// Runs every step of a clip. `sink` gets what leaves with each batch, [1, C, T, H, W], with the
/// number of its sample, in order.
///
/// # Errors
/// [`Error::Interrupted`] if the observer breaks; what `source`, `sink` or the observer return;
/// what declaring, compiling, binding or running a step reports; [`files::Error::Spill`] if results
/// cannot wait on disk.
pub(crate) fn run<E: Engine>(
    steps: &mut Steps<'_, E>,
    model: &dyn Autoencoder,
    route: &Route,
    conditions: &CallConditions,
    source: &mut dyn Source,
    sink: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    observer: &mut dyn Observer,
) -> Result<()> {
    let mut joiner = FrameJoiner::new(route, model.result_channels(route.half));
    let sink = &mut |sample: usize, data: &[f32]| joiner.add(sample, data, sink);
    let mut overlapping;
    let (source, shared): (&mut dyn Source, _) = (source, route.shared_frames());
    let source = if shared > 0 && !source.is_random_access() {
        overlapping = Overlapping::new(source, route.shape[1], shared);
        &mut overlapping
    } else {
        source
    };
    let batches = route.batches();
    let over_batches = |frames: &dyn Fn(usize) -> usize| (0..batches.len()).map(frames).sum::<usize>();
    let frames = over_batches(&|batch| route.new_frames(batch));
    let area = |(row, column): (usize, usize)| {
        (route.grid.rows[row].input.len() * route.grid.columns[column].input.len()) as f64
    };
    let mut clip = ClipRun {
        steps,
        observer,
        model,
        route,
        conditions,
        batches,
        tile: 0,
        frames_done: 0,
        frames_total: route.shape[0] * frames,
        work_done: 0.0,
        work_total: (route.shape[0] * over_batches(&|batch| route.video_frames(batch))) as f64
            * route.grid.places().map(area).sum::<f64>(),
    };
    if route.grid.tiles() == 1 {
        // Of a source that streams, samples come one after the other.
        let at_once = if source.is_random_access() { route.workers } else { 1 };
        for first in (0..route.shape[0]).step_by(at_once) {
            clip.untiled(first..route.shape[0].min(first + at_once), source, sink)?;
        }
        return clip.done();
    }
    for sample in 0..route.shape[0] {
        match route.order {
            TileOrder::FrameMajor => clip.frame_major(sample, source, sink)?,
            TileOrder::TileMajor => clip.tile_major(sample, source, sink)?,
        }
    }
    clip.done()
}

/// A clip that is on its way.
struct ClipRun<'a, 'b, E: Engine> {
    steps: &'a mut Steps<'b, E>,
    observer: &'a mut dyn Observer,
    model: &'a dyn Autoencoder,
    route: &'a Route,
    conditions: &'a CallConditions,
    batches: &'a [Batch],
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
struct StepIndex {
    sample: usize,
    batch: usize,
    /// Row and column.
    tile: (usize, usize),
}

impl<E: Engine> ClipRun<'_, '_, E> {
    /// Runs samples at once. Results of the first leave as they come, those of others wait on disk
    /// until it is their turn.
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
                source.load(sample, &self.batches[batch].frames, frames)?;
            }
            let places: Vec<_> = samples.clone().map(|sample| StepIndex { sample, batch, tile: (0, 0) }).collect();
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
        let (mut frames, mut windows) = (vec![], vec![vec![]; self.route.workers]);
        let mut blender = Blender::new(&self.route.grid);
        let tiles: Vec<_> = self.route.grid.places().collect();
        let mut states: Vec<_> = tiles.iter().map(|_| E::States::default()).collect();
        for batch in 0..self.batches.len() {
            source.load(sample, &self.batches[batch].frames, &mut frames)?;
            self.start(&mut blender, batch)?;
            for (tiles, states) in tiles.chunks(self.route.workers).zip(states.chunks_mut(self.route.workers)) {
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
        let (tiles, workers, batches) = (self.route.grid.tiles(), self.route.workers, self.batches.len());
        for batch in 0..batches {
            self.start(&mut blender, batch)?;
            for (number, (row, column)) in self.route.grid.places().enumerate() {
                let first = number / workers * workers;
                let at_once = workers.min(tiles - first);
                results.read(first * batches + batch * at_once + (number - first), &mut result)?;
                blender.add(row, column, &mut result);
            }
            sink(sample, blender.frames())?;
            self.batch_done(batch);
        }
        Ok(())
    }

    /// Runs every batch of as many tiles as there are workers, then of the next ones; results go to
    /// `results` as they come.
    fn tiles_to_disk(&mut self, sample: usize, source: &mut dyn Source, results: &mut Spill) -> Result<()> {
        let (mut frames, mut windows) = (vec![], vec![vec![]; self.route.workers]);
        let mut source = Replay::new(source, sample, self.batches)?;
        let tiles: Vec<_> = self.route.grid.places().collect();
        for tiles in tiles.chunks(self.route.workers) {
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
        let places: Vec<_> = tiles.iter().map(|&tile| StepIndex { sample, batch, tile }).collect();
        self.run(&places, &windows[..tiles.len()], states)
    }

    /// Makes room for a batch's frames.
    fn start(&self, blender: &mut Blender<'_>, batch: usize) -> Result<()> {
        let planes = self.model.result_channels(self.route.half) * self.batches[batch].result.len();
        blender
            .start(planes)
            .map_err(|cause| Error::Memory { step: "the frames of a step".into(), problem: cause.to_string() })
    }

    /// Runs steps of one batch at once and shows them to the observer; `states` becomes what they
    /// leave. Returns their results.
    fn run(&mut self, places: &[StepIndex], inputs: &[Vec<f32>], states: &mut [E::States]) -> Result<Vec<E::Buffer>> {
        let step = |&StepIndex { batch, tile, .. }: &StepIndex| self.route.step(batch, tile);
        let steps: Vec<Step> = places.iter().map(step).collect();
        let video = |(step, place): (&Step, &StepIndex)| {
            (self.route.video_frames(place.batch) * step.height * step.width) as f64
        };
        let work: f64 = steps.iter().zip(places).map(video).sum();
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
        let step_place =
            |&StepIndex { sample, batch, tile }: &StepIndex| StepPlace { sample, step: batch, tile: number(tile) };
        let conditions = |&StepIndex { sample, tile: (row, column), .. }: &StepIndex| {
            let grid = &self.route.grid;
            self.conditions.of_step(sample, &grid.rows[row].input, &grid.columns[column].input)
        };
        let to_run = steps.iter().zip(places).zip(inputs).zip(&mut *states);
        let to_run = to_run.map(|(((&step, place), input), states)| Work {
            step,
            place: step_place(place),
            input,
            conditions: conditions(place),
            states: std::mem::take(states),
        });
        let outputs = self.steps.run(to_run.collect(), &mut observe)?;
        self.work_done += work;
        let mut results = vec![];
        for ((&StepIndex { sample, batch, tile }, output), states) in places.iter().zip(outputs).zip(states) {
            let tile = number(tile);
            for (module, ty, data) in &output.taps {
                let call = self.route.call(batch, tile);
                self.observer.tap(&Tap { sample, step: batch, tile, call, module, ty, data })?;
            }
            // Behind the last batch, and before a clip of its own, nobody reads them.
            if self.route.reads_states(batch + 1) {
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
        self.frames_done += self.route.new_frames(batch);
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
    use std::collections::{BTreeMap, HashMap};
    use std::sync::Arc;

    use backend_cpu::isa::Isa;
    use backend_cpu::options::Choices;
    use frontend::{Half, SurplusFrame};
    use passes::Precision;

    use super::*;
    use crate::demo;
    use crate::engine::CpuEngine;
    use crate::frame_tiling::FrameTiling;
    use crate::framewise::Framewise;
    use crate::lowering::NativeSteps;
    use crate::options::RunOptions;
    use crate::session::Session;
    use crate::source::{InMemory, Stream};
    use crate::tiling::{Grid, Overlap, Tiling};

    /// Values in [-1, 1] that repeat late.
    fn noise(elements: usize) -> Vec<f32> {
        (0..elements as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    /// Steps that choose by themselves.
    fn native(route: &Route) -> NativeSteps {
        NativeSteps { leading: route.leading_step(), choices: Choices::default(), graphs: HashMap::new() }
    }

    /// What comes out of the demo's model, sample by sample, and how many steps ran.
    fn outputs(route: &Route, source: &mut dyn Source) -> (Vec<(usize, Vec<f32>)>, usize) {
        let model = demo::model().unwrap();
        let session = Session::new(Arc::new(demo::checkpoint().unwrap()));
        let (options, native) = (RunOptions::default(), native(route));
        let Session { weights, checkpoint, cpu: kept, .. } = &session;
        let target = Isa::probe().into();
        let engine = CpuEngine { target, options: &options, steps: &native, weights, checkpoint, kept };
        let mut steps = Steps::new(&*model, &options, engine, 3, route.workers).unwrap();
        let mut found = vec![];
        let mut sink = |sample, data: &[f32]| {
            found.push((sample, data.to_vec()));
            Ok(())
        };
        run(&mut steps, &*model, route, &CallConditions::default(), source, &mut sink, &mut ()).unwrap();
        (found, steps.account().program_runs)
    }

    /// Both orders, by one worker and by several, of frames in memory and of frames that come once.
    fn check_orders(half: Half, shape: [usize; 5], tiles: usize) {
        let model = demo::model().unwrap();
        let tiling = Tiling { height: 32, width: 40, overlap: Overlap { height: 0.25, width: 0.2 } };
        let grid = tiling.grid(&*model, half, shape[3], shape[4]).unwrap();
        assert_eq!(grid.tiles(), tiles);
        let route = |order, workers| {
            let steps = model.frame_steps(half);
            Route::new(&*model, half, shape, steps, None, grid.clone(), order).unwrap().with_workers(workers)
        };
        let data = noise(shape.iter().product());
        let [batch, channels, frames, height, width] = shape;
        let batches = route(TileOrder::FrameMajor, 1).batches().len();
        let mut expected: Option<Vec<(usize, Vec<f32>)>> = None;
        let (frames_first, tiles_first) = (TileOrder::FrameMajor, TileOrder::TileMajor);
        for (order, workers, streams) in
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
            let (found, runs) = outputs(&route(order, workers), source);
            assert_eq!(runs, tiles * batches * batch);
            assert!(*expected.get_or_insert_with(|| found.clone()) == found, "{half} {order:?} {workers} {streams}");
        }
    }

    /// The result of every batch of every tile, where they run in this order, each tile's batches
    /// in theirs. Memory that steps share holds what other tiles left there.
    fn results(
        route: &Route,
        precision: Precision,
        data: &[f32],
        order: &[(usize, (usize, usize))],
    ) -> BTreeMap<(usize, (usize, usize)), Vec<f32>> {
        let model = demo::model().unwrap();
        let session = Session::new(Arc::new(demo::checkpoint().unwrap()));
        let options = RunOptions { precision, ..RunOptions::default() };
        let native = native(route);
        let Session { weights, checkpoint, cpu: kept, .. } = &session;
        let target = Isa::probe().into();
        let engine = CpuEngine { target, options: &options, steps: &native, weights, checkpoint, kept };
        let mut steps = Steps::new(&*model, &options, engine, 2, 1).unwrap();
        let mut source = InMemory { data, shape: route.shape };
        let (mut frames, mut window, batches) = (vec![], vec![], route.batches());
        let (mut states, mut found) = (BTreeMap::new(), BTreeMap::new());
        for &(batch, tile) in order {
            source.load(0, &batches[batch].frames, &mut frames).unwrap();
            route.cut(tile, &frames, &mut window).unwrap();
            let step = route.step(batch, tile);
            steps.prepare(&[step], &mut |_| ControlFlow::Continue(())).unwrap();
            let place = StepPlace { sample: 0, step: batch, tile: 0 };
            let states_before = states.remove(&tile).unwrap_or_default();
            let work = Work { step, place, input: &window, conditions: vec![], states: states_before };
            let outputs = steps.run(vec![work], &mut |_| ControlFlow::Continue(())).unwrap().swap_remove(0);
            states.insert(tile, outputs.states);
            found.insert((batch, tile), outputs.result.to_vec());
        }
        found
    }

    #[test]
    fn tiles_in_any_order_give_the_same_bits() {
        let model = demo::model().unwrap();
        let tiling = Tiling { height: 16, width: 24, overlap: Overlap { height: 0.5, width: 0.0 } };
        for (half, shape) in [(Half::Decoder, [1, 16, 4, 3, 5]), (Half::Encoder, [1, 3, 16, 22, 40])] {
            let grid = tiling.grid(&*model, half, shape[3], shape[4]).unwrap();
            let (steps, order) = (model.frame_steps(half), TileOrder::FrameMajor);
            let route = Route::new(&*model, half, shape, steps, None, grid, order).unwrap();
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

    /// What comes of one sample, frame by frame, [C, H, W] each.
    fn frames(route: &Route, source: &mut dyn Source) -> Vec<Vec<f32>> {
        let channels = demo::model().unwrap().result_channels(route.half);
        let plane = route.grid.output_size().iter().product::<usize>();
        let of_block = |(_, data): (usize, Vec<f32>)| {
            let frames = data.len() / (channels * plane);
            let image = |c: usize, t: usize| data[(c * frames + t) * plane..][..plane].to_vec();
            (0..frames).map(|t| (0..channels).flat_map(|c| image(c, t)).collect()).collect::<Vec<_>>()
        };
        outputs(route, source).0.into_iter().flat_map(of_block).collect()
    }

    /// Frames of a sample, [C, T, H, W].
    fn window(data: &[f32], shape: [usize; 5], frames: Range<usize>) -> Vec<f32> {
        let [_, channels, total, height, width] = shape;
        let plane = height * width;
        let of = |c: usize| data[(c * total + frames.start) * plane..][..frames.len() * plane].iter().copied();
        (0..channels).flat_map(of).collect()
    }

    /// Each tile along time runs as a clip of its own and is blended with the one before: done here
    /// with whole tiles; and as a clip goes through, in both orders of tiles in space, and of frames
    /// that come once.
    fn check_framewise(half: Half, shape: [usize; 5]) {
        let model = Framewise::new(SurplusFrame::First, false);
        let (data, along_time) = (noise(shape.iter().product()), FrameTiling { frames: 16, stride: 8 });
        let route = |shape, along_time, grid: &Grid, order| {
            let steps = Autoencoder::frame_steps(&model, half);
            Route::new(&model, half, shape, steps, along_time, grid.clone(), order).unwrap()
        };
        let [_, channels, total, height, width] = shape;
        let tiling = Tiling { height: 16, width: 16, overlap: Overlap { height: 0.0, width: 0.5 } };
        for grid in [Grid::whole(&model, half, height, width), tiling.grid(&model, half, height, width).unwrap()] {
            let tiles = along_time.tiles(&model, half, total).unwrap();
            assert_eq!(tiles.len(), 3);
            let (mut expected, mut before) = (vec![], vec![]);
            for tile in &tiles {
                let (data, shape) =
                    (window(&data, shape, tile.input.clone()), [1, channels, tile.input.len(), height, width]);
                let whole = route(shape, None, &grid, TileOrder::FrameMajor);
                let mut own = frames(&whole, &mut InMemory { data: &data, shape })[tile.used.clone()].to_vec();
                for at in 0..tile.blend {
                    let earlier: &Vec<f32> = &before[before.len() - tile.blend + at];
                    let share = at as f64 / tile.blend as f64;
                    let (a, b) = ((1.0 - share) as f32, share as f32);
                    own[at].iter_mut().zip(earlier).for_each(|(own, earlier)| *own = earlier * a + *own * b);
                }
                expected.extend_from_slice(&own[..tile.kept]);
                before = own;
            }
            for (order, streams) in
                [(TileOrder::FrameMajor, false), (TileOrder::TileMajor, false), (TileOrder::FrameMajor, true)]
            {
                let mut given = 0;
                let mut next = |_: usize, count: usize| {
                    given += count;
                    Ok(window(&data, shape, given - count..given))
                };
                let source: &mut dyn Source = match streams {
                    false => &mut InMemory { data: &data, shape },
                    true => &mut Stream { next: &mut next, shape },
                };
                let found = frames(&route(shape, Some(along_time), &grid, order), source);
                assert!(found == expected, "{half} {order:?} {streams}, {} frames", found.len());
            }
        }
    }

    #[test]
    fn tiles_along_time_run_as_clips_of_their_own_and_are_blended() {
        check_framewise(Half::Decoder, [1, 16, 7, 2, 4]);
        check_framewise(Half::Encoder, [1, 3, 25, 16, 32]);
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
