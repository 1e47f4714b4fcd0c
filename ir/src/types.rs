//! Types of values: element type, shape and layout ([`crate::layout`]).
//!
//! A value is a dense, row-major tensor: the last axis varies fastest. Shapes are static, since
//! what is compiled is one step over one tile. Types print and parse as `tensor<1x16x3x30x45xf32,
//! ncthw>`; how a whole graph prints is in [`crate::text`].

use std::fmt;
use std::str::FromStr;

use smallvec::SmallVec;

pub use crate::layout::{Axis, KernelAxes, Layout, VideoAxes};

/// Sizes or positions along the axes of a tensor, outermost first.
pub type Dims = SmallVec<[usize; 5]>;

/// The type of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ElementType {
    /// IEEE 754 binary32.
    F32,
    /// The upper half of a binary32: 8 bits of exponent, 7 of mantissa.
    Bf16,
    /// IEEE 754 binary16.
    F16,
    /// Signed 8-bit integer.
    I8,
    /// Signed 32-bit integer.
    I32,
}

impl ElementType {
    /// Every element type.
    pub const ALL: [Self; 5] = [Self::F32, Self::Bf16, Self::F16, Self::I8, Self::I32];

    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::Bf16 | Self::F16 => 2,
            Self::I8 => 1,
        }
    }

    /// Whether elements are floating-point numbers.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::Bf16 | Self::F16)
    }

    /// The name in the text format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::I8 => "i8",
            Self::I32 => "i32",
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ElementType {
    type Err = TypeError;

    fn from_str(text: &str) -> Result<Self, TypeError> {
        Self::ALL.into_iter().find(|e| e.name() == text).ok_or_else(|| TypeError::Element(text.to_owned()))
    }
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Type of each element.
    pub element: ElementType,
    /// Size along each axis, outermost first.
    pub shape: Dims,
    /// What the axes mean.
    pub layout: Layout,
}

impl TensorType {
    /// A tensor without named axes.
    pub fn plain(element: ElementType, shape: impl IntoIterator<Item = usize>) -> Self {
        Self { element, shape: shape.into_iter().collect(), layout: Layout::PLAIN }
    }

    /// A tensor whose axes have the meaning of `layout`.
    pub fn with_layout(element: ElementType, layout: Layout, shape: impl IntoIterator<Item = usize>) -> Self {
        Self { element, shape: shape.into_iter().collect(), layout }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements. A checked type (see [`TensorType::check`]) does not overflow.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of a dense tensor of this type.
    pub fn bytes(&self) -> usize {
        self.elements() * self.element.bytes()
    }

    /// Checks what every type of a graph must hold.
    ///
    /// # Errors
    /// When an axis has size 0, the bytes overflow `isize`, or the layout names another number of
    /// axes.
    pub fn check(&self) -> Result<(), TypeError> {
        if self.shape.contains(&0) {
            return Err(TypeError::Empty(self.to_string()));
        }
        let bytes = self.shape.iter().try_fold(self.element.bytes(), |n, &d| n.checked_mul(d));
        if bytes.is_none_or(|n| isize::try_from(n).is_err()) {
            return Err(TypeError::TooLarge(self.to_string()));
        }
        let named = self.layout.axes().count();
        if named != 0 && named != self.rank() {
            return Err(TypeError::Rank { ty: self.to_string(), named, rank: self.rank() });
        }
        Ok(())
    }

    /// Distance in elements between neighbours along each axis of a dense row-major tensor.
    pub fn strides(&self) -> Dims {
        let mut strides: Dims = SmallVec::from_elem(1, self.rank());
        for axis in (1..self.rank()).rev() {
            strides[axis - 1] = strides[axis] * self.shape[axis];
        }
        strides
    }

    /// Size along the batch axis of a video. Like [`Self::channels`] and [`Self::space`], `None`
    /// for other tensors; the type must be a checked one.
    pub fn batch(&self) -> Option<usize> {
        self.layout.video().map(|a| self.shape[a.batch])
    }

    /// Number of channels of a video.
    pub fn channels(&self) -> Option<usize> {
        self.layout.video().map(|a| self.shape[a.channel])
    }

    /// Time, height and width of a video.
    pub fn space(&self) -> Option<[usize; 3]> {
        self.layout.video().map(|a| a.space.map(|axis| self.shape[axis]))
    }

    /// The video type with the same element type and layout, and these sizes.
    ///
    /// # Panics
    /// If this is not a video type.
    pub fn video_like(&self, batch: usize, channels: usize, space: [usize; 3]) -> Self {
        let axes = self.layout.video().expect("a video type");
        let mut ty = self.clone();
        ty.shape[axes.batch] = batch;
        ty.shape[axes.channel] = channels;
        for (axis, size) in axes.space.into_iter().zip(space) {
            ty.shape[axis] = size;
        }
        ty
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tensor<")?;
        for size in &self.shape {
            write!(f, "{size}x")?;
        }
        write!(f, "{}", self.element)?;
        if !self.layout.is_plain() {
            write!(f, ", {}", self.layout)?;
        }
        f.write_str(">")
    }
}

impl FromStr for TensorType {
    type Err = TypeError;

    /// Parses what `Display` prints, with any spaces around the comma.
    fn from_str(text: &str) -> Result<Self, TypeError> {
        let malformed = || TypeError::Malformed(text.to_owned());
        let body = text.trim().strip_prefix("tensor<").and_then(|t| t.strip_suffix('>')).ok_or_else(malformed)?;
        let (sizes, layout) = match body.split_once(',') {
            Some((sizes, layout)) => (sizes, layout.trim().parse()?),
            None => (body, Layout::PLAIN),
        };
        let mut parts: Vec<&str> = sizes.trim().split('x').collect();
        let element = parts.pop().ok_or_else(malformed)?.parse()?;
        let shape = parts.into_iter().map(|p| p.parse().map_err(|_| malformed())).collect::<Result<Dims, _>>()?;
        let ty = Self { element, shape, layout };
        ty.check()?;
        Ok(ty)
    }
}

/// Why a type is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// The text is not `tensor<..>`.
    #[error("`{0}` is not a type: write `tensor<2x3xf32>` or `tensor<1x2x3x4x5xf32, ncthw>`")]
    Malformed(String),
    /// No such element type.
    #[error("`{0}` is not an element type: use f32, bf16, f16, i8 or i32")]
    Element(String),
    /// No such layout.
    #[error(
        "`{0}` is not a layout: name each axis once, by the letters ncthw of activations and oidhw of weights, or none"
    )]
    Layout(String),
    /// A size is zero.
    #[error("{0} has an axis of size 0")]
    Empty(String),
    /// More bytes than can be addressed.
    #[error("{0} is too large: its bytes do not fit the address space")]
    TooLarge(String),
    /// The layout and the shape disagree.
    #[error("{ty}: its layout names {named} axes, its shape has {rank}")]
    Rank {
        /// The type.
        ty: String,
        /// Axes in the layout.
        named: usize,
        /// Axes in the shape.
        rank: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_round_trip() {
        for text in [
            "tensor<f32>",
            "tensor<3xbf16>",
            "tensor<1x2x3x4x5xf32, ncthw>",
            "tensor<3x3x3x8x4xf16, dhwio>",
            "tensor<1x2x3x4xf32, nhwc>",
        ] {
            assert_eq!(text.parse::<TensorType>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn bad_types_are_refused() {
        for text in [
            "tensor<>",
            "tensor<0xf32>",
            "tensor<2xf33>",
            "tensor<2xf32, ncthw>",
            "tensor<2x2xf32, nn>",
            "tensor<2xf32, >",
            "tensor<2xf32",
            "tensor<-1xf32>",
        ] {
            assert!(text.parse::<TensorType>().is_err(), "{text}");
        }
        let huge = format!("tensor<{0}x{0}x{0}xf32>", u32::MAX);
        assert!(matches!(huge.parse::<TensorType>(), Err(TypeError::TooLarge(_))));
    }

    #[test]
    fn strides_are_row_major() {
        let ty: TensorType = "tensor<2x3x4xf32>".parse().unwrap();
        assert_eq!(ty.strides().as_slice(), [12, 4, 1]);
    }
}
