//! Attention among the positions of each frame.

use ir::{AttentionMask, ElementType, TensorType, Value};
use smallvec::smallvec;

use super::{Built, channels, linear, planar_pointwise, space, tokens};
use crate::declaration::Declaration;

/// How a checkpoint holds the weights that make queries, keys and values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttentionWeights {
    /// One 1x1 convolution `to_qkv`: queries, then keys, then values.
    Fused,
    /// Linear layers `to_q`, `to_k` and `to_v`.
    Apart,
}

/// Softmax attention of one head among the positions of each frame, of what layers of this module
/// make of `input`; the same shape.
pub(crate) fn frame_attention(d: &mut Declaration<'_>, input: Value, weights: AttentionWeights) -> Built {
    let (count, [frames, height, width]) = (channels(d, input), space(d, input));
    let batch = d.ty(input).shape[0];
    let parts = match weights {
        AttentionWeights::Fused => {
            let all = d.scope("to_qkv", |d| planar_pointwise(d, input, 3 * count))?;
            [0, 1, 2].map(|part| {
                let start = smallvec![0, part * count, 0, 0, 0];
                d.slice(all, start, smallvec![batch, (part + 1) * count, frames, height, width])
            })
        }
        AttentionWeights::Apart => ["to_q", "to_k", "to_v"].map(|name| d.scope(name, |d| linear(d, input, count))),
    };
    let [query, key, value] = parts;
    let (query, key, value) = (tokens(d, query?)?, tokens(d, key?)?, tokens(d, value?)?);
    let attended = d.attention(query, key, value, 1, 1.0 / (count as f64).sqrt(), AttentionMask::None)?;
    let back = ir::Layout::NCTHW.channel_last();
    let last = TensorType::with_layout(ElementType::F32, back, [batch, frames, height, width, count]);
    let last = d.reshape(attended, last)?;
    d.transpose(last, smallvec![0, 4, 1, 2, 3])
}
