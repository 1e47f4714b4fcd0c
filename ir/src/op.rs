//! The op table: every operation of the language, declared once.
//!
//! From the table derive the enum [`Op`], its accessors, the builder's methods, what the printer
//! and the parser need, and the op reference ([`TABLE`]). Written by hand elsewhere, and needed for
//! a new op: its shape function ([`crate::shape`]), its evaluator arm ([`crate::eval`]), and a
//! lowering in each backend.
//!
//! Every op has one result. A row says which kind of work the op does ([`Class`]). Operands come
//! next, in parentheses: a [`Value`] is required, an `Option<Value>` may be left out and is named
//! in the text, a [`Values`] is a list; behind `as` stands what it is to the op ([`OperandRole`]).
//! Attributes follow in braces, `as PerAxis` or `as AxisPlace` if they speak of the operands' axes.
//! Last come the floating-point operations, of the row's own operands and attributes and of the
//! sizes of what they name; an op without is free.

use std::hash::{Hash, Hasher};

use crate::attribute::{
    Activation, AttentionMask, Attribute, Border, ChannelNormKind, Elements, FirstFrame, Literal, PadMode,
    UnaryFunction,
};
use crate::graph::Value;
pub use crate::operand::{Arity, Class, Operand, OperandRole, Values};
use crate::operand::{AxisPlace, OfAxes, PerAxis, Sizes};
use crate::text::{ParseOpError, RawOp};
use crate::types::{Dims, ElementType, TensorType};

/// An operand as the op reference shows it.
#[derive(Clone, Copy, Debug)]
pub struct OperandInfo {
    /// The field's name.
    pub name: &'static str,
    /// How many values it stands for.
    pub arity: Arity,
    /// What it is to the op.
    pub role: OperandRole,
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
    /// Which kind of work it does.
    pub class: Class,
    /// Its operands, in order.
    pub operands: &'static [OperandInfo],
    /// Its attributes, in order.
    pub attributes: &'static [AttributeInfo],
}

macro_rules! op_table {
    ($(
        $(#[doc = $doc:literal])+
        $Variant:ident = $mnemonic:literal, $method:ident: $Class:ident
            ( $($operand:ident: $Operand:ty as $Role:ident),* )
            { $($attribute:ident: $Attribute:ty $(as $OfAxes:ident)?),* }
            $(flops |$sizes:ident| $flops:expr;)?
    )+) => {
        /// An operation, with its operands and attributes.
        ///
        /// Ops are equal if operands and attributes are, numbers by their bits: NaN is itself, and
        /// 0 is not -0.
        #[derive(Clone, Debug)]
        #[allow(missing_docs, reason = "the fields are described by their op")]
        pub enum Op {
            $( $(#[doc = $doc])+ $Variant { $($operand: $Operand,)* $($attribute: $Attribute,)* } ),+
        }

        /// Every op, in the order of the reference page.
        pub const TABLE: &[OpInfo] = &[$( OpInfo {
            mnemonic: $mnemonic,
            doc: concat!($($doc, "\n"),+),
            class: Class::$Class,
            operands: &[$( OperandInfo {
                name: stringify!($operand), arity: <$Operand as Operand>::ARITY, role: OperandRole::$Role,
            } ),*],
            attributes: &[$( AttributeInfo {
                name: stringify!($attribute), expected: <$Attribute as Attribute>::EXPECTED,
            } ),*],
        } ),+];

        impl Op {
            /// The name in the text format.
            pub const fn mnemonic(&self) -> &'static str {
                match self { $( Self::$Variant { .. } => $mnemonic ),+ }
            }

            /// Which kind of work it does.
            pub const fn class(&self) -> Class {
                match self { $( Self::$Variant { .. } => Class::$Class ),+ }
            }

            /// Calls `f` with each operand's row of the table and its values, in the table's order.
            pub fn visit_operands(&self, f: &mut dyn FnMut(OperandInfo, &[Value])) {
                match self { $(
                    #[allow(unused_variables, reason = "not every op has operands")]
                    Self::$Variant { $($operand,)* .. } => { $(
                        let info = OperandInfo {
                            name: stringify!($operand),
                            arity: <$Operand as Operand>::ARITY,
                            role: OperandRole::$Role,
                        };
                        f(info, $operand.values());
                    )* }
                ),+ }
            }

            /// Replaces every operand by what `f` makes of it.
            pub fn map_operands(&mut self, f: &mut dyn FnMut(Value) -> Value) {
                match self { $(
                    #[allow(unused_variables, reason = "not every op has operands")]
                    Self::$Variant { $($operand,)* .. } => { $( $operand.map(f); )* }
                ),+ }
            }

            /// Lets attributes say the same of the operands' axes in another order: `order[i]` is
            /// the old place of the axis that is now at place `i`.
            pub fn reorder_axes(&mut self, order: &[usize]) {
                match self { $(
                    #[allow(unused_variables, reason = "not every op has attributes of axes")]
                    Self::$Variant { $($attribute,)* .. } => { $( $( $OfAxes::reorder($attribute, order); )? )* }
                ),+ }
            }

            /// Floating-point operations; a multiply-add is two, any function such as `exp` one.
            pub(crate) fn flops(&self, sizes: &Sizes<'_>) -> u64 {
                match self { $(
                    #[allow(unused_variables, reason = "not every op counts with its fields, or at all")]
                    Self::$Variant { $($operand,)* $($attribute,)* } => {
                        $( let $sizes = sizes; return $flops; )?
                        #[allow(unreachable_code, reason = "an op without arithmetic")]
                        0
                    }
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

        impl PartialEq for Op {
            fn eq(&self, other: &Self) -> bool {
                match self { $( Self::$Variant { $($operand,)* $($attribute,)* } => {
                    let this = ($($operand.values(),)* $(Attribute::identity($attribute),)*);
                    match other {
                        Self::$Variant { $($operand,)* $($attribute,)* } => {
                            this == ($($operand.values(),)* $(Attribute::identity($attribute),)*)
                        }
                        _ => false,
                    }
                } ),+ }
            }
        }

        impl Eq for Op {}

        impl Hash for Op {
            fn hash<H: Hasher>(&self, state: &mut H) {
                std::mem::discriminant(self).hash(state);
                match self { $( Self::$Variant { $($operand,)* $($attribute,)* } => {
                    $( $operand.values().hash(state); )*
                    $( Attribute::identity($attribute).hash(state); )*
                } ),+ }
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
    Input = "input", input: Leaf () { name: String, ty: TensorType }

    /// A tensor that an earlier step left: the convolution caches. The output of the same name
    /// gives the next step's.
    State = "state", state: Leaf () { name: String, ty: TensorType }

    /// A tensor of the checkpoint, bound once.
    Parameter = "parameter", parameter: Leaf () { name: String, ty: TensorType }

    /// A tensor known when the program is compiled.
    Constant = "constant", constant: Leaf () { value: Elements, ty: TensorType }

    /// `lhs + rhs`, element by element.
    Add = "add", add: Pointwise (lhs: Value as Elementwise, rhs: Value as Elementwise) {}
        flops |of| of.each(1);

    /// `lhs * rhs`, element by element.
    Multiply = "multiply", multiply: Pointwise (lhs: Value as Elementwise, rhs: Value as Elementwise) {}
        flops |of| of.each(1);

    /// `input * sigmoid(input)`, element by element (Elfwing et al. 2017, arXiv:1702.03118).
    Silu = "silu", silu: Pointwise (input: Value as Elementwise) {}
        // Negate, exp, add, divide.
        flops |of| of.each(4);

    /// `function(input)`, element by element.
    Unary = "unary", unary: Pointwise (input: Value as Elementwise) { function: UnaryFunction }
        flops |of| of.each(1);

    /// `min(max(input, low), high)`, element by element; NaN stays. From 0 to `inf` it is the
    /// rectifier (Nair and Hinton 2010).
    Clamp = "clamp", clamp: Pointwise (input: Value as Elementwise) { low: f64, high: f64 }
        flops |of| of.each(2);

    /// `input + bias[channel]`: one number a channel, added to every element of that channel. The
    /// bias is in f32 where the input is in any floating-point type.
    AddBias = "add_bias", add_bias: Pointwise (input: Value as Elementwise, bias: Value as PerChannel) {}
        flops |of| of.each(1);

    /// Cross-correlation over time, height and width, as PyTorch's `Conv3d`:
    /// `sum over (kd, kh, kw, i) of x[t*st + kd, y*sh + kh, x*sw + kw, i] * weight[o, i, kd, kh, kw]`,
    /// where `x` is the input with `padding` elements (low, high for time, height, width) around it:
    /// zeros, or for each axis what `border` says. Frames may stand in front of the input, within the
    /// padding: those of `cache`, or the first frame `repeat_first` times. `bias`, in f32 where the
    /// input is in any floating-point type, is added to each output channel, then `residual` to each
    /// element; then the sum is rounded, once.
    Convolution = "convolution", bordered_convolution: Contracts
        (input: Value as Activation, weight: Value as Weight, bias: Option<Value> as PerChannel,
         residual: Option<Value> as Elementwise, cache: Option<Value> as Activation)
        { strides: [usize; 3], padding: [[usize; 2]; 3], repeat_first: usize, border: Border }
        // Two for each tap (those on the padding too) and input channel.
        flops |of| of.each(
            2 * (of.elements(*weight) / of.channels()) + u64::from(bias.is_some()) + u64::from(residual.is_some())
        );

    /// A convolution of each of `groups` groups of neighbouring channels by itself, as PyTorch's
    /// `Conv3d` with `groups`: output channel `o` of a group is that of [`Op::Convolution`] over
    /// the group's input channels, with `padding` zeros around them. Of one channel a group it is
    /// depthwise (Sifre and Mallat 2014; Chollet 2017, arXiv:1610.02357). `bias` as there.
    GroupedConvolution = "grouped_convolution", grouped_convolution: Contracts
        (input: Value as Activation, weight: Value as Weight, bias: Option<Value> as PerChannel)
        { groups: usize, strides: [usize; 3], padding: [[usize; 2]; 3] }
        // Two for each tap (those on the padding too) and input channel of the group.
        flops |of| of.each(2 * (of.elements(*weight) / of.channels()) + u64::from(bias.is_some()));

    /// Softmax attention (Vaswani et al. 2017, arXiv:1706.03762) of `heads` heads, each over an
    /// equal run of the channels: `sum over k of softmax(scale * (query[q] . key[k])) * value[k]`
    /// over the keys that `mask` lets query q see. Operands are tokens, `[.., tokens, channels]`
    /// without names of axes: those of `query` give the result's tokens, `key` and `value` have as
    /// many as each other. Axes in front are of tokens that do not see each other. Sums are rounded
    /// once, at the end.
    Attention = "attention", attention: Contracts
        (query: Value as Activation, key: Value as Activation, value: Value as Activation)
        { heads: usize, scale: f64, mask: AttentionMask }
        // For each pair that sees each other: two for each channel of both products; subtract, exp,
        // add, divide for each head.
        flops |of| {
            let ([queries, channels], [keys, outputs]) = (of.tokens(*query), of.tokens(*value));
            let apart = of.elements(*query) / (queries * channels).max(1) as u64;
            let terms = [channels, outputs, *heads, *heads].into_iter();
            let of_a_pair = terms.fold(0, |sum: u64, n| sum.saturating_add(2 * n as u64));
            mask.pairs(queries, keys).saturating_mul(apart).saturating_mul(of_a_pair)
        };

    /// Linear attention (Katharopoulos et al. 2020, arXiv:2006.16236) of `heads` heads, each over an
    /// equal run of the channels: `sum over k of (query[q] . key[k]) * value[k] / (sum over k of
    /// query[q] . key[k] + epsilon)`, over all keys. Operands are tokens as those of
    /// [`Op::Attention`]; sums are rounded once, at the end. What keeps scores from being negative is
    /// the caller's.
    LinearAttention = "linear_attention", linear_attention: Contracts
        (query: Value as Activation, key: Value as Activation, value: Value as Activation)
        { heads: usize, epsilon: f64 }
        // For each key and each query two for each pair of a head's channels, and two for each
        // channel of the sum of scores; for each element of the result add, divide.
        flops |of| {
            let ([queries, channels], [keys, outputs]) = (of.tokens(*query), of.tokens(*value));
            let apart = of.elements(*query) / (queries * channels).max(1) as u64;
            let pairs = 2 * (channels as u64).saturating_mul((outputs / heads.max(&1)) as u64 + 1);
            let tokens = (queries as u64).saturating_add(keys as u64);
            apart.saturating_mul(tokens.saturating_mul(pairs)).saturating_add(of.each(2))
        };

    /// Group normalisation (Wu and He 2018, arXiv:1803.08494): over each batch element and each
    /// group of adjacent channels, `(x - mean) / sqrt(variance + epsilon)` with the biased
    /// variance, then times `scale[channel]` plus `offset[channel]`.
    GroupNorm = "group_norm", group_norm: Reduces
        (input: Value as Activation, scale: Value as PerChannel, offset: Value as PerChannel)
        { groups: usize, epsilon: f64 }
        // Those of statistics, and those of a normalisation.
        flops |of| of.each(8);

    /// Mean and reciprocal standard deviation `1 / sqrt(variance + epsilon)` of each batch element
    /// and group, as `[batch, groups, 2]`.
    GroupStatistics = "group_statistics", group_statistics: Summarizes
        (input: Value as Activation) { groups: usize, epsilon: f64 }
        // Add; subtract, multiply, add.
        flops |of| of.elements(*input).saturating_mul(4);

    /// The second half of a group normalisation, fused with what follows it: `activation(((input -
    /// mean) * rstd * scale[channel] + offset[channel]) * gain + shift)`. `gain` and `shift` are
    /// videos of a lower resolution, read at the nearest element as by `resize_nearest` with this
    /// `first_frame`.
    Normalize = "normalize", normalize: Pointwise
        (input: Value as Elementwise, statistics: Value as Statistics, scale: Value as PerChannel,
         offset: Value as PerChannel, gain: Option<Value> as Activation, shift: Option<Value> as Activation)
        { first_frame: FirstFrame, activation: Activation }
        // Subtract, multiply, multiply, add; multiply, add; negate, exp, add, divide.
        flops |of| of.each(
            4 + 2 * u64::from(gain.is_some()) + 4 * u64::from(*activation == Activation::Silu)
        );

    /// Normalisation over the C channels `x` of each position: `activation(y * scale[channel] +
    /// offset[channel])`, where `y` is of `kind` `rms`, `x / sqrt(mean(x^2) + epsilon)` (Zhang and
    /// Sennrich 2019, arXiv:1910.07467); of `l2`, `sqrt(C) * x / max(sqrt(sum(x^2)), epsilon)`,
    /// which is PyTorch's `F.normalize` times `sqrt(C)`; of `layer`, `(x - mean) / sqrt(variance +
    /// epsilon)` with the biased variance (Ba, Kiros and Hinton 2016, arXiv:1607.06450). A scale
    /// that is left out is 1, an offset 0. The layout names the channels; the other axes may be
    /// any.
    ChannelNorm = "channel_norm", channel_norm: Reduces
        (input: Value as Activation, scale: Option<Value> as PerChannel, offset: Option<Value> as PerChannel)
        { kind: ChannelNormKind, epsilon: f64, activation: Activation }
        // Multiply, add; multiply. Add; subtract. Multiply. Add. Negate, exp, add, divide.
        flops |of| of.each(
            3 + 2 * u64::from(*kind == ChannelNormKind::Layer)
                + u64::from(scale.is_some()) + u64::from(offset.is_some())
                + 4 * u64::from(*activation == Activation::Silu)
        );

    /// Nearest-neighbour resize of time, height and width to `size`: element `i` of `size` reads
    /// element `floor(i * operand / size)`. With the first frame apart, frame 0 reads frame 0 and
    /// the others are resized among themselves.
    ResizeNearest = "resize_nearest", resize_nearest: Moves
        (input: Value as Activation) { size: [usize; 3], first_frame: FirstFrame }

    /// Mean over windows of time, height and width that do not overlap; a rest shorter than the
    /// window is dropped. With the first frame apart, frame 0 is averaged by itself over height and
    /// width alone.
    AveragePool = "average_pool", average_pool: Reduces
        (input: Value as Activation) { window: [usize; 3], first_frame: FirstFrame }
        // One for each element that is read.
        flops |of| {
            let [depth, height, width] = window.map(|size| size as u64);
            let frames_read = match first_frame {
                FirstFrame::Joined => of.frames() * depth,
                FirstFrame::Apart => 1 + (of.frames() - 1) * depth,
            };
            (of.each(1) / of.frames()).saturating_mul(frames_read * height * width)
        };

    /// `low` elements in front of and `high` behind each axis.
    Pad = "pad", pad: Moves (input: Value as Activation) { low: Dims as PerAxis, high: Dims as PerAxis, mode: PadMode }

    /// The elements `start..limit` of each axis.
    Slice = "slice", slice: Moves (input: Value as Part) { start: Dims as PerAxis, limit: Dims as PerAxis }

    /// The operands one behind the other along `axis`.
    Concatenate = "concatenate", concatenate: Moves (inputs: Values as Activation) { axis: usize as AxisPlace }

    /// Axis `i` of the result is axis `permutation[i]` of the operand. A named layout becomes the
    /// layout with its letters in that order.
    Transpose = "transpose", transpose: Moves (input: Value as Activation) { permutation: Dims }

    /// The same elements, in row-major order, under another shape and layout.
    Reshape = "reshape", reshape: Moves (input: Value as View) { ty: TensorType }

    /// Each element in another type. To a floating-point type: rounded to nearest, ties to even,
    /// and infinite beyond the largest number. To an integer type: rounded toward zero and
    /// saturated at both ends; NaN becomes 0.
    Convert = "convert", convert: Moves (input: Value as Activation) { element: ElementType }
}

impl Op {
    /// Every operand, in order.
    pub fn operands(&self) -> Values {
        let mut all = Values::new();
        self.visit_operands(&mut |_, values| all.extend_from_slice(values));
        all
    }

    /// Every operand with what it is to the op, in order.
    pub fn roles(&self) -> Vec<(OperandRole, Value)> {
        let mut all = Vec::new();
        self.visit_operands(&mut |operand, values| all.extend(values.iter().map(|value| (operand.role, *value))));
        all
    }

    /// The table's row of this op.
    pub fn info(&self) -> &'static OpInfo {
        TABLE.iter().find(|row| row.mnemonic == self.mnemonic()).expect("the enum and the table are one macro")
    }

    /// Whether the value comes from outside the program: an input, a state, a parameter or a
    /// constant.
    pub const fn is_leaf(&self) -> bool {
        matches!(self.class(), Class::Leaf)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn statistics(epsilon: f64) -> Op {
        Op::GroupStatistics { input: Value(0), groups: 2, epsilon }
    }

    #[test]
    fn ops_are_told_apart_by_operands_attributes_and_bits() {
        let constant = |value| Op::Constant { value, ty: TensorType::plain(ElementType::F32, [1]) };
        let splat = |x: f64| constant(Elements::Splat(x));
        let different = [
            statistics(0.0),
            statistics(-0.0),
            statistics(f64::NAN),
            Op::GroupStatistics { input: Value(1), groups: 2, epsilon: 0.0 },
            Op::GroupStatistics { input: Value(0), groups: 4, epsilon: 0.0 },
            Op::GroupNorm { input: Value(0), scale: Value(1), offset: Value(2), groups: 2, epsilon: 0.0 },
            Op::GroupNorm { input: Value(0), scale: Value(2), offset: Value(1), groups: 2, epsilon: 0.0 },
            splat(0.0),
            splat(-0.0),
            splat(f64::NAN),
            constant(Elements::Dense([0.0].into())),
            Op::Constant { value: Elements::Splat(0.0), ty: TensorType::plain(ElementType::Bf16, [1]) },
        ];
        assert_eq!(different.iter().cloned().collect::<HashSet<Op>>().len(), different.len());
        for op in &different {
            assert_eq!(*op, op.clone(), "NaN too is itself");
        }
    }

    #[test]
    fn attributes_of_axes_follow_them() {
        let dims = |dims: [usize; 3]| dims.into_iter().collect::<Dims>();
        let mut slice = Op::Slice { input: Value(0), start: dims([1, 2, 3]), limit: dims([4, 5, 6]) };
        slice.reorder_axes(&[0, 2, 1]);
        assert_eq!(slice, Op::Slice { input: Value(0), start: dims([1, 3, 2]), limit: dims([4, 6, 5]) });
        let mut concatenate = Op::Concatenate { inputs: Values::new(), axis: 0 };
        concatenate.reorder_axes(&[2, 0, 1]);
        assert_eq!(concatenate, Op::Concatenate { inputs: Values::new(), axis: 1 });
        let mut statistics = statistics(0.0);
        statistics.reorder_axes(&[2, 0, 1]);
        assert_eq!(statistics, self::statistics(0.0), "groups are no axis");
    }
}
