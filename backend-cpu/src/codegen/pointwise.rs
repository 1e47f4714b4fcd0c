//! Code for elementwise kernels, for conversions and for adding a bias.

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_module::Module;

use super::Result;
use super::emitter::Emitter;
use crate::element::Element;
use crate::kernel::{Kernel, Pointwise, PointwiseFunction};
use crate::panel::unary;

pub(super) fn emit<M: Module>(e: &mut Emitter<'_, M>, kernel: Pointwise) -> Result<()> {
    let element = kernel.element;
    let (start, length) = block_elements(e, kernel.elements);
    let bases: Vec<_> = (0..=kernel.function.operands())
        .map(|i| {
            let pointer = e.argument(i);
            e.address(pointer, start, element.bytes())
        })
        .collect();
    if let PointwiseFunction::Unary(function) = kernel.function {
        let function = e.import(&unary::symbol(function, element), 3)?;
        e.builder.ins().call(function, &[bases[1], bases[0], length]);
        return Ok(());
    }
    e.strip_of(length, |e, ty, index| {
        let operands: Vec<_> = bases[1..]
            .iter()
            .map(|&base| {
                let address = e.address(base, index, element.bytes());
                e.load_element(element, ty, address, 0)
            })
            .collect();
        let value = match kernel.function {
            PointwiseFunction::Add => e.builder.ins().fadd(operands[0], operands[1]),
            PointwiseFunction::Multiply => e.builder.ins().fmul(operands[0], operands[1]),
            PointwiseFunction::Silu => e.silu(ty, operands[0]),
            PointwiseFunction::Clamp { low, high } => {
                let raised = e.bounded(ty, FloatCC::LessThan, operands[0], f32::from_bits(low));
                e.bounded(ty, FloatCC::GreaterThan, raised, f32::from_bits(high))
            }
            PointwiseFunction::Unary(_) => unreachable!("called above, for all elements"),
        };
        let address = e.address(bases[0], index, element.bytes());
        e.store_element(element, value, address);
    });
    Ok(())
}

pub(super) fn emit_convert(e: &mut Emitter<'_, impl Module>, elements: usize, from: Element, to: Element) {
    let (start, length) = block_elements(e, elements);
    let [result, operand] = [(0, to), (1, from)].map(|(i, element)| {
        let pointer = e.argument(i);
        e.address(pointer, start, element.bytes())
    });
    e.strip_of(length, |e, ty, index| {
        let address = e.address(operand, index, from.bytes());
        let value = e.load_element(from, ty, address, 0);
        let address = e.address(result, index, to.bytes());
        e.store_element(to, value, address);
    });
}

/// The first element of this block, and how many it has.
fn block_elements(e: &mut Emitter<'_, impl Module>, elements: usize) -> (Value, Value) {
    let start = e.scale(e.block, Pointwise::BLOCK);
    let total = e.int(elements);
    let left = e.sub(total, start);
    let most = e.int(Pointwise::BLOCK);
    (start, e.min(left, most))
}

pub(super) fn emit_add_bias(e: &mut Emitter<'_, impl Module>, pixels: usize, channels: usize, element: Element) {
    let [result, input, bias] = [0, 1, 2].map(|i| e.argument(i));
    let per_block = Kernel::pixels_per_block(channels);
    let start = e.scale(e.block, per_block);
    let behind = e.offset(start, per_block as i64);
    let total = e.int(pixels);
    let end = e.min(behind, total);
    e.for_each(start, end, 1, |e, pixel| {
        let at = e.scale(pixel, channels);
        let [result, input] = [result, input].map(|base| e.address(base, at, element.bytes()));
        e.strip(channels, |e, ty, index| {
            let [a, b] = [(input, element), (bias, Element::F32)].map(|(base, element)| {
                let address = e.address(base, index, element.bytes());
                e.load_element(element, ty, address, 0)
            });
            let sum = e.builder.ins().fadd(a, b);
            let address = e.address(result, index, element.bytes());
            e.store_element(element, sum, address);
        });
    });
}
