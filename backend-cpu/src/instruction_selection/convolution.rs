//! The kernel of a convolution: with its prologue, the taps that it computes with, its algorithm and
//! its weights.

use std::collections::HashSet;
use std::ops::Range;

use ir::{ElementType, FirstFrame, Node, Op, PadMode, Recipe, Value};

use super::exactness::{exact, is_exact};
use super::{Place, Scheduler, UnsupportedOp};
use crate::blocking::{Algorithm, Blocking, Choice, Problem, choose};
use crate::element::Element;
use crate::kernel::{Convolution, Kernel, LeadingFrames, Prologue};
use crate::packing::{PackedRows, Packing, seen_taps};
use crate::panel::PanelFamily;
use crate::target::DotProducts;
use crate::weights::WeightFormat;

/// How a convolution is computed, and from which weights.
struct Selected {
    problem: Problem,
    algorithm: Algorithm,
    blocking: Blocking,
    packing: Packing,
    rows: PackedRows,
    /// Taps over time that are left out in front.
    skipped: usize,
}

impl Scheduler<'_> {
    /// What a convolution does to its input as it reads it, with the place of what it reads then
    /// and of what else the prologue needs.
    fn prologue(&mut self, input: Value) -> Result<(Prologue, Place, Vec<Place>), UnsupportedOp> {
        let node = self.graph.node(input);
        if !self.inlined[input.index()] {
            return Ok((Prologue::None, self.read(input)?, vec![]));
        }
        if let Op::ResizeNearest { input: source, first_frame, .. } = &node.op {
            let (space, _) = self.channel_last(input, *source)?;
            return Ok((Prologue::Resize(space, *first_frame == FirstFrame::Apart), self.read(*source)?, vec![]));
        }
        let [frames, height, width] = node.ty.space().unwrap_or_default();
        let (prologue, mut operands) = if matches!(node.op, Op::ChannelNorm { .. }) {
            let (kernel, operands) = self.channel_norm(input, node, node.ty.shape[0], [0, frames * height * width])?;
            (Prologue::ChannelNorm(kernel), operands)
        } else {
            let (kernel, operands) = self.normalize(input, node, [0, frames])?;
            (Prologue::Normalize(kernel), operands)
        };
        let source = operands.remove(0);
        Ok((prologue, source, operands))
    }

    /// Whether a convolution normalises this input as it reads it.
    fn normalizes(&self, input: Value) -> bool {
        self.inlined[input.index()] && matches!(self.graph.op(input), Op::Normalize { .. } | Op::ChannelNorm { .. })
    }

    pub(super) fn convolution(&mut self, value: Value, node: &Node) -> Result<(), UnsupportedOp> {
        let Op::Convolution { input, weight, bias, residual, cache, padding, repeat_first, border, .. } = &node.op
        else {
            unreachable!("called for convolutions alone");
        };
        let (space, _) = self.channel_last(value, *input)?;
        let leading = match cache {
            Some(cache) => LeadingFrames::Cache(self.graph.ty(*cache).shape[1]),
            None => LeadingFrames::Repeat(*repeat_first),
        };
        let Selected { problem, algorithm, blocking, packing, rows, skipped } = self.select(value, node)?;
        let mut padding = *padding;
        padding[0][0] -= skipped;
        let (prologue, source, behind) = self.prologue(*input)?;
        let kernel = Convolution {
            problem,
            input: space,
            prologue,
            leading,
            padding,
            border: border.0,
            bias: bias.is_some(),
            residual: residual.is_some(),
            summed: algorithm.transforms() && self.is_normalized(value),
            algorithm,
            blocking,
            weights: rows,
        };
        let packed = self.weights(*weight, WeightFormat::Packed(packing))?;
        let mut arguments = vec![Place::Value(value), source, packed];
        for operand in cache.iter().chain(bias).chain(residual) {
            arguments.push(self.read(*operand)?);
        }
        arguments.extend(behind);
        if kernel.summed {
            let region = self.temporaries.take(kernel.sums().bytes());
            self.summed.insert(value, (kernel.sums(), region));
            arguments.push(Place::Temporary(region));
        }
        self.call(value, Kernel::Convolution(kernel), arguments);
        Ok(())
    }

    /// The convolutions of the graph that are computed without F(4x4); of those that this backend
    /// cannot compute it is said later what is wrong.
    pub(super) fn exact_convolutions(&self) -> HashSet<Value> {
        let convolutions = self
            .graph
            .nodes()
            .filter(|(value, node)| matches!(node.op, Op::Convolution { .. }) && !self.weight_only[value.index()]);
        exact(convolutions.filter_map(|(value, node)| {
            let (problem, seen) = self.problem(value, node).ok()?;
            Some((value, problem.with_taps(seen.len())))
        }))
    }

    /// The sizes of a convolution with all its taps, and which of these see anything.
    fn problem(&self, value: Value, node: &Node) -> Result<(Problem, Range<usize>), UnsupportedOp> {
        let Op::Convolution { input, weight, cache, strides, padding, repeat_first, border, .. } = &node.op else {
            unreachable!("called for convolutions alone");
        };
        if !self.weight_only[weight.index()] {
            return Err(self.unsupported(value, "its weight is computed by the step; weights must be parameters"));
        }
        let ([frames, ..], inputs) = self.channel_last(value, *input)?;
        let weight_ty = self.graph.ty(*weight);
        let kernel = [weight_ty.shape[0], weight_ty.shape[1], weight_ty.shape[2]];
        let outputs = weight_ty.shape[4];
        let family = PanelFamily::for_columns(self.options.target.isa, Element::F32, outputs);
        let is_narrow = weight_ty.element == ElementType::Bf16;
        let problem = Problem {
            batch: node.ty.shape[0],
            result: node.ty.space().unwrap_or_default(),
            kernel,
            strides: *strides,
            inputs,
            outputs,
            panel_columns: family.nr,
            panel_rows: family.max_rows(),
            element: self.element(value)?,
            dot_products: if is_narrow && !self.normalizes(*input) {
                self.options.target.dot_products
            } else {
                DotProducts::Absent
            },
        };
        let zeros_in_front = cache.is_none() && *repeat_first == 0 && border.0[0] == PadMode::Zero;
        let seen = match problem.result[0] {
            1 if zeros_in_front => seen_taps(kernel[0], padding[0][0], frames),
            _ => 0..kernel[0],
        };
        Ok((problem, seen))
    }

    /// The algorithm of a convolution, its blocking, and the form of its weights: another program's
    /// where [`CompileOptions::choices`](crate::options::CompileOptions::choices) has one from which
    /// it can compute.
    fn select(&self, value: Value, node: &Node) -> Result<Selected, UnsupportedOp> {
        let Op::Convolution { weight, .. } = &node.op else { unreachable!("called for convolutions alone") };
        let (whole, seen) = self.problem(value, node)?;
        let chosen = self.options.choices.and_then(|choices| choices.get(&Recipe::of(self.graph, *weight)));
        if let Some(packing) = chosen {
            for taps in [seen.clone(), 0..whole.kernel[0]] {
                let problem = whole.with_taps(taps.len());
                if let Some((algorithm, rows)) = packing.part(&problem, taps.start) {
                    let blocking = choose(&problem, &|candidate| candidate == algorithm).blocking;
                    return Ok(Selected { problem, algorithm, blocking, packing, rows, skipped: taps.start });
                }
            }
        }
        let problem = whole.with_taps(seen.len());
        let Choice { algorithm, blocking, .. } = choose(&problem, &|candidate| match self.options.algorithm {
            Some(only) => candidate == only,
            None => is_exact(candidate) || !self.exact.contains(&value),
        });
        let family = PanelFamily::for_columns(self.options.target.isa, algorithm.factors(), problem.outputs).name;
        let packing = Packing { family, algorithm, taps: [seen.start, seen.len()] };
        let rows = PackedRows { first: 0, of_plane: algorithm.taps(problem.kernel) * algorithm.words(problem.inputs) };
        Ok(Selected { problem, algorithm, blocking, packing, rows, skipped: seen.start })
    }
}
