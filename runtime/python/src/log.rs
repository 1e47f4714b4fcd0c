//! What the library logs, as Python's `logging` has it: loggers below `tessera`, by the modules.

use std::sync::OnceLock;

use log::LevelFilter;
use pyo3::prelude::*;
use pyo3_log::{Caching, Logger, ResetHandle};

static LEVELS: OnceLock<ResetHandle> = OnceLock::new();

/// From now on what is logged goes to `logging`.
pub(crate) fn start(py: Python<'_>) -> PyResult<()> {
    let logger = Logger::new(py, Caching::LoggersAndLevels)?.filter(LevelFilter::Trace).set_prefix("tessera");
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
