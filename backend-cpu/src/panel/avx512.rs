//! Contraction panels for AVX-512: the vector operations, and the families of 14 x 32 and 28 x 16.
//!
//! 28 of the 32 registers hold C. What the panel does with these operations is in `micro_tile`.

use std::arch::asm;
use std::arch::x86_64::{
    __m256i, __m512, __m512d, __mmask16, _CMP_UNORD_Q, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch,
    _mm256_mask_storeu_epi16, _mm256_maskz_loadu_epi16, _mm256_stream_si256, _mm512_add_epi32, _mm512_add_pd,
    _mm512_add_ps, _mm512_and_epi32, _mm512_castps_si512, _mm512_castps512_ps256, _mm512_castsi512_ps,
    _mm512_cmp_ps_mask, _mm512_cvtepi32_epi16, _mm512_cvtepu16_epi32, _mm512_cvtps_pd, _mm512_div_ps,
    _mm512_extractf32x8_ps, _mm512_fmadd_pd, _mm512_fmadd_ps, _mm512_loadu_pd, _mm512_loadu_ps, _mm512_mask_or_epi32,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_pd, _mm512_setzero_ps, _mm512_slli_epi32, _mm512_srli_epi32, _mm512_storeu_pd,
    _mm512_stream_ps, _mm512_sub_ps,
};

use super::channel_norm::channel_norm_kernels;
use super::family::panel_family;
use super::instruction_set::DotProductPanels;
use super::micro_tile::{CACHE_LINE, GROUP, GROUPS, for_rows, micro_tile_kernel, micro_tile_step, unrolled};
use super::normalize::normalize_kernels;
use super::softmax::softmax_kernels;
use super::transform::{POINT_A, POINT_B, transform_kernels};
use super::{InstructionSet, PanelShape};
use crate::element::Element;
use crate::isa::Isa;

pub(super) const LANES: usize = 16;
pub(super) const UNROLL: usize = 2;

pub(super) type Vector = __m512;
pub(super) type Mask = __mmask16;
type Wide = [__m512d; 2];

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn zero() -> Vector {
    _mm512_setzero_ps()
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn mask(lanes: usize) -> Mask {
    if lanes >= LANES { Mask::MAX } else { (1 << lanes) - 1 }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn load(from: *const f32) -> Vector {
    // SAFETY: the caller's promise: a whole vector is readable.
    unsafe { _mm512_loadu_ps(from) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn broadcast(from: *const f32) -> Vector {
    // SAFETY: the caller's promise: one element is readable.
    _mm512_set1_ps(unsafe { *from })
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn load_masked(from: *const f32, mask: Mask) -> Vector {
    // SAFETY: the caller's promise: the mask's lanes are readable; the instruction touches no
    // others.
    unsafe { _mm512_maskz_loadu_ps(mask, from) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn store_masked(to: *mut f32, mask: Mask, value: Vector) {
    // SAFETY: the caller's promise: the mask's lanes are writable; the instruction touches no
    // others.
    unsafe { _mm512_mask_storeu_ps(to, mask, value) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
    _mm512_fmadd_ps(a, b, c)
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn add(a: Vector, b: Vector) -> Vector {
    _mm512_add_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn subtract(a: Vector, b: Vector) -> Vector {
    _mm512_sub_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn multiply(a: Vector, b: Vector) -> Vector {
    _mm512_mul_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn splat(value: f32) -> Vector {
    _mm512_set1_ps(value)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn divide(a: Vector, b: Vector) -> Vector {
    _mm512_div_ps(a, b)
}

/// The second operand is what the instructions give where one is NaN.
#[inline]
#[target_feature(enable = "avx512f")]
fn clamp(x: Vector, low: Vector, high: Vector) -> Vector {
    _mm512_max_ps(low, _mm512_min_ps(high, x))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn scale_by_power(x: Vector, shifted: Vector) -> Vector {
    let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
    _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), exponent))
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn stream(to: *mut f32, value: Vector) {
    // SAFETY: the caller's promise: a whole vector is writable, and aligned.
    unsafe { _mm512_stream_ps(to, value) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn wide_zero() -> Wide {
    [_mm512_setzero_pd(); 2]
}

/// The lower and the upper half, as f64.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn widen(x: Vector) -> Wide {
    [_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x)].map(|half| _mm512_cvtps_pd(half))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn add_wide(sum: Wide, a: Vector, b: Vector) -> Wide {
    let (a, b) = (widen(a), widen(b));
    [_mm512_fmadd_pd(a[0], b[0], sum[0]), _mm512_fmadd_pd(a[1], b[1], sum[1])]
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store_wide(to: *mut f64, sum: Wide) {
    for (half, sum) in sum.into_iter().enumerate() {
        let to = to.wrapping_add(half * LANES / 2);
        // SAFETY: the caller's promise: as many f64 as a vector has lanes are readable and
        // writable.
        unsafe { _mm512_storeu_pd(to, _mm512_add_pd(_mm512_loadu_pd(to), sum)) };
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw")]
unsafe fn load_bf16(from: *const u16, mask: Mask) -> Vector {
    // SAFETY: the caller's promise: the mask's lanes are readable; the instruction touches no
    // others.
    let upper = _mm512_cvtepu16_epi32(unsafe { _mm256_maskz_loadu_epi16(mask, from.cast()) });
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(upper))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn narrow(value: Vector) -> __m256i {
    let bits = _mm512_castps_si512(value);
    let odd = _mm512_and_epi32(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value);
    let rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x0040_0000));
    _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded))
}

/// Each lane as the bf16 that is stored.
#[inline]
#[target_feature(enable = "avx512f")]
fn rounded(value: Vector) -> Vector {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(narrow(value))))
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw")]
unsafe fn store_bf16(to: *mut u16, mask: Mask, value: Vector) {
    // SAFETY: the caller's promise: the mask's lanes are writable; the instruction touches no
    // others.
    unsafe { _mm256_mask_storeu_epi16(to.cast(), mask, narrow(value)) }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn stream_bf16(to: *mut u16, value: Vector) {
    // SAFETY: the caller's promise: a whole vector is writable, and aligned.
    unsafe { _mm256_stream_si256(to.cast(), narrow(value)) }
}

#[inline]
pub(super) fn prefetch(at: *const f32) {
    // SAFETY: a prefetch of any address, even a wild one, has no effect that a program can see.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
}

#[inline]
pub(super) fn prefetch_second(at: *const f32) {
    // SAFETY: as above.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
}

#[inline(always)]
pub(super) fn opaque(value: usize) -> usize {
    let mut value = value;
    // SAFETY: no instruction at all. (Not declared `pure`, or the optimiser would move it out of
    // the loop.)
    unsafe { asm!("/* {0} */", inout(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

micro_tile_kernel!(#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]);
transform_kernels!(#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]);
normalize_kernels!(#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]);
channel_norm_kernels!(#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]);
softmax_kernels!(#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]);

panel_family! {
    /// The wide family: 28 multiply-adds for 16 loads.
    WIDE = avx512_f32_14x32: Isa::Avx512, Element::F32, 16 lanes, 2 vectors, rows [1 2 3 4 5 6 7 8 9 10 11 12 13 14]
}

panel_family! {
    /// The narrow family, for 16 output channels or fewer: 28 multiply-adds for 29 loads.
    NARROW = avx512_f32_28x16: Isa::Avx512, Element::F32, 16 lanes, 1 vectors,
        rows [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28]
}

/// AVX-512 F, VL, BW and DQ, and AVX512-BF16 where there is one. Cranelift has no vectors beyond
/// 128 bits: emitted code is AVX2's.
pub(crate) static INSTRUCTION_SET: InstructionSet = InstructionSet {
    is_supported: || {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
    },
    cranelift_features: super::avx2::CRANELIFT_FEATURES,
    panels: [&WIDE, &NARROW],
    dot_products: Some(DotProductPanels {
        is_supported: || is_x86_feature_detected!("avx512bf16"),
        panels: [&super::avx512_bf16::WIDE, &super::avx512_bf16::NARROW],
    }),
    transforms: &TRANSFORMS,
    normalizations: &NORMALIZE,
    channel_norms: &CHANNEL_NORM,
    softmax,
};
