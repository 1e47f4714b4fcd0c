//! Frames as they are done: a thread decodes, and Python takes one block after the other. The
//! thread is at most two blocks ahead.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use numpy::PyArray1;
use pyo3::prelude::*;
use tessera::media::FrameBlock;
use tessera::{Cancellation, Error, Latents, Report, Vae};

use crate::errors::TesseraError;
use crate::options::CallOptions;
use crate::report::{self, to_object};

/// How often a thread that waits for frames asks Python for signals.
const TICK: Duration = Duration::from_millis(50);

/// What the thread hands over.
enum Message {
    /// The frames of a step: the sample, how many, [C, T, H, W].
    Frames(usize, usize, Vec<f32>),
    /// The end.
    End(PyResult<Box<Report>>),
}

/// The sample, how many frames, and their values, [C, T, H, W] in a row.
type Block<'py> = (usize, usize, Bound<'py, PyArray1<f32>>);

/// An iterator over blocks of frames of a clip that is being decoded.
#[pyclass(frozen, weakref, module = "tessera._tessera")]
pub(crate) struct Blocks {
    running: Mutex<Option<Running>>,
    report: Mutex<Option<Box<Report>>>,
    /// Ends the thread when nobody wants more; the caller's own handle is for the caller.
    closed: Cancellation,
}

struct Running {
    received: Receiver<Message>,
    thread: JoinHandle<()>,
}

impl Blocks {
    /// Begins to decode.
    ///
    /// # Errors
    /// `TesseraError` if there is no thread to be had.
    pub(crate) fn start(py: Python<'_>, vae: Arc<Vae>, latents: Latents, options: CallOptions) -> PyResult<Self> {
        let closed = Cancellation::new();
        let mut watch = options.watch(py).until(closed.clone());
        let (sender, received) = sync_channel(1);
        let decode = move || {
            let mut sink = |sample: usize, block: &FrameBlock<'_>| {
                // Whoever received them is gone, and has asked to end already.
                send(&sender, Message::Frames(sample, block.frames, block.data.to_vec()))
            };
            let result = vae.decode(&latents, &options.run, &mut sink, &mut watch);
            let end = watch.end_call(result.map(Box::new));
            // Nobody need hear it.
            let _ = send(&sender, Message::End(end));
        };
        let thread = thread::Builder::new().name("tessera decode".into()).spawn(decode);
        let thread = thread.map_err(|cause| TesseraError::new_err(format!("no thread to decode on: {cause}")))?;
        let running = Mutex::new(Some(Running { received, thread }));
        Ok(Self { running, report: Mutex::default(), closed })
    }

    /// Ends the thread, if it runs.
    fn end(&self) {
        let Some(Running { received, thread }) = lock(&self.running).take() else { return };
        self.closed.cancel();
        drop(received);
        // A panic there was told where it happened.
        let _ = thread.join();
    }
}

fn send(sender: &SyncSender<Message>, message: Message) -> tessera::Result<()> {
    sender.send(message).map_err(|_| Error::Interrupted)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pymethods]
impl Blocks {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Block<'py>>> {
        loop {
            let received = py.detach(|| {
                let running = lock(&self.running);
                running.as_ref().map(|running| running.received.recv_timeout(TICK))
            });
            match received {
                None => return Ok(None),
                Some(Ok(Message::Frames(sample, frames, values))) => {
                    return Ok(Some((sample, frames, PyArray1::from_vec(py, values))));
                }
                Some(Ok(Message::End(end))) => {
                    py.detach(|| self.end());
                    *lock(&self.report) = Some(end?);
                    return Ok(None);
                }
                Some(Err(RecvTimeoutError::Timeout)) => py.check_signals()?,
                Some(Err(RecvTimeoutError::Disconnected)) => {
                    py.detach(|| self.end());
                    return Err(TesseraError::new_err("the thread that decodes ended without a word"));
                }
            }
        }
    }

    /// Ends decoding, if it has not ended.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.end());
    }

    /// What it has cost; `None` before the end.
    #[getter]
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        lock(&self.report).as_deref().map(|told| to_object(py, &report::report(told))).transpose()
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        // The thread may wait for Python before it ends.
        Python::attach(|py| py.detach(|| self.end()));
    }
}
