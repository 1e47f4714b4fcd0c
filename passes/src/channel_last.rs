//! Channel-last throughout: ncthw becomes nthwc, and oidhw becomes dhwio.
//!
//! - Inputs, results and taps keep their type: a transpose stands right behind the input and right in front of the
//!   result or tap.
//! - States are opaque to callers, so they become channel-last themselves.
//! - Parameters, and reshapes of them, are transposed once: ops over weights alone, which a backend evaluates when it binds
//!   them. So are constants, but for splats, whose type changes.
//! - `pad`, `slice` and `concatenate` have their axes permuted; every other op reads its axes from its operand's type.
//! - A declared transpose between two named layouts vanishes, since both become the same.
//!
//! A reshape of an activation from or to a channel-first layout is refused: in the other layout it is no reshape.
//!
//! ```text
//! %0 = input {name = "x"} : tensor<1x3x2x8x8xf32, ncthw>
//! %1 = slice %0 {start = [0, 0, 1, 0, 0], limit = [1, 3, 2, 8, 8]} : tensor<1x3x1x8x8xf32, ncthw>
//! return result "y" = %1
//! ```
//! becomes
//! ```text
//! %0 = input {name = "x"} : tensor<1x3x2x8x8xf32, ncthw>
//! %1 = transpose %0 {permutation = [0, 2, 3, 4, 1]} : tensor<1x2x8x8x3xf32, nthwc>
//! %2 = slice %1 {start = [0, 1, 0, 0, 0], limit = [1, 2, 8, 8, 3]} : tensor<1x1x8x8x3xf32, nthwc>
//! %3 = transpose %2 {permutation = [0, 4, 1, 2, 3]} : tensor<1x3x1x8x8xf32, ncthw>
//! return result "y" = %3
//! ```

use std::collections::HashMap;

use ir::analysis::weight_only;
use ir::{Dims, Elements, Graph, Layout, Node, Op, Role, TensorType, Value};

use crate::legality::Stage;
use crate::pass::{Pass, PassError};
use crate::rewriter::Rewriter;

/// The pass.
pub const PASS: Pass = Pass {
    name: "channel-last",
    doc: "Lays videos and convolution weights out channel-last; transposes are left at the borders alone.",
    run,
    establishes: Some(Stage::ChannelLast),
};

/// The channel-last layout for a channel-first one, and which axis of the channel-first tensor each of its axes is.
const fn channel_last(layout: Layout) -> Option<(Layout, [usize; 5])> {
    match layout {
        Layout::Ncthw => Some((Layout::Nthwc, [0, 2, 3, 4, 1])),
        Layout::Oidhw => Some((Layout::Dhwio, [2, 3, 4, 1, 0])),
        Layout::Plain | Layout::Nthwc | Layout::Dhwio => None,
    }
}

/// `dims` in the order of the axes that `permutation` names.
fn permuted(dims: &Dims, permutation: [usize; 5]) -> Dims {
    permutation.iter().map(|&axis| dims[axis]).collect()
}

/// The channel-last type for `ty`; `ty` itself when it is not channel-first.
fn channel_last_type(ty: &TensorType) -> TensorType {
    match channel_last(ty.layout) {
        Some((layout, permutation)) => {
            TensorType { element: ty.element, shape: permuted(&ty.shape, permutation), layout }
        }
        None => ty.clone(),
    }
}

fn run(graph: &Graph) -> Result<Graph, PassError> {
    let weights = weight_only(graph);
    let mut rewriter = Rewriter::new(graph);
    // By old value that leaves as a result or tap: the new value in its declared layout.
    let mut declared: HashMap<Value, Option<Value>> =
        graph.outputs().iter().filter(|o| o.role != Role::State).map(|o| (o.value, None)).collect();
    for (value, node) in graph.nodes() {
        rewriter.at(&node.path);
        let new = relay(&mut rewriter, graph, node, weights[value.index()])?;
        rewriter.map_next(new);
        if let Some(leaves) = declared.get_mut(&value) {
            *leaves = Some(to_declared(&mut rewriter, new, &node.ty)?);
        }
    }
    Ok(rewriter.finish_with(|rewriter, output| match declared.get(&output.value) {
        Some(Some(value)) if output.role != Role::State => *value,
        _ => rewriter.new_of(output.value),
    }))
}

/// Emits the channel-last form of `node`.
fn relay(rewriter: &mut Rewriter<'_>, graph: &Graph, node: &Node, weight_only: bool) -> Result<Value, PassError> {
    let operand_permutation = |input: &Value| channel_last(graph.ty(*input).layout).map(|(_, p)| p);
    let translated = rewriter.translate(&node.op);
    let op = match (&node.op, translated) {
        (Op::State { name, ty }, _) => Op::State { name: name.clone(), ty: channel_last_type(ty) },
        (Op::Constant { value: Elements::Splat(x), ty }, _) => {
            Op::Constant { value: Elements::Splat(*x), ty: channel_last_type(ty) }
        }
        (leaf, _) if leaf.is_leaf() => {
            let value = rewriter.emit(leaf.clone())?;
            return to_channel_last(rewriter, value);
        }
        (Op::Transpose { input, .. }, _) if graph.ty(*input).layout != Layout::Plain => {
            return Ok(rewriter.new_of(*input));
        }
        (Op::Reshape { input, ty }, _) => {
            let from = graph.ty(*input);
            if !weight_only && (channel_last(from.layout).is_some() || channel_last(ty.layout).is_some()) {
                return Err(PassError::Unsupported {
                    op: node.op.mnemonic(),
                    path: node.path.clone(),
                    message: format!(
                        "{from} to {ty} is no reshape once videos are channel-last; declare it with slice, \
                         concatenate or transpose, or over parameters alone"
                    ),
                });
            }
            let first = to_declared(rewriter, rewriter.new_of(*input), from)?;
            let reshaped = rewriter.emit(Op::Reshape { input: first, ty: ty.clone() })?;
            return to_channel_last(rewriter, reshaped);
        }
        (Op::Pad { input: old, .. }, Op::Pad { input, low, high, mode }) => match operand_permutation(old) {
            Some(p) => Op::Pad { input, low: permuted(&low, p), high: permuted(&high, p), mode },
            None => Op::Pad { input, low, high, mode },
        },
        (Op::Slice { input: old, .. }, Op::Slice { input, start, limit }) => match operand_permutation(old) {
            Some(p) => Op::Slice { input, start: permuted(&start, p), limit: permuted(&limit, p) },
            None => Op::Slice { input, start, limit },
        },
        (Op::Concatenate { .. }, Op::Concatenate { inputs, axis }) => {
            // The result has the operands' layout.
            let place = channel_last(node.ty.layout).and_then(|(_, p)| p.iter().position(|&from| from == axis));
            Op::Concatenate { inputs, axis: place.unwrap_or(axis) }
        }
        (_, translated) => translated,
    };
    Ok(rewriter.emit(op)?)
}

/// `value` with its channels last.
fn to_channel_last(rewriter: &mut Rewriter<'_>, value: Value) -> Result<Value, PassError> {
    match channel_last(rewriter.ty(value).layout) {
        Some((_, p)) => Ok(rewriter.emit(Op::Transpose { input: value, permutation: p.into_iter().collect() })?),
        None => Ok(value),
    }
}

/// The channel-last `value` in the declared type.
fn to_declared(rewriter: &mut Rewriter<'_>, value: Value, declared: &TensorType) -> Result<Value, PassError> {
    let layout = rewriter.ty(value).layout;
    if layout == declared.layout {
        return Ok(value);
    }
    let permutation = declared
        .layout
        .letters()
        .chars()
        .map(|letter| layout.letters().find(letter).expect("both name the same axes"))
        .collect();
    Ok(rewriter.emit(Op::Transpose { input: value, permutation })?)
}
