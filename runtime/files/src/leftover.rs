//! What killed processes left of their outputs: told from what is still being written, and removed.
//!
//! Whoever writes under a temporary name holds a lock on it, which ends with the process however
//! that ends. What nobody holds is a leftover; the next output in the same folder removes it.
//! Nothing that anybody could want is: outputs that are complete and were kept have other names,
//! and a folder that holds the output it was to replace stays.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::file_lock::{Lock, try_lock};

/// What temporary names begin with; letters and digits follow.
pub(crate) const PREFIX: &str = ".tessera-";
/// What the names of complete outputs begin with that could not be put in their place.
pub(crate) const KEPT_PREFIX: &str = ".tessera-kept-";
/// In a temporary folder: the folder that it is to replace.
pub(crate) const OLD: &str = "old";
/// How old a leftover must be: a file is there for a moment before it is locked.
const GRACE: Duration = Duration::from_secs(60);

/// Marks a file or folder as being written, until it is closed. Where the file system knows no
/// locks nothing is marked, and nothing is found to be a leftover either.
pub(crate) fn hold(file: &File, path: &Path) {
    try_lock(file, path);
}

/// Removes the leftovers in a folder. What cannot be removed, or not even be looked at, stays.
pub(crate) fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_temporary = |name: &str| {
            let rest = name.strip_prefix(PREFIX);
            rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        };
        if !entry.file_name().to_str().is_some_and(is_temporary) {
            continue;
        }
        let path = entry.path();
        match remove(&path) {
            Ok(true) => log::info!("{}: removed, a killed process left it", path.display()),
            Ok(false) => {}
            Err(cause) => log::debug!("{}: is a leftover and stays: {cause}", path.display()),
        }
    }
}

/// Removes what is at `path`, if it is a leftover.
fn remove(path: &Path) -> io::Result<bool> {
    let found = fs::symlink_metadata(path)?;
    let is_old = found.modified()?.elapsed().is_ok_and(|age| age > GRACE);
    if !is_old || !(found.is_file() || found.is_dir()) {
        return Ok(false);
    }
    // Held until it is removed: another process may be sweeping as well.
    let file = File::open(path)?;
    if try_lock(&file, path) != Lock::Held {
        return Ok(false);
    }
    if found.is_file() {
        fs::remove_file(path)?;
    } else if path.join(OLD).exists() {
        return Ok(false);
    } else {
        fs::remove_dir_all(path)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn what_nobody_writes_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let file = |name: &str| File::create(place(name)).unwrap();
        let age = |name: &str| {
            File::open(place(name)).unwrap().set_modified(SystemTime::now() - 2 * GRACE).unwrap();
        };
        let held = file(".tessera-held01");
        hold(&held, &place(".tessera-held01"));
        for name in [".tessera-left01", ".tessera-new001", ".tessera-kept-done01", ".tessera-", "other.npy"] {
            file(name);
        }
        for name in [".tessera-left02/new", ".tessera-swap01/old"] {
            fs::create_dir_all(place(name)).unwrap();
        }
        let old = [
            ".tessera-held01",
            ".tessera-left01",
            ".tessera-left02",
            ".tessera-swap01",
            ".tessera-kept-done01",
            ".tessera-",
            "other.npy",
        ];
        old.into_iter().for_each(age);
        sweep(folder.path());
        let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let expected =
            [".tessera-", ".tessera-held01", ".tessera-kept-done01", ".tessera-new001", ".tessera-swap01", "other.npy"];
        assert_eq!(left, expected);
        drop(held);
        sweep(folder.path());
        assert!(!place(".tessera-held01").exists());
        sweep(&place("no-such-folder"));
    }
}
