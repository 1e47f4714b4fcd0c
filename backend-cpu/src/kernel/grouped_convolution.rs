//! The kernel of convolutions within groups of channels. Its code is in
//! `codegen::grouped_convolution`.

use crate::element::Element;

/// A convolution of each group of channels by itself, channel-last, with zeros around. A block is a
/// line of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupedConvolution {
    /// Videos.
    pub batch: usize,
    /// Time, height, width of the input.
    pub input: [usize; 3],
    /// Time, height, width of the result.
    pub result: [usize; 3],
    /// Time, height, width of the kernel.
    pub kernel: [usize; 3],
    /// Along time, height, width.
    pub strides: [usize; 3],
    /// Zeros in front of time, height and width.
    pub padding: [usize; 3],
    /// Groups of channels.
    pub groups: usize,
    /// Input channels of a group.
    pub inputs: usize,
    /// Output channels of a group.
    pub outputs: usize,
    /// Whether a bias is added.
    pub bias: bool,
    /// Of input, weights and result.
    pub element: Element,
}
