//! Normalisation over the channels of each position, in f32 and rounded once.

use ir::{Activation, ChannelNormKind, ElementType};

use super::body::{Body, Tensor};
use super::elementwise::silu_of_f32;

/// What is done to the channels.
pub(super) struct ChannelNorm<'a> {
    /// Which axis they are.
    pub axis: usize,
    pub kind: ChannelNormKind,
    pub epsilon: f64,
    pub scale: Option<&'a Tensor>,
    pub offset: Option<&'a Tensor>,
    pub activation: Activation,
}

pub(super) fn channel_norm(body: &mut Body, input: &Tensor, by: &ChannelNorm<'_>) -> Tensor {
    let &ChannelNorm { axis, kind, epsilon, .. } = by;
    let others: Vec<usize> = (0..input.dims.len()).filter(|other| *other != axis).collect();
    let count = input.dims[axis] as f64;
    let mut x = body.to("f32", input, ElementType::F32);
    if kind == ChannelNormKind::Layer {
        let sum = body.sum("sum", &x, &[axis]);
        let mean = body.scaled("mean", &sum, 1.0 / count);
        let mean = body.broadcast("mean", &mean, &others, &input.dims);
        x = body.elementwise("centered", "subtract", &[&x, &mean]);
    }
    let square = body.elementwise("square", "multiply", &[&x, &x]);
    let sum = body.sum("sum_of_squares", &square, &[axis]);
    let least = body.splat("epsilon", epsilon, ElementType::F32, &sum.dims);
    let factor = match kind {
        ChannelNormKind::Rms | ChannelNormKind::Layer => {
            let mean_square = body.scaled("mean_square", &sum, 1.0 / count);
            let above_zero = body.elementwise("mean_square", "add", &[&mean_square, &least]);
            body.elementwise("factor", "rsqrt", &[&above_zero])
        }
        ChannelNormKind::L2 => {
            let norm = body.elementwise("norm", "sqrt", &[&sum]);
            let norm = body.elementwise("norm", "maximum", &[&norm, &least]);
            let root = body.splat("root", count.sqrt(), ElementType::F32, &norm.dims);
            body.elementwise("factor", "divide", &[&root, &norm])
        }
    };
    let factor = body.broadcast("factor", &factor, &others, &input.dims);
    let mut y = body.elementwise("normalized", "multiply", &[&x, &factor]);
    for (vector, hint, mnemonic) in [(by.scale, "scaled", "multiply"), (by.offset, "moved", "add")] {
        if let Some(vector) = vector {
            let vector = body.broadcast("of_channel", vector, &[axis], &input.dims);
            y = body.elementwise(hint, mnemonic, &[&y, &vector]);
        }
    }
    if by.activation == Activation::Silu {
        y = silu_of_f32(body, &y);
    }
    body.to("", &y, input.element)
}
