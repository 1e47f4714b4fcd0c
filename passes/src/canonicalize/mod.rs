//! Simplifies op by op, until no rule applies; what a rule makes is simplified again.
//!
//! | op | becomes | when |
//! |---|---|---|
//! | `add` with a constant 0, `multiply` by a constant 1 | the other operand | the constant is that one number everywhere |
//! | `add`, `multiply` | operands in order | always: constants last, otherwise the earlier value first |
//! | `convert` to the type there is | its operand | always |
//! | `convert` of a `convert` | its operand | the type between holds every number of the first, which is also the last |
//! | `resize_nearest` to the size there is, `average_pool` over 1x1x1 | its operand | always |
//! | `transpose` in the order there is, `reshape` to the type there is | its operand | always |
//! | `transpose` of a `transpose`, `reshape` of a `reshape` | one of them | always |
//! | `transpose` or `reshape` behind others of both | one reshape | elements come back into their order (`order`) |
//! | `pad`, `slice`, `concatenate` | see [`windows`] | |
//!
//! `x + 0` is `x` but for the sign of a zero, which nothing here can tell. `x * 0` stays, since x
//! may be infinite.
//!
//! ```text
//! %1 = transpose %0 {permutation = [0, 4, 1, 2, 3]} : tensor<1x4x2x8x8xf32, ncthw>
//! %2 = transpose %1 {permutation = [0, 2, 3, 4, 1]} : tensor<1x2x8x8x4xf32, nthwc>
//! %3 = silu %2 : tensor<1x2x8x8x4xf32, nthwc>
//! ```
//! becomes
//! ```text
//! %3 = silu %0 : tensor<1x2x8x8x4xf32, nthwc>
//! ```

mod order;
pub mod windows;

use ir::{ElementType, Elements, Graph, Op, Value};

use crate::pass::{Pass, PassError};
use crate::rewriter::{Rewriter, rewrite};

/// The pass.
pub const PASS: Pass = Pass {
    name: "canonicalize",
    doc: "Removes ops that change nothing and joins chains of pads, slices, concatenations, transposes and reshapes.",
    run,
    establishes: None,
};

fn run(graph: &Graph) -> Result<Graph, PassError> {
    rewrite(graph, |rewriter, op| emit(rewriter, op.clone()).map(Some))
}

/// What a rule makes of an op.
pub(crate) enum Simpler {
    /// No rule applies.
    No,
    /// A value that is there already.
    Value(Value),
    /// Another op.
    Op(Op),
}

/// Emits `op` in its simplest form.
fn emit(rewriter: &mut Rewriter<'_>, mut op: Op) -> Result<Value, PassError> {
    loop {
        match simplify(rewriter, &op)? {
            Simpler::No => return Ok(rewriter.emit(op)?),
            Simpler::Value(value) => return Ok(value),
            Simpler::Op(simpler) => op = simpler,
        }
    }
}

fn simplify(rewriter: &mut Rewriter<'_>, op: &Op) -> Result<Simpler, PassError> {
    Ok(match op {
        Op::Add { lhs, rhs } => commutative(rewriter, *lhs, *rhs, 0.0, |lhs, rhs| Op::Add { lhs, rhs }),
        Op::Multiply { lhs, rhs } => commutative(rewriter, *lhs, *rhs, 1.0, |lhs, rhs| Op::Multiply { lhs, rhs }),
        Op::Convert { input, element } => convert(rewriter, *input, *element),
        Op::ResizeNearest { input, size, .. } if rewriter.ty(*input).space() == Some(*size) => Simpler::Value(*input),
        Op::AveragePool { input, window: [1, 1, 1], .. } => Simpler::Value(*input),
        Op::Transpose { input, permutation } => {
            if permutation.iter().copied().eq(0..permutation.len()) {
                Simpler::Value(*input)
            } else if let Op::Transpose { input: inner, permutation: first } = rewriter.op(*input) {
                let composed = permutation.iter().map(|&axis| first[axis]).collect();
                Simpler::Op(Op::Transpose { input: *inner, permutation: composed })
            } else {
                order::reshape(rewriter, op)
            }
        }
        Op::Reshape { input, ty } => {
            if rewriter.ty(*input) == ty {
                Simpler::Value(*input)
            } else if let Op::Reshape { input: inner, .. } = rewriter.op(*input) {
                Simpler::Op(Op::Reshape { input: *inner, ty: ty.clone() })
            } else {
                order::reshape(rewriter, op)
            }
        }
        Op::Pad { input, low, high, mode } => windows::pad(rewriter, *input, low, high, *mode),
        Op::Slice { input, start, limit } => windows::slice(rewriter, *input, start, limit)?,
        Op::Concatenate { inputs, axis } => windows::concatenate(rewriter, inputs, *axis),
        _ => Simpler::No,
    })
}

/// `make(lhs, rhs)` of a commutative op with a neutral element.
fn commutative(rewriter: &Rewriter<'_>, lhs: Value, rhs: Value, neutral: f64, make: fn(Value, Value) -> Op) -> Simpler {
    let is_neutral = |value| match rewriter.op(value) {
        Op::Constant { value: Elements::Splat(x), .. } => *x == neutral,
        Op::Constant { value: Elements::Dense(xs), .. } => xs.iter().all(|&x| x == neutral),
        _ => false,
    };
    let order = |value| (matches!(rewriter.op(value), Op::Constant { .. }), value);
    if is_neutral(rhs) {
        Simpler::Value(lhs)
    } else if is_neutral(lhs) {
        Simpler::Value(rhs)
    } else if order(rhs) < order(lhs) {
        Simpler::Op(make(rhs, lhs))
    } else {
        Simpler::No
    }
}

fn convert(rewriter: &Rewriter<'_>, input: Value, to: ElementType) -> Simpler {
    let between = rewriter.ty(input).element;
    if between == to {
        return Simpler::Value(input);
    }
    match *rewriter.op(input) {
        Op::Convert { input: first, .. } if rewriter.ty(first).element == to && holds(between, to) => {
            Simpler::Value(first)
        }
        _ => Simpler::No,
    }
}

/// Whether every number of type `small` is one of type `large`.
const fn holds(large: ElementType, small: ElementType) -> bool {
    use ElementType::{Bf16, F16, F32, I8, I32};
    matches!((large, small), (F32, Bf16 | F16 | I8) | (Bf16 | F16 | I32, I8))
}
