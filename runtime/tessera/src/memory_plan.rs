//! What a run will need of memory, told before it begins; and whether frames go through whole or in
//! tiles because of it.
//!
//! An estimate counts all that is held at the worst moment, each part at its largest, so that it is
//! an upper bound but for what the caller's sink and observer hold. Which sizes of tiles are worth
//! a look is in `tile_sizes`.
//!
//! Where a model leaves it open how many frames a step takes, steps have twice the reference's frames
//! if they fit: at the lowest levels of a network, which otherwise has one frame there, a transform
//! over time then wastes nothing, and weights are read half as often. Beyond that nothing was gained
//! (BENCHMARKS.md). Larger steps are never bought with tiles.
//!
//! How many steps run at once, by workers with a share of the threads each, is decided last: it
//! never changes the tiles. A worker has an arena of its own, so there are fewer of them where the
//! budget is tight. With [`Parallel::Auto`] there are as many as leave each thread [`WORKER_FLOPS`]
//! of a step, if there is that much: what threads lose by waiting for each other at the end of
//! every kernel is much of a small step and little of a large one, which would only take more
//! memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use backend_cpu::options::{Choices, CompileOptions};
use backend_cpu::requirements::Requirements;
use backend_cpu::target::Target;
use frontend::{Autoencoder, FrameSteps, Half, Step, Taps, declare, parameters};
use ir::Graph;
use ir::analysis::total_cost;
use passes::cpu_pipeline;

use crate::checkpoint::Checkpoint;
use crate::conditions::CallConditions;
use crate::error::{Error, Result};
use crate::frame_joiner::FrameJoiner;
use crate::frame_tiling::FrameTiling;
use crate::lowering::{self, NativeSteps};
use crate::memory_budget::MemoryBudget;
use crate::memory_estimate::MemoryEstimate;
use crate::memory_ledger::LEDGER;
use crate::options::{Backend, Parallel, RunOptions, TilingChoice};
use crate::route::{Route, TileOrder};
use crate::tile_sizes::{Candidate, candidates};
use crate::tiling::{Grid, Overlap, Tiling};
use crate::tiling_decision::TilingDecision;

/// One compiled step, and what the allocator keeps of the memory that declaring and compiling it
/// took: generous.
const PROGRAM_BYTES: u64 = 3 << 20;
/// Threads, their stacks and what the allocator keeps for each.
const THREAD_BYTES: u64 = 1 << 20;
/// Floating-point operations of a step that keep one thread busy enough: a step of less gains
/// nothing by a second thread that could run another step. Measured on two threads of one core, two
/// workers of one thread against one worker of two, median seconds of the same work: steps of 7
/// GFLOP 0.79 times, of 28 GFLOP 0.78 times, of 52 GFLOP 0.87 times (samples) and 0.96 times
/// (tiles), of 110 and 227 GFLOP no difference beyond the noise.
pub const WORKER_FLOPS: u64 = 60_000_000_000;
/// What the process has of code, libraries and small things, where the system does not tell.
const PROCESS_BYTES: u64 = 64 << 20;

/// With a plugin, the tensors of one step travel while another one runs: more at once would only
/// wait for each other.
const PLUGIN_WORKERS: usize = 2;

const WHOLE_ASKED: &str = "tiling is off";
const WHOLE_FITS: &str = "that fits the memory budget";
const WHOLE_SMALL: &str = "the frames are no larger than a tile";
const TILES_TOO_LARGE: &str = "even in the smallest tiles";
const FRAMES_TOO_SMALL: &str =
    "in whole frames, too small to be cut without being asked; tiles that you ask for may need less";
const WHOLE_UNPLANNED: &str = "the evaluator's memory is not planned ahead";
const WHOLE_PLUGIN: &str = "the plugin plans its memory, and refuses what does not fit";
const TILES_ASKED: &str = "these tiles were asked for";
const TILES_FIT: &str = "whole frames do not fit the memory budget, and these are the largest tiles that do";

/// A run to be planned.
pub(crate) struct Plan<'a> {
    pub model: &'a dyn Autoencoder,
    pub checkpoint: &'a Checkpoint,
    pub half: Half,
    /// [B, C, T, H, W] of the input.
    pub shape: [usize; 5],
    pub options: &'a RunOptions,
    pub threads: usize,
    /// What we compile steps for; `None` for the evaluator and for plugins.
    pub target: Option<Target>,
    /// Whether the input is all there, so that samples can be read at once.
    pub in_memory: bool,
    /// Bytes of weights that kernels can read already.
    pub weights_made: usize,
}

/// How a clip is to go through the model.
pub(crate) struct Decided {
    pub route: Route,
    pub decision: TilingDecision,
    /// What was found of its steps, where they become native code.
    pub native: Option<NativeSteps>,
}

/// A route whose memory is known.
struct Planned {
    route: Route,
    memory: MemoryEstimate,
}

impl Plan<'_> {
    /// Decides how the clip goes through the model.
    ///
    /// # Errors
    /// [`Error::Tiling`] if the tiles asked for do not divide; [`Error::Budget`] if no way fits;
    /// what declaring a step or the passes report.
    pub(crate) fn decide(&self) -> Result<Decided> {
        let [.., height, width] = self.shape;
        let whole = || Grid::whole(self.model, self.half, height, width);
        let asked = self.options.tiling.tiling(self.model, self.half, self.options.overlap)?;
        // What is asked for: its tiles if it has any, the grid, and why.
        let (tiling, grid, reason) = match (asked, self.options.tiling) {
            (Some(tiling), _) if tiling.applies(self.model, self.half, height, width) => {
                (Some(tiling), tiling.grid(self.model, self.half, height, width)?, TILES_ASKED)
            }
            (Some(_), _) => (None, whole(), WHOLE_SMALL),
            (None, TilingChoice::Off) => (None, whole(), WHOLE_ASKED),
            (None, _) => (None, whole(), WHOLE_FITS),
        };
        let budget = self.options.budget();
        let frame_tiling = self.frame_tiling()?;
        let usual = self.model.frame_steps(self.half);
        let decision = |route: &Route, tiling, memory, reason| TilingDecision {
            tiling,
            step_frames: route.frame_steps.usual().filter(|_| route.frame_steps != usual),
            rows: route.grid.rows.len(),
            columns: route.grid.columns.len(),
            frame_tiling,
            frame_tiles: route.frame_tiles().len().max(1),
            order: route.order,
            memory,
            budget,
            usual_overlap: Overlap::of(self.model, self.half),
            reason,
            follows_free_memory: reason == TILES_FIT && matches!(self.options.memory, MemoryBudget::OfAvailable { .. }),
        };
        let Some(target) = self.target else {
            let route = self.route(grid, TileOrder::FrameMajor, self.frame_steps()?)?;
            let reason = match self.options.backend {
                _ if reason != WHOLE_FITS => reason,
                Backend::Pjrt => WHOLE_PLUGIN,
                _ => WHOLE_UNPLANNED,
            };
            let decision = decision(&route, tiling, None, reason);
            let workers = self.plugin_workers(&route);
            let route = route.with_workers(workers);
            return Ok(Decided { route, decision, native: None });
        };
        let mut estimator = Estimator::new(self, target)?;
        let mut least: Option<MemoryEstimate> = None;
        match estimator.fitting(&grid, budget, &mut least)? {
            Some(planned) => {
                let Planned { route, memory } = estimator.with_workers(planned, budget)?;
                let decision = decision(&route, tiling, Some(memory), reason);
                estimator.decided(route, decision)
            }
            None if self.options.tiling == TilingChoice::Auto => {
                let found = estimator.search(budget, &mut least)?;
                let (tiling, planned) = found.ok_or_else(|| {
                    let cut = !candidates(self.model, self.half, [height, width], self.overlap()).is_empty();
                    self.refusal(budget, least, if cut { TILES_TOO_LARGE } else { FRAMES_TOO_SMALL })
                })?;
                let Planned { route, memory } = estimator.with_workers(planned, budget)?;
                let decision = decision(&route, Some(tiling), Some(memory), TILES_FIT);
                estimator.decided(route, decision)
            }
            None if tiling.is_some() => Err(self.refusal(budget, least, "in these tiles")),
            None => Err(self.refusal(budget, least, "in whole frames; tiles may need less")),
        }
    }

    /// Workers of a backend that plans its own memory: one, but for a plugin if more were asked for
    /// by name.
    fn plugin_workers(&self, route: &Route) -> usize {
        let samples = if self.in_memory { self.shape[0] } else { 1 };
        let most = match (self.options.backend, self.options.parallel, route.grid.tiles()) {
            (Backend::Pjrt, Parallel::Batch, 1) => samples,
            (Backend::Pjrt, Parallel::Tiles, tiles) => tiles,
            _ => 1,
        };
        most.min(PLUGIN_WORKERS)
    }

    fn frame_steps(&self) -> Result<FrameSteps> {
        self.options.frame_steps(self.model, self.half)
    }

    /// How the clip may fall into steps, the fastest first.
    fn choices_of_frame_steps(&self) -> Result<Vec<FrameSteps>> {
        let usual = self.frame_steps()?;
        let open = self.options.step_frames.is_none() && self.options.taps == Taps::None;
        let count = |steps: FrameSteps| steps.of_clip(self.shape[2]).len();
        let doubled = usual.doubled().filter(|&doubled| open && count(doubled) < count(usual));
        Ok(doubled.into_iter().chain([usual]).collect())
    }

    fn route(&self, grid: Grid, order: TileOrder, frame_steps: FrameSteps) -> Result<Route> {
        let dropped = self.options.dropped_frames(self.model, self.half)?;
        let route = Route::new(self.model, self.half, self.shape, frame_steps, self.frame_tiling()?, grid, order)?;
        Ok(route.without_first(dropped))
    }

    fn frame_tiling(&self) -> Result<Option<FrameTiling>> {
        let [.., frames, _, _] = self.shape;
        self.options.frame_tiling(self.model, self.half, frames)
    }

    /// What tiles have in common: what was asked for, or what the reference's have.
    fn overlap(&self) -> Overlap {
        self.options.overlap.unwrap_or_else(|| Overlap::of(self.model, self.half))
    }

    fn refusal(&self, budget: u64, least: Option<MemoryEstimate>, how: &'static str) -> Error {
        let needed = Box::new(least.unwrap_or_default());
        Error::Budget { half: self.half, shape: self.shape, needed, budget, how }
    }
}

/// Estimates the memory of routes, remembering what each step needs.
struct Estimator<'a> {
    plan: &'a Plan<'a>,
    target: Target,
    /// What each step needs, and its floating-point operations.
    /// By the step whose algorithms are taken, and the step.
    steps: HashMap<(Step, Step), Rc<(Requirements, u64)>>,
    choices: HashMap<Step, Rc<Choices>>,
    /// Final graphs, with floating-point operations as declared.
    graphs: HashMap<Step, (Arc<Graph>, u64)>,
    /// What the process holds now.
    process: u64,
    /// What the half's tensors keep of memory once they were read.
    kept: u64,
}

impl<'a> Estimator<'a> {
    fn new(plan: &'a Plan<'a>, target: Target) -> Result<Self> {
        let names = parameters(plan.model, plan.half)?;
        let kept = names.iter().map(|(name, _)| plan.checkpoint.kept_bytes(name) as u64).sum();
        let process = LEDGER.base().unwrap_or_else(|| {
            let input = plan.shape.into_iter().fold(size_of::<f32>(), usize::saturating_mul);
            PROCESS_BYTES.saturating_add(input as u64)
        });
        Ok(Self { plan, target, steps: HashMap::new(), choices: HashMap::new(), graphs: HashMap::new(), process, kept })
    }

    /// This grid in the first order that fits, and in the fastest steps that do, if any. `least`
    /// becomes the smallest estimate seen so far.
    fn fitting(&mut self, grid: &Grid, budget: u64, least: &mut Option<MemoryEstimate>) -> Result<Option<Planned>> {
        let orders: &[TileOrder] = match grid.tiles() {
            1 => &[TileOrder::FrameMajor],
            _ => &[TileOrder::FrameMajor, TileOrder::TileMajor],
        };
        let frame_steps = self.plan.choices_of_frame_steps()?;
        for (&order, &steps) in orders.iter().flat_map(|order| frame_steps.iter().map(move |steps| (order, steps))) {
            let route = self.plan.route(grid.clone(), order, steps)?;
            let memory = self.estimate(&route)?;
            log::debug!("{} x {} tiles, {order:?}, {steps:?}: {memory}", grid.rows.len(), grid.columns.len());
            if memory.total() <= budget {
                return Ok(Some(Planned { route, memory }));
            }
            if least.is_none_or(|least| memory.total() < least.total()) {
                *least = Some(memory);
            }
        }
        Ok(None)
    }

    /// The largest tiles that fit, by bisection: what does not fit does not fit with larger tiles
    /// either.
    fn search(&mut self, budget: u64, least: &mut Option<MemoryEstimate>) -> Result<Option<(Tiling, Planned)>> {
        let [.., height, width] = self.plan.shape;
        let overlap = self.plan.overlap();
        let found = candidates(self.plan.model, self.plan.half, [height, width], overlap);
        let (mut from, mut to, mut best) = (0, found.len(), None);
        while from < to {
            let middle = from.midpoint(to);
            let Candidate { tiling, grid, .. } = &found[middle];
            match self.fitting(grid, budget, least)? {
                Some(planned) => (to, best) = (middle, Some((*tiling, planned))),
                None => from = middle + 1,
            }
        }
        Ok(best)
    }

    /// The route with as many workers as are of use and fit.
    fn with_workers(&mut self, planned: Planned, budget: u64) -> Result<Planned> {
        let plan = self.plan;
        let tiles = planned.route.grid.tiles();
        let samples = if plan.in_memory { plan.shape[0] } else { 1 };
        let most = match (plan.options.parallel, tiles) {
            (Parallel::Auto | Parallel::Batch, 1) => samples,
            (Parallel::Auto | Parallel::Tiles, 2..) => tiles,
            _ => 1,
        };
        let mut most = most.min(plan.threads);
        if plan.options.parallel == Parallel::Auto && most > 1 {
            let mut flops = 0;
            for tile in planned.route.grid.places() {
                let step = planned.route.step(0, tile);
                flops = flops.max(self.requirements(&planned.route.leading_step(), &step)?.1);
            }
            let threads_of_each = usize::try_from(flops.div_ceil(WORKER_FLOPS)).unwrap_or(usize::MAX).max(1);
            most = most.min(plan.threads / threads_of_each.min(plan.threads));
        }
        for workers in (2..=most).rev() {
            let route = planned.route.clone().with_workers(workers);
            let memory = self.estimate(&route)?;
            if memory.total() <= budget {
                return Ok(Planned { route, memory });
            }
        }
        Ok(planned)
    }

    /// What a step needs that takes the algorithms of `leading`, and its floating-point operations.
    fn requirements(&mut self, leading: &Step, step: &Step) -> Result<Rc<(Requirements, u64)>> {
        if let Some(known) = self.steps.get(&(*leading, *step)) {
            return Ok(known.clone());
        }
        let choices = self.choices(leading)?;
        let (graph, flops) = self.lowered(step)?;
        let options = CompileOptions::from(self.target).with_choices(&choices);
        let found = Rc::new((lowering::memory(step, &graph, options)?, flops));
        self.steps.insert((*leading, *step), found.clone());
        Ok(found)
    }

    /// The algorithms that a step chooses by itself.
    fn choices(&mut self, leading: &Step) -> Result<Rc<Choices>> {
        if let Some(known) = self.choices.get(leading) {
            return Ok(known.clone());
        }
        let (graph, _) = self.lowered(leading)?;
        let found = Rc::new(lowering::choices(leading, &graph, self.target)?);
        self.choices.insert(*leading, found.clone());
        Ok(found)
    }

    /// The final graph of a step, and its floating-point operations as declared.
    fn lowered(&mut self, step: &Step) -> Result<(Arc<Graph>, u64)> {
        if let Some(known) = self.graphs.get(step) {
            return Ok(known.clone());
        }
        let Plan { model, options, .. } = *self.plan;
        let graph = declare(model, step, &options.taps)?;
        let flops = total_cost(&graph).flops;
        let graph = Arc::new(lowering::optimize(step, &graph, cpu_pipeline(options.precision))?);
        self.graphs.insert(*step, (graph.clone(), flops));
        Ok((graph, flops))
    }

    /// The route that was chosen, with what was found of its steps.
    fn decided(mut self, route: Route, decision: TilingDecision) -> Result<Decided> {
        let leading = route.leading_step();
        let choices = (*self.choices(&leading)?).clone();
        let batches = 0..route.batches().len();
        let steps: HashSet<Step> = batches
            .flat_map(|batch| route.grid.places().map(move |tile| (batch, tile)))
            .map(|(b, t)| route.step(b, t))
            .collect();
        self.graphs.retain(|step, _| steps.contains(step));
        let graphs = self.graphs.into_iter().map(|(step, (graph, _))| (step, graph)).collect();
        Ok(Decided { route, decision, native: Some(NativeSteps { leading, choices, graphs }) })
    }

    /// What a route needs.
    fn estimate(&mut self, route: &Route) -> Result<MemoryEstimate> {
        let plan = self.plan;
        let (batches, kinds) = (route.batches(), route.distinct_batches());
        let (mut programs, mut all) = (0, Requirements::default());
        let mut kept_states = 0_u64;
        let (mut seen, mut weights) = (vec![], BTreeMap::new());
        for tile in route.grid.places() {
            for &batch in &kinds {
                let step = route.step(batch, tile);
                let found = self.requirements(&route.leading_step(), &step)?;
                let needs = &found.0;
                if !seen.contains(&step) {
                    seen.push(step);
                    programs += 1;
                    // Steps too small for an algorithm read a weight in another form, and all forms
                    // are kept.
                    weights.extend(needs.weights.clone());
                }
                all = Requirements {
                    arena: all.arena.max(needs.arena),
                    scratch: all.scratch.max(needs.scratch),
                    inputs: all.inputs.max(needs.inputs),
                    results: all.results.max(needs.results),
                    taps: all.taps.max(needs.taps),
                    states: all.states.max(needs.states),
                    weights: BTreeMap::new(),
                };
                if batch == 0 {
                    kept_states = kept_states.saturating_add(needs.states as u64);
                }
            }
        }
        let bytes = |elements: [usize; 4]| elements.into_iter().fold(size_of::<f32>(), usize::saturating_mul) as u64;
        let tiled = route.grid.tiles() > 1;
        let result_frames = batches.iter().map(|batch| batch.result.len()).max().unwrap_or(0);
        let workers = route.workers as u64;
        // States that wait, and those that the running steps make.
        let made = workers.saturating_mul(all.states as u64);
        let waiting = match (batches.len(), route.order) {
            (0 | 1, _) => 0,
            (_, TileOrder::FrameMajor) if tiled => kept_states,
            _ => made,
        };
        let states = waiting.saturating_add(made);

        let [_, channels, _, height, width] = route.shape;
        let frames = batches.iter().map(|batch| batch.frames.len()).max().unwrap_or(0);
        let mut buffers = bytes([channels, frames, height, width]);
        // Noise of whole frames, and each worker's share of it.
        let noise = CallConditions::bytes(plan.model, route.half, [height, width]);
        buffers = buffers.saturating_add(noise.saturating_mul(1 + workers));
        buffers = buffers.saturating_add(workers.saturating_mul((all.results + all.taps) as u64));
        if !tiled && workers > 1 {
            // The frames of the other samples, and a result that comes back from disk.
            let others = (workers - 1).saturating_mul(bytes([channels, frames, height, width]));
            buffers = buffers.saturating_add(others).saturating_add(all.results as u64);
        }
        let shared = route.shared_frames();
        if shared > 0 && !plan.in_memory {
            // Frames that come again, and a batch twice while they are put in front of it.
            buffers = buffers.saturating_add(bytes([channels, shared + 2 * (frames + shared), height, width]));
        }
        let [out_height, out_width] = route.grid.output_size();
        let joined = FrameJoiner::most_frames(route);
        buffers =
            buffers.saturating_add(bytes([plan.model.result_channels(route.half), joined, out_height, out_width]));
        if tiled {
            let planes = plan.model.result_channels(route.half) * result_frames;
            let strips = blend_strips(&route.grid);
            let canvas = bytes([planes, out_height, out_width, 1]).saturating_add(bytes([planes, strips, 1, 1]));
            // The tiles' input, and, tile by tile, the result that comes back from disk.
            let back = if route.order == TileOrder::TileMajor { all.results } else { 0 };
            buffers = buffers.saturating_add(canvas).saturating_add(back as u64);
            buffers = buffers.saturating_add(workers.saturating_mul(all.inputs as u64));
        }

        let largest_weight = weights.values().copied().max().unwrap_or(0) as u64;
        let all_weights = weights.into_values().fold(0, usize::saturating_add);
        let to_make = (all_weights as u64).saturating_sub(plan.weights_made as u64);
        // Tensors as they were read, and their part of a mapped file. A thread may hold two: while it
        // waits for others to pack one, it begins the next. The allocator keeps that memory.
        let loading = (2 * plan.threads as u64).saturating_mul(largest_weight).min(to_make);
        let weights = match to_make {
            0 => 0,
            _ => to_make.saturating_add(self.kept).saturating_add(loading),
        };
        let scratch = (plan.threads as u64).saturating_mul(all.scratch as u64);
        let arena = workers.saturating_mul(all.arena as u64).saturating_add(scratch);
        let reserve = [weights, arena, states, buffers].into_iter().fold(0, u64::saturating_add) / 32;
        let code = (programs * PROGRAM_BYTES + plan.threads as u64 * THREAD_BYTES).saturating_add(reserve);
        Ok(MemoryEstimate { process: self.process, weights, arena, states, frames: buffers, code })
    }
}

/// Elements a plane of the strips that are kept for later tiles: of one row of tiles, and of one
/// tile to the left.
fn blend_strips(grid: &Grid) -> usize {
    let below = grid.rows.iter().map(|row| row.blend).max().unwrap_or(0);
    let right = grid.columns.iter().map(|column| column.blend).max().unwrap_or(0);
    let line: usize = grid.columns.iter().map(|column| column.result).sum();
    let tallest = grid.rows.iter().map(|row| row.result).max().unwrap_or(0);
    line.saturating_mul(below).saturating_add(right.saturating_mul(tallest))
}

#[cfg(test)]
mod tests;
