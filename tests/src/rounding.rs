//! How far a result may be from the exact one when every op rounds: measured, by evaluating in f64
//! with noise of the size of rounding behind each op.
//!
//! A bound that holds for every random program would be useless, since sums cancel and norms
//! enlarge. So each program gets bounds of its own: it is evaluated once as it is and a few times
//! with noise, and what is compared may be off by some multiple of what the noise did, on average
//! and at most.

use ir::eval::{Bindings, Leaf, Tensor, evaluate_op};
use ir::{ChannelNormKind, Class, ElementType, Graph, Op, Output, Value};

use crate::errors;
use crate::evaluation::{Random, RandomLeaves};

/// Noise behind an op in f32, relative to the largest numbers that it adds up: some units in the
/// last place, since sums are rounded often and Winograd's transforms cancel.
const WIDE: f64 = 1.0 / (1 << 21) as f64;
/// Noise behind an op in bf16, relative to each number: a half of the distance of neighbours, at
/// most.
const NARROW: f64 = 1.0 / (1 << 8) as f64;
/// Evaluations with noise.
const RUNS: u64 = 3;
/// What the mean, and what any element, may be off, as a multiple of the largest of all runs.
const MARGINS: [f64; 2] = [1.5, 4.0];
/// Numbers beyond which f32 may overflow somewhere on the way.
const TOO_LARGE: f64 = 1e15;

/// In which elements the activations of a program are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// As the program says.
    AsDeclared,
    /// In bf16, although the program says f32: what `assign-precision` will make of it.
    ToBf16,
}

/// What the outputs of a program are, exactly, and how far off they may be.
#[derive(Debug)]
pub struct Reference {
    outputs: Vec<(Output, Tensor<f64>, Bounds)>,
}

/// How far an output may be off.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    mean: f64,
    maximum: f64,
}

impl Reference {
    /// Evaluates `graph` on the leaves of this seed; `None` where numbers grow so large that f32
    /// might not hold them.
    ///
    /// # Errors
    /// The graph does not evaluate.
    pub fn of(graph: &Graph, seed: u64, rounding: Rounding) -> Result<Option<Self>, String> {
        let exact = evaluate(graph, seed, rounding, None)?;
        if exact.iter().flat_map(|tensor| &tensor.data).any(|x| x.is_nan() || x.abs() > TOO_LARGE) {
            return Ok(None);
        }
        let mut bounds: Vec<Bounds> = graph
            .outputs()
            .iter()
            .map(|output| {
                // An op that rounds nothing but its own result.
                let least = exact[output.value.index()].data.iter().fold(1e-30_f64, |most, x| most.max(x.abs()));
                let step = if rounds_to_bf16(graph, output.value, rounding) { NARROW } else { WIDE };
                Bounds { mean: 0.0, maximum: least * step }
            })
            .collect();
        for run in 0..RUNS {
            let noisy = evaluate(graph, seed, rounding, Some(Random(seed ^ (run + 1))))?;
            for (bounds, output) in bounds.iter_mut().zip(graph.outputs()) {
                let index = output.value.index();
                let (mean, maximum) = errors(&exact[index].data, &noisy[index].data);
                bounds.mean = bounds.mean.max(mean);
                bounds.maximum = bounds.maximum.max(maximum);
            }
        }
        let outputs = graph.outputs().iter().zip(bounds).map(|(output, bounds)| {
            let tensor = exact[output.value.index()].clone();
            // Few elements may all be rounded the other way.
            let few = bounds.maximum / (tensor.data.len() as f64).sqrt();
            let bounds = Bounds { mean: MARGINS[0] * bounds.mean.max(few), maximum: MARGINS[1] * bounds.maximum };
            (output.clone(), tensor, bounds)
        });
        Ok(Some(Self { outputs: outputs.collect() }))
    }

    /// The outputs in the program's order.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = (&Output, &Tensor<f64>)> {
        self.outputs.iter().map(|(output, tensor, _)| (output, tensor))
    }

    /// Compares what was found for each output, `scale` times as exactly as rounding allows.
    ///
    /// # Errors
    /// The first output that is too far off, by how much, and where it is furthest.
    pub fn compare(&self, found: &[Tensor<f64>], scale: f64) -> Result<(), String> {
        if found.len() != self.outputs.len() {
            return Err(format!("{} outputs, expected {}", found.len(), self.outputs.len()));
        }
        for ((output, expected, bounds), found) in self.outputs.iter().zip(found) {
            let what = format!("{} \"{}\"", output.role.word(), output.name);
            if found.data.len() != expected.data.len() {
                return Err(format!("{what} has {} elements, expected {}", found.data.len(), expected.data.len()));
            }
            let (mean, maximum) = errors(&expected.data, &found.data);
            let [mean_bound, maximum_bound] = [bounds.mean, bounds.maximum].map(|bound| bound / scale);
            if !(mean <= mean_bound && maximum <= maximum_bound) {
                let off = |(e, f): (&f64, &f64)| (e - f).abs();
                let at = (0..found.data.len())
                    .max_by(|&i, &j| {
                        let of = |i: usize| off((&expected.data[i], &found.data[i]));
                        of(i).total_cmp(&of(j))
                    })
                    .unwrap_or(0);
                return Err(format!(
                    "{what} is off by {mean:.2e} on average (at most {mean_bound:.2e}), by {maximum:.2e} at most \
                     ({maximum_bound:.2e}): element {at} of {} is {}, expected {}",
                    expected.ty, found.data[at], expected.data[at]
                ));
            }
        }
        Ok(())
    }
}

/// Whether a value is rounded to bf16.
fn rounds_to_bf16(graph: &Graph, value: Value, rounding: Rounding) -> bool {
    let node = graph.node(value);
    let assigned = rounding == Rounding::ToBf16 && node.op.class() != Class::Summarizes;
    node.ty.element == ElementType::Bf16 || assigned
}

/// Every value of `graph`, with noise behind each op if there is any.
fn evaluate(
    graph: &Graph,
    seed: u64,
    rounding: Rounding,
    mut noise: Option<Random>,
) -> Result<Vec<Tensor<f64>>, String> {
    let leaves = RandomLeaves { seed };
    let mut values: Vec<Tensor<f64>> = Vec::with_capacity(graph.len());
    for (value, node) in graph.nodes() {
        let mut tensor = match Leaf::of(&node.op) {
            Some(leaf) => leaves.tensor(leaf).ok_or("no such leaf")?.into_owned(),
            None => {
                let operands: Vec<_> = node.op.operands().iter().map(|v| &values[v.index()]).collect();
                evaluate_op(&node.op, &operands).map_err(|error| error.to_string())?
            }
        };
        if let Some(random) = &mut noise {
            let sums = summed(&node.op, &values).max(largest(&tensor)) * WIDE;
            // Statistics are few numbers of different kinds, each as exact as f32 has it.
            let is_statistics = node.op.class() == Class::Summarizes;
            let relative = match is_statistics {
                true => WIDE,
                false if rounds_to_bf16(graph, value, rounding) => NARROW,
                false => 0.0,
            };
            let sums = if is_statistics { 0.0 } else { sums };
            for x in &mut tensor.data {
                let size = sums + relative * x.abs();
                *x += if random.bits() % 2 == 0 { size } else { -size };
            }
        }
        values.push(tensor);
    }
    Ok(values)
}

fn largest(tensor: &Tensor<f64>) -> f64 {
    tensor.data.iter().fold(0.0, |most, x| most.max(x.abs()))
}

/// The largest of the numbers that an op adds up, which its result may be small beside.
fn summed(op: &Op, values: &[Tensor<f64>]) -> f64 {
    let of = |value: Value| &values[value.index()];
    match op {
        Op::Add { lhs, rhs } => largest(of(*lhs)).max(largest(of(*rhs))),
        Op::AddBias { input, bias } => largest(of(*input)).max(largest(of(*bias))),
        Op::Convolution { bias, residual, .. } => {
            bias.iter().chain(residual).map(|value| largest(of(*value))).fold(0.0, f64::max)
        }
        Op::GroupedConvolution { bias: Some(bias), .. } => largest(of(*bias)),
        // Means of values, by weights that are off by as much as their exponents are.
        Op::Attention { query, key, value, heads, scale, .. } => {
            let length = |tokens: &Tensor<f64>| {
                let channels = tokens.ty.shape.last().map_or(1, |channels| channels / heads);
                let squares = tokens.data.chunks(channels).map(|head| head.iter().map(|x| x * x).sum::<f64>());
                squares.fold(0.0, f64::max).sqrt()
            };
            largest(of(*value)) * (scale.abs() * length(of(*query)) * length(of(*key))).max(1.0)
        }
        // Means of values, by weights that are of one sign where programs are random.
        Op::LinearAttention { value, .. } => largest(of(*value)),
        // The input less the mean, times the reciprocal deviation.
        Op::GroupNorm { input, scale, groups, epsilon, .. } => {
            let statistics = Op::GroupStatistics { input: *input, groups: *groups, epsilon: *epsilon };
            evaluate_op(&statistics, &[of(*input)])
                .map_or(0.0, |statistics| normalized(of(*input), &statistics, of(*scale)))
        }
        // The input less the mean, by no less than the root of epsilon.
        Op::ChannelNorm { input, scale, kind: ChannelNormKind::Layer, epsilon, .. } => {
            largest(of(*input)) / epsilon.sqrt() * scale.map_or(1.0, |scale| largest(of(scale)))
        }
        Op::Normalize { input, statistics, scale, gain, shift, .. } => {
            let gain = gain.map_or(1.0, |gain| largest(of(gain)));
            let shift = shift.map_or(0.0, |shift| largest(of(shift)));
            (normalized(of(*input), of(*statistics), of(*scale)) * gain).max(shift)
        }
        _ => 0.0,
    }
}

/// The largest product of a number, a reciprocal deviation and a scale.
fn normalized(input: &Tensor<f64>, statistics: &Tensor<f64>, scale: &Tensor<f64>) -> f64 {
    let deviations = statistics.data.iter().skip(1).step_by(2);
    largest(input) * deviations.fold(0.0, |most, x| x.max(most)) * largest(scale)
}
