//! What an op reads and does, as columns of the op table: how many values an operand stands for,
//! what it is to the op, which kind of work the op does, and which of its attributes speak of axes.
//!
//! Passes, planner, cost analysis and emitters derive from these columns what they must know of an
//! op. Which op has which is in [`crate::op`].

use smallvec::SmallVec;

use crate::graph::Value;
use crate::types::{Dims, TensorType};

/// A list of operands.
pub type Values = SmallVec<[Value; 4]>;

/// How many values an operand stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one.
    One,
    /// None or one; printed by name.
    Optional,
    /// Any number; printed in place.
    Many,
}

/// A Rust type that can hold an operand.
pub trait Operand: Sized {
    /// How many values it stands for.
    const ARITY: Arity;

    /// The values, in order.
    fn values(&self) -> &[Value];

    /// Replaces each value by what `f` makes of it.
    fn map(&mut self, f: &mut dyn FnMut(Value) -> Value);

    /// Made of the values that a program's text gives; `None` when their number is wrong.
    fn from_values(values: &[Value]) -> Option<Self>;
}

impl Operand for Value {
    const ARITY: Arity = Arity::One;

    fn values(&self) -> &[Value] {
        std::slice::from_ref(self)
    }

    fn map(&mut self, f: &mut dyn FnMut(Value) -> Value) {
        *self = f(*self);
    }

    fn from_values(values: &[Value]) -> Option<Self> {
        match values {
            [value] => Some(*value),
            _ => None,
        }
    }
}

impl Operand for Option<Value> {
    const ARITY: Arity = Arity::Optional;

    fn values(&self) -> &[Value] {
        self.as_slice()
    }

    fn map(&mut self, f: &mut dyn FnMut(Value) -> Value) {
        if let Some(value) = self {
            *value = f(*value);
        }
    }

    fn from_values(values: &[Value]) -> Option<Self> {
        match values {
            [] => Some(None),
            [value] => Some(Some(*value)),
            _ => None,
        }
    }
}

impl Operand for Values {
    const ARITY: Arity = Arity::Many;

    fn values(&self) -> &[Value] {
        self
    }

    fn map(&mut self, f: &mut dyn FnMut(Value) -> Value) {
        for value in self {
            *value = f(*value);
        }
    }

    fn from_values(values: &[Value]) -> Option<Self> {
        Some(values.iter().copied().collect())
    }
}

/// What an operand is to its op: how it is read, and in which elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperandRole {
    /// An activation, of which each element is read where one of the result is made, and nowhere
    /// else: the result may be written over it.
    Elementwise,
    /// An activation that is read at other places than those of the result's elements.
    Activation,
    /// An activation of which no more is read than the result has elements.
    Part,
    /// A tensor whose elements are the result's, in their order: the result may be a view of it.
    View,
    /// Weights of a contraction, in the elements of its activations.
    Weight,
    /// One number a channel, in f32 whatever the activations are.
    PerChannel,
    /// Mean and reciprocal deviation of groups, in f32 whatever the activations are.
    Statistics,
}

impl OperandRole {
    /// The word in the op table and the op reference.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Elementwise => "elementwise",
            Self::Activation => "activation",
            Self::Part => "part",
            Self::View => "view",
            Self::Weight => "weight",
            Self::PerChannel => "per channel",
            Self::Statistics => "statistics",
        }
    }

    /// Whether it is in f32 where the activations beside it are of another floating-point type.
    pub const fn stays_f32(self) -> bool {
        match self {
            Self::PerChannel | Self::Statistics => true,
            Self::Elementwise | Self::Activation | Self::Part | Self::View | Self::Weight => false,
        }
    }
}

/// Which kind of work an op does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// None: the value comes from outside the program, or is part of it.
    Leaf,
    /// Puts elements elsewhere, or into another type, and computes nothing of them: takes elements
    /// of any type.
    Moves,
    /// Makes each element of those at the same place, and of few numbers beside.
    Pointwise,
    /// Adds up elements of one operand.
    Reduces,
    /// Adds up elements of one operand to statistics, which are f32 whatever that is.
    Summarizes,
    /// Adds up products of two operands' elements.
    Contracts,
}

impl Class {
    /// The word in the op reference.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Leaf => "leaf",
            Self::Moves => "moves elements",
            Self::Pointwise => "pointwise",
            Self::Reduces => "reduces",
            Self::Summarizes => "summarizes",
            Self::Contracts => "contracts",
        }
    }
}

/// How an attribute speaks of its operand's axes, and so what becomes of it when their order
/// changes. `order[i]` is the old place of the axis that is now at place `i`.
pub(crate) trait OfAxes<T> {
    /// Says the same of the axes in their new order.
    fn reorder(attribute: &mut T, order: &[usize]);
}

/// An attribute with one number an axis.
pub(crate) struct PerAxis;

impl OfAxes<Dims> for PerAxis {
    fn reorder(dims: &mut Dims, order: &[usize]) {
        *dims = order.iter().map(|&axis| dims[axis]).collect();
    }
}

/// An attribute that names an axis by its place.
pub(crate) struct AxisPlace;

impl OfAxes<usize> for AxisPlace {
    fn reorder(place: &mut usize, order: &[usize]) {
        *place = order.iter().position(|axis| axis == place).unwrap_or(*place);
    }
}

/// The types around an op, of which its arithmetic is counted.
pub(crate) struct Sizes<'a> {
    pub(crate) result: &'a TensorType,
    pub(crate) operand: &'a dyn Fn(Value) -> &'a TensorType,
}

impl Sizes<'_> {
    /// So much for each element of the result.
    pub(crate) fn each(&self, flops: u64) -> u64 {
        (self.result.elements() as u64).saturating_mul(flops)
    }

    /// Elements of an operand.
    pub(crate) fn elements(&self, operand: Value) -> u64 {
        (self.operand)(operand).elements() as u64
    }

    /// Tokens and channels of an operand: its last two axes.
    pub(crate) fn tokens(&self, operand: Value) -> [usize; 2] {
        (self.operand)(operand).shape.last_chunk().copied().unwrap_or([1, 1])
    }

    /// Channels of the result; 1 if it has none.
    pub(crate) fn channels(&self) -> u64 {
        self.result.channels().unwrap_or(1) as u64
    }

    /// Frames of the result; 1 if it has none.
    pub(crate) fn frames(&self) -> u64 {
        self.result.space().map_or(1, |[frames, ..]| frames as u64)
    }
}
