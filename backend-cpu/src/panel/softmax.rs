//! A run of a softmax over scores that come a few at a time, written once as a macro over the
//! vector operations of an instruction set (`micro_tile` lists them).
//!
//! Which scores, and what is summed with the weights that are made of them, is emitted code, in
//! `codegen::attention`.

use crate::isa::Isa;

/// What is known of the scores of a query that were seen so far.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct State {
    /// The largest; negative infinity before the first.
    pub largest: f32,
    /// Nothing.
    pub unused: f32,
    /// The sum of all weights, that of the largest score being 1.
    pub weights: f64,
}

/// Makes weights of scores: called as `softmax(scores, seen, scores_in_run, state, sums,
/// channels)`.
///
/// Scores are exponents of 2. The first `seen` of the run become `2^(score - largest)`, with the
/// largest of these and of those before; the others of the run become 0. Where the largest grows,
/// what was gathered before is scaled to it: the state's weights, and the `channels` numbers at
/// `sums`, which are not touched before the first score. A NaN makes every weight NaN.
///
/// # Safety
///
/// The CPU runs the instruction set; the scores of the run are readable and writable, rounded up to
/// whole vectors where only some are seen; so are state and sums, and all are aligned as their
/// numbers are and overlap nothing.
pub(crate) type SoftmaxFn = unsafe extern "C" fn(
    scores: *mut f32,
    seen: usize,
    scores_in_run: usize,
    state: *mut State,
    sums: *mut f32,
    channels: usize,
);

/// The symbol under which emitted code calls the kernel.
pub(crate) fn symbol(isa: Isa) -> String {
    format!("{isa}_softmax")
}

/// Defines `softmax`, a [`SoftmaxFn`], over the vector operations in scope and `power_of_two` of
/// `normalize`.
macro_rules! softmax_kernels {
    ($(#[$feature:meta])*) => {
        /// All lanes put together by `f`, halves first: the same order for any lanes.
        #[inline]
        $(#[$feature])*
        fn reduced(vector: Vector, f: impl Fn(f32, f32) -> f32) -> f32 {
            let mut lanes = [0.0; LANES];
            // SAFETY: the array has as many elements as a vector has lanes.
            unsafe { store_masked(lanes.as_mut_ptr(), mask(LANES), vector) };
            let mut half = LANES / 2;
            while half > 0 {
                for lane in 0..half {
                    lanes[lane] = f(lanes[lane], lanes[lane + half]);
                }
                half /= 2;
            }
            lanes[0]
        }

        /// See [`SoftmaxFn`](super::softmax::SoftmaxFn).
        $(#[$feature])*
        unsafe extern "C" fn softmax(
            scores: *mut f32,
            seen: usize,
            scores_in_run: usize,
            state: *mut $crate::panel::softmax::State,
            sums: *mut f32,
            channels: usize,
        ) {
            // SAFETY: the caller's promise: the state is there, and nobody else's.
            let state = unsafe { &mut *state };
            if seen > 0 {
                let all = mask(LANES);
                // Behind those that are seen, in their last vector: what is never the largest.
                for at in seen..seen.next_multiple_of(LANES) {
                    // SAFETY: the caller's promise: whole vectors are writable, here and below.
                    unsafe { *scores.add(at) = f32::NEG_INFINITY };
                }
                let mut largest = splat(state.largest);
                for at in (0..seen).step_by(LANES) {
                    // SAFETY: as above.
                    largest = clamp(unsafe { load(scores.add(at)) }, largest, splat(f32::INFINITY));
                }
                let largest = reduced(largest, f32::max);
                let mut weights = zero();
                for at in (0..seen).step_by(LANES) {
                    // SAFETY: as above.
                    let score = subtract(unsafe { load(scores.add(at)) }, splat(largest));
                    let weight = power_of_two(clamp(score, splat(-126.0), splat(126.0)));
                    // SAFETY: as above.
                    unsafe { store_masked(scores.add(at), all, weight) };
                    weights = add(weights, weight);
                }
                if largest > state.largest && state.weights != 0.0 {
                    let factor = power_of_two(clamp(splat(state.largest - largest), splat(-126.0), splat(126.0)));
                    for at in (0..channels).step_by(LANES) {
                        let lanes = mask(channels - at);
                        // SAFETY: the mask leaves only channels that exist.
                        unsafe {
                            let sum = load_masked(sums.add(at), lanes);
                            store_masked(sums.add(at), lanes, multiply(sum, factor));
                        }
                    }
                    state.weights *= f64::from(reduced(factor, |first, _| first));
                }
                state.largest = largest;
                state.weights += f64::from(reduced(weights, |a, b| a + b));
            }
            for at in seen..scores_in_run {
                // SAFETY: the caller's promise: the run is writable.
                unsafe { *scores.add(at) = 0.0 };
            }
        }
    };
}

pub(super) use softmax_kernels;

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs of scores one behind the other, and the weights that each has in the end: scaled as
    /// sums are.
    #[test]
    fn weights_are_those_of_all_scores_at_once() {
        let mut seed = 5_u64;
        let mut random = |size: f32| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((seed >> 40) as f32 / (1 << 23) as f32 - 1.0) * size
        };
        for isa in Isa::supported() {
            let softmax = isa.row().expect("a supported one").softmax;
            for (runs, size) in [
                (&[(1, 1)][..], 1.0),
                (&[(16, 16), (0, 5), (3, 20)], 3.0),
                (&[(96, 96), (96, 96), (31, 40), (7, 7)], 40.0),
            ] {
                let mut state = State { largest: f32::NEG_INFINITY, unused: 0.0, weights: 0.0 };
                // What nobody wrote: it must not be read. One sum a score, behind it one that is
                // not its own.
                let mut sums = vec![f32::NAN; 300];
                let (mut exact, mut filled) = (vec![], 0);
                for &(seen, run) in runs {
                    let mut scores = vec![f32::NAN; run + 16];
                    scores[..run].iter_mut().for_each(|score| *score = random(size));
                    exact.extend(scores[..seen].iter().map(|&score| f64::from(score)));
                    // SAFETY: the CPU runs it; there are 16 scores behind the run, and as many sums
                    // as were filled.
                    unsafe { softmax(scores.as_mut_ptr(), seen, run, &mut state, sums.as_mut_ptr(), filled) };
                    assert!(scores[seen..run].iter().all(|&weight| weight == 0.0), "{isa}: {scores:?}");
                    sums[filled..filled + seen].copy_from_slice(&scores[..seen]);
                    filled += seen;
                }
                assert!(sums[filled..].iter().all(|sum| sum.is_nan()), "{isa}");
                let largest = exact.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                assert_eq!(f64::from(state.largest), largest, "{isa}");
                let whole: f64 = exact.iter().map(|score| (score - largest).exp2()).sum();
                assert!((state.weights - whole).abs() <= 1e-6 * whole, "{isa}: {} and {whole}", state.weights);
                for (score, weight) in exact.iter().zip(&sums) {
                    let (weight, exact) = (f64::from(*weight), (score - largest).exp2());
                    assert!((weight - exact).abs() <= 1e-5 * exact + 1e-30, "{isa}: {weight} and {exact}");
                }
            }
        }
    }

    #[test]
    fn nan_stays_nan() {
        for isa in Isa::supported() {
            let softmax = isa.row().expect("a supported one").softmax;
            for at in [0, 9, 19] {
                let mut state = State { largest: f32::NEG_INFINITY, unused: 0.0, weights: 0.0 };
                let mut scores = [1.0; 32];
                scores[at] = f32::NAN;
                // SAFETY: the CPU runs it; there are whole vectors of scores, and no sums.
                unsafe { softmax(scores.as_mut_ptr(), 20, 20, &mut state, std::ptr::null_mut(), 0) };
                assert!(state.weights.is_nan(), "{isa}");
            }
        }
    }
}
