//! Recipes: how a weight, as a program reads it, is made of a checkpoint's parameters.
//!
//! Ops over parameters and constants alone ([`crate::analysis::weight_only`]) stay in the graph through all passes. A
//! backend does not run them in every step: it cuts each value that the step reads out as a recipe and makes it once,
//! when weights are bound; by a view where the recipe is one, else through the evaluator. Equal recipes have equal keys,
//! also across programs, so that what they make can be shared.

use std::collections::HashMap;

use crate::builder::Builder;
use crate::graph::{Graph, Role, Value};
use crate::op::Op;
use crate::text;
use crate::types::{Dims, TensorType};

/// How a weight is made of parameters: a small graph with one output.
#[derive(Clone, Debug)]
pub struct Recipe {
    graph: Graph,
    key: String,
}

/// A tensor read in another order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// The parameter.
    pub name: &'a str,
    /// Its type.
    pub ty: &'a TensorType,
    /// Elements of the parameter between neighbours along each axis of what is made.
    pub strides: Dims,
}

impl Recipe {
    /// The ops of `graph` that make `value`, without their modules. No input or state may be among them.
    ///
    /// # Panics
    /// If the graph does not verify.
    pub fn of(graph: &Graph, value: Value) -> Self {
        let mut needed = vec![false; graph.len()];
        needed[value.index()] = true;
        for (v, node) in graph.nodes().rev().filter(|(v, _)| *v <= value) {
            if needed[v.index()] {
                node.op.operands().iter().for_each(|o| needed[o.index()] = true);
            }
        }
        let mut builder = Builder::new("weights");
        let mut made: HashMap<Value, Value> = HashMap::new();
        for (v, node) in graph.nodes().filter(|(v, _)| needed[v.index()]) {
            let mut op = node.op.clone();
            op.map_operands(&mut |operand| made[&operand]);
            made.insert(v, builder.push(op).expect("part of a graph that verifies"));
        }
        builder.output(Role::Result, "weights", made[&value]);
        let graph = builder.finish();
        Self { key: text::print(&graph), graph }
    }

    /// The graph, whose one output is what is made.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Equal for equal recipes.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The type of what is made.
    pub fn ty(&self) -> &TensorType {
        self.graph.ty(self.value())
    }

    /// The parameter of which this is a view, its elements converted at most once, to those of [`Self::ty`]; `None` if elements
    /// are computed.
    pub fn as_view(&self) -> Option<View<'_>> {
        match self.graph.op(self.value()) {
            Op::Convert { input, .. } => self.view(*input),
            _ => self.view(self.value()),
        }
    }

    fn value(&self) -> Value {
        self.graph.outputs()[0].value
    }

    fn view(&self, value: Value) -> Option<View<'_>> {
        match self.graph.op(value) {
            Op::Parameter { name, ty } => Some(View { name, ty, strides: ty.strides() }),
            Op::Transpose { input, permutation } => {
                let view = self.view(*input)?;
                let strides = permutation.iter().map(|&axis| view.strides[axis]).collect();
                Some(View { strides, ..view })
            }
            Op::Reshape { input, ty: to } => {
                let view = self.view(*input)?;
                let from = self.graph.ty(*input);
                let kept = from.shape.iter().zip(&view.strides).filter(|(size, _)| **size != 1);
                let (sizes, mut kept): (Dims, _) = (kept.clone().map(|(s, _)| *s).collect(), kept.map(|(_, s)| *s));
                if to.shape.iter().copied().filter(|&s| s != 1).eq(sizes) {
                    let stride = |&size: &usize| if size == 1 { 0 } else { kept.next().unwrap_or(0) };
                    let strides = to.shape.iter().map(stride).collect();
                    return Some(View { strides, ..view });
                }
                (view.strides == from.strides()).then(|| View { strides: to.strides(), ..view })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recipe of the last op of a program.
    fn recipe(body: &str) -> Recipe {
        let graph = text::parse(&format!("graph @g {{\n{body}\n}}")).unwrap();
        let (last, _) = graph.nodes().last().unwrap();
        Recipe::of(&graph, last)
    }

    #[test]
    fn transposes_and_reshapes_are_views() {
        let made = recipe(
            r#"%0 = input {name = "x"} : tensor<2xf32>
               %1 = parameter {name = "w"} : tensor<8x4x3x3xf32> @ conv
               %2 = reshape %1 : tensor<8x4x1x3x3xf32, oidhw> @ conv
               %3 = transpose %2 {permutation = [2, 3, 4, 1, 0]} : tensor<1x3x3x4x8xf32, dhwio> @ conv"#,
        );
        let view = made.as_view().unwrap();
        assert_eq!((view.name, view.strides.as_slice()), ("w", &[0, 3, 1, 9, 36][..]));
        assert_eq!(made.ty().to_string(), "tensor<1x3x3x4x8xf32, dhwio>");
        assert_eq!(made.graph().len(), 3, "what the weight is not made of is left out");
    }

    #[test]
    fn a_view_may_be_converted() {
        let made = recipe(
            r#"%0 = parameter {name = "w"} : tensor<4x2xf32>
               %1 = transpose %0 {permutation = [1, 0]} : tensor<2x4xf32>
               %2 = convert %1 {element = bf16} : tensor<2x4xbf16>"#,
        );
        assert_eq!(made.as_view().unwrap().strides.as_slice(), [1, 2]);
        assert_eq!(made.ty().to_string(), "tensor<2x4xbf16>");
    }

    #[test]
    fn arithmetic_is_no_view() {
        let made = recipe(
            r#"%0 = parameter {name = "w"} : tensor<4xf32>
               %1 = convert %0 {element = i8} : tensor<4xi8>
               %2 = convert %1 {element = bf16} : tensor<4xbf16>"#,
        );
        assert_eq!(made.as_view(), None);
    }

    #[test]
    fn modules_do_not_tell_recipes_apart() {
        let body =
            |path| format!("%0 = parameter {{name = \"w\"}} : tensor<4xf32>\n%1 = silu %0 : tensor<4xf32> @ {path}");
        assert_eq!(recipe(&body("a")).key(), recipe(&body("b")).key());
    }
}
