//! Functions of one number over a run of elements, as plain Rust around `libm`: they stand at the
//! borders of networks, over few elements or once, so that no vector form is worth its digits.
//! Every instruction set has the same, with the same bits.

use half::bf16;
use ir::UnaryFunction;

use crate::element::Element;

/// Called as `function(from, to, elements)`.
///
/// # Safety
///
/// So many elements are readable and writable, aligned as they are; `to` overlaps nothing, or is
/// `from`.
pub(crate) type UnaryFn = unsafe extern "C" fn(from: *const u8, to: *mut u8, elements: usize);

/// The symbol under which emitted code calls a function.
pub(crate) fn symbol(function: UnaryFunction, element: Element) -> String {
    format!("unary_{}_{}", function.word(), element.name())
}

/// Every function over every element.
pub(crate) fn symbols() -> impl Iterator<Item = (String, UnaryFn)> {
    let each = UnaryFunction::ALL.iter().flat_map(|function| Element::ALL.map(|element| (*function, element)));
    each.map(|(function, element)| (symbol(function, element), of(function, element)))
}

fn of(function: UnaryFunction, element: Element) -> UnaryFn {
    macro_rules! over {
        ($($Function:ident),+) => {
            match (function, element) { $(
                (UnaryFunction::$Function, Element::F32) => apply::<{ UnaryFunction::$Function as usize }, f32>,
                (UnaryFunction::$Function, Element::Bf16) => apply::<{ UnaryFunction::$Function as usize }, bf16>,
            )+ }
        };
    }
    over!(Tanh, Sigmoid, Sine, Cosine)
}

/// See [`UnaryFn`]; `FUNCTION` is a place in `UnaryFunction::ALL`.
unsafe extern "C" fn apply<const FUNCTION: usize, T: Number>(from: *const u8, to: *mut u8, elements: usize) {
    let (from, to) = (from.cast::<T>(), to.cast::<T>());
    for i in 0..elements {
        // SAFETY: the caller's promise: so many elements are there, aligned.
        unsafe { to.add(i).write(T::from_f32(value(const { UnaryFunction::ALL[FUNCTION] }, (*from.add(i)).into()))) };
    }
}

fn value(function: UnaryFunction, x: f32) -> f32 {
    match function {
        UnaryFunction::Tanh => libm::tanhf(x),
        // In f64, where 1 + exp(-x) neither overflows nor loses what is small beside 1.
        UnaryFunction::Sigmoid => (1.0 / (1.0 + libm::exp(-f64::from(x)))) as f32,
        UnaryFunction::Sine => libm::sinf(x),
        UnaryFunction::Cosine => libm::cosf(x),
    }
}

/// A number in memory.
trait Number: Copy + Into<f32> {
    /// The nearest.
    fn from_f32(x: f32) -> Self;
}

impl Number for f32 {
    fn from_f32(x: f32) -> Self {
        x
    }
}

impl Number for bf16 {
    fn from_f32(x: f32) -> Self {
        Self::from_f32(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_exact_to_the_last_digits() {
        let exact: [fn(f64) -> f64; 4] = [f64::tanh, |x| 1.0 / (1.0 + (-x).exp()), f64::sin, f64::cos];
        for (&function, exact) in UnaryFunction::ALL.iter().zip(exact) {
            for i in -200_000..=200_000_i32 {
                // Angles to 900 radians, and numbers close to zero.
                for x in [i as f32 * 0.0045, i as f32 * 1e-8] {
                    let (found, expected) = (f64::from(value(function, x)), exact(f64::from(x)));
                    let off = (found - expected).abs();
                    assert!(off <= 3e-7 * expected.abs() + 1e-37, "{function:?}({x}): {found}, expected {expected}");
                }
            }
            assert!(value(function, f32::NAN).is_nan());
        }
        assert_eq!([f32::NEG_INFINITY, f32::INFINITY].map(|x| value(UnaryFunction::Tanh, x)), [-1.0, 1.0]);
        assert_eq!([f32::NEG_INFINITY, f32::INFINITY].map(|x| value(UnaryFunction::Sigmoid, x)), [0.0, 1.0]);
        assert!(value(UnaryFunction::Sine, f32::INFINITY).is_nan());
    }
}
