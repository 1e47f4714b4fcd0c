//! A clip into whatever takes bytes, called by a name in messages: a pipe, standard output, a
//! socket, a `Vec<u8>`.
//!
//! Nothing of it waits for the end, and so nothing can be taken back: what came out before an error
//! stays out. Opening and waiting is the caller's.

use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::array::{Array, ArrayAxes, Header};
use super::format::{Format, check_pictures};
use super::sink::{FrameSink, Opened};
use super::writer::{ClipWriter, Output, Progress};
use super::y4m;
#[cfg(feature = "codecs")]
use super::{gif, mp4, picture_file};
use crate::clip::{ClipShape, FrameBlock};
use crate::colour::frame_pixels;
use crate::error::{Error, Result};
use crate::frame_rate::FrameRate;

/// Refuses a clip that cannot be handed on as it comes: another format than Y4M, by the ending of
/// the name that the stream has, or more samples than one.
///
/// # Errors
/// [`Error::UnsupportedClip`], [`files::Error::UnknownOutput`], [`Error::InvalidClip`].
pub fn check_stream(name: &Path, shape: ClipShape) -> Result<()> {
    shape.check()?;
    let refuse = |problem: String| Err(Error::UnsupportedClip { path: name.into(), problem });
    // A pipe without an ending has not said that it is a folder.
    let ending = name.extension().unwrap_or_default().to_string_lossy();
    if !ending.is_empty() && Format::of(name)? != Format::Y4m {
        return refuse(format!(
            ".{ending} cannot be streamed: it appears in its place when it is complete, and this is no place for a \
             file; what streams, frame by frame, is y4m, under a name that ends in .y4m or has no ending"
        ));
    }
    if shape.batch > 1 {
        return refuse(format!("a stream takes one clip, and this batch makes {}; write files", shape.batch));
    }
    check_pictures(Format::Y4m, name, shape)
}

/// Hands frames on to `to`, as Y4M, each when it is complete. `name` is what the stream is called
/// in messages. In [`Output::paths`] is that name.
///
/// # Errors
/// Those of [`check_stream`]; [`Error::Stream`].
pub fn stream<'a>(
    name: &Path,
    to: impl Write + Send + 'a,
    shape: ClipShape,
    rate: FrameRate,
) -> Result<Box<dyn ClipWriter + 'a>> {
    check_stream(name, shape)?;
    PictureStream::boxed(name, shape, y4m::open(shape, rate, || Ok(Counted::new(to))))
}

/// Writes a clip to `to`, in the format that the ending of `name` says: all that
/// [`create`](super::create) writes to one file. MP4 and arrays are not written from front to back,
/// which is why `to` can seek: a file, or a `Cursor<&mut Vec<u8>>`. It is complete at
/// [`ClipWriter::finish`]; in [`Output::paths`] is the name.
///
/// # Errors
/// [`files::Error::UnknownOutput`], [`Error::InvalidClip`]; [`Error::UnsupportedClip`] also for a
/// folder of PNGs, and for more than one sample unless it is an array; [`Error::Stream`].
pub fn write_to<'a>(
    name: &Path,
    to: impl Write + Seek + Send + 'a,
    shape: ClipShape,
    rate: FrameRate,
) -> Result<Box<dyn ClipWriter + 'a>> {
    let format = Format::of(name)?;
    shape.check()?;
    if matches!(format, Format::Safetensors | Format::Npy) {
        let header = match format {
            Format::Npy => Header::npy(shape, ArrayAxes::Bcthw),
            _ => Header::safetensors(name, shape, ArrayAxes::Bcthw)?,
        };
        let array = Array::begin(Counted::new(to), shape, &header);
        let array = array.map_err(|cause| Error::Stream { path: name.into(), cause })?;
        return Ok(Box::new(ArrayStream { array, progress: Progress::new(name, shape) }));
    }
    let refuse = |problem: String| Err(Error::UnsupportedClip { path: name.into(), problem });
    if format == Format::PngFolder {
        return refuse("a folder of PNGs is no single file; name an ending that is one".into());
    }
    if shape.batch > 1 {
        return refuse(format!("a clip is one sample, and this batch has {}; write files, or an array", shape.batch));
    }
    check_pictures(format, name, shape)?;
    let to = || Ok(Counted::new(to));
    PictureStream::boxed(
        name,
        shape,
        match format {
            #[cfg(feature = "codecs")]
            Format::Gif => gif::open(name, shape, rate, to),
            #[cfg(feature = "codecs")]
            Format::Mp4 => mp4::open(name, shape, rate, to),
            #[cfg(feature = "codecs")]
            Format::Picture(of) => picture_file::open(of, name, shape, to),
            #[cfg(not(feature = "codecs"))]
            Format::Gif | Format::Mp4 | Format::Picture(_) => return Err(format.no_codecs(name)),
            _ => y4m::open(shape, rate, to),
        },
    )
}

/// A clip of pictures.
struct PictureStream<'a, W: Write> {
    sink: Box<dyn FrameSink<Counted<W>> + 'a>,
    shape: ClipShape,
    progress: Progress,
    rgb: Vec<u8>,
}

impl<'a, W: Write + Send + 'a> PictureStream<'a, W> {
    fn boxed(name: &Path, shape: ClipShape, sink: Opened<'a, Counted<W>>) -> Result<Box<dyn ClipWriter + 'a>> {
        let mut sink = sink.map_err(|fault| fault.of_stream(name))?;
        sink.flush().map_err(|cause| Error::Stream { path: name.into(), cause })?;
        Ok(Box::new(PictureStream { sink, shape, progress: Progress::new(name, shape), rgb: vec![] }))
    }
}

impl<W: Write + Send> ClipWriter for PictureStream<'_, W> {
    fn write(&mut self, sample: usize, frames: &FrameBlock<'_>) -> Result<()> {
        self.progress.advance(sample, frames)?;
        let name = &self.progress.path;
        for t in 0..frames.frames {
            frame_pixels(self.shape, frames, t, &mut self.rgb);
            self.sink.frame(&self.rgb).map_err(|fault| fault.of_stream(name))?;
            self.sink.flush().map_err(|cause| Error::Stream { path: name.clone(), cause })?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Output> {
        self.progress.check_complete()?;
        let name = self.progress.path;
        let to = self.sink.finish().map_err(|fault| fault.of_stream(&name))?;
        to.finish(name)
    }
}

/// An array of any shape.
struct ArrayStream<W: Write> {
    array: Array<Counted<W>>,
    progress: Progress,
}

impl<W: Write + Seek + Send> ClipWriter for ArrayStream<W> {
    fn write(&mut self, sample: usize, frames: &FrameBlock<'_>) -> Result<()> {
        let first = self.progress.advance(sample, frames)?;
        let written = self.array.write(sample, first, frames);
        written.map_err(|cause| Error::Stream { path: self.progress.path.clone(), cause })
    }

    fn finish(self: Box<Self>) -> Result<Output> {
        self.progress.check_complete()?;
        self.array.to.finish(self.progress.path)
    }
}

/// Counts the bytes up to the last that is written.
struct Counted<W: Write> {
    to: BufWriter<W>,
    at: u64,
    end: u64,
}

impl<W: Write> Counted<W> {
    fn new(to: W) -> Counted<W> {
        Counted { to: BufWriter::new(to), at: 0, end: 0 }
    }

    fn finish(mut self, name: PathBuf) -> Result<Output> {
        match self.to.flush() {
            Ok(()) => Ok(Output { paths: vec![name], bytes: self.end }),
            Err(cause) => Err(Error::Stream { path: name, cause }),
        }
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.at += count as u64;
        self.end = self.end.max(self.at);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl<W: Write + Seek> Seek for Counted<W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.to.seek(to)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Sends on what is written to it.
    struct Pipe(Sender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.into()).map_err(|_| std::io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    const SHAPE: ClipShape = ClipShape { batch: 1, channels: 3, frames: 3, height: 2, width: 4 };

    #[test]
    fn each_frame_leaves_when_it_is_complete() {
        let (sender, receiver) = channel();
        let received = || receiver.try_iter().flatten().collect::<Vec<u8>>();
        let mut clip = stream("-".as_ref(), Pipe(sender), SHAPE, FrameRate::new(8.0).unwrap()).unwrap();
        let header = received();
        assert_eq!(header, b"YUV4MPEG2 W4 H2 F8:1 Ip A1:1 C444 XCOLORRANGE=LIMITED\n");
        let frame = 6 + 3 * 2 * 4;
        for frames in [1, 2] {
            clip.write(0, &FrameBlock { data: &vec![1.0; frames * 24], frames }).unwrap();
            let bytes = received();
            assert_eq!((bytes.len(), &bytes[..7]), (frames * frame, &b"FRAME\n\xeb"[..]));
        }
        let output = clip.finish().unwrap();
        assert_eq!(output, Output { paths: vec!["-".into()], bytes: (header.len() + 3 * frame) as u64 });
    }

    #[test]
    fn what_cannot_be_streamed_is_refused() {
        let refused = |name: &str, shape| check_stream(name.as_ref(), shape).unwrap_err().to_string();
        assert!(refused("pipe.mp4", SHAPE).contains("pipe.mp4: .mp4 cannot be streamed"));
        assert!(refused("pipe.npy", SHAPE).contains("what streams, frame by frame, is y4m"));
        assert!(refused("pipe.webm", SHAPE).contains("`.webm` is not an output format"));
        assert!(
            refused("-", ClipShape { batch: 2, ..SHAPE }).contains("a stream takes one clip, and this batch makes 2")
        );
        assert!(
            refused("-", ClipShape { channels: 4, ..SHAPE })
                .contains("4 channels (RGB and transparency), and the format has none")
        );
        for name in ["-", "/dev/null", "pipe", "pipe.y4m"] {
            check_stream(name.as_ref(), SHAPE).unwrap();
        }
    }
}
