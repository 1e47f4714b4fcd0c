//! The gathers of ops that move elements and compute nothing: what each reads from where.

use ir::{Dims, FirstFrame, Graph, Node, Op, PadMode, TensorType, Value};

use crate::kernel::{AxisMap, Gather};

/// A gather of a whole tensor onto one of the same type.
pub(super) fn identity(ty: &TensorType) -> Gather {
    Gather {
        element_bytes: ty.element.bytes(),
        shape: ty.shape.clone(),
        maps: vec![AxisMap::Same; ty.rank()],
        source_strides: ty.strides(),
        source_offset: 0,
        result_strides: ty.strides(),
        result_offset: 0,
    }
}

/// A gather of all elements of a tensor, as they are in memory.
pub(super) fn contiguous(ty: &TensorType) -> Gather {
    identity(&TensorType::plain(ty.element, [ty.elements()]))
}

/// The operand and the gather of an op that only moves elements.
pub(super) fn gather(graph: &Graph, node: &Node) -> (Value, Gather) {
    let base = |input: Value| Gather { source_strides: graph.ty(input).strides(), ..identity(&node.ty) };
    match &node.op {
        Op::ResizeNearest { input, size, first_frame } => {
            let from = graph.ty(*input);
            let mut gather = base(*input);
            if let Some(axes) = node.ty.layout.video() {
                for (i, axis) in axes.space.into_iter().enumerate() {
                    let apart = i == 0 && *first_frame == FirstFrame::Apart;
                    gather.maps[axis] = match from.shape[axis] {
                        same if same == size[i] => AxisMap::Same,
                        from => AxisMap::Nearest { from, to: size[i], apart },
                    };
                }
            }
            (*input, gather)
        }
        Op::Pad { input, low, high, mode } => {
            let from = graph.ty(*input);
            let mut gather = base(*input);
            for axis in (0..from.rank()).filter(|&axis| low[axis] + high[axis] > 0) {
                let (low, size) = (low[axis], from.shape[axis]);
                gather.maps[axis] = match mode {
                    PadMode::Edge => AxisMap::Clamp { low, size },
                    PadMode::Zero => AxisMap::Zero { low, size },
                    PadMode::Reflect => AxisMap::Reflect { low, size },
                };
            }
            (*input, gather)
        }
        Op::Slice { input, start, .. } => {
            let mut gather = base(*input);
            gather.source_offset = start.iter().zip(&gather.source_strides).map(|(s, stride)| s * stride).sum();
            (*input, gather)
        }
        Op::Transpose { input, permutation } => {
            let mut gather = base(*input);
            let strides = graph.ty(*input).strides();
            gather.source_strides = permutation.iter().map(|&axis| strides[axis]).collect::<Dims>();
            (*input, gather)
        }
        Op::Reshape { input, .. } => (*input, contiguous(&node.ty)),
        op => unreachable!("{} moves no elements", op.mnemonic()),
    }
}
