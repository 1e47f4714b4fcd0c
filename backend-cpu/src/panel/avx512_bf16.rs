//! Contraction panels of bf16 for AVX-512 with dot products: the families of 14 x 32 and 28 x 16.
//!
//! A word of A and of B holds two neighbours along k. The instruction multiplies both and adds them
//! to the sum in f32, subnormal numbers taken as zero. All else is as in `avx512`, on words instead
//! of numbers.

use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps};

use super::PanelShape;
use super::avx512::{
    LANES, UNROLL, Vector, add, broadcast, load, load_masked, mask, opaque, prefetch, prefetch_second, store_masked,
    zero,
};
use super::family::panel_family;
use super::micro_tile::{CACHE_LINE, GROUP, GROUPS, for_rows, micro_tile_kernel, micro_tile_step, unrolled};
use crate::element::Element;
use crate::isa::Isa;

/// `a * b + c`, of both halves of each word of `a` and `b`.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
    // SAFETY: both types are 512 bits, any of which are valid.
    let [a, b] = [a, b].map(|words| unsafe { std::mem::transmute::<__m512, __m512bh>(words) });
    _mm512_dpbf16_ps(c, a, b)
}

micro_tile_kernel!(#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16")]);

panel_family! {
    /// The wide family: 28 dot products for 16 loads.
    WIDE = avx512_bf16_14x32: Isa::Avx512, Element::Bf16, 16 lanes, 2 vectors, rows [1 2 3 4 5 6 7 8 9 10 11 12 13 14]
}

panel_family! {
    /// The narrow family, for 16 output channels or fewer: 28 dot products for 29 loads.
    NARROW = avx512_bf16_28x16: Isa::Avx512, Element::Bf16, 16 lanes, 1 vectors,
        rows [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28]
}
