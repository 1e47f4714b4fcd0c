//! A picture: the one frame of a clip, 8 bits a channel, as PNG, JPEG or WebP.
//!
//! PNG and WebP are without loss, and may be transparent. JPEG is of quality 95 of 100 (its
//! quantisation tables are the standard's, a tenth as coarse), with colours at full resolution: of a
//! photograph some 40 to 45 dB.

use std::io::{self, Write};
use std::path::Path;

use image_webp::WebPEncoder;
use jpeg_encoder::{Encoder as JpegEncoder, SamplingFactor};
use png::EncodingError;

use super::format::Picture;
use super::png_file;
use super::sink::{Fault, FrameSink, Opened};
use crate::clip::ClipShape;
use crate::error::{Error, Result};

/// Of JPEG, of 100.
const JPEG_QUALITY: u8 = 95;
/// The largest width and height of a WebP without loss: 14 bits.
const MOST_WEBP: usize = 1 << 14;

/// The largest width and height of a picture.
fn most(format: Picture) -> usize {
    match format {
        Picture::Png => i32::MAX as usize,
        Picture::Jpeg => usize::from(u16::MAX),
        Picture::WebP => MOST_WEBP,
    }
}

struct PictureFile<W> {
    to: W,
    format: Picture,
    shape: ClipShape,
}

/// Begins a picture, called `name` in messages, in what `to` opens.
pub(super) fn open<'a, W: Write + Send + 'a>(
    format: Picture,
    name: &Path,
    shape: ClipShape,
    to: impl FnOnce() -> Result<W>,
) -> Opened<'a, W> {
    let refuse = |problem: String| Err(Error::UnsupportedClip { path: name.into(), problem }.into());
    if shape.frames != 1 {
        return refuse(format!(
            "a {} is one frame, and this clip has {}; a path without an ending is a folder of PNGs",
            format.name(),
            shape.frames
        ));
    }
    if shape.height.max(shape.width) > most(format) {
        let (most, name) = (most(format), format.name());
        let found = format!("{}x{}", shape.width, shape.height);
        return refuse(format!("a {name} has at most {most}x{most} pixels, and a frame {found}; write .png"));
    }
    Ok(Box::new(PictureFile { to: to()?, format, shape }))
}

impl<W: Write + Send> FrameSink<W> for PictureFile<W> {
    fn frame(&mut self, pixels: &[u8]) -> Result<(), Fault> {
        let ClipShape { height, width, channels, .. } = self.shape;
        // `open` has seen that the sizes fit.
        let size = [width as u32, height as u32];
        let (to, format) = (&mut self.to, self.format.name());
        let fault = |problem: String| Fault::Encoder { format, problem };
        match self.format {
            Picture::Png => png_file::encode(to, size, channels, pixels).map_err(|cause| match cause {
                EncodingError::IoError(cause) => Fault::Io(cause),
                other => fault(other.to_string()),
            }),
            Picture::Jpeg => {
                // With the standard's Huffman tables: those that the encoder makes for a picture without
                // colours are not read back as they were written.
                let mut encoder = JpegEncoder::new(to, JPEG_QUALITY);
                encoder.set_sampling_factor(SamplingFactor::F_1_1);
                let [width, height] = size.map(|length| length as u16);
                encoder.encode(pixels, width, height, jpeg_encoder::ColorType::Rgb).map_err(|cause| match cause {
                    jpeg_encoder::EncodingError::IoError(cause) => Fault::Io(cause),
                    other => fault(other.to_string()),
                })
            }
            Picture::WebP => {
                let colour = if channels == 4 { image_webp::ColorType::Rgba8 } else { image_webp::ColorType::Rgb8 };
                WebPEncoder::new(to).encode(pixels, size[0], size[1], colour).map_err(|cause| match cause {
                    image_webp::EncodingError::IoError(cause) => Fault::Io(cause),
                    other => fault(other.to_string()),
                })
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    fn finish(self: Box<Self>) -> Result<W, Fault> {
        Ok(self.to)
    }
}
