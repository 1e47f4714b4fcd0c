//! JPEG: a clip of one picture.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::clip_file::{ClipFile, FileBytes};
use super::orientation::Orientation;
use super::pictures::{PictureShape, PictureSource};
use super::reader::check_size;
use crate::error::{Error, Result, bad};

pub(super) struct Jpeg {
    path: PathBuf,
    /// Has read the head; taken for the picture.
    decoder: Option<JpegDecoder<BufReader<FileBytes>>>,
    shape: PictureShape,
    orientation: Orientation,
}

impl Jpeg {
    /// Reads the head.
    pub(super) fn open(clip: &ClipFile) -> Result<Jpeg> {
        let path = &clip.name;
        let side = usize::from(u16::MAX);
        let options = DecoderOptions::default()
            .jpeg_set_out_colorspace(ColorSpace::RGB)
            .set_strict_mode(true)
            .set_max_width(side)
            .set_max_height(side);
        let mut decoder = JpegDecoder::new_with_options(BufReader::new(clip.bytes()), options);
        decoder.decode_headers().map_err(|cause| damaged(path, &cause))?;
        let (width, height) = decoder.info().map_or((0, 0), |info| (usize::from(info.width), usize::from(info.height)));
        check_size(path, width as u64, height as u64)?;
        let orientation =
            if decoder.exif().is_some() { Orientation::of_jpeg(clip.bytes()) } else { Orientation::UPRIGHT };
        let shape = PictureShape { width, height, frames: Some(1), rate: None };
        Ok(Jpeg { path: path.into(), decoder: Some(decoder), shape, orientation })
    }

    /// How the picture is to be turned.
    pub(super) fn orientation(&self) -> Orientation {
        self.orientation
    }
}

fn damaged(path: &Path, cause: &impl std::fmt::Debug) -> Error {
    bad(path, format!("the JPEG is damaged, cut off or of a rare kind: {cause:?}"))
}

impl PictureSource for Jpeg {
    fn shape(&self) -> PictureShape {
        self.shape
    }

    fn next(&mut self, rgb: &mut Vec<u8>) -> Result<bool> {
        let Some(mut decoder) = self.decoder.take() else { return Ok(false) };
        *rgb = decoder.decode().map_err(|cause| damaged(&self.path, &cause))?;
        if rgb.len() != self.shape.width * self.shape.height * 3 {
            return Err(bad(&self.path, "the JPEG's colours cannot be read as RGB"));
        }
        Ok(true)
    }
}
