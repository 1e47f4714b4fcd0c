//! No other crate reads the environment.

use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file below `folder`, but for what builds leave and what this crate has.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match path.is_dir() {
            true if name == "target" || name == "knobs" || name.starts_with('.') => {}
            true => sources(&path, found),
            false if name.ends_with(".rs") => found.push(path),
            false => {}
        }
    }
}

#[test]
fn nothing_else_reads_the_environment() {
    let mut found = vec![];
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut found);
    assert!(found.len() > 100, "{} files", found.len());
    for path in found {
        let text = fs::read_to_string(&path).expect("a source file");
        // `env!`, `env::args` and the like tell other things.
        for call in ["env::var", "env::vars", "var_os("] {
            let line = text.lines().find(|line| line.contains(call));
            assert!(line.is_none(), "{}: {}: declare a knob in knobs/src/lib.rs", path.display(), line.unwrap_or(""));
        }
    }
}
