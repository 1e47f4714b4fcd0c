//! The body of a fused group normalisation over a run of pixels, written once as a macro over the
//! vector operations of an instruction set (`micro_tile` lists them).
//!
//! Which pixels, and which pixel of gain and shift belongs to them, is emitted code, in
//! `codegen::norm`; so are the coefficients.

use crate::element::Element;
use crate::isa::Isa;

/// Normalises, modulates, activates: called as `normalize(from, to, coefficients, gain, shift,
/// channels, pixels)`.
///
/// `to = activation(((from - mean) * a + b) * gain + shift)` for `pixels` pixels one behind the
/// other; mean, a and b, one each a channel, follow each other at `coefficients`. (With the mean in
/// b, what both are rounded by would stay where an input is as large as its mean.) All pixels take the same gain and
/// shift, one each a channel; a variant without modulation does not read them. Coefficients are
/// f32; what the others are in memory, the variant says.
///
/// # Safety
///
/// The CPU runs the instruction set; what is named is readable, or writable, aligned as its
/// elements are; `to` overlaps nothing, or is `from` in the same elements.
pub(crate) type NormalizeFn = unsafe extern "C" fn(
    from: *const u8,
    to: *mut u8,
    coefficients: *const f32,
    gain: *const u8,
    shift: *const u8,
    channels: usize,
    pixels: usize,
);

/// A variant of the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormalizeVariant {
    /// Whether it multiplies by a gain and adds a shift.
    pub modulated: bool,
    /// Whether it applies SiLU.
    pub silu: bool,
    /// Elements of input, gain and shift.
    pub from: Element,
    /// Elements of the result.
    pub to: Element,
}

impl NormalizeVariant {
    /// The symbol under which emitted code calls the kernel.
    pub(crate) fn symbol(self, isa: Isa) -> String {
        let Self { modulated, silu, from, to } = self;
        let (modulated, silu) = (if modulated { "_modulated" } else { "" }, if silu { "_silu" } else { "" });
        format!("{isa}_normalize{modulated}{silu}_{}_{}", from.name(), to.name())
    }
}

/// Defines `NORMALIZE`, the kernel's forms, over the vector operations in scope.
macro_rules! normalize_kernels {
    ($(#[$feature:meta])*) => {
        /// `2^x` to about 2 units in the last place, of numbers from -126 to 126; NaN stays NaN.
        ///
        /// `2^n * 2^f` with `n` the nearest whole number to x and `2^f` its Taylor polynomial in
        /// `f * ln(2)`, |f| <= 1/2, whose remainder is below 2e-8.
        #[inline]
        $(#[$feature])*
        fn power_of_two(x: Vector) -> Vector {
            // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits.
            let magic = splat(12_582_912.0);
            let shifted = add(x, magic);
            let f = subtract(x, subtract(shifted, magic));
            let mut power = splat(1.540_353e-4);
            for coefficient in
                [1.333_355_8e-3, 9.618_129e-3, 5.550_411e-2, 2.402_265e-1, std::f32::consts::LN_2, 1.0]
            {
                power = multiply_add(power, f, splat(coefficient));
            }
            scale_by_power(power, shifted)
        }

        /// `x / (1 + exp(-x))` to about 2 units in the last place; NaN stays NaN.
        #[inline]
        $(#[$feature])*
        fn silu(x: Vector) -> Vector {
            // Beyond 2^±126 the result is -0 or x to the last bit.
            let scaled = clamp(multiply(x, splat(-std::f32::consts::LOG2_E)), splat(-126.0), splat(126.0));
            divide(x, add(power_of_two(scaled), splat(1.0)))
        }

        /// See [`NormalizeFn`](super::normalize::NormalizeFn); `FROM` and `TO` are places in
        /// `Element::ALL`.
        $(#[$feature])*
        unsafe extern "C" fn normalize<const MODULATED: bool, const SILU: bool, const FROM: usize, const TO: usize>(
            from: *const u8,
            to: *mut u8,
            coefficients: *const f32,
            gain: *const u8,
            shift: *const u8,
            channels: usize,
            pixels: usize,
        ) {
            for pixel in 0..pixels {
                for channel in (0..channels).step_by(LANES) {
                    let lanes = mask(channels - channel);
                    let at = pixel * channels + channel;
                    // SAFETY: the mask leaves only channels that exist, here and below.
                    let coefficient = |at| unsafe { load_masked(coefficients.wrapping_add(at), lanes) };
                    // SAFETY: as above.
                    let read = |from: *const u8, at| unsafe {
                        match const { $crate::element::Element::ALL[FROM] } {
                            $crate::element::Element::F32 => load_masked(from.cast::<f32>().wrapping_add(at), lanes),
                            $crate::element::Element::Bf16 => load_bf16(from.cast::<u16>().wrapping_add(at), lanes),
                        }
                    };
                    let centered = subtract(read(from, at), coefficient(channel));
                    let (a, b) = (coefficient(channels + channel), coefficient(2 * channels + channel));
                    let mut y = multiply_add(centered, a, b);
                    if MODULATED {
                        y = multiply_add(y, read(gain, channel), read(shift, channel));
                    }
                    if SILU {
                        y = silu(y);
                    }
                    // SAFETY: as above.
                    unsafe {
                        match const { $crate::element::Element::ALL[TO] } {
                            $crate::element::Element::F32 => store_masked(to.cast::<f32>().wrapping_add(at), lanes, y),
                            $crate::element::Element::Bf16 => store_bf16(to.cast::<u16>().wrapping_add(at), lanes, y),
                        }
                    }
                }
            }
        }

        /// The kernel with each of its forms.
        pub(super) static NORMALIZE: [(
            $crate::panel::normalize::NormalizeVariant,
            $crate::panel::normalize::NormalizeFn,
        ); 12] = {
            use $crate::element::Element;
            use $crate::panel::normalize::{NormalizeVariant, NormalizeFn};
            // Places in `Element::ALL`.
            const F32: usize = Element::F32 as usize;
            const BF16: usize = Element::Bf16 as usize;
            const fn variant<const MODULATED: bool, const SILU: bool, const FROM: usize, const TO: usize>()
            -> (NormalizeVariant, NormalizeFn) {
                let (from, to) = (Element::ALL[FROM], Element::ALL[TO]);
                let variant = NormalizeVariant { modulated: MODULATED, silu: SILU, from, to };
                (variant, normalize::<MODULATED, SILU, FROM, TO>)
            }
            [
                variant::<false, false, F32, F32>(),
                variant::<false, true, F32, F32>(),
                variant::<true, false, F32, F32>(),
                variant::<true, true, F32, F32>(),
                variant::<false, false, BF16, BF16>(),
                variant::<false, true, BF16, BF16>(),
                variant::<true, false, BF16, BF16>(),
                variant::<true, true, BF16, BF16>(),
                variant::<false, false, BF16, F32>(),
                variant::<false, true, BF16, F32>(),
                variant::<true, false, BF16, F32>(),
                variant::<true, true, BF16, F32>(),
            ]
        };
    };
}

pub(super) use normalize_kernels;
