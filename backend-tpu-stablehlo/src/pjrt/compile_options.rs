//! Compile options: XLA's `CompileOptionsProto`, of which the few fields are declared here that are
//! used. Numbers and names are those of `xla/pjrt/proto/compile_options.proto` and
//! `xla/xla_data.proto`.
//!
//! Plugins end the process on bytes that make no sense, or without replicas and partitions: so
//! nobody hands over bytes.

use std::fmt;
use std::str::FromStr;

use prost::Message;
use serde::{Deserialize, Serialize};

/// How to compile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CompileOptions {
    /// The devices that one program is cut up for, by the shardings (of Shardy) that the module
    /// has; 1 for a module without.
    pub partitions: usize,
    /// How hard to optimise; the plugin's choice by default.
    pub optimization: Option<Optimization>,
}

/// How hard to optimise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Optimization {
    /// As little as can be: compiles fast. Time and memory of the program say nothing about those
    /// of another level.
    O0 = 9,
    /// A little.
    O1 = 19,
    /// More.
    O2 = 29,
    /// As much as can be.
    O3 = 39,
}

impl Optimization {
    /// Every level, the least first.
    pub const ALL: [Self; 4] = [Self::O0, Self::O1, Self::O2, Self::O3];

    /// What programs for TPUs are compiled with unless another level is asked for.
    ///
    /// XLA's own choice there is O2, which took ten times as long to compile this model's steps; by
    /// XLA's own estimate single convolutions of it run no faster for that, and programs need
    /// about as much memory.
    pub const OF_TPUS: Self = Self::O1;

    /// The name, as users write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::O0 => "O0",
            Self::O1 => "O1",
            Self::O2 => "O2",
            Self::O3 => "O3",
        }
    }
}

impl fmt::Display for Optimization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no level of optimisation: known are O0, O1, O2, O3")]
pub struct ParseOptimizationError(pub String);

impl FromStr for Optimization {
    type Err = ParseOptimizationError;

    fn from_str(text: &str) -> Result<Self, ParseOptimizationError> {
        let known = Self::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(text));
        known.ok_or_else(|| ParseOptimizationError(text.to_owned()))
    }
}

impl Default for CompileOptions {
    fn default() -> Self {
        CompileOptions { partitions: 1, optimization: None }
    }
}

#[derive(Message)]
struct CompileOptionsProto {
    #[prost(message, optional, tag = "3")]
    executable_build_options: Option<ExecutableBuildOptionsProto>,
}

#[derive(Message)]
struct ExecutableBuildOptionsProto {
    #[prost(int64, tag = "4")]
    num_replicas: i64,
    #[prost(int64, tag = "5")]
    num_partitions: i64,
    #[prost(bool, tag = "6")]
    use_spmd_partitioning: bool,
    #[prost(bool, tag = "19")]
    use_shardy_partitioner: bool,
    #[prost(int32, tag = "24")]
    optimization_level: i32,
}

impl CompileOptions {
    /// Sets [`Self::partitions`].
    #[must_use]
    pub fn with_partitions(self, partitions: usize) -> Self {
        Self { partitions, ..self }
    }

    /// Sets [`Self::optimization`].
    #[must_use]
    pub fn with_optimization(self, optimization: impl Into<Option<Optimization>>) -> Self {
        Self { optimization: optimization.into(), ..self }
    }

    /// As plugins take them.
    pub fn encode(&self) -> Vec<u8> {
        let is_sharded = self.partitions > 1;
        let options = ExecutableBuildOptionsProto {
            num_replicas: 1,
            num_partitions: self.partitions.max(1) as i64,
            use_spmd_partitioning: is_sharded,
            use_shardy_partitioner: is_sharded,
            optimization_level: self.optimization.map_or(0, |level| level as i32),
        };
        CompileOptionsProto { executable_build_options: Some(options) }.encode_to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_back() {
        for level in Optimization::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        let message = "O4".parse::<Optimization>().unwrap_err().to_string();
        assert!(message.contains("`O4`") && message.contains("O0, O1, O2, O3"), "{message}");
    }

    #[test]
    fn bytes() {
        let mut options = CompileOptions::default();
        assert_eq!(options.encode(), [0x1a, 4, 0x20, 1, 0x28, 1]);
        options.partitions = 4;
        assert_eq!(options.encode(), [0x1a, 9, 0x20, 1, 0x28, 4, 0x30, 1, 0x98, 1, 1]);
        options.optimization = Some(Optimization::O1);
        assert_eq!(options.encode()[1..], [12, 0x20, 1, 0x28, 4, 0x30, 1, 0x98, 1, 1, 0xc0, 1, 19]);
    }
}
