//! [`PanelFamily`]: the panels of one micro-tile size, one kernel for each number of rows, and the macro
//! that declares one.
//!
//! A declaration carries the micro-tile, the instruction set that gates it and the row counts, and
//! generates the property tests of every kernel in it. The kernels' body is in `micro_tile`.

use super::PanelFn;
use crate::element::Element;
use crate::isa::Isa;

/// All panels of one micro-tile size: the same columns, any number of rows up to a maximum.
#[derive(Debug)]
pub struct PanelFamily {
    /// Instruction set, element type, rows and columns, such as `avx512_f32_14x32`.
    pub name: &'static str,
    /// What the CPU has to run.
    pub isa: Isa,
    /// What words of A and B hold. Of bf16 there are two in a word, and the CPU must have dot
    /// products.
    pub element: Element,
    /// f32 lanes in a vector of this instruction set.
    pub lanes: usize,
    /// Columns of a full panel, a multiple of `lanes`; B holds this many values for each k.
    pub nr: usize,
    /// The kernels, that for one row first.
    pub(super) panels: &'static [PanelFn],
}

impl PanelFamily {
    /// The most rows that one call computes.
    pub const fn max_rows(&self) -> usize {
        self.panels.len()
    }

    /// Whether this CPU runs the family.
    pub fn is_supported(&self) -> bool {
        self.isa.is_supported() && (self.element == Element::F32 || self.isa.has_dot_products())
    }

    /// The kernel for `rows` rows.
    ///
    /// # Panics
    ///
    /// `rows` is not in 1 to [`max_rows`](Self::max_rows).
    pub const fn panel(&self, rows: usize) -> PanelFn {
        assert!(1 <= rows && rows <= self.panels.len(), "no panel has this number of rows");
        self.panels[rows - 1]
    }
}

/// Declares a family as a static, and its property tests as a module of the family's name.
///
/// `panel` is a kernel of the module that declares the family, generic over rows and over vectors
/// in a row of C.
macro_rules! panel_family {
    (
        $(#[$doc:meta])*
        $static:ident = $name:ident: $isa:expr, $element:expr,
        $lanes:literal lanes, $vectors:literal vectors, rows [$($rows:literal)+]
    ) => {
        $(#[$doc])*
        pub(super) static $static: $crate::panel::PanelFamily = $crate::panel::PanelFamily {
            name: stringify!($name),
            isa: $isa,
            element: $element,
            lanes: $lanes,
            nr: $lanes * $vectors,
            panels: &[$(panel::<$rows, $vectors>),+],
        };

        #[cfg(test)]
        mod $name {
            use $crate::panel::check;

            #[test]
            fn agrees_with_the_plain_loop() {
                check::random_cases(&super::$static);
            }

            #[test]
            fn every_micro_tile_agrees_with_the_plain_loop() {
                check::every_micro_tile(&super::$static);
            }
        }
    };
}
pub(super) use panel_family;
