//! Contraction panels for AVX2 and FMA: the vector operations, and the families of 6 x 16 and 12 x
//! 8.
//!
//! 12 of the 16 registers hold C. What the panel does with these operations is in `micro_tile`.

use std::arch::asm;
use std::arch::x86_64::{
    __m128i, __m256, __m256d, __m256i, _CMP_UNORD_Q, _MM_HINT_T0, _MM_HINT_T1, _mm_loadu_si128, _mm_packus_epi32,
    _mm_prefetch, _mm_storeu_si128, _mm_stream_si128, _mm256_add_epi32, _mm256_add_pd, _mm256_add_ps, _mm256_and_si256,
    _mm256_blendv_epi8, _mm256_castps_si256, _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_castsi256_si128,
    _mm256_cmp_ps, _mm256_cmpgt_epi32, _mm256_cvtepu16_epi32, _mm256_cvtps_pd, _mm256_div_ps, _mm256_extractf128_ps,
    _mm256_extracti128_si256, _mm256_fmadd_pd, _mm256_loadu_pd, _mm256_loadu_ps, _mm256_maskload_ps,
    _mm256_maskstore_ps, _mm256_max_ps, _mm256_min_ps, _mm256_movemask_ps, _mm256_mul_ps, _mm256_or_si256,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi32, _mm256_setzero_pd, _mm256_setzero_ps, _mm256_slli_epi32,
    _mm256_srli_epi32, _mm256_storeu_pd, _mm256_storeu_ps, _mm256_stream_ps, _mm256_sub_ps,
};

use super::channel_norm::channel_norm_kernels;
use super::family::panel_family;
use super::micro_tile::{CACHE_LINE, GROUP, GROUPS, for_rows, micro_tile_kernel, micro_tile_step, unrolled};
use super::normalize::normalize_kernels;
use super::softmax::softmax_kernels;
use super::transform::{POINT_A, POINT_B, transform_kernels};
use super::{InstructionSet, PanelShape};
use crate::element::Element;
use crate::isa::Isa;

const LANES: usize = 8;
const UNROLL: usize = 4;

type Vector = __m256;
type Wide = [__m256d; 2];

/// Which lanes exist. A masked store costs dozens of cycles on some CPUs, so whole vectors go
/// another way.
#[derive(Clone, Copy)]
struct Mask {
    lanes: __m256i,
    whole: bool,
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn zero() -> Vector {
    _mm256_setzero_ps()
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn mask(lanes: usize) -> Mask {
    let count = _mm256_set1_epi32(lanes.min(LANES) as i32);
    Mask { lanes: _mm256_cmpgt_epi32(count, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)), whole: lanes >= LANES }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn load(from: *const f32) -> Vector {
    // SAFETY: the caller's promise: a whole vector is readable.
    unsafe { _mm256_loadu_ps(from) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn broadcast(from: *const f32) -> Vector {
    // SAFETY: the caller's promise: one element is readable.
    _mm256_set1_ps(unsafe { *from })
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn load_masked(from: *const f32, mask: Mask) -> Vector {
    if mask.whole {
        // SAFETY: the caller's promise: the mask's lanes are readable, and these are all.
        unsafe { _mm256_loadu_ps(from) }
    } else {
        // SAFETY: the caller's promise: the mask's lanes are readable; the instruction touches no
        // others.
        unsafe { _mm256_maskload_ps(from, mask.lanes) }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store_masked(to: *mut f32, mask: Mask, value: Vector) {
    if mask.whole {
        // SAFETY: the caller's promise: the mask's lanes are writable, and these are all.
        unsafe { _mm256_storeu_ps(to, value) }
    } else {
        // SAFETY: the caller's promise: the mask's lanes are writable; the instruction touches no
        // others.
        unsafe { _mm256_maskstore_ps(to, mask.lanes, value) }
    }
}

/// `a * b + c`, spelled out: of its three forms, the compiler prefers the one that overwrites the
/// broadcast, and then C wanders from register to register and spills.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
    let mut sum = c;
    // SAFETY: arithmetic on registers alone, with an instruction that this function's features
    // name.
    unsafe {
        asm!(
            "vfmadd231ps {sum}, {a}, {b}",
            sum = inout(ymm_reg) sum, a = in(ymm_reg) a, b = in(ymm_reg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn add(a: Vector, b: Vector) -> Vector {
    _mm256_add_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn subtract(a: Vector, b: Vector) -> Vector {
    _mm256_sub_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn multiply(a: Vector, b: Vector) -> Vector {
    _mm256_mul_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn splat(value: f32) -> Vector {
    _mm256_set1_ps(value)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn divide(a: Vector, b: Vector) -> Vector {
    _mm256_div_ps(a, b)
}

/// The second operand is what the instructions give where one is NaN.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn clamp(x: Vector, low: Vector, high: Vector) -> Vector {
    _mm256_max_ps(low, _mm256_min_ps(high, x))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn scale_by_power(x: Vector, shifted: Vector) -> Vector {
    let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(shifted));
    _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), exponent))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn stream(to: *mut f32, value: Vector) {
    // SAFETY: the caller's promise: a whole vector is writable, and aligned.
    unsafe { _mm256_stream_ps(to, value) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn wide_zero() -> Wide {
    [_mm256_setzero_pd(); 2]
}

/// The lower and the upper half, as f64.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn widen(x: Vector) -> Wide {
    [_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x)].map(|half| _mm256_cvtps_pd(half))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_wide(sum: Wide, a: Vector, b: Vector) -> Wide {
    let (a, b) = (widen(a), widen(b));
    [_mm256_fmadd_pd(a[0], b[0], sum[0]), _mm256_fmadd_pd(a[1], b[1], sum[1])]
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store_wide(to: *mut f64, sum: Wide) {
    for (half, sum) in sum.into_iter().enumerate() {
        let to = to.wrapping_add(half * LANES / 2);
        // SAFETY: the caller's promise: as many f64 as a vector has lanes are readable and
        // writable.
        unsafe { _mm256_storeu_pd(to, _mm256_add_pd(_mm256_loadu_pd(to), sum)) };
    }
}

/// How many lanes a mask has.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn count(mask: Mask) -> usize {
    _mm256_movemask_ps(_mm256_castsi256_ps(mask.lanes)).count_ones() as usize
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn load_bf16(from: *const u16, mask: Mask) -> Vector {
    let mut part = [0_u16; LANES];
    let mut from = from;
    if !mask.whole {
        // SAFETY: the caller's promise: the mask's lanes are readable.
        unsafe { std::ptr::copy_nonoverlapping(from, part.as_mut_ptr(), count(mask)) };
        from = part.as_ptr();
    }
    // SAFETY: the whole vector is readable, or it is the array.
    let upper = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(from.cast()) });
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(upper))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn narrow(value: Vector) -> __m128i {
    let bits = _mm256_castps_si256(value);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
    let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(value, value));
    let upper = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan));
    _mm_packus_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256::<1>(upper))
}

/// Each lane as the bf16 that is stored.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn rounded(value: Vector) -> Vector {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(narrow(value))))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store_bf16(to: *mut u16, mask: Mask, value: Vector) {
    let narrow = narrow(value);
    if mask.whole {
        // SAFETY: the caller's promise: the mask's lanes are writable, and these are all.
        return unsafe { _mm_storeu_si128(to.cast(), narrow) };
    }
    let mut part = [0_u16; LANES];
    // SAFETY: a whole vector to an array of its size; of that, what the caller promises is
    // writable.
    unsafe {
        _mm_storeu_si128(part.as_mut_ptr().cast(), narrow);
        std::ptr::copy_nonoverlapping(part.as_ptr(), to, count(mask));
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn stream_bf16(to: *mut u16, value: Vector) {
    // SAFETY: the caller's promise: a whole vector is writable, and aligned.
    unsafe { _mm_stream_si128(to.cast(), narrow(value)) }
}

#[inline]
fn prefetch(at: *const f32) {
    // SAFETY: a prefetch of any address, even a wild one, has no effect that a program can see.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
}

#[inline]
fn prefetch_second(at: *const f32) {
    // SAFETY: as above.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
}

#[inline(always)]
fn opaque(value: usize) -> usize {
    let mut value = value;
    // SAFETY: no instruction at all. (Not declared `pure`, or the optimiser would move it out of
    // the loop.)
    unsafe { asm!("/* {0} */", inout(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

micro_tile_kernel!(#[target_feature(enable = "avx2,fma")]);
transform_kernels!(#[target_feature(enable = "avx2,fma")]);
normalize_kernels!(#[target_feature(enable = "avx2,fma")]);
channel_norm_kernels!(#[target_feature(enable = "avx2,fma")]);
softmax_kernels!(#[target_feature(enable = "avx2,fma")]);

panel_family! {
    /// The wide family: 12 multiply-adds for 8 loads.
    WIDE = avx2_f32_6x16: Isa::Avx2, Element::F32, 8 lanes, 2 vectors, rows [1 2 3 4 5 6]
}

panel_family! {
    /// The narrow family, for 8 output channels or fewer: 12 multiply-adds for 13 loads.
    NARROW = avx2_f32_12x8: Isa::Avx2, Element::F32, 8 lanes, 1 vectors, rows [1 2 3 4 5 6 7 8 9 10 11 12]
}

/// AVX2 and FMA, with what every CPU has beside them.
pub(super) const CRANELIFT_FEATURES: &[&str] = &[
    "has_sse3",
    "has_ssse3",
    "has_sse41",
    "has_sse42",
    "has_popcnt",
    "has_avx",
    "has_avx2",
    "has_fma",
    "has_bmi1",
    "has_bmi2",
    "has_lzcnt",
];

/// AVX2 with FMA.
pub(crate) static INSTRUCTION_SET: InstructionSet = InstructionSet {
    is_supported: || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
    cranelift_features: CRANELIFT_FEATURES,
    panels: [&WIDE, &NARROW],
    dot_products: None,
    transforms: &TRANSFORMS,
    normalizations: &NORMALIZE,
    channel_norms: &CHANNEL_NORM,
    softmax,
};
