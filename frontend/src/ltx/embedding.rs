//! What is made of a timestep: for each row of residual blocks vectors by which their norms are
//! scaled and moved (adaptive normalisation: Perez et al. 2018, arXiv:1709.07871; as PixArt-alpha
//! has it, arXiv:2310.00426).

use ir::rearrange::repeat_channels;
use ir::{BuildError, ElementType, Elements, Layout, TensorType, UnaryFunction, Value};
use smallvec::smallvec;

use crate::condition::TIMESTEP;
use crate::declaration::Declaration;
use crate::layers::{channels, linear_of_vector, parameter, returns_vector};

/// Sinusoids of a timestep.
const SINUSOIDS: usize = 256;
/// The longest period is this many times the shortest.
const LONGEST_PERIOD: f64 = 10_000.0;
/// The axis of a video's channels.
const CHANNELS: usize = 1;

type Built = Result<Value, BuildError>;

/// By what a norm's result is multiplied, and what is then added: a number a channel each.
#[derive(Clone, Copy)]
pub(super) struct Modulation {
    pub(super) scale: Value,
    pub(super) shift: Value,
}

/// The sinusoids of the step's timestep times this module's `timestep_scale_multiplier`, as a video
/// of one position: cosines of 128 frequencies, then sines (`get_timestep_embedding` with
/// `flip_sin_to_cos`).
pub(super) fn sinusoids(d: &mut Declaration<'_>) -> Built {
    let multiplier = parameter(d, "timestep_scale_multiplier", TensorType::plain(ElementType::F32, []))?;
    let multiplier = d.reshape(multiplier, TensorType::plain(ElementType::F32, [1]))?;
    let timestep = d.condition(TIMESTEP);
    let time = d.multiply(timestep, multiplier)?;
    let position = |count: usize| TensorType::with_layout(ElementType::F32, Layout::NCTHW, [1, count, 1, 1, 1]);
    let time = d.reshape(time, position(1))?;
    let half = SINUSOIDS / 2;
    let repeated = repeat_channels(d, time, half)?;
    // The reference's frequencies are f32, rounded at each step.
    let frequency = |k: usize| {
        let exponent = -(LONGEST_PERIOD.ln() as f32) * k as f32 / half as f32;
        f64::from(f64::from(exponent).exp() as f32)
    };
    let frequencies = Elements::Dense((0..half).map(frequency).collect());
    let frequencies = d.constant(frequencies, position(half))?;
    let angles = d.multiply(repeated, frequencies)?;
    let cosines = d.unary(angles, UnaryFunction::Cosine)?;
    let sines = d.unary(angles, UnaryFunction::Sine)?;
    d.concatenate(smallvec![cosines, sines], CHANNELS)
}

/// Two linear layers over the sinusoids, which make so many numbers of them
/// (`PixArtAlphaCombinedTimestepSizeEmbeddings` without sizes): a vector without named axes.
pub(super) fn time_embedder(d: &mut Declaration<'_>, sinusoids: Value, outputs: usize) -> Built {
    d.scope("time_embedder", |d| {
        let embedded = d.scope("timestep_embedder", |d| {
            let hidden = d.scope("linear_1", |d| linear_of_vector(d, sinusoids, outputs))?;
            let hidden = d.silu(hidden)?;
            let embedded = d.scope("linear_2", |d| linear_of_vector(d, hidden, outputs))?;
            returns_vector(d, embedded)?;
            Ok(embedded)
        })?;
        returns_vector(d, embedded)?;
        let count = channels(d, embedded);
        d.reshape(embedded, TensorType::plain(ElementType::F32, [count]))
    })
}

/// The rows of this module's `scale_shift_table`, `[2 * N, channels]`, with what is embedded added
/// to each: shift and then scale of `N` norms.
pub(super) fn modulations<const N: usize>(
    d: &mut Declaration<'_>,
    embedded: Value,
    channels: usize,
) -> Result<[Modulation; N], BuildError> {
    let vector = |count: usize| TensorType::plain(ElementType::F32, [count]);
    let table = parameter(d, "scale_shift_table", TensorType::plain(ElementType::F32, [2 * N, channels]))?;
    let table = d.reshape(table, vector(2 * N * channels))?;
    let rows = d.add(embedded, table)?;
    let one = d.constant(Elements::Splat(1.0), vector(channels))?;
    let row =
        |d: &mut Declaration<'_>, row: usize| d.slice(rows, smallvec![row * channels], smallvec![(row + 1) * channels]);
    let mut found = Vec::with_capacity(N);
    for norm in 0..N {
        let shift = row(d, 2 * norm)?;
        let scale = row(d, 2 * norm + 1)?;
        found.push(Modulation { shift, scale: d.add(scale, one)? });
    }
    Ok(found.try_into().unwrap_or_else(|_| unreachable!("one for each norm")))
}
