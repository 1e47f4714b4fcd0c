//! Placeholder.

use crate::types::TensorType;

/// A dense tensor in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<T> {
    /// Its type; `data` holds its elements as `T` whatever the element type.
    pub ty: TensorType,
    /// `ty.elements()` numbers.
    pub data: Vec<T>,
}
