//! The StableHLO backend: nothing is here yet.
//!
//! This is the place of two things. The emitter takes any graph of `ir`, after a pipeline of its own, and writes
//! StableHLO text: weights and caches as arguments, channel-last. The PJRT client loads a plugin, compiles that text ahead
//! of time or for execution, and runs it.
