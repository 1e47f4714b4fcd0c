//! The body of a normalisation over the channels of each pixel, written once as a macro over the
//! vector operations of an instruction set (`micro_tile` lists them) and the SiLU of `normalize`.
//!
//! A pixel is read twice, the second time from the nearest cache: for its sums, and to be divided.
//! Sums are in f64, so that neither the number of channels nor the cancellation in `E[x²] - E[x]²`
//! costs a bit of an f32 result. Which pixels are normalised is emitted code, in
//! `codegen::channel_norm`.

use crate::element::Element;
use crate::isa::Isa;

/// Normalises, scales, activates: called as `channel_norm(from, to, scale, offset, channels,
/// pixels, floor, epsilon)`.
///
/// `to = activation((from - mean) * factor * scale + offset)` for `pixels` pixels one behind the
/// other, each with a mean and a [`factor`] of its own; the mean of a variant that is not centered
/// is zero. Scale and offset are f32, one each a channel, or null; what the others are in memory,
/// the variant says. `epsilon` is the bits of an f64.
///
/// # Safety
///
/// The CPU runs the instruction set; what is named is readable, or writable, aligned as its
/// elements are; `to` overlaps nothing, or is `from` in the same elements.
pub(crate) type ChannelNormFn = unsafe extern "C" fn(
    from: *const u8,
    to: *mut u8,
    scale: *const f32,
    offset: *const f32,
    channels: usize,
    pixels: usize,
    floor: usize,
    epsilon: u64,
);

/// A variant of the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChannelNormVariant {
    /// Whether it subtracts the mean.
    pub centered: bool,
    /// Whether it applies SiLU.
    pub silu: bool,
    /// Elements of the input.
    pub from: Element,
    /// Elements of the result.
    pub to: Element,
}

impl ChannelNormVariant {
    /// The symbol under which emitted code calls the kernel.
    pub(crate) fn symbol(self, isa: Isa) -> String {
        let Self { centered, silu, from, to } = self;
        let (centered, silu) = (if centered { "_centered" } else { "" }, if silu { "_silu" } else { "" });
        format!("{isa}_channel_norm{centered}{silu}_{}_{}", from.name(), to.name())
    }
}

/// What the difference to the mean is multiplied with, where the channels' mean square about it is
/// `mean_square`: `floor` says whether epsilon is the least that their Euclidean norm may be, or is
/// added to the mean square. NaN stays NaN.
pub(super) fn factor(mean_square: f64, channels: f64, floor: bool, epsilon: f64) -> f64 {
    match floor {
        true if (mean_square * channels).sqrt() < epsilon => channels.sqrt() / epsilon,
        true => 1.0 / mean_square.sqrt(),
        false => 1.0 / (mean_square + epsilon).sqrt(),
    }
}

/// Defines `CHANNEL_NORM`, the kernel's forms, over the vector operations in scope.
macro_rules! channel_norm_kernels {
    ($(#[$feature:meta])*) => {
        /// The sum of the lanes.
        #[inline]
        $(#[$feature])*
        fn total(sum: Wide) -> f64 {
            let mut lanes = [0.0; LANES];
            // SAFETY: there are as many f64 as a vector has lanes.
            unsafe { store_wide(lanes.as_mut_ptr(), sum) };
            lanes.iter().sum()
        }

        /// See [`ChannelNormFn`](super::channel_norm::ChannelNormFn); `FROM` and `TO` are places in
        /// `Element::ALL`.
        #[allow(clippy::too_many_arguments, reason = "the calling convention of the kernel")]
        $(#[$feature])*
        unsafe extern "C" fn channel_norm<const CENTERED: bool, const SILU: bool, const FROM: usize, const TO: usize>(
            from: *const u8,
            to: *mut u8,
            scale: *const f32,
            offset: *const f32,
            channels: usize,
            pixels: usize,
            floor: usize,
            epsilon: u64,
        ) {
            let (count, one) = (channels as f64, splat(1.0));
            for pixel in 0..pixels {
                let first = pixel * channels;
                // SAFETY: the mask leaves only channels that exist, here and below; the others load
                // as zero.
                let read = |channel, lanes| unsafe {
                    match const { $crate::element::Element::ALL[FROM] } {
                        $crate::element::Element::F32 => {
                            load_masked(from.cast::<f32>().wrapping_add(first + channel), lanes)
                        }
                        $crate::element::Element::Bf16 => {
                            load_bf16(from.cast::<u16>().wrapping_add(first + channel), lanes)
                        }
                    }
                };
                let (mut sum, mut squares) = (wide_zero(), wide_zero());
                for channel in (0..channels).step_by(LANES) {
                    let x = read(channel, mask(channels - channel));
                    if CENTERED {
                        sum = add_wide(sum, x, one);
                    }
                    squares = add_wide(squares, x, x);
                }
                let mean = if CENTERED { total(sum) / count } else { 0.0 };
                let mut mean_square = total(squares) / count;
                if CENTERED {
                    // Rounding may leave it below zero; the comparison is false for NaN, which
                    // stays.
                    mean_square -= mean * mean;
                    mean_square = if mean_square < 0.0 { 0.0 } else { mean_square };
                }
                let factor = super::channel_norm::factor(mean_square, count, floor != 0, f64::from_bits(epsilon));
                let factor = splat(factor as f32);
                // What is left of the mean behind f32's digits.
                let (high, low) = (splat(mean as f32), splat((mean - f64::from(mean as f32)) as f32));
                for channel in (0..channels).step_by(LANES) {
                    let lanes = mask(channels - channel);
                    let mut y = read(channel, lanes);
                    if CENTERED {
                        y = subtract(subtract(y, high), low);
                    }
                    y = multiply(y, factor);
                    if !scale.is_null() {
                        // SAFETY: as above.
                        y = multiply(y, unsafe { load_masked(scale.wrapping_add(channel), lanes) });
                    }
                    if !offset.is_null() {
                        // SAFETY: as above.
                        y = add(y, unsafe { load_masked(offset.wrapping_add(channel), lanes) });
                    }
                    if SILU {
                        y = silu(y);
                    }
                    // SAFETY: as above.
                    unsafe {
                        match const { $crate::element::Element::ALL[TO] } {
                            $crate::element::Element::F32 => {
                                store_masked(to.cast::<f32>().wrapping_add(first + channel), lanes, y);
                            }
                            $crate::element::Element::Bf16 => {
                                store_bf16(to.cast::<u16>().wrapping_add(first + channel), lanes, y);
                            }
                        }
                    }
                }
            }
        }

        /// The kernel with each of its forms.
        pub(super) static CHANNEL_NORM: [(
            $crate::panel::channel_norm::ChannelNormVariant,
            $crate::panel::channel_norm::ChannelNormFn,
        ); 12] = {
            use $crate::element::Element;
            use $crate::panel::channel_norm::{ChannelNormFn, ChannelNormVariant};
            // Places in `Element::ALL`.
            const F32: usize = Element::F32 as usize;
            const BF16: usize = Element::Bf16 as usize;
            const fn variant<const CENTERED: bool, const SILU: bool, const FROM: usize, const TO: usize>()
            -> (ChannelNormVariant, ChannelNormFn) {
                let (from, to) = (Element::ALL[FROM], Element::ALL[TO]);
                let variant = ChannelNormVariant { centered: CENTERED, silu: SILU, from, to };
                (variant, channel_norm::<CENTERED, SILU, FROM, TO>)
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

pub(super) use channel_norm_kernels;
