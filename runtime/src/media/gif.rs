//! GIF that loops for ever, with a palette of 256 colours for each frame (NeuQuant), not dithered: a dither that changes
//! from frame to frame flickers.

use std::path::Path;

use gif::{Encoder, EncodingError, Frame, Repeat};

use super::pictures::FrameSink;
use super::{ClipShape, FrameRate};
use crate::error::{Error, Result};
use files::staging::StagedFile;

/// About so many of a frame's pixels are looked at for its palette: all of a small frame, one in ten of 480x720. Looking
/// at all there takes five times as long and gains 0.5 dB.
const PALETTE_PIXELS: usize = 1 << 15;
/// Units of a frame's delay in a second.
const UNITS: u64 = 100;
/// Browsers show a frame of a shorter delay for ten times as long.
const SHORTEST_DELAY: u64 = 2;

struct Gif {
    encoder: Encoder<StagedFile>,
    width: u16,
    height: u16,
    palette_stride: i32,
    rate: FrameRate,
    frames: u64,
}

/// The rate at which a clip of this rate is played: up to the one that the shortest delay allows, any is kept on average.
pub(super) fn played_rate(rate: FrameRate) -> FrameRate {
    let fastest = UNITS as f64 / SHORTEST_DELAY as f64;
    if rate.per_second() > fastest { FrameRate::new(fastest).unwrap_or(rate) } else { rate }
}

/// Opens a file for one sample's frames. Delays are in hundredths of a second: a frame's is rounded so that the clip as a
/// whole keeps its length; above 50 frames a second it plays slower.
pub(super) fn open(path: &Path, shape: ClipShape, rate: FrameRate) -> Result<Box<dyn FrameSink>> {
    let too_large = |_| Error::UnsupportedClip {
        path: path.into(),
        problem: format!(
            "a GIF is at most 65535 pixels a side, this clip is {}x{} (width x height); write PNGs or .y4m",
            shape.width, shape.height
        ),
    };
    let width = u16::try_from(shape.width).map_err(too_large)?;
    let height = u16::try_from(shape.height).map_err(too_large)?;
    let file = StagedFile::create(path)?;
    let mut encoder = Encoder::new(file, width, height, &[]).map_err(|cause| failed(path, cause))?;
    encoder.set_repeat(Repeat::Infinite).map_err(|cause| failed(path, cause))?;
    // What the palette's algorithm takes: 1 to 30.
    let palette_stride = (shape.width * shape.height / PALETTE_PIXELS).clamp(1, 30) as i32;
    Ok(Box::new(Gif { encoder, width, height, palette_stride, rate, frames: 0 }))
}

fn failed(path: &Path, cause: EncodingError) -> Error {
    match cause {
        EncodingError::Io(cause) => files::Error::Write { path: path.into(), cause }.into(),
        other => files::Error::Encode { path: path.into(), format: "GIF", problem: other.to_string() }.into(),
    }
}

impl FrameSink for Gif {
    fn frame(&mut self, rgb: &[u8]) -> Result<()> {
        let mut frame = Frame::from_rgb_speed(self.width, self.height, rgb, self.palette_stride);
        let delay = self.rate.start(self.frames + 1, UNITS) - self.rate.start(self.frames, UNITS);
        frame.delay = u16::try_from(delay.max(SHORTEST_DELAY)).unwrap_or(u16::MAX);
        self.frames += 1;
        self.encoder.write_frame(&frame).map_err(|cause| failed(self.encoder.get_ref().target(), cause))
    }

    fn finish(self: Box<Self>) -> Result<StagedFile> {
        let path = self.encoder.get_ref().target().to_path_buf();
        self.encoder.into_inner().map_err(|cause| failed(&path, cause))
    }
}
