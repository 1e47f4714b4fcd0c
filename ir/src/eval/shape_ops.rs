//! Ops that move elements without computing: pad, slice, concatenate, transpose. All but
//! concatenate are a [`gather`].

use super::{OutOfMemory, Real, Tensor};
use crate::attribute::PadMode;
use crate::types::{Dims, TensorType};

/// For each axis of a result and each place along it: how far into the operand it reaches, in
/// elements; `None` where it lies outside. An element of the result reads the operand at the sum
/// over its axes.
pub(super) type AxisOffsets = Vec<Vec<Option<usize>>>;

/// The offsets for a result of type `ty`, where `offset` gives that of a place along an axis.
pub(super) fn axis_offsets(ty: &TensorType, offset: impl Fn(usize, usize) -> Option<usize>) -> AxisOffsets {
    (0..ty.rank()).map(|axis| (0..ty.shape[axis]).map(|at| offset(axis, at)).collect()).collect()
}

/// The sum of the offsets at `position`, which may leave out the last axes.
pub(super) fn offset_at(offsets: &AxisOffsets, position: &[usize]) -> Option<usize> {
    offsets.iter().zip(position).try_fold(0, |sum, (axis, &at)| Some(sum + axis[at]?))
}

/// Every element read from `input`, where `offset` gives what each axis and place along it adds to
/// the place to read; 0 where it lies outside.
pub(super) fn gather<T: Real>(
    input: &Tensor<T>,
    ty: &TensorType,
    offset: impl Fn(usize, usize) -> Option<usize>,
) -> Result<Tensor<T>, OutOfMemory> {
    // The result first: where it fits memory, so do the offsets.
    let zeros = Tensor::zeros(ty)?;
    let offsets = axis_offsets(ty, offset);
    Ok(zeros.fill_rows(|position, row| {
        let Some(base) = offset_at(&offsets, position) else { return };
        match offsets.last() {
            Some(last) => row.iter_mut().zip(last).for_each(|(to, at)| {
                if let Some(at) = at {
                    *to = input.data[base + at];
                }
            }),
            None => row[0] = input.data[0],
        }
    }))
}

/// `mode` gives what stands around each axis.
pub(super) fn pad<T: Real>(
    input: &Tensor<T>,
    low: &Dims,
    mode: impl Fn(usize) -> PadMode,
    ty: &TensorType,
) -> Result<Tensor<T>, OutOfMemory> {
    let strides = input.ty.strides();
    gather(input, ty, |axis, at| {
        let size = input.ty.shape[axis];
        let source = match mode(axis) {
            PadMode::Zero => at.checked_sub(low[axis]).filter(|&at| at < size)?,
            PadMode::Edge => at.saturating_sub(low[axis]).min(size - 1),
            PadMode::Reflect => {
                let distance = at.abs_diff(low[axis]);
                distance.min((2 * (size - 1)).abs_diff(distance))
            }
        };
        Some(source * strides[axis])
    })
}

pub(super) fn slice<T: Real>(input: &Tensor<T>, start: &Dims, ty: &TensorType) -> Result<Tensor<T>, OutOfMemory> {
    let strides = input.ty.strides();
    gather(input, ty, |axis, at| Some((start[axis] + at) * strides[axis]))
}

pub(super) fn transpose<T: Real>(
    input: &Tensor<T>,
    permutation: &Dims,
    ty: &TensorType,
) -> Result<Tensor<T>, OutOfMemory> {
    let strides = input.ty.strides();
    gather(input, ty, |axis, at| Some(at * strides[permutation[axis]]))
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
