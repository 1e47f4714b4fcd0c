//! The CPU backend: a graph in, native code out.
//!
//! The way of the data: [`program::compile`] has `instruction_selection` turn each op into a call
//! of a [`kernel::Kernel`], `codegen` emits each distinct kernel once with Cranelift, `jit` makes
//! it executable, and the buffer plan of `passes` gives every value its place in one arena.
//! [`weights::Weights`] packs the checkpoint's tensors once, for all programs.
//! [`program::Executable::run`] then runs the calls in order, the blocks of each shared out over
//! threads.
//!
//! - [`isa`], [`target`]: the instruction sets; which one, and what else is chosen because of the
//!   CPU, with knobs to override it;
//! - [`panel`]: the contraction panels, the microkernels in which nearly all arithmetic of a
//!   convolution happens;
//! - [`pack`]: convolution weights in the order in which the panels read them;
//! - [`blocking`], [`cost_model`]: which algorithm a convolution runs by, and how it is cut into
//!   blocks; the estimate that decides it;
//! - [`attention`]: the same of an attention;
//! - [`winograd`]: the transforms of 3x3 kernels;
//! - [`options`]: what a program is compiled for;
//! - [`profile`], [`ceiling`]: what each call of a program is; what this machine reaches at most;
//! - [`requirements`]: what a step takes of memory, before it is compiled;
//! - [`element`]: what tensors are made of in memory;
//! - [`buffer`]: cache-line-aligned memory; `guard`, `separate_buffers`: guard pages around it,
//!   behind a knob.
//!
//! This crate knows nothing of the VAE, of checkpoints or of tiles of a video.

pub mod attention;
pub mod blocking;
pub mod buffer;
pub mod ceiling;
mod codegen;
pub mod cost_model;
pub mod element;
mod guard;
pub mod inspect;
mod instruction_selection;
pub mod isa;
mod jit;
pub mod kernel;
pub mod options;
pub mod pack;
pub mod packing;
pub mod panel;
pub mod profile;
pub mod program;
pub mod requirements;
mod separate_buffers;
pub mod target;
pub mod weights;
pub mod winograd;
