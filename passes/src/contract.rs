//! The contract of a graph: what its callers rely on, and no pass may change.
//!
//! 1. Inputs keep their names, types and order. An input that nothing reads stays.
//! 2. States keep their names and order, and stay when nothing reads them. They are opaque to
//!    callers, who hand them from one step to the next, so their layout may change, and one
//!    floating-point type may take another's place; the sizes stay behind the axes' names.
//! 3. Parameters keep names, types and order. One that nothing reads may go: it is then not loaded
//!    either.
//! 4. Outputs keep roles, names and order; results and taps keep their types, states as in 2.

use ir::{Axis, Graph, Op, Role, TensorType};

/// Checks that `after` keeps the contract of `before`.
///
/// # Errors
/// The first part of the contract that is broken: what it was and what it is.
pub fn check(before: &Graph, after: &Graph) -> Result<(), String> {
    let (old, new) = (Signature::of(before), Signature::of(after));
    same("inputs", &old.inputs, &new.inputs, |a, b| a == b)?;
    same("states", &old.states, &new.states, same_state)?;
    let mut rest = old.parameters.iter();
    for parameter in &new.parameters {
        if !rest.any(|p| p == parameter) {
            let (name, ty) = parameter;
            return Err(format!("parameter \"{name}\" of {ty} was not there before, or at another place"));
        }
    }
    let outputs =
        |graph: &Graph| -> Vec<(Role, String)> { graph.outputs().iter().map(|o| (o.role, o.name.clone())).collect() };
    let (left, right) = (outputs(before), outputs(after));
    if left != right {
        return Err(format!("outputs were {left:?} and are {right:?}"));
    }
    for (old, new) in before.outputs().iter().zip(after.outputs()) {
        let (a, b) = (before.ty(old.value), after.ty(new.value));
        if !(a == b || old.role == Role::State && same_state(a, b)) {
            return Err(format!("{} \"{}\" was {a} and is {b}", old.role.word(), old.name));
        }
    }
    Ok(())
}

type Named<'a> = (&'a str, &'a TensorType);

#[derive(Default)]
struct Signature<'a> {
    inputs: Vec<Named<'a>>,
    states: Vec<Named<'a>>,
    parameters: Vec<Named<'a>>,
}

impl<'a> Signature<'a> {
    fn of(graph: &'a Graph) -> Self {
        let mut signature = Self::default();
        for (_, node) in graph.nodes() {
            match &node.op {
                Op::Input { name, ty } => signature.inputs.push((name, ty)),
                Op::State { name, ty } => signature.states.push((name, ty)),
                Op::Parameter { name, ty } => signature.parameters.push((name, ty)),
                _ => {}
            }
        }
        signature
    }
}

fn same(
    what: &str,
    old: &[Named<'_>],
    new: &[Named<'_>],
    equal: fn(&TensorType, &TensorType) -> bool,
) -> Result<(), String> {
    let fits = old.len() == new.len() && old.iter().zip(new).all(|(a, b)| a.0 == b.0 && equal(a.1, b.1));
    if fits {
        return Ok(());
    }
    let list =
        |all: &[Named<'_>]| all.iter().map(|(name, ty)| format!("\"{name}\" {ty}")).collect::<Vec<_>>().join(", ");
    Err(format!("{what} were [{}] and are [{}]", list(old), list(new)))
}

/// Whether the types are equal, or both floating-point with the same axes, named ones in any order.
fn same_state(a: &TensorType, b: &TensorType) -> bool {
    let axes = |ty: &TensorType| {
        let mut axes: Vec<(Axis, usize)> = ty.layout.axes().zip(ty.shape.iter().copied()).collect();
        axes.sort_unstable();
        axes
    };
    let elements = a.element == b.element || a.element.is_float() && b.element.is_float();
    let plain = a.layout.is_plain() || b.layout.is_plain();
    elements && (if plain { a.layout == b.layout && a.shape == b.shape } else { axes(a) == axes(b) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(text: &str) -> Graph {
        ir::text::parse(&format!("graph @g {{\n{text}\n}}")).unwrap()
    }

    #[test]
    fn what_callers_rely_on_is_checked() {
        let before = graph(
            r#"%0 = input {name = "x"} : tensor<1x2x3x4x5xf32, ncthw>
               %1 = state {name = "s"} : tensor<1x2x3x4x5xf32, ncthw>
               %2 = parameter {name = "w"} : tensor<2xf32>
               return result "y" = %0
               return state "s" = %1"#,
        );
        let cases = [
            (r#"%0 = state {name = "s"} : tensor<1x2x3x4x5xf32, ncthw>"#, "inputs were"),
            (r#"%0 = input {name = "x"} : tensor<1x2x3x4x5xf32, ncthw>"#, "states were"),
            (
                r#"%0 = input {name = "x"} : tensor<1x2x3x4x5xf32, ncthw>
                   %1 = state {name = "s"} : tensor<1x2x3x4x5xf32, nthwc>"#,
                "states were",
            ),
            (
                r#"%0 = input {name = "x"} : tensor<1x2x3x4x5xf32, ncthw>
                   %1 = state {name = "s"} : tensor<1x3x4x5x2xf32, nthwc>
                   %2 = parameter {name = "v"} : tensor<2xf32>"#,
                "parameter \"v\"",
            ),
            (
                r#"%0 = input {name = "x"} : tensor<1x2x3x4x5xf32, ncthw>
                   %1 = state {name = "s"} : tensor<1x3x4x5x2xf32, nthwc>
                   return state "s" = %1
                   return result "y" = %0"#,
                "outputs were",
            ),
            (
                r#"%0 = input {name = "x"} : tensor<1x2x3x4x5xf32, ncthw>
                   %1 = state {name = "s"} : tensor<1x3x4x5x2xf32, nthwc>
                   %2 = transpose %0 {permutation = [0, 2, 3, 4, 1]} : tensor<1x3x4x5x2xf32, nthwc>
                   return result "y" = %2
                   return state "s" = %1"#,
                "result \"y\" was",
            ),
        ];
        for (after, message) in cases {
            let error = check(&before, &graph(after)).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
        let relaid = r#"%0 = input {name = "x"} : tensor<1x2x3x4x5xf32, ncthw>
                        %1 = state {name = "s"} : tensor<1x3x4x5x2xf32, nthwc>
                        return result "y" = %0
                        return state "s" = %1"#;
        assert_eq!(check(&before, &graph(relaid)), Ok(()));
    }
}
