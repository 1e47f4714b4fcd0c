//! Child processes that end badly, with a shell in the place of this program: no plugin is needed.

#![cfg(unix)]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use backend_tpu_stablehlo::pjrt::CompileOptions;
use backend_tpu_stablehlo::pjrt::child::{ChildError, Compilation, Reexecution};

/// A child that runs this script, with its folder as `$1`.
fn child(script: &str) -> Reexecution {
    let arguments = ["-c", script, "child"].map(String::from).to_vec();
    Reexecution { program: "/bin/sh".into(), arguments }
}

fn compile(script: &str, watch: &mut dyn FnMut() -> ControlFlow<()>) -> Result<Compilation, ChildError> {
    child(script).compile(Path::new("plugin.so"), "v6e:1x1", "module", &CompileOptions::default(), watch)
}

#[test]
fn a_child_that_ends_without_an_answer_is_an_error() {
    let end = |script: &str| compile(script, &mut || ControlFlow::Continue(())).unwrap_err().to_string();
    let aborted = end("echo noise >&2; echo unknown flag >&2; exit 6");
    assert!(
        aborted.starts_with("the plugin ended its process") && aborted.ends_with("noise; unknown flag"),
        "{aborted}"
    );
    assert!(end("exit 0").ends_with("it said nothing"));
    assert!(end("echo {} > \"$1/response.json\"").starts_with("a child process for the plugin cannot be had"));
    let missing = Reexecution { program: "/no/such/program".into(), arguments: vec![] };
    let error = missing.describe(Path::new("plugin.so"), Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, ChildError::System(_)), "{error}");
}

#[test]
fn an_interrupted_child_is_killed_and_leaves_nothing() {
    let note = tempfile::NamedTempFile::new().unwrap();
    let script = format!("echo $$ \"$1\" > {}; exec sleep 60", note.path().display());
    let started = || fs::read_to_string(note.path()).unwrap();
    let mut watch = || if started().ends_with('\n') { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let begun = Instant::now();
    let error = compile(&script, &mut watch).unwrap_err();
    assert!(matches!(error, ChildError::Interrupted), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    let started = started();
    let (process, folder) = started.trim().split_once(' ').unwrap();
    assert!(!Path::new("/proc").join(process).exists(), "it still runs");
    assert!(!Path::new(folder).exists(), "its folder is left");
}

#[test]
fn a_plugin_that_hangs_is_given_up() {
    let patience = Duration::from_millis(100);
    let error = child("exec sleep 60").describe(Path::new("plugin.so"), patience).unwrap_err();
    assert!(matches!(error, ChildError::TimedOut(found) if found == patience), "{error}");
}
