//! Y4M: uncompressed planes that ffmpeg, x264 and other video tools read. 4:4:4, so that odd sizes and every colour are kept.
//!
//! The format cannot say which matrix made its Y'CbCr, and what reads it takes BT.601 in limited range: so that is written.

use std::io::{self, Write};
use std::path::Path;

use super::colour::{BT601, Planes};
use super::pictures::FrameSink;
use super::staging::StagedFile;
use super::{ClipShape, FrameRate};
use crate::error::Result;

struct Y4m {
    file: StagedFile,
    planes: Planes,
}

/// Opens a file for one sample's frames.
pub(super) fn open(path: &Path, shape: ClipShape, rate: FrameRate) -> Result<Box<dyn FrameSink>> {
    let mut file = StagedFile::create(path)?;
    let header = format!(
        "YUV4MPEG2 W{} H{} F{}:{} Ip A1:1 C444 XCOLORRANGE=LIMITED\n",
        shape.width,
        shape.height,
        rate.frames(),
        rate.seconds()
    );
    file.write_all(header.as_bytes()).map_err(|cause| file.error(cause))?;
    Ok(Box::new(Y4m { file, planes: Planes::default() }))
}

impl Y4m {
    fn write(&mut self) -> io::Result<()> {
        self.file.write_all(b"FRAME\n")?;
        self.file.write_all(&self.planes.luma)?;
        self.file.write_all(&self.planes.blue)?;
        self.file.write_all(&self.planes.red)
    }
}

impl FrameSink for Y4m {
    fn frame(&mut self, rgb: &[u8]) -> Result<()> {
        BT601.full(rgb, &mut self.planes);
        self.write().map_err(|cause| self.file.error(cause))
    }

    fn finish(self: Box<Self>) -> Result<StagedFile> {
        Ok(self.file)
    }
}
