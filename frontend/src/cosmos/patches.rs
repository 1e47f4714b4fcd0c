//! Patches of frames, rows and columns as channels, and back (`CosmosPatchEmbed3d`,
//! `CosmosUnpatcher3d`): the values as they are, or their coefficients over Haar's wavelets.
//!
//! A level of the wavelet transform makes of each pair `a`, `b` along time, then height, then width,
//! `(a + b) / 2` and `(a - b) / 2`, and the next level goes on with all of them. The levels together
//! are one matrix between the values of a patch and its coefficients, a 1x1x1 convolution whose
//! weight is a constant; its numbers are powers of two.

use ir::rearrange::{CHANNELS_FASTEST, CHANNELS_SLOWEST, depth_to_space, space_to_depth};
use ir::{BuildError, Elements, Layout, PadMode, TensorType, Value};
use smallvec::smallvec;

use super::config::{Config, PatchType};
use crate::declaration::Declaration;
use crate::layers::{channels, kernel_type};

/// The patches of a video. The first frame stands for all frames of the first patches.
pub(super) fn patches(config: &Config, d: &mut Declaration<'_>, sample: Value) -> Result<Value, BuildError> {
    let size = config.patch_size;
    let repeated =
        if size > 1 { d.pad(sample, smallvec![0, 0, size - 1, 0, 0], smallvec![0; 5], PadMode::Edge)? } else { sample };
    match config.patch_type {
        PatchType::Rearrange => space_to_depth(d, repeated, [size; 3], CHANNELS_SLOWEST),
        PatchType::Haar => {
            let count = channels(d, sample);
            let values = space_to_depth(d, repeated, [size; 3], CHANNELS_FASTEST)?;
            // What is halved along three axes.
            let share = (size as f64).powi(-3);
            mixed(d, values, &|coefficient, value| share * sign(size, count, coefficient, value))
        }
    }
}

/// The video of patches, without the frames for which the first one stood.
pub(super) fn unpatched(config: &Config, d: &mut Declaration<'_>, patches: Value) -> Result<Value, BuildError> {
    let size = config.patch_size;
    let sample = match config.patch_type {
        PatchType::Rearrange => depth_to_space(d, patches, [size; 3], CHANNELS_SLOWEST)?,
        PatchType::Haar => {
            let count = channels(d, patches) / size.pow(3);
            let values = mixed(d, patches, &|value, coefficient| sign(size, count, coefficient, value))?;
            depth_to_space(d, values, [size; 3], CHANNELS_FASTEST)?
        }
    };
    if size == 1 {
        return Ok(sample);
    }
    let limit = d.ty(sample).shape.clone();
    d.slice(sample, smallvec![0, 0, size - 1, 0, 0], limit)
}

/// As many channels as there are, each the sum of all of them times `factor` of it and them.
fn mixed(d: &mut Declaration<'_>, input: Value, factor: &dyn Fn(usize, usize) -> f64) -> Result<Value, BuildError> {
    let count = channels(d, input);
    if count == 1 {
        return Ok(input);
    }
    let factors: Vec<f64> =
        (0..count).flat_map(|output| (0..count).map(move |input| (output, input))).map(|(o, i)| factor(o, i)).collect();
    let ty = kernel_type(count, count, [1, 1, 1]);
    debug_assert_eq!(ty, TensorType::with_layout(ty.element, Layout::OIDHW, [count, count, 1, 1, 1]));
    let weight = d.constant(Elements::Dense(factors.into()), ty)?;
    d.convolution(input, weight, None, None, None, [1, 1, 1], [[0, 0]; 3], 0)
}

/// The sign with which a coefficient counts in a value of its patch, 0 if they are of different
/// channels.
///
/// Values are numbered by frame, row, column and channel, the frame slowest. Coefficients are
/// numbered by level, the last one slowest, and then by channel; those of a level by what was taken
/// of pairs along time, height and width: 0 for sums, 1 for differences. The bits of a frame, row
/// or column say which of each pair it is, the lowest at the first level.
fn sign(size: usize, channels: usize, coefficient: usize, value: usize) -> f64 {
    if coefficient % channels != value % channels {
        return 0.0;
    }
    let (mut coefficient, value) = (coefficient / channels, value / channels);
    let mut places = [value / (size * size), value / size % size, value % size];
    let mut odd = 0;
    for _ in 0..size.ilog2() {
        let taken = [coefficient / 4 % 2, coefficient / 2 % 2, coefficient % 2];
        odd += places.iter().zip(taken).map(|(place, taken)| place % 2 * taken).sum::<usize>();
        places = places.map(|place| place / 2);
        coefficient /= 8;
    }
    if odd % 2 == 0 { 1.0 } else { -1.0 }
}
