//! Evaluates ops over constants while compiling.
//!
//! Preconditions: every operand is a constant; operands and result have at most [`LARGEST`]
//! elements, since a constant is part of the program. The reference evaluator computes the result
//! in f64, rounded to the element type as it rounds any op, so folding changes no meaning. What is
//! computed of parameters is not folded here: a backend evaluates it when it binds them.
//!
//! ```text
//! %0 = constant {value = 2.0} : tensor<4xf32>
//! %1 = constant {value = 0.5} : tensor<4xf32>
//! %2 = add %0, %1 : tensor<4xf32>
//! ```
//! becomes
//! ```text
//! %2 = constant {value = 2.5} : tensor<4xf32>
//! ```

use ir::eval::{Tensor, evaluate_op};
use ir::{Elements, Graph, Op, Value};

use crate::pass::{Pass, PassError};
use crate::rewriter::{Rewriter, rewrite};

/// The most elements of a constant that is folded.
pub const LARGEST: usize = 4096;

/// The pass.
pub const PASS: Pass = Pass {
    name: "fold-constants",
    doc: "Evaluates ops whose operands are all small constants.",
    run,
    establishes: None,
};

fn run(graph: &Graph) -> Result<Graph, PassError> {
    rewrite(graph, |rewriter, op| match fold(rewriter, op) {
        Some(constant) => Ok(Some(rewriter.emit(constant)?)),
        None => Ok(None),
    })
}

/// The constant that `op` is, if the preconditions hold and it can be evaluated.
fn fold(rewriter: &Rewriter<'_>, op: &Op) -> Option<Op> {
    let operands = op.operands();
    let small_constant =
        |&v: &Value| matches!(rewriter.op(v), Op::Constant { .. }) && rewriter.ty(v).elements() <= LARGEST;
    if operands.is_empty() || !operands.iter().all(small_constant) || rewriter.infer(op)?.elements() > LARGEST {
        return None;
    }
    let constants: Vec<Tensor<f64>> =
        operands.iter().map(|&v| evaluate_op(rewriter.op(v), &[]).ok()).collect::<Option<_>>()?;
    let result = evaluate_op(op, &constants.iter().collect::<Vec<_>>()).ok()?;
    let first = result.data[0];
    let same = result.data.iter().all(|x| x.to_bits() == first.to_bits());
    let value = if same { Elements::Splat(first) } else { Elements::Dense(result.data.into()) };
    Some(Op::Constant { value, ty: result.ty })
}
