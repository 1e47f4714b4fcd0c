//! Between what some values lie, whether all of them are numbers, and the first op of a run that
//! makes one that is not.

use std::fmt;

use crate::graph::{Graph, Path, Value, of_module};
use crate::op::Op;
use crate::types::TensorType;

/// Between what values lie.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Extent {
    /// How many there are.
    pub elements: usize,
    /// How many are NaN or infinite.
    pub not_finite: usize,
    /// The first of these: its place and what it is.
    pub first: Option<(usize, f64)>,
    /// The least and the largest of the others, if there are any.
    pub range: Option<(f64, f64)>,
}

impl Extent {
    /// Of these values.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut extent = Self::default();
        let (mut least, mut largest) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            if value.is_finite() {
                (least, largest) = (least.min(value), largest.max(value));
            } else {
                extent.first = extent.first.or(Some((extent.elements, value)));
                extent.not_finite += 1;
            }
            extent.elements += 1;
        }
        extent.range = (least <= largest).then_some((least, largest));
        extent
    }

    /// Whether all values are numbers.
    pub fn is_finite(&self) -> bool {
        self.not_finite == 0
    }
}

/// Prints as `-1.5 to 2.25`, with `, 3 of 8 not finite` where that is so.
impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.range {
            Some((least, largest)) => write!(f, "{least:.3e} to {largest:.3e}")?,
            None => f.write_str("no number")?,
        }
        if self.is_finite() { Ok(()) } else { write!(f, ", {} of {} not finite", self.not_finite, self.elements) }
    }
}

/// The first op of a run whose result is not all numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct NonFinite {
    /// The op's name.
    pub mnemonic: &'static str,
    /// The module it belongs to.
    pub path: Path,
    /// The result's type.
    pub ty: TensorType,
    /// The result.
    pub result: Extent,
    /// What it read that was computed or given, by [`Reads::inputs`].
    pub inputs: Vec<(String, Extent)>,
    /// The checkpoint's parameters that it read.
    pub parameters: Vec<String>,
}

/// Prints as ``convolution of `decoder.conv_in` makes 3 of 8 values that are not finite, the first
/// (NaN) at [0, 1]; it reads input "x": 0 to 1``.
impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mnemonic, path, ty, result, inputs, .. } = self;
        let Extent { elements, not_finite, first, .. } = result;
        write!(f, "{mnemonic}{} makes {not_finite} of {elements} values that are not finite", of_module(path))?;
        if let Some((place, value)) = first {
            let index: Vec<usize> =
                ty.strides().iter().zip(&ty.shape).map(|(stride, size)| place / (*stride).max(1) % size).collect();
            write!(f, ", the first ({value}) at {index:?} of {ty}")?;
        }
        for (i, (name, extent)) in inputs.iter().enumerate() {
            write!(f, "{} {name}: {extent}", if i == 0 { "; it reads" } else { "," })?;
        }
        Ok(())
    }
}

/// What an op reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Reads {
    /// What is computed or given in a run, with words for it: ``silu of `decoder.conv_act` `` or
    /// `state "decoder.conv_in"`.
    pub inputs: Vec<(Value, String)>,
    /// The names of the parameters that weights are made of.
    pub parameters: Vec<String>,
}

impl Reads {
    /// Of an op that reads these values.
    ///
    /// `weights` tells of each value whether it is made of parameters alone, as
    /// [`crate::analysis::weight_only`] does.
    pub fn of(graph: &Graph, weights: &[bool], values: &[Value]) -> Self {
        let mut reads = Self { inputs: vec![], parameters: vec![] };
        for &value in values {
            if weights[value.index()] {
                reads.add_parameters(graph, value);
            } else {
                reads.inputs.push((value, words(graph, value)));
            }
        }
        reads
    }

    fn add_parameters(&mut self, graph: &Graph, value: Value) {
        match graph.op(value) {
            Op::Parameter { name, .. } if !self.parameters.contains(name) => self.parameters.push(name.clone()),
            op => op.operands().iter().for_each(|operand| self.add_parameters(graph, *operand)),
        }
    }
}

fn words(graph: &Graph, value: Value) -> String {
    match graph.op(value) {
        op @ (Op::Input { name, .. } | Op::State { name, .. }) => format!("{} \"{name}\"", op.mnemonic()),
        op => format!("{}{}", op.mnemonic(), of_module(&graph.node(value).path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::weight_only;

    #[test]
    fn extents_tell_what_is_not_finite() {
        let extent = Extent::of([1.0, f64::NAN, -2.0, f64::INFINITY].into_iter());
        assert_eq!((extent.not_finite, extent.range), (2, Some((-2.0, 1.0))));
        assert!(matches!(extent.first, Some((1, value)) if value.is_nan()));
        assert_eq!(extent.to_string(), "-2.000e0 to 1.000e0, 2 of 4 not finite");
        assert_eq!(Extent::of([f64::NAN].into_iter()).to_string(), "no number, 1 of 1 not finite");
        assert!(Extent::of([].into_iter()).is_finite());
    }

    #[test]
    fn what_an_op_reads_has_names() {
        let text = "graph @g {\n%0 = input {name = \"x\"} : tensor<2x3xf32>\n\
            %1 = parameter {name = \"w\"} : tensor<3x2xf32>\n\
            %2 = transpose %1 {permutation = [1, 0]} : tensor<2x3xf32>\n\
            %3 = silu %0 : tensor<2x3xf32>\n%4 = add %3, %2 : tensor<2x3xf32>\nreturn result \"y\" = %4\n}";
        let graph = crate::text::parse(text).unwrap();
        let value = graph.outputs()[0].value;
        let reads = Reads::of(&graph, &weight_only(&graph), &graph.op(value).operands());
        assert_eq!(reads.inputs.iter().map(|(_, words)| words.as_str()).collect::<Vec<_>>(), ["silu"]);
        assert_eq!(reads.parameters, ["w"]);
        let found = NonFinite {
            mnemonic: "add",
            path: "m".into(),
            ty: graph.ty(value).clone(),
            result: Extent::of([0.0, 1.0, 2.0, 3.0, f64::NAN, 5.0].into_iter()),
            inputs: vec![("input \"x\"".into(), Extent::of([0.5].into_iter()))],
            parameters: vec![],
        };
        assert_eq!(
            found.to_string(),
            "add of `m` makes 1 of 6 values that are not finite, the first (NaN) at [1, 1] of tensor<2x3xf32>; it \
             reads input \"x\": 5.000e-1 to 5.000e-1"
        );
    }
}
