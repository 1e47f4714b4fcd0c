//! Placeholder.
pub mod buffer_plan;
