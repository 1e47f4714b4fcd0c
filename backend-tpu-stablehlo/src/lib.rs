//! The StableHLO backend.
//!
//! [`module`] is what goes between its two halves. The emitter takes any graph of `ir`, after a
//! pipeline of its own, and writes StableHLO text: weights and caches as arguments, channel-last.
//! [`pjrt`], the PJRT client, loads a plugin, compiles that text ahead of time or for execution,
//! and runs it.

pub mod emit;
pub mod mesh;
pub mod module;
pub mod pjrt;

pub use emit::{EmitOptions, UnsupportedOp, emit};
pub use mesh::Mesh;
pub use module::{Argument, ArgumentRole, Module, ModuleResult};
