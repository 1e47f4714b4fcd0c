//! A frame as PNG, 8-bit RGB, or RGBA of a clip with transparency.

use std::io::Write;
use std::path::Path;

use png::{BitDepth, ColorType, Encoder, EncodingError};

use crate::clip::ClipShape;
use crate::error::{Error, Result};

/// Width and height as PNG has them.
pub(super) fn size(name: &Path, shape: ClipShape) -> Result<[u32; 2]> {
    let too_large = |_| Error::UnsupportedClip { path: name.into(), problem: "a frame is too large for PNG".into() };
    Ok([u32::try_from(shape.width).map_err(too_large)?, u32::try_from(shape.height).map_err(too_large)?])
}

/// Writes a frame of this width and height, of a clip of so many channels.
pub(super) fn encode(
    to: impl Write,
    [width, height]: [u32; 2],
    channels: usize,
    pixels: &[u8],
) -> Result<(), EncodingError> {
    let mut encoder = Encoder::new(to, width, height);
    encoder.set_color(if channels == 4 { ColorType::Rgba } else { ColorType::Rgb });
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()
}
