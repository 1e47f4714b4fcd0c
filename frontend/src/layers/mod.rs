//! Modules that models share: parameters, convolutions, linear layers, norms, attention, frames
//! by themselves, frames that a kernel reaches back to.
//!
//! Each function declares one module in the scope that the caller has opened for it: the
//! declaration's path is the module's own. Videos are `[batch, channel, time, height, width]`,
//! kernels `[output, input, time, height, width]`. What only one model has stands in its folder.

mod attention;
mod convolution;
mod elementwise;
mod frames;
mod history;
mod linear;
mod norm;

use ir::{BuildError, Builder, TensorType, Value};

pub(crate) use attention::{
    AttentionWeights, frame_attention, frame_causal_attention, queries_keys_values, time_attention, time_tokens,
};
pub(crate) use convolution::{
    TIME_PADDING, TIME_WINDOW, bias, bordered_convolution, convolution, edged_convolution, kernel, kernel_type,
    planar_convolution, planar_pointwise, planar_product, pointwise_convolution, replicated, replicated_convolution,
    tapped_pointwise_convolution, time_convolution,
};
pub(crate) use elementwise::{Function, affine, relu};
pub(crate) use frames::{frame_by_frame, frames_joined};
pub(crate) use history::{FramesBefore, KERNEL_REACH, behind, leave_zeros};
pub(crate) use linear::{
    channel_last_linear, linear, linear_kernel, linear_of_vector, returns_tokens, returns_vector, tokens,
    untapped_linear,
};
pub(crate) use norm::{frame_group_norm, group_norm, length_norm, length_norm_with};

type Built = Result<Value, BuildError>;

/// The tensor `name` of the module whose ops are built now.
pub(crate) fn parameter(b: &mut Builder, name: &str, ty: TensorType) -> Built {
    let name = format!("{}.{name}", b.path());
    b.parameter(name, ty)
}

/// Channels of a video.
pub(crate) fn channels(b: &Builder, video: Value) -> usize {
    b.ty(video).channels().expect("every value between modules is a video")
}

/// Frames, height and width of a video.
pub(crate) fn space(b: &Builder, video: Value) -> [usize; 3] {
    b.ty(video).space().expect("every value between modules is a video")
}
