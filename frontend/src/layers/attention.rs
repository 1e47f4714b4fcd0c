//! Attention among the positions of each frame.

use ir::{AttentionMask, ElementType, TensorType, Value};
use smallvec::smallvec;

use super::{Built, channels, planar_pointwise, space};
use crate::declaration::Declaration;

/// How a checkpoint holds the weights that make queries, keys and values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttentionWeights {
    /// One 1x1 convolution `to_qkv`: queries, then keys, then values.
    Fused,
}

/// Softmax attention of one head among the positions of each frame, of what 1x1 convolutions of this module make of `input`;
/// the same shape.
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
    };
    let tokens = |d: &mut Declaration<'_>, video: Value| {
        let last = d.transpose(video, smallvec![0, 2, 3, 4, 1])?;
        d.reshape(last, TensorType::plain(ElementType::F32, [batch, frames, height * width, count]))
    };
    let [query, key, value] = parts;
    let (query, key, value) = (tokens(d, query?)?, tokens(d, key?)?, tokens(d, value?)?);
    let attended = d.attention(query, key, value, 1, 1.0 / (count as f64).sqrt(), AttentionMask::None)?;
    let back = ir::Layout::NCTHW.channel_last();
    let last = TensorType::with_layout(ElementType::F32, back, [batch, frames, height, width, count]);
    let last = d.reshape(attended, last)?;
    d.transpose(last, smallvec![0, 4, 1, 2, 3])
}
