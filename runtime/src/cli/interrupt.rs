//! Ctrl-C, and a request to terminate, as a flag that is looked at between kernels.

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C sets the flag instead of ending the process.
pub(super) fn listen() {
    if let Err(error) = ctrlc::set_handler(|| ASKED.store(true, Ordering::Relaxed)) {
        log::warn!("Ctrl-C will end the process at once: {error}");
    }
}

/// Whether Ctrl-C came.
pub(super) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
