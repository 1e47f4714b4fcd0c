//! Y4M: uncompressed planes that ffmpeg, x264 and other video tools read. 4:4:4, so that odd sizes
//! and every colour are kept. The one format that streams: it is written from front to back, each
//! frame as it comes.
//!
//! The format cannot say which matrix made its Y'CbCr, and what reads it takes BT.601 in limited
//! range: so that is written.

use std::io::{self, Write};

use super::sink::{Fault, FrameSink, Opened};
use crate::clip::ClipShape;
use crate::colour::{BT601, Planes};
use crate::error::Result;
use crate::frame_rate::FrameRate;

struct Y4m<W> {
    to: W,
    planes: Planes,
}

/// Begins a clip in what `to` opens.
pub(super) fn open<'a, W: Write + Send + 'a>(
    ClipShape { width, height, .. }: ClipShape,
    rate: FrameRate,
    to: impl FnOnce() -> Result<W>,
) -> Opened<'a, W> {
    let mut to = to()?;
    let (frames, seconds) = (rate.frames(), rate.seconds());
    let header = format!("YUV4MPEG2 W{width} H{height} F{frames}:{seconds} Ip A1:1 C444 XCOLORRANGE=LIMITED\n");
    to.write_all(header.as_bytes())?;
    Ok(Box::new(Y4m { to, planes: Planes::default() }))
}

impl<W: Write + Send> FrameSink<W> for Y4m<W> {
    fn frame(&mut self, rgb: &[u8]) -> Result<(), Fault> {
        BT601.full(rgb, &mut self.planes);
        for part in [b"FRAME\n", &*self.planes.luma, &self.planes.blue, &self.planes.red] {
            self.to.write_all(part)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    fn finish(self: Box<Self>) -> Result<W, Fault> {
        Ok(self.to)
    }
}
