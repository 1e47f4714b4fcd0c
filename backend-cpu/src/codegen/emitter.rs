//! What kernels are written with: counted loops, strips of vectors with a scalar rest, index
//! arithmetic, and the few functions of one element that several kernels need. Elements are f32
//! once they are loaded; what they are in memory, loads and stores see to.
//!
//! Vectors are Cranelift's 128 bits; no instruction beyond the x86-64 baseline is asked for, so
//! that every path gives the same bits.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, FuncRef, Function, InstBuilder, MemFlagsData, Signature, Type, Value, types,
};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{Linkage, Module};

use super::Result;
use crate::element::Element;

/// Lanes of a vector of f32.
pub(super) const LANES: usize = 4;

/// A kernel under construction.
pub(super) struct Emitter<'a, M: Module> {
    pub builder: FunctionBuilder<'a>,
    pub module: &'a mut M,
    pub config: TargetFrontendConfig,
    arguments: Value,
    /// Memory of the calling thread.
    pub scratch: Value,
    /// Which block to compute.
    pub block: Value,
}

/// Memory that is there, of any alignment.
fn memory() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

impl<'a, M: Module> Emitter<'a, M> {
    pub(super) fn new(func: &'a mut Function, context: &'a mut FunctionBuilderContext, module: &'a mut M) -> Self {
        let config = module.target_config();
        let mut builder = FunctionBuilder::new(func, context);
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        builder.seal_block(entry);
        let &[arguments, scratch, block] = builder.block_params(entry) else { unreachable!("see `signature`") };
        Self { builder, module, config, arguments, scratch, block }
    }

    pub(super) fn finish(mut self) {
        self.builder.ins().return_(&[]);
        self.builder.finalize(self.config);
    }

    /// The pointer at `index` of the arguments.
    pub(super) fn argument(&mut self, index: usize) -> Value {
        let flags = MemFlagsData::trusted().with_readonly();
        self.builder.ins().load(types::I64, flags, self.arguments, (8 * index) as i32)
    }

    pub(super) fn int(&mut self, value: usize) -> Value {
        self.builder.ins().iconst(types::I64, value as i64)
    }

    /// `value` in every lane of `ty`, which is F32 or F32X4.
    pub(super) fn float(&mut self, ty: Type, value: f32) -> Value {
        let scalar = self.builder.ins().f32const(value);
        self.widen(ty, scalar)
    }

    /// The scalar `value` in every lane of `ty`.
    pub(super) fn widen(&mut self, ty: Type, value: Value) -> Value {
        if ty.is_vector() { self.builder.ins().splat(ty, value) } else { value }
    }

    pub(super) fn add(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().iadd(a, b)
    }

    pub(super) fn sub(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().isub(a, b)
    }

    pub(super) fn offset(&mut self, a: Value, by: i64) -> Value {
        if by == 0 {
            return a;
        }
        let by = self.builder.ins().iconst(types::I64, by);
        self.builder.ins().iadd(a, by)
    }

    pub(super) fn scale(&mut self, a: Value, by: usize) -> Value {
        match by {
            1 => a,
            by if by.is_power_of_two() => {
                let shift = self.builder.ins().iconst(types::I64, i64::from(by.trailing_zeros()));
                self.builder.ins().ishl(a, shift)
            }
            _ => {
                let by = self.int(by);
                self.builder.ins().imul(a, by)
            }
        }
    }

    /// `a / by` and `a % by`, for non-negative `a`.
    pub(super) fn divide(&mut self, a: Value, by: usize) -> (Value, Value) {
        if by == 1 {
            let zero = self.int(0);
            return (a, zero);
        }
        let divisor = self.int(by);
        let quotient = self.builder.ins().udiv(a, divisor);
        let whole = self.scale(quotient, by);
        (quotient, self.builder.ins().isub(a, whole))
    }

    pub(super) fn min(&mut self, a: Value, b: Value) -> Value {
        let less = self.builder.ins().icmp(IntCC::SignedLessThan, a, b);
        self.builder.ins().select(less, a, b)
    }

    pub(super) fn max(&mut self, a: Value, b: Value) -> Value {
        let less = self.builder.ins().icmp(IntCC::SignedLessThan, a, b);
        self.builder.ins().select(less, b, a)
    }

    /// The indices of `linear` along axes of these sizes, the last varying fastest.
    pub(super) fn delinearize(&mut self, mut linear: Value, sizes: &[usize]) -> Vec<Value> {
        let mut indices = vec![linear; sizes.len()];
        for axis in (1..sizes.len()).rev() {
            (linear, indices[axis]) = self.divide(linear, sizes[axis]);
        }
        if let Some(first) = indices.first_mut() {
            *first = linear;
        }
        indices
    }

    /// The address of the f32 with this index behind `base`.
    pub(super) fn element(&mut self, base: Value, index: Value) -> Value {
        self.address(base, index, 4)
    }

    /// The address `base + bytes * index`.
    pub(super) fn address(&mut self, base: Value, index: Value, bytes: usize) -> Value {
        let offset = self.scale(index, bytes);
        self.add(base, offset)
    }

    pub(super) fn load(&mut self, ty: Type, address: Value, offset: usize) -> Value {
        self.builder.ins().load(ty, memory(), address, offset as i32)
    }

    pub(super) fn store(&mut self, value: Value, address: Value, offset: usize) {
        self.builder.ins().store(memory(), value, address, offset as i32);
    }

    /// Loads what is F32 or F32X4 in arithmetic; `offset` is in bytes.
    pub(super) fn load_element(&mut self, element: Element, ty: Type, address: Value, offset: usize) -> Value {
        match element {
            Element::F32 => self.load(ty, address, offset),
            Element::Bf16 => {
                let bits = if ty.is_vector() {
                    self.builder.ins().uload16x4(memory(), address, offset as i32)
                } else {
                    self.builder.ins().uload16(types::I32, memory(), address, offset as i32)
                };
                let by = self.builder.ins().iconst(types::I32, 16);
                let bits = self.builder.ins().ishl(bits, by);
                self.builder.ins().bitcast(ty, little_endian(), bits)
            }
        }
    }

    /// Stores the nearest element to each lane of `value`, which is F32 or F32X4.
    pub(super) fn store_element(&mut self, element: Element, value: Value, address: Value) {
        match element {
            Element::F32 => self.store(value, address, 0),
            Element::Bf16 => self.store_bf16(value, address),
        }
    }

    fn store_bf16(&mut self, value: Value, address: Value) {
        let ty = self.builder.func.dfg.value_type(value);
        let bits = self.upper_half(ty, value);
        let by = self.builder.ins().iconst(types::I32, 16);
        // Shifted with their sign, lanes are within 16 bits, so that narrowing cuts nothing off.
        let bits = self.builder.ins().sshr(bits, by);
        if ty.is_vector() {
            let narrow = self.builder.ins().snarrow(bits, bits);
            let pairs = self.builder.ins().bitcast(types::I64X2, little_endian(), narrow);
            let four = self.builder.ins().extractlane(pairs, 0);
            self.store(four, address, 0);
        } else {
            self.builder.ins().istore16(memory(), bits, address, 0);
        }
    }

    /// The bits of each lane, rounded so that the upper half is the nearest bf16, the even one of
    /// two; NaN stays NaN.
    fn upper_half(&mut self, ty: Type, value: Value) -> Value {
        let integer = if ty.is_vector() { types::I32X4 } else { types::I32 };
        let constant = |e: &mut Self, bits: i64| {
            let scalar = e.builder.ins().iconst(types::I32, bits);
            e.widen(integer, scalar)
        };
        let bits = self.builder.ins().bitcast(integer, little_endian(), value);
        // Not quite half of the last place that stays, and the whole half where that place is odd.
        let by = self.builder.ins().iconst(types::I32, 16);
        let last = self.builder.ins().ushr(bits, by);
        let one = constant(self, 1);
        let odd = self.builder.ins().band(last, one);
        let below_half = constant(self, 0x7fff);
        let half = self.builder.ins().iadd(odd, below_half);
        let rounded = self.builder.ins().iadd(bits, half);
        let quiet = constant(self, 0x0040_0000);
        let nan = self.builder.ins().bor(bits, quiet);
        let is_nan = self.builder.ins().fcmp(FloatCC::Unordered, value, value);
        if ty.is_vector() {
            self.builder.ins().bitselect(is_nan, nan, rounded)
        } else {
            self.builder.ins().select(is_nan, nan, rounded)
        }
    }

    /// Runs `body` for each `start`, `start + step`, ... below `end`.
    pub(super) fn for_each(&mut self, start: Value, end: Value, step: usize, body: impl FnOnce(&mut Self, Value)) {
        let none: [Value; 0] = [];
        self.fold(start, end, step, none, |e, i, none| {
            body(e, i);
            none
        });
    }

    /// As [`Emitter::for_each`], carrying values from turn to turn; returns those after the last.
    pub(super) fn fold<const N: usize>(
        &mut self,
        start: Value,
        end: Value,
        step: usize,
        carried: [Value; N],
        body: impl FnOnce(&mut Self, Value, [Value; N]) -> [Value; N],
    ) -> [Value; N] {
        let (header, inside, exit) = (self.new_block(), self.new_block(), self.new_block());
        let index = self.builder.append_block_param(header, types::I64);
        let inner: [Value; N] = carried.map(|v| {
            let ty = self.builder.func.dfg.value_type(v);
            self.builder.append_block_param(header, ty)
        });
        let enter: Vec<BlockArg> = std::iter::once(start).chain(carried).map(BlockArg::Value).collect();
        self.builder.ins().jump(header, &enter);
        self.builder.switch_to_block(header);
        let more = self.builder.ins().icmp(IntCC::SignedLessThan, index, end);
        self.builder.ins().brif(more, inside, &[], exit, &[]);
        self.builder.switch_to_block(inside);
        self.builder.seal_block(inside);
        let after = body(self, index, inner);
        let next = self.offset(index, step as i64);
        let again: Vec<BlockArg> = std::iter::once(next).chain(after).map(BlockArg::Value).collect();
        self.builder.ins().jump(header, &again);
        self.builder.seal_block(header);
        self.builder.switch_to_block(exit);
        self.builder.seal_block(exit);
        inner
    }

    /// Runs one of two branches.
    pub(super) fn branch(&mut self, condition: Value, then: impl FnOnce(&mut Self), otherwise: impl FnOnce(&mut Self)) {
        let (yes, no, join) = (self.new_block(), self.new_block(), self.new_block());
        self.builder.ins().brif(condition, yes, &[], no, &[]);
        for (block, emit) in [(yes, Ok(then)), (no, Err(otherwise))] {
            self.builder.switch_to_block(block);
            self.builder.seal_block(block);
            match emit {
                Ok(then) => then(self),
                Err(otherwise) => otherwise(self),
            }
            self.builder.ins().jump(join, &[]);
        }
        self.builder.switch_to_block(join);
        self.builder.seal_block(join);
    }

    fn new_block(&mut self) -> Block {
        self.builder.create_block()
    }

    /// Runs `body` over `length` consecutive elements: with whole vectors first, then with single
    /// elements. It gets the type to work in and the index of the first.
    pub(super) fn strip(&mut self, length: usize, body: impl Fn(&mut Self, Type, Value)) {
        let whole = length / LANES * LANES;
        for (from, to, step, ty) in [(0, whole, LANES, types::F32X4), (whole, length, 1, types::F32)] {
            if from < to {
                let (start, end) = (self.int(from), self.int(to));
                self.for_each(start, end, step, |e, index| body(e, ty, index));
            }
        }
    }

    /// As [`Emitter::strip`], over a length known only when the kernel runs.
    pub(super) fn strip_of(&mut self, length: Value, body: impl Fn(&mut Self, Type, Value)) {
        let (_, rest) = self.divide(length, LANES);
        let whole = self.sub(length, rest);
        let zero = self.int(0);
        self.for_each(zero, whole, LANES, |e, index| body(e, types::F32X4, index));
        self.for_each(whole, length, 1, |e, index| body(e, types::F32, index));
    }

    /// Copies elements of so many bytes, 2 or 4, that do not overlap; short runs without a call.
    pub(super) fn copy(&mut self, to: Value, from: Value, elements: usize, element_bytes: usize) {
        let bytes = elements * element_bytes;
        if bytes > 256 {
            let size = self.int(bytes);
            self.builder.call_memcpy(self.config, to, from, size);
            return;
        }
        let whole = bytes / 16 * 16;
        for (first, behind, step, ty) in
            [(0, whole, 16, types::I8X16), (whole, bytes, element_bytes, word(element_bytes))]
        {
            if first < behind {
                let (start, end) = (self.int(first), self.int(behind));
                self.for_each(start, end, step, |e, at| {
                    let (from, to) = (e.add(from, at), e.add(to, at));
                    let value = e.load(ty, from, 0);
                    e.store(value, to, 0);
                });
            }
        }
    }

    /// Copies so many elements, which do not overlap, as elements of another kind, or of the same.
    pub(super) fn copy_converted(&mut self, to: (Value, Element), from: (Value, Element), elements: Value) {
        if to.1 == from.1 {
            let bytes = self.scale(elements, to.1.bytes());
            self.builder.call_memcpy(self.config, to.0, from.0, bytes);
            return;
        }
        self.strip_of(elements, |e, ty, index| {
            let address = e.address(from.0, index, from.1.bytes());
            let value = e.load_element(from.1, ty, address, 0);
            let address = e.address(to.0, index, to.1.bytes());
            e.store_element(to.1, value, address);
        });
    }

    /// Makes so many bytes zero.
    pub(super) fn zero_bytes(&mut self, to: Value, bytes: Value) {
        let zero = self.builder.ins().iconst(types::I8, 0);
        self.builder.call_memset(self.config, to, zero, bytes);
    }

    /// The index in `0..size` next to `index`.
    pub(super) fn nearest_inside(&mut self, index: Value, size: usize) -> Value {
        let (zero, last) = (self.int(0), self.int(size - 1));
        let raised = self.max(index, zero);
        self.min(raised, last)
    }

    /// `index` mirrored at 0 and at `size - 1`; where that is outside again, the index next to it.
    pub(super) fn mirrored(&mut self, index: Value, size: usize) -> Value {
        let (zero, twice) = (self.int(0), self.int(2 * (size - 1)));
        let negated = self.sub(zero, index);
        let distance = self.max(index, negated);
        let from_end = self.sub(twice, distance);
        let folded = self.min(distance, from_end);
        self.nearest_inside(folded, size)
    }

    /// The index of the source that `resize_nearest` reads for `index`.
    pub(super) fn nearest(&mut self, index: Value, from: usize, to: usize, apart: bool) -> Value {
        if from == to {
            return index;
        }
        if from == 1 {
            return self.int(0);
        }
        if !apart {
            let scaled = self.scale(index, from);
            return self.divide(scaled, to).0;
        }
        if to == 1 {
            return index;
        }
        // 0 -> 0 and i -> 1 + (i - 1) * (from - 1) / (to - 1), without a branch: the first frame
        // divides to -1 + 1.
        let before = self.offset(index, -1);
        let zero = self.int(0);
        let clamped = self.max(before, zero);
        let scaled = self.scale(clamped, from - 1);
        let rest = self.divide(scaled, to - 1).0;
        let behind = self.offset(rest, 1);
        let first = self.builder.ins().icmp(IntCC::Equal, index, zero);
        self.builder.ins().select(first, zero, behind)
    }

    /// `x * sigmoid(x)` in each lane, to about 2 units in the last place; NaN stays NaN.
    ///
    /// `exp(-x) = 2^n * 2^f` with `n` the nearest whole number to `-x * log2(e)` and `2^f` its
    /// Taylor polynomial in `f * ln(2)`, |f| <= 1/2, whose remainder is below 2e-8.
    pub(super) fn silu(&mut self, ty: Type, x: Value) -> Value {
        let log2e = self.float(ty, -std::f32::consts::LOG2_E);
        let scaled = self.builder.ins().fmul(x, log2e);
        // Beyond 2^±126 the result is -0 or x to the last bit; comparisons are false for NaN, which
        // flows through.
        let scaled = self.bounded(ty, FloatCC::GreaterThan, scaled, 126.0);
        let scaled = self.bounded(ty, FloatCC::LessThan, scaled, -126.0);
        // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits.
        let magic = self.float(ty, 12_582_912.0);
        let shifted = self.builder.ins().fadd(scaled, magic);
        let whole = self.builder.ins().fsub(shifted, magic);
        let f = self.builder.ins().fsub(scaled, whole);
        let mut p = self.float(ty, 1.540_353e-4);
        for coefficient in [1.333_355_8e-3, 9.618_129e-3, 5.550_411e-2, 2.402_265e-1, std::f32::consts::LN_2, 1.0] {
            let c = self.float(ty, coefficient);
            let product = self.builder.ins().fmul(p, f);
            p = self.builder.ins().fadd(product, c);
        }
        let integer = if ty.is_vector() { types::I32X4 } else { types::I32 };
        let bits = self.builder.ins().bitcast(integer, little_endian(), shifted);
        let by = self.builder.ins().iconst(types::I32, 23);
        let exponent = self.builder.ins().ishl(bits, by);
        let polynomial = self.builder.ins().bitcast(integer, little_endian(), p);
        let power = self.builder.ins().iadd(polynomial, exponent);
        let power = self.builder.ins().bitcast(ty, little_endian(), power);
        let one = self.float(ty, 1.0);
        let denominator = self.builder.ins().fadd(power, one);
        self.builder.ins().fdiv(x, denominator)
    }

    /// `bound` where `x` is beyond it, as `beyond` says, else `x`, which may be NaN.
    pub(super) fn bounded(&mut self, ty: Type, beyond: FloatCC, x: Value, bound: f32) -> Value {
        let bound = self.float(ty, bound);
        let is_beyond = self.builder.ins().fcmp(beyond, x, bound);
        if ty.is_vector() {
            let mask = self.builder.ins().bitcast(ty, little_endian(), is_beyond);
            self.builder.ins().bitselect(mask, bound, x)
        } else {
            self.builder.ins().select(is_beyond, bound, x)
        }
    }

    /// A function of the module's symbols that takes so many words.
    pub(super) fn import(&mut self, symbol: &str, words: usize) -> Result<FuncRef> {
        let mut signature = Signature::new(self.config.default_call_conv);
        signature.params.extend(std::iter::repeat_n(AbiParam::new(types::I64), words));
        let id = self.module.declare_function(symbol, Linkage::Import, &signature)?;
        Ok(self.module.declare_func_in_func(id, self.builder.func))
    }
}

/// The integer of an element of so many bytes.
pub(super) fn word(bytes: usize) -> Type {
    match bytes {
        1 => types::I8,
        2 => types::I16,
        4 => types::I32,
        _ => unreachable!("no element has {bytes} bytes"),
    }
}

/// Lanes keep their order when reinterpreted.
pub(super) fn little_endian() -> MemFlagsData {
    MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little)
}
