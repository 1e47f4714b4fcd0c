//! Fuzz targets: functions of bytes that anybody could have written. Each must return, in little
//! time and memory, whatever the bytes are; a panic is a finding.
//!
//! They are run by libFuzzer (`fuzz/`, a line each) and, over the seeds and some thousand mutations
//! of them, by the test `fuzzing` of this package. An input that was a finding is a seed from then
//! on. Formats are told by their first bytes, so that a seed is a file as a person would have it.

pub mod config_json;
pub mod executable_cache;
pub mod ir_text;
pub mod latents;
pub mod media;
pub mod mutation;
pub mod tensor_file;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its module and of its folder of seeds.
    pub name: &'static str,
    /// What is done with the bytes.
    pub run: fn(&[u8]),
    /// A folder of the repository whose files are seeds as well.
    pub more_seeds: Option<&'static str>,
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target { name: "config_json", run: config_json::run, more_seeds: None },
    Target { name: "executable_cache", run: executable_cache::run, more_seeds: None },
    Target { name: "ir_text", run: ir_text::run, more_seeds: Some("passes/tests/filetests") },
    Target { name: "latents", run: latents::run, more_seeds: None },
    Target { name: "media", run: media::run, more_seeds: Some("runtime/media/tests/data") },
    Target { name: "tensor_file", run: tensor_file::run, more_seeds: Some("runtime/files/tests/data") },
];

impl Target {
    /// The seeds, with their paths, in the order of these.
    ///
    /// # Panics
    /// When a folder cannot be read, or has no file.
    pub fn seeds(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut paths = files(&package.join("fuzz/seeds").join(self.name));
        paths.extend(self.more_seeds.into_iter().flat_map(|folder| files(&package.join("..").join(folder))));
        paths.sort();
        assert!(!paths.is_empty(), "{} has no seeds", self.name);
        let read = |path: PathBuf| {
            let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (path, bytes)
        };
        paths.into_iter().map(read).collect()
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries.map(|entry| entry.expect("a folder entry").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Calls `then` with the path of a file of this ending that holds `bytes`, in a folder of this
/// thread's own.
fn with_file<R>(ending: &str, bytes: &[u8], then: impl FnOnce(&Path) -> R) -> R {
    thread_local! {
        static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
    }
    let path = FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| tempfile::tempdir().expect("a temporary folder"));
        folder.path().join("input").with_extension(ending)
    });
    fs::write(&path, bytes).expect("a file in a temporary folder");
    then(&path)
}
