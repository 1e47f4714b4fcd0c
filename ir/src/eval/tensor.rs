//! Tensors of the evaluator and the two kinds of number it runs in.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use rayon::prelude::*;
use smallvec::SmallVec;

use super::compute;
use crate::graph::Value;
use crate::op::Op;
use crate::types::{Dims, ElementType, TensorType, TypeError};

/// A dense tensor in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<T> {
    /// Its type; `data` holds its elements as `T` whatever the element type.
    pub ty: TensorType,
    /// `ty.elements()` numbers.
    pub data: Vec<T>,
}

/// Why a tensor is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The type is not one.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// The type has another number of elements.
    #[error("{ty} has {} elements, its data are {found} numbers", ty.elements())]
    Length {
        /// The type.
        ty: TensorType,
        /// Length of the data.
        found: usize,
    },
}

/// There is no memory for a result.
#[derive(Clone, Copy, Debug)]
pub struct OutOfMemory;

impl<T> Tensor<T> {
    /// A tensor of type `ty` with these elements, row-major.
    ///
    /// # Errors
    /// When `ty` is not a type that a graph may hold, or has another number of elements.
    pub fn new(ty: TensorType, data: Vec<T>) -> Result<Self, TensorError> {
        let tensor = Self { ty, data };
        tensor.check()?;
        Ok(tensor)
    }

    /// Checks that the data fill the type.
    ///
    /// # Errors
    /// See [`Self::new`].
    pub fn check(&self) -> Result<(), TensorError> {
        self.ty.check()?;
        if self.data.len() != self.ty.elements() {
            return Err(TensorError::Length { ty: self.ty.clone(), found: self.data.len() });
        }
        Ok(())
    }
}

impl<T: Real> Tensor<T> {
    /// A tensor of zeros.
    pub(super) fn zeros(ty: &TensorType) -> Result<Self, OutOfMemory> {
        let mut data = Vec::new();
        data.try_reserve_exact(ty.elements()).map_err(|_| OutOfMemory)?;
        data.resize(ty.elements(), T::ZERO);
        Ok(Self { ty: ty.clone(), data })
    }

    /// The tensor with its elements made row by row, a row being a run along the last axis: `fill`
    /// gets the row's position along the other axes, and the row as it is. Rows are made in
    /// parallel.
    pub(super) fn fill_rows(mut self, fill: impl Fn(&[usize], &mut [T]) + Sync) -> Self {
        let (outer, width) = match self.ty.shape.split_last() {
            Some((&width, outer)) => (outer, width),
            None => (&[][..], 1),
        };
        // Threads take no fewer elements at a time than are worth the hand-over.
        let rows_a_task = (1 << 12) / width + 1;
        self.data.par_chunks_mut(width).with_min_len(rows_a_task).enumerate().for_each(|(row, elements)| {
            let mut rest = row;
            let mut position: Dims = SmallVec::from_elem(0, outer.len());
            for axis in (0..outer.len()).rev() {
                position[axis] = rest % outer[axis];
                rest /= outer[axis];
            }
            fill(&position, elements);
        });
        self
    }
}

/// A number the evaluator runs in: `f32` or `f64`.
pub trait Real:
    Copy
    + Debug
    + PartialOrd
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + sealed::Compute
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;

    /// The nearest number.
    fn from_f64(x: f64) -> Self;

    /// The same number.
    fn to_f64(self) -> f64;

    /// e to the power of this.
    fn exp(self) -> Self;

    /// The hyperbolic tangent.
    fn tanh(self) -> Self;

    /// The sine of this angle.
    fn sin(self) -> Self;

    /// The cosine of this angle.
    fn cos(self) -> Self;
}

/// The nearest number that `element` can hold, for `convert` and for every op with a result of that
/// type: ties to even for floating-point types, toward zero and saturated for integers, where NaN
/// becomes 0. In f32 numbers stay as they are: see [`super`].
pub(super) fn round_to(x: f64, element: ElementType) -> f64 {
    match element {
        ElementType::F32 => x,
        ElementType::Bf16 => round_binary(x, 7, -126, f64::from(half::bf16::MAX)),
        ElementType::F16 => round_binary(x, 10, -14, f64::from(half::f16::MAX)),
        ElementType::I8 => f64::from(x as i8),
        ElementType::I32 => f64::from(x as i32),
    }
}

/// `x` rounded once, ties to even, to a binary format with `mantissa` bits behind the point and
/// `min_exponent` as the exponent of its smallest normal number; infinite where that exceeds `max`.
fn round_binary(x: f64, mantissa: i32, min_exponent: i32, max: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let exponent = ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    let step = f64::from_bits(((exponent.max(min_exponent) - mantissa + 1023) as u64) << 52);
    let rounded = (x / step).round_ties_even() * step;
    if rounded.abs() > max { f64::INFINITY.copysign(x) } else { rounded }
}

mod sealed {
    use super::{Op, OutOfMemory, Tensor, TensorType, Value};

    /// Keeps the set of numbers closed, and every op's code in this crate: generic code is compiled
    /// where its type becomes known, with the optimisation level of that crate.
    pub trait Compute: Sized + 'static {
        fn compute<'a>(
            op: &Op,
            tensor_of: &dyn Fn(Value) -> &'a Tensor<Self>,
            ty: &TensorType,
        ) -> Result<Tensor<Self>, OutOfMemory>;
    }
}

macro_rules! real {
    ($($Float:ident)+) => { $(
        impl Real for $Float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;

            fn from_f64(x: f64) -> Self {
                x as Self
            }

            fn to_f64(self) -> f64 {
                f64::from(self)
            }

            fn exp(self) -> Self {
                self.exp()
            }

            fn tanh(self) -> Self {
                self.tanh()
            }

            fn sin(self) -> Self {
                self.sin()
            }

            fn cos(self) -> Self {
                self.cos()
            }
        }

        impl sealed::Compute for $Float {
            fn compute<'a>(
                op: &Op,
                tensor_of: &dyn Fn(Value) -> &'a Tensor<Self>,
                ty: &TensorType,
            ) -> Result<Tensor<Self>, OutOfMemory> {
                compute(op, tensor_of, ty)
            }
        }
    )+ };
}

real!(f32 f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_to_bf16_is_exact_for_every_pattern_and_tie() {
        for bits in 0..0x7f80_u16 {
            let x = f64::from(half::bf16::from_bits(bits));
            assert_eq!(round_to(x, ElementType::Bf16), x);
            let next = if bits == 0x7f7f { 2f64.powi(128) } else { f64::from(half::bf16::from_bits(bits + 1)) };
            let middle = (x + next) / 2.0;
            let infinite_or = |y: f64| if y > f64::from(half::bf16::MAX) { f64::INFINITY } else { y };
            let even = if bits % 2 == 0 { x } else { infinite_or(next) };
            assert_eq!(round_to(middle, ElementType::Bf16), even, "{bits:#x}");
            assert_eq!(round_to(middle * (1.0 + f64::EPSILON), ElementType::Bf16), infinite_or(next), "{bits:#x}");
            assert_eq!(round_to(-middle * (1.0 - f64::EPSILON), ElementType::Bf16), -x, "{bits:#x}");
        }
    }

    #[test]
    fn rounding_to_f16_agrees_with_half() {
        for i in 0..200_000_u32 {
            let x = f32::from_bits(i.wrapping_mul(0x9e37_79b9));
            if !x.is_nan() {
                let expected = f64::from(half::f16::from_f32(x));
                assert_eq!(round_to(f64::from(x), ElementType::F16), expected, "{x}");
            }
        }
    }

    #[test]
    fn integers_round_toward_zero_and_saturate() {
        let i8s = [(1.9, 1.0), (-1.9, -1.0), (300.0, 127.0), (-300.0, -128.0), (f64::NAN, 0.0), (f64::INFINITY, 127.0)];
        for (x, expected) in i8s {
            assert_eq!(round_to(x, ElementType::I8), expected);
        }
        assert_eq!(round_to(-3e9, ElementType::I32), f64::from(i32::MIN));
    }

    #[test]
    fn data_must_fill_the_type() {
        let ty = TensorType::plain(ElementType::F32, [2, 3]);
        let error = Tensor::new(ty, vec![0.0_f32; 5]).unwrap_err();
        assert_eq!(error.to_string(), "tensor<2x3xf32> has 6 elements, its data are 5 numbers");
    }
}
