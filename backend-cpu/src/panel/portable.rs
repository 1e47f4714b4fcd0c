//! Contraction panels on four lanes, which every architecture has: the families of 4 x 8 and 8 x 4.
//!
//! The lanes are in `lanes`. What the panel does with these operations is in `micro_tile`.

use half::bf16;

use super::channel_norm::channel_norm_kernels;
use super::family::panel_family;
use super::lanes::{self, LANES, Vector, add, clamp, divide, multiply, multiply_add, scale_by_power, splat, subtract};
use super::micro_tile::{CACHE_LINE, GROUP, GROUPS, for_rows, micro_tile_kernel, micro_tile_step, unrolled};
use super::normalize::normalize_kernels;
use super::softmax::softmax_kernels;
use super::transform::{POINT_A, POINT_B, transform_kernels};
use super::{InstructionSet, PanelShape};
use crate::element::Element;
use crate::isa::Isa;

const UNROLL: usize = 2;

/// How many lanes exist, from the first.
type Mask = usize;

type Wide = [f64; LANES];

#[inline(always)]
fn zero() -> Vector {
    lanes::splat(0.0)
}

#[inline(always)]
fn mask(lanes: usize) -> Mask {
    lanes.min(LANES)
}

#[inline(always)]
unsafe fn load(from: *const f32) -> Vector {
    // SAFETY: the caller's promise: a whole vector is readable, and an array is aligned as its
    // elements are.
    lanes::load(unsafe { &*from.cast() })
}

#[inline(always)]
unsafe fn broadcast(from: *const f32) -> Vector {
    // SAFETY: the caller's promise: one element is readable.
    lanes::splat(unsafe { *from })
}

#[inline(always)]
unsafe fn load_masked(from: *const f32, mask: Mask) -> Vector {
    if mask == LANES {
        // SAFETY: the caller's promise: the mask's lanes are readable, and these are all.
        return unsafe { load(from) };
    }
    let mut values = [0.0; LANES];
    for (lane, value) in values[..mask].iter_mut().enumerate() {
        // SAFETY: the caller's promise: the mask's lanes are readable.
        *value = unsafe { *from.add(lane) };
    }
    lanes::load(&values)
}

#[inline(always)]
unsafe fn store_masked(to: *mut f32, mask: Mask, vector: Vector) {
    if mask == LANES {
        // SAFETY: the caller's promise: the mask's lanes are writable, and these are all; an array
        // is aligned as its elements are.
        lanes::store(unsafe { &mut *to.cast() }, vector);
        return;
    }
    let mut values = [0.0; LANES];
    lanes::store(&mut values, vector);
    for (lane, value) in values[..mask].iter().enumerate() {
        // SAFETY: the caller's promise: the mask's lanes are writable.
        unsafe { *to.add(lane) = *value };
    }
}

/// No such store in plain Rust.
#[inline(always)]
unsafe fn stream(to: *mut f32, value: Vector) {
    // SAFETY: the caller's promise: a whole vector is writable; an array is aligned as its elements
    // are.
    lanes::store(unsafe { &mut *to.cast() }, value);
}

#[inline(always)]
fn wide_zero() -> Wide {
    [0.0; LANES]
}

#[inline(always)]
fn add_wide(sum: Wide, a: Vector, b: Vector) -> Wide {
    let [mut x, mut y] = [[0.0; LANES]; 2];
    lanes::store(&mut x, a);
    lanes::store(&mut y, b);
    std::array::from_fn(|lane| sum[lane] + f64::from(x[lane]) * f64::from(y[lane]))
}

#[inline(always)]
unsafe fn store_wide(to: *mut f64, sum: Wide) {
    for (lane, sum) in sum.into_iter().enumerate() {
        // SAFETY: the caller's promise: as many f64 as a vector has lanes are readable and
        // writable.
        unsafe { *to.add(lane) += sum };
    }
}

#[inline(always)]
unsafe fn load_bf16(from: *const u16, mask: Mask) -> Vector {
    let mut values = [0.0; LANES];
    for (lane, value) in values[..mask].iter_mut().enumerate() {
        // SAFETY: the caller's promise: the mask's lanes are readable.
        *value = bf16::from_bits(unsafe { *from.add(lane) }).to_f32();
    }
    lanes::load(&values)
}

/// Each lane as the bf16 that is stored.
#[inline(always)]
fn rounded(vector: Vector) -> Vector {
    let mut values = [0.0; LANES];
    lanes::store(&mut values, vector);
    lanes::load(&values.map(|value| bf16::from_f32(value).to_f32()))
}

#[inline(always)]
unsafe fn store_bf16(to: *mut u16, mask: Mask, vector: Vector) {
    let mut values = [0.0; LANES];
    lanes::store(&mut values, vector);
    for (lane, value) in values[..mask].iter().enumerate() {
        // SAFETY: the caller's promise: the mask's lanes are writable.
        unsafe { *to.add(lane) = bf16::from_f32(*value).to_bits() };
    }
}

/// No such store in plain Rust.
#[inline(always)]
unsafe fn stream_bf16(to: *mut u16, vector: Vector) {
    // SAFETY: the caller's promise: a whole vector is writable.
    unsafe { store_bf16(to, LANES, vector) }
}

/// No such hint in plain Rust.
#[inline(always)]
fn prefetch(_at: *const f32) {}

#[inline(always)]
fn prefetch_second(_at: *const f32) {}

/// There are registers enough for so few rows: nothing to hide.
#[inline(always)]
fn opaque(value: usize) -> usize {
    value
}

micro_tile_kernel!();
transform_kernels!();
normalize_kernels!();
channel_norm_kernels!();
softmax_kernels!();

panel_family! {
    /// The wide family.
    WIDE = portable_f32_4x8: Isa::Portable, Element::F32, 4 lanes, 2 vectors, rows [1 2 3 4]
}

panel_family! {
    /// The narrow family, for 4 output channels or fewer.
    NARROW = portable_f32_8x4: Isa::Portable, Element::F32, 4 lanes, 1 vectors, rows [1 2 3 4 5 6 7 8]
}

/// What every CPU has.
pub(crate) static INSTRUCTION_SET: InstructionSet = InstructionSet {
    is_supported: || true,
    cranelift_features: &[],
    panels: [&WIDE, &NARROW],
    dot_products: None,
    transforms: &TRANSFORMS,
    normalizations: &NORMALIZE,
    channel_norms: &CHANNEL_NORM,
    softmax,
};
