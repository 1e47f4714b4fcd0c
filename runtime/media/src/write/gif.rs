//! GIF that loops for ever, with a palette of 256 colours for each frame (NeuQuant), not dithered:
//! a dither that changes from frame to frame flickers.

use std::io::{self, Write};
use std::path::Path;

use gif::{Encoder, EncodingError, Frame, Repeat};

use super::sink::{Fault, FrameSink, Opened};
use crate::clip::ClipShape;
use crate::error::{Error, Result};
use crate::frame_rate::FrameRate;

/// About so many of a frame's pixels are looked at for its palette: all of a small frame, one in
/// ten of 480x720. Looking at all there takes five times as long and gains 0.5 dB.
const PALETTE_PIXELS: usize = 1 << 15;
/// Units of a frame's delay in a second.
const UNITS: u64 = 100;
/// Browsers show a frame of a shorter delay for ten times as long.
const SHORTEST_DELAY: u64 = 2;

struct Gif<W: Write> {
    encoder: Encoder<W>,
    width: u16,
    height: u16,
    palette_stride: i32,
    rate: FrameRate,
    frames: u64,
}

/// The rate at which a clip of this rate is played: up to the one that the shortest delay allows,
/// any is kept on average.
pub(super) fn played_rate(rate: FrameRate) -> FrameRate {
    let fastest = UNITS as f64 / SHORTEST_DELAY as f64;
    if rate.per_second() > fastest { FrameRate::new(fastest).unwrap_or(rate) } else { rate }
}

/// Begins a clip, called `name` in messages, in what `to` opens. Delays are in hundredths of a
/// second: a frame's is rounded so that the clip as a whole keeps its length; above 50 frames a
/// second it plays slower.
pub(super) fn open<'a, W: Write + Send + 'a>(
    name: &Path,
    shape: ClipShape,
    rate: FrameRate,
    to: impl FnOnce() -> Result<W>,
) -> Opened<'a, W> {
    let too_large = |_| Error::UnsupportedClip {
        path: name.into(),
        problem: format!(
            "a GIF is at most 65535 pixels a side, this clip is {}x{} (width x height); write PNGs or .y4m",
            shape.width, shape.height
        ),
    };
    let width = u16::try_from(shape.width).map_err(too_large)?;
    let height = u16::try_from(shape.height).map_err(too_large)?;
    let mut encoder = Encoder::new(to()?, width, height, &[])?;
    encoder.set_repeat(Repeat::Infinite)?;
    // What the palette's algorithm takes: 1 to 30.
    let palette_stride = (shape.width * shape.height / PALETTE_PIXELS).clamp(1, 30) as i32;
    Ok(Box::new(Gif { encoder, width, height, palette_stride, rate, frames: 0 }))
}

impl From<EncodingError> for Fault {
    fn from(cause: EncodingError) -> Fault {
        match cause {
            EncodingError::Io(cause) => Fault::Io(cause),
            other => Fault::Encoder { format: "GIF", problem: other.to_string() },
        }
    }
}

impl<W: Write + Send> FrameSink<W> for Gif<W> {
    fn frame(&mut self, rgb: &[u8]) -> Result<(), Fault> {
        let mut frame = Frame::from_rgb_speed(self.width, self.height, rgb, self.palette_stride);
        let delay = self.rate.start(self.frames + 1, UNITS) - self.rate.start(self.frames, UNITS);
        frame.delay = u16::try_from(delay.max(SHORTEST_DELAY)).unwrap_or(u16::MAX);
        self.frames += 1;
        Ok(self.encoder.write_frame(&frame)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.get_mut().flush()
    }

    fn finish(self: Box<Self>) -> Result<W, Fault> {
        Ok(self.encoder.into_inner()?)
    }
}
