//! Kernels: what is compiled to one function, described completely by numbers.
//!
//! A kernel knows no graph, no buffer and no module path, so ops with the same shapes share one
//! compiled function. Each is called as `kernel(arguments, scratch, block)`: a table of pointers in
//! the order given here, memory of the calling thread alone, and which of its independent blocks to
//! compute. How kernels are made of ops is in `instruction_selection`; their code is in `codegen`.

mod gather;
mod grouped_convolution;
mod linear_attention;

use std::fmt;

use ir::{Activation, AttentionMask, ChannelNormKind, PadMode, UnaryFunction};

pub use gather::{AxisMap, Gather};
pub use grouped_convolution::GroupedConvolution;
pub(crate) use linear_attention::KEYS_AT_ONCE;
pub use linear_attention::LinearAttention;

use crate::attention::Attention;
use crate::blocking::{Algorithm, Blocking, Problem, Scratch};
use crate::element::Element;
use crate::packing::PackedRows;

/// Elements that one block of a pointwise kernel computes.
const POINTWISE_BLOCK: usize = 1 << 14;

/// Elements that one block of a kernel over lines aims at.
const LINE_BLOCK: usize = 1 << 15;

/// Blocks into which the sums of a group normalisation are divided, at most; part of the result's
/// rounding, so a constant and no matter of the machine.
const SUM_BLOCKS: usize = 256;

/// Code specialised to shapes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Moves elements; see [`Gather`]. Arguments: result, source.
    Gather(Gather),
    /// Arguments: result, then one or two operands.
    Pointwise(Pointwise),
    /// The same numbers in other elements. Arguments: result, operand.
    Convert {
        /// How many.
        elements: usize,
        /// Those of the operand.
        from: Element,
        /// Those of the result.
        to: Element,
    },
    /// Adds a vector in f32 to each pixel. Arguments: result, input, bias.
    AddBias {
        /// Of input and result.
        element: Element,
        /// Pixels of all frames.
        pixels: usize,
        /// Channels of a pixel.
        channels: usize,
    },
    /// Means of windows. Arguments: result, input.
    AveragePool(AveragePool),
    /// Sums of each channel. Arguments: [`Sums`], input.
    ChannelSums {
        /// Of the input.
        element: Element,
        /// The input.
        lines: Lines,
    },
    /// Mean and reciprocal standard deviation of each group. Arguments: statistics `[batch, groups,
    /// 2]`, sums.
    GroupStatistics {
        /// What was summed.
        sums: Sums,
        /// Groups of channels.
        groups: usize,
        /// The bits of the f64 that is added to each variance.
        epsilon: u64,
    },
    /// Normalises, modulates, activates. Arguments: result, input, statistics, scale, offset, then
    /// gain and shift; statistics, scale and offset are f32.
    Normalize(Normalize),
    /// Normalises over the channels of each pixel, activates. Arguments: result, input, then those
    /// of scale and offset that are there, in f32.
    ChannelNorm(ChannelNorm),
    /// Arguments: result, input, weights `[depth, height, width, inputs of a group, outputs]`, then
    /// the bias if there is one, in f32.
    GroupedConvolution(GroupedConvolution),
    /// Arguments: result, input, packed weights, then those of cache, bias and residual that are
    /// there, those of the prologue, and [`Sums`] of the result if it makes them; weights and
    /// bias are f32.
    Convolution(Convolution),
    /// Keys in the order in which panels read them, in f32. Arguments: packed keys of all heads,
    /// keys.
    PackKeys(Attention),
    /// Values likewise. Arguments: packed values of all heads, values.
    PackValues(Attention),
    /// Arguments: result, queries, then packed keys and packed values; keys and values as they are
    /// where a block packs them.
    Attention(Attention),
    /// Sums over keys of all heads, in f32. Arguments: sums, keys, values.
    LinearAttentionSums(LinearAttention),
    /// What queries make of these. Arguments: result, queries, sums.
    LinearAttention(LinearAttention),
}

/// An elementwise kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pointwise {
    /// What is computed.
    pub function: PointwiseFunction,
    /// Of how many elements.
    pub elements: usize,
    /// Of operands and result.
    pub element: Element,
}

impl Pointwise {
    /// Elements of one block.
    pub const BLOCK: usize = POINTWISE_BLOCK;
}

/// What a pointwise kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PointwiseFunction {
    /// Of two operands.
    Add,
    /// Of two operands.
    Multiply,
    /// Of one operand.
    Silu,
    /// Of one operand.
    Unary(UnaryFunction),
    /// Of one operand; the bits of the bounds in f32.
    Clamp {
        /// The least.
        low: u32,
        /// The largest.
        high: u32,
    },
}

impl PointwiseFunction {
    /// Number of operands.
    pub const fn operands(self) -> usize {
        match self {
            Self::Add | Self::Multiply => 2,
            Self::Silu | Self::Unary(_) | Self::Clamp { .. } => 1,
        }
    }

    /// The op's name, or the function's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Multiply => "multiply",
            Self::Silu => "silu",
            Self::Unary(function) => function.word(),
            Self::Clamp { .. } => "clamp",
        }
    }
}

/// Means over windows that do not overlap, channel-last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AveragePool {
    /// Videos.
    pub batch: usize,
    /// Time, height, width of the input.
    pub input: [usize; 3],
    /// Time, height, width of the result.
    pub result: [usize; 3],
    /// The window.
    pub window: [usize; 3],
    /// Whether frame 0 is averaged by itself.
    pub apart: bool,
    /// Channels.
    pub channels: usize,
    /// Of input and result.
    pub element: Element,
}

/// A channel-last video as lines of pixels, divided into blocks of whole lines within one element
/// of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lines {
    /// Videos.
    pub batch: usize,
    /// Lines of one video: frames times height.
    pub lines: usize,
    /// Pixels of a line.
    pub width: usize,
    /// Channels of a pixel.
    pub channels: usize,
}

impl Lines {
    /// Lines of one block.
    pub fn per_block(&self) -> usize {
        let aimed = (LINE_BLOCK / (self.width * self.channels)).max(1);
        aimed.max(self.lines.div_ceil(SUM_BLOCKS)).min(self.lines)
    }

    /// Blocks of one video.
    pub fn blocks(&self) -> usize {
        self.lines.div_ceil(self.per_block())
    }

    /// The sums over each block.
    pub fn sums(&self) -> Sums {
        let Self { batch, channels, .. } = *self;
        Sums { batch, parts: self.blocks(), pixels: self.lines * self.width, channels }
    }
}

/// Sums and sums of squares of each channel over each part of a video, in f64: `[batch, parts, 2,
/// pitch]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sums {
    /// Videos.
    pub batch: usize,
    /// Parts of a video.
    pub parts: usize,
    /// Pixels of a video.
    pub pixels: usize,
    /// Channels of a pixel.
    pub channels: usize,
}

impl Sums {
    /// Numbers from the sums of a part to its sums of squares: whole vectors of any instruction
    /// set.
    pub fn pitch(&self) -> usize {
        self.channels.next_multiple_of(16)
    }

    /// Bytes of a part.
    pub fn part_bytes(&self) -> usize {
        2 * self.pitch() * size_of::<f64>()
    }

    /// Bytes of all parts.
    pub fn bytes(&self) -> usize {
        self.batch * self.parts * self.part_bytes()
    }
}

/// A fused group normalisation, channel-last, of all frames or of some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Normalize {
    /// Videos.
    pub batch: usize,
    /// Time, height, width.
    pub space: [usize; 3],
    /// Channels.
    pub channels: usize,
    /// Groups of channels.
    pub groups: usize,
    /// Time, height, width of gain and shift, and whether their frame 0 stands apart.
    pub modulation: Option<([usize; 3], bool)>,
    /// What is applied last.
    pub activation: Activation,
    /// Of input, gain, shift and result.
    pub element: Element,
    /// The first frame that is wanted, and how many are.
    pub frames: [usize; 2],
}

impl Normalize {
    /// How the result is divided into lines.
    pub fn lines(&self) -> Lines {
        let [_, height, width] = self.space;
        Lines { batch: self.batch, lines: self.frames[1] * height, width, channels: self.channels }
    }

    /// Number of arguments behind the input: statistics, scale, offset, then gain and shift.
    pub const fn arguments(&self) -> usize {
        if self.modulation.is_some() { 5 } else { 3 }
    }
}

/// A normalisation over the channels of each pixel, channel-last, of all pixels or of some that
/// follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelNorm {
    /// Tensors one behind the other.
    pub batch: usize,
    /// Pixels of one tensor.
    pub pixels: usize,
    /// The first pixel of each that is wanted, and how many are: the result has no others.
    pub wanted: [usize; 2],
    /// Channels of a pixel.
    pub channels: usize,
    /// By what they are divided.
    pub kind: ChannelNormKind,
    /// The bits of the f64 that keeps the divisor from zero.
    pub epsilon: u64,
    /// Whether each channel is then multiplied with a number.
    pub scale: bool,
    /// Whether a number is then added to each channel.
    pub offset: bool,
    /// What is applied last.
    pub activation: Activation,
    /// Of input and result.
    pub element: Element,
}

impl ChannelNorm {
    /// Pixels of one block.
    pub fn pixels_per_block(&self) -> usize {
        (LINE_BLOCK / self.channels).clamp(1, self.wanted[1])
    }

    /// Blocks of one tensor.
    pub fn blocks(&self) -> usize {
        self.wanted[1].div_ceil(self.pixels_per_block())
    }

    /// Number of arguments behind the input: scale and offset.
    pub fn arguments(&self) -> usize {
        usize::from(self.scale) + usize::from(self.offset)
    }
}

/// What happens to the input of a convolution when it is read, before zeros are put around it. The
/// frames of a cache are read as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prologue {
    /// Nothing.
    None,
    /// It is resized to the nearest element, from this time, height and width; whether frame 0
    /// stands apart.
    Resize([usize; 3], bool),
    /// It is normalised. Further arguments stand behind all others: statistics, scale, offset, then
    /// gain and shift.
    Normalize(Normalize),
    /// It is normalised pixel by pixel. Further arguments stand behind all others: scale, offset.
    ChannelNorm(ChannelNorm),
}

impl Prologue {
    /// Number of arguments behind all others.
    pub fn arguments(&self) -> usize {
        match self {
            Self::None | Self::Resize(..) => 0,
            Self::Normalize(kernel) => kernel.arguments(),
            Self::ChannelNorm(kernel) => kernel.arguments(),
        }
    }
}

/// What stands in front of a convolution's input in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeadingFrames {
    /// Its first frame, so many times.
    Repeat(usize),
    /// So many frames of a cache.
    Cache(usize),
}

impl LeadingFrames {
    /// Number of frames.
    pub const fn frames(self) -> usize {
        match self {
            Self::Repeat(frames) | Self::Cache(frames) => frames,
        }
    }
}

/// A convolution, channel-last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convolution {
    /// Its sizes, and those of its panels.
    pub problem: Problem,
    /// Time, height, width of the input behind the prologue, without what stands in front.
    pub input: [usize; 3],
    /// What happens to the input.
    pub prologue: Prologue,
    /// What stands in front.
    pub leading: LeadingFrames,
    /// What stands before and behind, along time, height and width.
    pub padding: [[usize; 2]; 3],
    /// What that is: made as the scratch is filled, of the input behind the prologue.
    pub border: [PadMode; 3],
    /// Whether a bias is added.
    pub bias: bool,
    /// Whether a residual is added.
    pub residual: bool,
    /// Whether the result is summed channel by channel as it is written, for a normalisation
    /// behind; by Winograd's algorithms alone, whose last transform has whole vectors of
    /// channels at hand.
    pub summed: bool,
    /// How it is computed.
    pub algorithm: Algorithm,
    /// How the work is cut into blocks.
    pub blocking: Blocking,
    /// Which rows of its packed weights it reads.
    pub weights: PackedRows,
}

impl Convolution {
    /// Rows that it reads of a panel of the weights, for each plane: taps times words of the input
    /// channels.
    pub const fn depth(&self) -> usize {
        self.algorithm.taps(self.problem.kernel) * self.pixel_words()
    }

    /// Words of a pixel in the scratch.
    pub const fn pixel_words(&self) -> usize {
        self.algorithm.words(self.problem.inputs)
    }

    /// The parts of a block's scratch; behind them are the coefficients of a normalisation.
    pub fn scratch(&self) -> Scratch {
        self.blocking.scratch(self.algorithm, &self.problem)
    }

    /// Words of scratch for the coefficients of a normalisation.
    fn coefficients(&self) -> usize {
        if matches!(self.prologue, Prologue::Normalize(_)) { 3 * self.problem.inputs } else { 0 }
    }

    /// Index of the cache among the arguments.
    pub const CACHE: usize = 3;

    /// Index of the bias among the arguments.
    pub fn bias_argument(&self) -> usize {
        3 + usize::from(matches!(self.leading, LeadingFrames::Cache(_)))
    }

    /// Index of the residual among the arguments.
    pub fn residual_argument(&self) -> usize {
        self.bias_argument() + usize::from(self.bias)
    }

    /// Index of the first argument of the prologue.
    pub fn prologue_argument(&self) -> usize {
        self.residual_argument() + usize::from(self.residual)
    }

    /// Index of the sums among the arguments.
    pub fn sums_argument(&self) -> usize {
        self.prologue_argument() + self.prologue.arguments()
    }

    /// The sums of the result: a part is a box of the result.
    pub fn sums(&self) -> Sums {
        let Problem { batch, result, outputs: channels, .. } = self.problem;
        Sums {
            batch,
            parts: self.blocking.boxes(&self.problem).iter().product(),
            pixels: result.iter().product(),
            channels,
        }
    }
}

impl Kernel {
    /// Number of independent blocks.
    pub fn blocks(&self) -> usize {
        match self {
            Self::Gather(gather) => gather.rows().div_ceil(gather.rows_per_block()),
            Self::Pointwise(pointwise) => pointwise.elements.div_ceil(POINTWISE_BLOCK),
            Self::Convert { elements, .. } => elements.div_ceil(POINTWISE_BLOCK),
            Self::AddBias { pixels, channels, .. } => pixels.div_ceil(Self::pixels_per_block(*channels)),
            Self::AveragePool(pool) => pool.batch * pool.result[0] * pool.result[1],
            Self::ChannelSums { lines, .. } => lines.batch * lines.blocks(),
            Self::GroupStatistics { sums, groups, .. } => sums.batch * groups,
            Self::Normalize(normalize) => normalize.batch * normalize.lines().blocks(),
            Self::ChannelNorm(norm) => norm.batch * norm.blocks(),
            Self::GroupedConvolution(c) => c.batch * c.result[0] * c.result[1],
            Self::Convolution(c) => c.blocking.blocks(&c.problem),
            Self::PackKeys(a) => a.matrices() * a.panels()[0],
            Self::PackValues(a) => a.matrices() * a.keys.div_ceil(a.keys_packed_at_once()),
            Self::Attention(a) => a.blocks(),
            Self::LinearAttentionSums(a) => a.matrices(),
            Self::LinearAttention(a) => a.sets * a.blocks_of_set(),
        }
    }

    /// Pixels of one block of [`Kernel::AddBias`].
    pub fn pixels_per_block(channels: usize) -> usize {
        (LINE_BLOCK / channels).max(1)
    }

    /// Bytes of scratch that a block needs.
    pub fn scratch_bytes(&self) -> usize {
        match self {
            Self::Normalize(normalize) => 3 * normalize.channels * size_of::<f32>(),
            Self::Convolution(c) => {
                c.scratch().elements().saturating_add(c.coefficients()).saturating_mul(size_of::<f32>())
            }
            Self::Attention(a) => a.scratch().words().saturating_mul(size_of::<f32>()),
            Self::LinearAttentionSums(a) => a.sums().saturating_mul(size_of::<f32>()),
            _ => 0,
        }
    }
}

impl fmt::Display for Kernel {
    /// A name for listings: what it computes, and the sizes that matter.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let x = |sizes: &[usize]| sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        match self {
            Self::Gather(gather) => write!(f, "gather{}_{}", 8 * gather.element_bytes, x(&gather.shape)),
            Self::Pointwise(p) => {
                write!(f, "{}_{}{}", p.function.name(), p.elements, p.element.suffix())
            }
            Self::Convert { elements, from, to } => {
                write!(f, "convert_{elements}_{}_{}", from.name(), to.name())
            }
            Self::AddBias { pixels, channels, element } => {
                write!(f, "add_bias_{pixels}x{channels}{}", element.suffix())
            }
            Self::AveragePool(p) => {
                let (window, result) = (x(&p.window), x(&p.result));
                write!(f, "average_pool_{window}_{result}x{}{}", p.channels, p.element.suffix())
            }
            Self::ChannelSums { lines: l, element } => {
                write!(f, "channel_sums_{}x{}x{}{}", l.lines, l.width, l.channels, element.suffix())
            }
            Self::GroupStatistics { sums, groups, .. } => write!(f, "group_statistics_{}x{groups}", sums.batch),
            Self::Normalize(n) => {
                write!(f, "normalize_{}x{}", x(&n.space), n.channels)?;
                f.write_str(if n.modulation.is_some() { "_modulated" } else { "" })?;
                f.write_str(if n.activation == Activation::Silu { "_silu" } else { "" })?;
                f.write_str(n.element.suffix())
            }
            Self::ChannelNorm(n) => {
                write!(f, "channel_norm_{}_{}x{}", n.kind.word(), n.batch * n.wanted[1], n.channels)?;
                f.write_str(if n.activation == Activation::Silu { "_silu" } else { "" })?;
                f.write_str(n.element.suffix())
            }
            Self::GroupedConvolution(c) => {
                let (kernel, result, outputs) = (x(&c.kernel), x(&c.result), c.groups * c.outputs);
                write!(f, "grouped_convolution_{kernel}_{result}_{}_{outputs}_{}", c.groups * c.inputs, c.groups)?;
                f.write_str(c.element.suffix())
            }
            Self::Convolution(c) => {
                let name = c.algorithm.name();
                let Problem { kernel, result, inputs, outputs, .. } = &c.problem;
                write!(f, "convolution_{name}_{}_{}_{inputs}_{outputs}", x(kernel), x(result))?;
                f.write_str(match c.prologue {
                    Prologue::None => "",
                    Prologue::Resize(..) => "_resized",
                    Prologue::Normalize(_) => "_normalized",
                    Prologue::ChannelNorm(_) => "_channel_normalized",
                })?;
                f.write_str(if c.summed { "_summed" } else { "" })?;
                f.write_str(c.problem.element.suffix())
            }
            Self::LinearAttentionSums(a) => {
                let (matrices, channels) = (x(&[a.sets, a.heads]), x(&[a.channels, a.outputs]));
                write!(f, "linear_attention_sums_{matrices}_{}_{channels}{}", a.keys, a.element.suffix())
            }
            Self::LinearAttention(a) => {
                let (matrices, channels) = (x(&[a.sets, a.heads]), x(&[a.channels, a.outputs]));
                write!(f, "linear_attention_{matrices}_{}_{channels}{}", a.queries, a.element.suffix())
            }
            Self::PackKeys(a) => {
                write!(f, "pack_keys_{}{}", x(&[a.sets, a.heads, a.keys, a.channels]), a.element.suffix())
            }
            Self::PackValues(a) => {
                write!(f, "pack_values_{}{}", x(&[a.sets, a.heads, a.keys, a.outputs]), a.element.suffix())
            }
            Self::Attention(a) => {
                write!(
                    f,
                    "attention_{}_{}_{}",
                    x(&[a.sets, a.heads]),
                    x(&[a.queries, a.keys]),
                    x(&[a.channels, a.outputs])
                )?;
                f.write_str(if a.mask == AttentionMask::None { "" } else { "_causal" })?;
                f.write_str(a.element.suffix())
            }
        }
    }
}
