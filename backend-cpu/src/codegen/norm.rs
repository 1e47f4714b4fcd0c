//! Code for group normalisation: sums of each channel, statistics of each group, and the rows of
//! the fused normalise, modulate and activate, which convolutions also run over what they read.
//!
//! Sums and sums of squares are gathered in f64, in which neither the order of a block nor the
//! cancellation in `E[x²] - E[x]²` costs a bit of an f32 result. Blocks are fixed by the shape and
//! added up in their order, so the result does not depend on the number of threads.

use cranelift_codegen::ir::{FuncRef, InstBuilder, Value, types};
use cranelift_module::Module;

use super::Result;
use super::emitter::{Emitter, LANES, little_endian};
use crate::element::Element;
use crate::isa::Isa;
use crate::kernel::{Lines, Normalize, Sums};
use crate::panel::normalize::NormalizeVariant;
use ir::Activation;

/// The lines of this block: the element of the batch, the first line within it, and the one behind
/// the last.
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
    let at = e.scale(e.block, lines.sums().part_bytes());
    let sums = e.add(sums, at);
    let squares = lines.sums().pitch() * size_of::<f64>();
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
        let address = e.address(sums, channel, size_of::<f64>());
        for (value, offset) in totals.into_iter().zip([0, 16, squares, squares + 16]) {
            e.store(value, address, offset);
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
        let address = e.address(sums, channel, size_of::<f64>());
        e.store(totals[0], address, 0);
        e.store(totals[1], address, squares);
    });
}

pub(super) fn emit_group_statistics(e: &mut Emitter<'_, impl Module>, of: Sums, groups: usize, epsilon: f64) {
    let [statistics, sums] = [0, 1].map(|i| e.argument(i));
    let in_group = of.channels / groups;
    let (n, group) = e.divide(e.block, groups);
    let (part, number) = (of.part_bytes(), size_of::<f64>());
    let before = e.scale(n, of.parts * part);
    let within = e.scale(group, number * in_group);
    let start = e.add(before, within);
    let start = e.add(sums, start);
    let end = e.offset(start, (of.parts * part) as i64);
    let to_squares = of.pitch() * number;
    let nothing = e.builder.ins().f64const(0.0);
    let [sum, squares] = e.fold(start, end, part, [nothing; 2], |e, part, totals| {
        let last = e.offset(part, (number * in_group) as i64);
        e.fold(part, last, number, totals, |e, address, [s, q]| {
            let (a, b) = (e.load(types::F64, address, 0), e.load(types::F64, address, to_squares));
            [e.builder.ins().fadd(s, a), e.builder.ins().fadd(q, b)]
        })
    });
    let count = e.builder.ins().f64const((of.pixels * in_group) as f64);
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

pub(super) fn emit_normalize<M: Module>(e: &mut Emitter<'_, M>, isa: Isa, kernel: Normalize) -> Result<()> {
    let [result, input] = [0, 1].map(|i| e.argument(i));
    let [frames, height, width] = kernel.space;
    let lines = kernel.lines();
    let size = kernel.element.bytes();
    let (n, first, last) = block_lines(e, lines);
    let row = RowNormalization::new(e, isa, kernel, kernel.element, 2, n, e.scratch)?;
    e.for_each(first, last, 1, |e, line| {
        let (frame, y) = e.divide(line, height);
        let t = e.offset(frame, kernel.frames[0] as i64);
        let before = e.scale(n, frames);
        let image = e.add(before, t);
        let above = e.scale(image, height);
        let from = e.add(above, y);
        let at = e.scale(from, width * kernel.channels);
        let from = e.address(input, at, size);
        let before = e.scale(n, lines.lines);
        let to = e.add(before, line);
        let at = e.scale(to, width * kernel.channels);
        let to = e.address(result, at, size);
        let (zero, pixels) = (e.int(0), e.int(width));
        row.emit(e, [t, y, zero], from, to, pixels);
    });
    Ok(())
}

/// What normalising a row of pixels needs: the microkernel, the coefficients, gain and shift.
pub(super) struct RowNormalization {
    kernel: Normalize,
    /// What it writes.
    to: Element,
    function: FuncRef,
    n: Value,
    coefficients: Value,
    modulation: Option<[Value; 2]>,
}

impl RowNormalization {
    /// Computes the coefficients of video `n` to the memory at `coefficients`; the kernel's
    /// arguments behind its input start at `argument`. Rows are written as elements `to`.
    pub(super) fn new<M: Module>(
        e: &mut Emitter<'_, M>,
        isa: Isa,
        kernel: Normalize,
        to: Element,
        argument: usize,
        n: Value,
        coefficients: Value,
    ) -> Result<Self> {
        let silu = kernel.activation == Activation::Silu;
        let variant = NormalizeVariant { modulated: kernel.modulation.is_some(), silu, from: kernel.element, to };
        let function = e.import(&variant.symbol(isa), 7)?;
        let pointers = [0, 1, 2].map(|i| e.argument(argument + i));
        emit_coefficients(e, kernel, n, pointers, coefficients);
        let modulation = kernel.modulation.map(|_| [3, 4].map(|i| e.argument(argument + i)));
        Ok(Self { kernel, to, function, n, coefficients, modulation })
    }

    /// Normalises `pixels` pixels of one line, the first at frame, line and pixel `[t, y, x]`.
    pub(super) fn emit(
        &self,
        e: &mut Emitter<'_, impl Module>,
        [t, y, x]: [Value; 3],
        from: Value,
        to: Value,
        pixels: Value,
    ) {
        let channels = e.int(self.kernel.channels);
        let (Some(bases), Some((space, apart))) = (self.modulation, self.kernel.modulation) else {
            let null = e.int(0);
            e.builder.ins().call(self.function, &[from, to, self.coefficients, null, null, channels, pixels]);
            return;
        };
        // The line of gain and shift that this one reads.
        let [frames, height, width] = self.kernel.space;
        let t = e.nearest(t, space[0], frames, apart);
        let y = e.nearest(y, space[1], height, false);
        let before = e.scale(self.n, space[0]);
        let frame = e.add(before, t);
        let above = e.scale(frame, space[1]);
        let row = e.add(above, y);
        let at = e.scale(row, space[2] * self.kernel.channels);
        let (from_size, to_size) = (self.kernel.element.bytes(), self.to.bytes());
        let bases = bases.map(|base| e.address(base, at, from_size));
        let (zero, one) = (e.int(0), e.int(1));
        e.for_each(zero, pixels, 1, |e, i| {
            let at = e.scale(i, self.kernel.channels);
            let (from, to) = (e.address(from, at, from_size), e.address(to, at, to_size));
            let column = e.add(x, i);
            let column = e.nearest(column, space[2], width, false);
            let at = e.scale(column, self.kernel.channels);
            let [gain, shift] = bases.map(|base| e.address(base, at, from_size));
            e.builder.ins().call(self.function, &[from, to, self.coefficients, gain, shift, channels, one]);
        });
    }
}

/// Writes mean, `rstd * scale` and offset of each channel to `to`.
fn emit_coefficients(e: &mut Emitter<'_, impl Module>, kernel: Normalize, n: Value, pointers: [Value; 3], to: Value) {
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
        let to = e.element(to, channel);
        e.store(mean, to, 0);
        e.store(a, to, 4 * kernel.channels);
        e.store(offset, to, 8 * kernel.channels);
    });
}
