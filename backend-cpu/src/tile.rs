//! How a direct convolution is cut into blocks, chosen by a small model of its cost.
//!
//! A block computes a box of the result (frames, lines, pixels) for a group of output channels. It first copies the part
//! of the input that the box sees into scratch memory, then runs the panels over it. Larger boxes copy less and read the
//! weights less often; smaller ones keep the scratch in cache and leave more blocks to share out. The choice depends on
//! the convolution and the panel alone, never on the number of threads, so results do not either.

/// Bytes of packed weights that one pass over a block keeps in the second-level cache.
const WEIGHT_SLICE_BYTES: usize = 192 << 10;

/// Scratch beyond this leaves the second-level cache, and panels slow down a little.
const SCRATCH_IN_CACHE: usize = 1 << 20;

/// Scratch is never larger than this, unless a single output pixel needs more.
const SCRATCH_LIMIT: usize = 6 << 20;

/// Fewer blocks than this leave threads idle.
const BLOCKS_AIMED: usize = 16;

/// The cut of a convolution into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Frames, lines and pixels of the result in one block; blocks at the border may be smaller.
    pub space: [usize; 3],
    /// Output panels in one block.
    pub panels: usize,
    /// Output panels in all.
    pub panel_count: usize,
    /// Steps of the contraction in one pass over the block.
    pub depth: usize,
}

/// The sizes that the choice of a tile depends on.
#[derive(Clone, Copy, Debug)]
pub struct Problem {
    /// Videos.
    pub batch: usize,
    /// Time, height, width of the result.
    pub result: [usize; 3],
    /// Time, height, width of the kernel.
    pub kernel: [usize; 3],
    /// Steps of the kernel.
    pub strides: [usize; 3],
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Columns of a panel.
    pub panel_columns: usize,
    /// Most rows of a panel.
    pub panel_rows: usize,
}

impl Tile {
    /// Number of blocks over a result of these sizes.
    pub fn blocks(&self, batch: usize, result: [usize; 3]) -> usize {
        let boxes: usize = (0..3).map(|axis| result[axis].div_ceil(self.space[axis])).product();
        batch * boxes * self.panel_count.div_ceil(self.panels)
    }

    /// Frames, lines and pixels of the input (with what stands around it) that a block sees.
    pub fn scratch_space(&self, kernel: [usize; 3], strides: [usize; 3]) -> [usize; 3] {
        std::array::from_fn(|axis| (self.space[axis] - 1) * strides[axis] + kernel[axis])
    }

    /// Elements of scratch that a block needs.
    pub fn scratch_elements(&self, kernel: [usize; 3], strides: [usize; 3], inputs: usize) -> usize {
        self.scratch_space(kernel, strides).iter().fold(inputs, |n, &size| n.saturating_mul(size))
    }

    /// The tile of least estimated cost.
    pub fn choose(problem: &Problem) -> Self {
        let panel_count = problem.outputs.div_ceil(problem.panel_columns);
        let total_depth = problem.kernel.iter().product::<usize>() * problem.inputs;
        let slice = (WEIGHT_SLICE_BYTES / (4 * problem.panel_columns)).max(1);
        let depth = total_depth.div_ceil(total_depth.div_ceil(slice));
        let smallest = Self { space: [1; 3], panels: 1, panel_count, depth };
        let mut best = (f64::INFINITY, smallest);
        for frames in cuts(problem.result[0]) {
            for lines in cuts(problem.result[1]) {
                for pixels in cuts(problem.result[2]) {
                    for panels in cuts(panel_count).filter(|p| panel_count / p <= 8) {
                        let tile = Self { space: [frames, lines, pixels], panels, panel_count, depth };
                        let cost = tile.cost(problem);
                        if cost < best.0 {
                            best = (cost, tile);
                        }
                    }
                }
            }
        }
        best.1
    }

    /// Estimated time in cycles of one core; infinite for a tile that is not to be used.
    fn cost(&self, problem: &Problem) -> f64 {
        let scratch = 4 * self.scratch_elements(problem.kernel, problem.strides, problem.inputs);
        if scratch > SCRATCH_LIMIT {
            return f64::INFINITY;
        }
        let blocks = self.blocks(problem.batch, problem.result) as f64;
        let total_depth = (problem.kernel.iter().product::<usize>() * problem.inputs) as f64;
        // A panel call takes a cycle for each row and step of k, and no less than the latency of its additions.
        let line: f64 = chunks(self.space[2], problem.panel_rows).map(|rows| rows.max(5) as f64 + 0.3).sum();
        let slow = if scratch > SCRATCH_IN_CACHE { 1.04 } else { 1.0 };
        let lines = (self.space[0] * self.space[1]) as f64;
        let compute = slow * line * lines * total_depth * self.panels as f64;
        // Copies write the scratch and read the input from farther away; weights stream in once a block.
        let copy = scratch as f64 / 6.0;
        let weights = 4.0 * total_depth * (self.panels * problem.panel_columns) as f64 / 8.0;
        let rounds = (blocks / BLOCKS_AIMED as f64).ceil() * BLOCKS_AIMED as f64 / blocks;
        let idle = if blocks < BLOCKS_AIMED as f64 { 1.0 + 0.02 * (rounds - 1.0) } else { 1.0 };
        blocks * (compute + copy + weights) * idle
    }
}

/// Sizes that cut `size` into nearly equal parts, largest first, each once.
fn cuts(size: usize) -> impl Iterator<Item = usize> {
    let mut last = 0;
    (1..=size).map(move |parts| size.div_ceil(parts)).filter(move |&part| {
        let new = part != last;
        last = part;
        new
    })
}

/// Cuts `size` into the fewest chunks of at most `limit`, as equal as can be, larger ones first.
pub fn chunks(size: usize, limit: usize) -> impl Iterator<Item = usize> {
    let count = size.div_ceil(limit).max(1);
    (0..count).map(move |i| size / count + usize::from(i < size % count)).filter(|&n| n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_the_size() {
        for size in 1..200 {
            for limit in 1..30 {
                let all: Vec<_> = chunks(size, limit).collect();
                assert_eq!(all.iter().sum::<usize>(), size);
                assert!(all.iter().all(|&n| (1..=limit).contains(&n)), "{size} {limit} {all:?}");
                assert!(all[0] - all[all.len() - 1] <= 1);
            }
        }
    }

    #[test]
    fn blocks_cover_the_result() {
        for (result, inputs, outputs) in [([8, 96, 128], 128, 128), ([2, 12, 16], 512, 512), ([1, 1, 1], 3, 1)] {
            let problem = Problem {
                batch: 1,
                result,
                kernel: [3; 3],
                strides: [1; 3],
                inputs,
                outputs,
                panel_columns: 32,
                panel_rows: 14,
            };
            let tile = Tile::choose(&problem);
            assert!((0..3).all(|axis| (1..=result[axis]).contains(&tile.space[axis])));
            assert!(4 * tile.scratch_elements([3; 3], [1; 3], inputs) <= SCRATCH_LIMIT);
            assert!(tile.depth * 27 * inputs >= tile.depth && tile.depth <= 27 * inputs);
        }
    }
}
