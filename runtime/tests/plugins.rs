//! PJRT plugins on the command line: what is found, and what is told of what is none.

mod common;

use std::fs;
use std::io::{self, Write};
use std::process::{Command, Output};

use common::text;

/// Runs the binary where no plugin is found but those of the environment.
fn tessera(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tessera"));
    command.args(arguments).current_dir(folder.path()).env("XDG_DATA_HOME", folder.path()).env("HOME", folder.path());
    command.env("PATH", folder.path()).env_remove("TESSERA_PJRT_PLUGIN").envs(environment.iter().copied());
    command.output().unwrap()
}

#[test]
fn plugins_that_are_missing_are_told_how_to_get() {
    let output = tessera(&["plugin", "list"], &[]);
    let found = text(&output.stdout);
    assert!(output.status.success());
    for part in
        ["cpu: no PJRT plugin for `cpu` in /", "`tessera plugin install tpu` gets it", "pip install jax[cuda13]"]
    {
        assert!(found.contains(part), "{found}");
    }
    let output = tessera(&["plugin", "install", "cpu"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: no Python with pip on the PATH"), "{}", text(&output.stderr));
}

#[test]
fn what_is_no_plugin_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plugin.so");
    fs::write(&file, "no library").unwrap();
    let missing = folder.path().join("missing.so");
    let mut wrong = vec![(file, "cannot be loaded as a PJRT plugin"), (missing, "No such file")];
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    if let Some(libc) = maps.split_whitespace().find(|word| word.ends_with("/libc.so.6")) {
        wrong.push((libc.into(), "not a PJRT plugin: it has no GetPjrtApi"));
    }
    for (path, expected) in wrong {
        let path = path.to_str().unwrap();
        let output = tessera(&["plugin", "list", path], &[]);
        let error = text(&output.stderr);
        assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
        assert!(error.starts_with(&format!("error: {path}: ")) && error.contains(expected), "{error}");
        // In the list of all, it hides no others.
        let output = tessera(&["plugin", "list"], &[("TESSERA_PJRT_PLUGIN", path)]);
        assert!(output.status.success() && text(&output.stdout).contains(expected));
    }
}

#[test]
fn a_plugin_describes_itself() {
    let Ok(plugin) = std::env::var("TESSERA_PJRT_PLUGIN") else {
        // Past the test harness, which shows nothing of tests that pass.
        let _ = writeln!(io::stderr(), "SKIPPED a_plugin_describes_itself: set TESSERA_PJRT_PLUGIN");
        return;
    };
    let output = tessera(&["plugin", "list", &plugin], &[]);
    let found = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    for part in ["PJRT API   0.", "StableHLO  1.", "platform   cpu", "devices    ", ": cpu, "] {
        assert!(found.contains(part), "{found}");
    }
    // The plugin ends its process; that is an error like others.
    let output = tessera(&["plugin", "list", &plugin], &[("XLA_FLAGS", "--xla_no_such_flag=1")]);
    let error = text(&output.stderr);
    assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.contains("ended its process") && error.contains("xla_no_such_flag"), "{error}");
}
