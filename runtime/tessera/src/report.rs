//! What decoding or encoding a clip has cost.

use passes::Precision;

use crate::tiling_decision::TilingDecision;

/// The account of one call of [`crate::Vae::decode`] or [`crate::Vae::encode`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Video frames of all samples together: made by decoding, read by encoding.
    pub frames: usize,
    /// Their height in pixels.
    pub height: usize,
    /// Their width in pixels.
    pub width: usize,
    /// Where the time went.
    pub seconds: Seconds,
    /// Distinct steps that were made ready: compiled, or declared for the evaluator.
    pub programs_compiled: usize,
    /// Distinct steps whose compiled program was read from disk.
    pub programs_cached: usize,
    /// Distinct steps that an earlier call of the same model had made ready.
    pub programs_kept: usize,
    /// Whether the clip went by the plan of an earlier call of the same model.
    pub plan_kept: bool,
    /// Steps that ran.
    pub program_runs: usize,
    /// Intermediate values of the program that needs most memory for them; 0 for the evaluator,
    /// which plans none, and for plugins that do not tell.
    pub arena_bytes: usize,
    /// How frames were cut into tiles, why, and what memory that was expected to need.
    pub tiling: TilingDecision,
    /// Threads of all workers together.
    pub threads: usize,
    /// Steps that ran at once; see [`crate::Parallel`].
    pub workers: usize,
    /// What it computed in.
    pub precision: Precision,
    /// The instruction set of the compiled code; `none` where it is not ours: for the evaluator and
    /// for PJRT plugins.
    pub isa: &'static str,
    /// The device that a PJRT plugin ran it on, in the plugin's words.
    pub device: Option<String>,
}

/// Where the time of a call went. What is not here was spent by the caller's sink and observer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Seconds {
    /// Reading the step's weights from the checkpoint and packing them; opening the checkpoint is
    /// the caller's.
    pub load: f64,
    /// Declaring the steps, the passes, code generation.
    pub compile: f64,
    /// Inside compiled steps.
    pub run: f64,
}
