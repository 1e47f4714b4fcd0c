//! The CPU backend: what turns a graph into native code, and the SIMD kernels that this code calls.
//!
//! What is here now:
//!
//! - [`isa`]: which instruction set the kernels use, probed once, with one environment knob to override it;
//! - [`panel`]: the contraction panels, the kernels in which nearly all arithmetic of a convolution happens;
//! - [`pack`]: convolution weights in the order in which the panels read them;
//! - [`buffer`]: cache-line-aligned memory.
//!
//! This crate knows nothing of the VAE, of checkpoints or of tiles.

pub mod buffer;
pub mod isa;
pub mod pack;
pub mod panel;
