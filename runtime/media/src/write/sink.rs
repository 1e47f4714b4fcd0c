//! Encoders of one clip, over whatever takes bytes: frames of pixels go in, what they are written
//! to comes back. Where that is, and what its errors are called, is the caller's.

use std::io;
use std::path::Path;

use crate::error::{Error, Result};

/// Encodes one clip's frames into `W`.
pub(super) trait FrameSink<W>: Send {
    /// Appends a frame of interleaved 8-bit RGB, or RGBA of a clip of four channels.
    fn frame(&mut self, rgb: &[u8]) -> Result<(), Fault>;

    /// Hands on what is still on its way.
    fn flush(&mut self) -> io::Result<()>;

    /// Completes the clip.
    fn finish(self: Box<Self>) -> Result<W, Fault>;
}

/// An open encoder, or why there is none.
pub(super) type Opened<'a, W> = Result<Box<dyn FrameSink<W> + 'a>, Fault>;

/// Why an encoder goes no further.
pub(super) enum Fault {
    /// What is written to takes no more.
    Io(io::Error),
    /// The encoder of this format refuses the frame.
    #[cfg(feature = "codecs")]
    Encoder { format: &'static str, problem: String },
    /// Refused before anything was written.
    Refused(Error),
}

impl From<io::Error> for Fault {
    fn from(cause: io::Error) -> Fault {
        Fault::Io(cause)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Refused(error)
    }
}

impl Fault {
    /// Of a file that is to appear at `path`.
    pub(super) fn of_file(self, path: &Path) -> Error {
        match self {
            Fault::Io(cause) => files::Error::Write { path: path.into(), cause }.into(),
            other => other.of_stream(path),
        }
    }

    /// Of a stream of this name.
    pub(super) fn of_stream(self, name: &Path) -> Error {
        match self {
            Fault::Io(cause) => Error::Stream { path: name.into(), cause },
            #[cfg(feature = "codecs")]
            Fault::Encoder { format, problem } => files::Error::Encode { path: name.into(), format, problem }.into(),
            Fault::Refused(error) => error,
        }
    }
}
