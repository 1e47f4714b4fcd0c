//! A clip that is handed on while it is made, frame by frame, as Y4M: into a pipe, to standard output, into whatever takes bytes.
//!
//! Nothing of it waits for the end, and so nothing can be taken back: what came out before an error stays out. Opening and
//! waiting is the caller's.

use std::io::{BufWriter, Write};
use std::path::Path;

use super::colour::frame_pixels;
use super::y4m::Y4m;
use super::{ClipShape, ClipWriter, Format, FrameBlock, FrameRate, Output, Progress};
use crate::error::{Error, Result};

struct Stream<W: Write> {
    clip: Y4m<BufWriter<W>>,
    shape: ClipShape,
    progress: Progress,
    rgb: Vec<u8>,
}

/// Refuses a clip that cannot be handed on as it comes: another format than Y4M, by the ending of the name that the stream has,
/// or more samples than one.
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
            ".{ending} cannot be streamed: it appears in its place when it is complete, and this is no place for a file; what \
             streams, frame by frame, is y4m, under a name that ends in .y4m or has no ending"
        ));
    }
    if shape.batch > 1 {
        return refuse(format!("a stream takes one clip, and this batch makes {}; write files", shape.batch));
    }
    super::check_pictures(name, shape)
}

/// Hands frames on to `to`, as Y4M, each when it is complete. `name` is what the stream is called in messages. In
/// [`Output::paths`] is that name.
///
/// # Errors
/// Those of [`check_stream`]; [`Error::Stream`].
pub fn stream(
    name: &Path,
    to: impl Write + Send + 'static,
    shape: ClipShape,
    rate: FrameRate,
) -> Result<Box<dyn ClipWriter>> {
    check_stream(name, shape)?;
    let clip = Y4m::new(BufWriter::new(to));
    let mut stream = Stream { clip, shape, progress: Progress::new(name, shape), rgb: vec![] };
    let begun = stream.clip.header(shape, rate).and_then(|()| stream.clip.flush());
    begun.map_err(|cause| Error::Stream { path: name.into(), cause })?;
    Ok(Box::new(stream))
}

impl<W: Write + Send> ClipWriter for Stream<W> {
    fn write(&mut self, sample: usize, frames: &FrameBlock<'_>) -> Result<()> {
        self.progress.advance(sample, frames)?;
        for t in 0..frames.frames {
            frame_pixels(self.shape, frames, t, &mut self.rgb);
            let written = self.clip.write(&self.rgb).and_then(|()| self.clip.flush());
            written.map_err(|cause| Error::Stream { path: self.progress.path.clone(), cause })?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Output> {
        self.progress.check_complete()?;
        Ok(Output { paths: vec![self.progress.path], bytes: self.clip.bytes })
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
        assert!(refused("-", ClipShape { channels: 4, ..SHAPE }).contains("a picture has 3 channels"));
        for name in ["-", "/dev/null", "pipe", "pipe.y4m"] {
            check_stream(name.as_ref(), SHAPE).unwrap();
        }
    }
}
