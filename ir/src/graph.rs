//! The graph: a list of ops in an order in which each comes after its operands, and the outputs.
//!
//! A graph is one step of a model: a function from inputs, states and parameters to results and new
//! states. It is built with [`crate::builder::Builder`], never changed in place: a pass makes a new
//! graph of an old one.

use std::fmt;
use std::sync::Arc;

use crate::op::Op;
use crate::types::TensorType;

/// The result of an op; its number is the op's place in the graph.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) u32);

impl Value {
    /// The op's place in the graph.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// The module of the checkpoint that an op belongs to, such as
/// `decoder.up_blocks.0.resnets.1.conv1`; may be empty.
pub type Path = Arc<str>;

/// ` of` and the module, for messages about an op: nothing where the module is not known.
pub fn of_module(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" of `{path}`") }
}

/// An op in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// The type of the result.
    pub ty: TensorType,
    /// Whose op it is.
    pub path: Path,
}

/// What an output is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// What the caller asked for.
    Result,
    /// What the next step reads as its state of the same name.
    State,
    /// An activation laid open for inspection, named by the module that returned it.
    Tap,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Result, Self::State, Self::Tap];

    /// The word in the text format.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Result => "result",
            Self::State => "state",
            Self::Tap => "tap",
        }
    }
}

/// A value that leaves the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// What it is for.
    pub role: Role,
    /// Its name, unique among outputs of its role.
    pub name: String,
    /// What leaves.
    pub value: Value,
}

/// A step of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// The name after `graph @`.
    pub name: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) outputs: Vec<Output>,
}

impl Graph {
    /// A graph of parts that were put together by hand; nothing is checked before
    /// [`crate::verify::verify`] is asked.
    pub fn from_parts(name: String, nodes: Vec<Node>, outputs: Vec<Output>) -> Self {
        Self { name, nodes, outputs }
    }

    /// Number of ops.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no op.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The op that computes `value`.
    pub fn node(&self, value: Value) -> &Node {
        &self.nodes[value.index()]
    }

    /// The op of `value`.
    pub fn op(&self, value: Value) -> &Op {
        &self.node(value).op
    }

    /// The type of `value`.
    pub fn ty(&self, value: Value) -> &TensorType {
        &self.node(value).ty
    }

    /// Every op with its value, in order.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (Value, &Node)> + DoubleEndedIterator {
        self.nodes.iter().enumerate().map(|(i, node)| (Value(i as u32), node))
    }

    /// What leaves the graph.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// The output with this role and name.
    pub fn output(&self, role: Role, name: &str) -> Option<Value> {
        self.outputs.iter().find(|o| o.role == role && o.name == name).map(|o| o.value)
    }

    /// How often each value is used, by ops and as an output.
    pub fn use_counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.nodes.len()];
        for node in &self.nodes {
            node.op.visit_operands(&mut |_, values| values.iter().for_each(|v| counts[v.index()] += 1));
        }
        for output in &self.outputs {
            counts[output.value.index()] += 1;
        }
        counts
    }
}
