//! Code for a convolution: a block copies what it sees of the input into the scratch, then runs
//! panels over it, directly here or by way of transforms in `winograd`.
//!
//! In the scratch, the border and the frames in front stand where the kernel expects them, so the
//! panels know no borders: a row of taps (kernel width times input channels) is one contiguous
//! segment, and neighbouring output pixels are a fixed distance apart. The contraction is cut into
//! slices, since short sums round less. The first slice adds bias and residual, so that the result
//! may overwrite the residual; later ones add to the result of those before. Where the result is
//! bf16, slices add up in the scratch, and bias and residual are added when the sum is rounded to
//! the result.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_module::Module;

use super::Result;
use super::channel_norm::Pixels;
use super::emitter::Emitter;
use super::norm::RowNormalization;
use super::panels::{Chunks, Shape, define_shapes, for_chunks, import_chunks};
use crate::element::Element;
use crate::isa::Isa;
use crate::kernel::{Convolution, LeadingFrames, Prologue};
use crate::panel::{PanelFamily, PanelShape, Segment};
use ir::PadMode;

/// Where a block stands, and how far it reaches.
pub(super) struct Block {
    pub n: Value,
    /// First frame, line and pixel of the result.
    pub start: [Value; 3],
    /// Frames and lines of the result.
    pub count: [Value; 2],
    /// Whether it is the last along the width, which may be narrower.
    last_column: Value,
    /// First panel, and the one behind the last.
    pub panels: (Value, Value),
    /// The box, counted over all videos.
    pub part: Value,
}

pub(super) fn emit<M: Module>(e: &mut Emitter<'_, M>, isa: Isa, name: &str, c: &Convolution) -> Result<()> {
    let family = PanelFamily::for_columns(isa, c.algorithm.factors(), c.problem.outputs);
    let block = locate(e, c);
    fill_scratch(e, isa, c, &block)?;
    if c.algorithm.transforms() {
        return super::winograd::emit(e, family, name, c, &block);
    }
    let shapes = define_shapes(e, name, &direct_shapes(c, family))?;
    let width = c.blocking.space[2];
    let last_width = c.problem.result[2] - (c.problem.result[2].div_ceil(width) - 1) * width;
    let columns = import_chunks(e, family, width)?;
    if width == last_width {
        contract(e, c, family, &block, shapes, &columns);
    } else {
        let last_columns = import_chunks(e, family, last_width)?;
        e.branch(
            block.last_column,
            |e| contract(e, c, family, &block, shapes, &last_columns),
            |e| contract(e, c, family, &block, shapes, &columns),
        );
    }
    Ok(())
}

/// Takes the block's number apart.
fn locate(e: &mut Emitter<'_, impl Module>, c: &Convolution) -> Block {
    let (boxes, groups) = (c.blocking.boxes(&c.problem), c.blocking.panel_groups());
    let (part, _) = e.divide(e.block, groups);
    let index = e.delinearize(e.block, &[c.problem.batch, boxes[0], boxes[1], boxes[2], groups]);
    let start: [Value; 3] = std::array::from_fn(|axis| e.scale(index[1 + axis], c.blocking.space[axis]));
    let count: [Value; 2] = std::array::from_fn(|axis| {
        let total = e.int(c.problem.result[axis]);
        let left = e.sub(total, start[axis]);
        let most = e.int(c.blocking.space[axis]);
        e.min(left, most)
    });
    let last = e.int(boxes[2] - 1);
    let last_column = e.builder.ins().icmp(IntCC::Equal, index[3], last);
    let first = e.scale(index[4], c.blocking.panels);
    let behind = e.offset(first, c.blocking.panels as i64);
    let all = e.int(c.blocking.panel_count);
    Block { n: index[0], start, count, last_column, panels: (first, e.min(behind, all)), part }
}

/// Copies the part of the input that the block sees, by way of the prologue.
fn fill_scratch<M: Module>(e: &mut Emitter<'_, M>, isa: Isa, c: &Convolution, block: &Block) -> Result<()> {
    let [frames, lines, columns] = c.blocking.scratch_space(&c.problem);
    let [input_frames, height, width] = c.input;
    let (before_input, channels) = (c.leading.frames(), c.problem.inputs);
    let cache = matches!(c.leading, LeadingFrames::Cache(_)).then(|| e.argument(Convolution::CACHE));
    let reader = Reader::new(e, isa, c, block)?;
    // The position in the input of the scratch's first element.
    let origin: [Value; 3] = std::array::from_fn(|axis| {
        let step = e.scale(block.start[axis], c.problem.strides[axis]);
        let before_input = if axis == 0 { before_input } else { 0 };
        e.offset(step, -((c.padding[axis][0] + before_input) as i64))
    });
    // Along the width: border, pixels of the input, border.
    let (zero, pitch) = (e.int(0), e.int(columns));
    let negative = e.sub(zero, origin[2]);
    let left = e.max(negative, zero);
    let left = e.min(left, pitch);
    let width_value = e.int(width);
    let end = e.sub(width_value, origin[2]);
    let end = e.min(end, pitch);
    let end = e.max(end, left);
    let source_column = e.add(origin[2], left);
    let (element, factors) = (c.problem.element, c.algorithm.factors());
    let bytes = factors.bytes() * channels;
    let copied = e.sub(end, left);
    let left_bytes = e.scale(left, bytes);
    let end_bytes = e.scale(end, bytes);
    let line_bytes = columns * bytes;
    let line_bytes_value = e.int(line_bytes);
    let right_bytes = e.sub(line_bytes_value, end_bytes);
    let outside = e.sub(pitch, copied);

    let (frames, lines_value) = (e.int(frames), e.int(lines));
    e.for_each(zero, frames, 1, |e, frame| {
        let t = e.add(origin[0], frame);
        // Counted from the first frame in front.
        let behind_first = e.offset(t, before_input as i64);
        let (behind_first, seen) = placed(e, c.border[0], behind_first, before_input + input_frames);
        let t = e.offset(behind_first, -(before_input as i64));
        let zero = e.int(0);
        let in_front = e.builder.ins().icmp(IntCC::SignedLessThan, t, zero);
        let own = e.max(t, zero);
        let cached = cache.map(|cache| {
            let before = e.scale(block.n, before_input);
            let cached = e.add(before, behind_first);
            let at = e.scale(cached, height * width * channels);
            e.address(cache, at, element.bytes())
        });
        e.for_each(zero, lines_value, 1, |e, line| {
            let y = e.add(origin[1], line);
            let (y, within) = placed(e, c.border[1], y, height);
            let inside = [seen, within].into_iter().flatten().reduce(|a, b| e.builder.ins().band(a, b));
            let row = e.scale(frame, lines);
            let row = e.add(row, line);
            let at = e.scale(row, line_bytes);
            let to = e.add(e.scratch, at);
            // Pixels from column x on.
            let read = |e: &mut Emitter<'_, M>, x: Value, to: Value, pixels: Value| match cached {
                None => reader.emit(e, [own, y, x], to, pixels),
                Some(image) => e.branch(
                    in_front,
                    |e| {
                        let row = e.scale(y, width);
                        let pixel = e.add(row, x);
                        let at = e.scale(pixel, channels);
                        let from = e.address(image, at, element.bytes());
                        let elements = e.scale(pixels, channels);
                        e.copy_converted((to, factors), (from, element), elements);
                    },
                    |e| reader.emit(e, [own, y, x], to, pixels),
                ),
            };
            let fill = |e: &mut Emitter<'_, M>| {
                let to_pixels = e.add(to, left_bytes);
                if c.border[2] == PadMode::Zero {
                    if c.padding[2][0] > 0 {
                        e.zero_bytes(to, left_bytes);
                    }
                    read(e, source_column, to_pixels, copied);
                    let to_rest = e.add(to, end_bytes);
                    e.zero_bytes(to_rest, right_bytes);
                    return;
                }
                read(e, source_column, to_pixels, copied);
                e.for_each(zero, outside, 1, |e, i| {
                    let is_left = e.builder.ins().icmp(IntCC::SignedLessThan, i, left);
                    let right = e.add(i, copied);
                    let column = e.builder.ins().select(is_left, i, right);
                    let x = e.add(origin[2], column);
                    let (x, _) = placed(e, c.border[2], x, width);
                    let to = e.address(to, column, bytes);
                    let one = e.int(1);
                    read(e, x, to, one);
                });
            };
            match inside {
                Some(inside) => e.branch(inside, fill, |e| e.zero_bytes(to, line_bytes_value)),
                None => fill(e),
            }
        });
    });
    Ok(())
}

/// Which of `size` elements stands at `index`, which may be outside; and, where that may be zeros,
/// whether it is one of them.
fn placed(e: &mut Emitter<'_, impl Module>, border: PadMode, index: Value, size: usize) -> (Value, Option<Value>) {
    match border {
        PadMode::Zero => {
            let size = e.int(size);
            // Compared without sign, a negative index is larger than any size.
            (index, Some(e.builder.ins().icmp(IntCC::UnsignedLessThan, index, size)))
        }
        PadMode::Edge => (e.nearest_inside(index, size), None),
        PadMode::Reflect => (e.mirrored(index, size), None),
    }
}

/// Reads rows of the input through the prologue.
struct Reader<'a> {
    c: &'a Convolution,
    input: Value,
    n: Value,
    normalization: Normalization,
}

/// What a normalisation in the prologue needs, made once a block.
enum Normalization {
    None,
    Groups(RowNormalization),
    Channels(Pixels),
}

impl<'a> Reader<'a> {
    fn new<M: Module>(e: &mut Emitter<'_, M>, isa: Isa, c: &'a Convolution, block: &Block) -> Result<Self> {
        let input = e.argument(1);
        let argument = c.prologue_argument();
        // No algorithm rounds what is normalised ([`Problem::dot_products`]).
        let normalization = match c.prologue {
            Prologue::Normalize(kernel) => {
                let coefficients = e.offset(e.scratch, 4 * c.scratch().elements() as i64);
                Normalization::Groups(RowNormalization::new(
                    e,
                    isa,
                    kernel,
                    Element::F32,
                    argument,
                    block.n,
                    coefficients,
                )?)
            }
            Prologue::ChannelNorm(kernel) => {
                Normalization::Channels(Pixels::new(e, isa, kernel, Element::F32, argument)?)
            }
            Prologue::None | Prologue::Resize(..) => Normalization::None,
        };
        Ok(Self { c, input, n: block.n, normalization })
    }

    /// Puts `pixels` pixels of the prologue's result, from frame, line and pixel `[t, y, x]` on, to
    /// `to`.
    fn emit(&self, e: &mut Emitter<'_, impl Module>, [t, y, x]: [Value; 3], to: Value, pixels: Value) {
        let (channels, element) = (self.c.problem.inputs, self.c.problem.element);
        let factors = self.c.algorithm.factors();
        match self.c.prologue {
            Prologue::None => {
                let from = self.address(e, self.c.input, [t, y, x]);
                let elements = e.scale(pixels, channels);
                e.copy_converted((to, factors), (from, element), elements);
            }
            Prologue::Resize(space, apart) => {
                let [frames, height, width] = self.c.input;
                let t = e.nearest(t, space[0], frames, apart);
                let y = e.nearest(y, space[1], height, false);
                let zero = e.int(0);
                let line = self.address(e, space, [t, y, zero]);
                e.for_each(zero, pixels, 1, |e, i| {
                    let column = e.add(x, i);
                    let column = e.nearest(column, space[2], width, false);
                    let at = e.scale(column, channels);
                    let from = e.address(line, at, element.bytes());
                    let at = e.scale(i, channels);
                    let to = e.address(to, at, factors.bytes());
                    if element == factors {
                        e.copy(to, from, channels, element.bytes());
                    } else {
                        let channels = e.int(channels);
                        e.copy_converted((to, factors), (from, element), channels);
                    }
                });
            }
            Prologue::Normalize(_) | Prologue::ChannelNorm(_) => {
                let from = self.address(e, self.c.input, [t, y, x]);
                match &self.normalization {
                    Normalization::Groups(row) => row.emit(e, [t, y, x], from, to, pixels),
                    Normalization::Channels(run) => run.emit(e, from, to, pixels),
                    Normalization::None => unreachable!("made with the prologue"),
                }
            }
        }
    }

    /// Where a pixel of the input is, whose time, height and width are `space`.
    fn address(&self, e: &mut Emitter<'_, impl Module>, space: [usize; 3], [t, y, x]: [Value; 3]) -> Value {
        let before = e.scale(self.n, space[0]);
        let image = e.add(before, t);
        let above = e.scale(image, space[1]);
        let line = e.add(above, y);
        let before = e.scale(line, space[2]);
        let pixel = e.add(before, x);
        let at = e.scale(pixel, self.c.problem.inputs);
        e.address(self.input, at, self.c.problem.element.bytes())
    }
}

/// The segments of one slice of a contraction, k from `start` to `end`: runs of `run` steps start
/// where `offset` says.
pub(super) fn segments(start: usize, end: usize, run: usize, offset: impl Fn(usize) -> usize) -> Vec<Segment> {
    let mut all = Vec::new();
    let mut k = start;
    while k < end {
        let (tap, within) = (k / run, k % run);
        let length = (run - within).min(end - k);
        all.push(Segment { offset: offset(tap) + within, length });
        k += length;
    }
    all
}

/// For each slice of the contraction, the shape of whole panels and that of the last panel.
fn direct_shapes(c: &Convolution, family: &PanelFamily) -> Vec<Shape> {
    let [_, lines, columns] = c.blocking.scratch_space(&c.problem);
    // A row of taps is contiguous.
    let offset =
        |row: usize| ((row / c.problem.kernel[1]) * lines + row % c.problem.kernel[1]) * columns * c.pixel_words();
    let last_columns = match c.problem.element.holds_sums() {
        true => c.problem.outputs - (c.blocking.panel_count - 1) * family.nr,
        // In the scratch there is room for whole panels.
        false => family.nr,
    };
    let mut shapes = Vec::new();
    for start in (0..c.depth()).step_by(c.blocking.depth) {
        let end = (start + c.blocking.depth).min(c.depth());
        for columns in [family.nr, last_columns] {
            shapes.push(Shape {
                a_stride: c.problem.strides[2] * c.pixel_words(),
                c_stride: sums_pitch(c, family),
                columns,
                accumulate: start > 0,
                segments: segments(start, end, c.problem.kernel[2] * c.pixel_words(), offset),
            });
        }
    }
    shapes
}

/// Elements between the sums of neighbouring pixels.
fn sums_pitch(c: &Convolution, family: &PanelFamily) -> usize {
    match c.problem.element.holds_sums() {
        true => c.problem.outputs,
        false => c.blocking.panels * family.nr,
    }
}

/// Runs the panels over the scratch; `columns` are the chunks of the block's width: rows, how many,
/// and the panel.
fn contract(
    e: &mut Emitter<'_, impl Module>,
    c: &Convolution,
    family: &PanelFamily,
    block: &Block,
    shapes: Value,
    columns: &Chunks,
) {
    let [_, scratch_lines, scratch_columns] = c.blocking.scratch_space(&c.problem);
    let in_result = c.problem.element.holds_sums();
    let (sums, weights) = match in_result {
        true => (e.argument(0), e.argument(2)),
        false => (e.offset(e.scratch, 4 * c.scratch().input as i64), e.argument(2)),
    };
    let bias = (c.bias && in_result).then(|| e.argument(c.bias_argument()));
    let residual = (c.residual && in_result).then(|| e.argument(c.residual_argument()));
    let slices = c.depth().div_ceil(c.blocking.depth);
    let (zero, slice_count) = (e.int(0), e.int(slices));
    e.for_each(zero, slice_count, 1, |e, slice| {
        let is_first = e.builder.ins().icmp(IntCC::Equal, slice, zero);
        e.for_each(block.panels.0, block.panels.1, 1, |e, panel| {
            let last = e.int(c.blocking.panel_count - 1);
            let narrow = e.builder.ins().icmp(IntCC::Equal, panel, last);
            let narrow = e.builder.ins().uextend(types::I64, narrow);
            let pair = e.scale(slice, 2);
            let entry = e.add(pair, narrow);
            let at = e.scale(entry, size_of::<PanelShape>());
            let shape = e.add(shapes, at);

            let before = e.scale(panel, c.weights.of_plane);
            let start = e.scale(slice, c.blocking.depth);
            let k = e.add(before, start);
            let k = e.offset(k, c.weights.first as i64);
            let at = e.scale(k, family.nr);
            let b = e.element(weights, at);
            let channel = e.scale(panel, family.nr);
            let when_first = |e: &mut Emitter<'_, _>, pointer: Option<Value>, element: Value| {
                let null = e.int(0);
                pointer.map_or(null, |base| {
                    let address = e.element(base, element);
                    e.builder.ins().select(is_first, address, null)
                })
            };
            let bias = when_first(e, bias, channel);

            e.for_each(zero, block.count[0], 1, |e, t| {
                e.for_each(zero, block.count[1], 1, |e, y| {
                    let frame = e.scale(t, c.problem.strides[0] * scratch_lines);
                    let line = e.scale(y, c.problem.strides[1]);
                    let row = e.add(frame, line);
                    let at = e.scale(row, scratch_columns * c.pixel_words());
                    let a = e.element(e.scratch, at);

                    let (pixel, channel) = if in_result {
                        (result_pixel(e, c, block, t, y), channel)
                    } else {
                        let of_block = e.sub(panel, block.panels.0);
                        (sums_pixel(e, c, t, y), e.scale(of_block, family.nr))
                    };
                    let at = e.scale(pixel, sums_pitch(c, family));
                    let at = e.add(at, channel);
                    let to = e.element(sums, at);
                    let residual = when_first(e, residual, at);
                    call_panels(e, c, family, columns, [shape, a, b, to, bias, residual], is_first);
                });
            });
        });
    });
    if !in_result {
        let width = columns.iter().map(|(rows, count, _)| rows * count).sum();
        store_sums(e, c, family, block, sums, width);
    }
}

/// The pixel of the result where line y of frame t of the block starts.
fn result_pixel(e: &mut Emitter<'_, impl Module>, c: &Convolution, block: &Block, t: Value, y: Value) -> Value {
    let before = e.scale(block.n, c.problem.result[0]);
    let frame = e.add(before, block.start[0]);
    let frame = e.add(frame, t);
    let lines = e.scale(frame, c.problem.result[1]);
    let line = e.add(lines, block.start[1]);
    let line = e.add(line, y);
    let pixels = e.scale(line, c.problem.result[2]);
    e.add(pixels, block.start[2])
}

/// The same within the block.
fn sums_pixel(e: &mut Emitter<'_, impl Module>, c: &Convolution, t: Value, y: Value) -> Value {
    let lines = e.scale(t, c.blocking.space[1]);
    let line = e.add(lines, y);
    e.scale(line, c.blocking.space[2])
}

/// Adds bias and residual to the sums of lines of so many pixels, and stores that as the result's
/// elements.
fn store_sums(
    e: &mut Emitter<'_, impl Module>,
    c: &Convolution,
    family: &PanelFamily,
    block: &Block,
    sums: Value,
    width: usize,
) {
    let element = c.problem.element;
    let result = e.argument(0);
    let bias = c.bias.then(|| e.argument(c.bias_argument()));
    let residual = c.residual.then(|| e.argument(c.residual_argument()));
    // Output channels of this block that are there.
    let [first, behind] = [block.panels.0, block.panels.1].map(|panel| e.scale(panel, family.nr));
    let all = e.int(c.problem.outputs);
    let behind = e.min(behind, all);
    let channels = e.sub(behind, first);
    let bias = bias.map(|bias| e.element(bias, first));
    let (zero, width) = (e.int(0), e.int(width));
    e.for_each(zero, block.count[0], 1, |e, t| {
        e.for_each(zero, block.count[1], 1, |e, y| {
            let (from, to) = (sums_pixel(e, c, t, y), result_pixel(e, c, block, t, y));
            e.for_each(zero, width, 1, |e, x| {
                let (from, to) = (e.add(from, x), e.add(to, x));
                let at = e.scale(from, sums_pitch(c, family));
                let from = e.element(sums, at);
                let at = e.scale(to, c.problem.outputs);
                let at = e.add(at, first);
                let to = e.address(result, at, element.bytes());
                let residual = residual.map(|residual| e.address(residual, at, element.bytes()));
                e.strip_of(channels, |e, ty, channel| {
                    let address = e.element(from, channel);
                    let mut sum = e.load(ty, address, 0);
                    for (base, element) in [(bias, Element::F32), (residual, element)] {
                        let Some(base) = base else { continue };
                        let address = e.address(base, channel, element.bytes());
                        let term = e.load_element(element, ty, address, 0);
                        sum = e.builder.ins().fadd(sum, term);
                    }
                    let address = e.address(to, channel, element.bytes());
                    e.store_element(element, sum, address);
                });
            });
        });
    });
}

/// One line of a block: the calls for its chunks of pixels.
fn call_panels(
    e: &mut Emitter<'_, impl Module>,
    c: &Convolution,
    family: &PanelFamily,
    columns: &Chunks,
    [shape, a, b, to, bias, residual]: [Value; 6],
    is_first: Value,
) {
    let a_step = 4 * c.problem.strides[2] * c.pixel_words();
    let c_step = 4 * sums_pitch(c, family);
    for_chunks(e, columns, |e, x, panel| {
        let a_at = e.scale(x, a_step);
        let c_at = e.scale(x, c_step);
        let a = e.add(a, a_at);
        let to = e.add(to, c_at);
        let residual = if c.residual && c.problem.element.holds_sums() {
            let address = e.add(residual, c_at);
            let null = e.int(0);
            e.builder.ins().select(is_first, address, null)
        } else {
            residual
        };
        e.builder.ins().call(panel, &[shape, a, b, b, to, bias, residual]);
    });
}
