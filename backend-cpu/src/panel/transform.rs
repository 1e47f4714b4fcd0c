//! The bodies of Winograd's transforms, written once as a macro over the vector operations of an
//! instruction set (`micro_tile` lists them): a square of inputs forward, a square of products
//! back, and both over time.
//!
//! The formulas are those of `crate::winograd`. One call transforms one square for every channel;
//! loops over squares, frames and planes are emitted code. Arrays hold the larger square; what a
//! smaller one leaves unused costs nothing once the loops, whose bounds are constants, are
//! unrolled.

use crate::element::Element;
use crate::isa::Isa;

/// The smaller point of F(4x4).
pub(crate) const POINT_A: f64 = std::f64::consts::FRAC_1_SQRT_2;

/// The larger point of F(4x4).
pub(crate) const POINT_B: f64 = std::f64::consts::SQRT_2;

/// `Bᵀ d B` of one square: called as `forward(from, to, channels, line, plane)`.
///
/// Element (y, x) of the square is at `from + y * line + x * channels`, with all its channels
/// behind it; plane p of the result is at `to + p * plane`. Distances are in elements.
///
/// # Safety
///
/// The CPU runs the instruction set; what is named is readable, or writable, aligned as f32 is;
/// nothing overlaps.
pub(crate) type ForwardFn =
    unsafe extern "C" fn(from: *const f32, to: *mut f32, channels: usize, line: usize, plane: usize);

/// `Aᵀ m A` of one square, plus bias and residual: called as
/// `back(from, to, bias, residual, channels, plane, line, pixel, lines, pixels, sums, pitch)`.
///
/// Plane p of the products is at `from + p * plane`; element (y, x) of the result is at `to + y *
/// line + x * pixel`, and so in the residual, if that is not null. `bias` is null or has a value
/// for each channel. Only the first `lines` lines and `pixels` pixels are read and written, if
/// there are fewer than the square has.
///
/// Result and residual are f32 or bf16, as the form has it; the result is rounded once. If `sums`
/// is not null, what is written is added to the sum of its channel there, before it is rounded, and
/// its square to the sum of squares `pitch` elements behind; whole vectors of sums are written, of
/// which those of no channel mean nothing.
///
/// # Safety
///
/// As for [`ForwardFn`], result and residual aligned as their elements are, sums as f64; result and
/// residual may be the same memory. A streaming form also asks that whole vectors of the result are
/// aligned, and that a fence follows before another thread reads it.
pub(crate) type BackFn = unsafe extern "C" fn(
    from: *const f32,
    to: *mut u8,
    bias: *const f32,
    residual: *const u8,
    channels: usize,
    plane: usize,
    line: usize,
    pixel: usize,
    lines: usize,
    pixels: usize,
    sums: *mut f64,
    pitch: usize,
);

/// F(2, 3) over time: called as `time(from, to, count, plane)`, forward on four frames that follow
/// each other at a distance of `count` elements, to four planes; back from four planes to two
/// frames.
///
/// # Safety
///
/// As for [`ForwardFn`].
pub(crate) type TimeFn = unsafe extern "C" fn(from: *const f32, to: *mut f32, count: usize, plane: usize);

/// Heights and widths of the squares of outputs.
pub(super) const SIDES: [usize; 2] = [2, 4];

/// The transforms of an instruction set.
#[derive(Debug)]
pub(crate) struct Transforms {
    /// Inputs forward, by square: one for each of [`SIDES`].
    pub(super) forward: [ForwardFn; 2],
    /// Products back, by element of the result ([`Element::ALL`]) and square.
    pub(super) back: [[BackFn; 2]; 2],
    /// Products back, to memory that is not read again soon.
    pub(super) back_streaming: [[BackFn; 2]; 2],
    /// Four frames to four planes.
    pub(super) time_forward: TimeFn,
    /// Four planes to two frames.
    pub(super) time_back: TimeFn,
}

/// Which way a transform goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Inputs to planes.
    Forward,
    /// Products to results.
    Back,
    /// Products to results that are not read again soon: past the caches.
    BackStreaming,
}

/// The symbol under which emitted code calls the transform of a square; going back, the result has
/// this element.
pub(crate) fn square_symbol(isa: Isa, side: usize, direction: Direction, element: Element) -> String {
    format!("{isa}_winograd{side}_{direction:?}{}", element.suffix()).to_lowercase()
}

/// The symbol under which emitted code calls the transform over time.
pub(crate) fn time_symbol(isa: Isa, direction: Direction) -> String {
    format!("{isa}_winograd_time_{direction:?}").to_lowercase()
}

impl Transforms {
    /// Every transform, by its symbol.
    pub(crate) fn symbols(&self, isa: Isa) -> Vec<(String, *const u8)> {
        use Direction::{Back, BackStreaming, Forward};
        let mut all = vec![
            (time_symbol(isa, Forward), self.time_forward as *const u8),
            (time_symbol(isa, Back), self.time_back as *const u8),
        ];
        for (index, side) in SIDES.into_iter().enumerate() {
            all.push((square_symbol(isa, side, Forward, Element::F32), self.forward[index] as *const u8));
            for (element, (back, streaming)) in Element::ALL.into_iter().zip(self.back.iter().zip(&self.back_streaming))
            {
                all.push((square_symbol(isa, side, Back, element), back[index] as *const u8));
                all.push((square_symbol(isa, side, BackStreaming, element), streaming[index] as *const u8));
            }
        }
        all
    }
}

/// Defines the transforms over the vector operations in scope, and `TRANSFORMS`, which names them.
macro_rules! transform_kernels {
    ($(#[$feature:meta])*) => {
        /// One row or column of `Bᵀ d`.
        #[inline]
        $(#[$feature])*
        fn forward_row<const SIDE: usize>(d: [Vector; 6]) -> [Vector; 6] {
            if SIDE == 2 {
                let rest = zero();
                return [subtract(d[0], d[2]), add(d[1], d[2]), subtract(d[2], d[1]), subtract(d[1], d[3]), rest, rest];
            }
            let [a, b] = [POINT_A, POINT_B].map(|x| splat(x as f32));
            let [minus_a, minus_b] = [POINT_A, POINT_B].map(|x| splat(-x as f32));
            let [minus_aa, minus_bb] = [POINT_A, POINT_B].map(|x| splat((-x * x) as f32));
            let minus_sum = splat(-(POINT_A * POINT_A + POINT_B * POINT_B) as f32);
            let (even_a, odd_a) = (multiply_add(d[2], minus_bb, d[4]), multiply_add(d[1], minus_bb, d[3]));
            let (even_b, odd_b) = (multiply_add(d[2], minus_aa, d[4]), multiply_add(d[1], minus_aa, d[3]));
            let (first, last) = (multiply_add(d[2], minus_sum, d[4]), multiply_add(d[3], minus_sum, d[5]));
            // The product of the squares of the points is 1.
            [
                add(first, d[0]),
                multiply_add(odd_a, a, even_a),
                multiply_add(odd_a, minus_a, even_a),
                multiply_add(odd_b, b, even_b),
                multiply_add(odd_b, minus_b, even_b),
                add(last, d[1]),
            ]
        }

        /// One row or column of `Aᵀ m`.
        #[inline]
        $(#[$feature])*
        fn back_row<const SIDE: usize>(m: [Vector; 6]) -> [Vector; 4] {
            let (sum_a, difference_a) = (add(m[1], m[2]), subtract(m[1], m[2]));
            if SIDE == 2 {
                return [add(m[0], sum_a), subtract(difference_a, m[3]), zero(), zero()];
            }
            let power = |x: f64, n| splat(x.powi(n) as f32);
            let (sum_b, difference_b) = (add(m[3], m[4]), subtract(m[3], m[4]));
            let (a, b) = (POINT_A, POINT_B);
            [
                add(m[0], add(sum_a, sum_b)),
                multiply_add(difference_b, power(b, 1), multiply(difference_a, power(a, 1))),
                multiply_add(sum_b, power(b, 2), multiply(sum_a, power(a, 2))),
                multiply_add(difference_a, power(a, 3), multiply_add(difference_b, power(b, 3), m[5])),
            ]
        }

        /// See [`ForwardFn`](super::transform::ForwardFn).
        $(#[$feature])*
        unsafe extern "C" fn forward<const SIDE: usize>(
            from: *const f32,
            to: *mut f32,
            channels: usize,
            line: usize,
            plane: usize,
        ) {
            let window = SIDE + 2;
            for channel in (0..channels).step_by(LANES) {
                let lanes = mask(channels - channel);
                let (from, to) = (from.wrapping_add(channel), to.wrapping_add(channel));
                let mut half = [[zero(); 6]; 6];
                for x in 0..window {
                    let mut column = [zero(); 6];
                    for y in 0..window {
                        // SAFETY: an element of the square; the mask leaves only channels that
                        // exist.
                        column[y] = unsafe { load_masked(from.wrapping_add(y * line + x * channels), lanes) };
                    }
                    let column = forward_row::<SIDE>(column);
                    for y in 0..window {
                        half[y][x] = column[y];
                    }
                }
                for y in 0..window {
                    let row = forward_row::<SIDE>(half[y]);
                    for x in 0..window {
                        // SAFETY: one of the planes; the mask leaves only channels that exist.
                        unsafe { store_masked(to.wrapping_add((y * window + x) * plane), lanes, row[x]) };
                    }
                }
            }
        }

        /// See [`BackFn`](super::transform::BackFn).
        $(#[$feature])*
        unsafe extern "C" fn back<const SIDE: usize, const STREAM: bool, const BF16: bool>(
            from: *const f32,
            to: *mut u8,
            bias: *const f32,
            residual: *const u8,
            channels: usize,
            plane: usize,
            line: usize,
            pixel: usize,
            lines: usize,
            pixels: usize,
            sums: *mut f64,
            pitch: usize,
        ) {
            let window = SIDE + 2;
            for channel in (0..channels).step_by(LANES) {
                let lanes = mask(channels - channel);
                let from = from.wrapping_add(channel);
                let (mut total, mut squares) = (wide_zero(), wide_zero());
                let added = if bias.is_null() {
                    zero()
                } else {
                    // SAFETY: the mask leaves only channels that exist.
                    unsafe { load_masked(bias.wrapping_add(channel), lanes) }
                };
                let mut half = [[zero(); 6]; 4];
                for x in 0..window {
                    let mut column = [zero(); 6];
                    for y in 0..window {
                        // SAFETY: one of the planes; the mask leaves only channels that exist.
                        column[y] = unsafe { load_masked(from.wrapping_add((y * window + x) * plane), lanes) };
                    }
                    let column = back_row::<SIDE>(column);
                    for y in 0..SIDE {
                        half[y][x] = column[y];
                    }
                }
                for y in 0..SIDE {
                    if y >= lines {
                        break;
                    }
                    let row = back_row::<SIDE>(half[y]);
                    for x in 0..SIDE {
                        if x >= pixels {
                            break;
                        }
                        let at = y * line + x * pixel + channel;
                        let mut value = add(row[x], added);
                        let streamed = STREAM && channels - channel >= LANES;
                        // SAFETY: a pixel that exists, in the residual as in the result; the mask
                        // leaves only channels that do. Whole vectors are aligned where that is
                        // asked for.
                        unsafe {
                            if BF16 {
                                let to = to.cast::<u16>().wrapping_add(at);
                                if !residual.is_null() {
                                    value = add(value, load_bf16(residual.cast::<u16>().wrapping_add(at), lanes));
                                }
                                if streamed { stream_bf16(to, value) } else { store_bf16(to, lanes, value) }
                            } else {
                                let to = to.cast::<f32>().wrapping_add(at);
                                if !residual.is_null() {
                                    value = add(value, load_masked(residual.cast::<f32>().wrapping_add(at), lanes));
                                }
                                if streamed { stream(to, value) } else { store_masked(to, lanes, value) }
                            }
                        }
                        if !sums.is_null() {
                            // Of what is stored, which is what the normalisation will read.
                            let value = if BF16 { rounded(value) } else { value };
                            total = add_wide(total, value, splat(1.0));
                            squares = add_wide(squares, value, value);
                        }
                    }
                }
                if !sums.is_null() {
                    let sums = sums.wrapping_add(channel);
                    // SAFETY: the caller's promise: whole vectors of both sums are writable.
                    unsafe {
                        store_wide(sums, total);
                        store_wide(sums.wrapping_add(pitch), squares);
                    }
                }
            }
        }

        /// See [`TimeFn`](super::transform::TimeFn): `Bᵀ d` of F(2, 3).
        $(#[$feature])*
        unsafe extern "C" fn time_forward(from: *const f32, to: *mut f32, count: usize, plane: usize) {
            for at in (0..count).step_by(LANES) {
                let lanes = mask(count - at);
                let mut frames = [zero(); 6];
                for t in 0..4 {
                    // SAFETY: one of four frames; the mask leaves only elements that exist.
                    frames[t] = unsafe { load_masked(from.wrapping_add(t * count + at), lanes) };
                }
                let planes = forward_row::<2>(frames);
                for t in 0..4 {
                    // SAFETY: one of four planes, as above.
                    unsafe { store_masked(to.wrapping_add(t * plane + at), lanes, planes[t]) };
                }
            }
        }

        /// See [`TimeFn`](super::transform::TimeFn): `Aᵀ m` of F(2, 3).
        $(#[$feature])*
        unsafe extern "C" fn time_back(from: *const f32, to: *mut f32, count: usize, plane: usize) {
            for at in (0..count).step_by(LANES) {
                let lanes = mask(count - at);
                let mut planes = [zero(); 6];
                for t in 0..4 {
                    // SAFETY: one of four planes; the mask leaves only elements that exist.
                    planes[t] = unsafe { load_masked(from.wrapping_add(t * plane + at), lanes) };
                }
                let frames = back_row::<2>(planes);
                for t in 0..2 {
                    // SAFETY: one of two frames, as above.
                    unsafe { store_masked(to.wrapping_add(t * count + at), lanes, frames[t]) };
                }
            }
        }

        /// The transforms of this instruction set.
        pub(super) static TRANSFORMS: $crate::panel::transform::Transforms = $crate::panel::transform::Transforms {
            forward: [forward::<2>, forward::<4>],
            back: [
                [back::<2, false, false>, back::<4, false, false>],
                [back::<2, false, true>, back::<4, false, true>],
            ],
            back_streaming: [
                [back::<2, true, false>, back::<4, true, false>],
                [back::<2, true, true>, back::<4, true, true>],
            ],
            time_forward,
            time_back,
        };
    };
}

pub(super) use transform_kernels;
