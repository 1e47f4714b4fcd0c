//! Code for group normalisation: sums of each channel, statistics of each group, and the fused normalise, modulate and
//! activate.
//!
//! Sums and sums of squares are gathered in f64, in which neither the order of a block nor the cancellation in
//! `E[x²] - E[x]²` costs a bit of an f32 result. Blocks are fixed by the shape and added up in their order, so the result
//! does not depend on the number of threads.

use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_module::Module;

use super::emitter::{Emitter, LANES, little_endian};
use crate::element::Element;
use crate::kernel::{Lines, Normalize};
use ir::Activation;

/// The lines of this block: the element of the batch, the first line within it, and the one behind the last.
fn block_lines(e: &mut Emitter<'_, impl Module>, lines: Lines) -> (Value, Value, Value) {
    let (n, part) = e.divide(e.block, lines.blocks());
    let first = e.scale(part, lines.per_block());
    let behind = e.offset(first, lines.per_block() as i64);
    let total = e.int(lines.lines);
    let last = e.min(behind, total);
    (n, first, last)
}

pub(super) fn emit_channel_sums(e: &mut Emitter<'_, impl Module>, lines: Lines, element: Element) {
    let [sums, input] = [0, 1].map(|i| e.argument(i));
    let (channels, size) = (lines.channels, element.bytes());
    let (n, first, last) = block_lines(e, lines);
    let before = e.scale(n, lines.lines);
    let (first, last) = (e.add(before, first), e.add(before, last));
    // Addresses of this block's pixels: whole lines are contiguous.
    let pitch = size * lines.width * channels;
    let (from, to) = (e.scale(first, pitch), e.scale(last, pitch));
    let (start, end) = (e.add(input, from), e.add(input, to));
    let at = e.scale(e.block, 16 * channels);
    let sums = e.add(sums, at);
    let whole = channels / LANES * LANES;
    let (zero, middle, all) = (e.int(0), e.int(whole), e.int(channels));
    e.for_each(zero, middle, LANES, |e, channel| {
        let nothing = e.builder.ins().f64const(0.0);
        let nothing = e.builder.ins().splat(types::F64X2, nothing);
        let [start, end] = [start, end].map(|base| e.address(base, channel, size));
        let totals = e.fold(start, end, size * channels, [nothing; 4], |e, address, [s0, s1, q0, q1]| {
            let x = e.load_element(element, types::F32X4, address, 0);
            // The upper half is moved down to be widened.
            let pairs = e.builder.ins().bitcast(types::I64X2, little_endian(), x);
            let upper = e.builder.ins().extractlane(pairs, 1);
            let upper = e.builder.ins().scalar_to_vector(types::I64X2, upper);
            let upper = e.builder.ins().bitcast(types::F32X4, little_endian(), upper);
            let (a, b) = (e.builder.ins().fvpromote_low(x), e.builder.ins().fvpromote_low(upper));
            let (aa, bb) = (e.builder.ins().fmul(a, a), e.builder.ins().fmul(b, b));
            [(s0, a), (s1, b), (q0, aa), (q1, bb)].map(|(sum, x)| e.builder.ins().fadd(sum, x))
        });
        let address = e.address(sums, channel, 16);
        for lane in 0..LANES {
            for (kind, pair) in [totals[lane / 2], totals[2 + lane / 2]].into_iter().enumerate() {
                let value = e.builder.ins().extractlane(pair, (lane % 2) as u8);
                e.store(value, address, 16 * lane + 8 * kind);
            }
        }
    });
    e.for_each(middle, all, 1, |e, channel| {
        let nothing = e.builder.ins().f64const(0.0);
        let [start, end] = [start, end].map(|base| e.address(base, channel, size));
        let totals = e.fold(start, end, size * channels, [nothing; 2], |e, address, [s, q]| {
            let x = e.load_element(element, types::F32, address, 0);
            let x = e.builder.ins().fpromote(types::F64, x);
            let xx = e.builder.ins().fmul(x, x);
            [e.builder.ins().fadd(s, x), e.builder.ins().fadd(q, xx)]
        });
        let address = e.address(sums, channel, 16);
        e.store(totals[0], address, 0);
        e.store(totals[1], address, 8);
    });
}

pub(super) fn emit_group_statistics(e: &mut Emitter<'_, impl Module>, lines: Lines, groups: usize, epsilon: f64) {
    let [statistics, sums] = [0, 1].map(|i| e.argument(i));
    let in_group = lines.channels / groups;
    let (n, group) = e.divide(e.block, groups);
    let pitch = 16 * lines.channels;
    let blocks = lines.blocks();
    let before = e.scale(n, blocks * pitch);
    let within = e.scale(group, 16 * in_group);
    let start = e.add(before, within);
    let start = e.add(sums, start);
    let end = e.offset(start, (blocks * pitch) as i64);
    let nothing = e.builder.ins().f64const(0.0);
    let [sum, squares] = e.fold(start, end, pitch, [nothing; 2], |e, block, totals| {
        let last = e.offset(block, 16 * in_group as i64);
        e.fold(block, last, 16, totals, |e, address, [s, q]| {
            let (a, b) = (e.load(types::F64, address, 0), e.load(types::F64, address, 8));
            [e.builder.ins().fadd(s, a), e.builder.ins().fadd(q, b)]
        })
    });
    let count = e.builder.ins().f64const((lines.lines * lines.width * in_group) as f64);
    let mean = e.builder.ins().fdiv(sum, count);
    let square = e.builder.ins().fdiv(squares, count);
    let mean_square = e.builder.ins().fmul(mean, mean);
    let variance = e.builder.ins().fsub(square, mean_square);
    let variance = e.builder.ins().fmax(variance, nothing);
    let epsilon = e.builder.ins().f64const(epsilon);
    let variance = e.builder.ins().fadd(variance, epsilon);
    let deviation = e.builder.ins().sqrt(variance);
    let one = e.builder.ins().f64const(1.0);
    let reciprocal = e.builder.ins().fdiv(one, deviation);
    let at = e.scale(e.block, 8);
    let address = e.add(statistics, at);
    for (offset, value) in [(0, mean), (4, reciprocal)] {
        let value = e.builder.ins().fdemote(types::F32, value);
        e.store(value, address, offset);
    }
}

pub(super) fn emit_normalize(e: &mut Emitter<'_, impl Module>, kernel: Normalize) {
    let [result, input, statistics, scale, offset] = [0, 1, 2, 3, 4].map(|i| e.argument(i));
    let modulation = kernel.modulation.map(|(space, apart)| (e.argument(5), e.argument(6), space, apart));
    let (channels, element) = (kernel.channels, kernel.element);
    let size = element.bytes();
    let [_, height, width] = kernel.space;
    let lines = kernel.lines();
    let (n, first, last) = block_lines(e, lines);
    emit_coefficients(e, kernel, n, [statistics, scale, offset]);
    let coefficients = e.scratch;
    let zero = e.int(0);
    e.for_each(first, last, 1, |e, line| {
        let (t, y) = e.divide(line, height);
        let before = e.scale(n, lines.lines);
        let line = e.add(before, line);
        let at = e.scale(line, width * channels);
        let [to, from] = [result, input].map(|base| e.address(base, at, size));
        // The line of gain and shift that this one reads.
        let modulation = modulation.map(|(gain, shift, space, apart)| {
            let t = e.nearest(t, space[0], kernel.space[0], apart);
            let y = e.nearest(y, space[1], height, false);
            let frames = e.scale(n, space[0]);
            let frame = e.add(frames, t);
            let rows = e.scale(frame, space[1]);
            let row = e.add(rows, y);
            let at = e.scale(row, space[2] * channels);
            (e.address(gain, at, size), e.address(shift, at, size), space[2])
        });
        let end = e.int(width);
        e.for_each(zero, end, 1, |e, x| {
            let at = e.scale(x, channels);
            let [to, from] = [to, from].map(|base| e.address(base, at, size));
            let modulation = modulation.map(|(gain, shift, columns)| {
                let column = e.nearest(x, columns, width, false);
                let at = e.scale(column, channels);
                [gain, shift].map(|base| e.address(base, at, size))
            });
            e.strip(channels, |e, ty, channel| {
                let at = |e: &mut Emitter<'_, _>, base| {
                    let address = e.address(base, channel, size);
                    e.load_element(element, ty, address, 0)
                };
                let x = at(e, from);
                let address = e.element(coefficients, channel);
                let [a, b] = [0, 4 * channels].map(|offset| e.load(ty, address, offset));
                let mut y = affine(e, x, a, b);
                if let Some(bases) = modulation {
                    let [gain, shift] = bases.map(|base| at(e, base));
                    y = affine(e, y, gain, shift);
                }
                if kernel.activation == Activation::Silu {
                    y = e.silu(ty, y);
                }
                let address = e.address(to, channel, size);
                e.store_element(element, y, address);
            });
        });
    });
}

/// Writes `rstd * scale` and `offset - mean * rstd * scale` of each channel to the scratch.
fn emit_coefficients(e: &mut Emitter<'_, impl Module>, kernel: Normalize, n: Value, pointers: [Value; 3]) {
    let [statistics, scale, offset] = pointers;
    let in_group = kernel.channels / kernel.groups;
    let at = e.scale(n, 8 * kernel.groups);
    let statistics = e.add(statistics, at);
    let (zero, end) = (e.int(0), e.int(kernel.channels));
    e.for_each(zero, end, 1, |e, channel| {
        let (group, _) = e.divide(channel, in_group);
        let at = e.scale(group, 8);
        let of_group = e.add(statistics, at);
        let [mean, rstd] = [0, 4].map(|offset| e.load(types::F32, of_group, offset));
        let [scale, offset] = [scale, offset].map(|base| {
            let address = e.element(base, channel);
            e.load(types::F32, address, 0)
        });
        let a = e.builder.ins().fmul(rstd, scale);
        let moved = e.builder.ins().fmul(mean, a);
        let b = e.builder.ins().fsub(offset, moved);
        let to = e.element(e.scratch, channel);
        e.store(a, to, 0);
        e.store(b, to, 4 * kernel.channels);
    });
}

fn affine(e: &mut Emitter<'_, impl Module>, x: Value, factor: Value, term: Value) -> Value {
    let product = e.builder.ins().fmul(x, factor);
    e.builder.ins().fadd(product, term)
}
