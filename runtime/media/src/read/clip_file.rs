//! An open file that a clip is in, and what it is called: read from several places at once, each at
//! a position of its own, where an open file has one for all.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Result;

/// A file that is open, and its name for messages.
#[derive(Debug, Clone)]
pub(super) struct ClipFile {
    pub(super) name: PathBuf,
    pub(super) file: Arc<File>,
    /// In bytes.
    pub(super) length: u64,
}

impl ClipFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`files::Error::Read`].
    pub(super) fn open(path: &Path) -> Result<ClipFile> {
        let read_error = |cause| files::Error::Read { path: path.into(), cause };
        let file = File::open(path).map_err(read_error)?;
        let length = file.metadata().map_err(read_error)?.len();
        Ok(ClipFile { name: path.into(), file: Arc::new(file), length })
    }

    /// Its bytes, from the first.
    pub(super) fn bytes(&self) -> FileBytes {
        FileBytes { file: self.file.clone(), at: 0 }
    }
}

/// The bytes of a file from a position of its own.
#[derive(Debug)]
pub(super) struct FileBytes {
    file: Arc<File>,
    at: u64,
}

impl Read for FileBytes {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        let count = std::os::unix::fs::FileExt::read_at(&*self.file, to, self.at)?;
        #[cfg(windows)]
        let count = std::os::windows::fs::FileExt::seek_read(&*self.file, to, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for FileBytes {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.file.metadata()?.len().checked_add_signed(by),
        };
        self.at = place.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
