//! GIF: each frame is painted over the ones before, as its disposal method says. Unpainted pixels
//! are white.

use std::io::{BufRead, BufReader};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use gif::streaming_decoder::{Block, Decoded, OutputBuffer, StreamingDecoder};
use gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, DisposalMethod, Extension, Frame, MemoryLimit};

use super::animation::{Blend, Canvas, Delays, Dispose, Rectangle, whole_frames};
use super::clip_file::{ClipFile, FileBytes};
use super::pictures::{PictureShape, PictureSource};
use super::reader::{MAX_PIXELS, check_size};
use crate::error::{Error, Result, bad};

/// Units of a delay in a second.
const UNITS: f64 = 100.0;

pub(super) struct Gif {
    path: PathBuf,
    decoder: Decoder<BufReader<FileBytes>>,
    shape: PictureShape,
    canvas: Canvas,
    /// Frames that are to be returned.
    frames: usize,
    done: usize,
}

impl Gif {
    /// Looks at every block, for the number of frames and the rate; the first `asked` frames will
    /// be read, or all. A file that ends where the next block would begin, without a mark of
    /// its end, is whole.
    pub(super) fn open(clip: &ClipFile, asked: Option<usize>) -> Result<Gif> {
        let path = &clip.name;
        let decoder = start(clip)?;
        let (width, height) = (usize::from(decoder.width()), usize::from(decoder.height()));
        check_size(path, width as u64, height as u64)?;
        let Blocks { whole, delays, ended } = Blocks::of(clip)?;
        let frames = if ended { whole } else { whole_frames(path, "GIF", whole, asked)? };
        let shape = PictureShape { width, height, frames: Some(frames), rate: delays.rate() };
        Ok(Gif { path: path.into(), decoder, shape, canvas: Canvas::new(width, height), frames, done: 0 })
    }

    fn paint(&mut self, frame: &Frame<'_>) {
        let place = Rectangle {
            left: frame.left.into(),
            top: frame.top.into(),
            width: frame.width.into(),
            height: frame.height.into(),
        };
        let dispose = match frame.dispose {
            DisposalMethod::Background => Dispose::Clear,
            DisposalMethod::Previous => Dispose::Restore,
            DisposalMethod::Any | DisposalMethod::Keep => Dispose::Keep,
        };
        self.canvas.paint(place, &frame.buffer, Blend::Over, dispose);
    }
}

fn start(clip: &ClipFile) -> Result<Decoder<BufReader<FileBytes>>> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::RGBA);
    options.set_memory_limit(NonZeroU64::new(MAX_PIXELS * 4).map_or(MemoryLimit::Unlimited, MemoryLimit::Bytes));
    options.read_info(BufReader::new(clip.bytes())).map_err(|cause| failed(&clip.name, cause, 0))
}

fn failed(path: &Path, cause: DecodingError, frame: usize) -> Error {
    match cause {
        DecodingError::Io(cause) if cause.kind() != std::io::ErrorKind::UnexpectedEof => {
            files::Error::Read { path: path.into(), cause }.into()
        }
        cause => bad(path, format!("the GIF is damaged or cut off at frame {frame}: {cause}")),
    }
}

impl PictureSource for Gif {
    fn shape(&self) -> PictureShape {
        self.shape
    }

    fn next(&mut self, rgb: &mut Vec<u8>) -> Result<bool> {
        // Behind the last frame there may be no mark of the end.
        if self.done == self.frames {
            return Ok(false);
        }
        let path = &self.path;
        let frame = self.decoder.read_next_frame().map_err(|cause| failed(path, cause, self.done))?.cloned();
        let Some(frame) = frame else { return Ok(false) };
        self.paint(&frame);
        self.done += 1;
        rgb.clear();
        for &[r, g, b, alpha] in self.canvas.pixels() {
            rgb.extend(if alpha == 0 { [255; 3] } else { [r, g, b] });
        }
        Ok(true)
    }
}

/// What the blocks of a file tell without their pixels.
struct Blocks {
    /// Frames that are there from their first byte to their last.
    whole: usize,
    delays: Delays,
    /// Whether the file ends between two blocks, or with the mark of its end.
    ended: bool,
}

impl Blocks {
    fn of(clip: &ClipFile) -> Result<Blocks> {
        let path = &clip.name;
        let mut file = BufReader::new(clip.bytes());
        let mut decoder = StreamingDecoder::new();
        let mut blocks = Blocks { whole: 0, delays: Delays::default(), ended: false };
        loop {
            let bytes = file.fill_buf().map_err(|cause| files::Error::Read { path: path.into(), cause })?;
            if bytes.is_empty() {
                return Ok(blocks);
            }
            let (taken, event) =
                decoder.update(bytes, &mut OutputBuffer::None).map_err(|cause| failed(path, cause, blocks.whole))?;
            file.consume(taken);
            match event {
                Decoded::FrameMetadata(_) => {
                    let delay = decoder.current_frame().delay;
                    // A delay below two units is shown as the usual one by browsers and by ffmpeg.
                    blocks.delays.add(if delay < 2 { 0.0 } else { f64::from(delay) / UNITS });
                    blocks.ended = false;
                }
                Decoded::DataEnd => {
                    blocks.whole += 1;
                    blocks.ended = true;
                }
                Decoded::BlockStart(Block::Trailer) => {
                    blocks.ended = true;
                    return Ok(blocks);
                }
                // What an extension of this kind tells is of a frame that should follow.
                Decoded::SubBlock { ext, is_last } => {
                    blocks.ended = is_last && blocks.whole > 0 && ext.into_known() != Some(Extension::Control);
                }
                // The first bytes of a block are read before it is known which.
                Decoded::BlockStart(_) | Decoded::Nothing => blocks.ended = false,
                _ => {}
            }
        }
    }
}
