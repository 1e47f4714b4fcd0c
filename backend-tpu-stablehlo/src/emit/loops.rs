//! Loops that make a tensor strip by strip of rows, so that what is needed for a strip is in memory
//! for one at a time.

use ir::ElementType;

use super::body::{Body, Tensor, list};

/// A counter or a row, as a scalar.
pub(super) fn scalar(body: &mut Body, hint: &str, x: usize) -> Tensor {
    body.splat(hint, x as f64, ElementType::I32, &[])
}

/// `count` rows of a tensor, along an axis, from row `start` on.
pub(super) fn rows_of(
    body: &mut Body,
    hint: &str,
    tensor: &Tensor,
    axis: usize,
    start: &Tensor,
    count: usize,
) -> Tensor {
    let zero = scalar(body, "zero", 0);
    let mut operands = vec![tensor];
    operands.extend((0..tensor.dims.len()).map(|a| if a == axis { start } else { &zero }));
    let mut dims = tensor.dims.clone();
    dims[axis] = count;
    let names: Vec<&str> = operands.iter().map(|operand| operand.name.as_str()).collect();
    let head = format!("dynamic_slice {}, sizes = {}", names.join(", "), list(&dims));
    body.op(hint, &head, &operands, tensor.element, &dims)
}

/// `blank` with all its rows along `axis` made anew, `rows` of them at a time: by `make`, which is
/// given the first row. The last strip ends with the tensor, so where strips do not divide it, some
/// rows are made twice, alike.
pub(super) fn for_each_strip(
    body: &mut Body,
    blank: Tensor,
    axis: usize,
    rows: usize,
    make: impl FnOnce(&mut Body, &Tensor) -> Tensor,
) -> Tensor {
    let height = blank.dims[axis];
    // Numbers that the loop reads.
    let first = scalar(body, "first", 0);
    let counter = Tensor { name: body.fresh("strip"), ..first.clone() };
    let result = Tensor { name: body.fresh("result"), ..blank.clone() };
    let done = body.fresh("done");
    body.bracket(&format!(
        "{done}:2 = stablehlo.while({} = {}, {} = {}) : {}, {} cond {{",
        counter.name,
        first.name,
        result.name,
        blank.name,
        counter.ty(),
        result.ty()
    ));
    let limit = scalar(body, "strips", height.div_ceil(rows));
    let goes_on = body.fresh("goes_on");
    body.line(&format!(
        "{goes_on} = stablehlo.compare LT, {}, {}, SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>",
        counter.name, limit.name
    ));
    body.line(&format!("stablehlo.return {goes_on} : tensor<i1>"));
    body.bracket("} do {");
    let step = scalar(body, "rows", rows);
    let start = body.elementwise("row", "multiply", &[&counter, &step]);
    let last = scalar(body, "last", height - rows);
    let start = body.elementwise("row", "minimum", &[&start, &last]);
    let made = make(body, &start);
    let zero = scalar(body, "zero", 0);
    let mut operands = vec![&result, &made];
    operands.extend((0..blank.dims.len()).map(|other| if other == axis { &start } else { &zero }));
    let names: Vec<&str> = operands.iter().map(|operand| operand.name.as_str()).collect();
    let head = format!("dynamic_update_slice {}", names.join(", "));
    let written = body.op("written", &head, &operands, blank.element, &blank.dims);
    let one = scalar(body, "one", 1);
    let next = body.elementwise("next", "add", &[&counter, &one]);
    body.line(&format!("stablehlo.return {}, {} : {}, {}", next.name, written.name, next.ty(), written.ty()));
    body.bracket("}");
    Tensor { name: format!("{done}#1"), ..result }
}
