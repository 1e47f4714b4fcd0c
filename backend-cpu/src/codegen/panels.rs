//! Calling panels from emitted code: their symbols, tables of their shapes, and the chunks into
//! which rows are cut.

use cranelift_codegen::ir::{FuncRef, GlobalValueData, InstBuilder, Value, types};
use cranelift_module::{DataDescription, Linkage, Module};

use super::Result;
use super::emitter::Emitter;
use crate::blocking::chunks;
use crate::panel::{PanelFamily, PanelShape, Segment};

/// The symbol under which emitted code calls a panel.
pub(crate) fn panel_symbol(family: &PanelFamily, rows: usize) -> String {
    format!("{}_rows{rows}", family.name)
}

/// Chunks of rows that panels take: rows of one, how many, and the panel.
pub(super) type Chunks = Vec<(usize, usize, FuncRef)>;

/// The panels for `rows` rows.
pub(super) fn import_chunks<M: Module>(e: &mut Emitter<'_, M>, family: &PanelFamily, rows: usize) -> Result<Chunks> {
    let mut all = Chunks::new();
    for rows in chunks(rows, family.max_rows()) {
        match all.last_mut() {
            Some((last, count, _)) if *last == rows => *count += 1,
            _ => all.push((rows, 1, e.import(&panel_symbol(family, rows), 7)?)),
        }
    }
    Ok(all)
}

/// Runs `body` for each chunk, with its first row and its panel.
pub(super) fn for_chunks<M: Module>(
    e: &mut Emitter<'_, M>,
    all: &Chunks,
    mut body: impl FnMut(&mut Emitter<'_, M>, Value, FuncRef),
) {
    let mut done = 0;
    for &(rows, count, panel) in all {
        let (start, end) = (e.int(done), e.int(done + rows * count));
        e.for_each(start, end, rows, |e, row| body(e, row, panel));
        done += rows * count;
    }
}

/// A [`PanelShape`] whose segments are still to be placed.
pub(super) struct Shape {
    pub a_stride: usize,
    pub c_stride: usize,
    pub columns: usize,
    pub accumulate: bool,
    pub segments: Vec<Segment>,
}

/// Puts `shapes` into a read-only table of [`PanelShape`]; returns its address.
pub(super) fn define_shapes<M: Module>(e: &mut Emitter<'_, M>, name: &str, shapes: &[Shape]) -> Result<Value> {
    let words = |values: &[usize]| values.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<u8>>();
    let (mut table, mut list, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for shape in shapes {
        places.push((table.len() + std::mem::offset_of!(PanelShape, segments), list.len()));
        let accumulate = usize::from(shape.accumulate);
        table.extend(words(&[shape.a_stride, shape.c_stride, 0, shape.segments.len(), shape.columns, accumulate]));
        list.extend(shape.segments.iter().flat_map(|s| words(&[s.offset, s.length])));
    }
    debug_assert_eq!(table.len(), size_of::<PanelShape>() * shapes.len());

    let segments = e.module.declare_data(&format!("{name}.segments"), Linkage::Local, false, false)?;
    let mut description = DataDescription::new();
    description.define(list.into_boxed_slice());
    description.set_align(8);
    e.module.define_data(segments, &description)?;

    let id = e.module.declare_data(&format!("{name}.shapes"), Linkage::Local, false, false)?;
    let mut description = DataDescription::new();
    description.define(table.into_boxed_slice());
    description.set_align(8);
    let segments = e.module.declare_data_in_data(segments, &mut description);
    for (at, first) in places {
        description.write_data_addr(at as u32, segments, first as i64);
    }
    e.module.define_data(id, &description)?;
    let data = e.module.declare_data_in_func(id, e.builder.func);
    // Code and tables are in mappings of their own, which may be farther apart than a 32-bit
    // distance reaches.
    if let GlobalValueData::Symbol { colocated, .. } = &mut e.builder.func.global_values[data] {
        *colocated = false;
    }
    Ok(e.builder.ins().symbol_value(types::I64, data))
}
