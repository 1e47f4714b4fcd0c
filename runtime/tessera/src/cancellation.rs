//! Ending a call from another thread.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Result;
use crate::observer::{Observer, Preparation, Progress, Tap};

/// A handle by which other threads end calls that were given it, or a clone of it, in
/// [`crate::RunOptions::cancellation`]. A call looks at it between the kernels of a step, and then
/// ends with [`crate::Error::Interrupted`].
#[derive(Debug, Clone, Default)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// A handle that nobody has used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the calls that have this handle, also those that have yet to begin.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Handles are equal if they end the same calls.
impl PartialEq for Cancellation {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// An observer that breaks too when a handle says so.
pub(crate) struct Cancellable<'a> {
    pub(crate) observer: &'a mut dyn Observer,
    pub(crate) cancellation: Option<&'a Cancellation>,
}

impl Cancellable<'_> {
    fn or_cancelled(&self, flow: ControlFlow<()>) -> ControlFlow<()> {
        if self.cancellation.is_some_and(Cancellation::is_cancelled) { ControlFlow::Break(()) } else { flow }
    }
}

impl Observer for Cancellable<'_> {
    fn preparing(&mut self, preparation: Preparation) -> ControlFlow<()> {
        let flow = self.observer.preparing(preparation);
        self.or_cancelled(flow)
    }

    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        let flow = self.observer.progress(progress);
        self.or_cancelled(flow)
    }

    fn tap(&mut self, tap: &Tap<'_>) -> Result<()> {
        self.observer.tap(tap)
    }
}
