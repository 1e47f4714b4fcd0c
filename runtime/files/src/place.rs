//! What the path of an output stands for: where it really goes, and what is there now.
//!
//! Links are followed: what they point to is replaced, or made, and the link stays.

use std::fs::{self, FileType, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Links that are followed from one to the next, as systems do it.
const MOST_LINKS: usize = 40;

/// Where an output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file that is there, or nothing yet: the path behind all links.
    File(PathBuf),
    /// A folder that is there: the path behind all links.
    Folder(PathBuf),
    /// A pipe, which hands on bytes as they come.
    Pipe,
    /// A device, such as a terminal, or a socket.
    Device,
    /// The system's null device, which takes all and keeps nothing.
    Null,
}

impl Place {
    /// What `path` stands for.
    ///
    /// # Errors
    /// [`Error::OutputPlace`] for links that go in a circle or to a file that has no name any more,
    /// and where a path cannot be looked at.
    pub fn of(path: &Path) -> Result<Place> {
        let fail = |cause: io::Error| Error::OutputPlace { path: path.into(), problem: cause.to_string() };
        match fs::metadata(path) {
            Ok(found) if is_null(&found) => Ok(Place::Null),
            Ok(found) if found.is_dir() => Ok(Place::Folder(path.canonicalize().map_err(fail)?)),
            Ok(found) if found.is_file() => {
                let target = behind_links(path).map_err(fail)?;
                // Of an open file, as `/dev/fd` shows them, the link may lead nowhere.
                let gone =
                    || fail(io::Error::other("this file has no name any more, under which it could be replaced"));
                if target.exists() { Ok(Place::File(target)) } else { Err(gone()) }
            }
            Ok(found) => special(found.file_type()).ok_or_else(|| fail(io::Error::other("this is a disk"))),
            Err(cause) if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Ok(Place::File(behind_links(path).map_err(fail)?))
            }
            // A link that nobody may follow, or that leads to itself.
            Err(cause) => Err(fail(cause)),
        }
    }
}

/// The path that a chain of links ends at, whether something is there or not.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    // Without a separator at the end, which would follow a link by itself.
    let mut path: PathBuf = path.components().collect();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(next) => path = path.parent().unwrap_or(Path::new("")).join(next),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many links, one behind the other"))
}

/// Refuses to replace a file that could not be written to either: one that is write-protected, or a
/// program that runs.
pub(crate) fn check_replaceable_file(path: &Path, target: &Path) -> Result<()> {
    match OpenOptions::new().write(true).open(target) {
        Err(cause) if target.exists() => {
            let problem = format!("the file that is there cannot be replaced: {cause}");
            Err(Error::OutputPlace { path: path.into(), problem })
        }
        _ => Ok(()),
    }
}

/// Refuses a name that does not end in `.ending`, which is all that the output can be; `known` says
/// so. The null device takes anything.
///
/// # Errors
/// [`Error::UnknownOutput`].
pub fn require_ending(path: &Path, ending: &str, known: &'static str) -> Result<()> {
    let found = path.extension().unwrap_or_default().to_string_lossy();
    if found.eq_ignore_ascii_case(ending) || matches!(Place::of(path), Ok(Place::Null)) {
        return Ok(());
    }
    let ending = if found.is_empty() { "no ending".into() } else { format!(".{found}") };
    Err(Error::UnknownOutput { path: path.into(), ending, known })
}

#[cfg(unix)]
fn is_null(found: &Metadata) -> bool {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let of_null = || fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == found.rdev());
    found.file_type().is_char_device() && of_null()
}

#[cfg(not(unix))]
fn is_null(_: &Metadata) -> bool {
    false
}

/// What is neither a file nor a folder; none for a disk, which nobody means to write a clip over.
#[cfg(unix)]
fn special(found: FileType) -> Option<Place> {
    use std::os::unix::fs::FileTypeExt;
    match () {
        () if found.is_fifo() => Some(Place::Pipe),
        () if found.is_block_device() => None,
        () => Some(Place::Device),
    }
}

#[cfg(not(unix))]
fn special(_: FileType) -> Option<Place> {
    Some(Place::Device)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_to_where_an_output_goes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("there")).unwrap();
        fs::write(at("there/file"), "").unwrap();
        symlink("there/file", at("link")).unwrap();
        symlink("link", at("chain")).unwrap();
        symlink("there/new", at("dangling")).unwrap();
        symlink("there", at("folder")).unwrap();
        symlink("../link", at("there/back")).unwrap();
        symlink("circle", at("circle")).unwrap();
        let is_file =
            |name: &str, path: &str| assert_eq!(Place::of(&at(name)).unwrap(), Place::File(at(path)), "{name}");
        is_file("new", "new");
        is_file("link", "there/file");
        is_file("chain", "there/file");
        is_file("dangling", "there/new");
        is_file("folder/back", "folder/../there/file");
        let real = at("there").canonicalize().unwrap();
        for name in ["there", "folder", "folder/", "there/."] {
            assert_eq!(Place::of(&at(name)).unwrap(), Place::Folder(real.clone()), "{name}");
        }
        let circle = Place::of(&at("circle")).unwrap_err().to_string();
        assert!(circle.contains("circle: ") && circle.contains("symbolic links"), "{circle}");
        assert_eq!(Place::of("/dev/null".as_ref()).unwrap(), Place::Null);
        assert_eq!(Place::of("/dev/zero".as_ref()).unwrap(), Place::Device);
    }
}
