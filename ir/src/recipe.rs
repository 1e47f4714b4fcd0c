//! Recipes: how a weight, as a program reads it, is made of a checkpoint's parameters.
//!
//! Ops over parameters and constants alone ([`crate::analysis::weight_only`]) stay in the graph
//! through all passes. A backend does not run them in every step: it cuts each value that the step
//! reads out as a recipe and makes it once, when weights are bound ([`Recipe::make`]); by a view
//! where the recipe is one, else through the evaluator. Equal recipes have equal keys, also across
//! programs, so that what they make can be shared.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;

use crate::builder::Builder;
use crate::eval::{Bindings, EvalError, Leaf, Tensor, evaluate};
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

/// Why a weight could not be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MakeError<E> {
    /// A parameter could not be had.
    #[error("{0}")]
    Parameter(E),
    /// The ops over the parameters could not be evaluated.
    #[error("computing weights failed: {0}")]
    Evaluate(EvalError),
}

impl Recipe {
    /// The ops of `graph` that make `value`, without their modules. No input or state may be among
    /// them.
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

    /// The parameter of which this is a view, its elements converted at most once, to those of
    /// [`Self::ty`]; `None` if elements are computed.
    pub fn as_view(&self) -> Option<View<'_>> {
        match self.graph.op(self.value()) {
            Op::Convert { input, .. } => self.view(*input),
            _ => self.view(self.value()),
        }
    }

    /// The elements of the weight, row-major in [`Self::ty`]'s shape. Those of a view are the
    /// parameter's own, not rounded to the element type.
    ///
    /// `parameter` gives the elements of the parameter of a name, row-major in the shape of the
    /// type: as many as it has.
    ///
    /// # Errors
    /// What `parameter` says first; what the evaluator says.
    pub fn make<'a, E>(
        &self,
        parameter: impl Fn(&str, &TensorType) -> Result<Cow<'a, [f32]>, E>,
    ) -> Result<Cow<'a, [f32]>, MakeError<E>> {
        if let Some(view) = self.as_view() {
            let values = parameter(view.name, view.ty).map_err(MakeError::Parameter)?;
            let ty = self.ty();
            return Ok(if view.strides == ty.strides() { values } else { gather(&values, ty, &view.strides).into() });
        }
        let source = Parameters { parameter, failed: RefCell::new(None) };
        let outputs = evaluate::<f32>(&self.graph, &source);
        if let Some(error) = source.failed.into_inner() {
            return Err(MakeError::Parameter(error));
        }
        Ok(outputs.map_err(MakeError::Evaluate)?.swap_remove(0).1.data.into())
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

/// Elements of `values` in the order of `ty`, whose neighbours along each axis are `strides` apart
/// there.
fn gather(values: &[f32], ty: &TensorType, strides: &[usize]) -> Vec<f32> {
    let (Some((&row, outer)), Some((&step, _))) = (ty.shape.split_last(), strides.split_last()) else {
        return values.to_vec();
    };
    let mut gathered = Vec::with_capacity(ty.elements());
    let mut index: Dims = outer.iter().map(|_| 0).collect();
    for _ in 0..outer.iter().product() {
        let start: usize = index.iter().zip(strides).map(|(i, stride)| i * stride).sum();
        gathered.extend((0..row).map(|i| values[start + i * step]));
        for axis in (0..outer.len()).rev() {
            index[axis] += 1;
            if index[axis] < outer[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    gathered
}

/// Parameters for the evaluator.
struct Parameters<F, E> {
    parameter: F,
    /// Why the first parameter that could not be had was not there.
    failed: RefCell<Option<E>>,
}

impl<'p, E, F: Fn(&str, &TensorType) -> Result<Cow<'p, [f32]>, E>> Bindings<f32> for Parameters<F, E> {
    fn tensor(&self, leaf: Leaf<'_>) -> Option<Cow<'_, Tensor<f32>>> {
        match (self.parameter)(leaf.name, leaf.ty) {
            Ok(values) => Some(Cow::Owned(Tensor { ty: leaf.ty.clone(), data: values.into_owned() })),
            Err(error) => {
                self.failed.borrow_mut().get_or_insert(error);
                None
            }
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

    /// The parameter `w`, elements 0, 1, 2 and so on.
    fn counting(name: &str, ty: &TensorType) -> Result<Cow<'static, [f32]>, String> {
        match name {
            "w" => Ok((0..ty.elements()).map(|i| i as f32).collect::<Vec<_>>().into()),
            _ => Err(format!("no `{name}`")),
        }
    }

    #[test]
    fn views_and_arithmetic_are_made_alike() {
        let transposed = r#"%0 = parameter {name = "w"} : tensor<2x3xf32>
               %1 = transpose %0 {permutation = [1, 0]} : tensor<3x2xf32>"#;
        let expected = [0.0, 3.0, 1.0, 4.0, 2.0, 5.0];
        assert_eq!(*recipe(transposed).make(counting).unwrap(), expected);
        let doubled = recipe(&format!("{transposed}\n%2 = add %1, %1 : tensor<3x2xf32>"));
        assert_eq!(*doubled.make(counting).unwrap(), expected.map(|value| 2.0 * value));
        let plain = recipe(r#"%0 = parameter {name = "w"} : tensor<4xf32>"#);
        assert_eq!(*plain.make(counting).unwrap(), [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn a_parameter_that_cannot_be_had_is_told_of() {
        for op in ["%1 = transpose %0 {permutation = [0]} : tensor<4xf32>", "%1 = silu %0 : tensor<4xf32>"] {
            let made = recipe(&format!("%0 = parameter {{name = \"v\"}} : tensor<4xf32>\n{op}")).make(counting);
            assert_eq!(made, Err(MakeError::Parameter("no `v`".into())), "{op}");
        }
    }

    #[test]
    fn modules_do_not_tell_recipes_apart() {
        let body =
            |path| format!("%0 = parameter {{name = \"w\"}} : tensor<4xf32>\n%1 = silu %0 : tensor<4xf32> @ {path}");
        assert_eq!(recipe(&body("a")).key(), recipe(&body("b")).key());
    }
}
