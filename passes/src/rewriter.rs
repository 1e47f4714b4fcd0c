//! The one way in which passes make a graph of a graph.
//!
//! A [`Rewriter`] holds the old graph, the new one as far as it is built, and which new value
//! stands for which old one. It knows how often each value is *used*: by ops that an output depends
//! on, and as an output. Dead ops do not count, so a pass decides the same whether or not dead code
//! was eliminated before it.

use ir::analysis::reachable;
use ir::builder::BuildError;
use ir::{Builder, Graph, Node, Op, Path, TensorType, Value};

use crate::pass::PassError;

/// A new graph under construction out of an old one.
pub(crate) struct Rewriter<'a> {
    old: &'a Graph,
    old_uses: Vec<u32>,
    builder: Builder,
    /// By old value: the new value; `None` where the op was dropped.
    new_of: Vec<Option<Value>>,
    /// By new value: the uses of all old values that it stands for.
    uses: Vec<u32>,
}

impl<'a> Rewriter<'a> {
    pub(crate) fn new(old: &'a Graph) -> Self {
        Self {
            old,
            old_uses: live_use_counts(old),
            builder: Builder::new(old.name.clone()),
            new_of: Vec::with_capacity(old.len()),
            uses: Vec::with_capacity(old.len()),
        }
    }

    /// The new op of `value`.
    pub(crate) fn op(&self, value: Value) -> &Op {
        self.builder.graph().op(value)
    }

    /// The type of the new `value`.
    pub(crate) fn ty(&self, value: Value) -> &TensorType {
        self.builder.ty(value)
    }

    /// The type that `op`, over new values, would have; `None` when it breaks a rule.
    pub(crate) fn infer(&self, op: &Op) -> Option<TensorType> {
        ir::shape::infer(op, self.builder.graph()).ok()
    }

    /// The module of the new `value`.
    pub(crate) fn path(&self, value: Value) -> &Path {
        &self.builder.graph().node(value).path
    }

    /// The op with the new values in the place of its old operands.
    pub(crate) fn translate(&self, op: &Op) -> Op {
        let mut op = op.clone();
        op.map_operands(&mut |old| self.new_of(old));
        op
    }

    /// The new value of an old one, which was not dropped.
    pub(crate) fn new_of(&self, old: Value) -> Value {
        self.new_of[old.index()].expect("only ops that nothing depends on are dropped")
    }

    /// Sets the module that [`Rewriter::emit`] gives to new ops.
    pub(crate) fn at(&mut self, path: &Path) {
        self.builder.set_path(path.clone());
    }

    /// Appends an op to the new graph.
    pub(crate) fn emit(&mut self, op: Op) -> Result<Value, BuildError> {
        let value = self.builder.push(op)?;
        self.uses.push(0);
        Ok(value)
    }

    /// Appends an op under the module of `anchor`, the op that it grew out of.
    pub(crate) fn emit_beside(&mut self, anchor: Value, op: Op) -> Result<Value, BuildError> {
        let path = self.path(anchor).clone();
        let current = self.builder.set_path(path);
        let value = self.emit(op);
        self.builder.set_path(current);
        value
    }

    /// Lets `new` stand for the next value of the old graph.
    pub(crate) fn map_next(&mut self, new: Value) {
        self.uses[new.index()] += self.old_uses[self.new_of.len()];
        self.new_of.push(Some(new));
    }

    /// Drops the next op of the old graph, on which nothing depends.
    pub(crate) fn drop_next(&mut self) {
        self.new_of.push(None);
    }

    /// Whether what `value` stands for is used exactly once: the op at hand, which reads it, is its
    /// only reader.
    pub(crate) fn single_use(&self, value: Value) -> bool {
        self.uses[value.index()] == 1
    }

    /// The new graph, with the old graph's outputs.
    pub(crate) fn finish(self) -> Graph {
        self.finish_with(|rewriter, output| rewriter.new_of(output.value))
    }

    /// The new graph, with outputs of the same roles and names, each with the value that `value_of`
    /// chooses.
    pub(crate) fn finish_with(mut self, mut value_of: impl FnMut(&Self, &ir::Output) -> Value) -> Graph {
        for output in self.old.outputs() {
            let value = value_of(&self, output);
            self.builder.output(output.role, output.name.clone(), value);
        }
        self.builder.finish()
    }
}

/// Rewrites a graph op by op.
///
/// `rule` sees each op with its operands translated, and returns the value that takes the op's
/// place, or `None` to keep the op.
///
/// # Errors
/// What `rule` returns, and when the value in an op's place has another type.
pub(crate) fn rewrite(
    graph: &Graph,
    mut rule: impl FnMut(&mut Rewriter<'_>, &Op) -> Result<Option<Value>, PassError>,
) -> Result<Graph, PassError> {
    let mut rewriter = Rewriter::new(graph);
    for (_, node) in graph.nodes() {
        let Node { op, ty, path } = node;
        let translated = rewriter.translate(op);
        rewriter.at(path);
        let new = match rule(&mut rewriter, &translated)? {
            Some(value) => value,
            None => rewriter.emit(translated)?,
        };
        if rewriter.ty(new) != ty {
            let change = Box::new([ty.clone(), rewriter.ty(new).clone()]);
            return Err(PassError::TypeChanged { op: op.mnemonic(), path: path.clone(), change });
        }
        rewriter.map_next(new);
    }
    Ok(rewriter.finish())
}

/// By value: how often it is used by ops that an output depends on, and as an output.
fn live_use_counts(graph: &Graph) -> Vec<u32> {
    let live = reachable(graph);
    let mut counts = vec![0; graph.len()];
    for (value, node) in graph.nodes() {
        if live[value.index()] {
            node.op.visit_operands(&mut |_, values| values.iter().for_each(|v| counts[v.index()] += 1));
        }
    }
    for output in graph.outputs() {
        counts[output.value.index()] += 1;
    }
    counts
}
