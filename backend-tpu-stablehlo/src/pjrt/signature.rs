//! What a program takes and returns on each device. Plugins do not tell all of it, and check less.

use ir::{ElementType, TensorType};

use super::bindings::*;
use super::error::{Error, Result};
use crate::module::{Argument, Module};

/// Types of a program's arguments and results, per device. Layouts of axes are of no concern here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// What it takes, in order.
    pub arguments: Vec<ArgumentType>,
    /// What it returns, in order.
    pub results: Vec<TensorType>,
}

/// One of a program's arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgumentType {
    /// Element type and sizes, row-major.
    pub ty: TensorType,
    /// Whether the program writes a result over it.
    pub donated: bool,
}

/// A type that elements have in host memory.
pub trait Element: Copy + Default + Send + Sync + 'static + sealed::Sealed {
    /// The same in the IR.
    const ELEMENT: ElementType;
}

mod sealed {
    /// Types without invalid bit patterns, alone.
    pub trait Sealed {}
}

macro_rules! elements {
    ($($ty:ty => $element:ident,)*) => {$(
        impl sealed::Sealed for $ty {}
        impl Element for $ty {
            const ELEMENT: ElementType = ElementType::$element;
        }
    )*};
}

elements! {
    f32 => F32,
    half::bf16 => Bf16,
    half::f16 => F16,
    i8 => I8,
    i32 => I32,
}

/// The C API's number of an element type.
pub(super) fn buffer_type(element: ElementType) -> PJRT_Buffer_Type {
    match element {
        ElementType::F32 => PJRT_Buffer_Type_F32,
        ElementType::Bf16 => PJRT_Buffer_Type_BF16,
        ElementType::F16 => PJRT_Buffer_Type_F16,
        ElementType::I8 => PJRT_Buffer_Type_S8,
        ElementType::I32 => PJRT_Buffer_Type_S32,
    }
}

/// The element type of the C API's number; `None` for one that the IR does not have.
pub(super) fn element_type(number: PJRT_Buffer_Type) -> Option<ElementType> {
    ElementType::ALL.into_iter().find(|&element| buffer_type(element) == number)
}

/// Whether both have the same elements and sizes.
pub(super) fn same(a: &TensorType, b: &TensorType) -> bool {
    a.element == b.element && a.shape == b.shape
}

/// Sizes in the C API's type.
pub(super) fn dimensions(ty: &TensorType) -> Vec<i64> {
    ty.shape.iter().map(|&size| size as i64).collect()
}

impl From<&Module> for Signature {
    /// That of a module that runs on one device.
    fn from(module: &Module) -> Signature {
        let argument =
            |argument: &Argument| ArgumentType { ty: argument.ty.clone(), donated: argument.donated_to.is_some() };
        Signature {
            arguments: module.arguments.iter().map(argument).collect(),
            results: module.results.iter().map(|result| result.ty.clone()).collect(),
        }
    }
}

impl Signature {
    /// Compares what the plugin says that the program returns.
    pub(super) fn check_results(&self, found: &[TensorType]) -> Result<()> {
        if self.results.len() == found.len() && self.results.iter().zip(found).all(|(a, b)| same(a, b)) {
            return Ok(());
        }
        let names = |types: &[TensorType]| types.iter().map(TensorType::to_string).collect::<Vec<_>>().join(", ");
        let (found, expected) = (names(found), names(&self.results));
        Err(Error::Mismatch(format!("the compiled program returns ({found}), expected ({expected})")))
    }
}
