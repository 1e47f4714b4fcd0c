//! Code for elementwise kernels and for adding a bias.

use cranelift_codegen::ir::InstBuilder;
use cranelift_module::Module;

use super::emitter::Emitter;
use crate::kernel::{Kernel, Pointwise, PointwiseFunction};

pub(super) fn emit(e: &mut Emitter<'_, impl Module>, kernel: Pointwise) {
    let pointers: Vec<_> = (0..=kernel.function.operands()).map(|i| e.argument(i)).collect();
    let start = e.scale(e.block, Pointwise::BLOCK);
    let total = e.int(kernel.elements);
    let left = e.sub(total, start);
    let most = e.int(Pointwise::BLOCK);
    let length = e.min(left, most);
    let bases: Vec<_> = pointers.into_iter().map(|p| e.element(p, start)).collect();
    e.strip_of(length, |e, ty, bytes| {
        let operands: Vec<_> = bases[1..]
            .iter()
            .map(|&base| {
                let address = e.add(base, bytes);
                e.load(ty, address, 0)
            })
            .collect();
        let value = match kernel.function {
            PointwiseFunction::Add => e.builder.ins().fadd(operands[0], operands[1]),
            PointwiseFunction::Multiply => e.builder.ins().fmul(operands[0], operands[1]),
            PointwiseFunction::Silu => e.silu(ty, operands[0]),
        };
        let address = e.add(bases[0], bytes);
        e.store(value, address, 0);
    });
}

pub(super) fn emit_add_bias(e: &mut Emitter<'_, impl Module>, pixels: usize, channels: usize) {
    let [result, input, bias] = [0, 1, 2].map(|i| e.argument(i));
    let per_block = Kernel::pixels_per_block(channels);
    let start = e.scale(e.block, per_block);
    let behind = e.offset(start, per_block as i64);
    let total = e.int(pixels);
    let end = e.min(behind, total);
    e.for_each(start, end, 1, |e, pixel| {
        let at = e.scale(pixel, channels);
        let (result, input) = (e.element(result, at), e.element(input, at));
        e.strip(channels, |e, ty, bytes| {
            let [a, b] = [input, bias].map(|base| {
                let address = e.add(base, bytes);
                e.load(ty, address, 0)
            });
            let sum = e.builder.ins().fadd(a, b);
            let address = e.add(result, bytes);
            e.store(sum, address, 0);
        });
    });
}
