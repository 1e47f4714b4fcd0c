//! A PNG: the one frame of a clip, 8-bit RGB.

use std::io::{self, Write};
use std::path::Path;

use png::{BitDepth, ColorType, Encoder, EncodingError};

use super::sink::{Fault, FrameSink, Opened};
use crate::clip::ClipShape;
use crate::error::{Error, Result};

struct PngFile<W> {
    to: W,
    size: [u32; 2],
}

/// Begins a picture, called `name` in messages, in what `to` opens.
pub(super) fn open<'a, W: Write + Send + 'a>(
    name: &Path,
    shape: ClipShape,
    to: impl FnOnce() -> Result<W>,
) -> Opened<'a, W> {
    if shape.frames != 1 {
        let problem = format!(
            "a PNG is one frame, and this clip has {}; a path without an ending is a folder of PNGs",
            shape.frames
        );
        return Err(Error::UnsupportedClip { path: name.into(), problem }.into());
    }
    let size = size(name, shape)?;
    Ok(Box::new(PngFile { to: to()?, size }))
}

/// Width and height as PNG has them.
pub(super) fn size(name: &Path, shape: ClipShape) -> Result<[u32; 2]> {
    let too_large = |_| Error::UnsupportedClip { path: name.into(), problem: "a frame is too large for PNG".into() };
    Ok([u32::try_from(shape.width).map_err(too_large)?, u32::try_from(shape.height).map_err(too_large)?])
}

/// Writes a frame of this width and height.
pub(super) fn encode(to: impl Write, [width, height]: [u32; 2], rgb: &[u8]) -> Result<(), EncodingError> {
    let mut encoder = Encoder::new(to, width, height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    writer.finish()
}

impl<W: Write + Send> FrameSink<W> for PngFile<W> {
    fn frame(&mut self, rgb: &[u8]) -> Result<(), Fault> {
        encode(&mut self.to, self.size, rgb).map_err(|cause| match cause {
            EncodingError::IoError(cause) => Fault::Io(cause),
            other => Fault::Encoder { format: "PNG", problem: other.to_string() },
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    fn finish(self: Box<Self>) -> Result<W, Fault> {
        Ok(self.to)
    }
}
