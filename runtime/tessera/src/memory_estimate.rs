//! How much memory a run needs, part by part. Where the numbers come from is in `memory_plan`.

use std::fmt;

use crate::amount::{MemoryUnit, at_least};

/// The memory that a run needs at its worst moment, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryEstimate {
    /// What the process holds already, its code and the caller's tensors included.
    pub process: u64,
    /// Weights as kernels read them, what their tensors as read from the file keep of memory, and
    /// those that are on the way from one to the other.
    pub weights: u64,
    /// Intermediate values of the largest step, and the scratch of every thread.
    pub arena: u64,
    /// What steps leave to the next ones, of all tiles that are under way.
    pub states: u64,
    /// A step's input and result, and the frames that tiles are cut from and blended to.
    pub frames: u64,
    /// Compiled steps, threads, and a reserve of 1/32 of the parts above for what the allocator
    /// rounds up.
    pub code: u64,
}

impl MemoryEstimate {
    /// All of it.
    pub fn total(&self) -> u64 {
        let Self { process, weights, arena, states, frames, code } = *self;
        [process, weights, arena, states, frames, code].into_iter().fold(0, u64::saturating_add)
    }
}

/// Prints as `3287.5 MiB (weights 962.6, arena 1239.1, states 1003.6, frames 20.5, code 20.5,
/// process 41.2)`; in GiB if it is much. The whole is rounded up: a budget of so much is enough.
impl fmt::Display for MemoryEstimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = MemoryUnit::of(self.total());
        let Self { process, weights, arena, states, frames, code } = *self;
        let parts = [
            ("weights", weights),
            ("arena", arena),
            ("states", states),
            ("frames", frames),
            ("code", code),
            ("process", process),
        ];
        let parts = parts.map(|(name, bytes)| format!("{name} {:.1}", bytes as f64 / unit.bytes)).join(", ");
        write!(f, "{} ({parts})", at_least(self.total()))
    }
}
