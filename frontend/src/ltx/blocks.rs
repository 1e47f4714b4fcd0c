//! The modules that encoder and decoder are made of: convolutions, norms, residual blocks,
//! samplers.
//!
//! Each function declares one module of the reference (diffusers' `autoencoder_kl_ltx.py` and
//! `autoencoder_kl_ltx2.py`) in the scope that the caller has opened for it: the declaration's path
//! is the module's own. Videos are `[batch, channel, time, height, width]`.

use ir::rearrange::{
    CHANNELS_FASTEST, CHANNELS_SLOWEST, channel_means, depth_to_space, space_to_depth, with_outputs_in,
};
use ir::{
    Activation, Border, BuildError, ChannelNormKind, ElementType, FirstFrame, Layout, PadMode, TensorType, Value,
};
use smallvec::smallvec;

use super::embedding::{Modulation, modulations};
use super::network::{DecoderLevel, Generation, noise_name};
use crate::declaration::Declaration;
use crate::layers::{
    FramesBefore, KERNEL_REACH, behind, bordered_convolution, channels, kernel, parameter, pointwise_convolution, space,
};
use crate::step::Position;

/// What is added to the mean of the squares in a norm.
const NORM_EPSILON: f64 = 1e-8;
/// The axis of a video's channels.
const CHANNELS: usize = 1;

type Built = Result<Value, BuildError>;

/// What all modules of a half have in common.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) generation: Generation,
    /// Whether convolutions see no later frame; else they see one on each side.
    pub(super) causal: bool,
    /// What they see beyond the borders of a frame.
    pub(super) border: PadMode,
    /// What is added to the variance in the norm of a shortcut.
    pub(super) epsilon: f64,
}

/// Draws of noise, in their order.
#[derive(Default)]
pub(super) struct Draws(usize);

impl Way {
    /// Padding and border of a convolution of 3x3x3, which sees so many frames beyond both ends.
    fn around(self, frames: [usize; 2]) -> ([[usize; 2]; 3], Border) {
        let in_time = if frames == [0, 0] { PadMode::Zero } else { PadMode::Edge };
        ([frames, [1, 1], [1, 1]], Border([in_time, self.border, self.border]))
    }

    /// `input` with the frames in front that a kernel of 3 sees of it; and how many it sees beyond
    /// both ends.
    fn in_time(self, d: &mut Declaration<'_>, input: Value) -> Result<(Value, [usize; 2]), BuildError> {
        if self.causal {
            Ok((behind(d, input, KERNEL_REACH, FramesBefore::First)?, [0, 0]))
        } else {
            Ok((input, [1, 1]))
        }
    }

    /// A 3x3x3 convolution (`LTXVideoCausalConv3d`).
    pub(super) fn convolution(self, d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
        let output = d.scope("conv", |d| {
            let inputs = channels(d, input);
            let (input, frames) = self.in_time(d, input)?;
            let weight = kernel(d, "weight", outputs, inputs, [3, 3, 3])?;
            let (padding, border) = self.around(frames);
            let output = bordered_convolution(d, "bias", input, weight, [1, 1, 1], padding, border)?;
            d.returns(output);
            Ok(output)
        })?;
        d.returns(output);
        Ok(output)
    }

    /// The same with a stride of 2 along all axes. Behind the first frame of a clip each reads two
    /// frames and the one before them.
    pub(super) fn strided_convolution(self, d: &mut Declaration<'_>, input: Value) -> Built {
        let output = d.scope("conv", |d| {
            let count = channels(d, input);
            let (input, frames) = if self.causal {
                let mut seen = behind(d, input, 1, FramesBefore::First)?;
                if d.kind().position != Position::Next {
                    seen = d.pad(seen, smallvec![0, 0, 1, 0, 0], smallvec![0; 5], PadMode::Edge)?;
                }
                (seen, [0, 0])
            } else {
                (input, [1, 1])
            };
            let weight = kernel(d, "weight", count, count, [3, 3, 3])?;
            let (padding, border) = self.around(frames);
            let output = bordered_convolution(d, "bias", input, weight, [2, 2, 2], padding, border)?;
            d.returns(output);
            Ok(output)
        })?;
        d.returns(output);
        Ok(output)
    }

    /// A 3x3x3 convolution whose outputs, blocks of places in the order of the checkpoint, become
    /// places.
    fn convolution_to_space(self, d: &mut Declaration<'_>, input: Value, outputs: usize, factors: [usize; 3]) -> Built {
        let block = |d: &mut Declaration<'_>, shuffled| space_to_depth(d, shuffled, factors, CHANNELS_SLOWEST);
        let shuffled = d.scope("conv", |d| {
            let inputs = channels(d, input);
            let (input, frames) = self.in_time(d, input)?;
            let weight = kernel(d, "weight", outputs, inputs, [3, 3, 3])?;
            let bias = parameter(d, "bias", TensorType::plain(ElementType::F32, [outputs]))?;
            let order = [CHANNELS_SLOWEST, CHANNELS_FASTEST];
            let (weight, bias) =
                (with_outputs_in(d, weight, factors, order)?, with_outputs_in(d, bias, factors, order)?);
            let (padding, border) = self.around(frames);
            let product = d.bordered_convolution(input, weight, None, None, None, [1, 1, 1], padding, 0, border)?;
            let blocks = d.add_bias(product, bias)?;
            let shuffled = depth_to_space(d, blocks, factors, CHANNELS_FASTEST)?;
            d.returns_made(|d| block(d, shuffled))?;
            Ok(shuffled)
        })?;
        d.returns_made(|d| block(d, shuffled))?;
        Ok(shuffled)
    }

    /// The norm over the channels of each position, without parameters (`RMSNorm`,
    /// `PerChannelRMSNorm`), modulated if it is to be. A tap is of the norm alone.
    pub(super) fn norm(self, d: &mut Declaration<'_>, input: Value, by: Option<Modulation>) -> Built {
        let norm = |d: &mut Declaration<'_>, scale, shift| {
            d.channel_norm(input, scale, shift, ChannelNormKind::Rms, NORM_EPSILON, Activation::None)
        };
        let output = norm(d, by.map(|by| by.scale), by.map(|by| by.shift))?;
        d.returns_made(|d| {
            let alone = if by.is_some() { norm(d, None, None)? } else { output };
            match self.generation {
                Generation::First => channels_last(d, alone),
                Generation::Second => Ok(alone),
            }
        })?;
        Ok(output)
    }

    /// Two convolutions, each after a norm and an activation, around which the input is led
    /// (`LTXVideoResnetBlock3d`). `embedded` is what modulates the norms, with rows of this block's
    /// own added; `noise` adds noise behind each convolution.
    pub(super) fn residual_block(
        self,
        d: &mut Declaration<'_>,
        input: Value,
        outputs: usize,
        embedded: Option<Value>,
        mut noise: Option<&mut Draws>,
    ) -> Built {
        let by = match embedded {
            Some(embedded) => modulations::<2>(d, embedded, outputs)?.map(Some),
            None => [None, None],
        };
        let mut hidden = input;
        for (number, by) in by.into_iter().enumerate() {
            let number = number + 1;
            hidden = d.scope(&format!("norm{number}"), |d| self.norm(d, hidden, by))?;
            hidden = d.silu(hidden)?;
            hidden = d.scope(&format!("conv{number}"), |d| self.convolution(d, hidden, outputs))?;
            if let Some(draws) = &mut noise {
                let added = draws.next(d, &format!("per_channel_scale{number}"), hidden)?;
                hidden = d.add(hidden, added)?;
            }
        }
        let shortcut = if channels(d, input) == outputs { input } else { self.shortcut(d, input, outputs)? };
        let output = d.add(hidden, shortcut)?;
        d.returns(output);
        Ok(output)
    }

    /// What is led around a residual block that changes the number of channels: a norm and a
    /// convolution of single positions.
    fn shortcut(self, d: &mut Declaration<'_>, input: Value, outputs: usize) -> Built {
        let normalized = d.scope("norm3", |d| {
            let per_channel = TensorType::plain(ElementType::F32, [channels(d, input)]);
            let scale = parameter(d, "weight", per_channel.clone())?;
            let offset = parameter(d, "bias", per_channel)?;
            let kind = ChannelNormKind::Layer;
            let output = d.channel_norm(input, Some(scale), Some(offset), kind, self.epsilon, Activation::None)?;
            d.returns_made(|d| channels_last(d, output))?;
            Ok(output)
        })?;
        let pointwise = |d: &mut Declaration<'_>| {
            let output = pointwise_convolution(d, normalized, outputs)?;
            d.returns(output);
            Ok(output)
        };
        d.scope("conv_shortcut", |d| match self.generation {
            Generation::First => {
                let output = d.scope("conv", pointwise)?;
                d.returns(output);
                Ok(output)
            }
            Generation::Second => pointwise(d),
        })
    }

    /// Makes channels of blocks of places, once by a convolution and once by means of neighbouring
    /// channels; both are added (`LTXVideoDownsampler3d`). Of time the first block is the first
    /// frame alone, again and again.
    pub(super) fn downsample(
        self,
        d: &mut Declaration<'_>,
        input: Value,
        factors: [usize; 3],
        outputs: usize,
    ) -> Built {
        let mut input = input;
        let missing = factors[0] - 1;
        if missing > 0 && d.kind().position != Position::Next {
            input = d.pad(input, smallvec![0, 0, missing, 0, 0], smallvec![0; 5], PadMode::Edge)?;
        }
        let places = factors.iter().product::<usize>();
        let hidden = d.scope("conv", |d| self.convolution(d, input, outputs / places))?;
        let hidden = space_to_depth(d, hidden, factors, CHANNELS_SLOWEST)?;
        let mut shortcut = space_to_depth(d, input, factors, CHANNELS_SLOWEST)?;
        let group = channels(d, shortcut) / outputs;
        if group > 1 {
            shortcut = channel_means(d, shortcut, group)?;
        }
        let output = d.add(hidden, shortcut)?;
        d.returns(output);
        Ok(output)
    }

    /// Makes blocks of places of channels, by a convolution; and, if asked to, of the input's
    /// channels, which are then repeated; both are added (`LTXVideoUpsampler3d`). Of the first
    /// frame of a clip the last alone stays.
    pub(super) fn upsample(
        self,
        d: &mut Declaration<'_>,
        input: Value,
        level: &DecoderLevel,
        factors: [usize; 3],
    ) -> Built {
        let (count, places) = (channels(d, input), factors.iter().product::<usize>());
        let mut output =
            d.scope("conv", |d| self.convolution_to_space(d, input, count * places / level.divisor, factors))?;
        if level.residual {
            let moved = depth_to_space(d, input, factors, CHANNELS_SLOWEST)?;
            let times = places / level.divisor;
            let repeated = if times > 1 { d.concatenate(smallvec![moved; times], CHANNELS)? } else { moved };
            output = d.add(output, repeated)?;
        }
        let surplus = factors[0] - 1;
        if surplus > 0 && d.kind().position != Position::Next {
            let limit = d.ty(output).shape.clone();
            output = d.slice(output, smallvec![0, 0, surplus, 0, 0], limit)?;
        }
        d.returns(output);
        Ok(output)
    }
}

impl Draws {
    /// The next noise times a factor for each channel, which is this module's parameter `name`: as
    /// a video like `like`, the same in all frames.
    fn next(&mut self, d: &mut Declaration<'_>, name: &str, like: Value) -> Built {
        let noise = d.condition(&noise_name(self.0));
        self.0 += 1;
        let count = channels(d, like);
        let factors = parameter(d, name, TensorType::plain(ElementType::F32, [count, 1, 1]))?;
        let kernel = TensorType::with_layout(ElementType::F32, Layout::OIDHW, [count, 1, 1, 1, 1]);
        let factors = d.reshape(factors, kernel)?;
        let plane = d.convolution(noise, factors, None, None, None, [1, 1, 1], [[0, 0]; 3], 0)?;
        let space = space(d, like);
        if space[0] == 1 { Ok(plane) } else { d.resize_nearest(plane, space, FirstFrame::Joined) }
    }
}

/// A video with its channels last.
fn channels_last(d: &mut Declaration<'_>, video: Value) -> Built {
    d.transpose(video, smallvec![0, 2, 3, 4, 1])
}
