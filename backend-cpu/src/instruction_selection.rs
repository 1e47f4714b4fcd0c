//! Instruction selection: from ops to kernel calls.
//!
//! Each op of the final graph becomes one call of a kernel, or two (a reduction and its
//! completion), in the graph's order. A call names its operands by place: which place is which
//! memory is decided in `program`.

mod attention;
mod convolution;
mod exactness;
mod gathers;

use std::collections::{HashMap, HashSet};

use ir::analysis::weight_only;
use ir::graph::of_module;
use ir::{ElementType, FirstFrame, Graph, Layout, Node, Op, Output, Recipe, Role, Value};
use passes::inline::inlined;

use gathers::{contiguous, gather, identity};

use crate::buffer::ALIGNMENT;
use crate::element::Element;
use crate::kernel::{
    AveragePool, ChannelNorm, Gather, GroupedConvolution, Kernel, Lines, Normalize, Pointwise, PointwiseFunction, Sums,
};
use crate::options::CompileOptions;
use crate::weights::WeightFormat;

/// An op that this backend has no code for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{mnemonic}{}: {message}", of_module(path))]
pub struct UnsupportedOp {
    /// The op's name.
    pub mnemonic: &'static str,
    /// Its module.
    pub path: String,
    /// What is missing.
    pub message: String,
}

/// Where an argument of a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// A value of the graph.
    Value(Value),
    /// A copy of a value in the output with this index.
    Output(usize),
    /// The weights with this index.
    Weights(usize),
    /// Temporary memory from this byte on.
    Temporary(usize),
}

/// One run of a kernel over all its blocks.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Index of the kernel.
    pub kernel: usize,
    /// In the kernel's order: the result first.
    pub arguments: Vec<Place>,
    /// The op it is of.
    pub value: Value,
}

/// All that a program does, in order.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// Distinct kernels.
    pub kernels: Vec<Kernel>,
    pub calls: Vec<Call>,
    /// Distinct weights, in the form in which calls read them.
    pub weights: Vec<(Recipe, WeightFormat)>,
    /// Bytes of temporary memory.
    pub temporary_bytes: usize,
}

/// Schedules every op of `graph`.
///
/// # Errors
/// The first op for which there is no kernel.
pub(crate) fn schedule(graph: &Graph, options: CompileOptions<'_>) -> Result<Schedule, UnsupportedOp> {
    let mut scheduler = Scheduler {
        graph,
        options,
        weight_only: weight_only(graph),
        inlined: inlined(graph),
        exact: HashSet::new(),
        kernel_index: HashMap::new(),
        weight_index: HashMap::new(),
        summed: HashMap::new(),
        temporaries: Temporaries::default(),
        schedule: Schedule { kernels: vec![], calls: vec![], weights: vec![], temporary_bytes: 0 },
    };
    scheduler.check_outputs()?;
    scheduler.exact = scheduler.exact_convolutions();
    for (value, node) in graph.nodes() {
        if !scheduler.weight_only[value.index()] && !scheduler.inlined[value.index()] {
            scheduler.op(value, node)?;
        }
    }
    for (index, output) in graph.outputs().iter().enumerate() {
        if !lives_in_output(graph, index, &scheduler.weight_only) {
            let source = scheduler.read(output.value)?;
            let gather = contiguous(graph.ty(output.value));
            scheduler.call(output.value, Kernel::Gather(gather), vec![Place::Output(index), source]);
        }
    }
    Ok(scheduler.finish())
}

/// Whether the op of this output writes straight into its memory: an output of a value that comes
/// from outside, or that leaves under an earlier name too, is a copy.
pub(crate) fn lives_in_output(graph: &Graph, index: usize, weight_only: &[bool]) -> bool {
    let Output { value, .. } = graph.outputs()[index];
    let first = graph.outputs().iter().position(|o| o.value == value);
    !graph.op(value).is_leaf() && !weight_only[value.index()] && first == Some(index)
}

struct Scheduler<'a> {
    graph: &'a Graph,
    options: CompileOptions<'a>,
    weight_only: Vec<bool>,
    inlined: Vec<bool>,
    /// Convolutions that are computed without F(4x4).
    exact: HashSet<Value>,
    kernel_index: HashMap<Kernel, usize>,
    weight_index: HashMap<(Value, WeightFormat), usize>,
    /// Results that their convolution sums, with the temporary that the sums are in.
    summed: HashMap<Value, (Sums, usize)>,
    temporaries: Temporaries,
    schedule: Schedule,
}

/// Memory that calls pass on among themselves: regions that are free again once what is in them was
/// read.
#[derive(Default)]
struct Temporaries {
    /// Of each region, the most bytes that it is taken for, and whether it is taken.
    regions: Vec<(usize, bool)>,
}

impl Temporaries {
    /// Takes a region of at least so many bytes.
    fn take(&mut self, bytes: usize) -> usize {
        let free = self.regions.iter().position(|(_, taken)| !taken).unwrap_or(self.regions.len());
        if free == self.regions.len() {
            self.regions.push((0, true));
        }
        let (most, taken) = &mut self.regions[free];
        (*most, *taken) = ((*most).max(bytes.checked_next_multiple_of(ALIGNMENT).unwrap_or(usize::MAX)), true);
        free
    }

    fn give_back(&mut self, region: usize) {
        self.regions[region].1 = false;
    }

    /// The first byte of each region, and of what is behind them all.
    fn offsets(&self) -> Vec<usize> {
        let ends = self.regions.iter().scan(0_usize, |end, (bytes, _)| {
            *end = end.saturating_add(*bytes);
            Some(*end)
        });
        std::iter::once(0).chain(ends).collect()
    }
}

impl Scheduler<'_> {
    fn unsupported(&self, value: Value, message: impl Into<String>) -> UnsupportedOp {
        let node = self.graph.node(value);
        UnsupportedOp { mnemonic: node.op.mnemonic(), path: node.path.to_string(), message: message.into() }
    }

    /// The element of a value's type.
    fn element(&self, value: Value) -> Result<Element, UnsupportedOp> {
        let ty = self.graph.ty(value);
        Element::of(ty.element).ok_or_else(|| {
            self.unsupported(value, format!("this backend computes in f32 and bf16, the result is {ty}"))
        })
    }

    /// Callers give and get f32; states are opaque to them.
    fn check_outputs(&self) -> Result<(), UnsupportedOp> {
        let caller = |value: Value| match self.graph.ty(value) {
            ty if ty.element == ElementType::F32 => Ok(()),
            ty => Err(self.unsupported(value, format!("inputs, results and taps must be f32, found {ty}"))),
        };
        let inputs = self.graph.nodes().filter(|(_, node)| matches!(node.op, Op::Input { .. })).map(|(value, _)| value);
        let outputs = self.graph.outputs().iter();
        inputs.chain(outputs.clone().filter(|o| o.role != Role::State).map(|o| o.value)).try_for_each(caller)?;
        outputs.filter(|o| o.role == Role::State).try_for_each(|o| self.element(o.value).map(drop))
    }

    /// The schedule, in which temporaries are bytes and no regions.
    fn finish(mut self) -> Schedule {
        let offsets = self.temporaries.offsets();
        for place in self.schedule.calls.iter_mut().flat_map(|call| &mut call.arguments) {
            if let Place::Temporary(region) = place {
                *region = offsets[*region];
            }
        }
        self.schedule.temporary_bytes = offsets[offsets.len() - 1];
        self.schedule
    }

    fn call(&mut self, value: Value, kernel: Kernel, arguments: Vec<Place>) {
        let next = self.schedule.kernels.len();
        let index = *self.kernel_index.entry(kernel.clone()).or_insert(next);
        if index == next {
            self.schedule.kernels.push(kernel);
        }
        self.schedule.calls.push(Call { kernel: index, arguments, value });
    }

    /// The place of an operand: weights are made dense.
    fn read(&mut self, value: Value) -> Result<Place, UnsupportedOp> {
        if self.weight_only[value.index()] { self.weights(value, WeightFormat::Dense) } else { Ok(Place::Value(value)) }
    }

    fn weights(&mut self, value: Value, format: WeightFormat) -> Result<Place, UnsupportedOp> {
        if let Some(&index) = self.weight_index.get(&(value, format)) {
            return Ok(Place::Weights(index));
        }
        let index = self.schedule.weights.len();
        self.schedule.weights.push((Recipe::of(self.graph, value), format));
        self.weight_index.insert((value, format), index);
        Ok(Place::Weights(index))
    }

    fn op(&mut self, value: Value, node: &Node) -> Result<(), UnsupportedOp> {
        let graph = self.graph;
        let element = self.element(value)?;
        let result = Place::Value(value);
        match &node.op {
            Op::Input { .. } | Op::State { .. } => {}
            Op::Parameter { .. } | Op::Constant { .. } => unreachable!("weights are not scheduled"),
            Op::Add { lhs, rhs } => self.pointwise(value, PointwiseFunction::Add, &[*lhs, *rhs])?,
            Op::Multiply { lhs, rhs } => self.pointwise(value, PointwiseFunction::Multiply, &[*lhs, *rhs])?,
            Op::Silu { input } => self.pointwise(value, PointwiseFunction::Silu, &[*input])?,
            Op::Unary { input, function } => self.pointwise(value, PointwiseFunction::Unary(*function), &[*input])?,
            Op::Clamp { input, low, high } => {
                let [low, high] = [*low, *high].map(|bound| (bound as f32).to_bits());
                self.pointwise(value, PointwiseFunction::Clamp { low, high }, &[*input])?;
            }
            Op::AddBias { input, bias } => {
                let (_, channels) = self.channel_last(value, *input)?;
                let kernel = Kernel::AddBias { element, pixels: node.ty.elements() / channels, channels };
                let arguments = vec![result, self.read(*input)?, self.read(*bias)?];
                self.call(value, kernel, arguments);
            }
            Op::Convolution { .. } => self.convolution(value, node)?,
            Op::GroupedConvolution { input, weight, bias, groups, strides, padding } => {
                let (space, inputs) = self.channel_last(value, *input)?;
                let (_, outputs) = self.channel_last(value, value)?;
                let weight_ty = graph.ty(*weight);
                let kernel = GroupedConvolution {
                    batch: node.ty.shape[0],
                    input: space,
                    result: node.ty.space().unwrap_or_default(),
                    kernel: [weight_ty.shape[0], weight_ty.shape[1], weight_ty.shape[2]],
                    strides: *strides,
                    padding: padding.map(|[low, _]| low),
                    groups: *groups,
                    inputs: inputs / groups,
                    outputs: outputs / groups,
                    bias: bias.is_some(),
                    element,
                };
                let mut arguments = vec![result];
                for operand in [*input, *weight].into_iter().chain(*bias) {
                    arguments.push(self.read(operand)?);
                }
                self.call(value, Kernel::GroupedConvolution(kernel), arguments);
            }
            Op::Attention { .. } => self.attention(value, node)?,
            Op::LinearAttention { .. } => self.linear_attention(value, node)?,
            Op::GroupNorm { .. } => {
                return Err(self.unsupported(value, "not fused: the pass `fuse-normalization` must run before"));
            }
            Op::GroupStatistics { input, groups, epsilon } => {
                let (sums, region) = self.sums(value, *input)?;
                let kernel = Kernel::GroupStatistics { sums, groups: *groups, epsilon: epsilon.to_bits() };
                self.call(value, kernel, vec![result, Place::Temporary(region)]);
                self.temporaries.give_back(region);
            }
            Op::Normalize { .. } => {
                let frames = [0, node.ty.space().unwrap_or_default()[0]];
                let (kernel, operands) = self.normalize(value, node, frames)?;
                self.call(value, Kernel::Normalize(kernel), [&[result], operands.as_slice()].concat());
            }
            Op::ChannelNorm { .. } => {
                let pixels = node.ty.elements() / node.ty.shape.last().unwrap_or(&1);
                let (kernel, operands) = self.channel_norm(value, node, 1, [0, pixels])?;
                self.call(value, Kernel::ChannelNorm(kernel), [&[result], operands.as_slice()].concat());
            }
            Op::Slice { input, start, .. } if self.inlined[input.index()] => {
                // Frames of a normalisation that is made nowhere as a whole.
                let (normalized, ty) = (graph.node(*input), &node.ty);
                let frames = [start[1], ty.shape[1]];
                let (kernel, operands) = if matches!(normalized.op, Op::ChannelNorm { .. }) {
                    let pixels = frames.map(|count| count * ty.shape[2] * ty.shape[3]);
                    let (kernel, operands) = self.channel_norm(*input, normalized, ty.shape[0], pixels)?;
                    (Kernel::ChannelNorm(kernel), operands)
                } else {
                    let (kernel, operands) = self.normalize(*input, normalized, frames)?;
                    (Kernel::Normalize(kernel), operands)
                };
                self.call(value, kernel, [&[result], operands.as_slice()].concat());
            }
            Op::AveragePool { input, window, first_frame } => {
                let (space, channels) = self.channel_last(value, *input)?;
                let pool = AveragePool {
                    batch: node.ty.shape[0],
                    input: space,
                    result: node.ty.space().unwrap_or_default(),
                    window: *window,
                    apart: *first_frame == FirstFrame::Apart,
                    channels,
                    element,
                };
                let source = self.read(*input)?;
                self.call(value, Kernel::AveragePool(pool), vec![result, source]);
            }
            Op::Concatenate { inputs, axis } => {
                let strides = node.ty.strides();
                let mut before = 0;
                for &input in inputs {
                    let ty = graph.ty(input);
                    let gather = Gather {
                        result_strides: strides.clone(),
                        result_offset: before * strides[*axis],
                        ..identity(ty)
                    };
                    let source = self.read(input)?;
                    self.call(value, Kernel::Gather(gather.coalesced()), vec![result, source]);
                    before += ty.shape[*axis];
                }
            }
            Op::ResizeNearest { .. }
            | Op::Pad { .. }
            | Op::Slice { .. }
            | Op::Transpose { .. }
            | Op::Reshape { .. } => {
                let (input, gather) = gather(graph, node);
                let source = self.read(input)?;
                self.call(value, Kernel::Gather(gather.coalesced()), vec![result, source]);
            }
            Op::Convert { input, .. } => {
                let from = self.element(*input)?;
                let source = self.read(*input)?;
                let kernel = match from == element {
                    true => Kernel::Gather(contiguous(&node.ty)),
                    false => Kernel::Convert { elements: node.ty.elements(), from, to: element },
                };
                self.call(value, kernel, vec![result, source]);
            }
        }
        Ok(())
    }

    fn pointwise(
        &mut self,
        value: Value,
        function: PointwiseFunction,
        operands: &[Value],
    ) -> Result<(), UnsupportedOp> {
        let mut arguments = vec![Place::Value(value)];
        for &operand in operands {
            arguments.push(self.read(operand)?);
        }
        let elements = self.graph.ty(value).elements();
        let element = self.element(value)?;
        self.call(value, Kernel::Pointwise(Pointwise { function, elements, element }), arguments);
        Ok(())
    }

    /// Time, height, width and channels of an operand that must be a channel-last video.
    fn channel_last(&self, value: Value, operand: Value) -> Result<([usize; 3], usize), UnsupportedOp> {
        let ty = self.graph.ty(operand);
        match (ty.layout, ty.space(), ty.channels()) {
            (Layout::NTHWC, Some(space), Some(channels)) => Ok((space, channels)),
            _ => Err(self.unsupported(value, format!("its operand must be channel-last (nthwc), found {ty}"))),
        }
    }

    /// The sums of `input` for its statistics, `value`, and the region in which they are: made by
    /// the convolution that computes it, or now.
    fn sums(&mut self, value: Value, input: Value) -> Result<(Sums, usize), UnsupportedOp> {
        if let Some(summed) = self.summed.remove(&input) {
            return Ok(summed);
        }
        let ([frames, height, width], channels) = self.channel_last(value, input)?;
        let lines = Lines { batch: self.graph.ty(input).shape[0], lines: frames * height, width, channels };
        let region = self.temporaries.take(lines.sums().bytes());
        let source = self.read(input)?;
        let element = self.element(input)?;
        self.call(value, Kernel::ChannelSums { element, lines }, vec![Place::Temporary(region), source]);
        Ok((lines.sums(), region))
    }

    /// Whether a result is normalised.
    fn is_normalized(&self, value: Value) -> bool {
        self.graph.nodes().any(|(_, node)| matches!(node.op, Op::GroupStatistics { input, .. } if input == value))
    }

    /// The kernel of a `normalize` over some of its frames, the first and how many, and what it
    /// reads.
    fn normalize(
        &mut self,
        value: Value,
        node: &Node,
        frames: [usize; 2],
    ) -> Result<(Normalize, Vec<Place>), UnsupportedOp> {
        let Op::Normalize { input, statistics, scale, offset, gain, shift, first_frame, activation } = &node.op else {
            unreachable!("called for normalize alone");
        };
        let (space, channels) = self.channel_last(value, *input)?;
        let kernel = Normalize {
            batch: node.ty.shape[0],
            space,
            channels,
            groups: self.graph.ty(*statistics).shape[1],
            modulation: gain.map(|g| (self.graph.ty(g).space().unwrap_or_default(), *first_frame == FirstFrame::Apart)),
            activation: *activation,
            frames,
            element: self.element(value)?,
        };
        let operands = [*input, *statistics, *scale, *offset].into_iter().chain(*gain).chain(*shift);
        let operands = operands.map(|operand| self.read(operand)).collect::<Result<_, _>>()?;
        Ok((kernel, operands))
    }

    /// The kernel of a `channel_norm` over some pixels of each of `batch` equal parts of its input,
    /// the first and how many, and what it reads.
    fn channel_norm(
        &mut self,
        value: Value,
        node: &Node,
        batch: usize,
        wanted: [usize; 2],
    ) -> Result<(ChannelNorm, Vec<Place>), UnsupportedOp> {
        let Op::ChannelNorm { input, scale, offset, kind, epsilon, activation } = &node.op else {
            unreachable!("called for channel_norm alone");
        };
        let Some(&channels) = node.ty.shape.last().filter(|_| node.ty.layout == node.ty.layout.channel_last()) else {
            return Err(self.unsupported(value, format!("its operand must be channel-last, found {}", node.ty)));
        };
        let kernel = ChannelNorm {
            batch,
            pixels: node.ty.elements() / channels / batch,
            wanted,
            channels,
            kind: *kind,
            epsilon: epsilon.to_bits(),
            scale: scale.is_some(),
            offset: offset.is_some(),
            activation: *activation,
            element: self.element(value)?,
        };
        let operands = [*input].into_iter().chain(*scale).chain(*offset);
        let operands = operands.map(|operand| self.read(operand)).collect::<Result<_, _>>()?;
        Ok((kernel, operands))
    }
}
