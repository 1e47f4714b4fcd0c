//! Attention among the positions of each frame, among those of all frames, and among the frames of
//! each position.

use ir::{AttentionMask, BuildError, ElementType, Layout, TensorType, Value};
use smallvec::smallvec;

use super::{Built, channels, linear, planar_pointwise, space, tapped_pointwise_convolution, tokens};
use crate::declaration::Declaration;

/// How a checkpoint holds the weights that make queries, keys and values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttentionWeights {
    /// One 1x1 convolution `to_qkv`: queries, then keys, then values.
    Fused,
    /// Linear layers `to_q`, `to_k` and `to_v`.
    Apart,
    /// 1x1x1 convolutions of the same names.
    Convolutions,
}

/// Softmax attention of one head among the positions of each frame, of what layers of this module
/// make of `input`; the same shape.
pub(crate) fn frame_attention(d: &mut Declaration<'_>, input: Value, weights: AttentionWeights) -> Built {
    let parts = queries_keys_values(d, input, weights)?;
    let [query, key, value] = [tokens(d, parts[0])?, tokens(d, parts[1])?, tokens(d, parts[2])?];
    let scale = one_head(channels(d, input));
    let attended = d.attention(query, key, value, 1, scale, AttentionMask::None)?;
    video_of(d, attended, input)
}

/// The same among the positions of all frames, of which each sees those of its own frame and of
/// earlier ones.
pub(crate) fn frame_causal_attention(d: &mut Declaration<'_>, input: Value, weights: AttentionWeights) -> Built {
    let parts = queries_keys_values(d, input, weights)?;
    let (batch, count, [frames, height, width]) = (d.ty(input).shape[0], channels(d, input), space(d, input));
    let of_clip = |d: &mut Declaration<'_>, part: Value| {
        let of_frames = tokens(d, part)?;
        d.reshape(of_frames, TensorType::plain(ElementType::F32, [batch, frames * height * width, count]))
    };
    let [query, key, value] = [of_clip(d, parts[0])?, of_clip(d, parts[1])?, of_clip(d, parts[2])?];
    let attended = d.attention(query, key, value, 1, one_head(count), AttentionMask::Causal(height * width))?;
    video_of(d, attended, input)
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
    video_of(d, by_frames, value)
}

/// The frames of each position in a row, channels last: `[batch, height * width, time, channel]`.
pub(crate) fn time_tokens(d: &mut Declaration<'_>, video: Value) -> Built {
    let by_frames = tokens(d, video)?;
    d.transpose(by_frames, smallvec![0, 2, 1, 3])
}

/// What scores of one head of so many channels are multiplied by.
fn one_head(channels: usize) -> f64 {
    1.0 / (channels as f64).sqrt()
}

/// Queries, keys and values that layers of this module make of `input`, as videos of its shape.
pub(crate) fn queries_keys_values(
    d: &mut Declaration<'_>,
    input: Value,
    weights: AttentionWeights,
) -> Result<[Value; 3], BuildError> {
    let (count, [frames, height, width]) = (channels(d, input), space(d, input));
    let batch = d.ty(input).shape[0];
    let [query, key, value] = match weights {
        AttentionWeights::Fused => {
            let all = d.scope("to_qkv", |d| planar_pointwise(d, input, 3 * count))?;
            [0, 1, 2].map(|part| {
                let start = smallvec![0, part * count, 0, 0, 0];
                d.slice(all, start, smallvec![batch, (part + 1) * count, frames, height, width])
            })
        }
        AttentionWeights::Apart => ["to_q", "to_k", "to_v"].map(|name| d.scope(name, |d| linear(d, input, count))),
        AttentionWeights::Convolutions => {
            ["to_q", "to_k", "to_v"].map(|name| d.scope(name, |d| tapped_pointwise_convolution(d, input, count)))
        }
    };
    Ok([query?, key?, value?])
}

/// Tokens of all frames, in their order, as a video of the sizes of `like`.
fn video_of(d: &mut Declaration<'_>, tokens: Value, like: Value) -> Built {
    let (batch, count, [frames, height, width]) = (d.ty(like).shape[0], channels(d, like), space(d, like));
    let last = TensorType::with_layout(ElementType::F32, Layout::NTHWC, [batch, frames, height, width, count]);
    let last = d.reshape(tokens, last)?;
    d.transpose(last, smallvec![0, 4, 1, 2, 3])
}
