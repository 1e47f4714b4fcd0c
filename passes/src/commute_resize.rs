//! Runs pointwise convolutions before a resize that enlarges, not behind it: there is less to compute.
//!
//! A nearest resize copies elements; a 1x1x1 convolution makes each result element of one place of its input. So
//! `convolution(resize(x)) = resize(convolution(x))`, and likewise for `add_bias`. In a spatially conditioned norm the
//! latents are resized to the activation's size and then convolved: 64 times more often than needed at eight times the
//! resolution.
//!
//! Preconditions, convolution: kernel 1x1x1, strides 1, no padding, no cache, no repeated first frame, no residual; its
//! input is a `resize_nearest` with more elements than its own input. Other uses of the resize keep it alive.
//! Preconditions, bias: its input is such a resize, used by this op alone, of a convolution.
//!
//! ```text
//! %2 = resize_nearest %0 {size = [2, 16, 16], ..} : tensor<1x2x16x16x8xf32, nthwc>
//! %3 = convolution %2, %1 {..} : tensor<1x2x16x16x4xf32, nthwc>
//! ```
//! becomes
//! ```text
//! %2 = convolution %0, %1 {..} : tensor<1x1x2x2x4xf32, nthwc>
//! %3 = resize_nearest %2 {size = [2, 16, 16], ..} : tensor<1x2x16x16x4xf32, nthwc>
//! ```

use ir::{FirstFrame, Graph, Op, Value};

use crate::pass::{Pass, PassError};
use crate::rewriter::{Rewriter, rewrite};

/// The pass.
pub const PASS: Pass = Pass {
    name: "commute-resize",
    doc: "Runs 1x1x1 convolutions and their biases before a nearest resize that enlarges.",
    run,
    establishes: None,
};

fn run(graph: &Graph) -> Result<Graph, PassError> {
    rewrite(graph, |rewriter, op| match *op {
        Op::Convolution {
            input,
            weight,
            bias,
            residual: None,
            cache: None,
            strides: strides @ [1, 1, 1],
            padding: padding @ [[0, 0], [0, 0], [0, 0]],
            repeat_first: 0,
        } if is_pointwise(rewriter, weight) => {
            let Some((small, size, first_frame)) = enlarging_resize(rewriter, input) else { return Ok(None) };
            let convolved = rewriter.emit(Op::Convolution {
                input: small,
                weight,
                bias,
                residual: None,
                cache: None,
                strides,
                padding,
                repeat_first: 0,
            })?;
            Ok(Some(rewriter.emit(Op::ResizeNearest { input: convolved, size, first_frame })?))
        }
        Op::AddBias { input, bias } if rewriter.single_use(input) => {
            let Some((small, size, first_frame)) = enlarging_resize(rewriter, input) else { return Ok(None) };
            if !matches!(rewriter.op(small), Op::Convolution { .. }) {
                return Ok(None);
            }
            let biased = rewriter.emit(Op::AddBias { input: small, bias })?;
            Ok(Some(rewriter.emit(Op::ResizeNearest { input: biased, size, first_frame })?))
        }
        _ => Ok(None),
    })
}

fn is_pointwise(rewriter: &Rewriter<'_>, weight: Value) -> bool {
    let ty = rewriter.ty(weight);
    ty.layout.kernel().is_some_and(|axes| axes.space.iter().all(|&axis| ty.shape[axis] == 1))
}

/// What `value` is a resize of, to which size and how, if it has more elements than that.
fn enlarging_resize(rewriter: &Rewriter<'_>, value: Value) -> Option<(Value, [usize; 3], FirstFrame)> {
    match *rewriter.op(value) {
        Op::ResizeNearest { input, size, first_frame }
            if rewriter.ty(value).elements() > rewriter.ty(input).elements() =>
        {
            Some((input, size, first_frame))
        }
        _ => None,
    }
}
