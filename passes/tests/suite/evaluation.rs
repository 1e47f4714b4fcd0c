//! What the tests of this crate share: numbers to run a graph on, and running two graphs against each other.

use std::borrow::Cow;

use ir::eval::{Bindings, Leaf, LeafKind, Tensor, evaluate, evaluate_op};
use ir::{Graph, Op, Output, Role, TensorType};

/// The generator SplitMix64 (Steele, Lea and Flood 2014): any seed will do, and the same seed gives the same numbers.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.bits() % limit as u64) as usize
    }

    /// A number in -1..1.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// Random tensors for every leaf, the same for the same leaf, whichever video layout a state has.
struct RandomLeaves {
    seed: u64,
}

impl Bindings<f64> for RandomLeaves {
    fn tensor(&self, leaf: Leaf<'_>) -> Option<Cow<'_, Tensor<f64>>> {
        let kind = match leaf.kind {
            LeafKind::Input => 1,
            LeafKind::State => 2,
            LeafKind::Parameter => 3,
        };
        let seed = leaf.name.bytes().fold(self.seed + kind, |seed, byte| Random(seed ^ u64::from(byte)).bits());
        let mut random = Random(seed);
        let ty = channel_first(leaf.ty);
        let data = (0..ty.elements()).map(|_| random.uniform()).collect();
        Some(Cow::Owned(in_layout_of(leaf.ty, Tensor::new(ty, data).unwrap())))
    }
}

/// The type of the same video channel-first; other types as they are.
fn channel_first(ty: &TensorType) -> TensorType {
    match (ty.batch(), ty.channels(), ty.space()) {
        (Some(batch), Some(channels), Some(space)) => {
            let first = TensorType { layout: ir::Layout::Ncthw, ..ty.clone() };
            first.video_like(batch, channels, space)
        }
        _ => ty.clone(),
    }
}

/// `tensor` with its axes in the order that `ty` has them.
fn in_layout_of(ty: &TensorType, tensor: Tensor<f64>) -> Tensor<f64> {
    if tensor.ty.layout == ty.layout {
        return tensor;
    }
    let from = tensor.ty.layout.letters();
    let permutation = ty.layout.letters().chars().map(|letter| from.find(letter).unwrap()).collect();
    // The operand's number is of no consequence to an op evaluated by itself.
    let some_value = ir::Builder::new("").input("x".to_owned(), tensor.ty.clone()).unwrap();
    evaluate_op(&Op::Transpose { input: some_value, permutation }, &[&tensor]).unwrap()
}

/// Evaluates both graphs in f64 on the same random numbers.
///
/// # Errors
/// The first output that differs by more than 1e-9, and where.
pub(crate) fn same_meaning(before: &Graph, after: &Graph, seed: u64) -> Result<(), String> {
    same_within(before, after, seed, 1e-9)
}

/// Evaluates both graphs in f64 on the same random numbers. States may differ in layout and element type.
///
/// # Errors
/// The first output that differs by more than `bound`, relative to numbers of order 1, and where.
pub(crate) fn same_within(before: &Graph, after: &Graph, seed: u64, bound: f64) -> Result<(), String> {
    let bindings = RandomLeaves { seed };
    let run = |graph: &Graph| -> Result<Vec<(Output, Tensor<f64>)>, String> {
        evaluate(graph, &bindings).map_err(|error| error.to_string())
    };
    let (old, new) = (run(before)?, run(after)?);
    if old.len() != new.len() {
        return Err(format!("{} outputs became {}", old.len(), new.len()));
    }
    for ((output, a), (_, b)) in old.into_iter().zip(new) {
        let mut b = in_layout_of(&a.ty, b);
        if output.role == Role::State {
            b.ty.element = a.ty.element;
        }
        if a.ty != b.ty {
            return Err(format!("{} was {} and is {}", output.name, a.ty, b.ty));
        }
        for (i, (x, y)) in a.data.iter().zip(&b.data).enumerate() {
            // Not-a-number is equal to itself here; values are of order 1.
            let equal = x == y || (x - y).abs() <= bound * x.abs().max(1.0) || x.is_nan() && y.is_nan();
            if !equal {
                return Err(format!("element {i} of {} \"{}\" was {x} and is {y}", output.role.word(), output.name));
            }
        }
    }
    Ok(())
}
