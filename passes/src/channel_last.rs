//! Channel-last throughout: ncthw becomes nthwc, oidhw becomes dhwio, and so does any layout with
//! channels ([`ir::Layout::channel_last`]).
//!
//! - Inputs, results and taps keep their type: a transpose stands right behind the input and right
//!   in front of the result or tap.
//! - States are opaque to callers, so they become channel-last themselves.
//! - Parameters are transposed once: by an op over weights alone, which a backend evaluates when it
//!   binds them. So are constants, but for splats, whose type changes.
//! - Attributes that speak of axes (of `pad`, `slice` and `concatenate`: `ir::Op::reorder_axes`)
//!   have them permuted; every other op reads its axes from its operand's type.
//! - A declared transpose between two named layouts vanishes where both become the same.
//! - A reshape reads its operand in the declared order and leaves that order behind it: where that
//!   is channel-first, transposes stand around it, since in the other layout it is no reshape.
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

/// Which axis of a tensor of this layout each axis of the channel-last one is; `None` when it is
/// channel-last.
fn order(layout: Layout) -> Option<Dims> {
    let last = layout.channel_last();
    if layout == last { None } else { layout.order_of(last) }
}

/// The channel-last type for `ty`; `ty` itself when it is channel-last.
fn channel_last_type(ty: &TensorType) -> TensorType {
    let order = order(ty.layout);
    let shape = order.map_or_else(|| ty.shape.clone(), |order| order.iter().map(|&axis| ty.shape[axis]).collect());
    TensorType { element: ty.element, shape, layout: ty.layout.channel_last() }
}

fn run(graph: &Graph) -> Result<Graph, PassError> {
    let mut rewriter = Rewriter::new(graph);
    // By old value that leaves as a result or tap: the new value in its declared layout.
    let mut declared: HashMap<Value, Option<Value>> =
        graph.outputs().iter().filter(|o| o.role != Role::State).map(|o| (o.value, None)).collect();
    for (value, node) in graph.nodes() {
        rewriter.at(&node.path);
        let new = relay(&mut rewriter, graph, node)?;
        rewriter.map_next(new);
        if let Some(leaves) = declared.get_mut(&value) {
            *leaves = Some(in_layout(&mut rewriter, new, node.ty.layout)?);
        }
    }
    Ok(rewriter.finish_with(|rewriter, output| match declared.get(&output.value) {
        Some(Some(value)) if output.role != Role::State => *value,
        _ => rewriter.new_of(output.value),
    }))
}

/// Emits the channel-last form of `node`.
fn relay(rewriter: &mut Rewriter<'_>, graph: &Graph, node: &Node) -> Result<Value, PassError> {
    let op = match &node.op {
        Op::State { name, ty } => Op::State { name: name.clone(), ty: channel_last_type(ty) },
        Op::Constant { value: Elements::Splat(x), ty } => {
            Op::Constant { value: Elements::Splat(*x), ty: channel_last_type(ty) }
        }
        leaf if leaf.is_leaf() => {
            let value = rewriter.emit(leaf.clone())?;
            return to_channel_last(rewriter, value);
        }
        Op::Transpose { input, .. } if !node.ty.layout.is_plain() => {
            let value = rewriter.new_of(*input);
            return in_layout(rewriter, value, node.ty.layout.channel_last());
        }
        Op::Reshape { input, ty } => {
            let first = in_layout(rewriter, rewriter.new_of(*input), graph.ty(*input).layout)?;
            let reshaped = rewriter.emit(Op::Reshape { input: first, ty: ty.clone() })?;
            return to_channel_last(rewriter, reshaped);
        }
        // What speaks of axes speaks of the first operand's.
        op => {
            let mut translated = rewriter.translate(op);
            if let Some(order) = op.operands().first().and_then(|operand| order(graph.ty(*operand).layout)) {
                translated.reorder_axes(&order);
            }
            translated
        }
    };
    Ok(rewriter.emit(op)?)
}

/// `value` with its channels last.
fn to_channel_last(rewriter: &mut Rewriter<'_>, value: Value) -> Result<Value, PassError> {
    let layout = rewriter.ty(value).layout.channel_last();
    in_layout(rewriter, value, layout)
}

/// `value` in a layout of the same axes.
fn in_layout(rewriter: &mut Rewriter<'_>, value: Value, layout: Layout) -> Result<Value, PassError> {
    let from = rewriter.ty(value).layout;
    if from == layout {
        return Ok(value);
    }
    let permutation = from.order_of(layout).expect("both name the same axes");
    Ok(rewriter.emit(Op::Transpose { input: value, permutation })?)
}
