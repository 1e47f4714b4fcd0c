//! Code for an attention: packing keys and values, and blocks of queries over runs of keys, as
//! `crate::attention` cuts them.
//!
//! A run is a slice of the sum over values, and channels are cut into slices too, since short sums
//! round less. Keys that no query of a block sees are not visited: a mask ends the loop over runs
//! early. Of those that some queries see, every score is made, and the softmax is told how many a
//! query sees: masks hide what comes last.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{FuncRef, InstBuilder, Value, types};
use cranelift_module::Module;
use ir::AttentionMask;

use super::Result;
use super::emitter::{Emitter, LANES};
use super::panels::{Chunks, Shape, define_shapes, for_chunks, import_chunks};
use crate::attention::Attention;
use crate::element::Element;
use crate::isa::Isa;
use crate::panel::softmax::{self, State};
use crate::panel::{PanelFamily, PanelShape, Segment};

/// One panel of the keys of one head. Arguments: packed keys, keys.
pub(super) fn emit_pack_keys(e: &mut Emitter<'_, impl Module>, a: &Attention) {
    let [to, keys] = [0, 1].map(|i| e.argument(i));
    let (matrix, panel) = e.divide(e.block, a.panels()[0]);
    let from = head(e, keys, matrix, a, [a.keys, a.channels]);
    let at = e.scale(matrix, a.packed()[0]);
    let to = e.element(to, at);
    pack_keys(e, a, from, to, panel);
}

/// Some keys' values of one head. Arguments: packed values, values.
pub(super) fn emit_pack_values(e: &mut Emitter<'_, impl Module>, a: &Attention) {
    let [to, values] = [0, 1].map(|i| e.argument(i));
    let at_once = a.keys_packed_at_once();
    let (matrix, part) = e.divide(e.block, a.keys.div_ceil(at_once));
    let from = head(e, values, matrix, a, [a.keys, a.outputs]);
    let at = e.scale(matrix, a.packed()[1]);
    let to = e.element(to, at);
    let first = e.scale(part, at_once);
    let behind = e.offset(first, at_once as i64);
    let all = e.int(a.keys);
    let behind = e.min(behind, all);
    pack_values(e, a, from, to, [first, behind]);
}

/// The first token of a head, which has so many tokens of so many channels.
fn head(
    e: &mut Emitter<'_, impl Module>,
    tensor: Value,
    matrix: Value,
    a: &Attention,
    [tokens, channels]: [usize; 2],
) -> Value {
    let (set, head) = e.divide(matrix, a.heads);
    let before = e.scale(set, tokens * a.heads * channels);
    let of_head = e.scale(head, channels);
    let at = e.add(before, of_head);
    e.address(tensor, at, a.element.bytes())
}

/// `[channel][key]` of the keys of one panel; what stands behind the last key is nobody's.
fn pack_keys(e: &mut Emitter<'_, impl Module>, a: &Attention, keys: Value, packed: Value, panel: Value) {
    let columns = a.panel_columns[0];
    let (size, token) = (a.element.bytes(), a.element.bytes() * a.token_channels());
    let first = e.scale(panel, columns);
    let all = e.int(a.keys);
    let left = e.sub(all, first);
    let most = e.int(columns);
    let count = e.min(left, most);
    let from = e.address(keys, first, token);
    let at = e.scale(panel, a.channels * columns);
    let to = e.element(packed, at);
    let zero = e.int(0);
    e.strip(a.channels, |e, ty, channel| {
        let from = e.address(from, channel, size);
        let at = e.scale(channel, columns);
        let to = e.element(to, at);
        e.for_each(zero, count, 1, |e, key| {
            let from = e.address(from, key, token);
            let numbers = e.load_element(a.element, ty, from, 0);
            let to = e.element(to, key);
            if ty.is_vector() {
                for lane in 0..LANES {
                    let number = e.builder.ins().extractlane(numbers, lane as u8);
                    e.store(number, to, 4 * lane * columns);
                }
            } else {
                e.store(numbers, to, 0);
            }
        });
    });
}

/// `[panel][key][channel]` of the keys from the first up to one that is left out.
fn pack_values(
    e: &mut Emitter<'_, impl Module>,
    a: &Attention,
    values: Value,
    packed: Value,
    [first, behind]: [Value; 2],
) {
    let (columns, size) = (a.panel_columns[1], a.element.bytes());
    let copy = |e: &mut Emitter<'_, _>, from: Value, to: Value, count: usize| {
        e.strip(count, |e, ty, channel| {
            let address = e.address(from, channel, size);
            let numbers = e.load_element(a.element, ty, address, 0);
            let address = e.element(to, channel);
            e.store(numbers, address, 0);
        });
    };
    let (zero, whole) = (e.int(0), a.outputs / columns);
    e.for_each(first, behind, 1, |e, key| {
        let from = e.address(values, key, size * a.token_outputs());
        let at = e.scale(key, columns);
        let to = e.element(packed, at);
        let panels = e.int(whole);
        e.for_each(zero, panels, 1, |e, panel| {
            let (from, to) = (e.address(from, panel, size * columns), e.address(to, panel, 4 * a.keys * columns));
            copy(e, from, to, columns);
        });
        if whole * columns < a.outputs {
            let from = e.offset(from, (size * whole * columns) as i64);
            let to = e.offset(to, (4 * whole * a.keys * columns) as i64);
            copy(e, from, to, a.outputs - whole * columns);
        }
    });
}

/// What all blocks have in common.
struct Code {
    a: Attention,
    /// Of panels over keys, and over values.
    columns: [usize; 2],
    /// [`PanelShape`]s: of scores, for each slice of the channels, a whole panel and the last one;
    /// then of sums, for a whole run and the last one, of these for the first run and others,
    /// of these a whole panel and the last one.
    shapes: Value,
    softmax: FuncRef,
}

/// Blocks of queries. Arguments: result, queries, then packed keys and values, or keys and values
/// where a block packs them.
pub(super) fn emit<M: Module>(e: &mut Emitter<'_, M>, isa: Isa, name: &str, a: &Attention) -> Result<()> {
    let families = [a.keys, a.outputs].map(|columns| PanelFamily::for_columns(isa, Element::F32, columns));
    let shapes = define_shapes(e, name, &shapes(a))?;
    let softmax = e.import(&softmax::symbol(isa), 6)?;
    let code = Code { a: *a, columns: families.map(|family| family.nr), shapes, softmax };
    let (rows, blocks_of_head) = (a.rows(), a.blocks_of_head());
    let last_rows = a.queries - (blocks_of_head - 1) * rows;
    let chunks = |e: &mut Emitter<'_, M>, rows| -> Result<[Chunks; 2]> {
        Ok([import_chunks(e, families[0], rows)?, import_chunks(e, families[1], rows)?])
    };
    let (all, last) = (chunks(e, rows)?, chunks(e, last_rows)?);
    let (group, part) = e.divide(e.block, blocks_of_head);
    let first = e.scale(group, a.heads_of_block());
    let behind = e.offset(first, a.heads_of_block() as i64);
    let matrices = e.int(a.matrices());
    let behind = e.min(behind, matrices);
    e.for_each(first, behind, 1, |e, matrix| {
        let packed = code.packed(e, matrix);
        if rows == last_rows {
            return code.attend(e, matrix, part, packed, rows, &all);
        }
        let last_part = e.int(blocks_of_head - 1);
        let is_last = e.builder.ins().icmp(IntCC::Equal, part, last_part);
        e.branch(
            is_last,
            |e| code.attend(e, matrix, part, packed, last_rows, &last),
            |e| code.attend(e, matrix, part, packed, rows, &all),
        );
    });
    Ok(())
}

fn shapes(a: &Attention) -> Vec<Shape> {
    let (mut all, run) = (Vec::new(), a.run());
    let [last_keys, last_outputs] = last_columns(a);
    for start in (0..a.channels).step_by(a.depth()) {
        for columns in [a.panel_columns[0], last_keys] {
            let segments = vec![Segment { offset: start, length: a.depth().min(a.channels - start) }];
            let accumulate = start > 0;
            all.push(Shape { a_stride: a.query_pitch(), c_stride: run, columns, accumulate, segments });
        }
    }
    for length in [run.min(a.keys), last_run(a)] {
        for accumulate in [false, true] {
            for columns in [a.panel_columns[1], last_outputs] {
                let segments = vec![Segment { offset: 0, length }];
                all.push(Shape { a_stride: run, c_stride: a.sums_pitch(), columns, accumulate, segments });
            }
        }
    }
    all
}

/// Columns of the last panel over keys and over values.
fn last_columns(a: &Attention) -> [usize; 2] {
    let [keys, outputs] = a.panels();
    [a.keys - (keys - 1) * a.panel_columns[0], a.outputs - (outputs - 1) * a.panel_columns[1]]
}

/// Keys of the last run.
fn last_run(a: &Attention) -> usize {
    a.keys - (a.keys.div_ceil(a.run()) - 1) * a.run()
}

impl Code {
    /// The packed keys and values of a head.
    fn packed(&self, e: &mut Emitter<'_, impl Module>, matrix: Value) -> [Value; 2] {
        let a = &self.a;
        let [keys, values] = [2, 3].map(|i| e.argument(i));
        if !a.packs() {
            let at = a.packed().map(|words| e.scale(matrix, words));
            return [e.element(keys, at[0]), e.element(values, at[1])];
        }
        let scratch = a.scratch();
        let before = scratch.states + scratch.queries + scratch.scores + scratch.sums;
        let packed = [before, before + scratch.packed_keys].map(|words| e.offset(e.scratch, 4 * words as i64));
        let keys = head(e, keys, matrix, a, [a.keys, a.channels]);
        let values = head(e, values, matrix, a, [a.keys, a.outputs]);
        let (zero, panels, all) = (e.int(0), e.int(a.panels()[0]), e.int(a.keys));
        e.for_each(zero, panels, 1, |e, panel| pack_keys(e, a, keys, packed[0], panel));
        pack_values(e, a, values, packed[1], [zero, all]);
        packed
    }

    /// Queries, scores and sums in the scratch.
    fn parts(&self, e: &mut Emitter<'_, impl Module>) -> [Value; 3] {
        let scratch = self.a.scratch();
        let queries = e.offset(e.scratch, 4 * scratch.states as i64);
        let scores = e.offset(queries, 4 * scratch.queries as i64);
        [queries, scores, e.offset(scores, 4 * scratch.scores as i64)]
    }

    /// The shape at this place of the table.
    fn shape(&self, e: &mut Emitter<'_, impl Module>, at: Value) -> Value {
        e.address(self.shapes, at, size_of::<PanelShape>())
    }

    /// The block's `rows` queries, over packed keys and values of their head; `chunks` are those of
    /// the panels over each.
    fn attend<M: Module>(
        &self,
        e: &mut Emitter<'_, M>,
        matrix: Value,
        part: Value,
        packed: [Value; 2],
        rows: usize,
        chunks: &[Chunks; 2],
    ) {
        let a = &self.a;
        let first = e.scale(part, a.rows());
        self.load_queries(e, matrix, first, rows);
        // Keys that the last query sees.
        let last = e.offset(first, rows as i64 - 1);
        let end = self.seen(e, last);
        let zero = e.int(0);
        e.for_each(zero, end, a.run(), |e, start| {
            let last_start = e.int(a.keys - last_run(a));
            let is_last = e.builder.ins().icmp(IntCC::Equal, start, last_start);
            self.scores(e, start, is_last, packed[0], &chunks[0]);
            self.softmax(e, start, is_last, first, rows);
            self.sums(e, start, is_last, packed[1], &chunks[1]);
        });
        self.store(e, matrix, first, rows);
    }

    /// How many keys this query sees.
    fn seen(&self, e: &mut Emitter<'_, impl Module>, query: Value) -> Value {
        let a = &self.a;
        match a.mask {
            AttentionMask::None => e.int(a.keys),
            AttentionMask::Causal(tokens) => {
                let place = e.offset(query, (a.keys - a.queries) as i64);
                let (frame, _) = e.divide(place, tokens);
                let behind = e.offset(frame, 1);
                e.scale(behind, tokens)
            }
        }
    }

    /// Copies the queries, times the factor, and lets their states be those before the first score.
    fn load_queries(&self, e: &mut Emitter<'_, impl Module>, matrix: Value, first: Value, rows: usize) {
        let a = &self.a;
        let [queries, ..] = self.parts(e);
        let from = e.argument(1);
        let from = head(e, from, matrix, a, [a.queries, a.channels]);
        let from = e.address(from, first, a.element.bytes() * a.token_channels());
        let (zero, rows) = (e.int(0), e.int(rows));
        e.for_each(zero, rows, 1, |e, row| {
            let state = e.address(e.scratch, row, size_of::<State>());
            let (largest, nothing) = (e.float(types::F32, f32::NEG_INFINITY), e.builder.ins().f64const(0.0));
            e.store(largest, state, std::mem::offset_of!(State, largest));
            e.store(nothing, state, std::mem::offset_of!(State, weights));
            let from = e.address(from, row, a.element.bytes() * a.token_channels());
            let to = e.address(queries, row, 4 * a.query_pitch());
            e.strip(a.channels, |e, ty, channel| {
                let address = e.address(from, channel, a.element.bytes());
                let numbers = e.load_element(a.element, ty, address, 0);
                let factor = e.float(ty, f32::from_bits(a.factor));
                let scaled = e.builder.ins().fmul(numbers, factor);
                let address = e.element(to, channel);
                e.store(scaled, address, 0);
            });
        });
    }

    /// Scores of the queries with the keys of a run.
    fn scores<M: Module>(&self, e: &mut Emitter<'_, M>, start: Value, is_last: Value, keys: Value, chunks: &Chunks) {
        let a = &self.a;
        let [queries, scores, _] = self.parts(e);
        let columns = self.columns[0];
        let (whole, rest) = (e.int(a.run() / columns), e.int(last_run(a).div_ceil(columns)));
        let panels = e.builder.ins().select(is_last, rest, whole);
        let (first_panel, _) = e.divide(start, columns);
        let (zero, slices) = (e.int(0), e.int(a.channels.div_ceil(a.depth())));
        e.for_each(zero, slices, 1, |e, slice| {
            e.for_each(zero, panels, 1, |e, of_run| {
                let panel = e.add(first_panel, of_run);
                let last = e.int(a.panels()[0] - 1);
                let narrow = e.builder.ins().icmp(IntCC::Equal, panel, last);
                let narrow = e.builder.ins().uextend(types::I64, narrow);
                let pair = e.scale(slice, 2);
                let entry = e.add(pair, narrow);
                let shape = self.shape(e, entry);
                let before = e.scale(panel, a.channels);
                let within = e.scale(slice, a.depth());
                let step = e.add(before, within);
                let b = e.address(keys, step, 4 * columns);
                let to = e.address(scores, of_run, 4 * columns);
                let null = e.int(0);
                for_chunks(e, chunks, |e, row, panel| {
                    let q = e.address(queries, row, 4 * a.query_pitch());
                    let to = e.address(to, row, 4 * a.run());
                    e.builder.ins().call(panel, &[shape, q, b, b, to, null, null]);
                });
            });
        });
    }

    /// Weights of the scores, and sums scaled to them.
    fn softmax(&self, e: &mut Emitter<'_, impl Module>, start: Value, is_last: Value, first: Value, rows: usize) {
        let a = &self.a;
        let [_, scores, sums] = self.parts(e);
        let (whole, rest) = (e.int(a.run().min(a.keys)), e.int(last_run(a)));
        let keys = e.builder.ins().select(is_last, rest, whole);
        let (zero, rows, outputs) = (e.int(0), e.int(rows), e.int(a.outputs));
        e.for_each(zero, rows, 1, |e, row| {
            let query = e.add(first, row);
            let seen = self.seen(e, query);
            let seen = e.sub(seen, start);
            let seen = e.max(seen, zero);
            let seen = e.min(seen, keys);
            let scores = e.address(scores, row, 4 * a.run());
            let state = e.address(e.scratch, row, size_of::<State>());
            let sums = e.address(sums, row, 4 * a.sums_pitch());
            e.builder.ins().call(self.softmax, &[scores, seen, keys, state, sums, outputs]);
        });
    }

    /// Adds the weighted values of a run to the sums; those of the first run are the first.
    fn sums<M: Module>(&self, e: &mut Emitter<'_, M>, start: Value, is_last: Value, values: Value, chunks: &Chunks) {
        let a = &self.a;
        let [_, weights, sums] = self.parts(e);
        let columns = self.columns[1];
        let zero = e.int(0);
        let is_first = e.builder.ins().icmp(IntCC::Equal, start, zero);
        let of_scores = 2 * a.channels.div_ceil(a.depth());
        let [ends, begins] = [(is_last, 4), (is_first, -2)].map(|(holds, by)| {
            let holds = e.builder.ins().uextend(types::I64, holds);
            let by = e.builder.ins().iconst(types::I64, by);
            e.builder.ins().imul(holds, by)
        });
        let entries = e.add(ends, begins);
        // Others than the first stand behind it.
        let entries = e.offset(entries, of_scores as i64 + 2);
        let panels = e.int(a.panels()[1]);
        e.for_each(zero, panels, 1, |e, panel| {
            let last = e.int(a.panels()[1] - 1);
            let narrow = e.builder.ins().icmp(IntCC::Equal, panel, last);
            let narrow = e.builder.ins().uextend(types::I64, narrow);
            let entry = e.add(entries, narrow);
            let shape = self.shape(e, entry);
            let before = e.scale(panel, a.keys);
            let step = e.add(before, start);
            let b = e.address(values, step, 4 * columns);
            let to = e.address(sums, panel, 4 * columns);
            let null = e.int(0);
            for_chunks(e, chunks, |e, row, panel| {
                let weights = e.address(weights, row, 4 * a.run());
                let to = e.address(to, row, 4 * a.sums_pitch());
                e.builder.ins().call(panel, &[shape, weights, b, b, to, null, null]);
            });
        });
    }

    /// Sums over the sum of weights, as the result's elements.
    fn store(&self, e: &mut Emitter<'_, impl Module>, matrix: Value, first: Value, rows: usize) {
        let a = &self.a;
        let [_, _, sums] = self.parts(e);
        let to = e.argument(0);
        let to = head(e, to, matrix, a, [a.queries, a.outputs]);
        let to = e.address(to, first, a.element.bytes() * a.token_outputs());
        let (zero, rows) = (e.int(0), e.int(rows));
        e.for_each(zero, rows, 1, |e, row| {
            let state = e.address(e.scratch, row, size_of::<State>());
            let weights = e.load(types::F64, state, std::mem::offset_of!(State, weights));
            let weights = e.builder.ins().fdemote(types::F32, weights);
            let from = e.address(sums, row, 4 * a.sums_pitch());
            let to = e.address(to, row, a.element.bytes() * a.token_outputs());
            e.strip(a.outputs, |e, ty, channel| {
                let address = e.element(from, channel);
                let sum = e.load(ty, address, 0);
                let weights = e.widen(ty, weights);
                let mean = e.builder.ins().fdiv(sum, weights);
                let address = e.address(to, channel, a.element.bytes());
                e.store_element(a.element, mean, address);
            });
        });
    }
}
