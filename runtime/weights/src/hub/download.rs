//! How far a download has come, for whoever waits for it.

use std::ops::ControlFlow;

/// How far the download of one file has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Download<'a> {
    /// The file's path in the repository, such as `vae/config.json`.
    pub file: &'a str,
    /// Bytes that are here, those of an earlier, interrupted download included.
    pub bytes_done: u64,
    /// Bytes of the whole file.
    pub bytes_total: u64,
}

/// Called often while a file is downloaded, and not at all for one in the cache. Breaking stops the
/// call with [`crate::Error::Interrupted`]; what is here already is kept for the next call.
pub type OnDownload<'a> = dyn FnMut(Download<'_>) -> ControlFlow<()> + 'a;
