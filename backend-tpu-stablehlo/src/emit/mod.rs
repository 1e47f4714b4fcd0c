//! From a graph to StableHLO text: one function, `main`.
//!
//! - Arguments are inputs, then states, then weights. A weight is a value of parameters alone that the step reads: what it
//!   is made of stays outside, as a [`Recipe`], and no weight is a constant of the text.
//! - A state that is read and left with one type is donated: its result is written over its buffer.
//! - `%v12` is the value `%12` of the graph, `%v12.mean` something on the way there. Every line's location is the module.
//! - Types lose their layouts: StableHLO's ops name the axes they work on.
//! - In bf16 each op of the graph computes in f32 and rounds once, as the evaluator defines it.
//!
//! The text is the same for the same graph. It uses the dialects `func` and `stablehlo` alone, with static shapes.

mod body;
mod convolution;
mod elementwise;
mod norm;
mod resample;
mod shape_ops;

use std::collections::HashMap;
use std::fmt::Write as _;

use ir::analysis::weight_only;
use ir::types::VideoAxes;
use ir::{Graph, Node, Op, Recipe, Role, Value};

use body::{Body, Tensor, text_of};

use crate::mesh::Mesh;
use crate::module::{Argument, ArgumentRole, Module, ModuleResult};

/// An op that has no form in StableHLO here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{mnemonic}{}: StableHLO text is written for floating-point numbers, found {ty}", of(path))]
pub struct UnsupportedOp {
    /// The op's name.
    pub mnemonic: &'static str,
    /// Its module.
    pub path: String,
    /// The type that is not taken.
    pub ty: String,
}

fn of(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" of `{path}`") }
}

/// The module of a graph that verifies.
///
/// # Errors
/// When arithmetic is on integers; moving and converting them is taken.
pub fn emit(graph: &Graph) -> Result<Module, UnsupportedOp> {
    emit_on(Mesh::SINGLE, graph)
}

/// The same for a mesh of devices: arguments and results say how they are cut. Types are those of whole tensors.
///
/// # Errors
/// As [`emit`].
pub fn emit_on(mesh: Mesh, graph: &Graph) -> Result<Module, UnsupportedOp> {
    let mut emitter = Emitter {
        graph,
        weight_only: weight_only(graph),
        body: Body::default(),
        arguments: Vec::new(),
        names: HashMap::new(),
        weights: HashMap::new(),
        tensors: vec![None; graph.len()],
        in_front: frames_in_front(graph),
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
    Ok(emitter.finish(mesh))
}

/// The frames in front of a convolution's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Front {
    /// Those of a cache.
    Cache(Value),
    /// The first one so many times.
    First(usize),
}

/// By value that a convolution reads behind other frames: which, where they are there before it.
///
/// The slices of such a value that leave as states, the next step's caches, are read from the frames with those in front
/// as well: then the value itself has one reader, and is never made by itself. They are made before the convolution: later,
/// they would keep all frames alive.
fn frames_in_front(graph: &Graph) -> HashMap<Value, (Front, Vec<Value>)> {
    let mut fronts: HashMap<Value, (Front, Vec<Value>)> = HashMap::new();
    for (_, node) in graph.nodes() {
        if let Op::Convolution { input, cache, repeat_first, .. } = node.op {
            let front = match cache {
                Some(cache) if matches!(graph.op(cache), Op::State { .. }) => Front::Cache(cache),
                None if repeat_first > 0 => Front::First(repeat_first),
                _ => continue,
            };
            fronts.entry(input).or_insert((front, Vec::new()));
        }
    }
    for (value, node) in graph.nodes() {
        if let Op::Slice { input, .. } = node.op
            && let Some((_, slices)) = fronts.get_mut(&input)
            && graph.outputs().iter().any(|output| output.role == Role::State && output.value == value)
        {
            slices.push(value);
        }
    }
    fronts
}

struct Emitter<'g> {
    graph: &'g Graph,
    weight_only: Vec<bool>,
    body: Body,
    arguments: Vec<(Argument, Tensor)>,
    /// How often an argument's name was asked for.
    names: HashMap<String, usize>,
    /// By key of its recipe: the argument of a weight.
    weights: HashMap<String, usize>,
    /// By value.
    tensors: Vec<Option<Tensor>>,
    in_front: HashMap<Value, (Front, Vec<Value>)>,
    /// Values with frames in front.
    extended: HashMap<(Value, Front), Tensor>,
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
        let tensor = self.argument(role, name, ty);
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
        // Constants among the operands first: their lines carry their own module.
        let operands: Vec<Tensor> = node.op.operands().iter().map(|&v| self.tensor(v)).collect();
        self.body.begin(value.index(), &node.path);
        let tensor = self.lines(node, &operands)?;
        self.tensors[value.index()] = Some(tensor.clone());
        if let Some((front, slices)) = self.in_front.get(&value).cloned() {
            self.extend(value, front, &slices);
        }
        Ok(())
    }

    fn lines(&mut self, node: &Node, operands: &[Tensor]) -> Result<Tensor, UnsupportedOp> {
        let moves = matches!(
            node.op,
            Op::Pad { .. }
                | Op::Slice { .. }
                | Op::Concatenate { .. }
                | Op::Transpose { .. }
                | Op::Reshape { .. }
                | Op::ResizeNearest { .. }
                | Op::Convert { .. }
        );
        if !moves && !node.ty.element.is_float() {
            return Err(UnsupportedOp {
                mnemonic: node.op.mnemonic(),
                path: node.path.to_string(),
                ty: node.ty.to_string(),
            });
        }
        let graph = self.graph;
        let axes = |value: &Value| -> VideoAxes { graph.ty(*value).layout.video().expect("a graph that verifies") };
        let body = &mut self.body;
        Ok(match &node.op {
            Op::Input { .. } | Op::State { .. } | Op::Parameter { .. } | Op::Constant { .. } => {
                unreachable!("leaves have no lines")
            }
            Op::Add { .. } => body.elementwise("", "add", &[&operands[0], &operands[1]]),
            Op::Multiply { .. } => body.elementwise("", "multiply", &[&operands[0], &operands[1]]),
            Op::Silu { .. } => elementwise::silu(body, &operands[0]),
            Op::AddBias { input, .. } => elementwise::add_bias(body, &operands[0], &operands[1], axes(input).channel),
            Op::Convolution { .. } => self.convolution(node),
            Op::GroupNorm { input, groups, epsilon, .. } => {
                let axes = axes(input);
                let statistics = &norm::group_statistics(body, &operands[0], axes, *groups, *epsilon);
                let (scale, offset) = (&operands[1], &operands[2]);
                let (gain_and_shift, activation) = (None, ir::Activation::None);
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
            Op::ResizeNearest { input, size, first_frame } => {
                resample::resize_nearest(body, &operands[0], axes(input), *size, *first_frame)
            }
            Op::AveragePool { input, window, first_frame } => {
                resample::average_pool(body, &operands[0], axes(input), *window, *first_frame)
            }
            Op::Pad { low, high, mode, .. } => shape_ops::pad(body, &operands[0], low, high, *mode),
            Op::Slice { start, limit, .. } => body.slice("", &operands[0], start, limit, &vec![1; start.len()]),
            Op::Concatenate { axis, .. } => body.concatenate("", &operands.iter().collect::<Vec<_>>(), *axis),
            Op::Transpose { permutation, .. } => shape_ops::transpose(body, &operands[0], permutation),
            Op::Reshape { ty, .. } => body.reshape("", &operands[0], &ty.shape),
            Op::Convert { element, .. } => elementwise::convert(body, &operands[0], *element),
        })
    }

    fn convolution(&mut self, node: &Node) -> Tensor {
        let &Op::Convolution { input, weight, bias, residual, cache, strides, padding, repeat_first } = &node.op else {
            unreachable!("called for convolutions");
        };
        let video = match cache {
            Some(cache) => self.with_frames_in_front(input, Front::Cache(cache)),
            None if repeat_first > 0 => self.with_frames_in_front(input, Front::First(repeat_first)),
            None => self.tensor(input),
        };
        let (weight_layout, weight) = (self.graph.ty(weight).layout, self.tensor(weight));
        let (bias, residual) = (bias.map(|v| self.tensor(v)), residual.map(|v| self.tensor(v)));
        let by = convolution::Convolution {
            weight: &weight,
            weight_layout,
            bias: bias.as_ref(),
            residual: residual.as_ref(),
            strides,
            padding,
        };
        convolution::convolution(&mut self.body, &video, node.ty.layout, &by, &node.ty.shape)
    }

    /// The frames of `value` behind those in front, made once.
    fn with_frames_in_front(&mut self, value: Value, front: Front) -> Tensor {
        if let Some(tensor) = self.extended.get(&(value, front)) {
            return tensor.clone();
        }
        let tensor = self.tensor(value);
        let time = self.time(value);
        let first = match front {
            Front::Cache(cache) => Some(self.tensor(cache)),
            Front::First(count) => shape_ops::repeated(&mut self.body, &tensor, time, 0, count),
        };
        let parts: Vec<&Tensor> = first.iter().chain([&tensor]).collect();
        let whole = self.body.concatenate("frames", &parts, time);
        self.extended.insert((value, front), whole.clone());
        whole
    }

    /// Makes the frames of `value` behind those in front, and the states that are slices of them.
    fn extend(&mut self, value: Value, front: Front, states: &[Value]) {
        let whole = self.with_frames_in_front(value, front);
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
        self.extended.insert((value, front), after.next().unwrap_or(whole));
        for (&state, tensor) in states.iter().zip(after) {
            self.tensors[state.index()] = Some(tensor);
        }
    }

    fn time(&self, value: Value) -> usize {
        self.graph.ty(value).layout.video().expect("a graph that verifies").space[0]
    }

    fn finish(mut self, mesh: Mesh) -> Module {
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
        let mut text = format!("module @{:?} {{\n", self.graph.name);
        if mesh.devices() > 1 {
            let _ = writeln!(text, "  {}", mesh.declaration());
        }
        text.push_str("  func.func public @main(\n");
        let sharding = |ty: &ir::TensorType| (mesh.devices() > 1).then(|| mesh.sharding(ty));
        let attributes = |all: [Option<String>; 2]| {
            let all: Vec<String> = all.into_iter().flatten().collect();
            if all.is_empty() { String::new() } else { format!(" {{{}}}", all.join(", ")) }
        };
        let count = self.arguments.len();
        for (i, (argument, tensor)) in self.arguments.iter().enumerate() {
            let alias = argument.donated_to.map(|to| format!("tf.aliasing_output = {to} : i32"));
            let comma = if i + 1 < count { "," } else { "" };
            let (ty, name) = (tensor.ty(), &argument.name);
            let attributes = attributes([alias, sharding(&argument.ty)]);
            let _ = writeln!(text, "    {}: {ty}{attributes} loc({name:?}){comma}", tensor.name);
        }
        text.push_str("  ) -> (\n");
        for (i, result) in results.iter().enumerate() {
            let comma = if i + 1 < results.len() { "," } else { "" };
            let (ty, attributes) = (text_of(&result.ty), attributes([None, sharding(&result.ty)]));
            let _ = writeln!(text, "    {ty}{attributes}{comma} // {} {}", result.role.word(), result.name);
        }
        text.push_str("  ) {\n");
        text.push_str(&self.body.into_text());
        let (names, types): (Vec<&str>, Vec<String>) = returned.iter().map(|t| (t.name.as_str(), t.ty())).unzip();
        let _ = writeln!(text, "    return {} : {}\n  }}\n}}", names.join(", "), types.join(", "));
        Module { text, arguments: self.arguments.into_iter().map(|(argument, _)| argument).collect(), results }
    }
}
