//! What a convolution costs by an algorithm, in blocks of a size: the estimate by which
//! [`choose`](crate::blocking::choose) compares them.
//!
//! A block copies the part of the input that it sees into scratch memory, transforms it where the
//! algorithm does, and runs its panels over that, whose weights stream past. Few large blocks read
//! weights seldom and transform little twice; small ones keep planes in the caches near a core. The
//! numbers are fitted to some seven hundred timed blockings of eighteen layers of published models.
//! They are those of no one machine, and the same on all, so that results are too.

use crate::blocking::{Algorithm, Blocking, Problem, TIME_PLANES};
use crate::target::DotProducts;

/// Scratch beyond this leaves the second-level cache, and panels slow down a little.
pub(crate) const SCRATCH_IN_CACHE: usize = 1 << 20;

/// Planes of a transform, with the input that they are of, beyond this are moved from farther away.
const PLANES_IN_CACHE: usize = 2 << 20;

/// Weights beyond this come from memory for every block.
const WEIGHTS_IN_CACHE: usize = 16 << 20;

/// Scratch is never larger than this, unless the smallest block needs more.
pub(crate) const SCRATCH_LIMIT: usize = 12 << 20;

/// Fewer blocks than this leave threads idle.
pub(crate) const BLOCKS_AIMED: usize = 16;

/// An estimate, in the time that a core takes for the multiply-adds of one row of a panel in one
/// step of k.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Of one run, on all cores together.
    pub time: f64,
    /// What packed weights are charged for once. They are held for many runs and each pays a part, so
    /// that what is hardly faster takes no more memory.
    pub packing: f64,
}

impl Cost {
    /// What is compared.
    pub fn total(&self) -> f64 {
        self.time + self.packing
    }
}

/// The cost of `problem` by an algorithm that applies to it.
pub(crate) fn cost(problem: &Problem, algorithm: Algorithm, blocking: &Blocking) -> Cost {
    let bytes = 4.0 * blocking.scratch(algorithm, problem).elements() as f64;
    let blocks = blocking.blocks(problem) as f64;
    let columns = (blocking.panels * problem.panel_columns) as f64;
    let all_columns = (blocking.panel_count * problem.panel_columns) as f64;
    // Weights stream in once a block, while panels compute.
    let column = 4.0 * (algorithm.planes() * algorithm.taps(problem.kernel) * algorithm.words(problem.inputs)) as f64;
    let of_byte = if column * all_columns <= WEIGHTS_IN_CACHE as f64 { 0.05 } else { 0.125 };
    let weights = column * columns * of_byte;
    let compute = panels(problem, algorithm, blocking, bytes);
    let contraction = compute.max(weights) + 0.1 * compute.min(weights);
    let block = contraction + around(problem, algorithm, blocking, bytes);
    let idle = if blocks < BLOCKS_AIMED as f64 { 1.0 + 0.02 * (BLOCKS_AIMED as f64 / blocks - 1.0) } else { 1.0 };
    let oversized = if bytes > SCRATCH_LIMIT as f64 { 1e6 * bytes } else { 0.0 };
    Cost { time: blocks * (block * idle + oversized), packing: 1.5 * column * all_columns }
}

/// The panels of a block.
fn panels(problem: &Problem, algorithm: Algorithm, blocking: &Blocking, bytes: f64) -> f64 {
    let [frames, lines, pixels] = blocking.space;
    let squares = blocking.squares(algorithm);
    // A call takes no less than the latency of its additions.
    let rows = |count: usize| {
        let calls = count.div_ceil(problem.panel_rows);
        count.max(5 * calls) as f64 + 0.3 * calls as f64
    };
    let all_rows = if !algorithm.transforms() {
        rows(pixels) * (frames * lines) as f64
    } else if algorithm.over_time() {
        rows(frames / 2 * squares) * (algorithm.planes() * TIME_PLANES) as f64
    } else {
        rows(frames * squares) * algorithm.planes() as f64
    };
    let depth = (algorithm.summed_taps(problem.kernel) * algorithm.words(problem.inputs)) as f64;
    let step = match problem.dot_products {
        DotProducts::Slow if algorithm == Algorithm::Dot => 3.5,
        _ => 1.0,
    };
    // Without a transform they read the scratch itself.
    let slow = match bytes / SCRATCH_IN_CACHE as f64 {
        _ if algorithm.transforms() => 1.0,
        ..=1.0 => 1.0,
        ..=4.0 => 1.04,
        _ => 1.35,
    };
    slow * step * all_rows * depth * blocking.panels as f64
}

/// What a block does before its panels and behind them: the copy of its input, and transforms.
fn around(problem: &Problem, algorithm: Algorithm, blocking: &Blocking, bytes: f64) -> f64 {
    let scratch = blocking.scratch(algorithm, problem);
    let copy = 0.1 * 4.0 * scratch.input as f64;
    if !algorithm.transforms() {
        return copy;
    }
    // Loads, stores and additions, a vector of channels at a time, and what planes take longer that
    // do not stay in cache.
    let vector = problem.panel_columns as f64 / 2.0;
    let (forward, back) = if algorithm.outputs() == 2 { (36.0, 27.0) } else { (120.0, 90.0) };
    let squares = blocking.squares(algorithm);
    let inputs = (blocking.scratch_space(problem)[0] * squares * problem.inputs) as f64;
    let outputs = (blocking.space[0] * squares * blocking.panels * problem.panel_columns) as f64;
    let outside = (1.0 - PLANES_IN_CACHE as f64 / bytes).max(0.0);
    let moved = 4.0 * (scratch.transformed + scratch.products) as f64;
    copy + (inputs * forward + outputs * back) / vector + 0.5 * outside * moved
}
