//! Threads, locks and mapped plugins do not come along when a process forks: what would hang for
//! ever in the child is refused there in words.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::{PyErr, PyResult};

use crate::errors::ForkError;

/// The process that has run something; 0 while none has.
static RAN_IN: AtomicU32 = AtomicU32::new(0);

/// Called before anything is run, in the process that is to run it.
///
/// # Errors
/// `ForkError` in the child of a process that has run something.
pub(crate) fn enter() -> PyResult<()> {
    let here = process::id();
    match RAN_IN.compare_exchange(0, here, Ordering::Relaxed, Ordering::Relaxed) {
        Err(there) if there != here => Err(refusal()),
        _ => Ok(()),
    }
}

fn refusal() -> PyErr {
    ForkError::new_err(
        "this process is the fork of one that has run Tessera, whose threads a fork does not have: start processes by \
         spawn or forkserver (multiprocessing.get_context(\"spawn\"), DataLoader(multiprocessing_context=\"spawn\")), \
         or fork before the first call and open the model in the child",
    )
}
