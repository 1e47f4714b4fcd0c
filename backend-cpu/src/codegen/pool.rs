//! Code for average pooling: a block is one line of the result.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, types};
use cranelift_module::Module;

use super::emitter::Emitter;
use crate::kernel::AveragePool;

pub(super) fn emit(e: &mut Emitter<'_, impl Module>, pool: AveragePool) {
    let [result, input] = [0, 1].map(|i| e.argument(i));
    let [_, height, width] = pool.input;
    let size = pool.element.bytes();
    let line = e.delinearize(e.block, &[pool.batch, pool.result[0], pool.result[1]]);
    let (n, t, y) = (line[0], line[1], line[2]);
    let zero = e.int(0);
    // Frames of the input that make frame t.
    let (first, frames) = if pool.apart {
        let alone = e.builder.ins().icmp(IntCC::Equal, t, zero);
        let before = e.offset(t, -1);
        let scaled = e.scale(before, pool.window[0]);
        let behind = e.offset(scaled, 1);
        let (one, window) = (e.int(1), e.int(pool.window[0]));
        (e.builder.ins().select(alone, zero, behind), e.builder.ins().select(alone, one, window))
    } else {
        (e.scale(t, pool.window[0]), e.int(pool.window[0]))
    };
    let count = e.builder.ins().fcvt_from_sint(types::F32, frames);
    let area = e.float(types::F32, (pool.window[1] * pool.window[2]) as f32);
    let count = e.builder.ins().fmul(count, area);
    let last = e.add(first, frames);
    let width_out = e.int(pool.result[2]);
    let line_out = e.scale(e.block, pool.result[2]);
    e.for_each(zero, width_out, 1, |e, x| {
        let pixel = e.add(line_out, x);
        let at = e.scale(pixel, pool.channels);
        let to = e.address(result, at, size);
        e.strip(pool.channels, |e, ty, index| {
            let start = e.float(ty, 0.0);
            let [sum] = e.fold(first, last, 1, [start], |e, frame, [mut sum]| {
                let image = e.scale(n, pool.input[0]);
                let image = e.add(image, frame);
                let rows = e.scale(image, height);
                let y0 = e.scale(y, pool.window[1]);
                let row = e.add(rows, y0);
                for dy in 0..pool.window[1] {
                    let row = e.offset(row, dy as i64);
                    let pixels = e.scale(row, width);
                    let x0 = e.scale(x, pool.window[2]);
                    let pixel = e.add(pixels, x0);
                    let at = e.scale(pixel, pool.channels);
                    let at = e.add(at, index);
                    let from = e.address(input, at, size);
                    for dx in 0..pool.window[2] {
                        let value = e.load_element(pool.element, ty, from, size * dx * pool.channels);
                        sum = e.builder.ins().fadd(sum, value);
                    }
                }
                [sum]
            });
            let count = e.widen(ty, count);
            let mean = e.builder.ins().fdiv(sum, count);
            let address = e.address(to, index, size);
            e.store_element(pool.element, mean, address);
        });
    });
}
