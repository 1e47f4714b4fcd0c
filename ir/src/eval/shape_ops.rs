//! Ops that move elements without computing: pad, slice, concatenate, transpose. All but concatenate are a [`gather`].

use super::{OutOfMemory, Real, Tensor};
use crate::attribute::PadMode;
use crate::types::{Dims, TensorType};

/// For each axis of a result and each place along it: how far into the operand it reaches, in elements; `None` where it
/// lies outside. An element of the result reads the operand at the sum over its axes.
pub(super) type AxisOffsets = Vec<Vec<Option<usize>>>;

/// The sum of the offsets at `position`, which may leave out the last axes.
pub(super) fn offset_at(offsets: &AxisOffsets, position: &[usize]) -> Option<usize> {
    offsets.iter().zip(position).try_fold(0, |sum, (axis, &at)| Some(sum + axis[at]?))
}

/// Every element read from `input` at its offset; 0 where it lies outside.
pub(super) fn gather<T: Real>(
    input: &Tensor<T>,
    offsets: &AxisOffsets,
    ty: &TensorType,
) -> Result<Tensor<T>, OutOfMemory> {
    Tensor::from_rows(ty, |position, row| {
        let Some(base) = offset_at(offsets, position) else { return };
        match offsets.last() {
            Some(last) => row.iter_mut().zip(last).for_each(|(to, at)| {
                if let Some(at) = at {
                    *to = input.data[base + at];
                }
            }),
            None => row[0] = input.data[0],
        }
    })
}

pub(super) fn pad<T: Real>(
    input: &Tensor<T>,
    low: &Dims,
    mode: PadMode,
    ty: &TensorType,
) -> Result<Tensor<T>, OutOfMemory> {
    let strides = input.ty.strides();
    let source = |axis: usize, at: usize| match mode {
        PadMode::Zero => at.checked_sub(low[axis]).filter(|&at| at < input.ty.shape[axis]),
        PadMode::Edge => Some(at.saturating_sub(low[axis]).min(input.ty.shape[axis] - 1)),
    };
    let offsets = (0..ty.rank())
        .map(|axis| (0..ty.shape[axis]).map(|at| source(axis, at).map(|at| at * strides[axis])).collect())
        .collect();
    gather(input, &offsets, ty)
}

pub(super) fn slice<T: Real>(input: &Tensor<T>, start: &Dims, ty: &TensorType) -> Result<Tensor<T>, OutOfMemory> {
    let strides = input.ty.strides();
    let offsets = (0..ty.rank())
        .map(|axis| (0..ty.shape[axis]).map(|at| Some((start[axis] + at) * strides[axis])).collect())
        .collect();
    gather(input, &offsets, ty)
}

pub(super) fn transpose<T: Real>(
    input: &Tensor<T>,
    permutation: &Dims,
    ty: &TensorType,
) -> Result<Tensor<T>, OutOfMemory> {
    let strides = input.ty.strides();
    let offsets = (0..ty.rank())
        .map(|axis| (0..ty.shape[axis]).map(|at| Some(at * strides[permutation[axis]])).collect())
        .collect();
    gather(input, &offsets, ty)
}

pub(super) fn concatenate<T: Real>(
    inputs: &[&Tensor<T>],
    axis: usize,
    ty: &TensorType,
) -> Result<Tensor<T>, OutOfMemory> {
    let mut result = Tensor::zeros(ty)?;
    // From `axis` on inwards an operand is one run of elements; the axes outside it count the runs.
    let run = |of: &TensorType| of.strides()[axis] * of.shape[axis];
    let mut written = 0;
    for input in inputs {
        let length = run(&input.ty);
        for (to, from) in result.data.chunks_exact_mut(run(ty)).zip(input.data.chunks_exact(length)) {
            to[written..written + length].copy_from_slice(from);
        }
        written += length;
    }
    Ok(result)
}
