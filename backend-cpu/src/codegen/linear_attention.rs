//! Code for a linear attention: sums over keys, a block a head; then queries with these sums, a block
//! some queries with all their heads. Lanes are neighbouring channels of the values.

use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_module::Module;

use super::emitter::Emitter;
use crate::kernel::{KEYS_AT_ONCE, LinearAttention};

/// The sums of one head. Arguments: sums of all heads, keys, values.
pub(super) fn emit_sums(e: &mut Emitter<'_, impl Module>, a: &LinearAttention) {
    let [sums, keys, values] = [0, 1, 2].map(|i| e.argument(i));
    let part = e.scratch;
    let at = e.scale(e.block, a.sums());
    let sums = e.element(sums, at);
    let (set, head) = e.divide(e.block, a.heads);
    let first = e.scale(set, a.keys);
    let bytes = e.int(a.sums() * size_of::<f32>());
    e.zero_bytes(sums, bytes);
    let (zero, all) = (e.int(0), e.int(a.keys));
    e.for_each(zero, all, KEYS_AT_ONCE, |e, run| {
        e.zero_bytes(part, bytes);
        let behind = e.offset(run, KEYS_AT_ONCE as i64);
        let behind = e.min(behind, all);
        e.for_each(run, behind, 1, |e, key| {
            let token = e.add(first, key);
            let from = head_of(e, keys, token, head, a, a.channels);
            let by = head_of(e, values, token, head, a, a.outputs);
            add_key(e, a, part, from, by);
        });
        e.strip(a.sums(), |e, ty, i| {
            let (to, from) = (e.element(sums, i), e.element(part, i));
            let (sum, more) = (e.load(ty, to, 0), e.load(ty, from, 0));
            let sum = e.builder.ins().fadd(sum, more);
            e.store(sum, to, 0);
        });
    });
}

/// Adds what one key makes with its value.
fn add_key(e: &mut Emitter<'_, impl Module>, a: &LinearAttention, sums: Value, key: Value, value: Value) {
    let (zero, channels) = (e.int(0), e.int(a.channels));
    let bytes = a.element.bytes();
    let of_keys = e.offset(sums, (a.channels * a.outputs * size_of::<f32>()) as i64);
    e.for_each(zero, channels, 1, |e, channel| {
        let from = e.address(key, channel, bytes);
        let k = e.load_element(a.element, types::F32, from, 0);
        let at = e.scale(channel, a.outputs);
        let row = e.element(sums, at);
        e.strip(a.outputs, |e, ty, output| {
            let from = e.address(value, output, bytes);
            let v = e.load_element(a.element, ty, from, 0);
            let to = e.element(row, output);
            let sum = e.load(ty, to, 0);
            let k = e.widen(ty, k);
            let product = e.builder.ins().fmul(k, v);
            let sum = e.builder.ins().fadd(sum, product);
            e.store(sum, to, 0);
        });
        let to = e.element(of_keys, channel);
        let sum = e.load(types::F32, to, 0);
        let sum = e.builder.ins().fadd(sum, k);
        e.store(sum, to, 0);
    });
}

/// Some queries. Arguments: result, queries, sums of all heads.
pub(super) fn emit(e: &mut Emitter<'_, impl Module>, a: &LinearAttention) {
    let [result, queries, sums] = [0, 1, 2].map(|i| e.argument(i));
    let (set, part) = e.divide(e.block, a.blocks_of_set());
    let start = e.scale(part, a.queries_per_block());
    let behind = e.offset(start, a.queries_per_block() as i64);
    let all = e.int(a.queries);
    let behind = e.min(behind, all);
    let before = e.scale(set, a.queries);
    let zero = e.int(0);
    let (heads, channels) = (e.int(a.heads), e.int(a.channels));
    // Heads outside, so that one head's sums stay in cache.
    e.for_each(zero, heads, 1, |e, head| {
        let matrices = e.scale(set, a.heads);
        let matrix = e.add(matrices, head);
        let at = e.scale(matrix, a.sums());
        let sums = e.element(sums, at);
        let of_keys = e.offset(sums, (a.channels * a.outputs * size_of::<f32>()) as i64);
        e.for_each(start, behind, 1, |e, query| {
            let token = e.add(before, query);
            let from = head_of(e, queries, token, head, a, a.channels);
            let to = head_of(e, result, token, head, a, a.outputs);
            let number = |e: &mut Emitter<'_, _>, channel: Value| {
                let address = e.address(from, channel, a.element.bytes());
                e.load_element(a.element, types::F32, address, 0)
            };
            let epsilon = e.float(types::F32, f32::from_bits(a.epsilon));
            let [whole] = e.fold(zero, channels, 1, [epsilon], |e, channel, [sum]| {
                let q = number(e, channel);
                let address = e.element(of_keys, channel);
                let k = e.load(types::F32, address, 0);
                let product = e.builder.ins().fmul(q, k);
                [e.builder.ins().fadd(sum, product)]
            });
            e.strip(a.outputs, |e, ty, output| {
                let nothing = e.float(ty, 0.0);
                let [sum] = e.fold(zero, channels, 1, [nothing], |e, channel, [sum]| {
                    let q = number(e, channel);
                    let q = e.widen(ty, q);
                    let at = e.scale(channel, a.outputs);
                    let at = e.add(at, output);
                    let address = e.element(sums, at);
                    let s = e.load(ty, address, 0);
                    let product = e.builder.ins().fmul(q, s);
                    [e.builder.ins().fadd(sum, product)]
                });
                let whole = e.widen(ty, whole);
                let mean = e.builder.ins().fdiv(sum, whole);
                let address = e.address(to, output, a.element.bytes());
                e.store_element(a.element, mean, address);
            });
        });
    });
}

/// The channels of one head of a token, of which each head has so many.
fn head_of(
    e: &mut Emitter<'_, impl Module>,
    tokens: Value,
    token: Value,
    head: Value,
    a: &LinearAttention,
    channels: usize,
) -> Value {
    let before = e.scale(token, a.heads * channels);
    let within = e.scale(head, channels);
    let at = e.add(before, within);
    e.address(tokens, at, a.element.bytes())
}
