//! `add_bias` of a convolution, or a grouped one, becomes the convolution's bias.
//!
//! Preconditions: the `add_bias` is the convolution's only use; the convolution has no bias, and no
//! residual, since a residual is added behind the bias: the order of additions stays.
//!
//! ```text
//! %3 = convolution %0, %1 {..} : tensor<1x2x8x8x4xf32, nthwc> @ conv
//! %4 = add_bias %3, %2 : tensor<1x2x8x8x4xf32, nthwc> @ conv
//! ```
//! becomes
//! ```text
//! %3 = convolution %0, %1, bias: %2 {..} : tensor<1x2x8x8x4xf32, nthwc> @ conv
//! ```

use ir::{Graph, Op};

use crate::pass::{Pass, PassError};
use crate::rewriter::rewrite;

/// The pass.
pub const PASS: Pass =
    Pass { name: "fuse-bias", doc: "Makes add_bias of a convolution its bias operand.", run, establishes: None };

fn run(graph: &Graph) -> Result<Graph, PassError> {
    rewrite(graph, |rewriter, op| {
        let &Op::AddBias { input: convolution, bias: added } = op else { return Ok(None) };
        if !rewriter.single_use(convolution) {
            return Ok(None);
        }
        let mut fused = rewriter.op(convolution).clone();
        match &mut fused {
            Op::Convolution { bias: bias @ None, residual: None, .. }
            | Op::GroupedConvolution { bias: bias @ None, .. } => *bias = Some(added),
            _ => return Ok(None),
        }
        Ok(Some(rewriter.emit_beside(convolution, fused)?))
    })
}
