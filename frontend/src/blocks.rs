//! The modules that encoder and decoder are made of: convolutions, norms, residual blocks, samplers.
//!
//! Each function declares one module of the reference (diffusers' `autoencoder_kl_cogvideox.py`, `upsampling.py`,
//! `downsampling.py`) in the scope that the caller has opened for it: the builder's path is the module's own. Videos are
//! `[batch, channel, time, height, width]`, kernels `[output, input, time, height, width]`.

use ir::{BuildError, Builder, Dims, ElementType, FirstFrame, Layout, PadMode, Role, TensorType, Value};
use smallvec::{SmallVec, smallvec};

use crate::batches::upsampled_frames;
use crate::config::CausalPadding;
use crate::step::Declaration;

/// Epsilon of the norms that the configuration's `norm_eps` does not reach.
pub(crate) const FIXED_EPSILON: f64 = 1e-6;

/// The time axis of a channel-first video.
const TIME: usize = 2;

/// Frames that a kernel of 3 reaches back.
const FRAMES_BACK: usize = 2;

type Built = Result<Value, BuildError>;

/// A 3x3x3 convolution that sees no later frame (`CogVideoXCausalConv3d`).
///
/// With [`CausalPadding::First`], two frames stand in front: those of the state named by this module, or in a first step
/// the first frame twice. The last two frames of all that is the new state.
pub(crate) fn causal_convolution(
    b: &mut Builder,
    d: &mut Declaration<'_>,
    input: Value,
    outputs: usize,
    padding: CausalPadding,
) -> Built {
    let kernel = kernel_type(outputs, channels(b, input), [3, 3, 3]);
    let (padded, zeros) = match padding {
        CausalPadding::First => (behind_last_frames(b, d, input)?, [[0, 0], [1, 1], [1, 1]]),
        CausalPadding::Replicate => {
            let (low, high) = (smallvec![0, 0, FRAMES_BACK, 1, 1], smallvec![0, 0, 0, 1, 1]);
            (b.pad(input, low, high, PadMode::Edge)?, [[0, 0]; 3])
        }
    };
    let weight = parameter(b, "conv.weight", kernel)?;
    let output = convolution(b, "conv.bias", padded, weight, outputs, [1, 1, 1], zeros)?;
    d.returns(b, output);
    Ok(output)
}

/// `input` behind the frames that this module's kernel reaches back to; lets the new state leave the step.
fn behind_last_frames(b: &mut Builder, d: &mut Declaration<'_>, input: Value) -> Built {
    let module = b.path().clone();
    let behind = if d.carries_states() {
        let mut ty = b.ty(input).clone();
        ty.shape[TIME] = FRAMES_BACK;
        let state = b.state(module.to_string(), ty)?;
        b.concatenate(smallvec![state, input], TIME)?
    } else {
        let (low, high) = (smallvec![0, 0, FRAMES_BACK, 0, 0], smallvec![0; 5]);
        b.pad(input, low, high, PadMode::Edge)?
    };
    if d.leaves_states() {
        let limit: Dims = b.ty(behind).shape.clone();
        let mut start: Dims = smallvec![0; 5];
        start[TIME] = limit[TIME] - FRAMES_BACK;
        let state = b.slice(behind, start, limit)?;
        d.output(Role::State, module.to_string(), state);
    }
    Ok(behind)
}

/// A 1x1x1 convolution whose weight and bias are this module's own (`CogVideoXSafeConv3d`).
pub(crate) fn pointwise_convolution(b: &mut Builder, input: Value, outputs: usize) -> Built {
    let weight = parameter(b, "weight", kernel_type(outputs, channels(b, input), [1, 1, 1]))?;
    convolution(b, "bias", input, weight, outputs, [1, 1, 1], [[0, 0]; 3])
}

/// A 1x1x1 convolution inside a `CogVideoXCausalConv3d`, which then has nothing to pad and no state.
fn causal_pointwise_convolution(b: &mut Builder, d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
    let weight = parameter(b, "conv.weight", kernel_type(outputs, channels(b, input), [1, 1, 1]))?;
    let output = convolution(b, "conv.bias", input, weight, outputs, [1, 1, 1], [[0, 0]; 3])?;
    d.returns(b, output);
    Ok(output)
}

/// The 3x3 convolution inside a sampler, frame by frame and without a change of channels. Its weight is a `Conv2d`'s in
/// the checkpoint, of four axes.
fn planar_convolution(b: &mut Builder, input: Value, stride: usize, padding: usize) -> Built {
    let count = channels(b, input);
    let planar = parameter(b, "conv.weight", TensorType::plain(ElementType::F32, [count, count, 3, 3]))?;
    let weight = b.reshape(planar, kernel_type(count, count, [1, 3, 3]))?;
    let around = [padding, padding];
    convolution(b, "conv.bias", input, weight, count, [1, stride, stride], [[0, 0], around, around])
}

/// A convolution, then its bias.
fn convolution(
    b: &mut Builder,
    bias: &str,
    input: Value,
    weight: Value,
    outputs: usize,
    strides: [usize; 3],
    padding: [[usize; 2]; 3],
) -> Built {
    let product = b.convolution(input, weight, None, None, None, strides, padding, 0)?;
    let bias = parameter(b, bias, TensorType::plain(ElementType::F32, [outputs]))?;
    b.add_bias(product, bias)
}

/// A group norm over channels, with a scale and an offset a channel (`GroupNorm`).
pub(crate) fn group_norm(b: &mut Builder, d: &mut Declaration<'_>, input: Value, epsilon: f64) -> Built {
    let per_channel = TensorType::plain(ElementType::F32, [channels(b, input)]);
    let scale = parameter(b, "weight", per_channel.clone())?;
    let offset = parameter(b, "bias", per_channel)?;
    let output = b.group_norm(input, scale, offset, d.config.norm_num_groups, epsilon)?;
    d.returns(b, output);
    Ok(output)
}

/// A group norm that the latents scale and shift at each place (`CogVideoXSpatialNorm3D`, after Zheng et al. 2022,
/// arXiv:2209.09002): `norm_layer(input) * conv_y(latents) + conv_b(latents)` with the latents resized to the input.
pub(crate) fn spatial_norm(b: &mut Builder, d: &mut Declaration<'_>, input: Value, latents: Value) -> Built {
    let (outputs, size) = (channels(b, input), space(b, input));
    let resized = b.resize_nearest(latents, size, first_frame(size[0]))?;
    let gain = b.scope("conv_y", |b| causal_pointwise_convolution(b, d, resized, outputs))?;
    let shift = b.scope("conv_b", |b| causal_pointwise_convolution(b, d, resized, outputs))?;
    let normalized = b.scope("norm_layer", |b| group_norm(b, d, input, FIXED_EPSILON))?;
    let scaled = b.multiply(normalized, gain)?;
    let output = b.add(scaled, shift)?;
    d.returns(b, output);
    Ok(output)
}

/// Two convolutions, each after a norm and an activation, around which the input is led (`CogVideoXResnetBlock3D`). With
/// latents, the norms are spatial norms.
pub(crate) fn resnet_block(
    b: &mut Builder,
    d: &mut Declaration<'_>,
    input: Value,
    outputs: usize,
    latents: Option<Value>,
    padding: CausalPadding,
) -> Built {
    let mut hidden = input;
    for (norm, conv) in [("norm1", "conv1"), ("norm2", "conv2")] {
        hidden = b.scope(norm, |b| match latents {
            Some(latents) => spatial_norm(b, d, hidden, latents),
            None => group_norm(b, d, hidden, d.config.norm_eps),
        })?;
        hidden = b.silu(hidden)?;
        hidden = b.scope(conv, |b| causal_convolution(b, d, hidden, outputs, padding))?;
    }
    let shortcut = if channels(b, input) == outputs {
        input
    } else {
        b.scope("conv_shortcut", |b| pointwise_convolution(b, input, outputs))?
    };
    let output = b.add(hidden, shortcut)?;
    d.returns(b, output);
    Ok(output)
}

/// The residual blocks `resnets.0`, `resnets.1` ... of a block, all with the same number of output channels.
pub(crate) fn resnet_blocks(
    b: &mut Builder,
    d: &mut Declaration<'_>,
    count: usize,
    input: Value,
    outputs: usize,
    latents: Option<Value>,
    padding: CausalPadding,
) -> Built {
    (0..count).try_fold(input, |hidden, i| {
        b.scope(&format!("resnets.{i}"), |b| resnet_block(b, d, hidden, outputs, latents, padding))
    })
}

/// The two residual blocks between the levels and the latents (`CogVideoXMidBlock3D`).
pub(crate) fn mid_block(b: &mut Builder, d: &mut Declaration<'_>, input: Value, latents: Option<Value>) -> Built {
    let (outputs, padding) = (channels(b, input), d.config.pad_mode);
    let output = resnet_blocks(b, d, 2, input, outputs, latents, padding)?;
    d.returns(b, output);
    Ok(output)
}

/// Doubles height and width, and with `time` the frames (an odd first one stays one), then convolves each frame
/// (`CogVideoXUpsample3D`).
pub(crate) fn upsample(b: &mut Builder, d: &mut Declaration<'_>, input: Value, time: bool) -> Built {
    let [frames, height, width] = space(b, input);
    let (to, apart) = if time { (upsampled_frames(frames), first_frame(frames)) } else { (frames, FirstFrame::Joined) };
    let resized = b.resize_nearest(input, [to, 2 * height, 2 * width], apart)?;
    let output = planar_convolution(b, resized, 1, 1)?;
    d.returns(b, output);
    Ok(output)
}

/// With `time`, averages frames in pairs (an odd first one stays as it is); then convolves each frame with stride 2 after
/// one row and column of zeros below and to the right (`CogVideoXDownsample3D`). Height and width are halved, rounding
/// down.
pub(crate) fn downsample(b: &mut Builder, d: &mut Declaration<'_>, input: Value, time: bool) -> Built {
    let mut hidden = input;
    if time {
        let [frames, ..] = space(b, input);
        let apart = if frames % 2 == 1 { FirstFrame::Apart } else { FirstFrame::Joined };
        hidden = b.average_pool(input, [2, 1, 1], apart)?;
    }
    let padded = b.pad(hidden, smallvec![0; 5], smallvec![0, 0, 0, 1, 1], PadMode::Zero)?;
    let output = planar_convolution(b, padded, 2, 0)?;
    d.returns(b, output);
    Ok(output)
}

/// How a resize to or of this many frames treats the first: apart when their number is odd, but for a single frame.
fn first_frame(frames: usize) -> FirstFrame {
    if frames > 1 && frames % 2 == 1 { FirstFrame::Apart } else { FirstFrame::Joined }
}

/// The tensor `name` of the module whose ops are built now.
fn parameter(b: &mut Builder, name: &str, ty: TensorType) -> Built {
    let name = format!("{}.{name}", b.path());
    b.parameter(name, ty)
}

/// The type of a convolution's weight over time, height and width.
fn kernel_type(outputs: usize, inputs: usize, window: [usize; 3]) -> TensorType {
    let shape: SmallVec<[usize; 5]> = [outputs, inputs].into_iter().chain(window).collect();
    TensorType::with_layout(ElementType::F32, Layout::OIDHW, shape)
}

/// Channels of a video.
fn channels(b: &Builder, video: Value) -> usize {
    b.ty(video).channels().expect("every value between modules is a video")
}

/// Frames, height and width of a video.
fn space(b: &Builder, video: Value) -> [usize; 3] {
    b.ty(video).space().expect("every value between modules is a video")
}
