//! `add` of a convolution and another value becomes the convolution's residual.
//!
//! Preconditions: the `add` is the convolution's only use, which also makes the other value
//! independent of it; the convolution has no residual yet. Where both operands are such
//! convolutions (a residual block with a shortcut), the one with more multiplications takes the
//! other as its residual, so that the cheap one's result is what waits in memory; of equals, the
//! later one.
//!
//! ```text
//! %3 = convolution %2, %1 {..} : tensor<1x2x8x8x4xf32, nthwc> @ conv2
//! %4 = add %0, %3 : tensor<1x2x8x8x4xf32, nthwc> @ resnet
//! ```
//! becomes
//! ```text
//! %3 = convolution %2, %1, residual: %0 {..} : tensor<1x2x8x8x4xf32, nthwc> @ conv2
//! ```

use ir::{Graph, Op, Value};

use crate::pass::{Pass, PassError};
use crate::rewriter::{Rewriter, rewrite};

/// The pass.
pub const PASS: Pass = Pass {
    name: "fuse-residual",
    doc: "Makes what is added to a convolution its residual operand.",
    run,
    establishes: None,
};

fn run(graph: &Graph) -> Result<Graph, PassError> {
    rewrite(graph, |rewriter, op| {
        let &Op::Add { lhs, rhs } = op else { return Ok(None) };
        let (convolution, other) = match (multiplications(rewriter, lhs), multiplications(rewriter, rhs)) {
            (Some(left), Some(right)) if (left, lhs) > (right, rhs) => (lhs, rhs),
            (_, Some(_)) => (rhs, lhs),
            (Some(_), None) => (lhs, rhs),
            (None, None) => return Ok(None),
        };
        let mut fused = rewriter.op(convolution).clone();
        if let Op::Convolution { residual, .. } = &mut fused {
            *residual = Some(other);
        }
        Ok(Some(rewriter.emit_beside(convolution, fused)?))
    })
}

/// Multiplications of `value`, if it is a convolution that can take a residual.
fn multiplications(rewriter: &Rewriter<'_>, value: Value) -> Option<usize> {
    match rewriter.op(value) {
        Op::Convolution { weight, residual: None, .. } if rewriter.single_use(value) => {
            let weight = rewriter.ty(*weight);
            let outputs = weight.shape[weight.layout.kernel()?.output];
            Some((weight.elements() / outputs).saturating_mul(rewriter.ty(value).elements()))
        }
        _ => None,
    }
}
