//! Locks on files, and what is done where the file system has none: what they guard goes on
//! without.
//!
//! Network file systems and some of containers refuse `flock`, each with an error of its own
//! (ENOLCK, EACCES, EINVAL, EIO, EOPNOTSUPP, ENOSYS ...), so any error but that somebody else holds
//! the lock means that there are no locks. That is said once.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Once;

/// What came of asking for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// It is held until the file is closed.
    Held,
    /// Somebody else holds it.
    Busy,
    /// There are no locks here.
    None,
}

/// Asks for the lock on an open file; `path` is what a person would know it by.
pub fn try_lock(file: &File, path: &Path) -> Lock {
    outcome(|| file.try_lock(), path)
}

/// [`try_lock`] by this call.
fn outcome(mut call: impl FnMut() -> Result<(), TryLockError>, path: &Path) -> Lock {
    loop {
        match call() {
            Ok(()) => return Lock::Held,
            Err(TryLockError::WouldBlock) => return Lock::Busy,
            Err(TryLockError::Error(cause)) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(cause)) => {
                without(path, &cause);
                return Lock::None;
            }
        }
    }
}

/// Says that there is no lock, and why; the first time aloud.
pub fn without(path: &Path, cause: &io::Error) {
    static SAID: Once = Once::new();
    let mut level = log::Level::Debug;
    SAID.call_once(|| level = log::Level::Warn);
    log::log!(level, "{}: no file can be locked here ({cause}); going on without locks", path.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_held_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (one, other) = (File::create(&path).unwrap(), File::create(&path).unwrap());
        assert_eq!((try_lock(&one, &path), try_lock(&other, &path)), (Lock::Held, Lock::Busy));
        drop(one);
        assert_eq!(try_lock(&other, &path), Lock::Held);
    }

    #[test]
    fn every_error_means_that_there_are_no_locks() {
        // As Linux numbers them: EPERM, EIO, EBADF, EACCES, EINVAL, ENOLCK, ENOSYS, EOPNOTSUPP,
        // ESTALE.
        for errno in [1, 5, 9, 13, 22, 37, 38, 95, 116] {
            let fail = || Err(TryLockError::Error(io::Error::from_raw_os_error(errno)));
            assert_eq!(outcome(fail, Path::new("x")), Lock::None, "{errno}");
        }
        let mut calls = 0;
        let interrupted = || {
            calls += 1;
            if calls < 3 { Err(TryLockError::Error(io::ErrorKind::Interrupted.into())) } else { Ok(()) }
        };
        assert_eq!(outcome(interrupted, Path::new("x")), Lock::Held);
    }
}
