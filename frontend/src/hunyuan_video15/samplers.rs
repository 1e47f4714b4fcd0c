//! Samplers: a convolution whose channels are blocks of places, and a shortcut without weights
//! around it, which moves the input's channels and places alike
//! (`autoencoder_kl_hunyuanvideo15.py`).
//!
//! A block holds its places slowest and its channels fastest. The first frame of a clip has no frame
//! to share a block with: its blocks are of one frame, and of twice the channels.

use std::ops::Range;

use ir::rearrange::{CHANNELS_FASTEST, channel_means, depth_to_space, repeat_channels, space_to_depth};
use ir::{BuildError, Value};
use smallvec::smallvec;

use super::blocks::causal_convolution;
use super::config::Sampler;
use crate::declaration::Declaration;
use crate::layers::{channels, space};

type Built = Result<Value, BuildError>;

/// Frames from `start` on, and channels up to `limit`.
fn part(d: &mut Declaration<'_>, video: Value, frames: Range<usize>, channels: usize) -> Built {
    let mut limit = d.ty(video).shape.clone();
    (limit[1], limit[2]) = (channels, frames.end);
    d.slice(video, smallvec![0, 0, frames.start, 0, 0], limit)
}

/// What `first` makes of the first frame, and behind it what `others` makes of all others, if there
/// are any.
fn first_apart(
    d: &mut Declaration<'_>,
    video: Value,
    first: impl FnOnce(&mut Declaration<'_>, Value) -> Built,
    others: impl FnOnce(&mut Declaration<'_>, Value) -> Built,
) -> Built {
    let (count, [frames, ..]) = (channels(d, video), space(d, video));
    if frames == 1 {
        return first(d, video);
    }
    let (head, tail) = (part(d, video, 0..1, count)?, part(d, video, 1..frames, count)?);
    let (head, tail) = (first(d, head)?, others(d, tail)?);
    d.concatenate(smallvec![head, tail], 2)
}

/// Makes a block of places of one (`HunyuanVideo15Upsample`).
pub(super) fn upsample(d: &mut Declaration<'_>, input: Value, sampler: Sampler) -> Built {
    let factors = sampler.factors();
    let places: usize = factors.iter().product();
    let outputs = sampler.channels;
    let main = d.scope("conv", |d| causal_convolution(d, input, outputs * places))?;
    let times = outputs * places / channels(d, input);
    let (main, shortcut) = if sampler.time {
        let main = first_apart(
            d,
            main,
            |d, first| {
                let both = depth_to_space(d, first, [1, 2, 2], CHANNELS_FASTEST)?;
                part(d, both, 0..1, outputs)
            },
            |d, others| depth_to_space(d, others, factors, CHANNELS_FASTEST),
        )?;
        let apart_and_repeated = |times: usize, factors: [usize; 3]| {
            move |d: &mut Declaration<'_>, video: Value| {
                let apart = depth_to_space(d, video, factors, CHANNELS_FASTEST)?;
                repeated(d, apart, times)
            }
        };
        (main, first_apart(d, input, apart_and_repeated(times / 2, [1, 2, 2]), apart_and_repeated(times, factors))?)
    } else {
        let repeated = repeated(d, input, times)?;
        (depth_to_space(d, main, factors, CHANNELS_FASTEST)?, depth_to_space(d, repeated, factors, CHANNELS_FASTEST)?)
    };
    let output = d.add(main, shortcut)?;
    d.returns(output);
    Ok(output)
}

/// Makes one place of a block (`HunyuanVideo15Downsample`).
pub(super) fn downsample(d: &mut Declaration<'_>, input: Value, sampler: Sampler) -> Built {
    let factors = sampler.factors();
    let places: usize = factors.iter().product();
    let outputs = sampler.channels;
    let main = d.scope("conv", |d| causal_convolution(d, input, outputs / places))?;
    let group = places * channels(d, input) / outputs;
    let averaged = |group: usize, factors: [usize; 3]| {
        move |d: &mut Declaration<'_>, video: Value| {
            let blocks = space_to_depth(d, video, factors, CHANNELS_FASTEST)?;
            if group > 1 { channel_means(d, blocks, group) } else { Ok(blocks) }
        }
    };
    let (main, shortcut) = if sampler.time {
        let main = first_apart(
            d,
            main,
            |d, first| {
                let half = space_to_depth(d, first, [1, 2, 2], CHANNELS_FASTEST)?;
                d.concatenate(smallvec![half, half], 1)
            },
            |d, others| space_to_depth(d, others, factors, CHANNELS_FASTEST),
        )?;
        (main, first_apart(d, input, averaged(group / 2, [1, 2, 2]), averaged(group, factors))?)
    } else {
        (space_to_depth(d, main, factors, CHANNELS_FASTEST)?, averaged(group, factors)(d, input)?)
    };
    let output = d.add(main, shortcut)?;
    d.returns(output);
    Ok(output)
}

/// Each channel so often, one behind the other.
pub(super) fn repeated(d: &mut Declaration<'_>, video: Value, times: usize) -> Built {
    if times > 1 { repeat_channels(d, video, times) } else { Ok(video) }
}
