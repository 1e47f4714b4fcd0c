//! The text format: one program for people, snapshots and filetests.
//!
//! ```text
//! graph @decode_first {
//!   %0 = input {name = "latents"} : tensor<1x16x2x12x16xf32, ncthw>
//!   %1 = parameter {name = "decoder.conv_in.conv.weight"} : tensor<512x16x3x3x3xf32, oidhw>
//!   %2 = pad %0 {low = [0, 0, 2, 0, 0], high = [0, 0, 0, 0, 0], mode = edge} : tensor<1x16x4x12x16xf32, ncthw>
//!   %3 = convolution %2, %1 {strides = [1, 1, 1], ...} : tensor<1x512x2x12x16xf32, ncthw> @ decoder.conv_in
//!   return result "sample" = %3
//! }
//! ```
//!
//! A line is: the value, the op, its operands (optional ones as `name: %4`, lists as `[%1, %2]`),
//! attributes in braces, the result's type, and behind an `@` the module it belongs to. `//` starts
//! a comment. What is printed parses back to an equal graph. Parsing is by the op table: an op
//! needs no code here.

mod lexer;
mod parse;
mod print;

pub use parse::{ParseError, ParseOpError, parse};
pub use print::{print, print_node, print_output};

pub(crate) use parse::RawOp;
