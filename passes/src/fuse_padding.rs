//! What stands around or in front of a convolution's input becomes the convolution's own.
//!
//! 1. A `pad` becomes `padding` of time, height and width, and its mode what `border` says of the
//!    axes that it pads. Preconditions: it pads these axes alone; what the convolution itself pads
//!    of them is of the same mode, and no reflection; the convolution has no cache (which would
//!    have to be padded as well); it repeats no first frame, or the pad puts nothing in front of
//!    time.
//! 2. But the `k` frames that a `pad` of mode edge puts in front of time become `repeat_first = k`,
//!    added to what is there.
//! 3. A `concatenate` over time becomes `cache` (its first operand) and input (the others).
//!    Preconditions: no cache and no repeated frame yet; the first operand has fewer frames than
//!    the kernel, as a cache has.
//!
//! The padding of a convolution lies around the frames in front as well, so all three keep it.
//! Other uses of the pad or the concatenation keep it alive. The usual one is the slice that makes
//! the next step's state: [`crate::canonicalize`] turns that into a slice of what was padded or
//! concatenated.
//!
//! ```text
//! %2 = concatenate [%0, %1] {axis = 1} : tensor<1x5x8x8x4xf32, nthwc>
//! %4 = convolution %2, %3 {.., repeat_first = 0} : tensor<1x3x8x8x4xf32, nthwc>
//! %5 = slice %2 {start = [0, 3, 0, 0, 0], limit = [1, 5, 8, 8, 4]} : tensor<1x2x8x8x4xf32, nthwc>
//! ```
//! becomes, canonicalised,
//! ```text
//! %4 = convolution %1, %3, cache: %0 {.., repeat_first = 0} : tensor<1x3x8x8x4xf32, nthwc>
//! %5 = slice %1 {start = [0, 1, 0, 0, 0], limit = [1, 3, 8, 8, 4]} : tensor<1x2x8x8x4xf32, nthwc>
//! ```

use ir::{Graph, Op, PadMode};

use crate::pass::{Pass, PassError};
use crate::rewriter::{Rewriter, rewrite};

/// The pass.
pub const PASS: Pass = Pass {
    name: "fuse-padding",
    doc: "Makes pads and concatenated caches in front of a convolution its padding, repeated frames and cache.",
    run,
    establishes: None,
};

fn run(graph: &Graph) -> Result<Graph, PassError> {
    rewrite(graph, |rewriter, op| {
        let mut fused = None;
        while let Some(next) = fuse(rewriter, fused.as_ref().unwrap_or(op))? {
            fused = Some(next);
        }
        fused.map(|op| Ok(rewriter.emit(op)?)).transpose()
    })
}

/// The convolution with the op in front of its input taken in, if it can be.
fn fuse(rewriter: &mut Rewriter<'_>, op: &Op) -> Result<Option<Op>, PassError> {
    let &Op::Convolution { input: outer, weight, cache: None, padding, repeat_first, border, .. } = op else {
        return Ok(None);
    };
    let (Some(axes), Some(kernel)) = (rewriter.ty(outer).layout.video(), rewriter.ty(weight).layout.kernel()) else {
        return Ok(None);
    };
    let [time, ..] = axes.space;
    let mut fused = op.clone();
    let Op::Convolution { input, padding: new_padding, repeat_first: new_repeat, border: new_border, cache, .. } =
        &mut fused
    else {
        return Ok(None);
    };
    match rewriter.op(outer).clone() {
        Op::Pad { input: inner, low, high, mode } => {
            let mut low = low;
            if mode == PadMode::Edge {
                *new_repeat += std::mem::take(&mut low[time]);
            }
            let beside = [axes.batch, axes.channel].iter().any(|&axis| low[axis] + high[axis] > 0);
            if beside || repeat_first > 0 && low[time] > 0 {
                return Ok(None);
            }
            *input = inner;
            for (index, axis) in axes.space.into_iter().enumerate() {
                if low[axis] + high[axis] == 0 {
                    continue;
                }
                let is_padded = padding[index] != [0, 0];
                if is_padded && (border.0[index] != mode || mode == PadMode::Reflect) {
                    return Ok(None);
                }
                new_border.0[index] = mode;
                new_padding[index] = [padding[index][0] + low[axis], padding[index][1] + high[axis]];
            }
        }
        Op::Concatenate { inputs, axis } if axis == time && inputs.len() > 1 && repeat_first == 0 => {
            if rewriter.ty(inputs[0]).shape[time] >= rewriter.ty(weight).shape[kernel.space[0]] {
                return Ok(None);
            }
            *cache = Some(inputs[0]);
            *input = match &inputs[1..] {
                [one] => *one,
                rest => {
                    rewriter.emit_beside(outer, Op::Concatenate { inputs: rest.iter().copied().collect(), axis })?
                }
            };
        }
        _ => return Ok(None),
    }
    Ok(Some(fused))
}
