//! Winograd's minimal filtering for 3x3 kernels: the transform of weights, and the numbers that all
//! transforms share.
//!
//! An `m x m` square of outputs is `Aᵀ [ (G g Gᵀ) ∘ (Bᵀ d B) ] A`, with `g` the 3x3 kernel and `d`
//! the `(m + 2) x (m + 2)` inputs it sees (Lavin and Gray 2015, arXiv:1509.09308). Summed over
//! input channels the product in the middle is one contraction for each of the `(m + 2)²` planes.
//! Taps over time are left to the contraction, or, three taps at two frames a turn, transformed by
//! F(2, 3) in turn: then each plane is four contractions of a third the depth.
//!
//! F(2x2) uses the points 0, 1, -1 and infinity; F(4x4) uses 0, ±1/sqrt(2), ±sqrt(2) and infinity,
//! which halve the error of the usual 0, ±1, ±2. The transforms of inputs and outputs are in
//! `panel::transform`.

use rayon::prelude::*;

use crate::blocking::{Algorithm, TIME_PLANES};
use crate::buffer::{AlignedBuffer, BufferError};
use crate::pack::{PackedWeights, WeightView};
use crate::panel::PanelFamily;
use crate::panel::transform::{POINT_A, POINT_B};

/// G of F(2, 3).
const WEIGHT_TRANSFORM_2: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

/// The rows of G: `m + 2` of them.
fn weight_transform(algorithm: Algorithm) -> Vec<[f64; 3]> {
    match algorithm {
        Algorithm::Direct | Algorithm::Dot => vec![],
        Algorithm::Winograd2 | Algorithm::Winograd2Time => WEIGHT_TRANSFORM_2.to_vec(),
        Algorithm::Winograd4 | Algorithm::Winograd4Time => {
            let (a, b) = (POINT_A, POINT_B);
            let na = 2.0 * a * a * (a * a - b * b);
            let nb = 2.0 * b * b * (b * b - a * a);
            vec![
                [1.0 / (a * a * b * b), 0.0, 0.0],
                [1.0 / na, a / na, a * a / na],
                [1.0 / na, -a / na, a * a / na],
                [1.0 / nb, b / nb, b * b / nb],
                [1.0 / nb, -b / nb, b * b / nb],
                [0.0, 0.0, 1.0],
            ]
        }
    }
}

/// Transforms weights of 3x3 kernels and packs them for the panels of `family`:
/// `[panel][plane][k][nr]`, with k over depth (or the planes over time that an algorithm makes of
/// it) and input channels. Computed in f64; panels are made in parallel.
///
/// # Errors
/// The memory cannot be had.
///
/// # Panics
/// When the kernels are not 3x3, or time is to be transformed and they are not 3 deep.
pub fn pack_transformed(
    weights: WeightView<'_>,
    family: &PanelFamily,
    algorithm: Algorithm,
) -> Result<PackedWeights, BufferError> {
    let sizes = weights.sizes();
    assert_eq!((sizes.height, sizes.width), (3, 3), "Winograd's transforms are for 3x3 kernels");
    assert!(!algorithm.over_time() || sizes.depth == 3, "the transform over time is for three taps");
    let g = weight_transform(algorithm);
    let taps = algorithm.taps([sizes.depth, sizes.height, sizes.width]);
    let (nr, planes, depth) = (family.nr, algorithm.planes(), taps * sizes.input);
    let mut values = AlignedBuffer::zeroed(sizes.output.div_ceil(nr) * planes * depth * nr)?;
    values.par_chunks_mut((planes * depth * nr).max(1)).enumerate().for_each(|(panel, packed)| {
        let first = panel * nr;
        let columns = (sizes.output - first).min(nr);
        let mut kernels = vec![[[0.0; LANES]; 9]; sizes.depth];
        for (input, start) in (0..sizes.input).flat_map(|input| (0..columns).step_by(LANES).map(move |s| (input, s))) {
            // All taps of an output channel together: they are neighbours in a checkpoint.
            for lane in 0..LANES.min(columns - start) {
                for (time, kernel) in kernels.iter_mut().enumerate() {
                    for (tap, lanes) in kernel.iter_mut().enumerate() {
                        lanes[lane] = f64::from(weights.at(first + start + lane, input, time, tap / 3, tap % 3));
                    }
                }
            }
            let over_time;
            let kernels = match kernels.as_slice() {
                [first, middle, last] if algorithm.over_time() => {
                    over_time = transform_time([first, middle, last]);
                    &over_time[..]
                }
                kernels => kernels,
            };
            for (tap, kernel) in kernels.iter().enumerate() {
                let k = tap * sizes.input + input;
                transform(&g, kernel, |plane, lanes| {
                    let target = &mut packed[(plane * depth + k) * nr..][start..nr];
                    target.iter_mut().zip(lanes).for_each(|(target, value)| *target = *value as f32);
                });
            }
        }
    });
    Ok(PackedWeights::from_parts(values, sizes.output, planes * depth, nr))
}

/// Columns that are transformed together.
const LANES: usize = 32;

/// `G g` over time, in every lane of every tap.
fn transform_time(kernels: [&[[f64; LANES]; 9]; 3]) -> [[[f64; LANES]; 9]; TIME_PLANES] {
    WEIGHT_TRANSFORM_2.map(|by| {
        std::array::from_fn(|tap| {
            std::array::from_fn(|lane| (0..3).map(|time| by[time] * kernels[time][tap][lane]).sum())
        })
    })
}

/// `G g Gᵀ` in every lane; `give` gets each plane in order.
fn transform(g: &[[f64; 3]], kernel: &[[f64; LANES]; 9], mut give: impl FnMut(usize, &[f64; LANES])) {
    let combine = |by: &[f64; 3], of: [&[f64; LANES]; 3]| -> [f64; LANES] {
        std::array::from_fn(|lane| by[0] * of[0][lane] + by[1] * of[1][lane] + by[2] * of[2][lane])
    };
    for (i, gi) in g.iter().enumerate() {
        let row: [[f64; LANES]; 3] = std::array::from_fn(|x| combine(gi, [&kernel[x], &kernel[3 + x], &kernel[6 + x]]));
        for (j, gj) in g.iter().enumerate() {
            give(i * g.len() + j, &combine(gj, [&row[0], &row[1], &row[2]]));
        }
    }
}
