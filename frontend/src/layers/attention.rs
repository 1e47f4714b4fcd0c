//! Attention among the positions of each frame, and among the frames of each position.

use ir::{AttentionMask, BuildError, ElementType, Layout, TensorType, Value};
use smallvec::smallvec;

use super::{Built, channels, linear, planar_pointwise, pointwise_convolution, space, tokens};
use crate::declaration::Declaration;

/// How a checkpoint holds the weights that make queries, keys and values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttentionWeights {
    /// One 1x1 convolution `to_qkv`: queries, then keys, then values.
    Fused,
    /// Linear layers `to_q`, `to_k` and `to_v`.
    Apart,
    /// 1x1x1 convolutions of these names.
    Convolutions,
}

/// The layers that make queries, keys and values where each are made by one of its own.
const PARTS: [&str; 3] = ["to_q", "to_k", "to_v"];

/// Queries, keys and values as 1x1x1 convolutions make them.
pub(crate) fn queries_keys_and_values(d: &mut Declaration<'_>, input: Value) -> Result<[Value; 3], BuildError> {
    let count = channels(d, input);
    let [query, key, value] = PARTS.map(|name| {
        d.scope(name, |d| {
            let output = pointwise_convolution(d, input, count)?;
            d.returns(output);
            Ok(output)
        })
    });
    Ok([query?, key?, value?])
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
        AttentionWeights::Apart => PARTS.map(|name| d.scope(name, |d| linear(d, input, count))),
        AttentionWeights::Convolutions => queries_keys_and_values(d, input)?.map(Ok),
    };
    let [query, key, value] = parts;
    let (query, key, value) = (tokens(d, query?)?, tokens(d, key?)?, tokens(d, value?)?);
    let attended = d.attention(query, key, value, 1, 1.0 / (count as f64).sqrt(), AttentionMask::None)?;
    video_of_tokens(d, attended, input)
}

/// Softmax attention among the frames of each position, of which each sees itself and the earlier
/// ones, between videos of this step alone; the same shape.
pub(crate) fn time_attention(
    d: &mut Declaration<'_>,
    [query, key, value]: [Value; 3],
    heads: usize,
    scale: f64,
) -> Built {
    let (of_queries, of_keys, of_values) = (time_tokens(d, query)?, time_tokens(d, key)?, time_tokens(d, value)?);
    let attended = d.attention(of_queries, of_keys, of_values, heads, scale, AttentionMask::Causal(1))?;
    let by_frames = d.transpose(attended, smallvec![0, 2, 1, 3])?;
    video_of_tokens(d, by_frames, value)
}

/// The frames of each position in a row, channels last: `[batch, height * width, time, channel]`.
pub(crate) fn time_tokens(d: &mut Declaration<'_>, video: Value) -> Built {
    let by_frames = tokens(d, video)?;
    d.transpose(by_frames, smallvec![0, 2, 1, 3])
}

/// Tokens, [`tokens`], as a video of the sizes of another one.
fn video_of_tokens(d: &mut Declaration<'_>, tokens: Value, like: Value) -> Built {
    let (batch, count, [frames, height, width]) = (d.ty(like).shape[0], channels(d, like), space(d, like));
    let last = TensorType::with_layout(ElementType::F32, Layout::NTHWC, [batch, frames, height, width, count]);
    let last = d.reshape(tokens, last)?;
    d.transpose(last, smallvec![0, 4, 1, 2, 3])
}
