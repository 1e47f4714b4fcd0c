//! Passes: functions from a graph to a better graph that means the same.
//!
//! | module | what lives there |
//! |---|---|
//! | [`pass`], [`pipeline`] | what a pass is; the lists of passes and running them |
//! | [`contract`], [`legality`] | what no pass may change; which ops may exist at which stage |
//! | [`channel_last`] | the layout that the kernels want |
//! | [`canonicalize`], [`fold_constants`], [`eliminate_common_subexpressions`], [`eliminate_dead_code`] | simplification |
//! | [`commute_resize`] | less work: pointwise convolutions before enlarging |
//! | [`fuse_padding`], [`fuse_bias`], [`fuse_normalization`], [`fuse_residual`] | ops joined into the one that computes them |
//! | [`assign_precision`] | computing in bf16 |
//! | [`buffer_plan`] | where each intermediate lies in memory |
//!
//! A pass walks the old graph in order and emits a new one through a rewriter that translates
//! operands, keeps paths and outputs and infers types. Patterns look up at the ops that define the
//! operands; ops that no longer matter stay behind for [`eliminate_dead_code`]. Passes are
//! deterministic, and running one twice is running it once.
//!
//! No pass but [`assign_precision`] changes what a program means in real numbers, and the tests
//! hold that to 1e-9 by the reference evaluator. In bf16 and f16 a fused op rounds once where its
//! parts rounded each, so fusion brings a result closer to the exact one.
//!
//! This crate knows no backend and no model.

pub mod assign_precision;
pub mod buffer_plan;
pub mod canonicalize;
pub mod channel_last;
pub mod commute_resize;
pub mod contract;
pub mod eliminate_common_subexpressions;
pub mod eliminate_dead_code;
pub mod fold_constants;
pub mod fuse_bias;
pub mod fuse_normalization;
pub mod fuse_padding;
pub mod fuse_residual;
pub mod inline;
pub mod legality;
pub mod pass;
pub mod pipeline;
mod rewriter;

pub use buffer_plan::BufferPlan;
pub use legality::Stage;
pub use pass::{Pass, PassError};
pub use pipeline::{PipelineError, Precision, cpu_pipeline, tpu_pipeline};
