//! Outputs that appear whole or not at all: written beside their place under a temporary name,
//! renamed at the end.
//!
//! What a dropped writer has written is removed. What stays if the process is killed outright, the
//! next output in the same folder removes: see `leftover`. An output that is complete and cannot be
//! renamed is kept under another name beside its place: the error says which. Links are followed
//! ([`crate::place`]); the null device is given nothing.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile, TempDir};

use crate::error::{Error, Result};
use crate::leftover::{KEPT_PREFIX, OLD, PREFIX, hold, sweep};
use crate::place::{Place, check_replaceable_file};
use crate::spill;

/// What a place is told that takes no output whole.
const NO_FILE: &str = "this is a pipe or a device, and this output appears in its place whole, as a file or folder; \
                       what streams, frame by frame, is a clip as y4m";
/// The folder to come, inside a temporary one.
const NEW: &str = "new";

/// A file on its way to where `named` leads.
pub struct StagedFile {
    file: BufWriter<NamedTempFile>,
    /// As it was given, for messages.
    named: PathBuf,
    /// Behind all links; none for the null device.
    target: Option<PathBuf>,
}

impl StagedFile {
    /// Makes a temporary file in the folder that `path` leads to; refuses a place that cannot take
    /// one.
    ///
    /// # Errors
    /// [`Error::OutputPlace`].
    pub fn create(path: &Path) -> Result<StagedFile> {
        let place = |problem: String| Err(Error::OutputPlace { path: path.into(), problem });
        let target = match Place::of(path)? {
            Place::File(target) => target,
            Place::Folder(_) => {
                return place("there is a folder of this name; choose another name or remove it".into());
            }
            Place::Pipe | Place::Device => return place(NO_FILE.into()),
            Place::Null => {
                let folder = spill::folder();
                let file = Builder::new().prefix(PREFIX).tempfile_in(&folder);
                let file = file.map_err(|cause| refused(path, &folder, &cause))?;
                // Without a name it is gone with the process, however that ends.
                let _ = fs::remove_file(file.path());
                return Ok(StagedFile { file: BufWriter::new(file), named: path.into(), target: None });
            }
        };
        check_replaceable_file(path, &target)?;
        let parent = parent(path, &target)?;
        sweep(&parent);
        let mut builder = Builder::new();
        builder.prefix(PREFIX);
        // As a file that any program makes: what the umask allows, not only the owner.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(&parent).map_err(|cause| refused(path, &parent, &cause))?;
        hold(file.as_file(), file.path());
        Ok(StagedFile { file: BufWriter::new(file), named: path.into(), target: Some(target) })
    }

    /// Where the file will appear, as it was given.
    pub fn target(&self) -> &Path {
        &self.named
    }

    /// The error for a failed write.
    pub fn error(&self, cause: io::Error) -> Error {
        Error::Write { path: self.named.clone(), cause }
    }

    /// Makes the file `bytes` long; what was not written reads as zeros.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn set_len(&self, bytes: u64) -> Result<()> {
        self.file.get_ref().as_file().set_len(bytes).map_err(|cause| self.error(cause))
    }

    /// Puts the file in its place; returns that and the size in bytes. A complete file that cannot
    /// be put there is kept under its temporary name.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::NotInPlace`].
    pub fn persist(self) -> Result<(PathBuf, u64)> {
        let path = self.named;
        let failed = |cause| Error::Write { path: path.clone(), cause };
        let file = self.file.into_inner().map_err(|cause| failed(cause.into_error()))?;
        let Some(target) = self.target else { return Ok((path, 0)) };
        file.as_file().sync_data().map_err(failed)?;
        let bytes = file.as_file().metadata().map_err(failed)?.len();
        match file.persist(target) {
            Ok(_) => Ok((path, bytes)),
            Err(cause) => {
                let problem = format!("the file cannot be put here: {}", cause.error);
                let (_, kept) = cause.file.keep().map_err(|cause| failed(cause.error))?;
                Err(Error::NotInPlace { path, problem, kept: renamed_as_kept(kept) })
            }
        }
    }
}

impl Write for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for StagedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// A folder on its way to `target`, which may be there already if it holds nothing that is not
/// ours.
pub struct StagedFolder {
    /// Holds [`NEW`], the folder to come, and for a moment [`OLD`], the one it replaces.
    temporary: TempDir,
    /// Holds the lock, where a folder can be opened.
    _held: Option<File>,
    /// As it was given, for messages.
    named: PathBuf,
    /// Behind all links.
    target: PathBuf,
    is_ours: fn(&Path) -> bool,
}

impl StagedFolder {
    /// Makes a temporary folder beside `target`. `is_ours` tells which entries of an existing
    /// folder may be replaced.
    ///
    /// # Errors
    /// [`Error::OutputPlace`] if the folder holds anything else, or nothing can be written there.
    pub fn create(target: &Path, is_ours: fn(&Path) -> bool) -> Result<StagedFolder> {
        let place = |problem: String| Error::OutputPlace { path: target.into(), problem };
        // A folder is replaced where it really is, not the link to it.
        let resolved = match Place::of(target)? {
            Place::File(path) | Place::Folder(path) => path,
            Place::Pipe | Place::Device | Place::Null => return Err(place(NO_FILE.into())),
        };
        if resolved.file_name().is_none() {
            let problem = "this is no name for a new folder; write `NAME/`".to_owned();
            return Err(place(problem));
        }
        check_replaceable(&resolved, is_ours).map_err(place)?;
        let parent = parent(target, &resolved)?;
        sweep(&parent);
        let temporary =
            Builder::new().prefix(PREFIX).tempdir_in(&parent).map_err(|cause| refused(target, &parent, &cause))?;
        let held = File::open(temporary.path()).ok();
        held.iter().for_each(|held| hold(held, temporary.path()));
        let named = target.components().collect();
        let staged = StagedFolder { temporary, _held: held, named, target: resolved, is_ours };
        fs::create_dir(staged.staged()).map_err(|cause| staged.error(cause))?;
        Ok(staged)
    }

    /// The folder to write into.
    pub fn staged(&self) -> PathBuf {
        self.temporary.path().join(NEW)
    }

    /// The error for a failed write.
    pub fn error(&self, cause: io::Error) -> Error {
        Error::Write { path: self.named.clone(), cause }
    }

    /// Puts the folder in its place and removes the one it replaces. If that fails the new folder
    /// is kept under its temporary name.
    ///
    /// # Errors
    /// [`Error::NotInPlace`].
    pub fn persist(self) -> Result<PathBuf> {
        match self.swap() {
            Ok(()) => Ok(self.named),
            Err(problem) => {
                let kept = self.temporary.keep();
                // The message has said where the old folder is.
                let kept = if kept.join(OLD).exists() { kept } else { renamed_as_kept(kept) }.join(NEW);
                Err(Error::NotInPlace { path: self.named, problem, kept })
            }
        }
    }

    fn swap(&self) -> Result<(), String> {
        // Looked at again: someone may have put files there in the meantime.
        check_replaceable(&self.target, self.is_ours)?;
        let old = self.temporary.path().join(OLD);
        let replaces = self.target.exists();
        if replaces {
            fs::rename(&self.target, &old).map_err(|cause| format!("the old folder cannot be moved away: {cause}"))?;
        }
        fs::rename(self.staged(), &self.target).map_err(|cause| {
            if replaces && fs::rename(&old, &self.target).is_err() {
                return format!(
                    "the new folder cannot be put here: {cause}; the old one is kept as `{}`",
                    old.display()
                );
            }
            format!("the new folder cannot be put here: {cause}")
        })
    }
}

/// Gives what is kept under a temporary name one that is no temporary name, if that can be had;
/// returns where it is now.
fn renamed_as_kept(path: PathBuf) -> PathBuf {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(PREFIX));
    let Some(kept) = name.map(|name| path.with_file_name(format!("{KEPT_PREFIX}{name}"))) else { return path };
    if fs::rename(&path, &kept).is_ok() { kept } else { path }
}

/// Says what is in the way, if anything is.
fn check_replaceable(folder: &Path, is_ours: fn(&Path) -> bool) -> Result<(), String> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(cause) => {
            return match cause.kind() {
                ErrorKind::NotFound => Ok(()),
                ErrorKind::NotADirectory => {
                    Err("there is a file of this name; choose another name or remove it".into())
                }
                _ => Err(format!("the folder cannot be read: {cause}")),
            };
        }
    };
    for entry in entries {
        let entry = entry.map_err(|cause| format!("the folder cannot be read: {cause}"))?;
        if !is_ours(&entry.path()) {
            let name = entry.file_name();
            return Err(format!(
                "the folder holds `{}`, which is not of an earlier output; choose a new or empty folder",
                name.display()
            ));
        }
    }
    Ok(())
}

/// Removes what killed processes left of their outputs in a folder, as every output in it does: what
/// is still being written, or is younger than a minute, stays.
pub fn remove_leftovers(folder: &Path) {
    sweep(folder);
}

/// The folder that `target` is in, to which `path` leads.
fn parent(path: &Path, target: &Path) -> Result<PathBuf> {
    let parent = match target.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    if parent.is_dir() {
        return Ok(parent.into());
    }
    let problem = if parent.exists() {
        format!("`{}` is not a folder", parent.display())
    } else {
        format!("there is no folder `{}`; make it first", parent.display())
    };
    Err(Error::OutputPlace { path: path.into(), problem })
}

fn refused(target: &Path, parent: &Path, cause: &io::Error) -> Error {
    let problem = format!("nothing can be written into the folder `{}`: {cause}", parent.display());
    Error::OutputPlace { path: target.into(), problem }
}
