//! Code for normalisation over the channels of a pixel: which pixels, and calls of the kernel in
//! `panel::channel_norm`, which convolutions also run over what they read. It needs nothing of
//! other pixels, so there are no statistics.

use cranelift_codegen::ir::{FuncRef, InstBuilder, Value, types};
use cranelift_module::Module;

use super::Result;
use super::emitter::Emitter;
use crate::element::Element;
use crate::isa::Isa;
use crate::kernel::ChannelNorm;
use crate::panel::channel_norm::ChannelNormVariant;
use ir::{Activation, ChannelNormKind};

pub(super) fn emit<M: Module>(e: &mut Emitter<'_, M>, isa: Isa, kernel: ChannelNorm) -> Result<()> {
    let [result, input] = [0, 1].map(|i| e.argument(i));
    let [first, wanted] = kernel.wanted;
    let pitch = kernel.channels * kernel.element.bytes();
    let (n, part) = e.divide(e.block, kernel.blocks());
    let start = e.scale(part, kernel.pixels_per_block());
    let all = e.int(wanted);
    let left = e.sub(all, start);
    let most = e.int(kernel.pixels_per_block());
    let pixels = e.min(left, most);
    let before = e.scale(n, kernel.pixels);
    let from = e.add(before, start);
    let from = e.offset(from, first as i64);
    let from = e.address(input, from, pitch);
    let before = e.scale(n, wanted);
    let to = e.add(before, start);
    let to = e.address(result, to, pitch);
    Pixels::new(e, isa, kernel, kernel.element, 2)?.emit(e, from, to, pixels);
    Ok(())
}

/// What normalising a run of pixels needs: the microkernel and its operands.
pub(super) struct Pixels {
    function: FuncRef,
    /// Scale and offset, null where there is none.
    affine: [Value; 2],
    channels: Value,
    /// Whether epsilon is the least norm, and epsilon's bits.
    terms: [Value; 2],
}

impl Pixels {
    /// The kernel's arguments behind its input start at `argument`. Pixels are written as elements
    /// `to`.
    pub(super) fn new<M: Module>(
        e: &mut Emitter<'_, M>,
        isa: Isa,
        kernel: ChannelNorm,
        to: Element,
        argument: usize,
    ) -> Result<Self> {
        let centered = kernel.kind == ChannelNormKind::Layer;
        let floor = kernel.kind == ChannelNormKind::L2;
        let silu = kernel.activation == Activation::Silu;
        let function = e.import(&ChannelNormVariant { centered, silu, from: kernel.element, to }.symbol(isa), 8)?;
        let null = e.int(0);
        let scale = if kernel.scale { e.argument(argument) } else { null };
        let offset = if kernel.offset { e.argument(argument + usize::from(kernel.scale)) } else { null };
        let epsilon = e.builder.ins().iconst(types::I64, kernel.epsilon as i64);
        let terms = [e.int(usize::from(floor)), epsilon];
        Ok(Self { function, affine: [scale, offset], channels: e.int(kernel.channels), terms })
    }

    /// Normalises `pixels` pixels that follow each other.
    pub(super) fn emit(&self, e: &mut Emitter<'_, impl Module>, from: Value, to: Value, pixels: Value) {
        let ([scale, offset], [floor, epsilon]) = (self.affine, self.terms);
        e.builder.ins().call(self.function, &[from, to, scale, offset, self.channels, pixels, floor, epsilon]);
    }
}
