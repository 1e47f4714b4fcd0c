//! The evaluator: the living definition of every op.
//!
//! Slow, readable Rust over `f64` or `f32`. What a backend computes is right when it agrees with
//! this. The ops are in `convolution`, `attention`, `norm`, `resample`, `elementwise` and
//! `shape_ops`; here are the driver and the dispatch.
//!
//! Numbers are kept in `T` whatever a value's element type. After each op they are rounded to the
//! element type of its result, so that a bf16 or f16 program means one thing: sums run in `T`,
//! results are rounded once an op. A result in f32 is left as `T` has it: evaluated in `f64` it is
//! the exact answer that f32 programs are measured against. What is bound to inputs, states and
//! parameters is taken as it comes. No result depends on the number of threads.

mod attention;
mod convolution;
mod elementwise;
mod error;
mod norm;
mod resample;
mod shape_ops;
mod tensor;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

pub use error::{BindingFault, EvalError};
use tensor::OutOfMemory;
pub use tensor::{Real, Tensor, TensorError};

use crate::analysis;
use crate::graph::{Graph, Node, Output, Path, Value};
use crate::op::Op;
use crate::shape;
use crate::types::{ElementType, TensorType};
use crate::verify::verify;

/// What kind of leaf a caller gives a tensor for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LeafKind {
    /// [`Op::Input`].
    Input,
    /// [`Op::State`].
    State,
    /// [`Op::Parameter`].
    Parameter,
}

/// A leaf that a caller gives a tensor for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf<'g> {
    /// Its kind.
    pub kind: LeafKind,
    /// Its name, unique among its kind.
    pub name: &'g str,
    /// The type its tensor must have.
    pub ty: &'g TensorType,
}

impl<'g> Leaf<'g> {
    /// The leaf that `op` declares; `None` for a constant and for what is computed.
    pub fn of(op: &'g Op) -> Option<Self> {
        match op {
            Op::Input { name, ty } => Some(Self { kind: LeafKind::Input, name, ty }),
            Op::State { name, ty } => Some(Self { kind: LeafKind::State, name, ty }),
            Op::Parameter { name, ty } => Some(Self { kind: LeafKind::Parameter, name, ty }),
            _ => None,
        }
    }
}

/// Where the tensors of inputs, states and parameters come from.
///
/// A tensor is asked for when the first op reads it and let go after the last, so a source that
/// makes its tensors as they are asked for (a mapped checkpoint) holds few of them at a time.
pub trait Bindings<T: Real> {
    /// The tensor of `leaf`, borrowed where it is kept or made anew; `None` when there is none.
    fn tensor(&self, leaf: Leaf<'_>) -> Option<Cow<'_, Tensor<T>>>;
}

/// Tensors by name, for each kind of leaf.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensors<T> {
    /// For [`Op::Input`].
    pub inputs: BTreeMap<String, Tensor<T>>,
    /// For [`Op::State`].
    pub states: BTreeMap<String, Tensor<T>>,
    /// For [`Op::Parameter`].
    pub parameters: BTreeMap<String, Tensor<T>>,
}

impl<T> Default for Tensors<T> {
    fn default() -> Self {
        Self { inputs: BTreeMap::new(), states: BTreeMap::new(), parameters: BTreeMap::new() }
    }
}

impl<T: Real> Bindings<T> for Tensors<T> {
    fn tensor(&self, leaf: Leaf<'_>) -> Option<Cow<'_, Tensor<T>>> {
        let of_kind = match leaf.kind {
            LeafKind::Input => &self.inputs,
            LeafKind::State => &self.states,
            LeafKind::Parameter => &self.parameters,
        };
        of_kind.get(leaf.name).map(Cow::Borrowed)
    }
}

/// Every output of `graph`, in the graph's order, with the tensors that `bindings` gives.
///
/// Only what the outputs need is computed and asked for. A value is dropped after its last use.
///
/// # Errors
/// When the graph does not verify, a tensor is missing or of another type, or memory runs out.
pub fn evaluate<T: Real>(graph: &Graph, bindings: &impl Bindings<T>) -> Result<Vec<(Output, Tensor<T>)>, EvalError> {
    evaluate_watched(graph, bindings, &mut |_| ControlFlow::Continue(()))
}

/// An op that was computed just now.
pub struct Computed<'a, T> {
    /// Its value.
    pub value: Value,
    /// The op.
    pub node: &'a Node,
    /// What it made.
    pub result: &'a Tensor<T>,
    /// The tensor of one of its operands.
    pub operand: &'a dyn Fn(Value) -> &'a Tensor<T>,
}

/// Told of every op that is computed, in order. Breaking stops the evaluation.
pub type Watch<'w, T> = dyn FnMut(&Computed<'_, T>) -> ControlFlow<()> + 'w;

/// [`evaluate`], watched.
///
/// # Errors
/// As [`evaluate`]; [`EvalError::Stopped`] if `watch` breaks.
pub fn evaluate_watched<T: Real>(
    graph: &Graph,
    bindings: &impl Bindings<T>,
    watch: &mut Watch<'_, T>,
) -> Result<Vec<(Output, Tensor<T>)>, EvalError> {
    verify(graph)?;
    let needed = analysis::reachable(graph);
    let computed = |(value, node): &(Value, &Node)| needed[value.index()] && Leaf::of(&node.op).is_none();
    // Uses by ops that are not computed do not keep a value alive.
    let mut uses_left = vec![0_usize; graph.len()];
    let operands = graph.nodes().filter(computed).flat_map(|(_, node)| node.op.operands());
    operands.chain(graph.outputs().iter().map(|output| output.value)).for_each(|v| uses_left[v.index()] += 1);
    let mut live: Vec<Option<Cow<'_, Tensor<T>>>> = vec![None; graph.len()];
    for (value, node) in graph.nodes().filter(computed) {
        let operands = node.op.operands();
        for &operand in &operands {
            bind(graph, bindings, &mut live, operand)?;
        }
        let tensor_of = |v: Value| live[v.index()].as_deref().expect("computed or bound before its use");
        let result = T::compute(&node.op, &tensor_of, &node.ty).map_err(|_: OutOfMemory| EvalError::Memory {
            mnemonic: node.op.mnemonic(),
            path: node.path.clone(),
            ty: node.ty.clone(),
        })?;
        if watch(&Computed { value, node, result: &result, operand: &tensor_of }).is_break() {
            return Err(EvalError::Stopped);
        }
        live[value.index()] = Some(Cow::Owned(result));
        for operand in operands {
            uses_left[operand.index()] -= 1;
            if uses_left[operand.index()] == 0 {
                live[operand.index()] = None;
            }
        }
    }
    for output in graph.outputs() {
        bind(graph, bindings, &mut live, output.value)?;
    }
    let mut take = |value: Value| {
        uses_left[value.index()] -= 1;
        let slot = &mut live[value.index()];
        let tensor = if uses_left[value.index()] == 0 { slot.take() } else { slot.clone() };
        tensor.expect("outputs live to the end").into_owned()
    };
    Ok(graph.outputs().iter().map(|output| (output.clone(), take(output.value))).collect())
}

/// Asks for the tensor of `value` if it is a leaf that nobody has read yet.
fn bind<'b, T: Real>(
    graph: &Graph,
    bindings: &'b impl Bindings<T>,
    live: &mut [Option<Cow<'b, Tensor<T>>>],
    value: Value,
) -> Result<(), EvalError> {
    let node = graph.node(value);
    let Some(leaf) = Leaf::of(&node.op).filter(|_| live[value.index()].is_none()) else { return Ok(()) };
    let fail = |fault| Err(EvalError::binding(&node.op, &leaf, &node.path, fault));
    let expected = leaf.ty.clone();
    let Some(tensor) = bindings.tensor(leaf) else { return fail(BindingFault::Missing { expected }) };
    if tensor.ty != expected {
        return fail(BindingFault::Type { expected, found: tensor.ty.clone() });
    }
    if let Err(error) = tensor.check() {
        return fail(BindingFault::Data(error));
    }
    live[value.index()] = Some(tensor);
    Ok(())
}

/// The result of one op by itself, given its operands in the order of [`Op::operands`]; a value
/// that stands twice there is given twice.
///
/// # Errors
/// When `op` is an input, a state or a parameter, the operands break a constraint, or memory runs
/// out.
pub fn evaluate_op<T: Real>(op: &Op, operands: &[&Tensor<T>]) -> Result<Tensor<T>, EvalError> {
    let mnemonic = op.mnemonic();
    let values = op.operands();
    if values.len() != operands.len() {
        return Err(EvalError::OperandCount { mnemonic, expected: values.len(), found: operands.len() });
    }
    if let Some(leaf) = Leaf::of(op) {
        let fault = BindingFault::Missing { expected: leaf.ty.clone() };
        return Err(EvalError::binding(op, &leaf, &Path::from(""), fault));
    }
    let tensor_of = |value: Value| operands[values.iter().position(|v| *v == value).expect("an operand of the op")];
    let ty = shape::infer_over(op, &|value| Some(&tensor_of(value).ty))
        .map_err(|violation| EvalError::Constraint { mnemonic, violation })?;
    for (position, operand) in operands.iter().enumerate() {
        operand.check().map_err(|error| EvalError::OperandData { mnemonic, position, error })?;
    }
    T::compute(op, &tensor_of, &ty).map_err(|_: OutOfMemory| EvalError::Memory { mnemonic, path: Path::from(""), ty })
}

/// The result of `op`, of type `ty`, rounded to its element type. The constraints of the op hold.
fn compute<'a, T: Real>(
    op: &Op,
    tensor_of: &dyn Fn(Value) -> &'a Tensor<T>,
    ty: &TensorType,
) -> Result<Tensor<T>, OutOfMemory> {
    let of = |value: &Value| tensor_of(*value);
    let mut result = match op {
        Op::Input { .. } | Op::State { .. } | Op::Parameter { .. } => unreachable!("the caller binds these"),
        Op::Constant { value, .. } => elementwise::constant(value, ty)?,
        Op::Add { lhs, rhs } => elementwise::zip(of(lhs), of(rhs), ty, |a, b| a + b)?,
        Op::Multiply { lhs, rhs } => elementwise::zip(of(lhs), of(rhs), ty, |a, b| a * b)?,
        Op::Silu { input } => elementwise::map(of(input), ty, elementwise::silu)?,
        Op::Unary { input, function } => elementwise::map(of(input), ty, |x| elementwise::unary(*function, x))?,
        Op::Clamp { input, low, high } => {
            let [low, high] = [*low, *high].map(T::from_f64);
            elementwise::map(of(input), ty, |x| elementwise::clamp(x, low, high))?
        }
        Op::AddBias { input, bias } => {
            let mut sum = elementwise::map(of(input), ty, |x| x)?;
            elementwise::add_per_channel(&mut sum, of(bias));
            sum
        }
        Op::Convolution { input, weight, bias, residual, cache, strides, padding, repeat_first, border } => {
            convolution::Convolution {
                input: of(input),
                weight: of(weight),
                bias: bias.map(tensor_of),
                residual: residual.map(tensor_of),
                cache: cache.map(tensor_of),
                strides: *strides,
                padding: *padding,
                repeat_first: *repeat_first,
                border: *border,
            }
            .evaluate(ty)?
        }
        Op::GroupedConvolution { input, weight, bias, groups, strides, padding } => {
            let bias = bias.map(tensor_of);
            convolution::grouped(of(input), of(weight), bias, *groups, *strides, *padding, ty)?
        }
        Op::Attention { query, key, value, heads, scale, mask } => {
            attention::attention([of(query), of(key), of(value)], *heads, *scale, *mask, ty)?
        }
        Op::LinearAttention { query, key, value, heads, epsilon } => {
            attention::linear_attention([of(query), of(key), of(value)], *heads, *epsilon, ty)?
        }
        Op::GroupNorm { input, scale, offset, groups, epsilon } => {
            norm::group_norm(of(input), of(scale), of(offset), *groups, *epsilon, ty)?
        }
        Op::GroupStatistics { input, groups, epsilon } => norm::group_statistics(of(input), *groups, *epsilon)?,
        Op::Normalize { input, statistics, scale, offset, gain, shift, first_frame, activation } => {
            let modulation = gain.zip(*shift).map(|(gain, shift)| (tensor_of(gain), tensor_of(shift), *first_frame));
            norm::normalize(of(input), of(statistics), [of(scale), of(offset)], modulation, *activation, ty)?
        }
        Op::ChannelNorm { input, scale, offset, kind, epsilon, activation } => {
            let affine = [scale, offset].map(|operand| operand.map(tensor_of));
            norm::channel_norm(of(input), affine, (*kind, *epsilon), *activation, ty)?
        }
        Op::ResizeNearest { input, first_frame, .. } => resample::resize_nearest(of(input), *first_frame, ty)?,
        Op::AveragePool { input, window, first_frame } => resample::average_pool(of(input), *window, *first_frame, ty)?,
        Op::Pad { input, low, mode, .. } => shape_ops::pad(of(input), low, |_| *mode, ty)?,
        Op::Slice { input, start, .. } => shape_ops::slice(of(input), start, ty)?,
        Op::Concatenate { inputs, axis } => {
            shape_ops::concatenate(&inputs.iter().map(of).collect::<Vec<_>>(), *axis, ty)?
        }
        Op::Transpose { input, permutation } => shape_ops::transpose(of(input), permutation, ty)?,
        Op::Reshape { input, .. } | Op::Convert { input, .. } => elementwise::map(of(input), ty, |x| x)?,
    };
    if ty.element != ElementType::F32 {
        elementwise::round(&mut result);
    }
    Ok(result)
}
