//! The body of a fused group normalisation over a run of pixels, written once as a macro over the vector operations of an
//! instruction set (`tile` lists them).
//!
//! Which pixels, and which pixel of gain and shift belongs to them, is emitted code, in `codegen::norm`; so are the
//! coefficients.

use crate::isa::Isa;

/// Normalises, modulates, activates: called as `normalize(from, to, coefficients, gain, shift, channels, pixels)`.
///
/// `to = activation((from * a + b) * gain + shift)` for `pixels` pixels one behind the other; a and b, one each a channel,
/// follow each other at `coefficients`. All pixels take the same gain and shift, one each a channel; a form without
/// modulation does not read them.
///
/// # Safety
///
/// The CPU runs the instruction set; what is named is readable, or writable, aligned as f32 is; `to` overlaps nothing, or is
/// `from`.
pub(crate) type NormalizeFn = unsafe extern "C" fn(
    from: *const f32,
    to: *mut f32,
    coefficients: *const f32,
    gain: *const f32,
    shift: *const f32,
    channels: usize,
    pixels: usize,
);

/// Forms of the kernel, and whether each modulates and applies SiLU.
pub(super) const FORMS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// The symbol under which emitted code calls the kernel.
pub(crate) fn normalize_symbol(isa: Isa, modulated: bool, silu: bool) -> String {
    let (modulated, silu) = (if modulated { "_modulated" } else { "" }, if silu { "_silu" } else { "" });
    format!("{isa}_normalize{modulated}{silu}")
}

/// Defines `NORMALIZE`, the kernel's forms, over the vector operations in scope.
macro_rules! normalize_kernels {
    ($(#[$feature:meta])*) => {
        /// `x / (1 + exp(-x))` to about 2 units in the last place; NaN stays NaN.
        ///
        /// `exp(-x) = 2^n * 2^f` with `n` the nearest whole number to `-x * log2(e)` and `2^f` its Taylor polynomial in
        /// `f * ln(2)`, |f| <= 1/2, whose remainder is below 2e-8.
        #[inline]
        $(#[$feature])*
        fn silu(x: Vector) -> Vector {
            // Beyond 2^±126 the result is -0 or x to the last bit.
            let scaled = clamp(multiply(x, splat(-std::f32::consts::LOG2_E)), splat(-126.0), splat(126.0));
            // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits.
            let magic = splat(12_582_912.0);
            let shifted = add(scaled, magic);
            let f = subtract(scaled, subtract(shifted, magic));
            let mut power = splat(1.540_353e-4);
            for coefficient in
                [1.333_355_8e-3, 9.618_129e-3, 5.550_411e-2, 2.402_265e-1, std::f32::consts::LN_2, 1.0]
            {
                power = multiply_add(power, f, splat(coefficient));
            }
            divide(x, add(scale_by_power(power, shifted), splat(1.0)))
        }

        /// See [`NormalizeFn`](super::normalize::NormalizeFn).
        $(#[$feature])*
        unsafe extern "C" fn normalize<const MODULATED: bool, const SILU: bool>(
            from: *const f32,
            to: *mut f32,
            coefficients: *const f32,
            gain: *const f32,
            shift: *const f32,
            channels: usize,
            pixels: usize,
        ) {
            for pixel in 0..pixels {
                for channel in (0..channels).step_by(LANES) {
                    let lanes = mask(channels - channel);
                    let at = pixel * channels + channel;
                    // SAFETY: the mask leaves only channels that exist, here and below.
                    let read = |from: *const f32| unsafe { load_masked(from, lanes) };
                    let x = read(from.wrapping_add(at));
                    let a = read(coefficients.wrapping_add(channel));
                    let b = read(coefficients.wrapping_add(channels + channel));
                    let mut y = multiply_add(x, a, b);
                    if MODULATED {
                        y = multiply_add(y, read(gain.wrapping_add(channel)), read(shift.wrapping_add(channel)));
                    }
                    if SILU {
                        y = silu(y);
                    }
                    // SAFETY: as above.
                    unsafe { store_masked(to.wrapping_add(at), lanes, y) };
                }
            }
        }

        /// The forms, in the order of [`FORMS`](super::normalize::FORMS).
        pub(super) static NORMALIZE: [$crate::panel::normalize::NormalizeFn; 4] =
            [normalize::<false, false>, normalize::<false, true>, normalize::<true, false>, normalize::<true, true>];
    };
}

pub(super) use normalize_kernels;
