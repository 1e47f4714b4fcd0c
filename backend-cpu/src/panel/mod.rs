//! Contraction panels: `C[rows x columns] (+)= A[rows x k] * B[k x columns]`, the innermost kernels
//! of a convolution.
//!
//! A panel's rows are pixels along the width, its columns are output channels, and k runs over the
//! taps and input channels. The loops around a panel, the borders and the copies are emitted code
//! and not here.
//!
//! - this file: the calling convention, and the choice of a family for an instruction set;
//! - `instruction_set`: all that is known of an instruction set, as a value;
//! - `family`: what a family of panels is, and the macro that declares one together with its tests;
//! - `micro_tile`: the kernel's body, written once over the few vector operations that an
//!   instruction set names;
//! - `transform`: Winograd's transforms, in the same way;
//! - `normalize`, `channel_norm`: a fused group normalisation over a run of pixels, and one over
//!   the channels of each, likewise;
//! - `softmax`: the weights of an attention, a few at a time, likewise;
//! - `unary`: functions of one number, element by element, the same for all instruction sets;
//! - `avx512`, `avx2`, `portable` (over `lanes`): these operations, and the families declared with
//!   them;
//! - `avx512_bf16`: families whose A and B hold pairs of bf16, where the CPU has dot products.
//!
//! A step of k is a 32-bit word of A and of B: a number in f32, or two neighbours along k in bf16.
//! Strides, offsets and lengths count words; C, bias and residual are f32 always.

pub(crate) mod channel_norm;
mod family;
mod instruction_set;
pub(crate) mod micro_tile;
pub(crate) mod transform;

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
mod lanes;
pub(crate) mod normalize;
pub(crate) mod portable;
pub(crate) mod softmax;
pub(crate) mod unary;

#[cfg(test)]
mod check;

pub use family::PanelFamily;
pub(crate) use instruction_set::InstructionSet;

use crate::element::Element;
use crate::isa::Isa;

/// One contiguous run of k: in every row of A, `length` words starting `offset` words after the
/// row's start.
///
/// For a convolution it is one row of taps: `kernel width * input channels` contiguous numbers of
/// the scratch.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Distance from the start of a row of A, in words.
    pub offset: usize,
    /// Steps of k, at least 1.
    pub length: usize,
}

/// What stays the same over all panel calls of one loop; emitted code shares it as a read-only
/// table.
///
/// The layout is C's: six fields, each one machine word.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PanelShape {
    /// Distance between two rows of A, in words.
    pub a_stride: usize,
    /// Distance between two rows of C (and of the residual), in elements.
    pub c_stride: usize,
    /// The runs of k, in the order in which B holds them; never null.
    pub segments: *const Segment,
    /// How many segments there are; zero is allowed, and means that A and B are not read.
    pub segment_count: usize,
    /// How many columns are stored: 1 to the family's [`nr`](PanelFamily::nr).
    pub columns: usize,
    /// Nonzero: start from what C holds. Zero: start from zero, and C is not read.
    pub accumulate: usize,
}

/// A panel kernel for one number of rows: called as `panel(shape, a, b, next, c, bias, residual)`.
///
/// With `acc = accumulate ? C : 0`, it computes `C = acc + A * B + bias + residual`, where
///
/// - row i of `a` starts at `a + i * a_stride`, and its k-th element is found through the segments;
/// - `b` holds [`nr`](PanelFamily::nr) words for each k, k over all segments in their order,
///   without gaps;
/// - `next` is what will be read soon: a cache line for each k from there on is asked into the
///   second-level cache; where there is nothing to ask for, `b` costs nothing;
/// - row i of `c` starts at `c + i * c_stride`;
/// - `bias` is null, or points to `columns` values, one for each column;
/// - `residual` is null, or is laid out as `c` is.
///
/// Only the first `columns` columns of C, bias and residual are touched; B is read whole.
///
/// # Safety
///
/// - The CPU runs the family ([`PanelFamily::is_supported`]).
/// - `shape` and its segments are readable, `columns` is 1 to `nr`, and each segment's length is at
///   least 1.
/// - Everything named above but `next` is readable, C is writable, all of it aligned as f32 is, and
///   nobody else writes there during the call.
/// - C overlaps neither A, B nor bias. C and residual do not overlap, unless they are the same
///   address.
pub type PanelFn = unsafe extern "C" fn(
    shape: *const PanelShape,
    a: *const f32,
    b: *const f32,
    next: *const f32,
    c: *mut f32,
    bias: *const f32,
    residual: *const f32,
);

impl PanelFamily {
    /// The families of an instruction set that multiply this element: the wide one, then the narrow
    /// one. None if there are none, or if the crate was compiled for another architecture.
    pub fn of(isa: Isa, element: Element) -> Option<[&'static PanelFamily; 2]> {
        let row = isa.row()?;
        match element {
            Element::F32 => Some(row.panels),
            Element::Bf16 => row.dot_products.as_ref().map(|dot_products| dot_products.panels),
        }
    }

    /// Every family of an instruction set that this CPU runs.
    pub fn all(isa: Isa) -> impl Iterator<Item = &'static PanelFamily> {
        let families = Element::ALL.into_iter().filter_map(move |element| PanelFamily::of(isa, element)).flatten();
        families.filter(|family| family.is_supported())
    }

    /// The family to use for a contraction of this many columns (output channels) in all.
    ///
    /// The narrow family has more rows but does fewer multiplications a load: it is for what fits
    /// in one narrow panel.
    ///
    /// # Panics
    ///
    /// There are no panels of this element ([`Isa::has_dot_products`]), or the crate was compiled
    /// for an architecture without this instruction set; [`Isa::is_supported`] is false then.
    pub fn for_columns(isa: Isa, element: Element, columns: usize) -> &'static PanelFamily {
        let families = PanelFamily::of(isa, element);
        let [wide, narrow] = families.unwrap_or_else(|| panic!("no panels of {} for {isa}", element.name()));
        if columns <= narrow.nr { narrow } else { wide }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_six_words() {
        assert_eq!(size_of::<PanelShape>(), 6 * size_of::<usize>());
        assert_eq!(size_of::<Segment>(), 2 * size_of::<usize>());
    }

    #[test]
    fn few_columns_take_the_narrow_family() {
        for isa in Isa::supported() {
            let [wide, narrow] = PanelFamily::of(isa, Element::F32).unwrap();
            let name = |columns| PanelFamily::for_columns(isa, Element::F32, columns).name;
            assert!(narrow.nr < wide.nr && narrow.max_rows() >= wide.max_rows());
            assert_eq!([1, narrow.nr].map(name), [narrow.name; 2]);
            assert_eq!([narrow.nr + 1, 512].map(name), [wide.name; 2]);
            // A choice of algorithm changes no size of a panel.
            if let Some(families) = PanelFamily::of(isa, Element::Bf16) {
                for (of_pairs, family) in families.into_iter().zip([wide, narrow]) {
                    assert_eq!((of_pairs.nr, of_pairs.max_rows()), (family.nr, family.max_rows()));
                }
            }
        }
    }

    #[test]
    fn names_tell_isa_and_micro_tile() {
        for isa in Isa::ALL {
            for (element, family) in Element::ALL.into_iter().flat_map(|element| {
                PanelFamily::of(isa, element).into_iter().flatten().map(move |family| (element, family))
            }) {
                assert_eq!(family.name, format!("{isa}_{}_{}x{}", element.name(), family.max_rows(), family.nr));
                assert_eq!((family.isa, family.element, family.nr % family.lanes), (isa, element, 0));
            }
        }
    }
}
