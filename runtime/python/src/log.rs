//! What the library logs, as Python's `logging` has it: loggers below `tessera`, by the modules.

use std::sync::OnceLock;

use log::LevelFilter;
use pyo3::prelude::*;
use pyo3_log::{Caching, Logger, ResetHandle};

/// Libraries that log all that they make, some at the level that programs such as ComfyUI show.
const VERBOSE: [&str; 4] = ["cranelift_jit", "cranelift_codegen", "cranelift_frontend", "regalloc2"];

static LEVELS: OnceLock<ResetHandle> = OnceLock::new();

/// From now on what is logged goes to `logging`.
pub(crate) fn start(py: Python<'_>) -> PyResult<()> {
    let logger = Logger::new(py, Caching::LoggersAndLevels)?.filter(LevelFilter::Trace).set_prefix("tessera");
    let quiet = |logger: Logger, verbose: &&str| logger.filter_target((*verbose).to_owned(), LevelFilter::Warn);
    let logger = VERBOSE.iter().fold(logger, quiet);
    // Another module of this process may have been first: then it has the log.
    if let Ok(levels) = logger.install() {
        let _ = LEVELS.set(levels);
    }
    Ok(())
}

/// Forgets which levels Python's loggers had, which are remembered since asking takes Python's lock.
pub(crate) fn refresh() {
    if let Some(levels) = LEVELS.get() {
        levels.reset();
    }
}
