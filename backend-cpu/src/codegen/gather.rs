//! Code for moving elements: slices, concatenations, pads, transposes and resizes are all gathers.
//!
//! Rows (all axes but the last) are shared out in blocks; within a row, contiguous runs are copied
//! as such.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_module::Module;

use super::emitter::{Emitter, word};
use crate::kernel::{AxisMap, Gather};

pub(super) fn emit(e: &mut Emitter<'_, impl Module>, gather: &Gather) {
    let [result, source] = [0, 1].map(|i| e.argument(i));
    let outer = gather.shape.len() - 1;
    let per_block = gather.rows_per_block();
    let start = e.scale(e.block, per_block);
    let behind = e.offset(start, per_block as i64);
    let total = e.int(gather.rows());
    let end = e.min(behind, total);
    let size = gather.element_bytes;
    let result = e.offset(result, (size * gather.result_offset) as i64);
    let source = e.offset(source, (size * gather.source_offset) as i64);
    e.for_each(start, end, 1, |e, row| {
        let indices = e.delinearize(row, &gather.shape[..outer]);
        let (mut to, mut from) = (e.int(0), e.int(0));
        let mut inside: Option<Value> = None;
        for (axis, index) in indices.into_iter().enumerate() {
            let step = e.scale(index, gather.result_strides[axis]);
            to = e.add(to, step);
            let (index, holds) = source_index(e, gather.maps[axis], index);
            let step = e.scale(index, gather.source_strides[axis]);
            from = e.add(from, step);
            inside = match (inside, holds) {
                (Some(a), Some(b)) => Some(e.builder.ins().band(a, b)),
                (a, b) => a.or(b),
            };
        }
        let (to, from) = (e.address(result, to, size), e.address(source, from, size));
        match inside {
            None => emit_row(e, gather, to, from),
            Some(inside) => e.branch(
                inside,
                |e| emit_row(e, gather, to, from),
                |e| {
                    let zero = e.builder.ins().iconst(word(size), 0);
                    let (first, length) = (e.int(0), e.int(gather.shape[outer]));
                    e.for_each(first, length, 1, |e, i| {
                        let at = e.scale(i, gather.result_strides[outer]);
                        let address = e.address(to, at, size);
                        e.store(zero, address, 0);
                    });
                },
            ),
        }
    });
}

/// The last axis.
fn emit_row(e: &mut Emitter<'_, impl Module>, gather: &Gather, to: Value, from: Value) {
    let last = gather.shape.len() - 1;
    let (map, length) = (gather.maps[last], gather.shape[last]);
    let (source_stride, result_stride) = (gather.source_strides[last], gather.result_strides[last]);
    let size = gather.element_bytes;
    if map == AxisMap::Same && source_stride == 1 && result_stride == 1 {
        e.copy(to, from, length, size);
        return;
    }
    let (first, end) = (e.int(0), e.int(length));
    e.for_each(first, end, 1, |e, i| {
        let (index, inside) = source_index(e, map, i);
        // An index outside may not be loaded from: element 0 is there in any case.
        let safe = inside.map_or(index, |holds| {
            let zero = e.int(0);
            e.builder.ins().select(holds, index, zero)
        });
        let at = e.scale(safe, source_stride);
        let address = e.address(from, at, size);
        let mut value = e.load(word(size), address, 0);
        if let Some(holds) = inside {
            let zero = e.builder.ins().iconst(word(size), 0);
            value = e.builder.ins().select(holds, value, zero);
        }
        let at = e.scale(i, result_stride);
        let address = e.address(to, at, size);
        e.store(value, address, 0);
    });
}

/// Where `index` is looked up, and whether it is inside the source if it may not be.
fn source_index(e: &mut Emitter<'_, impl Module>, map: AxisMap, index: Value) -> (Value, Option<Value>) {
    match map {
        AxisMap::Same => (index, None),
        AxisMap::Nearest { from, to, apart } => (e.nearest(index, from, to, apart), None),
        AxisMap::Clamp { low, size } => {
            let moved = e.offset(index, -(low as i64));
            (e.nearest_inside(moved, size), None)
        }
        AxisMap::Reflect { low, size } => {
            let moved = e.offset(index, -(low as i64));
            (e.mirrored(moved, size), None)
        }
        AxisMap::Zero { low, size } => {
            let moved = e.offset(index, -(low as i64));
            let size = e.int(size);
            // Compared without sign, a negative index is larger than any size.
            let inside = e.builder.ins().icmp(IntCC::UnsignedLessThan, moved, size);
            (moved, Some(inside))
        }
    }
}
