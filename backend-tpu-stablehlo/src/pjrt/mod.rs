//! The PJRT client: loads a plugin (libtpu, or one for CPUs or GPUs), compiles StableHLO with it,
//! for devices that are there or ahead of time for some that are not, and runs it.
//!
//! From the bottom up: `table` calls the plugin's functions, `bindings` are their types; above it
//! one thing of PJRT's a file. Everything public is safe: what the C API leaves unchecked (sizes of
//! its structs, functions that an older plugin lacks, types and places of buffers) is checked here,
//! and what it hands out ends with its owner.
//!
//! Nothing here knows a graph or a model.

#[expect(
    non_upper_case_globals,
    non_camel_case_types,
    non_snake_case,
    unreachable_pub,
    dead_code,
    clippy::undocumented_unsafe_blocks,
    reason = "generated; its unsafe code fills structs with zeros, which for those of a C API is a value"
)]
#[rustfmt::skip]
mod bindings;
mod buffer;
pub mod cache;
pub mod child;
mod client;
mod compile_options;
mod device;
mod error;
mod event;
mod executable;
mod loaded;
pub mod locate;
#[expect(non_upper_case_globals, reason = "names of the C API")]
mod named_value;
mod plugin;
mod signature;
mod table;
mod topology;

pub use buffer::{Buffer, Fetch};
pub use client::Client;
pub use compile_options::{CompileOptions, Optimization, ParseOptimizationError};
pub use device::{Device, DeviceDescription, DeviceMemory};
pub use error::{Error, ErrorCode, Result};
pub use executable::{CostAnalysis, Executable, MemoryStatistics};
pub use loaded::{Input, LoadedExecutable, Run};
pub use named_value::{Attributes, NamedValue};
pub use plugin::Plugin;
pub use signature::{ArgumentType, Element, Signature};
pub use topology::Topology;
