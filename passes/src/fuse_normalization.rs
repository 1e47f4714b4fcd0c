//! Normalisations fused with what follows them: group normalisation in two halves, of which the
//! second is, and channel normalisation.
//!
//! 1. `group_norm` becomes `group_statistics` and `normalize`. Always: equal statistics of two
//!    norms over one input are then found by [`crate::eliminate_common_subexpressions`].
//! 2. `add(multiply(normalize, gain), shift)`, operands in either order, becomes `normalize` with
//!    gain and shift. Where both gain and shift are nearest resizes of values of one size with one
//!    treatment of the first frame, they are read at that size, otherwise as they are.
//!    Preconditions: `normalize` has no gain and no activation yet; `multiply` and `normalize` have
//!    no other use.
//! 3. `silu(normalize)` becomes `normalize` with that activation, and `silu(channel_norm)`
//!    `channel_norm`. Preconditions: no activation yet, no other use.
//!
//! The fused op carries the path of the norm.
//!
//! ```text
//! %5 = group_norm %0, %1, %2 {groups = 2, epsilon = 1e-6} : tensor<1x2x8x8x4xf32, nthwc> @ norm
//! %6 = resize_nearest %3 {size = [2, 8, 8], first_frame = joined} : tensor<1x2x8x8x4xf32, nthwc>
//! %7 = resize_nearest %4 {size = [2, 8, 8], first_frame = joined} : tensor<1x2x8x8x4xf32, nthwc>
//! %8 = multiply %5, %6 : tensor<1x2x8x8x4xf32, nthwc>
//! %9 = add %8, %7 : tensor<1x2x8x8x4xf32, nthwc>
//! %10 = silu %9 : tensor<1x2x8x8x4xf32, nthwc>
//! ```
//! becomes
//! ```text
//! %5 = group_statistics %0 {groups = 2, epsilon = 1e-6} : tensor<1x2x2xf32> @ norm
//! %6 = normalize %0, %5, %1, %2, gain: %3, shift: %4 {first_frame = joined, activation = silu} : .. @ norm
//! ```

use ir::{Activation, FirstFrame, Graph, Op, Value};

use crate::legality::Stage;
use crate::pass::{Pass, PassError};
use crate::rewriter::{Rewriter, rewrite};

/// The pass.
pub const PASS: Pass = Pass {
    name: "fuse-normalization",
    doc: "Splits group_norm into statistics and normalize, and fuses modulation and SiLU into the latter.",
    run,
    establishes: Some(Stage::Fused),
};

fn run(graph: &Graph) -> Result<Graph, PassError> {
    rewrite(graph, |rewriter, op| match *op {
        Op::GroupNorm { input, scale, offset, groups, epsilon } => {
            let statistics = rewriter.emit(Op::GroupStatistics { input, groups, epsilon })?;
            Ok(Some(rewriter.emit(Op::Normalize {
                input,
                statistics,
                scale,
                offset,
                gain: None,
                shift: None,
                first_frame: FirstFrame::Joined,
                activation: Activation::None,
            })?))
        }
        Op::Add { lhs, rhs } => match modulated(rewriter, lhs, rhs).or_else(|| modulated(rewriter, rhs, lhs)) {
            Some((normalize, fused)) => Ok(Some(rewriter.emit_beside(normalize, fused)?)),
            None => Ok(None),
        },
        Op::Silu { input } if rewriter.single_use(input) => {
            let mut fused = rewriter.op(input).clone();
            match &mut fused {
                Op::Normalize { activation: activation @ Activation::None, .. }
                | Op::ChannelNorm { activation: activation @ Activation::None, .. } => *activation = Activation::Silu,
                _ => return Ok(None),
            }
            Ok(Some(rewriter.emit_beside(input, fused)?))
        }
        _ => Ok(None),
    })
}

/// The `normalize` under `product`, and that op with its gain and with `shift`, if `product +
/// shift` has that form.
fn modulated(rewriter: &Rewriter<'_>, product: Value, shift: Value) -> Option<(Value, Op)> {
    let Op::Multiply { lhs, rhs } = *rewriter.op(product) else { return None };
    if !rewriter.single_use(product) {
        return None;
    }
    let plain = |value: Value| {
        let op = rewriter.op(value);
        let is_plain = matches!(op, Op::Normalize { gain: None, activation: Activation::None, .. });
        (is_plain && rewriter.single_use(value)).then_some(op)
    };
    let (value, gain, op) = plain(lhs).map(|op| (lhs, rhs, op)).or_else(|| plain(rhs).map(|op| (rhs, lhs, op)))?;
    let (small_gain, small_shift, first) = match (rewriter.op(gain), rewriter.op(shift)) {
        (
            &Op::ResizeNearest { input: gain, first_frame, .. },
            &Op::ResizeNearest { input: shift, first_frame: other, .. },
        ) if first_frame == other && rewriter.ty(gain) == rewriter.ty(shift) => (gain, shift, first_frame),
        _ => (gain, shift, FirstFrame::Joined),
    };
    let mut fused = op.clone();
    if let Op::Normalize { gain, shift, first_frame, .. } = &mut fused {
        (*gain, *shift, *first_frame) = (Some(small_gain), Some(small_shift), first);
    }
    Some((value, fused))
}
