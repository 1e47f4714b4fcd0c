//! Random graphs, valid by construction, as a frontend might declare them: small channel-first
//! videos through convolutions of all kinds, norms, resizes, pools, pads, slices and sums, in f32
//! and in places in bf16.
//!
//! A graph is made of [`Dice`]: numbers that choices are taken from. Every choice has its simplest
//! case first, so that a case that fails shrinks towards few, small and plain ops: proptest takes
//! ops away and makes numbers small.

use std::fmt;

use ir::{
    Activation, AttentionMask, Builder, ChannelNormKind, Dims, ElementType, Elements, FirstFrame, Graph, Layout,
    PadMode, Role, TensorType, UnaryFunction, Value, Values,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// The most elements that a value has.
const MOST_ELEMENTS: usize = 20_000;

/// Numbers that choices are taken from, in order; behind the last come zeros.
#[derive(Clone, Debug)]
pub struct Dice {
    numbers: Vec<u8>,
    next: usize,
}

impl Dice {
    /// As many numbers as an op takes at most.
    pub fn any() -> impl Strategy<Value = Self> {
        vec(any::<u8>(), 24).prop_map(|numbers| Self { numbers, next: 0 })
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let number = self.numbers.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        usize::from(number) % limit
    }

    /// One of these, the first being the simplest.
    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// True once in `n` times, and not if the number is 0.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }
}

/// A graph that prints as text.
#[derive(Clone)]
pub struct Program(pub Graph);

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ir::text::print(&self.0))
    }
}

/// Graphs of up to `ops` ops, some of which are several. Everything is in f32 if `narrow` is false;
/// else, in places, in bf16.
pub fn graphs(ops: usize, narrow: bool) -> impl Strategy<Value = Program> {
    (Dice::any(), vec(Dice::any(), 1..=ops)).prop_map(move |(mut leaves, ops)| Program(graph(&mut leaves, ops, narrow)))
}

/// So many graphs, the same each time.
pub fn samples(count: usize, ops: usize) -> impl Iterator<Item = Graph> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(move |_| graphs(ops, false).new_tree(&mut runner).expect("a strategy without filters").current().0)
}

fn graph(leaves: &mut Dice, ops: Vec<Dice>, narrow: bool) -> Graph {
    let mut b = Builder::new("random");
    let batch = 1 + usize::from(leaves.once_in(4));
    let channels = leaves.of(&[4, 4, 4, 1, 2, 3, 6, 8, 17]);
    let space = [1 + leaves.below(4), 1 + leaves.below(5), 1 + leaves.below(5)];
    let video =
        |[t, h, w]: [usize; 3]| TensorType::with_layout(ElementType::F32, Layout::NCTHW, [batch, channels, t, h, w]);
    let frames = leaves.of(&[2, 1, 3]);
    let other = [1 + leaves.below(3), 1 + leaves.below(5), 1 + leaves.below(5)];
    let number = leaves.of(&[0.5, 0.0, 1.0, -1.75]);
    let made = [
        b.input("x".to_owned(), video(space)),
        b.input("y".to_owned(), video(other)),
        b.state("s".to_owned(), video([frames, space[1], space[2]])),
        b.constant(Elements::Splat(number), video(space)),
    ];
    let mut values: Vec<Value> = made.into_iter().map(|value| value.expect("a video")).collect();
    for mut dice in ops {
        b.set_path(format!("module.{}", dice.below(5)).into());
        let mut declared = Declared { b: &mut b, dice: &mut dice, values: &values, narrow };
        if let Some(value) = declared.op() {
            values.push(value);
        }
    }
    outputs(&mut b, leaves);
    b.finish()
}

/// Lets leave what nothing reads, and here and there what is read, in one role or another.
fn outputs(b: &mut Builder, dice: &mut Dice) {
    let graph = b.graph().clone();
    let uses = graph.use_counts();
    let last = graph.nodes().rfind(|(_, node)| !node.op.is_leaf()).map(|(value, _)| value);
    for (value, node) in graph.nodes() {
        if node.ty.layout.video().is_none() {
            continue;
        }
        let unread = uses[value.index()] == 0 && !node.op.is_leaf();
        if unread || last == Some(value) || dice.once_in(12) {
            let role = dice.of(&[Role::Result, Role::Result, Role::State, Role::Tap]);
            // What callers get is f32.
            let is_f32 = node.ty.element == ElementType::F32;
            b.output(if is_f32 { role } else { Role::State }, format!("v{}", value.index()), value);
        }
    }
}

/// A graph in the making, and the dice of the op that comes next.
struct Declared<'a> {
    b: &'a mut Builder,
    dice: &'a mut Dice,
    /// What ops may read.
    values: &'a [Value],
    narrow: bool,
}

impl Declared<'_> {
    /// Some op, if what the dice say is legal and not too large.
    fn op(&mut self) -> Option<Value> {
        let input = self.pick();
        let value = match self.dice.below(30) {
            0 => self.b.silu(input).ok()?,
            1 | 2 => self.pointwise(input)?,
            3..=6 => self.convolution(input, None)?,
            7 | 8 => self.causal_convolution(input)?,
            9 => self.group_norm(input)?,
            10 | 11 => self.conditioned_norm(input)?,
            12 => self.residual_block(input)?,
            13 => self.resize(input)?,
            14 => self.enlarged_convolution(input)?,
            15 => {
                let (time, height, width) =
                    (1 + self.dice.below(2), self.dice.of(&[1, 1, 2, 3]), self.dice.of(&[1, 2]));
                let first_frame = self.first_frame();
                self.b.average_pool(input, [time, height, width], first_frame).ok()?
            }
            16 => {
                let (low, high) = (self.around(3), self.around(2));
                let mode = self.dice.of(PadMode::ALL);
                self.b.pad(input, low, high, mode).ok()?
            }
            17 => {
                let shape = self.b.ty(input).shape.clone();
                let (start, less) = (self.around(3), self.around(2));
                let limit = shape.iter().zip(less).map(|(n, less)| n.saturating_sub(less)).collect();
                self.b.slice(input, start, limit).ok()?
            }
            18 | 19 => self.concatenation(input)?,
            20 => {
                let channels = self.b.ty(input).channels()?;
                let bias = self.vector("bias", channels)?;
                self.b.add_bias(input, bias).ok()?
            }
            21 | 22 => self.channel_norm(input)?,
            23 => {
                let (low, high) = self.dice.of(&[(0.0, f64::INFINITY), (-1.0, 1.0), (f64::NEG_INFINITY, 0.25)]);
                self.b.clamp(input, low, high).ok()?
            }
            24 => {
                let function = self.dice.of(UnaryFunction::ALL);
                self.b.unary(input, function).ok()?
            }
            25 | 26 => self.bordered_convolution(input)?,
            27 => self.grouped_convolution(input)?,
            28 => self.attention(input)?,
            _ if self.narrow => {
                let element = match self.b.ty(input).element {
                    ElementType::F32 => ElementType::Bf16,
                    _ => ElementType::F32,
                };
                self.b.convert(input, element).ok()?
            }
            _ => self.columns_of_channels(input)?,
        };
        Some(value).filter(|value| self.b.ty(*value).elements() <= MOST_ELEMENTS)
    }

    /// A value to read. Late ones are read more often, so that chains grow.
    fn pick(&mut self) -> Value {
        let count = self.values.len();
        let back = self.dice.below(count).min(self.dice.below(count));
        self.values[count - 1 - back]
    }

    fn first_frame(&mut self) -> FirstFrame {
        self.dice.of(&[FirstFrame::Joined, FirstFrame::Apart])
    }

    /// A parameter whose name is its own.
    fn parameter(&mut self, what: &str, ty: TensorType) -> Option<Value> {
        let name = format!("{what}.{}", self.b.graph().len());
        self.b.parameter(name, ty).ok()
    }

    fn vector(&mut self, what: &str, elements: usize) -> Option<Value> {
        self.parameter(what, TensorType::plain(ElementType::F32, [elements]))
    }

    /// A kernel of this size for `input`, in its elements.
    fn kernel(&mut self, input: Value, outputs: usize, [d, h, w]: [usize; 3]) -> Option<Value> {
        let (element, channels) = (self.b.ty(input).element, self.b.ty(input).channels()?);
        let ty = TensorType::with_layout(ElementType::F32, Layout::OIDHW, [outputs, channels, d, h, w]);
        let kernel = self.parameter("weight", ty)?;
        if element == ElementType::F32 { Some(kernel) } else { self.b.convert(kernel, element).ok() }
    }

    /// Elements to add or take away, of time, height and width.
    fn around(&mut self, limit: usize) -> Dims {
        (0..5).map(|axis| if axis >= 2 && self.dice.below(2) == 1 { self.dice.below(limit) } else { 0 }).collect()
    }

    fn pointwise(&mut self, input: Value) -> Option<Value> {
        let same = |other: &&Value| self.b.ty(**other) == self.b.ty(input);
        let alike: Vec<Value> = self.values.iter().filter(same).copied().collect();
        let other = self.dice.of(&alike);
        if self.dice.below(2) == 0 { self.b.add(input, other).ok() } else { self.b.multiply(other, input).ok() }
    }

    /// Each two channels become neighbouring columns, as a pixel shuffle does it: through a reshape
    /// to axes without names.
    fn columns_of_channels(&mut self, input: Value) -> Option<Value> {
        let ty = self.b.ty(input).clone();
        let (batch, channels, [t, h, w]) = (ty.batch()?, ty.channels()?, ty.space()?);
        if !channels.is_multiple_of(2) {
            return self.b.silu(input).ok();
        }
        let apart = TensorType::plain(ty.element, [batch, channels / 2, 2, t, h, w]);
        let apart = self.b.reshape(input, apart).ok()?;
        let beside = self.b.transpose(apart, [0, 1, 3, 4, 5, 2].into_iter().collect()).ok()?;
        self.b.reshape(beside, ty.video_like(batch, channels / 2, [t, h, 2 * w])).ok()
    }

    /// Attention over the pixels of each frame, or over those of all frames that a frame may see;
    /// of the tokens among themselves, or of queries that are those of another convolution. Or linear
    /// attention over them.
    fn attention(&mut self, input: Value) -> Option<Value> {
        let ty = self.b.ty(input).clone();
        let (batch, channels, [t, h, w]) = (ty.batch()?, ty.channels()?, ty.space()?);
        let of_frame = self.dice.below(2) == 0;
        let shape = if of_frame { [batch, t, h * w, channels] } else { [1, batch, t * h * w, channels] };
        let mut tokens = [input; 3];
        if self.dice.below(2) == 1 {
            let weight = self.kernel(input, channels, [1, 1, 1])?;
            tokens[0] = self.b.convolution(input, weight, None, None, None, [1; 3], [[0; 2]; 3], 0).ok()?;
        }
        let last: Dims = [0, 2, 3, 4, 1].into_iter().collect();
        for value in &mut tokens {
            let pixels = self.b.transpose(*value, last.clone()).ok()?;
            *value = self.b.reshape(pixels, TensorType::plain(ty.element, shape)).ok()?;
        }
        let divisors: Vec<usize> = (1..=channels).filter(|heads| channels.is_multiple_of(*heads)).collect();
        let heads = self.dice.of(&divisors);
        let scale = self.dice.of(&[0.5, 0.5, 0.0, -0.25]);
        let mask = match of_frame {
            true => self.dice.of(&[AttentionMask::None, AttentionMask::None, AttentionMask::Causal(1)]),
            false => AttentionMask::Causal(h * w),
        };
        let [query, key, value] = tokens;
        let made = if self.dice.below(4) == 0 {
            // Scores that are not negative, so that their sum is not near 0.
            let [query, key] = [query, key].map(|value| self.b.clamp(value, 0.0, f64::INFINITY));
            self.b.linear_attention(query.ok()?, key.ok()?, value, heads, 1.0).ok()?
        } else {
            self.b.attention(query, key, value, heads, scale, mask).ok()?
        };
        let pixels = TensorType::with_layout(ty.element, Layout::NTHWC, [batch, t, h, w, channels]);
        let pixels = self.b.reshape(made, pixels).ok()?;
        self.b.transpose(pixels, [0, 4, 1, 2, 3].into_iter().collect()).ok()
    }

    /// A convolution without frames in front, or with those of a cache, and in most cases a bias.
    fn convolution(&mut self, input: Value, kernel: Option<[usize; 3]>) -> Option<Value> {
        let channels = self.b.ty(input).channels()?;
        let kernel = kernel.unwrap_or_else(|| {
            self.dice.of(&[[1, 1, 1], [1, 3, 3], [3, 3, 3], [1, 1, 1], [3, 1, 1], [1, 3, 3], [2, 2, 4], [1, 5, 1]])
        });
        let outputs = self.dice.of(&[channels, 4, 4, 8, 1, 3, 17, 33]);
        let weight = self.kernel(input, outputs, kernel)?;
        let same = [[0, 0], [(kernel[1] - 1) / 2, kernel[1] / 2], [(kernel[2] - 1) / 2, kernel[2] / 2]];
        let padding = match self.dice.below(8) {
            6 => [[1, 0], [0, 1], [2, 0]],
            7 => [[0, 0], [0, 1], [0, 1]],
            _ => same,
        };
        let strides = self.dice.of(&[[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 2, 2], [1, 1, 1], [2, 1, 3]]);
        let product = self.b.convolution(input, weight, None, None, None, strides, padding, 0).ok()?;
        if self.dice.once_in(4) {
            return Some(product);
        }
        let bias = self.vector("bias", outputs)?;
        self.b.add_bias(product, bias).ok()
    }

    /// A convolution within groups of channels, or of each channel.
    fn grouped_convolution(&mut self, input: Value) -> Option<Value> {
        let channels = self.b.ty(input).channels()?;
        let divisors: Vec<usize> = (1..=channels).rev().filter(|groups| channels % groups == 0).collect();
        let groups = self.dice.of(&divisors);
        let outputs = groups * self.dice.of(&[1, channels / groups, 3]);
        let kernel = self.dice.of(&[[1, 3, 3], [1, 1, 1], [2, 1, 3]]);
        let (element, [d, h, w]) = (self.b.ty(input).element, kernel);
        let ty = TensorType::with_layout(ElementType::F32, Layout::OIDHW, [outputs, channels / groups, d, h, w]);
        let weight = self.parameter("weight", ty)?;
        let weight = if element == ElementType::F32 { weight } else { self.b.convert(weight, element).ok()? };
        let bias = if self.dice.below(2) == 0 { None } else { Some(self.vector("bias", outputs)?) };
        let padding = [[d - 1, 0], [h / 2, h / 2], [w / 2, 1]];
        let strides = self.dice.of(&[[1, 1, 1], [1, 2, 2]]);
        self.b.grouped_convolution(input, weight, bias, groups, strides, padding).ok()
    }

    /// A convolution behind the frames of a state, or behind its first frame again, with the state
    /// for the next step.
    fn causal_convolution(&mut self, input: Value) -> Option<Value> {
        let ty = self.b.ty(input).clone();
        let (batch, channels, space) = (ty.batch()?, ty.channels()?, ty.space()?);
        let name = format!("cache.{}", self.b.graph().len());
        let back = self.dice.of(&[2, 2, 2, 1, 3]);
        let behind = if self.dice.below(2) == 0 {
            let (low, high) = ([0, 0, back, 0, 0].into_iter().collect(), Dims::from_elem(0, 5));
            self.b.pad(input, low, high, PadMode::Edge).ok()?
        } else {
            let cache = self.b.state(name.clone(), ty.video_like(batch, channels, [back, space[1], space[2]])).ok()?;
            self.b.concatenate(Values::from_slice(&[cache, input]), 2).ok()?
        };
        if !self.dice.once_in(4) {
            let limit = self.b.ty(behind).shape.clone();
            let start = [0, 0, limit[2] - back, 0, 0].into_iter().collect();
            let state = self.b.slice(behind, start, limit).ok()?;
            self.b.output(Role::State, name, state);
        }
        self.convolution(behind, Some([3, 3, 3]))
    }

    /// A convolution of a video with something around it, of one kind in space, of another in time.
    fn bordered_convolution(&mut self, input: Value) -> Option<Value> {
        let space = self.b.ty(input).space()?;
        let mode = self.dice.of(&[PadMode::Edge, PadMode::Reflect, PadMode::Zero]);
        let (low, high) = (self.around(3), self.around(2));
        let inside = |dims: &Dims| (0..3).all(|axis| dims[2 + axis] < space[axis]);
        let mode = if inside(&low) && inside(&high) { mode } else { PadMode::Edge };
        let mut padded = self.b.pad(input, low, high, mode).ok()?;
        if self.dice.below(2) == 1 {
            let (low, high) =
                ([0, 0, 1, 0, 0].into_iter().collect(), [0, 0, self.dice.below(2), 0, 0].into_iter().collect());
            padded = self.b.pad(padded, low, high, PadMode::Edge).ok()?;
        }
        self.convolution(padded, None)
    }

    /// A norm of an activation. (Of weights, which no model normalises, statistics stay those of
    /// the numbers in f32, though the numbers become bf16.)
    fn group_norm(&mut self, input: Value) -> Option<Value> {
        if ir::analysis::weight_only(self.b.graph())[input.index()] {
            return None;
        }
        let channels = self.b.ty(input).channels()?;
        let divisors: Vec<usize> = (1..=channels).filter(|groups| channels % groups == 0).collect();
        let groups = self.dice.of(&divisors);
        let (scale, offset) = (self.vector("scale", channels)?, self.vector("offset", channels)?);
        let epsilon = self.dice.of(&[1e-2, 1e-2, 1.0, 1e-4]);
        self.b.group_norm(input, scale, offset, groups, epsilon).ok()
    }

    /// A norm over channels, often with the activation behind, and then often a convolution.
    fn channel_norm(&mut self, input: Value) -> Option<Value> {
        let channels = self.b.ty(input).channels()?;
        let kind = self.dice.of(&[ChannelNormKind::Rms, ChannelNormKind::L2, ChannelNormKind::Layer]);
        let scale = if self.dice.below(2) == 0 { None } else { Some(self.vector("gamma", channels)?) };
        let offset = if self.dice.below(3) == 2 { Some(self.vector("beta", channels)?) } else { None };
        let epsilon = self.dice.of(&[1e-2, 1e-2, 1.0]);
        let normalized = self.b.channel_norm(input, scale, offset, kind, epsilon, Activation::None).ok()?;
        let active = if self.dice.once_in(4) { normalized } else { self.b.silu(normalized).ok()? };
        if self.dice.below(2) == 0 { self.causal_convolution(active) } else { Some(active) }
    }

    /// A norm with gain and shift made of a video of the same size or a lower one, and often the
    /// activation behind.
    fn conditioned_norm(&mut self, input: Value) -> Option<Value> {
        let normalized = self.group_norm(input)?;
        let ty = self.b.ty(input).clone();
        let (channels, [t, h, w]) = (ty.channels()?, ty.space()?);
        let condition = match self.dice.below(4) {
            0 => self.pick(),
            _ => {
                let space = [
                    self.dice.of(&[t.div_ceil(2), t, t.div_ceil(4)]),
                    h.div_ceil(2),
                    self.dice.of(&[w.div_ceil(2), w]),
                ];
                let channels = self.dice.of(&[channels, 2, 5]);
                let name = format!("condition.{}", self.b.graph().len());
                let low = TensorType { element: ElementType::F32, ..ty.video_like(ty.batch()?, channels, space) };
                let low = self.b.input(name, low).ok()?;
                if ty.element == ElementType::F32 { low } else { self.b.convert(low, ty.element).ok()? }
            }
        };
        if self.b.ty(condition).element != ty.element || self.b.ty(condition).batch() != ty.batch() {
            return None;
        }
        let first_frame = self.first_frame();
        let gain = self.modulation(condition, [t, h, w], channels, first_frame)?;
        let shift = self.modulation(condition, [t, h, w], channels, first_frame)?;
        let scaled = self.b.multiply(normalized, gain).ok()?;
        let shifted = self.b.add(shift, scaled).ok()?;
        if self.dice.once_in(4) { Some(shifted) } else { self.b.silu(shifted).ok() }
    }

    /// `condition` enlarged, and behind a pointwise convolution if its channels are others or the
    /// dice say so.
    fn modulation(
        &mut self,
        condition: Value,
        space: [usize; 3],
        channels: usize,
        first_frame: FirstFrame,
    ) -> Option<Value> {
        let enlarged = self.b.resize_nearest(condition, space, first_frame).ok()?;
        if self.b.ty(condition).channels() == Some(channels) && self.dice.below(2) == 0 {
            return Some(enlarged);
        }
        let weight = self.kernel(enlarged, channels, [1, 1, 1])?;
        let product = self.b.convolution(enlarged, weight, None, None, None, [1; 3], [[0; 2]; 3], 0).ok()?;
        let bias = self.vector("bias", channels)?;
        self.b.add_bias(product, bias).ok()
    }

    /// Norm, activation, convolution, and the input added to the result.
    fn residual_block(&mut self, input: Value) -> Option<Value> {
        let normalized = self.group_norm(input)?;
        let active = self.b.silu(normalized).ok()?;
        let channels = self.b.ty(input).channels()?;
        let front: Dims = [0, 0, 2, 0, 0].into_iter().collect();
        let behind = self.b.pad(active, front, Dims::from_elem(0, 5), PadMode::Edge).ok()?;
        let weight = self.kernel(behind, channels, [3, 3, 3])?;
        let padding = [[0, 0], [1, 1], [1, 1]];
        let product = self.b.convolution(behind, weight, None, None, None, [1; 3], padding, 0).ok()?;
        let bias = self.vector("bias", channels)?;
        let biased = self.b.add_bias(product, bias).ok()?;
        if self.dice.below(2) == 0 { self.b.add(input, biased).ok() } else { self.b.add(biased, input).ok() }
    }

    fn resize(&mut self, input: Value) -> Option<Value> {
        let space = self.b.ty(input).space()?;
        let size = space.map(|n| match self.dice.below(5) {
            0 => n,
            1..=3 => 2 * n,
            _ => 1 + n / 2,
        });
        let first_frame = self.first_frame();
        self.b.resize_nearest(input, size.map(|n| n.min(12)), first_frame).ok()
    }

    /// An upsampler: twice as large, then convolved frame by frame.
    fn enlarged_convolution(&mut self, input: Value) -> Option<Value> {
        let [t, h, w] = self.b.ty(input).space()?;
        let size = [if self.dice.below(2) == 0 { t } else { 2 * t - t % 2 }, 2 * h, 2 * w];
        let first_frame = if t % 2 == 1 && t > 1 { FirstFrame::Apart } else { self.first_frame() };
        let enlarged = self.b.resize_nearest(input, size, first_frame).ok()?;
        self.convolution(enlarged, Some([1, 3, 3]))
    }

    fn concatenation(&mut self, input: Value) -> Option<Value> {
        let axis = self.dice.of(&[2, 2, 3, 4, 1]);
        let cut = |value: Value| {
            let mut ty = self.b.ty(value).clone();
            ty.shape[axis] = 0;
            ty
        };
        let fits: Vec<Value> = self.values.iter().copied().filter(|value| cut(*value) == cut(input)).collect();
        let mut parts = Values::new();
        for _ in 0..self.dice.of(&[1, 1, 2]) {
            parts.push(self.dice.of(&fits));
        }
        parts.push(input);
        self.b.concatenate(parts, axis).ok()
    }
}
