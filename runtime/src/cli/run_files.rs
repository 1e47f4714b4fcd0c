//! The files that a run reads, and those that it is to write: none is both, and none is written
//! twice. Each is told here before any work, whichever comes first.
//!
//! Files are told apart by what they are and not by their names: links, `./` and the like lead to
//! the same one. What is no file and no folder, such as a terminal or the null device, may be
//! anything at once.

use std::io;
use std::path::{Path, PathBuf};

use file_id::{FileId, get_file_id};
use files::place::Place;
use tessera::Error;
use tessera::media::{Outputs, outputs, read};
use tessera::model::ModelFiles;

use super::stream_paths::{STDIN, STDOUT, is_dash, is_stdout};

/// All files of a run that were told.
pub(super) struct RunFiles {
    known: Vec<Known>,
}

/// A file or folder of the run.
struct Known {
    /// What it is to the run, for messages.
    what: &'static str,
    /// As it was given.
    named: PathBuf,
    role: Role,
    id: Option<FileId>,
    /// Where it is: behind all links, and as it was given. Both without links on the way.
    at: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Read,
    Write,
    /// Replaced with all that is in it.
    WriteFolder,
}

impl RunFiles {
    /// Nothing yet but the file that standard output goes to, if it goes to one.
    pub(super) fn new() -> RunFiles {
        let stdout = Path::new(STDOUT);
        let known = stdout.is_file().then(|| Known::new("standard output", stdout, Role::Write));
        RunFiles { known: known.into_iter().collect() }
    }

    /// A file that is read. One that is not there is the reader's to complain of.
    pub(super) fn reads(&mut self, what: &'static str, path: &Path) -> Result<(), Error> {
        self.add(Known::new(what, path, Role::Read))
    }

    /// The files of a model.
    pub(super) fn reads_model(&mut self, files: &ModelFiles) -> Result<(), Error> {
        files.paths().iter().try_for_each(|path| self.reads("the model", path))
    }

    /// A video: a file, or a folder and the pictures in it.
    pub(super) fn reads_video(&mut self, path: &Path) -> Result<(), Error> {
        let path = if is_dash(path) { Path::new(STDIN) } else { path };
        self.reads("the video", path)?;
        read::files(path).iter().try_for_each(|path| self.reads("the video", path))
    }

    /// A file that is to be written, whole.
    pub(super) fn writes(&mut self, what: &'static str, path: &Path) -> Result<(), Error> {
        if is_dash(path) {
            let problem =
                format!("{what} is no stream, and cannot go to standard output; `./-` is a file of this name");
            return Err(files::Error::OutputPlace { path: path.into(), problem }.into());
        }
        self.add(Known::new(what, path, Role::Write))
    }

    /// A folder that is to be replaced.
    pub(super) fn writes_folder(&mut self, what: &'static str, path: &Path) -> Result<(), Error> {
        if is_dash(path) {
            return self.writes(what, path);
        }
        self.add(Known::new(what, path, Role::WriteFolder))
    }

    /// A clip, as [`tessera::media::create`] writes it: a file, one for each sample, or a folder.
    pub(super) fn writes_clip(&mut self, path: &Path, batch: usize) -> Result<(), Error> {
        match outputs(path, batch)? {
            Outputs::Files(files) => files.iter().try_for_each(|file| self.writes("the clip", file)),
            Outputs::Folder(folder) => self.writes_folder("the clip", &folder),
        }
    }

    /// A clip that is handed on as it comes.
    pub(super) fn streams_clip(&mut self, path: &Path) -> Result<(), Error> {
        if is_stdout(path) {
            self.known.retain(|known| known.named != Path::new(STDOUT));
            return self.add(Known::new("standard output", Path::new(STDOUT), Role::Write));
        }
        self.add(Known::new("the clip", path, Role::Write))
    }

    fn add(&mut self, new: Known) -> Result<(), Error> {
        for old in &self.known {
            if let Some((path, problem)) = conflict(old, &new).or_else(|| conflict(&new, old)) {
                return Err(files::Error::OutputPlace { path, problem }.into());
            }
        }
        self.known.push(new);
        Ok(())
    }
}

impl Known {
    fn new(what: &'static str, path: &Path, role: Role) -> Known {
        let named = path.to_owned();
        let behind = match Place::of(path) {
            Ok(Place::Device | Place::Null) => return Known { what, named, role, id: None, at: vec![] },
            Ok(Place::File(path) | Place::Folder(path)) => Some(path),
            Ok(Place::Pipe) | Err(_) => None,
        };
        let at = behind.iter().map(PathBuf::as_path).chain([path]).filter_map(|path| without_links(path).ok());
        Known { what, named, role, id: get_file_id(path).ok(), at: at.collect() }
    }

    fn is(&self, other: &Known) -> bool {
        match (self.id, other.id) {
            (Some(id), Some(of_other)) => id == of_other,
            (None, None) => self.at.iter().any(|path| other.at.contains(path)),
            _ => false,
        }
    }

    fn is_in(&self, folder: &Known) -> bool {
        let above = |path: &PathBuf| path.ancestors().skip(1).any(|above| get_file_id(above).ok() == folder.id);
        folder.id.is_some() && self.at.iter().any(above)
    }
}

/// The path with the links of its folders followed, though not its own.
fn without_links(path: &Path) -> io::Result<PathBuf> {
    let path: PathBuf = path.components().collect();
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match path.file_name() {
        Some(name) => Ok(parent.canonicalize()?.join(name)),
        None => path.canonicalize(),
    }
}

/// What is wrong with writing `written` beside `other`: the path to complain of, and why.
fn conflict(written: &Known, other: &Known) -> Option<(PathBuf, String)> {
    let Known { what, named, .. } = other;
    let named = named.display();
    let problem = match (written.role, other.role) {
        (Role::Read, _) => return None,
        (_, Role::Read) if written.is(other) => {
            format!(
                "this run reads {what} from here (`{named}`), and what is read is not written; choose another place \
                 for {}",
                written.what
            )
        }
        (Role::WriteFolder, Role::Read) if other.is_in(written) => format!(
            "this folder is to be replaced, and this run reads {what} from it (`{named}`): what is read is not \
             written; choose another place for {}",
            written.what
        ),
        (_, Role::Read) => return None,
        _ if written.is(other) => format!(
            "{} and {what}, `{named}`, would be the same file; choose another place for one of them",
            written.what
        ),
        (Role::WriteFolder, _) if other.is_in(written) => {
            format!("this folder is to be replaced, and {what}, `{named}`, is to be in it; choose another place for it")
        }
        _ => return None,
    };
    Some((written.named.clone(), problem))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder with `in/frame-00000.png`, and what leads to it: `hard`, `soft`, and `folder` to
    /// `in`.
    fn workplace() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("in/deep")).unwrap();
        fs::write(at("in/frame-00000.png"), "picture").unwrap();
        fs::write(at("in/notes.txt"), "notes").unwrap();
        fs::hard_link(at("in/frame-00000.png"), at("hard")).unwrap();
        symlink("in/frame-00000.png", at("soft")).unwrap();
        symlink("in", at("folder")).unwrap();
        folder
    }

    #[test]
    fn what_is_read_is_not_written_by_whatever_name() {
        let folder = workplace();
        let at = |name: &str| folder.path().join(name);
        for name in ["in/frame-00000.png", "./in/../in/frame-00000.png", "hard", "soft", "folder/frame-00000.png"] {
            for write_first in [false, true] {
                let mut files = RunFiles { known: vec![] };
                let read = |files: &mut RunFiles| files.reads("the latents", &at("in/frame-00000.png"));
                let write = |files: &mut RunFiles| files.writes("the timeline", &at(name));
                let end = match write_first {
                    true => write(&mut files).and_then(|()| read(&mut files)),
                    false => read(&mut files).and_then(|()| write(&mut files)),
                };
                let message = end.unwrap_err().to_string();
                let expected = format!(
                    "{}: this run reads the latents from here (`{}`), and what is read is not written; choose another \
                     place for the timeline",
                    at(name).display(),
                    at("in/frame-00000.png").display()
                );
                assert_eq!(message, expected);
            }
        }
    }

    #[test]
    fn pictures_of_a_folder_are_read_and_what_lies_beside_them_is_not() {
        let folder = workplace();
        let at = |name: &str| folder.path().join(name);
        let with = |write: &dyn Fn(&mut RunFiles) -> Result<(), Error>| {
            let mut files = RunFiles { known: vec![] };
            files.reads_video(&at("folder/")).unwrap();
            write(&mut files).map_err(|error| error.to_string())
        };
        for name in ["in", "folder", "in/.", "in/deep/.."] {
            let message = with(&|files| files.writes_folder("the clip", &at(name))).unwrap_err();
            assert!(message.contains("what is read is not written"), "{name}: {message}");
        }
        let above = with(&|files| files.writes_folder("the clip", folder.path())).unwrap_err();
        assert!(above.contains("this folder is to be replaced, and this run reads the video from it"), "{above}");
        assert!(with(&|files| files.writes("the clip", &at("hard"))).is_err());
        for name in ["in/notes.txt", "in/new.mp4", "new"] {
            with(&|files| files.writes("the clip", &at(name))).unwrap();
        }
        with(&|files| files.writes_folder("the clip", &at("in/deep"))).unwrap();
    }

    #[test]
    fn a_link_in_a_folder_is_lost_with_it() {
        let folder = workplace();
        let at = |name: &str| folder.path().join(name);
        symlink("../hard", at("in/deep/link")).unwrap();
        let mut files = RunFiles { known: vec![] };
        files.reads("the video", &at("in/deep/link")).unwrap();
        assert!(files.writes_folder("the clip", &at("in/deep")).is_err());
    }

    #[test]
    fn outputs_are_told_apart_before_they_are_there() {
        let folder = workplace();
        let at = |name: &str| folder.path().join(name);
        let both = |first: &str, second: &str| {
            let mut files = RunFiles { known: vec![] };
            files.writes("the clip", &at(first)).unwrap();
            files.writes("the timeline", &at(second)).map_err(|error| error.to_string())
        };
        symlink("in/new", at("dangling")).unwrap();
        for second in ["in/new", "folder/new", "in/./new", "dangling"] {
            let message = both("in/new", second).unwrap_err();
            assert!(message.contains("would be the same file"), "{second}: {message}");
        }
        both("in/new", "in/newer").unwrap();
        both("in/new", "new").unwrap();
        both("/dev/null", "/dev/null").unwrap();
        let mut files = RunFiles { known: vec![] };
        files.writes_folder("the clip", &at("in")).unwrap();
        let inside = files.writes("the timeline", &at("folder/t.json")).unwrap_err().to_string();
        assert!(inside.contains("this folder is to be replaced, and the timeline"), "{inside}");
        files.writes_clip(&at("x.mp4"), 2).unwrap();
        assert!(files.writes("the contact sheet", &at("x-1.mp4")).is_err());
        let dash = files.writes("the timeline", Path::new("-")).unwrap_err().to_string();
        assert!(dash.contains("-: the timeline is no stream"), "{dash}");
    }
}
