//! Code for convolutions within groups of channels: a block is a line of the result. Groups are too
//! small for panels; lanes are neighbouring outputs of a group, or, where a group is one channel,
//! neighbouring groups.
//!
//! Sums are short: those over the input channels of a tap are added to each other.

use cranelift_codegen::ir::{InstBuilder, Type, Value};
use cranelift_module::Module;

use super::emitter::Emitter;
use crate::kernel::GroupedConvolution;

pub(super) fn emit(e: &mut Emitter<'_, impl Module>, c: &GroupedConvolution) {
    let [result, input, weights] = [0, 1, 2].map(|i| e.argument(i));
    let bias = c.bias.then(|| e.argument(3));
    let (all_inputs, all_outputs) = (c.groups * c.inputs, c.groups * c.outputs);
    let bytes = c.element.bytes();
    let line = e.delinearize(e.block, &[c.batch, c.result[0], c.result[1]]);
    let (n, t, y) = (line[0], line[1], line[2]);
    let (frames, rows) = (window(e, c, 0, t), window(e, c, 1, y));
    let (zero, width) = (e.int(0), e.int(c.result[2]));
    e.for_each(zero, width, 1, |e, x| {
        let columns = window(e, c, 2, x);
        let line = e.scale(e.block, c.result[2]);
        let pixel = e.add(line, x);
        let at = e.scale(pixel, all_outputs);
        let to = e.address(result, at, bytes);
        // Sum of the outputs from `output` on, which read the inputs from `first` on.
        let sum = |e: &mut Emitter<'_, _>, ty: Type, first: Value, output: Value| {
            let start = match bias {
                Some(bias) => {
                    let address = e.element(bias, output);
                    e.load(ty, address, 0)
                }
                None => e.float(ty, 0.0),
            };
            let [sum] = e.fold(frames.first, frames.behind, 1, [start], |e, kt, sums| {
                let frame = e.add(frames.origin, kt);
                let before = e.scale(n, c.input[0]);
                let frame = e.add(before, frame);
                e.fold(rows.first, rows.behind, 1, sums, |e, ky, sums| {
                    let above = e.scale(frame, c.input[1]);
                    let row = e.add(rows.origin, ky);
                    let row = e.add(above, row);
                    let taps = e.scale(kt, c.kernel[1]);
                    let taps = e.add(taps, ky);
                    e.fold(columns.first, columns.behind, 1, sums, |e, kx, [sum]| {
                        let pixels = e.scale(row, c.input[2]);
                        let column = e.add(columns.origin, kx);
                        let pixel = e.add(pixels, column);
                        let at = e.scale(pixel, all_inputs);
                        let at = e.add(at, first);
                        let from = e.address(input, at, bytes);
                        let taps = e.scale(taps, c.kernel[2]);
                        let tap = e.add(taps, kx);
                        let at = e.scale(tap, c.inputs * all_outputs);
                        let at = e.add(at, output);
                        let weights = e.address(weights, at, bytes);
                        let products = tap_sum(e, c, ty, from, weights);
                        [e.builder.ins().fadd(sum, products)]
                    })
                })
            });
            let address = e.address(to, output, bytes);
            e.store_element(c.element, sum, address);
        };
        if c.inputs == 1 && c.outputs == 1 {
            e.strip(c.groups, |e, ty, channel| sum(e, ty, channel, channel));
        } else {
            let groups = e.int(c.groups);
            e.for_each(zero, groups, 1, |e, group| {
                let (first, before) = (e.scale(group, c.inputs), e.scale(group, c.outputs));
                e.strip(c.outputs, |e, ty, output| {
                    let output = e.add(before, output);
                    sum(e, ty, first, output);
                });
            });
        }
    });
}

/// The taps of an axis that read the input and not the zeros around it, and where the first tap
/// would read.
struct Window {
    first: Value,
    behind: Value,
    origin: Value,
}

fn window(e: &mut Emitter<'_, impl Module>, c: &GroupedConvolution, axis: usize, place: Value) -> Window {
    let start = e.scale(place, c.strides[axis]);
    let origin = e.offset(start, -(c.padding[axis] as i64));
    let (zero, taps, size) = (e.int(0), e.int(c.kernel[axis]), e.int(c.input[axis]));
    let missing = e.sub(zero, origin);
    let first = e.max(missing, zero);
    let left = e.sub(size, origin);
    Window { first, behind: e.min(left, taps), origin }
}

/// The sum over the input channels of a group at one tap: in lanes of outputs, or of groups of one
/// channel.
fn tap_sum(e: &mut Emitter<'_, impl Module>, c: &GroupedConvolution, ty: Type, from: Value, weights: Value) -> Value {
    let (element, pitch) = (c.element, c.groups * c.outputs * c.element.bytes());
    if c.inputs == 1 && c.outputs == 1 {
        let (x, w) = (e.load_element(element, ty, from, 0), e.load_element(element, ty, weights, 0));
        return e.builder.ins().fmul(x, w);
    }
    let (zero, inputs, nothing) = (e.int(0), e.int(c.inputs), e.float(ty, 0.0));
    let [sum] = e.fold(zero, inputs, 1, [nothing], |e, i, [sum]| {
        let address = e.address(from, i, element.bytes());
        let x = e.load_element(element, ty.lane_type(), address, 0);
        let x = e.widen(ty, x);
        let at = e.scale(i, pitch);
        let address = e.add(weights, at);
        let w = e.load_element(element, ty, address, 0);
        let product = e.builder.ins().fmul(x, w);
        [e.builder.ins().fadd(sum, product)]
    });
    sum
}
