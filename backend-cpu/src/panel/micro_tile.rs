//! The body of a contraction panel, written once as a macro over the vector operations of an
//! instruction set.
//!
//! A macro and not a trait, because every function here must carry the instruction set's
//! `target_feature`. The module that expands [`micro_tile_kernel`] names, each with that attribute:
//!
//! | name | what it is |
//! |---|---|
//! | `LANES`, `UNROLL` | f32 lanes of a vector; steps of k in one round of the inner loop |
//! | `Vector`, `Mask` | a vector, and which of its lanes exist |
//! | `zero()`, `mask(n)` | the zero vector; the mask of the first `n` lanes (any `n`) |
//! | `load(p)`, `broadcast(p)` | a whole vector; one element in every lane |
//! | `load_masked(p, m)`, `store_masked(p, m, v)` | touch only lanes of the mask; the others load as zero |
//! | `multiply_add(a, b, c)`, `add(a, b)` | `a * b + c`, `a + b` |
//! | `subtract(a, b)`, `multiply(a, b)`, `splat(x)` | for `transform`, the norms and `softmax`: `a - b`, `a * b`, a constant in every lane |
//! | `divide(a, b)`, `clamp(x, low, high)` | for the norms and `softmax`: `a / b`; x within the bounds, NaN where x is |
//! | `scale_by_power(x, s)` | for the norms and `softmax`: `x * 2^n`, with n in the low bits of `s` |
//! | `stream(p, v)` | for `transform` alone: an aligned store past the caches |
//! | `Wide`, `wide_zero()` | for `transform` and `channel_norm`: as many f64 as a vector has lanes; zeros |
//! | `add_wide(w, a, b)`, `store_wide(p, w)` | `w + a * b` in f64; adds to what is in memory |
//! | `load_bf16(p, m)`, `store_bf16(p, m, v)`, `stream_bf16(p, v)` | the same where memory holds bf16: stores round to the nearest, of two to the even one |
//! | `rounded(v)` | for `transform` alone: each lane as `store_bf16` stores it |
//! | `prefetch(p)`, `prefetch_second(p)` | ask for the cache line of `p`, into the first-level cache or the second-level one |
//! | `opaque(n)` | `n`, of which the optimiser knows nothing |
//!
//! Registers are what this is about. All of C lives in vector registers. The rows of A have no
//! stride known at compile time, and one pointer a row would not fit: rows come in groups of
//! [`GROUP`], each group has one pointer, and inside a group a row is `pointer + {0, 1, 2, 4} *
//! stride`, `{1, 2} * triple` or `1 * quintuple`, which x86-64 addresses without an instruction.
//! `opaque` keeps the optimiser from computing the multiples ahead, into registers that are
//! not there.

/// Rows that share a pointer in the inner loop.
pub(super) const GROUP: usize = 7;
/// f32 elements in a cache line.
pub(crate) const CACHE_LINE: usize = 16;
/// Groups of rows in the tallest panel.
pub(super) const GROUPS: usize = 4;

/// Runs the block for each row, unrolled by construction: an accumulator indexed by a run-time row
/// would live in memory.
macro_rules! for_rows {
    ($rows:ident, $row:ident, $block:block) => {
        for_rows!(@ $rows, $row, $block, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27)
    };
    (@ $rows:ident, $row:ident, $block:block, $($index:literal)+) => {
        $(if $index < $rows {
            let $row: usize = $index;
            $block
        })+
    };
}

/// One step of k: `acc[row][column] += a[row] * b[column]` over the micro-tile, `$ahead` steps
/// after the pointers.
macro_rules! micro_tile_step {
    ($acc:ident, $rows:ident, $vectors:ident, $groups:ident, $strides:ident, $b:ident, $ahead:expr) => {
        let mut values = [zero(); $vectors];
        for j in 0..$vectors {
            // SAFETY: `$ahead` is less than the steps left in the segment, and B holds `nr` values
            // for each.
            values[j] = unsafe { load($b.add(($ahead * $vectors + j) * LANES)) };
        }
        for_rows!($rows, row, {
            let at = $groups[row / GROUP].wrapping_byte_add($strides[row % GROUP]).wrapping_add($ahead);
            // SAFETY: `at` is this row's element `$ahead` steps on, and so many steps are left in
            // the segment.
            let a = unsafe { broadcast(at) };
            for j in 0..$vectors {
                $acc[row][j] = multiply_add(a, values[j], $acc[row][j]);
            }
        });
    };
}

/// Defines `panel::<ROWS, VECTORS>`, a [`PanelFn`](super::PanelFn), over the vector operations in
/// scope.
macro_rules! micro_tile_kernel {
    ($(#[$feature:meta])*) => {
        /// The panel of `ROWS` rows and `VECTORS` vectors of columns. See
        /// [`PanelFn`](super::PanelFn) for what it computes and what its caller must see to.
        $(#[$feature])*
        unsafe extern "C" fn panel<const ROWS: usize, const VECTORS: usize>(
            shape: *const PanelShape,
            a: *const f32,
            b: *const f32,
            next: *const f32,
            c: *mut f32,
            bias: *const f32,
            residual: *const f32,
        ) {
            const { assert!(1 <= ROWS && ROWS <= GROUP * GROUPS) };
            // SAFETY: the caller's promise: the shape is readable.
            let shape = unsafe { &*shape };
            // SAFETY: the caller's promise: so are its segments.
            let segments = unsafe { std::slice::from_raw_parts(shape.segments, shape.segment_count) };
            let mut masks = [mask(0); VECTORS];
            for j in 0..VECTORS {
                masks[j] = mask(shape.columns.saturating_sub(j * LANES));
            }

            let mut acc = [[zero(); VECTORS]; ROWS];
            if !residual.is_null() {
                for_rows!(ROWS, row, {
                    for j in 0..VECTORS {
                        prefetch(residual.wrapping_add(row * shape.c_stride + j * LANES));
                    }
                });
            }

            let stride = shape.a_stride * size_of::<f32>();
            let (mut single, mut triple, mut quintuple) = (stride, 3 * stride, 5 * stride);
            let (mut b, mut next) = (b, next);
            for segment in segments {
                let mut groups = [a; GROUPS];
                for group in 0..GROUPS {
                    groups[group] = a.wrapping_add(segment.offset).wrapping_byte_add(group * GROUP * stride);
                }
                let mut left = segment.length;
                while left >= UNROLL {
                    (single, triple, quintuple) = (opaque(single), opaque(triple), opaque(quintuple));
                    let strides = [0, single, 2 * single, triple, 4 * single, quintuple, 2 * triple];
                    unrolled!(ahead, {
                        micro_tile_step!(acc, ROWS, VECTORS, groups, strides, b, ahead);
                        prefetch_second(next.wrapping_add(ahead * CACHE_LINE));
                    });
                    for group in 0..GROUPS {
                        groups[group] = groups[group].wrapping_add(UNROLL);
                    }
                    b = b.wrapping_add(UNROLL * VECTORS * LANES);
                    next = next.wrapping_add(UNROLL * CACHE_LINE);
                    left -= UNROLL;
                }
                while left > 0 {
                    (single, triple, quintuple) = (opaque(single), opaque(triple), opaque(quintuple));
                    let strides = [0, single, 2 * single, triple, 4 * single, quintuple, 2 * triple];
                    micro_tile_step!(acc, ROWS, VECTORS, groups, strides, b, 0);
                    for group in 0..GROUPS {
                        groups[group] = groups[group].wrapping_add(1);
                    }
                    b = b.wrapping_add(VECTORS * LANES);
                    left -= 1;
                }
            }

            // What C holds is added to this sum, not this to what C holds: short sums round less
            // than a long one.
            if shape.accumulate != 0 {
                for_rows!(ROWS, row, {
                    for j in 0..VECTORS {
                        let at = c.wrapping_add(row * shape.c_stride + j * LANES);
                        // SAFETY: the mask leaves only columns that exist.
                        acc[row][j] = add(acc[row][j], unsafe { load_masked(at, masks[j]) });
                    }
                });
            }
            if !bias.is_null() {
                for j in 0..VECTORS {
                    // SAFETY: the mask leaves only columns that exist.
                    let value = unsafe { load_masked(bias.wrapping_add(j * LANES), masks[j]) };
                    for_rows!(ROWS, row, {
                        acc[row][j] = add(acc[row][j], value);
                    });
                }
            }
            if !residual.is_null() {
                for_rows!(ROWS, row, {
                    for j in 0..VECTORS {
                        let at = residual.wrapping_add(row * shape.c_stride + j * LANES);
                        // SAFETY: the mask leaves only columns that exist; they are laid out as
                        // those of C.
                        acc[row][j] = add(acc[row][j], unsafe { load_masked(at, masks[j]) });
                    }
                });
            }
            for_rows!(ROWS, row, {
                for j in 0..VECTORS {
                    let at = c.wrapping_add(row * shape.c_stride + j * LANES);
                    // SAFETY: the mask leaves only columns that exist, and the caller lets us write
                    // them.
                    unsafe { store_masked(at, masks[j], acc[row][j]) };
                }
            });
        }
    };
}

/// Runs the block for each step of k in a round of the inner loop.
macro_rules! unrolled {
    ($ahead:ident, $block:block) => {
        unrolled!(@ $ahead, $block, 0 1 2 3)
    };
    (@ $ahead:ident, $block:block, $($index:literal)+) => {
        $(if $index < UNROLL {
            let $ahead: usize = $index;
            $block
        })+
    };
}

pub(super) use {for_rows, micro_tile_kernel, micro_tile_step, unrolled};
