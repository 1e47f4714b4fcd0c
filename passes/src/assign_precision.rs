//! Computing in bf16: activations, states and the weights of convolutions go from f32 to bf16.
//!
//! - Inputs, results and taps keep their type: a `convert` stands right behind the input and right
//!   in front of the result or tap.
//! - States are opaque to callers, so they become bf16 themselves.
//! - Every op over activations is made again over bf16 operands, so its result is bf16: computed in
//!   f32 or wider and rounded once, as the evaluator defines it. What is fused into an op (bias,
//!   residual, modulation, activation) is therefore added before the rounding, and this pass stands
//!   behind all fusion.
//! - `group_statistics` stay f32, summed over bf16 elements: 128 channels of a picture in 8 bits of
//!   mantissa would not have a mean.
//! - Values of weights alone stay f32, and are converted where an op reads them beside activations:
//!   once, when weights are bound. A splat or list of numbers is made in bf16 to begin with.
//! - Biases, scales and offsets stay f32, as their ops want them (`OperandRole::stays_f32`): a
//!   number a channel costs no memory, and is added or multiplied in f32 anyhow. (PyTorch's bf16
//!   rounds them with the rest of the checkpoint; keeping them is no less exact.)
//! - So do numbers and vectors that are inputs, and what is computed of them and of weights alone
//!   (`ir::analysis::of_settings`): the angles of a timestep's sinusoids are large, and bf16 would
//!   not tell neighbours apart.
//!
//! Elements that are not f32 are left alone.
//!
//! ```text
//! %0 = input {name = "x"} : tensor<1x2x8x8x4xf32, nthwc>
//! %1 = parameter {name = "w"} : tensor<1x1x1x4x4xf32, dhwio>
//! %2 = parameter {name = "b"} : tensor<4xf32>
//! %3 = convolution %0, %1, bias: %2 {..} : tensor<1x2x8x8x4xf32, nthwc>
//! return result "y" = %3
//! ```
//! becomes
//! ```text
//! %0 = input {name = "x"} : tensor<1x2x8x8x4xf32, nthwc>
//! %1 = convert %0 {element = bf16} : tensor<1x2x8x8x4xbf16, nthwc>
//! %2 = parameter {name = "w"} : tensor<1x1x1x4x4xf32, dhwio>
//! %3 = parameter {name = "b"} : tensor<4xf32>
//! %4 = convert %2 {element = bf16} : tensor<1x1x1x4x4xbf16, dhwio>
//! %5 = convolution %1, %4, bias: %3 {..} : tensor<1x2x8x8x4xbf16, nthwc>
//! %6 = convert %5 {element = f32} : tensor<1x2x8x8x4xf32, nthwc>
//! return result "y" = %6
//! ```

use std::collections::HashMap;

use ir::analysis::{of_settings, weight_only};
use ir::{ElementType, Graph, Node, Op, Role, TensorType, Value};

use crate::legality::Stage;
use crate::pass::{Pass, PassError};
use crate::rewriter::Rewriter;

/// The pass.
pub const PASS: Pass = Pass {
    name: "assign-precision",
    doc: "Lets activations, states and convolution weights be bf16; statistics and numbers a channel stay f32.",
    run,
    establishes: Some(Stage::Bf16),
};

/// What f32 becomes.
const NARROW: ElementType = ElementType::Bf16;

/// The element type that takes the place of `element` in activations and states.
const fn assigned(element: ElementType) -> ElementType {
    match element {
        ElementType::F32 => NARROW,
        ElementType::Bf16 | ElementType::F16 | ElementType::I8 | ElementType::I32 => element,
    }
}

fn run(graph: &Graph) -> Result<Graph, PassError> {
    let (weights, settings) = (weight_only(graph), of_settings(graph));
    // What stays as it is.
    let kept: Vec<bool> = weights.iter().zip(&settings).map(|(weight, setting)| *weight || *setting).collect();
    let mut rewriter = Rewriter::new(graph);
    // By role and old value of an output: the new value in the output's type.
    let mut leaving: HashMap<(Role, Value), Option<Value>> =
        graph.outputs().iter().map(|output| ((output.role, output.value), None)).collect();
    for (value, node) in graph.nodes() {
        rewriter.at(&node.path);
        let (new, declared) = match &node.op {
            // What leaves as it came is not rounded on the way.
            Op::Input { .. } if !kept[value.index()] => {
                let input = rewriter.emit(node.op.clone())?;
                (converted(&mut rewriter, input, assigned(node.ty.element))?, input)
            }
            _ => {
                let new = assign(&mut rewriter, graph, node, &kept, value)?;
                (new, new)
            }
        };
        rewriter.map_next(new);
        for role in Role::ALL {
            if let Some(leaves) = leaving.get_mut(&(role, value)) {
                *leaves = Some(match role {
                    Role::State => converted(&mut rewriter, new, assigned(node.ty.element))?,
                    Role::Result | Role::Tap => converted(&mut rewriter, declared, node.ty.element)?,
                });
            }
        }
    }
    Ok(rewriter.finish_with(|_, output| leaving[&(output.role, output.value)].expect("every value was seen")))
}

/// Emits the form of `node`, the op of `value`, over bf16 activations.
fn assign(
    rewriter: &mut Rewriter<'_>,
    graph: &Graph,
    node: &Node,
    kept: &[bool],
    value: Value,
) -> Result<Value, PassError> {
    let mut op = rewriter.translate(&node.op);
    if kept[value.index()] {
        return Ok(rewriter.emit(op)?);
    }
    match &mut op {
        Op::State { ty, .. } => ty.element = assigned(ty.element),
        Op::Convert { input, element } => {
            *element = assigned(*element);
            return converted(rewriter, *input, *element);
        }
        Op::Reshape { ty, .. } => ty.element = assigned(ty.element),
        _ => {}
    }
    let old = node.op.roles();
    let mut narrow = Vec::with_capacity(old.len());
    for (role, value) in old {
        let new = rewriter.new_of(value);
        narrow.push(match graph.ty(value).element {
            ElementType::F32 => converted(rewriter, new, if role.stays_f32() { ElementType::F32 } else { NARROW })?,
            ElementType::Bf16 | ElementType::F16 | ElementType::I8 | ElementType::I32 => new,
        });
    }
    let mut operands = narrow.into_iter();
    op.map_operands(&mut |_| operands.next().expect("as many operands as before"));
    Ok(rewriter.emit(op)?)
}

/// `value` with elements of type `element`.
fn converted(rewriter: &mut Rewriter<'_>, value: Value, element: ElementType) -> Result<Value, PassError> {
    if rewriter.ty(value).element == element {
        return Ok(value);
    }
    Ok(match rewriter.op(value).clone() {
        Op::Constant { value, ty } => rewriter.emit(Op::Constant { value, ty: TensorType { element, ..ty } })?,
        _ => rewriter.emit(Op::Convert { input: value, element })?,
    })
}
