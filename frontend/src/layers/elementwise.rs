//! Functions of each element.

use ir::{Elements, Layout, TensorType, Value};

use super::{Built, channels};
use crate::declaration::Declaration;

/// `input * scale + offset`: a convolution of each channel by itself, of one tap, so that the numbers
/// are one a channel and not one an element.
pub(crate) fn affine(d: &mut Declaration<'_>, input: Value, scale: f64, offset: f64) -> Built {
    let count = channels(d, input);
    let element = d.ty(input).element;
    let weight = TensorType::with_layout(element, Layout::OIDHW, [count, 1, 1, 1, 1]);
    let weight = d.constant(Elements::Splat(scale), weight)?;
    let offset = match offset {
        0.0 => None,
        _ => Some(d.constant(Elements::Splat(offset), TensorType::plain(element, [count]))?),
    };
    d.grouped_convolution(input, weight, offset, count, [1; 3], [[0, 0]; 3])
}

/// The larger of each element and 0 (`ReLU`).
pub(crate) fn relu(d: &mut Declaration<'_>, input: Value) -> Built {
    d.clamp(input, 0.0, f64::INFINITY)
}

/// An activation function that a configuration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    /// `ReLU`.
    Relu,
    /// `SiLU`.
    Silu,
}

impl Function {
    /// What there is, for messages.
    pub(crate) const KNOWN: &str = "\"relu\", \"silu\" or its other name \"swish\"";

    /// That of this name, in any case of letters.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name.to_lowercase().as_str() {
            "relu" => Some(Self::Relu),
            "silu" | "swish" => Some(Self::Silu),
            _ => None,
        }
    }

    /// Applies it.
    pub(crate) fn of(self, d: &mut Declaration<'_>, input: Value) -> Built {
        match self {
            Self::Relu => relu(d, input),
            Self::Silu => d.silu(input),
        }
    }
}
