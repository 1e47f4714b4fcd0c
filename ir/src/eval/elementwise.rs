//! Ops that make each element of one element of each operand.

use rayon::prelude::*;

use super::tensor::round_to;
use super::{OutOfMemory, Real, Tensor};
use crate::attribute::{Elements, UnaryFunction};
use crate::types::TensorType;

/// Elements that a thread takes at a time.
const BLOCK: usize = 1 << 14;

pub(super) fn constant<T: Real>(value: &Elements, ty: &TensorType) -> Result<Tensor<T>, OutOfMemory> {
    let mut result = Tensor::zeros(ty)?;
    match value {
        Elements::Splat(x) => result.data.fill(T::from_f64(*x)),
        Elements::Dense(xs) => result.data.iter_mut().zip(xs.iter()).for_each(|(to, x)| *to = T::from_f64(*x)),
    }
    Ok(result)
}

/// `f` of each element.
pub(super) fn map<T: Real>(
    input: &Tensor<T>,
    ty: &TensorType,
    f: impl Fn(T) -> T + Sync,
) -> Result<Tensor<T>, OutOfMemory> {
    let mut result = Tensor::zeros(ty)?;
    result.data.par_chunks_mut(BLOCK).zip(input.data.par_chunks(BLOCK)).for_each(|(to, xs)| {
        to.iter_mut().zip(xs).for_each(|(to, &x)| *to = f(x));
    });
    Ok(result)
}

/// `f` of each pair of elements.
pub(super) fn zip<T: Real>(
    lhs: &Tensor<T>,
    rhs: &Tensor<T>,
    ty: &TensorType,
    f: impl Fn(T, T) -> T + Sync,
) -> Result<Tensor<T>, OutOfMemory> {
    let mut result = map(lhs, ty, |x| x)?;
    update(&mut result, rhs, f);
    Ok(result)
}

/// Replaces each element `x` by `f(x, y)`, where `y` is the other tensor's.
pub(super) fn update<T: Real>(tensor: &mut Tensor<T>, other: &Tensor<T>, f: impl Fn(T, T) -> T + Sync) {
    tensor.data.par_chunks_mut(BLOCK).zip(other.data.par_chunks(BLOCK)).for_each(|(xs, ys)| {
        xs.iter_mut().zip(ys).for_each(|(x, &y)| *x = f(*x, y));
    });
}

/// `x * sigmoid(x)`.
pub(super) fn silu<T: Real>(x: T) -> T {
    x / (T::ONE + (-x).exp())
}

pub(super) fn unary<T: Real>(function: UnaryFunction, x: T) -> T {
    match function {
        UnaryFunction::Tanh => x.tanh(),
        UnaryFunction::Sigmoid => T::ONE / (T::ONE + (-x).exp()),
        UnaryFunction::Sine => x.sin(),
        UnaryFunction::Cosine => x.cos(),
    }
}

/// The nearest number to `x` within the bounds; NaN is none.
pub(super) fn clamp<T: Real>(x: T, low: T, high: T) -> T {
    if x < low {
        low
    } else if x > high {
        high
    } else {
        x
    }
}

/// Adds to each element of a video its channel's number.
pub(super) fn add_per_channel<T: Real>(video: &mut Tensor<T>, bias: &Tensor<T>) {
    let axes = video.ty.layout.video().expect("a video");
    let channels = bias.data.len();
    // Elements whose channel is the same stand in runs, one channel's run behind the other's.
    let run = video.ty.strides()[axes.channel];
    let blocks = video.data.par_chunks_mut(run * channels);
    blocks.with_min_len(BLOCK / (run * channels) + 1).for_each(|block| {
        for (elements, &b) in block.chunks_exact_mut(run).zip(&bias.data) {
            elements.iter_mut().for_each(|x| *x += b);
        }
    });
}

/// Rounds every element to the tensor's element type.
pub(super) fn round<T: Real>(tensor: &mut Tensor<T>) {
    let element = tensor.ty.element;
    tensor.data.par_chunks_mut(BLOCK).for_each(|xs| {
        xs.iter_mut().for_each(|x| *x = T::from_f64(round_to(x.to_f64(), element)));
    });
}
