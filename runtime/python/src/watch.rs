//! Looking after a call on its way: Ctrl-C, and telling a Python function how far it has come. What
//! that function raises ends the call.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use tessera::{Cancellation, Error, Observer, Preparation};

use crate::errors::{Cancelled, to_python};

/// How often Python is asked for signals and told of progress.
const TICK: Duration = Duration::from_millis(50);

/// How far a call has come.
#[pyclass(frozen, get_all, module = "tessera")]
#[derive(Clone)]
pub(crate) struct Progress {
    /// Video frames of all samples that are done.
    frames_done: usize,
    /// Video frames of all samples.
    frames_total: usize,
    /// Which tile is under way, from 0.
    tile: usize,
    /// Tiles of a frame.
    tiles: usize,
    /// The share of all steps that is done, from 0 to 1.
    share: f64,
    /// Seconds that the rest will take; unknown at first.
    seconds_left: Option<f64>,
}

#[pymethods]
impl Progress {
    fn __repr__(&self) -> String {
        format!(
            "Progress(frames_done={}, frames_total={}, share={:.3})",
            self.frames_done, self.frames_total, self.share
        )
    }
}

impl From<&tessera::Progress> for Progress {
    fn from(progress: &tessera::Progress) -> Self {
        let &tessera::Progress { frames_done, frames_total, tile, tiles, share, seconds_left, .. } = progress;
        Self { frames_done, frames_total, tile, tiles, share, seconds_left }
    }
}

/// The observer of a call.
pub(crate) struct Watch {
    told: Option<Py<PyAny>>,
    cancellation: Option<Cancellation>,
    /// Ends the call too.
    closed: Option<Cancellation>,
    last: Instant,
    raised: Option<PyErr>,
}

impl Watch {
    /// Tells `told`, if it is there; `cancellation` is the one that the call was given.
    pub(crate) fn new(told: Option<Py<PyAny>>, cancellation: Option<Cancellation>) -> Self {
        Self { told, cancellation, closed: None, last: Instant::now(), raised: None }
    }

    /// The same watch, which ends the call too once `closed` is cancelled.
    #[must_use]
    pub(crate) fn until(self, closed: Cancellation) -> Self {
        Self { closed: Some(closed), ..self }
    }

    /// Lets signals raise, in the main thread, and tells what there is to tell.
    pub(crate) fn look(&mut self, progress: Option<&tessera::Progress>) -> ControlFlow<()> {
        self.last = Instant::now();
        let looked = Python::attach(|py| -> PyResult<()> {
            py.check_signals()?;
            match (&self.told, progress) {
                (Some(told), Some(progress)) => told.call1(py, (Progress::from(progress),)).map(drop),
                _ => Ok(()),
            }
        });
        match looked {
            Ok(()) => ControlFlow::Continue(()),
            Err(raised) => {
                self.raised = Some(raised);
                ControlFlow::Break(())
            }
        }
    }

    /// Whether it is time to look again.
    fn is_due(&self) -> bool {
        self.last.elapsed() >= TICK
    }

    /// [`Self::look`] for those who ask often and have no progress to tell.
    pub(crate) fn glance(&mut self) -> ControlFlow<()> {
        if self.is_due() { self.look(None) } else { ControlFlow::Continue(()) }
    }

    /// How the call ended: by what was raised on the way, if anything was.
    pub(crate) fn end<T, E>(self, result: Result<T, E>, to_error: impl Fn(E) -> PyErr) -> PyResult<T> {
        match (self.raised, result) {
            (Some(raised), _) => Err(raised),
            (None, result) => result.map_err(to_error),
        }
    }

    /// [`Self::end`] of a call of the library.
    pub(crate) fn end_call<T>(self, result: tessera::Result<T>) -> PyResult<T> {
        let cancelled = self.cancellation.as_ref().is_some_and(Cancellation::is_cancelled);
        self.end(result, |error| match error {
            Error::Interrupted if cancelled => Cancelled::new_err("the call was cancelled"),
            error => to_python(error),
        })
    }
}

impl Observer for Watch {
    fn preparing(&mut self, _: Preparation) -> ControlFlow<()> {
        self.look(None)
    }

    fn progress(&mut self, progress: &tessera::Progress) -> ControlFlow<()> {
        if self.closed.as_ref().is_some_and(Cancellation::is_cancelled) {
            return ControlFlow::Break(());
        }
        if self.is_due() || progress.share >= 1.0 { self.look(Some(progress)) } else { ControlFlow::Continue(()) }
    }
}

/// Ends calls from another thread: given to calls as their option `cancellation`.
#[pyclass(name = "Cancellation", frozen, module = "tessera")]
#[derive(Default)]
pub(crate) struct PyCancellation(pub(crate) Cancellation);

#[pymethods]
impl PyCancellation {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Ends the calls that have it, also those that have yet to begin: they raise `Cancelled`.
    fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether `cancel` was called.
    #[getter]
    fn cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}
