//! Ops that move elements without looking at them: pads, slices, concatenations, transposes.

use ir::{Dims, PadMode};

use super::body::{Body, Tensor, list};

pub(super) fn pad(body: &mut Body, hint: &str, input: &Tensor, low: &Dims, high: &Dims, mode: PadMode) -> Tensor {
    match mode {
        PadMode::Zero => {
            let zero = body.splat("zero", 0.0, input.element, &[]);
            let dims: Dims = (0..low.len()).map(|axis| low[axis] + input.dims[axis] + high[axis]).collect();
            let none = list(&Dims::from_elem(0, low.len()));
            let head = format!(
                "pad {}, {}, low = {}, high = {}, interior = {none}",
                input.name,
                zero.name,
                list(low),
                list(high)
            );
            body.op(hint, &head, &[input, &zero], input.element, &dims)
        }
        PadMode::Edge | PadMode::Reflect => {
            let padded = (0..low.len()).filter(|&axis| low[axis] + high[axis] > 0);
            let last = padded.clone().next_back();
            padded.fold(input.clone(), |tensor, axis| {
                let size = tensor.dims[axis];
                let (first, end) = match mode {
                    PadMode::Reflect => (
                        reversed(body, &tensor, axis, 1..1 + low[axis]),
                        reversed(body, &tensor, axis, size - 1 - high[axis]..size - 1),
                    ),
                    PadMode::Zero | PadMode::Edge => (
                        repeated(body, &tensor, axis, 0, low[axis]),
                        repeated(body, &tensor, axis, size - 1, high[axis]),
                    ),
                };
                let parts: Vec<&Tensor> = first.iter().chain([&tensor]).chain(&end).collect();
                let hint = if Some(axis) == last { hint } else { "padded" };
                body.concatenate(hint, &parts, axis)
            })
        }
    }
}

/// The slice `at` along `axis`, `count` times; `None` for no time.
pub(super) fn repeated(body: &mut Body, tensor: &Tensor, axis: usize, at: usize, count: usize) -> Option<Tensor> {
    if count == 0 {
        return None;
    }
    let one = body.slice_along("edge", tensor, axis, at..at + 1);
    if count == 1 {
        return Some(one);
    }
    let mut dims = one.dims.clone();
    dims[axis] = count;
    let axes: Vec<usize> = (0..dims.len()).collect();
    Some(body.broadcast("repeated", &one, &axes, &dims))
}

/// The slices `range` along `axis`, the last one first; `None` for an empty range.
fn reversed(body: &mut Body, tensor: &Tensor, axis: usize, range: std::ops::Range<usize>) -> Option<Tensor> {
    if range.is_empty() {
        return None;
    }
    let part = body.slice_along("edge", tensor, axis, range);
    let head = format!("reverse {}, dims = [{axis}]", part.name);
    let name = body.fresh("mirrored");
    body.line(&format!("{name} = stablehlo.{head} : {}", part.ty()));
    Some(Tensor { name, ..part })
}

pub(super) fn transpose(body: &mut Body, input: &Tensor, permutation: &Dims) -> Tensor {
    let dims: Dims = permutation.iter().map(|&axis| input.dims[axis]).collect();
    let head = format!("transpose {}, dims = {}", input.name, list(permutation));
    body.op("", &head, &[input], input.element, &dims)
}
