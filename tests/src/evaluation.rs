//! Numbers to evaluate a graph on, the same for a graph before and behind passes, and evaluating
//! two graphs against each other.
//!
//! The filetests of `passes`, on which this package stands, take this file too, by its path: it
//! needs nothing but `ir`.

use std::borrow::Cow;

use ir::eval::{Bindings, Leaf, LeafKind, Tensor, evaluate, evaluate_op};
use ir::{Axis, ElementType, Graph, Op, Output, Role, TensorType};

/// The generator SplitMix64 (Steele, Lea and Flood 2014): any seed will do, and the same seed gives
/// the same numbers.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.bits() % limit as u64) as usize
    }

    /// A number in -1..1 that f32 can hold.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 40) as f64 / f64::from(1 << 23) - 1.0
    }
}

/// Random tensors for every leaf: the same for the same leaf, whichever layout a state has, in its
/// element type. Numbers are of order 1, those of convolution kernels smaller, so that results are
/// of order 1 too.
#[derive(Clone, Copy, Debug)]
pub struct RandomLeaves {
    /// Other numbers for every seed.
    pub seed: u64,
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
        let ty = TensorType { element: ElementType::F32, ..channel_first(leaf.ty) };
        let scale = if leaf.kind == LeafKind::Parameter { kernel_scale(&ty) } else { 1.0 };
        let data = (0..ty.elements()).map(|_| f64::from((random.uniform() * scale) as f32)).collect();
        let tensor = in_layout_of(leaf.ty, Tensor::new(ty, data).ok()?);
        Some(Cow::Owned(in_element_of(leaf.ty, tensor)))
    }
}

impl Bindings<f32> for RandomLeaves {
    fn tensor(&self, leaf: Leaf<'_>) -> Option<Cow<'_, Tensor<f32>>> {
        let wide: Cow<'_, Tensor<f64>> = self.tensor(leaf)?;
        Some(Cow::Owned(Tensor { ty: wide.ty.clone(), data: wide.data.iter().map(|x| *x as f32).collect() }))
    }
}

/// 1, or for a convolution's kernel what keeps sums over its inputs of order 1.
fn kernel_scale(ty: &TensorType) -> f64 {
    let outputs = match (ty.layout.kernel(), ty.rank()) {
        (Some(kernel), _) => ty.shape[kernel.output],
        // A kernel over height and width, as checkpoints have it.
        (None, 4) => ty.shape[0],
        (None, _) => return 1.0,
    };
    1.5 / ((ty.elements() / outputs) as f64).sqrt()
}

/// The type of the same activation with its axes in the order of their names, `ncthw`; other types
/// as they are.
fn channel_first(ty: &TensorType) -> TensorType {
    if ty.layout.is_plain() || ty.layout.is_weight() {
        return ty.clone();
    }
    let axes: Vec<Axis> = ty.layout.axes().collect();
    let mut order: Vec<usize> = (0..axes.len()).collect();
    order.sort_by_key(|&place| axes[place]);
    let shape = order.iter().map(|&place| ty.shape[place]).collect();
    TensorType { shape, layout: ty.layout.permuted(&order), ..ty.clone() }
}

/// The result of an op that reads one tensor, `%0`.
fn apply(op: impl FnOnce(ir::Value) -> Op, tensor: &Tensor<f64>) -> Tensor<f64> {
    // The operand's number is of no consequence to an op evaluated by itself.
    let some_value = ir::Builder::new("").input("x".to_owned(), tensor.ty.clone()).expect("the type is one");
    evaluate_op(&op(some_value), &[tensor]).expect("the op takes any tensor")
}

/// `tensor` with its axes in the order that `ty` has them.
fn in_layout_of(ty: &TensorType, tensor: Tensor<f64>) -> Tensor<f64> {
    if tensor.ty.layout == ty.layout {
        return tensor;
    }
    let permutation = tensor.ty.layout.order_of(ty.layout).expect("layouts of the same axes");
    apply(|input| Op::Transpose { input, permutation }, &tensor)
}

/// `tensor` rounded to the elements of `ty`.
fn in_element_of(ty: &TensorType, tensor: Tensor<f64>) -> Tensor<f64> {
    if tensor.ty.element == ty.element {
        return tensor;
    }
    apply(|input| Op::Convert { input, element: ty.element }, &tensor)
}

/// A state as the graph that was declared has it, whose type is `ty`; the other outputs keep
/// theirs.
///
/// # Errors
/// The type is another one.
pub fn as_declared(output: &Output, ty: &TensorType, found: Tensor<f64>) -> Result<Tensor<f64>, String> {
    let mut found = in_layout_of(ty, found);
    if output.role == Role::State {
        found.ty.element = ty.element;
    }
    if found.ty == *ty { Ok(found) } else { Err(format!("{} was {ty} and is {}", output.name, found.ty)) }
}

/// Evaluates both graphs in f64 on the same random numbers. States may differ in layout and element
/// type.
///
/// # Errors
/// The first output that differs by more than `bound`, relative to numbers of order 1, and where.
pub fn same_within(before: &Graph, after: &Graph, seed: u64, bound: f64) -> Result<(), String> {
    let bindings = RandomLeaves { seed };
    let run = |graph: &Graph| -> Result<Vec<(Output, Tensor<f64>)>, String> {
        evaluate(graph, &bindings).map_err(|error| error.to_string())
    };
    let (old, new) = (run(before)?, run(after)?);
    if old.len() != new.len() {
        return Err(format!("{} outputs became {}", old.len(), new.len()));
    }
    for ((output, a), (_, b)) in old.into_iter().zip(new) {
        let b = as_declared(&output, &a.ty, b)?;
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
