//! GIF: each frame is painted over the ones before, as its disposal method says. Unpainted pixels are white.

use std::fs::File;
use std::io::BufReader;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, DisposalMethod, Frame, MemoryLimit};

use super::pictures::{PictureShape, PictureSource};
use super::{MAX_PIXELS, bad, check_size};
use crate::error::{Error, Result};
use crate::media::FrameRate;

/// Units of a delay in a second.
const UNITS: f64 = 100.0;
/// A delay below two units is shown as this one by browsers and by ffmpeg.
const USUAL_DELAY: u64 = 10;

pub(super) struct Gif {
    path: PathBuf,
    decoder: Decoder<BufReader<File>>,
    shape: PictureShape,
    /// RGBA.
    canvas: Vec<u8>,
    /// What is to be undone of the frame before.
    undo: Option<Undo>,
    done: usize,
}

/// How to undo a frame before the next one is painted.
enum Undo {
    /// Its rectangle becomes unpainted.
    Clear(Rectangle),
    /// The whole canvas as it was before.
    Restore(Vec<u8>),
}

/// The part of a frame that lies on the canvas.
#[derive(Clone, Copy)]
struct Rectangle {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Gif {
    /// Looks at every frame's head, for their number and the rate; a file that is cut off is found now.
    pub(super) fn open(path: &Path) -> Result<Gif> {
        let mut scan = start(path, true)?;
        let (width, height) = (usize::from(scan.width()), usize::from(scan.height()));
        check_size(path, width as u64, height as u64)?;
        let (mut frames, mut delays) = (0u64, 0);
        while let Some(frame) = scan.next_frame_info().map_err(|cause| failed(path, cause, frames))? {
            frames += 1;
            delays += if frame.delay < 2 { USUAL_DELAY } else { u64::from(frame.delay) };
        }
        let rate = FrameRate::new(frames as f64 * UNITS / delays as f64).ok();
        let shape = PictureShape { width, height, frames: Some(frames as usize), rate };
        let canvas = vec![0; width * height * 4];
        Ok(Gif { path: path.into(), decoder: start(path, false)?, shape, canvas, undo: None, done: 0 })
    }

    fn rectangle(&self, frame: &Frame<'_>) -> Rectangle {
        let (left, top) = (usize::from(frame.left), usize::from(frame.top));
        Rectangle {
            left,
            top,
            width: usize::from(frame.width).min(self.shape.width.saturating_sub(left)),
            height: usize::from(frame.height).min(self.shape.height.saturating_sub(top)),
        }
    }

    /// The bytes of the canvas that one row of a rectangle covers.
    fn row(&mut self, rectangle: Rectangle, row: usize) -> &mut [u8] {
        let start = ((rectangle.top + row) * self.shape.width + rectangle.left) * 4;
        &mut self.canvas[start..start + rectangle.width * 4]
    }

    fn paint(&mut self, frame: &Frame<'_>) {
        match self.undo.take() {
            Some(Undo::Clear(rectangle)) => (0..rectangle.height).for_each(|row| self.row(rectangle, row).fill(0)),
            Some(Undo::Restore(before)) => self.canvas = before,
            None => {}
        }
        let rectangle = self.rectangle(frame);
        if rectangle.width == 0 || rectangle.height == 0 {
            return;
        }
        self.undo = match frame.dispose {
            DisposalMethod::Background => Some(Undo::Clear(rectangle)),
            DisposalMethod::Previous => Some(Undo::Restore(self.canvas.clone())),
            DisposalMethod::Any | DisposalMethod::Keep => None,
        };
        let rows = frame.buffer.chunks_exact(usize::from(frame.width) * 4);
        for (row, pixels) in rows.take(rectangle.height).enumerate() {
            for (to, from) in self.row(rectangle, row).chunks_exact_mut(4).zip(pixels.chunks_exact(4)) {
                if from[3] != 0 {
                    to.copy_from_slice(from);
                }
            }
        }
    }
}

fn start(path: &Path, skip_pixels: bool) -> Result<Decoder<BufReader<File>>> {
    let file = File::open(path).map_err(|cause| Error::Read { path: path.into(), cause })?;
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::RGBA);
    options.skip_frame_decoding(skip_pixels);
    options.set_memory_limit(NonZeroU64::new(MAX_PIXELS * 4).map_or(MemoryLimit::Unlimited, MemoryLimit::Bytes));
    options.read_info(BufReader::new(file)).map_err(|cause| failed(path, cause, 0))
}

fn failed(path: &Path, cause: DecodingError, frame: u64) -> Error {
    match cause {
        DecodingError::Io(cause) if cause.kind() != std::io::ErrorKind::UnexpectedEof => {
            Error::Read { path: path.into(), cause }
        }
        cause => bad(path, format!("the GIF is damaged or cut off at frame {frame}: {cause}")),
    }
}

impl PictureSource for Gif {
    fn shape(&self) -> PictureShape {
        self.shape
    }

    fn next(&mut self, rgb: &mut Vec<u8>) -> Result<bool> {
        let path = &self.path;
        let frame = self.decoder.read_next_frame().map_err(|cause| failed(path, cause, self.done as u64))?.cloned();
        let Some(frame) = frame else { return Ok(false) };
        self.paint(&frame);
        self.done += 1;
        rgb.clear();
        for pixel in self.canvas.chunks_exact(4) {
            rgb.extend_from_slice(if pixel[3] == 0 { &[255; 3] } else { &pixel[..3] });
        }
        Ok(true)
    }
}
