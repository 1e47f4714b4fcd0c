//! From a graph to StableHLO text: one function, `main`.
//!
//! - Arguments are inputs, then states, then weights. A weight is a value of parameters alone that
//!   the step reads: what it is made of stays outside, as a [`Recipe`], and no weight is a constant
//!   of the text.
//! - A state that is read and left with one type is donated: its result is written over its buffer.
//! - `%v12` is the value `%12` of the graph, `%v12.mean` something on the way there. Every line's
//!   location is the module.
//! - Types lose their layouts: StableHLO's ops name the axes they work on.
//! - In bf16 each op of the graph computes in f32 and rounds once, as the evaluator defines it.
//!
//! The text is the same for the same graph. It uses the dialects `func` and `stablehlo` alone, with
//! static shapes.

mod attention;
mod body;
mod channel_norm;
mod convolution;
mod elementwise;
mod loops;
mod norm;
mod plan;
mod resample;
mod shape_ops;
mod strips;
mod text;

use std::collections::{HashMap, HashSet};

use ir::analysis::weight_only;
use ir::graph::of_module;
use ir::types::VideoAxes;
use ir::{
    Activation, Axis, Border, Class, Dims, ElementType, FirstFrame, Graph, Node, Op, PadMode, Recipe, Role, Value,
};

use body::{Body, Tensor};
use plan::{LeadingFrames, Strip, in_strips, leading_frames};

use crate::mesh::Mesh;
use crate::module::{Argument, ArgumentRole, Module, ModuleResult};

/// An op that has no form in StableHLO here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{mnemonic}{}: StableHLO text is written for floating-point numbers, found {ty}", of_module(path))]
pub struct UnsupportedOp {
    /// The op's name.
    pub mnemonic: &'static str,
    /// Its module.
    pub path: String,
    /// The type that is not taken.
    pub ty: String,
}

/// What the emitter is free to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmitOptions {
    /// Bytes of what a convolution reads that are made at once, where it can be made strip by
    /// strip; more where that would be too many strips. So many bytes of an attention's scores,
    /// too, but those of one query at least. [`usize::MAX`] to make everything whole, as is done in
    /// any case where several devices share the rows.
    pub strip_bytes: usize,
    /// The devices: arguments and results say how they are cut. Types are those of whole tensors.
    pub mesh: Mesh,
}

impl Default for EmitOptions {
    /// Strips of 64 MiB, one device.
    fn default() -> Self {
        Self { strip_bytes: 64 << 20, mesh: Mesh::SINGLE }
    }
}

impl EmitOptions {
    /// Sets [`Self::strip_bytes`].
    #[must_use]
    pub fn with_strip_bytes(self, strip_bytes: usize) -> Self {
        Self { strip_bytes, ..self }
    }

    /// Sets [`Self::mesh`].
    #[must_use]
    pub fn with_mesh(self, mesh: Mesh) -> Self {
        Self { mesh, ..self }
    }
}

/// The module of a graph that verifies.
///
/// # Errors
/// When arithmetic is on integers; moving and converting them is taken.
pub fn emit(graph: &Graph, options: &EmitOptions) -> Result<Module, UnsupportedOp> {
    let strips = in_strips(graph, options);
    let mut emitter = Emitter {
        graph,
        mesh: options.mesh,
        strip_bytes: options.strip_bytes,
        weight_only: weight_only(graph),
        body: Body::default(),
        arguments: Vec::new(),
        names: HashMap::new(),
        weights: HashMap::new(),
        tensors: vec![None; graph.len()],
        leading: leading_frames(graph, &strips),
        deferred: strips.values().map(|strip| strip.made).collect(),
        strips,
        extended: HashMap::new(),
    };
    for is_wanted in [|op: &Op| matches!(op, Op::Input { .. }), |op: &Op| matches!(op, Op::State { .. })] {
        graph.nodes().filter(|(_, node)| is_wanted(&node.op)).for_each(|(value, node)| emitter.leaf(value, node));
    }
    for (value, node) in graph.nodes() {
        let made = emitter.tensors[value.index()].is_some() || emitter.weight_only[value.index()];
        if !made && !node.op.is_leaf() {
            emitter.value(value, node)?;
        }
    }
    Ok(emitter.finish())
}

struct Emitter<'g> {
    graph: &'g Graph,
    mesh: Mesh,
    strip_bytes: usize,
    weight_only: Vec<bool>,
    body: Body,
    arguments: Vec<(Argument, Tensor)>,
    /// How often an argument's name was asked for.
    names: HashMap<String, usize>,
    /// By key of its recipe: the argument of a weight.
    weights: HashMap<String, usize>,
    /// By value.
    tensors: Vec<Option<Tensor>>,
    leading: HashMap<Value, (LeadingFrames, Vec<Value>)>,
    /// By convolution that goes strip by strip.
    strips: HashMap<Value, Strip>,
    /// Values that are made inside of strips alone.
    deferred: HashSet<Value>,
    /// Values with frames in front.
    extended: HashMap<(Value, LeadingFrames), Tensor>,
}

impl Emitter<'_> {
    fn argument(&mut self, role: ArgumentRole, name: &str, ty: &ir::TensorType) -> Tensor {
        // What may not stand in a name goes; what is then equal is numbered.
        let plain = |c: char| if c.is_ascii_alphanumeric() || "$._-".contains(c) { c } else { '_' };
        let prefix = match &role {
            ArgumentRole::Input => "input",
            ArgumentRole::State => "state",
            ArgumentRole::Weight(_) => "weight",
        };
        let text: String = format!("%{prefix}.{}", name.chars().map(plain).collect::<String>());
        let count = self.names.entry(text.clone()).or_insert(0);
        *count += 1;
        let text = if *count == 1 { text } else { format!("{text}.{count}") };
        let tensor = Tensor { name: text, element: ty.element, dims: ty.shape.clone() };
        let argument = Argument { role, name: name.to_owned(), ty: ty.clone(), donated_to: None };
        self.arguments.push((argument, tensor.clone()));
        tensor
    }

    fn leaf(&mut self, value: Value, node: &Node) {
        let (role, name, ty) = match &node.op {
            Op::Input { name, ty } => (ArgumentRole::Input, name, ty),
            Op::State { name, ty } => (ArgumentRole::State, name, ty),
            _ => return,
        };
        let mut tensor = self.argument(role, name, ty);
        if let Some(sharding) = self.mesh.sharding_inside(ty) {
            self.body.begin(value.index(), &node.path);
            let whole = std::mem::replace(&mut tensor.name, self.body.fresh("cut"));
            self.body.line(&format!("{} = sdy.sharding_constraint {whole} {sharding} : {}", tensor.name, tensor.ty()));
        }
        self.tensors[value.index()] = Some(tensor);
    }

    /// The tensor of a value that an op or an output reads.
    fn tensor(&mut self, value: Value) -> Tensor {
        if let Some(tensor) = &self.tensors[value.index()] {
            return tensor.clone();
        }
        let node = self.graph.node(value);
        let tensor = match &node.op {
            Op::Constant { value: elements, ty } => {
                self.body.begin(value.index(), &node.path);
                elementwise::constant(&mut self.body, elements, ty)
            }
            _ => self.weight(value, node),
        };
        self.tensors[value.index()] = Some(tensor.clone());
        tensor
    }

    fn weight(&mut self, value: Value, node: &Node) -> Tensor {
        let recipe = Recipe::of(self.graph, value);
        if let Some(&at) = self.weights.get(recipe.key()) {
            return self.arguments[at].1.clone();
        }
        self.weights.insert(recipe.key().to_owned(), self.arguments.len());
        let mut parameters = recipe.graph().nodes().filter_map(|(_, node)| match &node.op {
            Op::Parameter { name, .. } => Some(name.clone()),
            _ => None,
        });
        let name = match (parameters.next(), parameters.next()) {
            (Some(one), None) => one,
            _ => node.path.to_string(),
        };
        drop(parameters);
        self.argument(ArgumentRole::Weight(recipe), &name, &node.ty)
    }

    /// Emits the lines of one op.
    fn value(&mut self, value: Value, node: &Node) -> Result<(), UnsupportedOp> {
        let of_deferred = matches!(&node.op, Op::Slice { input, .. } if self.deferred.contains(input));
        if of_deferred || self.deferred.contains(&value) {
            return Ok(());
        }
        if node.op.class() != Class::Moves && !node.ty.element.is_float() {
            return Err(UnsupportedOp {
                mnemonic: node.op.mnemonic(),
                path: node.path.to_string(),
                ty: node.ty.to_string(),
            });
        }
        // Constants among the operands first: their lines carry their own module.
        let whole = |v: &&Value| !self.deferred.contains(v);
        let operands: Vec<Value> = node.op.operands().iter().filter(whole).copied().collect();
        let operands: Vec<Tensor> = operands.into_iter().map(|v| self.tensor(v)).collect();
        self.body.begin(value.index(), &node.path);
        let tensor = match (&node.op, self.strips.get(&value).copied()) {
            (Op::Convolution { .. }, Some(strip)) => self.convolution_in_strips(value, node, strip),
            _ => self.lines(node, &operands),
        };
        self.tensors[value.index()] = Some(tensor.clone());
        if let Some((leading, slices)) = self.leading.get(&value).cloned() {
            self.extend(value, leading, &slices);
        }
        Ok(())
    }

    fn lines(&mut self, node: &Node, operands: &[Tensor]) -> Tensor {
        let graph = self.graph;
        let axes = |value: &Value| -> VideoAxes { graph.ty(*value).layout.video().expect("a graph that verifies") };
        let body = &mut self.body;
        match &node.op {
            Op::Input { .. } | Op::State { .. } | Op::Parameter { .. } | Op::Constant { .. } => {
                unreachable!("leaves have no lines")
            }
            Op::Add { .. } => body.elementwise("", "add", &[&operands[0], &operands[1]]),
            Op::Multiply { .. } => body.elementwise("", "multiply", &[&operands[0], &operands[1]]),
            Op::Silu { .. } => elementwise::silu(body, &operands[0]),
            Op::Unary { function, .. } => elementwise::unary(body, &operands[0], *function),
            Op::Clamp { low, high, .. } => elementwise::clamp(body, &operands[0], *low, *high),
            Op::AddBias { input, .. } => elementwise::add_bias(body, &operands[0], &operands[1], axes(input).channel),
            Op::Convolution { .. } => self.convolution(node),
            &Op::GroupedConvolution { weight, groups, strides, padding, .. } => {
                let weight_layout = graph.ty(weight).layout;
                let (weight, bias) = (&operands[1], operands.get(2));
                let by =
                    convolution::Convolution { weight, weight_layout, bias, residual: None, strides, padding, groups };
                convolution::convolution(body, &operands[0], node.ty.layout, &by, &node.ty.shape)
            }
            Op::Attention { heads, scale, mask, .. } => {
                let by =
                    attention::Attention { heads: *heads, scale: *scale, mask: *mask, score_bytes: self.strip_bytes };
                attention::attention(body, operands, by)
            }
            Op::LinearAttention { heads, epsilon, .. } => attention::linear_attention(body, operands, *heads, *epsilon),
            Op::GroupNorm { input, groups, epsilon, .. } => {
                let axes = axes(input);
                let statistics = &norm::group_statistics(body, &operands[0], axes, *groups, *epsilon);
                let (scale, offset) = (&operands[1], &operands[2]);
                let (gain_and_shift, activation) = (None, Activation::None);
                let by = norm::Modulation { statistics, scale, offset, gain_and_shift, activation };
                norm::normalize(body, &operands[0], axes, &by)
            }
            Op::GroupStatistics { input, groups, epsilon } => {
                norm::group_statistics(body, &operands[0], axes(input), *groups, *epsilon)
            }
            Op::Normalize { input, gain, first_frame, activation, .. } => {
                let by = norm::Modulation {
                    statistics: &operands[1],
                    scale: &operands[2],
                    offset: &operands[3],
                    gain_and_shift: gain.map(|_| (&operands[4], &operands[5], *first_frame)),
                    activation: *activation,
                };
                norm::normalize(body, &operands[0], axes(input), &by)
            }
            Op::ChannelNorm { .. } => {
                channel_norm::channel_norm(body, &operands[0], &normalization(graph, &node.op, operands))
            }
            Op::ResizeNearest { input, size, first_frame } => {
                resample::resize_nearest(body, &operands[0], axes(input), *size, *first_frame)
            }
            Op::AveragePool { input, window, first_frame } => {
                resample::average_pool(body, &operands[0], axes(input), *window, *first_frame)
            }
            Op::Pad { low, high, mode, .. } => shape_ops::pad(body, "", &operands[0], low, high, *mode),
            Op::Slice { start, limit, .. } => body.slice("", &operands[0], start, limit, &vec![1; start.len()]),
            Op::Concatenate { axis, .. } => body.concatenate("", &operands.iter().collect::<Vec<_>>(), *axis),
            Op::Transpose { permutation, .. } => shape_ops::transpose(body, &operands[0], permutation),
            Op::Reshape { ty, .. } => body.reshape("", &operands[0], &ty.shape),
            Op::Convert { element, .. } => elementwise::convert(body, &operands[0], *element),
        }
    }

    fn convolution(&mut self, node: &Node) -> Tensor {
        let &Op::Convolution { input, weight, bias, residual, cache, strides, mut padding, repeat_first, border } =
            &node.op
        else {
            unreachable!("called for convolutions");
        };
        let video = match cache {
            Some(cache) => self.with_leading_frames(input, LeadingFrames::Cache(cache)),
            None if repeat_first > 0 => self.with_leading_frames(input, LeadingFrames::First(repeat_first)),
            None => self.tensor(input),
        };
        let video = self.bordered(video, self.axes(input), border, &mut padding);
        let (weight_layout, weight) = (self.graph.ty(weight).layout, self.tensor(weight));
        let (bias, residual) = (bias.map(|v| self.tensor(v)), residual.map(|v| self.tensor(v)));
        let by = convolution::Convolution {
            weight: &weight,
            weight_layout,
            bias: bias.as_ref(),
            residual: residual.as_ref(),
            strides,
            padding,
            groups: 1,
        };
        let y = convolution::convolution(&mut self.body, &video, node.ty.layout, &by, &node.ty.shape);
        match y.element {
            ElementType::F32 => y,
            // Else a compiler that may keep excess precision leaves the result in f32, at twice the
            // memory, for whoever reads it in f32.
            ElementType::Bf16 | ElementType::F16 => self.body.barrier(&["made"], &[&y]).swap_remove(0),
            ElementType::I8 | ElementType::I32 => unreachable!("arithmetic on integers was refused"),
        }
    }

    /// `video` with all of its border but zeros, which is then no padding any more.
    fn bordered(&mut self, video: Tensor, axes: VideoAxes, border: Border, padding: &mut [[usize; 2]; 3]) -> Tensor {
        let each = border.0.into_iter().zip(axes.space).zip(padding);
        each.filter(|((mode, _), _)| *mode != PadMode::Zero).fold(video, |video, ((mode, axis), around)| {
            let (mut low, mut high) = (Dims::from_elem(0, 5), Dims::from_elem(0, 5));
            [low[axis], high[axis]] = std::mem::take(around);
            shape_ops::pad(&mut self.body, "bordered", &video, &low, &high, mode)
        })
    }

    /// The frames of `value` behind those in front, made once.
    fn with_leading_frames(&mut self, value: Value, leading: LeadingFrames) -> Tensor {
        if let Some(tensor) = self.extended.get(&(value, leading)) {
            return tensor.clone();
        }
        let tensor = self.tensor(value);
        let time = self.time(value);
        let first = match leading {
            LeadingFrames::Cache(cache) => Some(self.tensor(cache)),
            LeadingFrames::First(count) => shape_ops::repeated(&mut self.body, &tensor, time, 0, count),
        };
        let parts: Vec<&Tensor> = first.iter().chain([&tensor]).collect();
        let whole = self.body.concatenate("frames", &parts, time);
        self.extended.insert((value, leading), whole.clone());
        whole
    }

    /// The operands of a `normalize`, with gain and shift as the graph has them.
    fn normalize_operands(&mut self, value: Value) -> (Vec<Tensor>, FirstFrame, Activation) {
        let op = self.graph.op(value);
        let Op::Normalize { first_frame, activation, .. } = op else { unreachable!("called for normalize") };
        let operands = op.operands().iter().map(|&v| self.tensor(v)).collect();
        (operands, *first_frame, *activation)
    }

    /// Some frames of a `normalize` or `channel_norm` that is not made whole, for the slice
    /// `value`.
    fn frames_of_normalize(&mut self, value: Value, normalize: Value, frames: std::ops::Range<usize>) -> Tensor {
        let op = self.graph.op(normalize);
        if let Op::ChannelNorm { .. } = op {
            let operands: Vec<Tensor> = op.operands().iter().map(|&v| self.tensor(v)).collect();
            self.body.begin(value.index(), &self.graph.node(normalize).path);
            let x = self.body.slice_along("frames", &operands[0], self.time(normalize), frames);
            return channel_norm::channel_norm(&mut self.body, &x, &normalization(self.graph, op, &operands));
        }
        let (operands, first_frame, activation) = self.normalize_operands(normalize);
        self.body.begin(value.index(), &self.graph.node(normalize).path);
        let axes = self.axes(normalize);
        let body = &mut self.body;
        let [time, height, width] = axes.space;
        let total = operands[0].dims[time];
        let x = body.slice_along("frames", &operands[0], time, frames.clone());
        let small: Vec<Tensor> = operands[4..]
            .iter()
            .map(|v| {
                let size = [total, v.dims[height], v.dims[width]];
                let all = resample::resize_nearest(body, v, axes, size, first_frame);
                body.slice_along("frames", &all, time, frames.clone())
            })
            .collect();
        let gain_and_shift = match &small[..] {
            [gain, shift] => Some((gain, shift, FirstFrame::Joined)),
            _ => None,
        };
        let (statistics, scale, offset) = (&operands[1], &operands[2], &operands[3]);
        let by = norm::Modulation { statistics, scale, offset, gain_and_shift, activation };
        norm::normalize(body, &x, axes, &by)
    }

    fn convolution_in_strips(&mut self, value: Value, node: &Node, strip: Strip) -> Tensor {
        let &Op::Convolution { weight, bias, residual, cache, strides, padding, repeat_first, .. } = &node.op else {
            unreachable!("called for convolutions");
        };
        let axes = self.axes(value);
        let made = self.graph.node(strip.made);
        let (weight_layout, weight) = (self.graph.ty(weight).layout, self.tensor(weight));
        let [bias, residual, cache] = [bias, residual, cache].map(|v| v.map(|v| self.tensor(v)));
        let operands: Vec<Tensor> = made.op.operands().iter().map(|&v| self.tensor(v)).collect();
        self.body.begin(value.index(), &node.path);
        let (affine, small);
        let producer = match &made.op {
            Op::Normalize { first_frame, activation, .. } => {
                let (statistics, scale, offset) = (&operands[1], &operands[2], &operands[3]);
                let by = norm::Modulation { statistics, scale, offset, gain_and_shift: None, activation: *activation };
                affine = norm::affine(&mut self.body, &operands[0], axes, &by);
                let [time, height, width] = axes.space;
                let rows = made.ty.shape[height];
                small = operands[4..]
                    .iter()
                    .map(|v| {
                        let size = [v.dims[time], rows, v.dims[width]];
                        resample::resize_nearest(&mut self.body, v, axes, size, FirstFrame::Joined)
                    })
                    .collect::<Vec<_>>();
                let gain_and_shift = match &small[..] {
                    [gain, shift] => Some(([gain, shift], *first_frame)),
                    _ => None,
                };
                strips::Producer::Normalize { affine: &affine, gain_and_shift, activation: *activation }
            }
            op @ Op::ChannelNorm { .. } => strips::Producer::ChannelNorm(normalization(self.graph, op, &operands)),
            Op::ResizeNearest { size: [frames, height, width], first_frame, .. } => strips::Producer::Resize {
                frames: *frames,
                width: *width,
                factor: height / operands[0].dims[axes.space[1]],
                first_frame: *first_frame,
            },
            _ => unreachable!("strips are cut of these"),
        };
        let leading = match (&cache, repeat_first) {
            (Some(cache), _) => strips::Leading::Frames(cache),
            (None, 0) => strips::Leading::Nothing,
            (None, count) => strips::Leading::First(count),
        };
        let strips = strips::Strips {
            source: &operands[0],
            producer,
            leading,
            convolution: convolution::Convolution {
                weight: &weight,
                weight_layout,
                bias: bias.as_ref(),
                residual: residual.as_ref(),
                strides,
                padding,
                groups: 1,
            },
            axes,
            layout: node.ty.layout,
            element: node.ty.element,
            dims: &node.ty.shape,
            rows: strip.rows,
        };
        let y = strips::emit(&mut self.body, &strips);
        self.states_behind(strip.made, y)
    }

    /// `y`, the result of the convolution over `made`, behind the states that are frames of `made`.
    /// They are made when the old ones were read, since they are written over them, and before
    /// anything else, since they keep the source alive.
    fn states_behind(&mut self, made: Value, y: Tensor) -> Tensor {
        let mut states = Vec::new();
        for (value, node) in self.graph.nodes() {
            if let Op::Slice { input, start, limit } = &node.op
                && *input == made
            {
                let time = self.time(made);
                states.push((value, self.frames_of_normalize(value, made, start[time]..limit[time])));
            }
        }
        if states.is_empty() {
            return y;
        }
        let tensors: Vec<&Tensor> = std::iter::once(&y).chain(states.iter().map(|(_, tensor)| tensor)).collect();
        let hints: Vec<&str> = tensors.iter().map(|_| "made").collect();
        let mut after = self.body.barrier(&hints, &tensors).into_iter();
        let y = after.next().unwrap_or_else(|| y.clone());
        for ((value, _), tensor) in states.iter().zip(after) {
            self.tensors[value.index()] = Some(tensor);
        }
        y
    }

    fn axes(&self, value: Value) -> VideoAxes {
        self.graph.ty(value).layout.video().expect("a graph that verifies")
    }

    /// Makes the frames of `value` behind those in front, and the states that are slices of them.
    fn extend(&mut self, value: Value, leading: LeadingFrames, states: &[Value]) {
        let whole = self.with_leading_frames(value, leading);
        if states.is_empty() {
            return;
        }
        let time = self.time(value);
        let frames = self.graph.ty(value).shape[time];
        let mut made = vec![whole.clone()];
        for &state in states {
            if let Op::Slice { start, limit, .. } = &self.graph.op(state) {
                let (mut start, mut limit) = (start.clone(), limit.clone());
                start[time] += whole.dims[time] - frames;
                limit[time] += whole.dims[time] - frames;
                made.push(self.body.slice("state", &whole, &start, &limit, &[1; 5]));
            }
        }
        let hints: Vec<&str> = std::iter::once("frames").chain(states.iter().map(|_| "state")).collect();
        let mut after = self.body.barrier(&hints, &made.iter().collect::<Vec<_>>()).into_iter();
        self.extended.insert((value, leading), after.next().unwrap_or(whole));
        for (&state, tensor) in states.iter().zip(after) {
            self.tensors[state.index()] = Some(tensor);
        }
    }

    fn time(&self, value: Value) -> usize {
        self.axes(value).space[0]
    }

    fn finish(mut self) -> Module {
        let mut returned = Vec::new();
        let mut results = Vec::new();
        for output in self.graph.outputs() {
            let ty = self.graph.ty(output.value).clone();
            returned.push(self.tensor(output.value));
            results.push(ModuleResult { role: output.role, name: output.name.clone(), ty });
        }
        for (argument, _) in &mut self.arguments {
            if matches!(argument.role, ArgumentRole::State) {
                argument.donated_to = results.iter().position(|result: &ModuleResult| {
                    result.role == Role::State && result.name == argument.name && result.ty == argument.ty
                });
            }
        }
        let (name, arguments) = (&self.graph.name, &self.arguments);
        let text = text::module(name, self.mesh, arguments, &results, &self.body.into_text(), &returned);
        Module { text, arguments: self.arguments.into_iter().map(|(argument, _)| argument).collect(), results }
    }
}

/// How a `channel_norm` computes, with its operands as tensors.
fn normalization<'t>(graph: &Graph, op: &Op, operands: &'t [Tensor]) -> channel_norm::ChannelNorm<'t> {
    let &Op::ChannelNorm { input, scale, offset, kind, epsilon, activation } = op else {
        unreachable!("called for channel_norm")
    };
    let axis = graph.ty(input).layout.place(Axis::Channel).expect("a graph that verifies");
    let mut rest = operands[1..].iter();
    let [scale, offset] = [scale, offset].map(|vector| vector.and_then(|_| rest.next()));
    channel_norm::ChannelNorm { axis, kind, epsilon, scale, offset, activation }
}
