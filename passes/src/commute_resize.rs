//! Runs convolutions before a resize that enlarges, not behind it, along the axes on which they see
//! one place alone: there is less to compute.
//!
//! A nearest resize copies elements; a 1x1x1 convolution makes each result element of one place of
//! its input. So `convolution(resize(x)) = resize(convolution(x))`, and likewise for `add_bias`. In
//! a spatially conditioned norm the latents are resized to the activation's size and then
//! convolved: 64 times more often than needed at eight times the resolution. A convolution that
//! looks along height and width alone commutes with the resize of time: of frames that are
//! repeated, each is convolved once.
//!
//! Preconditions, convolution: no cache, no repeated first frame, no residual; its input is a
//! `resize_nearest`, and either
//! - its kernel is 1x1x1, with strides 1 and no padding, and the resize has more elements than its
//!   own input; or
//! - its kernel is 1 deep, with stride 1 and no padding along time, and the resize has more frames
//!   than its own input.
//!
//! Other uses of the resize keep it alive. Preconditions, bias: its input is such a resize, used by
//! this op alone, of a convolution.
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
    doc: "Runs convolutions and their biases before a nearest resize of axes on which they see one place alone.",
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
            strides: strides @ [1, ..],
            padding: padding @ [[0, 0], ..],
            repeat_first: 0,
            border,
        } => {
            let (Some(kernel), Some(resize)) = (kernel(rewriter, weight), resize(rewriter, input)) else {
                return Ok(None);
            };
            let pointwise = kernel == [1; 3] && strides == [1; 3] && padding == [[0; 2]; 3];
            let input = if pointwise && rewriter.ty(input).elements() > rewriter.ty(resize.input).elements() {
                resize.input
            } else if kernel[0] == 1 && resize.size[0] > resize.from[0] {
                let size = [resize.from[0], resize.size[1], resize.size[2]];
                rewriter.emit(Op::ResizeNearest { input: resize.input, size, first_frame: FirstFrame::Joined })?
            } else {
                return Ok(None);
            };
            let (residual, cache, repeat_first) = (None, None, 0);
            let convolved = rewriter.emit(Op::Convolution {
                input,
                weight,
                bias,
                residual,
                cache,
                strides,
                padding,
                repeat_first,
                border,
            })?;
            let [_, height, width] = if pointwise { resize.size } else { space(rewriter, convolved) };
            let size = [resize.size[0], height, width];
            Ok(Some(rewriter.emit(Op::ResizeNearest { input: convolved, size, first_frame: resize.first_frame })?))
        }
        Op::AddBias { input, bias } if rewriter.single_use(input) => {
            let Some(Resize { input: small, size, first_frame, .. }) = resize(rewriter, input) else { return Ok(None) };
            let enlarges = rewriter.ty(input).elements() > rewriter.ty(small).elements();
            if !enlarges || !matches!(rewriter.op(small), Op::Convolution { .. }) {
                return Ok(None);
            }
            let biased = rewriter.emit(Op::AddBias { input: small, bias })?;
            Ok(Some(rewriter.emit(Op::ResizeNearest { input: biased, size, first_frame })?))
        }
        _ => Ok(None),
    })
}

/// Time, height and width of a kernel.
fn kernel(rewriter: &Rewriter<'_>, weight: Value) -> Option<[usize; 3]> {
    let ty = rewriter.ty(weight);
    ty.layout.kernel().map(|axes| axes.space.map(|axis| ty.shape[axis]))
}

/// Time, height and width of a video.
fn space(rewriter: &Rewriter<'_>, video: Value) -> [usize; 3] {
    rewriter.ty(video).space().unwrap_or([1; 3])
}

/// A resize.
struct Resize {
    input: Value,
    /// Time, height and width before and after.
    from: [usize; 3],
    size: [usize; 3],
    first_frame: FirstFrame,
}

/// What `value` is a resize of.
fn resize(rewriter: &Rewriter<'_>, value: Value) -> Option<Resize> {
    let Op::ResizeNearest { input, size, first_frame } = *rewriter.op(value) else { return None };
    Some(Resize { input, from: rewriter.ty(input).space()?, size, first_frame })
}
