//! What kernels are written with: counted loops, strips of vectors with a scalar rest, index arithmetic, and the few
//! functions of one element that several kernels need.
//!
//! Vectors are Cranelift's 128 bits; no instruction beyond the x86-64 baseline is asked for, so that every path gives
//! the same bits.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, FuncRef, Function, InstBuilder, MemFlagsData, Signature, Type, Value, types,
};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{Linkage, Module};

use super::Result;

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

    /// The address `base + 4 * element`.
    pub(super) fn element(&mut self, base: Value, element: Value) -> Value {
        let bytes = self.scale(element, 4);
        self.add(base, bytes)
    }

    pub(super) fn load(&mut self, ty: Type, address: Value, offset: usize) -> Value {
        self.builder.ins().load(ty, memory(), address, offset as i32)
    }

    pub(super) fn store(&mut self, value: Value, address: Value, offset: usize) {
        self.builder.ins().store(memory(), value, address, offset as i32);
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

    /// Runs `body` over `length` consecutive elements: with whole vectors first, then with single elements. It gets the
    /// type to work in and the offset in bytes.
    pub(super) fn strip(&mut self, length: usize, body: impl Fn(&mut Self, Type, Value)) {
        let whole = length / LANES * LANES;
        for (from, to, step, ty) in [(0, whole, LANES, types::F32X4), (whole, length, 1, types::F32)] {
            if from < to {
                let (start, end) = (self.int(4 * from), self.int(4 * to));
                self.for_each(start, end, 4 * step, |e, bytes| body(e, ty, bytes));
            }
        }
    }

    /// As [`Emitter::strip`], over a length known only when the kernel runs.
    pub(super) fn strip_of(&mut self, length: Value, body: impl Fn(&mut Self, Type, Value)) {
        let (_, rest) = self.divide(length, LANES);
        let whole = self.sub(length, rest);
        let (zero, middle, end) = (self.int(0), self.scale(whole, 4), self.scale(length, 4));
        self.for_each(zero, middle, 4 * LANES, |e, bytes| body(e, types::F32X4, bytes));
        self.for_each(middle, end, 4, |e, bytes| body(e, types::F32, bytes));
    }

    /// Copies elements that do not overlap; short runs without a call.
    pub(super) fn copy(&mut self, to: Value, from: Value, elements: usize) {
        if elements <= 64 {
            self.strip(elements, |e, ty, bytes| {
                let (from, to) = (e.add(from, bytes), e.add(to, bytes));
                let value = e.load(ty, from, 0);
                e.store(value, to, 0);
            });
        } else {
            let size = self.int(4 * elements);
            self.builder.call_memcpy(self.config, to, from, size);
        }
    }

    /// Copies so many bytes that do not overlap.
    pub(super) fn copy_bytes(&mut self, to: Value, from: Value, bytes: Value) {
        self.builder.call_memcpy(self.config, to, from, bytes);
    }

    /// Makes so many bytes zero.
    pub(super) fn zero_bytes(&mut self, to: Value, bytes: Value) {
        let zero = self.builder.ins().iconst(types::I8, 0);
        self.builder.call_memset(self.config, to, zero, bytes);
    }

    /// The index of the source that `resize_nearest` reads for `index`.
    pub(super) fn nearest(&mut self, index: Value, from: usize, to: usize, apart: bool) -> Value {
        if from == to {
            return index;
        }
        if !apart {
            let scaled = self.scale(index, from);
            return self.divide(scaled, to).0;
        }
        if to == 1 {
            return index;
        }
        // 0 -> 0 and i -> 1 + (i - 1) * (from - 1) / (to - 1), without a branch: the first frame divides to -1 + 1.
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
    /// `exp(-x) = 2^n * 2^f` with `n` the nearest whole number to `-x * log2(e)` and `2^f` its Taylor polynomial in
    /// `f * ln(2)`, |f| <= 1/2, whose remainder is below 2e-8.
    pub(super) fn silu(&mut self, ty: Type, x: Value) -> Value {
        let log2e = self.float(ty, -std::f32::consts::LOG2_E);
        let scaled = self.builder.ins().fmul(x, log2e);
        // Beyond 2^±126 the result is -0 or x to the last bit; comparisons are false for NaN, which flows through.
        let high = self.float(ty, 126.0);
        let scaled = self.clamp(ty, FloatCC::LessThan, scaled, high);
        let low = self.float(ty, -126.0);
        let scaled = self.clamp(ty, FloatCC::GreaterThan, scaled, low);
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

    /// `x` where it compares with `bound` so, else `bound`; NaN where `x` is.
    fn clamp(&mut self, ty: Type, condition: FloatCC, x: Value, bound: Value) -> Value {
        let holds = self.builder.ins().fcmp(condition, x, bound);
        if ty.is_vector() {
            let mask = self.builder.ins().bitcast(ty, little_endian(), holds);
            self.builder.ins().bitselect(mask, x, bound)
        } else {
            self.builder.ins().select(holds, x, bound)
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

/// Lanes keep their order when reinterpreted.
pub(super) fn little_endian() -> MemFlagsData {
    MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little)
}
