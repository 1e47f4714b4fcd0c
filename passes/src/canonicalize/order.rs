//! Chains of transposes and reshapes that leave the elements in the order in which they found them:
//! each is one reshape.
//!
//! Such chains come of tensors that are reshaped channel-first and laid out channel-last: a video
//! is made channel-first, its pixels are joined to tokens, and these are made channel-last again.
//! Where the chain leaves no element, is asked axis by axis: each has a size and a distance between
//! its neighbours where the chain began, which a transpose reorders and a reshape cuts or
//! joins, where it can.

use ir::{Dims, Op, Value};

use super::Simpler;
use crate::rewriter::Rewriter;

/// Size of an axis, and distance of neighbours in the tensor where the chain began.
type Axis = (usize, usize);

/// The reshape that `op`, a transpose or a reshape, ends a chain to, from as far back as elements
/// are in their order.
pub(super) fn reshape(rewriter: &Rewriter<'_>, op: &Op) -> Simpler {
    let Some(ty) = rewriter.infer(op) else { return Simpler::No };
    let mut chain = vec![op];
    let mut found = None;
    while let Some(begin) = operand(chain[chain.len() - 1]) {
        // A transpose or a reshape by itself stays what it is.
        let is_longer = chain.len() > 1 && chain.iter().any(|op| matches!(op, Op::Transpose { .. }));
        if is_longer && keeps_order(rewriter, begin, &chain) {
            found = Some(begin);
        }
        chain.push(rewriter.op(begin));
    }
    found.map_or(Simpler::No, |input| Simpler::Op(Op::Reshape { input, ty }))
}

/// What a transpose or a reshape reads.
const fn operand(op: &Op) -> Option<Value> {
    match op {
        Op::Transpose { input, .. } | Op::Reshape { input, .. } => Some(*input),
        _ => None,
    }
}

/// Whether `chain`, its last op first, puts the elements of `begin` nowhere else.
fn keeps_order(rewriter: &Rewriter<'_>, begin: Value, chain: &[&Op]) -> bool {
    let ty = rewriter.ty(begin);
    let first: Vec<Axis> = ty.shape.iter().copied().zip(ty.strides()).collect();
    let last = chain.iter().rev().try_fold(first, |axes, op| match op {
        Op::Transpose { permutation, .. } => Some(permutation.iter().map(|&axis| axes[axis]).collect()),
        Op::Reshape { ty, .. } => reshaped(&axes, &ty.shape),
        _ => None,
    });
    last.is_some_and(|axes| matches!(joined(&axes)[..], [] | [(_, 1)]))
}

/// The axes without those of size 1, neighbours joined where they follow each other as one axis
/// does.
fn joined(axes: &[Axis]) -> Vec<Axis> {
    let mut all: Vec<Axis> = Vec::new();
    for &(size, distance) in axes.iter().filter(|(size, _)| *size > 1) {
        match all.last_mut() {
            Some(last) if last.1 == size * distance => *last = (last.0 * size, distance),
            _ => all.push((size, distance)),
        }
    }
    all
}

/// The axes of the same elements in these sizes; `None` where an axis would have no one distance
/// between its neighbours.
fn reshaped(axes: &[Axis], shape: &Dims) -> Option<Vec<Axis>> {
    let mut runs = joined(axes);
    let mut all = Vec::with_capacity(shape.len());
    for &size in shape.iter().rev() {
        if size == 1 {
            all.push((1, 0));
            continue;
        }
        let (left, distance) = runs.pop()?;
        if !left.is_multiple_of(size) {
            return None;
        }
        all.push((size, distance));
        if left > size {
            runs.push((left / size, distance * size));
        }
    }
    all.reverse();
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_cut_and_joined_where_they_can_be() {
        let shape = |sizes: &[usize]| sizes.iter().copied().collect::<Dims>();
        let whole = [(2, 12), (3, 4), (4, 1)];
        assert_eq!(reshaped(&whole, &shape(&[6, 1, 2, 2])), Some(vec![(6, 4), (1, 0), (2, 2), (2, 1)]));
        // The first two axes changed places: they are cut, but not joined.
        let moved = [(3, 4), (2, 12), (4, 1)];
        assert_eq!(reshaped(&moved, &shape(&[3, 2, 2, 2])), Some(vec![(3, 4), (2, 12), (2, 2), (2, 1)]));
        assert_eq!(reshaped(&moved, &shape(&[6, 4])), None);
        assert_eq!(joined(&whole), [(24, 1)]);
        assert_eq!(joined(&[(1, 7), (3, 4), (1, 1), (4, 1)]), [(12, 1)]);
    }
}
