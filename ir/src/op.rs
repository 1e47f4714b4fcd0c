//! The op table: every operation of the language, declared once.
//!
//! From the table derive the enum [`Op`], its accessors, the builder's methods, what the printer and the parser need, and
//! the op reference ([`TABLE`]). Written by hand elsewhere, and needed for a new op: its shape function
//! ([`crate::shape`]), its evaluator arm ([`crate::eval`]), and a lowering in each backend.
//!
//! Every op has one result. Operands come first in a declaration, in parentheses: a [`Value`] is required, an
//! `Option<Value>` may be left out and is named in the text, a [`Values`] is a list. Attributes follow in braces.

use smallvec::SmallVec;

use crate::attribute::{Activation, Attribute, Elements, FirstFrame, Literal, PadMode};
use crate::graph::Value;
use crate::text::{ParseOpError, RawOp};
use crate::types::{Dims, ElementType, TensorType};

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

/// An operand as the op reference shows it.
#[derive(Clone, Copy, Debug)]
pub struct OperandInfo {
    /// The field's name.
    pub name: &'static str,
    /// How many values it stands for.
    pub arity: Arity,
}

/// An attribute as the op reference shows it.
#[derive(Clone, Copy, Debug)]
pub struct AttributeInfo {
    /// The field's name.
    pub name: &'static str,
    /// What may be written there.
    pub expected: &'static str,
}

/// One row of the op table.
#[derive(Clone, Copy, Debug)]
pub struct OpInfo {
    /// The op's name in the text format.
    pub mnemonic: &'static str,
    /// What it computes, in Markdown.
    pub doc: &'static str,
    /// Its operands, in order.
    pub operands: &'static [OperandInfo],
    /// Its attributes, in order.
    pub attributes: &'static [AttributeInfo],
}

macro_rules! op_table {
    ($(
        $(#[doc = $doc:literal])+
        $Variant:ident = $mnemonic:literal, $method:ident
            ( $($operand:ident: $Operand:ty),* ) { $($attribute:ident: $Attribute:ty),* }
    )+) => {
        /// An operation, with its operands and attributes.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "the fields are described by their op")]
        pub enum Op {
            $( $(#[doc = $doc])+ $Variant { $($operand: $Operand,)* $($attribute: $Attribute,)* } ),+
        }

        /// Every op, in the order of the reference page.
        pub const TABLE: &[OpInfo] = &[$( OpInfo {
            mnemonic: $mnemonic,
            doc: concat!($($doc, "\n"),+),
            operands: &[$( OperandInfo { name: stringify!($operand), arity: <$Operand as Operand>::ARITY } ),*],
            attributes: &[$( AttributeInfo {
                name: stringify!($attribute), expected: <$Attribute as Attribute>::EXPECTED,
            } ),*],
        } ),+];

        impl Op {
            /// The name in the text format.
            pub const fn mnemonic(&self) -> &'static str {
                match self { $( Self::$Variant { .. } => $mnemonic ),+ }
            }

            /// Calls `f` with each operand's name, arity and values, in the table's order.
            pub fn visit_operands(&self, f: &mut dyn FnMut(&'static str, Arity, &[Value])) {
                match self { $(
                    #[allow(unused_variables, reason = "not every op has operands")]
                    Self::$Variant { $($operand,)* .. } => {
                        $( f(stringify!($operand), <$Operand as Operand>::ARITY, $operand.values()); )*
                    }
                ),+ }
            }

            /// Replaces every operand by what `f` makes of it.
            pub fn map_operands(&mut self, f: &mut dyn FnMut(Value) -> Value) {
                match self { $(
                    #[allow(unused_variables, reason = "not every op has operands")]
                    Self::$Variant { $($operand,)* .. } => { $( $operand.map(f); )* }
                ),+ }
            }

            /// The attributes that are written out, in the table's order.
            pub fn attributes(&self) -> Vec<(&'static str, Literal)> {
                match self { $(
                    #[allow(unused_variables, reason = "not every op has attributes")]
                    Self::$Variant { $($attribute,)* .. } => {
                        let all: &[(&'static str, Option<Literal>)] =
                            &[$( (stringify!($attribute), $attribute.to_literal()) ),*];
                        all.iter().filter_map(|(name, literal)| Some((*name, literal.clone()?))).collect()
                    }
                ),+ }
            }

            /// Made of what the parser read.
            pub(crate) fn from_raw(raw: &mut RawOp) -> Result<Self, ParseOpError> {
                match raw.mnemonic.as_str() {
                    $( $mnemonic => Ok(Self::$Variant {
                        $( $operand: raw.operand::<$Operand>(stringify!($operand))?, )*
                        $( $attribute: raw.attribute::<$Attribute>(stringify!($attribute))?, )*
                    }), )+
                    _ => Err(ParseOpError::UnknownOp(raw.mnemonic.clone())),
                }
            }
        }

        impl crate::builder::Builder {
            $(
                $(#[doc = $doc])+
                ///
                /// # Errors
                /// When the operands break a constraint of the op's shape function.
                #[allow(clippy::too_many_arguments, reason = "one argument an operand or attribute of the op")]
                pub fn $method(&mut self, $($operand: $Operand,)* $($attribute: $Attribute,)*)
                    -> Result<Value, crate::builder::BuildError> {
                    self.push(Op::$Variant { $($operand,)* $($attribute,)* })
                }
            )+
        }
    };
}

op_table! {
    /// A tensor that the caller gives anew for each run.
    Input = "input", input () { name: String, ty: TensorType }

    /// A tensor that an earlier step left: the convolution caches. The output of the same name gives the next step's.
    State = "state", state () { name: String, ty: TensorType }

    /// A tensor of the checkpoint, bound once.
    Parameter = "parameter", parameter () { name: String, ty: TensorType }

    /// A tensor known when the program is compiled.
    Constant = "constant", constant () { value: Elements, ty: TensorType }

    /// `lhs + rhs`, element by element.
    Add = "add", add (lhs: Value, rhs: Value) {}

    /// `lhs * rhs`, element by element.
    Multiply = "multiply", multiply (lhs: Value, rhs: Value) {}

    /// `input * sigmoid(input)`, element by element (Elfwing et al. 2017, arXiv:1702.03118).
    Silu = "silu", silu (input: Value) {}

    /// `input + bias[channel]`: one number a channel, added to every element of that channel. The bias is in f32 where the
    /// input is in any floating-point type.
    AddBias = "add_bias", add_bias (input: Value, bias: Value) {}

    /// Cross-correlation over time, height and width, as PyTorch's `Conv3d`:
    /// `sum over (kd, kh, kw, i) of x[t*st + kd, y*sh + kh, x*sw + kw, i] * weight[o, i, kd, kh, kw]`, where `x` is the
    /// input with `padding` zeros (low, high for time, height, width) around it. Frames may stand in front of the input:
    /// those of `cache`, or the first frame `repeat_first` times. `bias`, in f32 where the input is in any floating-point
    /// type, is added to each output channel, then `residual` to each element; then the sum is rounded, once.
    Convolution = "convolution", convolution
        (input: Value, weight: Value, bias: Option<Value>, residual: Option<Value>, cache: Option<Value>)
        { strides: [usize; 3], padding: [[usize; 2]; 3], repeat_first: usize }

    /// Group normalisation (Wu and He 2018, arXiv:1803.08494): over each batch element and each group of adjacent
    /// channels, `(x - mean) / sqrt(variance + epsilon)` with the biased variance, then times `scale[channel]` plus
    /// `offset[channel]`.
    GroupNorm = "group_norm", group_norm (input: Value, scale: Value, offset: Value) { groups: usize, epsilon: f64 }

    /// Mean and reciprocal standard deviation `1 / sqrt(variance + epsilon)` of each batch element and group, as
    /// `[batch, groups, 2]`.
    GroupStatistics = "group_statistics", group_statistics (input: Value) { groups: usize, epsilon: f64 }

    /// The second half of a group normalisation, fused with what follows it:
    /// `activation(((input - mean) * rstd * scale[channel] + offset[channel]) * gain + shift)`. `gain` and `shift` are
    /// videos of a lower resolution, read at the nearest element as by `resize_nearest` with this `first_frame`.
    Normalize = "normalize", normalize
        (input: Value, statistics: Value, scale: Value, offset: Value, gain: Option<Value>, shift: Option<Value>)
        { first_frame: FirstFrame, activation: Activation }

    /// Nearest-neighbour resize of time, height and width to `size`: element `i` of `size` reads element
    /// `floor(i * operand / size)`. With the first frame apart, frame 0 reads frame 0 and the others are resized among
    /// themselves.
    ResizeNearest = "resize_nearest", resize_nearest (input: Value) { size: [usize; 3], first_frame: FirstFrame }

    /// Mean over windows of time, height and width that do not overlap; a rest shorter than the window is dropped. With
    /// the first frame apart, frame 0 is averaged by itself over height and width alone.
    AveragePool = "average_pool", average_pool (input: Value) { window: [usize; 3], first_frame: FirstFrame }

    /// `low` elements in front of and `high` behind each axis.
    Pad = "pad", pad (input: Value) { low: Dims, high: Dims, mode: PadMode }

    /// The elements `start..limit` of each axis.
    Slice = "slice", slice (input: Value) { start: Dims, limit: Dims }

    /// The operands one behind the other along `axis`.
    Concatenate = "concatenate", concatenate (inputs: Values) { axis: usize }

    /// Axis `i` of the result is axis `permutation[i]` of the operand. A named layout becomes the layout with its letters
    /// in that order.
    Transpose = "transpose", transpose (input: Value) { permutation: Dims }

    /// The same elements, in row-major order, under another shape and layout.
    Reshape = "reshape", reshape (input: Value) { ty: TensorType }

    /// Each element in another type. To a floating-point type: rounded to nearest, ties to even, and infinite beyond the
    /// largest number. To an integer type: rounded toward zero and saturated at both ends; NaN becomes 0.
    Convert = "convert", convert (input: Value) { element: ElementType }
}

impl Op {
    /// Every operand, in order.
    pub fn operands(&self) -> Values {
        let mut all = Values::new();
        self.visit_operands(&mut |_, _, values| all.extend_from_slice(values));
        all
    }

    /// The table's row of this op.
    pub fn info(&self) -> &'static OpInfo {
        TABLE.iter().find(|row| row.mnemonic == self.mnemonic()).expect("the enum and the table are one macro")
    }

    /// Whether the value comes from outside the program: an input, a state, a parameter or a constant.
    pub const fn is_leaf(&self) -> bool {
        matches!(self, Self::Input { .. } | Self::State { .. } | Self::Parameter { .. } | Self::Constant { .. })
    }
}
