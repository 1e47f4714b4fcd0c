//! Y4M: uncompressed planes that ffmpeg, x264 and other video tools read. 4:4:4, so that odd sizes and every colour are kept.
//! The one format that streams: it is written from front to back, each frame as it comes.
//!
//! The format cannot say which matrix made its Y'CbCr, and what reads it takes BT.601 in limited range: so that is written.

use std::io::{self, Write};
use std::path::Path;

use super::colour::{BT601, Planes};
use super::pictures::FrameSink;
use super::{ClipShape, FrameRate};
use crate::error::Result;
use files::staging::StagedFile;

/// One sample's frames on their way to `to`.
pub(super) struct Y4m<W> {
    to: W,
    planes: Planes,
    /// Written so far.
    pub(super) bytes: u64,
}

/// Opens a file for one sample's frames.
pub(super) fn open(path: &Path, shape: ClipShape, rate: FrameRate) -> Result<Box<dyn FrameSink>> {
    let mut clip = Y4m::new(StagedFile::create(path)?);
    clip.header(shape, rate).map_err(|cause| clip.to.error(cause))?;
    Ok(Box::new(clip))
}

impl<W: Write> Y4m<W> {
    pub(super) fn new(to: W) -> Y4m<W> {
        Y4m { to, planes: Planes::default(), bytes: 0 }
    }

    /// Writes what stands in front of the frames.
    pub(super) fn header(&mut self, ClipShape { width, height, .. }: ClipShape, rate: FrameRate) -> io::Result<()> {
        let (frames, seconds) = (rate.frames(), rate.seconds());
        let header = format!("YUV4MPEG2 W{width} H{height} F{frames}:{seconds} Ip A1:1 C444 XCOLORRANGE=LIMITED\n");
        self.bytes += header.len() as u64;
        self.to.write_all(header.as_bytes())
    }

    /// Appends a frame of interleaved 8-bit RGB.
    pub(super) fn write(&mut self, rgb: &[u8]) -> io::Result<()> {
        BT601.full(rgb, &mut self.planes);
        for part in [b"FRAME\n", &*self.planes.luma, &self.planes.blue, &self.planes.red] {
            self.to.write_all(part)?;
            self.bytes += part.len() as u64;
        }
        Ok(())
    }

    /// Hands on what is still on its way.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl FrameSink for Y4m<StagedFile> {
    fn frame(&mut self, rgb: &[u8]) -> Result<()> {
        Ok(self.write(rgb).map_err(|cause| self.to.error(cause))?)
    }

    fn finish(self: Box<Self>) -> Result<StagedFile> {
        Ok(self.to)
    }
}
