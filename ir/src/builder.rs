//! Building graphs: one method an op (derived from the table in [`crate::op`]), types inferred,
//! paths scoped.

use std::sync::Arc;

use crate::attribute::Border;
use crate::graph::{Graph, Node, Output, Path, Role, Value, of_module};
use crate::op::Op;
use crate::shape::{self, Violation};
use crate::types::TensorType;

/// An op that breaks a rule, with the place where it was to stand.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{mnemonic}{}: {violation}", of_module(path))]
pub struct BuildError {
    /// The op's name.
    pub mnemonic: &'static str,
    /// The module it was for.
    pub path: Path,
    /// The rule.
    pub violation: Violation,
}

/// A graph under construction.
#[derive(Clone, Debug)]
pub struct Builder {
    graph: Graph,
    path: Path,
}

impl Builder {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Self { graph: Graph { name: name.into(), nodes: Vec::new(), outputs: Vec::new() }, path: Arc::from("") }
    }

    /// The module whose ops are built now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets the module whose ops are built from here on; returns the one before.
    pub fn set_path(&mut self, path: Path) -> Path {
        std::mem::replace(&mut self.path, path)
    }

    /// Sets the submodule `name` for the ops that are built from here on; returns the module
    /// before.
    pub fn enter(&mut self, name: &str) -> Path {
        let inner = if self.path.is_empty() { Arc::from(name) } else { Arc::from(format!("{}.{name}", self.path)) };
        self.set_path(inner)
    }

    /// Appends an op with its inferred type.
    ///
    /// # Errors
    /// When its operands break a constraint of its shape function.
    pub fn push(&mut self, op: Op) -> Result<Value, BuildError> {
        match shape::infer(&op, &self.graph) {
            Ok(ty) => {
                let value = Value(u32::try_from(self.graph.nodes.len()).expect("fewer than 2^32 ops"));
                self.graph.nodes.push(Node { op, ty, path: self.path.clone() });
                Ok(value)
            }
            Err(violation) => Err(BuildError { mnemonic: op.mnemonic(), path: self.path.clone(), violation }),
        }
    }

    /// A [`Builder::bordered_convolution`] with zeros on its border.
    ///
    /// # Errors
    /// When the operands break a constraint of the op's shape function.
    #[expect(clippy::too_many_arguments, reason = "one argument an operand or attribute of the op")]
    pub fn convolution(
        &mut self,
        input: Value,
        weight: Value,
        bias: Option<Value>,
        residual: Option<Value>,
        cache: Option<Value>,
        strides: [usize; 3],
        padding: [[usize; 2]; 3],
        repeat_first: usize,
    ) -> Result<Value, BuildError> {
        self.bordered_convolution(input, weight, bias, residual, cache, strides, padding, repeat_first, Border::ZERO)
    }

    /// Lets `value` leave the graph.
    pub fn output(&mut self, role: Role, name: impl Into<String>, value: Value) {
        self.graph.outputs.push(Output { role, name: name.into(), value });
    }

    /// The type of a value built so far.
    pub fn ty(&self, value: Value) -> &TensorType {
        self.graph.ty(value)
    }

    /// What has been built so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The finished graph.
    pub fn finish(self) -> Graph {
        self.graph
    }
}
