//! Windows onto tensors: how `pad`, `slice` and `concatenate` simplify, alone and in chains.
//!
//! | op | becomes | when |
//! |---|---|---|
//! | `pad` by nothing, `slice` of everything, `concatenate` of one | its operand | always |
//! | `pad` of a `pad` | one pad by the sums | both have the same mode, zero or edge |
//! | `slice` of a `slice` | one slice | always |
//! | `slice` of a `pad` | pad of a slice: less of both | always; without the pad if the slice lies within its operand |
//! | | a constant 0 | the slice lies in zeros alone |
//! | | the `slice` of the `pad` | reflections along an axis are cut through |
//! | `slice` of a `concatenate` | concatenation of a slice of each operand it meets | always |
//! | `concatenate` of a `concatenate` | one concatenation | both along the same axis |
//!
//! A padded or concatenated tensor of which only slices are read is thus never made. An edge pad
//! reads the nearest element, so a slice in the pad alone is a pad of the outermost slice.
//!
//! ```text
//! %2 = concatenate [%0, %1] {axis = 1} : tensor<1x5x8x8x4xf32, nthwc>    // 2 and 3 frames
//! %3 = slice %2 {start = [0, 3, 0, 0, 0], limit = [1, 5, 8, 8, 4]} : tensor<1x2x8x8x4xf32, nthwc>
//! ```
//! becomes
//! ```text
//! %3 = slice %1 {start = [0, 1, 0, 0, 0], limit = [1, 3, 8, 8, 4]} : tensor<1x2x8x8x4xf32, nthwc>
//! ```

use ir::{Dims, Elements, Op, PadMode, TensorType, Value, Values};

use super::{Simpler, emit};
use crate::pass::PassError;
use crate::rewriter::Rewriter;

pub(super) fn pad(rewriter: &Rewriter<'_>, input: Value, low: &Dims, high: &Dims, mode: PadMode) -> Simpler {
    if low.iter().chain(high).all(|&n| n == 0) {
        return Simpler::Value(input);
    }
    match rewriter.op(input) {
        Op::Pad { input: inner, low: inner_low, high: inner_high, mode: inner_mode }
            if *inner_mode == mode && mode != PadMode::Reflect =>
        {
            let sum = |a: &Dims, b: &Dims| a.iter().zip(b).map(|(a, b)| a + b).collect();
            Simpler::Op(Op::Pad { input: *inner, low: sum(low, inner_low), high: sum(high, inner_high), mode })
        }
        _ => Simpler::No,
    }
}

pub(super) fn concatenate(rewriter: &Rewriter<'_>, inputs: &Values, axis: usize) -> Simpler {
    if let [one] = inputs[..] {
        return Simpler::Value(one);
    }
    let mut flat = Values::new();
    for &input in inputs {
        match rewriter.op(input) {
            Op::Concatenate { inputs: inner, axis: inner_axis } if *inner_axis == axis => flat.extend_from_slice(inner),
            _ => flat.push(input),
        }
    }
    if flat.len() == inputs.len() { Simpler::No } else { Simpler::Op(Op::Concatenate { inputs: flat, axis }) }
}

pub(super) fn slice(
    rewriter: &mut Rewriter<'_>,
    input: Value,
    start: &Dims,
    limit: &Dims,
) -> Result<Simpler, PassError> {
    if start.iter().all(|&n| n == 0) && *limit == rewriter.ty(input).shape {
        return Ok(Simpler::Value(input));
    }
    match rewriter.op(input).clone() {
        Op::Slice { input: inner, start: offset, .. } => {
            let shift = |dims: &Dims| dims.iter().zip(&offset).map(|(n, offset)| n + offset).collect();
            Ok(Simpler::Op(Op::Slice { input: inner, start: shift(start), limit: shift(limit) }))
        }
        Op::Pad { input: inner, low, mode, .. } => {
            let padded = rewriter.ty(input).shape.clone();
            slice_of_pad(rewriter, (start, limit), inner, (&low, &padded), mode)
        }
        Op::Concatenate { inputs, axis } => slice_of_concatenate(rewriter, (start, limit), &inputs, axis),
        _ => Ok(Simpler::No),
    }
}

/// The slice `start..limit` of `inner` padded by `low` in front, to the shape `padded`.
fn slice_of_pad(
    rewriter: &mut Rewriter<'_>,
    (start, limit): (&Dims, &Dims),
    inner: Value,
    (low, padded): (&Dims, &Dims),
    mode: PadMode,
) -> Result<Simpler, PassError> {
    let ty = rewriter.ty(inner).clone();
    let rank = ty.rank();
    let (mut from, mut to) = (Dims::new(), Dims::new());
    let (mut new_low, mut new_high) = (Dims::new(), Dims::new());
    for axis in 0..rank {
        let (size, low) = (ty.shape[axis], low[axis]);
        let is_whole = start[axis] == 0 && limit[axis] == padded[axis];
        let is_inside = start[axis] >= low && limit[axis] <= low + size;
        if mode == PadMode::Reflect && !is_whole && !is_inside {
            return Ok(Simpler::No);
        }
        // The part of the slice that lies in the operand; where there is none, the edge element
        // next to it.
        let mut first = start[axis].saturating_sub(low).min(size);
        let mut end = limit[axis].saturating_sub(low).min(size);
        if first == end {
            if mode == PadMode::Zero {
                let shape: Dims = limit.iter().zip(start).map(|(limit, start)| limit - start).collect();
                return Ok(Simpler::Op(Op::Constant { value: Elements::Splat(0.0), ty: TensorType { shape, ..ty } }));
            }
            (first, end) = if end == 0 { (0, 1) } else { (size - 1, size) };
        }
        let wanted = limit[axis] - start[axis];
        let front = (low + first).saturating_sub(start[axis]).min(wanted - (end - first));
        from.push(first);
        to.push(end);
        new_low.push(front);
        new_high.push(wanted - (end - first) - front);
    }
    let input = emit(rewriter, Op::Slice { input: inner, start: from, limit: to })?;
    Ok(Simpler::Op(Op::Pad { input, low: new_low, high: new_high, mode }))
}

/// The slice `start..limit` of `inputs` one behind the other along `axis`.
fn slice_of_concatenate(
    rewriter: &mut Rewriter<'_>,
    (start, limit): (&Dims, &Dims),
    inputs: &Values,
    axis: usize,
) -> Result<Simpler, PassError> {
    let mut parts = Values::new();
    let mut begin = 0;
    for &input in inputs {
        let end = begin + rewriter.ty(input).shape[axis];
        let (first, last) = (start[axis].max(begin), limit[axis].min(end));
        if first < last {
            let (mut start, mut limit) = (start.clone(), limit.clone());
            (start[axis], limit[axis]) = (first - begin, last - begin);
            parts.push(emit(rewriter, Op::Slice { input, start, limit })?);
        }
        begin = end;
    }
    Ok(Simpler::Op(Op::Concatenate { inputs: parts, axis }))
}
