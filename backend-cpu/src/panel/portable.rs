//! Contraction panels in plain Rust: arrays of four lanes that the compiler turns into the baseline's vectors (SSE2 on
//! x86-64, NEON on AArch64), and the families of 4 x 8 and 8 x 4.
//!
//! What the panel does with these operations is in `tile`.

use super::PanelShape;
use super::family::panel_family;
use super::tile::{GROUP, GROUPS, for_rows, tile_kernel, tile_step, unrolled};
use crate::isa::Isa;

const LANES: usize = 4;
const UNROLL: usize = 1;

type Vector = [f32; LANES];
/// How many lanes exist, from the first.
type Mask = usize;

#[inline(always)]
fn zero() -> Vector {
    [0.0; LANES]
}

#[inline(always)]
fn mask(lanes: usize) -> Mask {
    lanes.min(LANES)
}

#[inline(always)]
unsafe fn load(from: *const f32) -> Vector {
    // SAFETY: the caller's promise: a whole vector is readable, and an array is aligned as its elements are.
    unsafe { *from.cast::<Vector>() }
}

#[inline(always)]
unsafe fn broadcast(from: *const f32) -> Vector {
    // SAFETY: the caller's promise: one element is readable.
    [unsafe { *from }; LANES]
}

#[inline(always)]
unsafe fn load_masked(from: *const f32, mask: Mask) -> Vector {
    if mask == LANES {
        // SAFETY: the caller's promise: the mask's lanes are readable, and these are all.
        return unsafe { load(from) };
    }
    let mut value = zero();
    for lane in 0..mask {
        // SAFETY: the caller's promise: the mask's lanes are readable.
        value[lane] = unsafe { *from.add(lane) };
    }
    value
}

#[inline(always)]
unsafe fn store_masked(to: *mut f32, mask: Mask, value: Vector) {
    if mask == LANES {
        // SAFETY: the caller's promise: the mask's lanes are writable, and these are all.
        unsafe { *to.cast::<Vector>() = value };
        return;
    }
    for lane in 0..mask {
        // SAFETY: the caller's promise: the mask's lanes are writable.
        unsafe { *to.add(lane) = value[lane] };
    }
}

/// Fused where the baseline fuses; SSE2 does not, and `mul_add` would be a library call there.
#[inline(always)]
fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
    let mut sum = c;
    for lane in 0..LANES {
        sum[lane] =
            if cfg!(target_arch = "aarch64") { a[lane].mul_add(b[lane], sum[lane]) } else { a[lane] * b[lane] + sum[lane] };
    }
    sum
}

#[inline(always)]
fn add(a: Vector, b: Vector) -> Vector {
    let mut sum = a;
    for lane in 0..LANES {
        sum[lane] += b[lane];
    }
    sum
}

/// No such hint in plain Rust.
#[inline(always)]
fn prefetch(_at: *const f32) {}

/// There are registers enough for so few rows: nothing to hide.
#[inline(always)]
fn opaque(value: usize) -> usize {
    value
}

tile_kernel!();

panel_family! {
    /// The wide family.
    WIDE = portable_f32_4x8: Isa::Portable, 4 lanes, 2 vectors, rows [1 2 3 4]
}

panel_family! {
    /// The narrow family, for 4 output channels or fewer.
    NARROW = portable_f32_8x4: Isa::Portable, 4 lanes, 1 vectors, rows [1 2 3 4 5 6 7 8]
}
