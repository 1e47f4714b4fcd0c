//! What a program is: tensor types, ops, graphs, and everything that can be said of a graph without
//! knowing where it runs or which model it came from.
//!
//! | module | what lives there |
//! |---|---|
//! | [`types`], [`layout`] | element types, shapes; axes by name |
//! | [`attribute`] | the constants an op carries |
//! | [`op`] | the one op table, and what its columns mean |
//! | [`graph`], [`builder`] | ops in order; building them |
//! | [`rearrange`] | shuffles, means and repeats of channels, composed of ops |
//! | [`shape`] | the type of each op's result, and the numbered constraints |
//! | [`verify`] | all that a graph must hold |
//! | [`text`] | printing and parsing |
//! | [`eval`] | the living definition of every op |
//! | [`analysis`], [`dot`] | liveness, reachability, cost; pictures |
//! | [`finite`] | the first op of a run that makes non-finite values |
//! | [`knobs`] | the environment variables that any crate reads |
//! | [`recipe`] | how weights are made of parameters, once |
//!
//! This crate knows no backend, no pass and no model.

pub mod analysis;
pub mod attribute;
pub mod builder;
pub mod dot;
pub mod eval;
pub mod finite;
pub mod graph;
pub mod knobs;
pub mod layout;
pub mod op;
mod operand;
pub mod rearrange;
pub mod recipe;
pub mod shape;
pub mod text;
pub mod types;
pub mod verify;

pub use attribute::{Activation, AttentionMask, Border, ChannelNormKind, Elements, FirstFrame, PadMode, UnaryFunction};
pub use builder::{BuildError, Builder};
pub use graph::{Graph, Node, Output, Path, Role, Value};
pub use op::{Class, Op, OperandRole, Values};
pub use recipe::Recipe;
pub use types::{Axis, Dims, ElementType, Layout, TensorType};
