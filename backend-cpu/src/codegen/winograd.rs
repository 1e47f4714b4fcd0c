//! Code for the transformed part of a convolution: inputs forward, panels over each plane, products
//! back.
//!
//! In the scratch, behind the part of the input, stand the transformed inputs,
//! `[plane][frame][square][channel]`, and the products, `[plane][frame][square][output channel of
//! the block]`. Rows of a plane are squares of all frames one behind the other, so a tap over time
//! is a fixed distance, and one contraction serves all frames. Where time is transformed too,
//! that is done plane by plane, in scratch that stays in cache.
//!
//! The loops are here; the transforms of one square, in the instruction set's own vectors, are in
//! `panel::transform`.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{FuncRef, InstBuilder, Value};
use cranelift_module::Module;

use super::Result;
use super::convolution::{Block, segments};
use super::emitter::Emitter;
use super::panels::{Chunks, Shape, define_shapes, import_chunks};
use crate::blocking::{Scratch, TIME_PLANES};
use crate::element::Element;
use crate::kernel::Convolution;
use crate::panel::micro_tile::CACHE_LINE;
use crate::panel::transform::{Direction, square_symbol, time_symbol};
use crate::panel::{PanelFamily, PanelShape};

/// Results of this many bytes do not stay in cache until they are read: they are stored past it.
const STREAMED_BYTES: usize = 8 << 20;

/// The sizes that the three parts share.
struct Layout {
    /// Frames of the input, with those in front.
    input_frames: usize,
    /// Squares down and across.
    squares: [usize; 2],
    /// Lines and pixels of the part of the input.
    lines: usize,
    columns: usize,
    /// Output channels of a block, padding included.
    outputs: usize,
    scratch: Scratch,
}

pub(super) fn emit<M: Module>(
    e: &mut Emitter<'_, M>,
    family: &PanelFamily,
    name: &str,
    c: &Convolution,
    block: &Block,
) -> Result<()> {
    let [input_frames, lines, columns] = c.blocking.scratch_space(&c.problem);
    let side = c.algorithm.outputs();
    let layout = Layout {
        input_frames,
        squares: [c.blocking.space[1] / side, c.blocking.space[2] / side],
        lines,
        columns,
        outputs: c.blocking.panels * family.nr,
        scratch: c.scratch(),
    };
    transform_inputs(e, family, c, &layout)?;
    contract(e, family, name, c, block, &layout)?;
    transform_products(e, family, c, block, &layout)
}

/// Where the transformed inputs start, the products, and what is transformed over time.
fn parts(e: &mut Emitter<'_, impl Module>, layout: &Layout) -> [Value; 3] {
    let transformed = e.offset(e.scratch, 4 * layout.scratch.input as i64);
    let products = e.offset(transformed, 4 * layout.scratch.transformed as i64);
    let time = e.offset(products, 4 * layout.scratch.products as i64);
    [transformed, products, time]
}

/// `Bᵀ d B` of every square of every frame.
fn transform_inputs<M: Module>(
    e: &mut Emitter<'_, M>,
    family: &PanelFamily,
    c: &Convolution,
    layout: &Layout,
) -> Result<()> {
    let [transformed, ..] = parts(e, layout);
    let side = c.algorithm.outputs();
    let function = e.import(&square_symbol(family.isa, side, Direction::Forward, Element::F32), 5)?;
    let channels = e.int(c.problem.inputs);
    let line = e.int(layout.columns * c.problem.inputs);
    let plane = e.int(layout.scratch.transformed_plane);
    let zero = e.int(0);
    let (frames, down, across) = (e.int(layout.input_frames), e.int(layout.squares[0]), e.int(layout.squares[1]));
    e.for_each(zero, frames, 1, |e, frame| {
        e.for_each(zero, down, 1, |e, ty| {
            e.for_each(zero, across, 1, |e, tx| {
                let rows = e.scale(frame, layout.lines);
                let row = e.scale(ty, side);
                let row = e.add(rows, row);
                let pixels = e.scale(row, layout.columns);
                let pixel = e.scale(tx, side);
                let pixel = e.add(pixels, pixel);
                let at = e.scale(pixel, c.problem.inputs);
                let from = e.element(e.scratch, at);
                let to = square_address(e, layout, transformed, [frame, ty, tx], c.problem.inputs);
                e.builder.ins().call(function, &[from, to, channels, line, plane]);
            });
        });
    });
    Ok(())
}

/// The address of a square in plane 0.
fn square_address(
    e: &mut Emitter<'_, impl Module>,
    layout: &Layout,
    base: Value,
    [frame, ty, tx]: [Value; 3],
    channels: usize,
) -> Value {
    let before = e.scale(frame, layout.squares[0]);
    let row = e.add(before, ty);
    let before = e.scale(row, layout.squares[1]);
    let square = e.add(before, tx);
    let at = e.scale(square, channels);
    e.element(base, at)
}

/// The panels over each plane.
fn contract<M: Module>(
    e: &mut Emitter<'_, M>,
    family: &PanelFamily,
    name: &str,
    c: &Convolution,
    block: &Block,
    layout: &Layout,
) -> Result<()> {
    let squares = layout.squares[0] * layout.squares[1];
    let over_time = c.algorithm.over_time();
    // What one contraction sums over.
    let depth = if over_time { c.problem.inputs } else { c.depth() };
    let slice_depth = c.blocking.depth;
    let shapes: Vec<Shape> = (0..depth)
        .step_by(slice_depth)
        .map(|start| Shape {
            a_stride: c.problem.inputs,
            c_stride: layout.outputs,
            columns: family.nr,
            accumulate: start > 0,
            segments: segments(start, (start + slice_depth).min(depth), c.problem.inputs, |tap| {
                tap * squares * c.problem.inputs
            }),
        })
        .collect();
    let slices = shapes.len();
    let shapes = define_shapes(e, name, &shapes)?;
    let pairs = c.blocking.space[0] / 2;
    let rows = import_chunks(e, family, if over_time { pairs } else { c.blocking.space[0] } * squares)?;
    let pitch = if over_time { depth } else { c.weights.of_plane };
    let contraction = Contraction { depth, pitch, slices, shapes, rows };
    let time = over_time.then(|| Time::import(e, family)).transpose()?;
    let [transformed, products, time_inputs] = parts(e, layout);
    let time_products = e.offset(time_inputs, 4 * (TIME_PLANES * layout.scratch.time_inputs_plane) as i64);
    let (zero, planes) = (e.int(0), e.int(c.algorithm.planes()));
    e.for_each(zero, planes, 1, |e, plane| {
        let at = e.scale(plane, layout.scratch.transformed_plane);
        let a = e.element(transformed, at);
        let at = e.scale(plane, layout.scratch.products_plane);
        let to = e.element(products, at);
        let Some(time) = time else {
            let row = e.scale(plane, c.weights.of_plane);
            let row = e.offset(row, c.weights.first as i64);
            contraction.emit(e, family, c, block, layout, [a, to, row]);
            return;
        };
        let (frame, frame_products) = (squares * c.problem.inputs, squares * layout.outputs);
        let plane_pitch = layout.scratch.time_inputs_plane;
        for_each_pair(e, time.forward, pairs, [(a, 2 * frame), (time_inputs, frame)], frame, plane_pitch);
        let time_planes = e.int(TIME_PLANES);
        e.for_each(zero, time_planes, 1, |e, time_plane| {
            let at = e.scale(time_plane, layout.scratch.time_inputs_plane);
            let a = e.element(time_inputs, at);
            let at = e.scale(time_plane, layout.scratch.time_products_plane);
            let to = e.element(time_products, at);
            let before = e.scale(plane, TIME_PLANES);
            let matrix = e.add(before, time_plane);
            let row = e.scale(matrix, depth);
            contraction.emit(e, family, c, block, layout, [a, to, row]);
        });
        let plane_pitch = layout.scratch.time_products_plane;
        let places = [(time_products, frame_products), (to, 2 * frame_products)];
        for_each_pair(e, time.back, pairs, places, frame_products, plane_pitch);
    });
    Ok(())
}

/// The transforms over time.
#[derive(Clone, Copy)]
struct Time {
    forward: FuncRef,
    back: FuncRef,
}

impl Time {
    fn import<M: Module>(e: &mut Emitter<'_, M>, family: &PanelFamily) -> Result<Self> {
        let [forward, back] = [Direction::Forward, Direction::Back].map(|way| time_symbol(family.isa, way));
        Ok(Self { forward: e.import(&forward, 4)?, back: e.import(&back, 4)? })
    }
}

/// One transform over time for every pair of frames: from the first place to the second, each with
/// what leads from pair to pair. A frame has `count` elements, and `plane_pitch` lead from plane to
/// plane.
fn for_each_pair(
    e: &mut Emitter<'_, impl Module>,
    function: FuncRef,
    pairs: usize,
    places: [(Value, usize); 2],
    count: usize,
    plane_pitch: usize,
) {
    let (zero, pairs, count, plane_pitch) = (e.int(0), e.int(pairs), e.int(count), e.int(plane_pitch));
    e.for_each(zero, pairs, 1, |e, pair| {
        let [from, to] = places.map(|(base, stride)| {
            let at = e.scale(pair, stride);
            e.element(base, at)
        });
        e.builder.ins().call(function, &[from, to, count, plane_pitch]);
    });
}

/// The product of the rows of one plane with one of the matrices that the weights of an output
/// panel consist of.
struct Contraction {
    depth: usize,
    /// Rows of weights from one matrix to the next.
    pitch: usize,
    /// Slices of the depth, each with its entry in the table of shapes.
    slices: usize,
    shapes: Value,
    rows: Chunks,
}

impl Contraction {
    /// For every panel of the block: `from` times the matrix that begins at a row of its weights, to
    /// `to`.
    fn emit(
        &self,
        e: &mut Emitter<'_, impl Module>,
        family: &PanelFamily,
        c: &Convolution,
        block: &Block,
        layout: &Layout,
        [from, to, first_row]: [Value; 3],
    ) {
        let weights = e.argument(2);
        let (zero, slice_count, depth) = (e.int(0), e.int(self.slices), e.int(self.depth));
        let next_matrix = e.int(self.pitch);
        e.for_each(block.panels.0, block.panels.1, 1, |e, panel| {
            e.for_each(zero, slice_count, 1, |e, slice| {
                let at = e.scale(slice, size_of::<PanelShape>());
                let shape = e.add(self.shapes, at);
                // Behind this slice comes the next one, or the first of the next panel, or the next
                // matrix of the first panel.
                let start = e.scale(slice, c.blocking.depth);
                let end = e.offset(start, c.blocking.depth as i64);
                let following = e.offset(panel, 1);
                let is_last_panel = e.builder.ins().icmp(IntCC::Equal, following, block.panels.1);
                let next_panel = e.builder.ins().select(is_last_panel, block.panels.0, following);
                let next_start = e.builder.ins().select(is_last_panel, next_matrix, zero);
                let is_last = e.builder.ins().icmp(IntCC::SignedGreaterThanOrEqual, end, depth);
                let next_panel = e.builder.ins().select(is_last, next_panel, panel);
                let next_start = e.builder.ins().select(is_last, next_start, end);
                let [b, next] = [(panel, start), (next_panel, next_start)].map(|(panel, start)| {
                    let before = e.scale(panel, c.algorithm.planes() * c.weights.of_plane);
                    let before = e.add(before, first_row);
                    let k = e.add(before, start);
                    let at = e.scale(k, family.nr);
                    e.element(weights, at)
                });
                let column = e.sub(panel, block.panels.0);
                let column = e.scale(column, family.nr);
                let to = e.element(to, column);
                // A call asks for a cache line for each k, so as many calls as a row of weights has
                // lines ask for them all.
                let asked = family.nr.div_ceil(CACHE_LINE) * self.rows.first().map_or(0, |chunk| chunk.0);
                let asked = e.int(asked);
                let mut done = 0;
                for &(count, times, function) in &self.rows {
                    let (start, end) = (e.int(done), e.int(done + count * times));
                    e.for_each(start, end, count, |e, row| {
                        let at = e.scale(row, c.problem.inputs);
                        let a = e.element(from, at);
                        let at = e.scale(row, layout.outputs);
                        let to = e.element(to, at);
                        let (call, _) = e.divide(row, count);
                        let at = e.scale(call, c.blocking.depth * CACHE_LINE);
                        let next = e.element(next, at);
                        let asks = e.builder.ins().icmp(IntCC::UnsignedLessThan, row, asked);
                        let next = e.builder.ins().select(asks, next, b);
                        e.builder.ins().call(function, &[shape, a, b, next, to, zero, zero]);
                    });
                    done += count * times;
                }
            });
        });
    }
}

/// `Aᵀ m A` of every square, with bias and residual, to the result: squares at the border give what
/// is inside.
fn transform_products<M: Module>(
    e: &mut Emitter<'_, M>,
    family: &PanelFamily,
    c: &Convolution,
    block: &Block,
    layout: &Layout,
) -> Result<()> {
    let [_, products, _] = parts(e, layout);
    let side = c.algorithm.outputs();
    let outputs = c.problem.outputs;
    let elements = c.problem.batch * c.problem.result.iter().product::<usize>() * outputs;
    // Only whole vectors are streamed, and only if all of them are aligned.
    let element = c.problem.element;
    let streamed = element.bytes() * elements >= STREAMED_BYTES && outputs.is_multiple_of(family.lanes);
    let direction = if streamed { Direction::BackStreaming } else { Direction::Back };
    let function = e.import(&square_symbol(family.isa, side, direction, element), 12)?;
    let result = e.argument(0);
    let null = e.int(0);
    let bias = if c.bias { e.argument(c.bias_argument()) } else { null };
    let residual = c.residual.then(|| e.argument(c.residual_argument()));
    // Output channels of this block that are there.
    let first = e.scale(block.panels.0, family.nr);
    let behind = e.scale(block.panels.1, family.nr);
    let all = e.int(outputs);
    let behind = e.min(behind, all);
    let channels = e.sub(behind, first);
    let bias = if c.bias { e.element(bias, first) } else { null };
    let sums = if c.summed { zeroed_sums(e, c, block, first, channels) } else { null };
    let pitch = e.int(c.sums().pitch());
    let (plane, line, pixel) =
        (e.int(layout.scratch.products_plane), e.int(c.problem.result[2] * outputs), e.int(outputs));
    let zero = e.int(0);
    let (down, across) = (e.int(layout.squares[0]), e.int(layout.squares[1]));
    e.for_each(zero, block.count[0], 1, |e, frame| {
        e.for_each(zero, down, 1, |e, ty| {
            e.for_each(zero, across, 1, |e, tx| {
                let from = square_address(e, layout, products, [frame, ty, tx], layout.outputs);
                let [y, x] = [(ty, 1), (tx, 2)].map(|(square, axis)| {
                    let within = e.scale(square, side);
                    e.add(block.start[axis], within)
                });
                let before = e.scale(block.n, c.problem.result[0]);
                let t = e.add(before, block.start[0]);
                let t = e.add(t, frame);
                let before = e.scale(t, c.problem.result[1]);
                let above = e.add(before, y);
                let before = e.scale(above, c.problem.result[2]);
                let at = e.add(before, x);
                let at = e.scale(at, outputs);
                let at = e.add(at, first);
                let to = e.address(result, at, element.bytes());
                let residual = residual.map_or(null, |residual| e.address(residual, at, element.bytes()));
                // How many lines and pixels are inside the result from here on: none or less where
                // the square is outside.
                let [lines, pixels] = [(y, 1), (x, 2)].map(|(start, axis)| {
                    let size = e.int(c.problem.result[axis]);
                    let left = e.sub(size, start);
                    e.max(left, zero)
                });
                let arguments = [from, to, bias, residual, channels, plane, line, pixel, lines, pixels, sums, pitch];
                e.builder.ins().call(function, &arguments);
            });
        });
    });
    if streamed {
        e.builder.ins().fence();
    }
    Ok(())
}

/// The sums of this block's box, from channel `first` on: `channels` of them are made zero, and as
/// many sums of squares.
fn zeroed_sums(
    e: &mut Emitter<'_, impl Module>,
    c: &Convolution,
    block: &Block,
    first: Value,
    channels: Value,
) -> Value {
    let sums = e.argument(c.sums_argument());
    let at = e.scale(block.part, c.sums().part_bytes());
    let part = e.add(sums, at);
    let part = e.address(part, first, size_of::<f64>());
    let squares = e.offset(part, (c.sums().pitch() * size_of::<f64>()) as i64);
    let bytes = e.scale(channels, size_of::<f64>());
    e.zero_bytes(part, bytes);
    e.zero_bytes(squares, bytes);
    part
}
