//! A timeline of runs: when what was compiled, which step ran, and which thread worked on which
//! kernel. Written in the Trace Event Format, which <https://ui.perfetto.dev> and Chrome's
//! `about:tracing` open: complete events (`"ph": "X"`) in microseconds, and metadata that names the
//! threads.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

use serde_json::{Value, json};

use crate::error::Result;
use files::staging::StagedFile;

/// The process in the file: there is one.
const PROCESS: u32 = 1;

/// Events as they come, from any thread. Clones share them.
#[derive(Debug, Clone)]
pub struct Timeline {
    started: Instant,
    events: Arc<Mutex<Events>>,
}

#[derive(Debug, Default)]
struct Events {
    threads: HashMap<ThreadId, usize>,
    names: Vec<String>,
    spans: Vec<Event>,
}

/// Something that took time.
#[derive(Debug)]
struct Event {
    category: &'static str,
    name: String,
    thread: usize,
    start: Instant,
    end: Instant,
    details: Value,
}

/// Whether both are the same timeline.
impl PartialEq for Timeline {
    fn eq(&self, other: &Timeline) -> bool {
        Arc::ptr_eq(&self.events, &other.events)
    }
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline { started: Instant::now(), events: Arc::default() }
    }
}

impl Timeline {
    /// Notes what this thread did from `start` until now.
    pub(crate) fn add(&self, category: &'static str, name: impl Into<String>, start: Instant, details: Value) {
        let current = thread::current();
        let thread_name = current.name().unwrap_or("lane").to_owned();
        self.add_of(current.id(), &thread_name, category, name, [start, Instant::now()], details);
    }

    /// Notes what a thread did between two moments.
    pub(crate) fn add_of(
        &self,
        thread: ThreadId,
        thread_name: &str,
        category: &'static str,
        name: impl Into<String>,
        [start, end]: [Instant; 2],
        details: Value,
    ) {
        let mut events = self.events();
        let next = events.names.len();
        let thread = *events.threads.entry(thread).or_insert(next);
        if thread == next {
            events.names.push(thread_name.to_owned());
        }
        events.spans.push(Event { category, name: name.into(), thread, start, end, details });
    }

    fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of it, as the format has it.
    pub fn to_json(&self) -> Value {
        let events = self.events();
        let names = events.names.iter().enumerate().map(|(thread, name)| {
            json!({"ph": "M", "name": "thread_name", "pid": PROCESS, "tid": thread, "args": {"name": name}})
        });
        let micros = |moment: Instant| moment.saturating_duration_since(self.started).as_secs_f64() * 1e6;
        let spans = events.spans.iter().map(|event| {
            let Event { category, name, thread, start, end, details } = event;
            let (start, end) = (micros(*start), micros(*end));
            json!({
                "ph": "X", "cat": category, "name": name, "pid": PROCESS, "tid": thread,
                "ts": start, "dur": end - start, "args": details,
            })
        });
        let process = json!({"ph": "M", "name": "process_name", "pid": PROCESS, "tid": 0, "args": {"name": "tessera"}});
        json!({
            "displayTimeUnit": "ms",
            "traceEvents": std::iter::once(process).chain(names).chain(spans).collect::<Vec<_>>(),
        })
    }
}

/// A file for a timeline; it appears whole or not at all.
pub struct TimelineFile {
    file: StagedFile,
}

impl TimelineFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`files::Error::OutputPlace`].
    pub fn create(path: &Path) -> Result<TimelineFile> {
        Ok(TimelineFile { file: StagedFile::create(path)? })
    }

    /// Writes the timeline and puts the file in its place; returns that and its size in bytes.
    ///
    /// # Errors
    /// [`files::Error::Write`], [`files::Error::NotInPlace`].
    pub fn finish(mut self, timeline: &Timeline) -> Result<(PathBuf, u64)> {
        let text = timeline.to_json().to_string();
        self.file.write_all(text.as_bytes()).map_err(|cause| self.file.error(cause))?;
        Ok(self.file.persist()?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn events_are_in_microseconds_on_named_threads() {
        let timeline = Timeline::default();
        let start = timeline.started + Duration::from_millis(2);
        let here = thread::current().id();
        let ends = [start, start + Duration::from_micros(1500)];
        timeline.add_of(here, "tessera-0", "kernel", "convolution", ends, json!({"blocks": 3}));
        let shared = timeline.clone();
        thread::scope(|scope| {
            scope.spawn(move || shared.add("step", "decode", Instant::now(), Value::Null));
        });
        let json = timeline.to_json();
        let events = json["traceEvents"].as_array().unwrap();
        let of = |kind: &str| events.iter().filter(|event| event["ph"] == kind).collect::<Vec<_>>();
        let names: Vec<_> = of("M").iter().map(|event| event["args"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["tessera", "tessera-0", "lane"]);
        let [kernel, step] = of("X").try_into().unwrap();
        assert_eq!((kernel["ts"].as_f64(), kernel["dur"].as_f64()), (Some(2000.0), Some(1500.0)));
        assert_eq!((kernel["tid"].as_u64(), step["tid"].as_u64()), (Some(0), Some(1)));
        assert_eq!((kernel["cat"].as_str(), kernel["args"]["blocks"].as_u64()), (Some("kernel"), Some(3)));
        assert!(timeline == timeline.clone() && timeline != Timeline::default());
    }
}
