//! Four f32 lanes, in the vector that the target architecture always has: SSE2 on x86-64, NEON on
//! AArch64, an array elsewhere. The portable panels are built on them.
//!
//! Arrays alone would do, and the compiler would find most of the vectors; but where it does not, a
//! panel loses a third of its speed, and which panels these are changes with every small edit.

#[cfg(target_arch = "aarch64")]
pub(super) use neon::{
    Vector, add, clamp, divide, load, multiply, multiply_add, scale_by_power, splat, store, subtract,
};
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) use plain::{
    Vector, add, clamp, divide, load, multiply, multiply_add, scale_by_power, splat, store, subtract,
};
#[cfg(target_arch = "x86_64")]
pub(super) use sse2::{
    Vector, add, clamp, divide, load, multiply, multiply_add, scale_by_power, splat, store, subtract,
};

/// How many lanes a vector has.
pub(super) const LANES: usize = 4;

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128, _mm_add_epi32, _mm_add_ps, _mm_castps_si128, _mm_castsi128_ps, _mm_div_ps, _mm_loadu_ps, _mm_max_ps,
        _mm_min_ps, _mm_mul_ps, _mm_set1_ps, _mm_slli_epi32, _mm_storeu_ps, _mm_sub_ps,
    };

    pub(in super::super) type Vector = __m128;

    #[inline(always)]
    pub(in super::super) fn splat(value: f32) -> Vector {
        // SAFETY: every x86-64 target has SSE2.
        unsafe { _mm_set1_ps(value) }
    }

    #[inline(always)]
    pub(in super::super) fn load(from: &[f32; super::LANES]) -> Vector {
        // SAFETY: the array has four elements, and the load needs no alignment.
        unsafe { _mm_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    pub(in super::super) fn store(to: &mut [f32; super::LANES], value: Vector) {
        // SAFETY: the array has four elements, and the store needs no alignment.
        unsafe { _mm_storeu_ps(to.as_mut_ptr(), value) }
    }

    /// Rounds twice: there is no fused form in SSE2.
    #[inline(always)]
    pub(in super::super) fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
        // SAFETY: every x86-64 target has SSE2.
        unsafe { _mm_add_ps(_mm_mul_ps(a, b), c) }
    }

    #[inline(always)]
    pub(in super::super) fn add(a: Vector, b: Vector) -> Vector {
        // SAFETY: every x86-64 target has SSE2.
        unsafe { _mm_add_ps(a, b) }
    }

    #[inline(always)]
    pub(in super::super) fn subtract(a: Vector, b: Vector) -> Vector {
        // SAFETY: every x86-64 target has SSE2.
        unsafe { _mm_sub_ps(a, b) }
    }

    #[inline(always)]
    pub(in super::super) fn multiply(a: Vector, b: Vector) -> Vector {
        // SAFETY: every x86-64 target has SSE2.
        unsafe { _mm_mul_ps(a, b) }
    }

    #[inline(always)]
    pub(in super::super) fn divide(a: Vector, b: Vector) -> Vector {
        // SAFETY: every x86-64 target has SSE2.
        unsafe { _mm_div_ps(a, b) }
    }

    /// The second operand is what the instructions give where one is NaN.
    #[inline(always)]
    pub(in super::super) fn clamp(x: Vector, low: Vector, high: Vector) -> Vector {
        // SAFETY: every x86-64 target has SSE2.
        unsafe { _mm_max_ps(low, _mm_min_ps(high, x)) }
    }

    /// `x * 2^n`, with n in the low bits of `shifted`.
    #[inline(always)]
    pub(in super::super) fn scale_by_power(x: Vector, shifted: Vector) -> Vector {
        // SAFETY: every x86-64 target has SSE2.
        unsafe {
            let exponent = _mm_slli_epi32::<23>(_mm_castps_si128(shifted));
            _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(x), exponent))
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::{
        float32x4_t, vaddq_f32, vaddq_s32, vdivq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32, vmaxq_f32, vminq_f32,
        vmulq_f32, vreinterpretq_f32_s32, vreinterpretq_s32_f32, vshlq_n_s32, vst1q_f32, vsubq_f32,
    };

    pub(in super::super) type Vector = float32x4_t;

    #[inline(always)]
    pub(in super::super) fn splat(value: f32) -> Vector {
        // SAFETY: every AArch64 target has NEON.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    pub(in super::super) fn load(from: &[f32; super::LANES]) -> Vector {
        // SAFETY: the array has four elements, aligned as elements are.
        unsafe { vld1q_f32(from.as_ptr()) }
    }

    #[inline(always)]
    pub(in super::super) fn store(to: &mut [f32; super::LANES], value: Vector) {
        // SAFETY: the array has four elements, aligned as elements are.
        unsafe { vst1q_f32(to.as_mut_ptr(), value) }
    }

    #[inline(always)]
    pub(in super::super) fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
        // SAFETY: every AArch64 target has NEON.
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    pub(in super::super) fn add(a: Vector, b: Vector) -> Vector {
        // SAFETY: every AArch64 target has NEON.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    pub(in super::super) fn subtract(a: Vector, b: Vector) -> Vector {
        // SAFETY: every AArch64 target has NEON.
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    pub(in super::super) fn multiply(a: Vector, b: Vector) -> Vector {
        // SAFETY: every AArch64 target has NEON.
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    pub(in super::super) fn divide(a: Vector, b: Vector) -> Vector {
        // SAFETY: every AArch64 target has NEON.
        unsafe { vdivq_f32(a, b) }
    }

    /// Where an operand is NaN, so is the result.
    #[inline(always)]
    pub(in super::super) fn clamp(x: Vector, low: Vector, high: Vector) -> Vector {
        // SAFETY: every AArch64 target has NEON.
        unsafe { vmaxq_f32(low, vminq_f32(high, x)) }
    }

    /// `x * 2^n`, with n in the low bits of `shifted`.
    #[inline(always)]
    pub(in super::super) fn scale_by_power(x: Vector, shifted: Vector) -> Vector {
        // SAFETY: every AArch64 target has NEON.
        unsafe {
            let exponent = vshlq_n_s32::<23>(vreinterpretq_s32_f32(shifted));
            vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x), exponent))
        }
    }
}

#[cfg(any(test, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod plain {
    pub(in super::super) type Vector = [f32; super::LANES];

    #[inline(always)]
    pub(in super::super) fn splat(value: f32) -> Vector {
        [value; super::LANES]
    }

    #[inline(always)]
    pub(in super::super) fn load(from: &[f32; super::LANES]) -> Vector {
        *from
    }

    #[inline(always)]
    pub(in super::super) fn store(to: &mut [f32; super::LANES], value: Vector) {
        *to = value;
    }

    /// Rounds twice: a fused form would be a library call where the architecture has none.
    #[inline(always)]
    pub(in super::super) fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
        std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
    }

    #[inline(always)]
    pub(in super::super) fn add(a: Vector, b: Vector) -> Vector {
        std::array::from_fn(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    pub(in super::super) fn subtract(a: Vector, b: Vector) -> Vector {
        std::array::from_fn(|lane| a[lane] - b[lane])
    }

    #[inline(always)]
    pub(in super::super) fn multiply(a: Vector, b: Vector) -> Vector {
        std::array::from_fn(|lane| a[lane] * b[lane])
    }

    #[inline(always)]
    pub(in super::super) fn divide(a: Vector, b: Vector) -> Vector {
        std::array::from_fn(|lane| a[lane] / b[lane])
    }

    /// Where x is NaN, so is the result.
    #[inline(always)]
    pub(in super::super) fn clamp(x: Vector, low: Vector, high: Vector) -> Vector {
        std::array::from_fn(|lane| x[lane].clamp(low[lane], high[lane]))
    }

    /// `x * 2^n`, with n in the low bits of `shifted`.
    #[inline(always)]
    pub(in super::super) fn scale_by_power(x: Vector, shifted: Vector) -> Vector {
        std::array::from_fn(|lane| f32::from_bits(x[lane].to_bits().wrapping_add(shifted[lane].to_bits() << 23)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_vector_agrees_with_the_array() {
        let (a, b, c) = ([1.0, 2.0, -3.0, 0.5], [4.0, -5.0, 6.0, 8.0], [0.25, 7.0, -1.0, 3.0]);
        let mut found = [0.0; LANES];
        let sum = add(multiply_add(load(&a), load(&b), load(&c)), splat(2.0));
        let difference = subtract(sum, multiply(load(&b), load(&c)));
        let bounded = clamp(divide(difference, load(&a)), splat(-20.0), splat(20.0));
        store(&mut found, scale_by_power(bounded, splat(12_582_912.0 + 3.0)));
        let mut expected = [0.0; LANES];
        let sum = plain::multiply_add(plain::load(&a), plain::load(&b), plain::load(&c));
        let sum = plain::add(sum, plain::splat(2.0));
        let product = plain::multiply(plain::load(&b), plain::load(&c));
        let difference = plain::subtract(sum, product);
        let bounded = plain::clamp(plain::divide(difference, plain::load(&a)), plain::splat(-20.0), plain::splat(20.0));
        plain::store(&mut expected, plain::scale_by_power(bounded, plain::splat(12_582_912.0 + 3.0)));
        assert_eq!(found, expected);
    }
}
