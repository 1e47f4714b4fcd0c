//! Clips that come or go through standard input and output, named pipes and devices: opening them,
//! and waiting for who is at the other end so that Ctrl-C is not missed. Which paths stand for
//! these is in `stream_paths`.
//!
//! What goes through is Y4M: see [`tessera::media::stream`] and [`tessera::media::read::Spooled`].

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;

use files::place::Place;
use frontend::Medium;
use tessera::Error;
use tessera::media::read::Spooled;
use tessera::media::{ClipShape, ClipWriter, FrameRate, check_stream, create, create_images, stream};

use super::run_files::RunFiles;
use super::stream_paths::{is_dash, is_stdout, is_stream};
use super::{Console, Failure, interrupt};

/// Bytes that a pipe takes without waiting once it takes any: POSIX's least, which Linux has eight
/// times.
#[cfg(not(target_os = "linux"))]
const PIPE_BYTES: usize = 512;
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 4096;

/// Refuses a report as JSON where standard output is the clip's.
pub(super) fn check_json(command: &'static str, json: bool, output: &Path) -> Result<(), Failure> {
    if !(json && is_stdout(output)) {
        return Ok(());
    }
    let message = "--json prints to standard output, and the clip goes there; send the clip to a file or a named pipe";
    Err(Failure::Usage { command, message: message.into() })
}

/// Opens a writer for a clip: [`create`], of images [`create_images`], or for a stream [`stream`].
pub(super) fn clip_writer(
    path: &Path,
    shape: ClipShape,
    medium: Medium,
    rate: FrameRate,
    files: &mut RunFiles,
    console: Console,
) -> Result<Box<dyn ClipWriter>, Error> {
    if !is_stream(path) {
        files.writes_clip(path, shape.batch)?;
        return Ok(match medium {
            Medium::Video => create(path, shape, rate)?,
            Medium::Image => create_images(path, shape, rate)?,
        });
    }
    check_stream(path, shape)?;
    files.streams_clip(path)?;
    let failed = |cause| media::Error::Stream { path: path.into(), cause };
    if !is_stdout(path) {
        return Ok(stream(path, Waiting(open_to_write(path, console)?), shape, rate)?);
    }
    if io::stdout().is_terminal() {
        let problem = "standard output is a terminal, which shows no clip; send it into a pipe or a file".into();
        return Err(files::Error::OutputPlace { path: path.into(), problem }.into());
    }
    Ok(stream(path, Waiting(standard_output().map_err(failed)?), shape, rate)?)
}

/// Takes a clip from a stream, if the path stands for one.
pub(super) fn spooled(path: &Path, frames: Option<usize>) -> Result<Option<Spooled>, Error> {
    let read_error = |cause| files::Error::Read { path: path.into(), cause };
    let from = match Place::of(path) {
        _ if is_dash(path) => {
            if io::stdin().is_terminal() {
                let problem = "standard input is a terminal; send a clip into it, as y4m".into();
                return Err(media::Error::UnsupportedInput { path: path.into(), problem }.into());
            }
            standard_input()
        }
        Ok(Place::Pipe | Place::Device | Place::Null) => open_to_read(path),
        _ => return Ok(None),
    };
    match Spooled::receive(path, Waiting(from.map_err(read_error)?), frames) {
        Err(media::Error::Files(files::Error::Read { .. })) if interrupt::asked() => Err(Error::Interrupted),
        end => Ok(Some(end?)),
    }
}

/// What a run that was asked to stop comes to, if frames may have left already.
pub(super) fn interrupted(path: &Path) -> Error {
    match is_stream(path) {
        true => media::Error::Stream { path: path.into(), cause: io::Error::other("interrupted") }.into(),
        false => Error::Interrupted,
    }
}

/// A file at whose other end someone may take long. It is waited for where a signal can end that.
struct Waiting(File);

impl Read for Waiting {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            wait(&self.0, Direction::Read)?;
            match self.0.read(to) {
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
                end => return end,
            }
        }
    }
}

impl Write for Waiting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            wait(&self.0, Direction::Write)?;
            match self.0.write(&bytes[..bytes.len().min(PIPE_BYTES)]) {
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
                end => return end,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Read,
    Write,
}

/// Not [`io::ErrorKind::Interrupted`], after which everybody tries again.
fn check_interrupt() -> io::Result<()> {
    if interrupt::asked() { Err(io::Error::other("interrupted")) } else { Ok(()) }
}

#[cfg(unix)]
mod system {
    use std::fs::OpenOptions;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::fs::OpenOptionsExt;
    use std::thread;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::OFlags;
    use rustix::io::Errno;

    use super::*;

    /// How long to wait before a signal is looked for.
    const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    const TICK_OF_OPENING: Duration = Duration::from_millis(20);

    /// Opens without waiting for anybody: a pipe may have no writer yet.
    pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)
    }

    /// Opens a pipe when there is somebody to read it.
    pub(super) fn open_to_write(path: &Path, console: Console) -> Result<File, Error> {
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let mut told = false;
        loop {
            match options.open(path) {
                Ok(file) => return Ok(file),
                Err(cause) if Errno::from_io_error(&cause) == Some(Errno::NXIO) && is_pipe(path) => {
                    if !std::mem::replace(&mut told, true) {
                        console.note(&format!("note: waiting for a reader of {}", path.display()));
                    }
                    if interrupt::asked() {
                        return Err(Error::Interrupted);
                    }
                    thread::sleep(TICK_OF_OPENING);
                }
                Err(cause) => {
                    let problem = format!("cannot be written to: {cause}");
                    return Err(files::Error::OutputPlace { path: path.into(), problem }.into());
                }
            }
        }
    }

    fn is_pipe(path: &Path) -> bool {
        matches!(Place::of(path), Ok(Place::Pipe))
    }

    pub(super) fn standard_input() -> io::Result<File> {
        io::stdin().as_fd().try_clone_to_owned().map(File::from)
    }

    pub(super) fn standard_output() -> io::Result<File> {
        io::stdout().as_fd().try_clone_to_owned().map(|stdout: OwnedFd| File::from(stdout))
    }

    /// Waits until the other end has something, takes something or is gone.
    pub(super) fn wait(file: &File, direction: Direction) -> io::Result<()> {
        let flags = match direction {
            Direction::Read => PollFlags::IN,
            Direction::Write => PollFlags::OUT,
        };
        loop {
            check_interrupt()?;
            match poll(&mut [PollFd::new(file, flags)], Some(&TICK)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(cause) => return Err(cause.into()),
            }
        }
    }
}

#[cfg(not(unix))]
mod system {
    use std::fs::OpenOptions;
    use std::os::windows::io::AsHandle;

    use super::*;

    pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
        File::open(path)
    }

    pub(super) fn open_to_write(path: &Path, _: Console) -> Result<File, Error> {
        let file = OpenOptions::new().write(true).open(path);
        let problem = |cause| format!("cannot be written to: {cause}");
        Ok(file.map_err(|cause| files::Error::OutputPlace { path: path.into(), problem: problem(cause) })?)
    }

    pub(super) fn standard_input() -> io::Result<File> {
        io::stdin().as_handle().try_clone_to_owned().map(File::from)
    }

    pub(super) fn standard_output() -> io::Result<File> {
        io::stdout().as_handle().try_clone_to_owned().map(File::from)
    }

    pub(super) fn wait(_: &File, _: Direction) -> io::Result<()> {
        check_interrupt()
    }
}

use system::{open_to_read, open_to_write, standard_input, standard_output, wait};
