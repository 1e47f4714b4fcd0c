//! Filling the hub's cache on disk. Where its folders are, what a branch or tag stood for, and
//! finding a file is `hf-hub`'s; locks, content that is on its way, and links, which that crate has
//! only beside its own downloads, are here:
//!
//! ```text
//! models--OWNER--NAME/blobs/ETAG                     content
//! models--OWNER--NAME/blobs/ETAG.incomplete          content on its way
//! models--OWNER--NAME/snapshots/COMMIT/vae/FILE      link to the content
//! models--OWNER--NAME/refs/REVISION                  the commit that a branch or tag stood for when last asked
//! .locks/models--OWNER--NAME/ETAG.lock
//! ```
//!
//! Whatever lies in `blobs` without `.incomplete` is whole: it gets its name only when its length
//! and checksum are right.
//!
//! `hf-hub` puts revisions, commits and files into paths as they are, so they come here checked: a
//! [`HubId`] by its `parse`, what the hub answers by `client`, a shard's name by
//! [`crate::shard_index`].

use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};
use std::thread;
use std::time::Duration;

use files::file_lock::{self, Lock, try_lock};
use hf_hub::{CacheRepo, Repo, RepoType};

use super::client::Remote;
use super::failure::Failure;
use super::id::{HubId, is_commit};

/// How often a lock that another process holds is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// The part of the cache that belongs to one repository.
pub(super) struct RepositoryCache {
    /// `hf-hub`'s view of it, at the revision asked for.
    revision: CacheRepo,
    /// The branch, tag or commit asked for.
    name: String,
    is_pinned: bool,
    folder: PathBuf,
    locks: PathBuf,
}

/// The id as hf-hub wants it.
fn repo(id: &HubId) -> Repo {
    Repo::with_revision(id.repository().to_owned(), RepoType::Model, id.revision().to_owned())
}

/// Creates the folder of `path`.
fn make_parent(path: &Path) -> Result<(), Failure> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|cause| Failure::Disk { path: parent.into(), cause })
}

impl RepositoryCache {
    /// The part of the cache in `cache` for this repository.
    pub(super) fn new(cache: &Path, id: &HubId) -> RepositoryCache {
        let repo = repo(id);
        let (name, is_pinned) = (repo.folder_name(), is_commit(repo.revision()));
        RepositoryCache {
            name: repo.revision().to_owned(),
            locks: cache.join(".locks").join(&name),
            folder: cache.join(name),
            is_pinned,
            revision: hf_hub::Cache::new(cache.into()).repo(repo),
        }
    }

    /// The repository's folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the content with this tag is once it is whole.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Where the content with this tag is until it is whole.
    pub(super) fn partial(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// A file of the revision asked for, if it is here; for a branch or tag, of the commit it stood
    /// for when last asked.
    pub(super) fn find(&self, file: &str) -> Option<PathBuf> {
        let path = self.revision.get(file)?;
        // What stands in refs is not ours, and hf-hub takes it as it is: it may lead out of the
        // cache.
        let commit = path.strip_prefix(self.folder.join("snapshots")).ok()?.iter().next()?;
        self.find_commit(commit.to_str()?, file)
    }

    /// A file of `revision`, if that is a commit and the file is here.
    pub(super) fn find_commit(&self, revision: &str, file: &str) -> Option<PathBuf> {
        let path = self.snapshot(revision, file);
        (is_commit(revision) && path.is_file()).then_some(path)
    }

    fn snapshot(&self, commit: &str, file: &str) -> PathBuf {
        self.revision.pointer_path(commit).join(file)
    }

    /// Waits until no other process writes this content. The lock ends when the file is dropped;
    /// where there can be none, two processes do the same work, and what they write are the
    /// same bytes at the same places.
    pub(super) fn lock(
        &self,
        etag: &str,
        waiting: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Option<File>, Failure> {
        let path = self.locks.join(format!("{etag}.lock"));
        let made = fs::create_dir_all(&self.locks).and_then(|()| File::create(&path));
        let file = match made {
            Ok(file) => file,
            // Whether anything at all can be written here, the content will show.
            Err(cause) => {
                file_lock::without(&path, &cause);
                return Ok(None);
            }
        };
        while try_lock(&file, &path) == Lock::Busy {
            if waiting().is_break() {
                return Err(Failure::Interrupted);
            }
            thread::sleep(LOCK_PAUSE);
        }
        Ok(Some(file))
    }

    /// Declares the partial content whole.
    pub(super) fn keep(&self, etag: &str) -> Result<(), Failure> {
        let blob = self.blob(etag);
        match fs::rename(self.partial(etag), &blob) {
            // Another process was faster, where there are no locks.
            Err(_) if blob.is_file() => Ok(()),
            renamed => renamed.map_err(|cause| Failure::Disk { path: blob, cause }),
        }
    }

    /// Links `file` of the commit to its content, and gives its place.
    pub(super) fn point(&self, remote: &Remote, file: &str) -> Result<PathBuf, Failure> {
        let path = self.snapshot(&remote.commit, file);
        if path.is_file() {
            return Ok(path);
        }
        make_parent(&path)?;
        // From snapshots/COMMIT/vae/FILE three folders up.
        let depth = Path::new(file).components().filter(|part| matches!(part, Component::Normal(_))).count() + 1;
        let target: PathBuf = "../".repeat(depth).into();
        link(&target.join("blobs").join(&remote.etag), &self.blob(&remote.etag), &path)
            .map_err(|cause| Failure::Disk { path: path.clone(), cause })?;
        Ok(path)
    }

    /// Notes the commit that the revision asked for stands for, if that is news.
    pub(super) fn note(&self, commit: &str) {
        let refs = self.folder.join("refs");
        let is_known = fs::read_to_string(refs.join(&self.name)).is_ok_and(|known| known.trim() == commit);
        if self.is_pinned || is_known {
            return;
        }
        if let Err(cause) = self.revision.create_ref(commit) {
            log::warn!(
                "{}: cannot be written: {cause}; without the hub, `{}` will not be found to be {commit}",
                refs.display(),
                self.name
            );
        }
    }
}

/// A link at `path`; where the system or the file system allows no symbolic ones, a hard one or a
/// copy.
fn link(relative: &Path, blob: &Path, path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    let made = std::os::unix::fs::symlink(relative, path);
    #[cfg(windows)]
    let made = std::os::windows::fs::symlink_file(relative, path);
    match made {
        // Another process was faster.
        _ if path.is_file() => Ok(()),
        Ok(()) => Ok(()),
        Err(_) => {
            // A link whose content someone deleted is in the way.
            let _ = fs::remove_file(path);
            fs::hard_link(blob, path).or_else(|_| fs::copy(blob, path).map(drop))
        }
    }
}
