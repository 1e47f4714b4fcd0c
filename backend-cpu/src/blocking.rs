//! Which algorithm a convolution runs by, and how it is cut into blocks: of all cuts the one of least
//! estimated cost (`cost_model`).
//!
//! A block computes a box of the result (frames, lines, pixels) for a group of output channels. It
//! first copies the part of the input that the box sees into scratch memory, then runs the panels
//! over it, directly or on what Winograd's transform makes of it. Larger boxes copy less and read
//! the weights less often; smaller ones keep the scratch in cache and leave more blocks to share
//! out. The choice depends on the convolution and the panel alone, never on the number of threads,
//! so results do not either.

use crate::cost_model::{Cost, cost};
use crate::element::Element;
use crate::target::DotProducts;

/// Most steps of a contraction that are added up one by one; the sums of such slices are added to
/// each other. The rounding of a sum grows with its length: at the published size this one gives a
/// decoder of videos 1.2 times the error of PyTorch's f32, a whole contraction twice, and costs one or
/// two hundredths of the time.
pub(crate) const SUM_DEPTH: usize = 96;

/// The same of transformed inputs, whose sums the transform back mixes and so rounds more: slices of
/// 48, 64, 96 and 192 steps give a decoder of images 2.1, 2.3, 2.5 and 3.3 times the error of
/// PyTorch's f32 by F(4x4) alone.
const TRANSFORMED_SUM_DEPTH: usize = 64;

/// Floats between the planes of a transform, so that planes do not start in the same cache set.
const PLANE_PADDING: usize = 16;

/// Planes of F(2, 3) over time.
pub(crate) const TIME_PLANES: usize = 4;

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// Multiply every tap.
    Direct,
    /// The same by dot products of bf16, where the CPU has them: two channels at a time, from bf16
    /// in scratch and weights.
    Dot,
    /// Winograd's F(2x2, 3x3) over height and width (Lavin and Gray 2015, arXiv:1509.09308): 2.25
    /// times fewer multiplications.
    Winograd2,
    /// F(4x4, 3x3): 4 times fewer, on 36 planes of weights.
    Winograd4,
    /// F(2x2, 3x3) with F(2, 3) over time: 3.4 times fewer.
    Winograd2Time,
    /// F(4x4, 3x3) with F(2, 3) over time: 6 times fewer.
    Winograd4Time,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 6] =
        [Self::Direct, Self::Dot, Self::Winograd2, Self::Winograd4, Self::Winograd2Time, Self::Winograd4Time];

    /// The name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Dot => "dot",
            Self::Winograd2 => "winograd2",
            Self::Winograd4 => "winograd4",
            Self::Winograd2Time => "winograd2_time",
            Self::Winograd4Time => "winograd4_time",
        }
    }

    /// Height and width of the square of outputs that one transform gives; 1 without a transform.
    pub const fn outputs(self) -> usize {
        match self {
            Self::Direct | Self::Dot => 1,
            Self::Winograd2 | Self::Winograd2Time => 2,
            Self::Winograd4 | Self::Winograd4Time => 4,
        }
    }

    /// Whether inputs are transformed before they are multiplied, and products after.
    pub const fn transforms(self) -> bool {
        self.outputs() > 1
    }

    /// What is multiplied: elements of the scratch and of packed weights.
    pub const fn factors(self) -> Element {
        match self {
            Self::Dot => Element::Bf16,
            _ => Element::F32,
        }
    }

    /// Words of a pixel of so many channels in the scratch: the steps of k that it takes.
    pub const fn words(self, channels: usize) -> usize {
        channels / self.factors().per_word()
    }

    /// Whether time is transformed as well: two frames from four planes.
    pub const fn over_time(self) -> bool {
        matches!(self, Self::Winograd2Time | Self::Winograd4Time)
    }

    /// The same without a transform over time; none where there is none.
    pub(crate) const fn over_space_alone(self) -> Option<Self> {
        match self {
            Self::Winograd2Time => Some(Self::Winograd2),
            Self::Winograd4Time => Some(Self::Winograd4),
            Self::Direct | Self::Dot | Self::Winograd2 | Self::Winograd4 => None,
        }
    }

    /// How many matrices, each of input by output channels, a plane of the weights has.
    pub const fn taps(self, kernel: [usize; 3]) -> usize {
        match self {
            Self::Direct | Self::Dot => kernel[0] * kernel[1] * kernel[2],
            Self::Winograd2 | Self::Winograd4 => kernel[0],
            Self::Winograd2Time | Self::Winograd4Time => TIME_PLANES,
        }
    }

    /// Matrices over which one contraction sums: with time transformed, each is a contraction of
    /// its own.
    pub(crate) const fn summed_taps(self, kernel: [usize; 3]) -> usize {
        if self.over_time() { 1 } else { self.taps(kernel) }
    }

    /// Number of planes: products of a square with the transformed weights.
    pub const fn planes(self) -> usize {
        match self {
            Self::Direct | Self::Dot => 1,
            _ => (self.outputs() + 2) * (self.outputs() + 2),
        }
    }

    /// Whether it computes this convolution at all. Of a single frame, a transform over time makes
    /// two and throws one away: never the least cost, but other programs may have weights in no other
    /// form.
    pub fn applies(self, problem: &Problem) -> bool {
        match self {
            Self::Direct => true,
            Self::Dot => {
                let is_narrow = problem.element == Element::Bf16 && problem.dot_products != DotProducts::Absent;
                is_narrow && problem.inputs.is_multiple_of(self.factors().per_word())
            }
            _ => {
                problem.kernel[1..] == [3, 3]
                    && problem.strides == [1; 3]
                    && (!self.over_time() || problem.kernel[0] == 3)
            }
        }
    }
}

/// The cut of a convolution into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Blocking {
    /// Frames, lines and pixels of the result in one block; blocks at the border may be smaller.
    pub space: [usize; 3],
    /// Output panels in one block.
    pub panels: usize,
    /// Output panels in all.
    pub panel_count: usize,
    /// Steps of the contraction in one pass over the block.
    pub depth: usize,
}

/// The sizes of a convolution that the choice of its algorithm and blocking depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// Of input, cache, residual and result.
    pub element: Element,
    /// What its bf16 may be multiplied with. Absent for a convolution that normalises what it
    /// reads, whatever the CPU has: dot products would round what is normalised, as nothing
    /// else does.
    pub dot_products: DotProducts,
}

impl Problem {
    /// The same with so many taps over time.
    pub(crate) fn with_taps(self, taps: usize) -> Self {
        Self { kernel: [taps, self.kernel[1], self.kernel[2]], ..self }
    }
}

impl Blocking {
    /// Number of blocks.
    pub fn blocks(&self, problem: &Problem) -> usize {
        problem.batch * self.boxes(problem).iter().product::<usize>() * self.panel_groups()
    }

    /// Boxes of a video along time, height and width.
    pub fn boxes(&self, problem: &Problem) -> [usize; 3] {
        std::array::from_fn(|axis| problem.result[axis].div_ceil(self.space[axis]))
    }

    /// Blocks that compute the same box for different output channels.
    pub fn panel_groups(&self) -> usize {
        self.panel_count.div_ceil(self.panels)
    }

    /// Frames, lines and pixels of the input (with what stands around it) that a block sees.
    pub fn scratch_space(&self, problem: &Problem) -> [usize; 3] {
        std::array::from_fn(|axis| (self.space[axis] - 1) * problem.strides[axis] + problem.kernel[axis])
    }

    /// The squares of outputs in one frame of a block.
    pub fn squares(&self, algorithm: Algorithm) -> usize {
        (self.space[1] / algorithm.outputs()) * (self.space[2] / algorithm.outputs())
    }

    /// The parts of a block's scratch.
    pub fn scratch(&self, algorithm: Algorithm, problem: &Problem) -> Scratch {
        let [frames, lines, columns] = self.scratch_space(problem);
        let words = algorithm.words(problem.inputs);
        let input = [frames, lines, columns].iter().fold(words, |n, &size| n.saturating_mul(size));
        if !algorithm.transforms() {
            // What is rounded when it is stored is summed elsewhere until it is whole.
            let summed = self.space.iter().product::<usize>().saturating_mul(self.panels * problem.panel_columns);
            let products = if problem.element.holds_sums() { 0 } else { summed };
            return Scratch { input, products, ..Scratch::default() };
        }
        let (planes, squares) = (algorithm.planes(), self.squares(algorithm));
        let transformed_plane = (frames * squares).saturating_mul(problem.inputs) + PLANE_PADDING;
        let columns = self.panels * problem.panel_columns;
        let products_plane = (self.space[0] * squares).saturating_mul(columns) + PLANE_PADDING;
        let (mut time_inputs_plane, mut time_products_plane) = (0, 0);
        if algorithm.over_time() {
            let rows = self.space[0] / 2 * squares;
            time_inputs_plane = rows.saturating_mul(problem.inputs) + PLANE_PADDING;
            time_products_plane = rows.saturating_mul(columns) + PLANE_PADDING;
        }
        Scratch {
            input,
            transformed: planes.saturating_mul(transformed_plane),
            products: planes.saturating_mul(products_plane),
            time: TIME_PLANES.saturating_mul(time_inputs_plane.saturating_add(time_products_plane)),
            transformed_plane,
            products_plane,
            time_inputs_plane,
            time_products_plane,
        }
    }
}

/// The parts of a block's scratch, in words of 32 bits, one behind the other; f32 but for the input
/// of some algorithms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scratch {
    /// The part of the input: frames, lines, pixels, channels.
    pub input: usize,
    /// What the transform makes of it: planes, frames, squares, channels.
    pub transformed: usize,
    /// Products: planes, frames, squares, output channels of the block's panels; without a
    /// transform, the sums of results that are not f32: frames, lines, pixels, output channels
    /// of the block's panels.
    pub products: usize,
    /// One plane transformed over time, and its products: planes over time, pairs of frames,
    /// squares, channels.
    pub time: usize,
    /// Elements from plane to plane of `transformed`.
    pub transformed_plane: usize,
    /// Elements from plane to plane of `products`.
    pub products_plane: usize,
    /// Elements from plane to plane over time of the inputs.
    pub time_inputs_plane: usize,
    /// Elements from plane to plane over time of their products.
    pub time_products_plane: usize,
}

impl Scratch {
    /// Elements in all.
    pub fn elements(&self) -> usize {
        self.input.saturating_add(self.transformed).saturating_add(self.products).saturating_add(self.time)
    }
}

/// How a convolution is computed, and what that costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// How.
    pub algorithm: Algorithm,
    /// In which blocks.
    pub blocking: Blocking,
    /// The estimate by which it was chosen.
    pub cost: Cost,
}

/// The algorithm and blocking of least estimated cost, among the algorithms for which `allowed`
/// holds; direct if none applies.
pub fn choose(problem: &Problem, allowed: &dyn Fn(Algorithm) -> bool) -> Choice {
    let mut algorithms: Vec<_> = Algorithm::ALL.into_iter().filter(|a| a.applies(problem) && allowed(*a)).collect();
    if algorithms.is_empty() {
        algorithms.push(Algorithm::Direct);
    }
    let choices = algorithms.into_iter().flat_map(|algorithm| {
        let choice = move |blocking| Choice { algorithm, blocking, cost: cost(problem, algorithm, &blocking) };
        candidates(problem, algorithm).into_iter().map(choice)
    });
    choices.min_by(|a, b| a.cost.total().total_cmp(&b.cost.total())).expect("every problem has a smallest blocking")
}

/// The cuts worth a look, the smallest first.
fn candidates(problem: &Problem, algorithm: Algorithm) -> Vec<Blocking> {
    let panel_count = problem.outputs.div_ceil(problem.panel_columns);
    let total_depth = algorithm.summed_taps(problem.kernel) * algorithm.words(problem.inputs);
    let most = if algorithm.transforms() { TRANSFORMED_SUM_DEPTH } else { SUM_DEPTH };
    let depth = total_depth.div_ceil(total_depth.div_ceil(most));
    let side = algorithm.outputs();
    // A transform takes all frames together: its weights are read once for them.
    let frames: Vec<usize> = match algorithm {
        Algorithm::Direct | Algorithm::Dot => cuts(problem.result[0], 1).collect(),
        Algorithm::Winograd2 | Algorithm::Winograd4 => vec![problem.result[0]],
        Algorithm::Winograd2Time | Algorithm::Winograd4Time => vec![problem.result[0].next_multiple_of(2)],
    };
    let mut all = vec![Blocking { space: [frames[frames.len() - 1], side, side], panels: 1, panel_count, depth }];
    for &frames in &frames {
        for lines in cuts(problem.result[1], side) {
            for pixels in cuts(problem.result[2], side) {
                for panels in cuts(panel_count, 1).filter(|p| panel_count / p <= 8) {
                    all.push(Blocking { space: [frames, lines, pixels], panels, panel_count, depth });
                }
            }
        }
    }
    all
}

/// Sizes, multiples of `step`, that cut `size` into nearly equal parts: largest first, each once,
/// down to one step; of the large ones, those that differ by an eighth.
fn cuts(size: usize, step: usize) -> impl Iterator<Item = usize> {
    const ALL_BELOW: usize = 16;
    let steps = size.div_ceil(step);
    let mut last = usize::MAX;
    (1..=steps).map(move |parts| steps.div_ceil(parts)).filter_map(move |part| {
        let new = part < last && (part <= ALL_BELOW || part <= last - last / 8);
        new.then(|| {
            last = part;
            part * step
        })
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
    fn cuts_reach_from_the_whole_to_one_step() {
        for size in [1, 5, 16, 100, 720, 4000] {
            for step in [1, 2, 4] {
                let all: Vec<_> = cuts(size, step).collect();
                assert_eq!((all[0], all[all.len() - 1]), (size.next_multiple_of(step), step), "{all:?}");
                assert!(all.is_sorted_by(|a, b| a > b) && all.len() < 64, "{all:?}");
            }
        }
    }

    #[test]
    fn a_choice_fits_the_result() {
        for (result, inputs, outputs) in
            [([8, 480, 720], 256, 256), ([8, 96, 128], 128, 128), ([2, 12, 16], 512, 512), ([3, 5, 7], 20, 40)]
        {
            let problem = Problem {
                batch: 1,
                result,
                kernel: [3; 3],
                strides: [1; 3],
                inputs,
                outputs,
                panel_columns: 32,
                panel_rows: 14,
                element: Element::Bf16,
                dot_products: DotProducts::Slow,
            };
            for only in Algorithm::ALL {
                let Choice { algorithm, blocking, .. } = choose(&problem, &|a| a == only);
                assert_eq!(algorithm, only);
                let side = algorithm.outputs();
                assert!((0..3).all(|axis| (1..=result[axis] + side).contains(&blocking.space[axis])), "{blocking:?}");
                assert!(blocking.space[1..].iter().all(|size| size % side == 0), "{blocking:?}");
                assert!(4 * blocking.scratch(algorithm, &problem).elements() <= crate::cost_model::SCRATCH_LIMIT);
            }
        }
    }

    #[test]
    fn large_layers_are_transformed_and_strided_ones_are_not() {
        let large = Problem {
            batch: 1,
            result: [8, 96, 128],
            kernel: [3; 3],
            strides: [1; 3],
            inputs: 128,
            outputs: 128,
            panel_columns: 32,
            panel_rows: 14,
            element: Element::F32,
            dot_products: DotProducts::Absent,
        };
        assert_eq!(choose(&large, &|_| true).algorithm, Algorithm::Winograd4Time);
        assert_eq!(choose(&Problem { result: [8, 768, 1360], ..large }, &|_| true).algorithm, Algorithm::Winograd4Time);
        assert_eq!(choose(&Problem { result: [1, 96, 128], ..large }, &|_| true).algorithm, Algorithm::Winograd4);
        assert_eq!(choose(&Problem { strides: [1, 2, 2], ..large }, &|_| true).algorithm, Algorithm::Direct);
        assert_eq!(choose(&Problem { kernel: [1; 3], ..large }, &|_| true).algorithm, Algorithm::Direct);
        // Fast dot products take what is not transformed, slow ones nothing, and none an odd number
        // of channels.
        let narrow = Problem { element: Element::Bf16, strides: [1, 2, 2], ..large };
        let choice = |problem: Problem| choose(&problem, &|_| true).algorithm;
        assert_eq!(choice(Problem { dot_products: DotProducts::Fast, ..narrow }), Algorithm::Dot);
        assert_eq!(choice(Problem { dot_products: DotProducts::Slow, ..narrow }), Algorithm::Direct);
        assert_eq!(choice(Problem { dot_products: DotProducts::Fast, inputs: 127, ..narrow }), Algorithm::Direct);
        assert_eq!(
            choice(Problem { dot_products: DotProducts::Fast, element: Element::F32, ..narrow }),
            Algorithm::Direct
        );
    }
}
