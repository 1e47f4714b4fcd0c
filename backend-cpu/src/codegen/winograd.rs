//! Code for the transformed part of a convolution: inputs forward, panels over each plane, products back.
//!
//! In the scratch, behind the part of the input, stand the transformed inputs, `[plane][frame][square][channel]`, and the
//! products, `[plane][frame][square][output channel of the block]`. Rows of a plane are squares of all frames one behind
//! the other, so a tap over time is a fixed distance, and one contraction serves all frames.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Type, Value};
use cranelift_module::Module;

use super::Result;
use super::convolution::{Block, Chunks, Shape, define_shapes, import_chunks, segments};
use super::emitter::Emitter;
use crate::kernel::Convolution;
use crate::panel::{PanelFamily, PanelShape};
use crate::tile::{Algorithm, Scratch};
use crate::winograd::{POINT_A, POINT_B};

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
    let [input_frames, lines, columns] = c.tile.scratch_space(&c.problem);
    let side = c.algorithm.outputs();
    let layout = Layout {
        input_frames,
        squares: [c.tile.space[1] / side, c.tile.space[2] / side],
        lines,
        columns,
        outputs: c.tile.panels * family.nr,
        scratch: c.scratch(),
    };
    transform_inputs(e, c, &layout);
    contract(e, family, name, c, block, &layout)?;
    transform_products(e, family, c, block, &layout);
    Ok(())
}

/// The address of an element of the transformed inputs and of the products.
fn planes(e: &mut Emitter<'_, impl Module>, layout: &Layout) -> [Value; 2] {
    let transformed = e.offset(e.scratch, 4 * layout.scratch.input as i64);
    let products = e.offset(transformed, 4 * layout.scratch.transformed as i64);
    [transformed, products]
}

/// `Bᵀ d B` of every square of every frame.
fn transform_inputs(e: &mut Emitter<'_, impl Module>, c: &Convolution, layout: &Layout) {
    let [transformed, _] = planes(e, layout);
    let side = c.algorithm.outputs();
    let window = side + 2;
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
                e.strip(c.problem.inputs, |e, lanes, bytes| {
                    let (from, to) = (e.add(from, bytes), e.add(to, bytes));
                    let mut columns = Vec::with_capacity(window);
                    for x in 0..window {
                        let column: Vec<Value> = (0..window)
                            .map(|y| e.load(lanes, from, 4 * (y * layout.columns + x) * c.problem.inputs))
                            .collect();
                        columns.push(forward(e, lanes, c.algorithm, &column));
                    }
                    for y in 0..window {
                        let row: Vec<Value> = columns.iter().map(|column| column[y]).collect();
                        for (x, value) in forward(e, lanes, c.algorithm, &row).into_iter().enumerate() {
                            e.store(value, to, 4 * (y * window + x) * layout.scratch.transformed_plane);
                        }
                    }
                });
            });
        });
    });
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
fn contract(
    e: &mut Emitter<'_, impl Module>,
    family: &PanelFamily,
    name: &str,
    c: &Convolution,
    block: &Block,
    layout: &Layout,
) -> Result<()> {
    let squares = layout.squares[0] * layout.squares[1];
    let (depth, slice_depth) = (c.depth(), c.tile.depth);
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
    let rows: Chunks = import_chunks(e, family, c.tile.space[0] * squares)?;
    let [transformed, products] = planes(e, layout);
    let weights = e.argument(2);
    let (zero, planes, slice_count) = (e.int(0), e.int(c.algorithm.planes()), e.int(slices));
    e.for_each(zero, planes, 1, |e, plane| {
        let at = e.scale(plane, layout.scratch.transformed_plane);
        let a = e.element(transformed, at);
        let at = e.scale(plane, layout.scratch.products_plane);
        let to = e.element(products, at);
        e.for_each(zero, slice_count, 1, |e, slice| {
            let at = e.scale(slice, size_of::<PanelShape>());
            let shape = e.add(shapes, at);
            e.for_each(block.panels.0, block.panels.1, 1, |e, panel| {
                let before = e.scale(panel, c.algorithm.planes());
                let of_plane = e.add(before, plane);
                let before = e.scale(of_plane, depth);
                let start = e.scale(slice, slice_depth);
                let k = e.add(before, start);
                let at = e.scale(k, family.nr);
                let b = e.element(weights, at);
                let column = e.sub(panel, block.panels.0);
                let column = e.scale(column, family.nr);
                let to = e.element(to, column);
                let mut done = 0;
                for &(count, times, function) in &rows {
                    let (start, end) = (e.int(done), e.int(done + count * times));
                    e.for_each(start, end, count, |e, row| {
                        let at = e.scale(row, c.problem.inputs);
                        let a = e.element(a, at);
                        let at = e.scale(row, layout.outputs);
                        let to = e.element(to, at);
                        e.builder.ins().call(function, &[shape, a, b, to, zero, zero]);
                    });
                    done += count * times;
                }
            });
        });
    });
    Ok(())
}

/// `Aᵀ m A` of every square, with bias and residual, to the result: squares at the border give what is inside.
fn transform_products(
    e: &mut Emitter<'_, impl Module>,
    family: &PanelFamily,
    c: &Convolution,
    block: &Block,
    layout: &Layout,
) {
    let [_, products] = planes(e, layout);
    let side = c.algorithm.outputs();
    let result = e.argument(0);
    let bias = c.bias.then(|| e.argument(c.bias_argument()));
    let residual = c.residual.then(|| e.argument(c.residual_argument()));
    // Output channels of this block that are there.
    let first = e.scale(block.panels.0, family.nr);
    let behind = e.scale(block.panels.1, family.nr);
    let all = e.int(c.problem.outputs);
    let behind = e.min(behind, all);
    let channels = e.sub(behind, first);
    let bias = bias.map(|bias| e.element(bias, first));
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
                let line = e.add(before, y);
                let before = e.scale(line, c.problem.result[2]);
                let pixel = e.add(before, x);
                let at = e.scale(pixel, c.problem.outputs);
                let at = e.add(at, first);
                let to = e.element(result, at);
                let residual = residual.map(|residual| e.element(residual, at));
                // How many lines and pixels of the square are inside the result; none is negative.
                let [lines, pixels] = [(y, 1), (x, 2)].map(|(start, axis)| {
                    let size = e.int(c.problem.result[axis]);
                    e.sub(size, start)
                });
                let side_value = e.int(side);
                let whole_down = e.builder.ins().icmp(IntCC::SignedGreaterThanOrEqual, lines, side_value);
                let whole_across = e.builder.ins().icmp(IntCC::SignedGreaterThanOrEqual, pixels, side_value);
                let whole = e.builder.ins().band(whole_down, whole_across);
                let square = Square { from, to, bias, residual, channels };
                e.branch(
                    whole,
                    |e| transform_square(e, c, layout, &square, None),
                    |e| transform_square(e, c, layout, &square, Some([lines, pixels])),
                );
            });
        });
    });
}

/// The addresses of one square's products and results, at the block's first output channel.
struct Square {
    from: Value,
    to: Value,
    bias: Option<Value>,
    residual: Option<Value>,
    /// How many output channels.
    channels: Value,
}

/// One square; `inside` says how many lines and pixels of it exist, where not all do.
fn transform_square(
    e: &mut Emitter<'_, impl Module>,
    c: &Convolution,
    layout: &Layout,
    square: &Square,
    inside: Option<[Value; 2]>,
) {
    let side = c.algorithm.outputs();
    let window = side + 2;
    e.strip_of(square.channels, |e, lanes, bytes| {
        let from = e.add(square.from, bytes);
        let to = e.add(square.to, bytes);
        let residual = square.residual.map(|base| e.add(base, bytes));
        let bias = square.bias.map(|base| {
            let address = e.add(base, bytes);
            e.load(lanes, address, 0)
        });
        let mut columns = Vec::with_capacity(window);
        for x in 0..window {
            let column: Vec<Value> = (0..window)
                .map(|y| e.load(lanes, from, 4 * (y * window + x) * layout.scratch.products_plane))
                .collect();
            columns.push(back(e, lanes, c.algorithm, &column));
        }
        for y in 0..side {
            let row: Vec<Value> = columns.iter().map(|column| column[y]).collect();
            for (x, value) in back(e, lanes, c.algorithm, &row).into_iter().enumerate() {
                let offset = 4 * (y * c.problem.result[2] + x) * c.problem.outputs;
                let finish = |e: &mut Emitter<'_, _>| {
                    let mut value = value;
                    if let Some(bias) = bias {
                        value = e.builder.ins().fadd(value, bias);
                    }
                    if let Some(residual) = residual {
                        let residual = e.load(lanes, residual, offset);
                        value = e.builder.ins().fadd(value, residual);
                    }
                    e.store(value, to, offset);
                };
                match inside {
                    None => finish(e),
                    Some([lines, pixels]) => {
                        let (y, x) = (e.int(y), e.int(x));
                        let in_lines = e.builder.ins().icmp(IntCC::SignedLessThan, y, lines);
                        let in_pixels = e.builder.ins().icmp(IntCC::SignedLessThan, x, pixels);
                        let holds = e.builder.ins().band(in_lines, in_pixels);
                        e.branch(holds, finish, |_| {});
                    }
                }
            }
        }
    });
}

/// One row or column of `Bᵀ d`.
fn forward(e: &mut Emitter<'_, impl Module>, lanes: Type, algorithm: Algorithm, d: &[Value]) -> Vec<Value> {
    let mut c = Lanes { e, lanes };
    match algorithm {
        Algorithm::Direct => d.to_vec(),
        Algorithm::Winograd2 => vec![c.sub(d[0], d[2]), c.add(d[1], d[2]), c.sub(d[2], d[1]), c.sub(d[1], d[3])],
        Algorithm::Winograd4 => {
            let (a, b) = (POINT_A, POINT_B);
            let (even_a, odd_a) = (c.add_scaled(d[4], d[2], -b * b), c.add_scaled(d[3], d[1], -b * b));
            let (even_b, odd_b) = (c.add_scaled(d[4], d[2], -a * a), c.add_scaled(d[3], d[1], -a * a));
            let (sum, product) = (a * a + b * b, a * a * b * b);
            let (first, last) = (c.add_scaled(d[4], d[2], -sum), c.add_scaled(d[5], d[3], -sum));
            vec![
                c.add_scaled(first, d[0], product),
                c.add_scaled(even_a, odd_a, a),
                c.add_scaled(even_a, odd_a, -a),
                c.add_scaled(even_b, odd_b, b),
                c.add_scaled(even_b, odd_b, -b),
                c.add_scaled(last, d[1], product),
            ]
        }
    }
}

/// One row or column of `Aᵀ m`.
fn back(e: &mut Emitter<'_, impl Module>, lanes: Type, algorithm: Algorithm, m: &[Value]) -> Vec<Value> {
    let mut c = Lanes { e, lanes };
    match algorithm {
        Algorithm::Direct => m.to_vec(),
        Algorithm::Winograd2 => {
            let (sum, difference) = (c.add(m[1], m[2]), c.sub(m[1], m[2]));
            vec![c.add(m[0], sum), c.sub(difference, m[3])]
        }
        Algorithm::Winograd4 => {
            let (a, b) = (POINT_A, POINT_B);
            let (sum_a, difference_a) = (c.add(m[1], m[2]), c.sub(m[1], m[2]));
            let (sum_b, difference_b) = (c.add(m[3], m[4]), c.sub(m[3], m[4]));
            let sums = c.add(sum_a, sum_b);
            let last = c.add_scaled(m[5], difference_b, b * b * b);
            let (first, second) = (c.scaled(difference_a, a), c.scaled(sum_a, a * a));
            vec![
                c.add(m[0], sums),
                c.add_scaled(first, difference_b, b),
                c.add_scaled(second, sum_b, b * b),
                c.add_scaled(last, difference_a, a * a * a),
            ]
        }
    }
}

/// Arithmetic in lanes of one type.
struct Lanes<'e, 'a, M: Module> {
    e: &'e mut Emitter<'a, M>,
    lanes: Type,
}

impl<M: Module> Lanes<'_, '_, M> {
    fn add(&mut self, x: Value, y: Value) -> Value {
        self.e.builder.ins().fadd(x, y)
    }

    fn sub(&mut self, x: Value, y: Value) -> Value {
        self.e.builder.ins().fsub(x, y)
    }

    fn scaled(&mut self, x: Value, by: f64) -> Value {
        let by = self.e.float(self.lanes, by as f32);
        self.e.builder.ins().fmul(x, by)
    }

    /// `x + y * by`, without a multiplication where `by` is 1.
    fn add_scaled(&mut self, x: Value, y: Value, by: f64) -> Value {
        let scaled = if (by - 1.0).abs() < 1e-12 { y } else { self.scaled(y, by) };
        self.add(x, scaled)
    }
}
