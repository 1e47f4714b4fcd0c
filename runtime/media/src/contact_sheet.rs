//! A clip over what became of it: a few frames of both in one picture, a PNG.

use std::path::Path;

use files::staging::StagedFile;
use png::{BitDepth, ColorType, Encoder, EncodingError};

use crate::clip::{ClipShape, FrameBlock};
use crate::colour::frame_pixels;
use crate::comparison::GAP;
use crate::error::{Error, Result};
use crate::write::Output;

/// The pixel of what is between pictures: white.
const GAP_PIXEL: u8 = 255;
/// Frames of each sample on a contact sheet, at most.
const SHEET_FRAMES: usize = 6;
/// Width of a contact sheet in pixels, unless even two frames are wider.
const SHEET_WIDTH: usize = 4096;

/// A picture with evenly spaced frames of a clip in a row, and below each what became of it; two
/// such rows for each sample.
pub struct ContactSheet {
    file: StagedFile,
    clip: ClipShape,
    /// The frames shown, of each sample.
    shown: Vec<usize>,
    /// Frames that came, of all samples.
    seen: usize,
    /// The sheet, interleaved RGB.
    rgb: Vec<u8>,
}

impl ContactSheet {
    /// Opens a PNG for frames of this clip.
    ///
    /// # Errors
    /// [`files::Error::OutputPlace`]; [`Error::UnsupportedClip`] for a sheet too large for a
    /// picture.
    pub fn create(path: &Path, clip: ClipShape) -> Result<ContactSheet> {
        let columns = (SHEET_WIDTH / (clip.width + GAP)).clamp(2, SHEET_FRAMES).min(clip.frames);
        let shown =
            (0..columns).map(|i| if columns == 1 { 0 } else { i * (clip.frames - 1) / (columns - 1) }).collect();
        let mut sheet = ContactSheet { file: StagedFile::create(path)?, clip, shown, seen: 0, rgb: vec![] };
        let (width, height) = sheet.size();
        if u32::try_from(width.max(height)).is_err() || width.checked_mul(height).is_none_or(|n| n > 1 << 30) {
            let problem = format!("a contact sheet of {width}x{height} pixels is too large for a picture");
            return Err(Error::UnsupportedClip { path: path.into(), problem });
        }
        sheet.rgb = vec![GAP_PIXEL; 3 * width * height];
        Ok(sheet)
    }

    /// Width and height in pixels, with a gap around and between all pictures.
    fn size(&self) -> (usize, usize) {
        let along = |count: usize, size: usize| count * (size + GAP) + GAP;
        (along(self.shown.len(), self.clip.width), along(2 * self.clip.batch, self.clip.height))
    }

    /// Takes the frames to show from the clip's next ones and what became of them. Blocks of a
    /// sample come in the order of frames; samples one after the other.
    pub fn add(&mut self, source: &FrameBlock<'_>, decoded: &FrameBlock<'_>) {
        let mut pixels = vec![];
        for t in 0..source.frames {
            let (sample, frame) = (self.seen / self.clip.frames, self.seen % self.clip.frames);
            self.seen += 1;
            let Some(column) = self.shown.iter().position(|&shown| shown == frame) else { continue };
            for (row, block) in [source, decoded].into_iter().enumerate() {
                // What is transparent is shown as it is without.
                let clip = ClipShape { channels: self.clip.channels.min(3), ..self.clip };
                frame_pixels(clip, block, t, &mut pixels);
                self.paste(&pixels, 2 * sample + row, column);
            }
        }
    }

    fn paste(&mut self, pixels: &[u8], row: usize, column: usize) {
        let (width, _) = self.size();
        let (top, left) = (GAP + row * (self.clip.height + GAP), GAP + column * (self.clip.width + GAP));
        for (y, line) in pixels.chunks_exact(3 * self.clip.width).enumerate() {
            let start = 3 * ((top + y) * width + left);
            // A sample too many has no place here.
            if let Some(place) = self.rgb.get_mut(start..start + line.len()) {
                place.copy_from_slice(line);
            }
        }
    }

    /// Writes the picture and puts it in its place.
    ///
    /// # Errors
    /// [`files::Error::Write`], [`files::Error::NotInPlace`].
    pub fn finish(mut self) -> Result<Output> {
        if let Err(cause) = self.encode() {
            return Err(match cause {
                EncodingError::IoError(cause) => self.file.error(cause),
                other => {
                    let (path, problem) = (self.file.target().into(), other.to_string());
                    files::Error::Encode { path, format: "PNG", problem }
                }
            }
            .into());
        }
        let (path, bytes) = self.file.persist()?;
        Ok(Output { paths: vec![path], bytes })
    }

    fn encode(&mut self) -> Result<(), EncodingError> {
        let (width, height) = self.size();
        let mut encoder = Encoder::new(&mut self.file, width as u32, height as u32);
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.rgb)?;
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_shows_evenly_spaced_frames_over_what_became_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sheet.png");
        let clip = ClipShape { batch: 2, channels: 3, frames: 11, height: 2, width: 4 };
        let mut sheet = ContactSheet::create(&path, clip).unwrap();
        assert_eq!(sheet.shown, [0, 2, 4, 6, 8, 10]);
        // Frame n is the pixel 10 n, what became of it one more; the second sample 100 more.
        for sample in 0..2 {
            for frame in 0..11 {
                let value = |pixel: usize| [(pixel as f32) / 127.5 - 1.0; 3 * 2 * 4];
                let pixel = 100 * sample + 10 * frame;
                let (source, decoded) = (value(pixel), value(pixel + 1));
                sheet.add(&FrameBlock { data: &source, frames: 1 }, &FrameBlock { data: &decoded, frames: 1 });
            }
        }
        assert!(!path.exists());
        let output = sheet.finish().unwrap();
        assert_eq!(output.paths, std::slice::from_ref(&path));

        let mut reader =
            png::Decoder::new(std::io::BufReader::new(std::fs::File::open(path).unwrap())).read_info().unwrap();
        let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut rgb).unwrap();
        assert_eq!((info.width, info.height), (6 * 12 + 8, 4 * 10 + 8));
        let at = |row: usize, column: usize| rgb[3 * ((8 + row * 10) * 80 + 8 + column * 12)];
        assert_eq!([at(0, 0), at(1, 0), at(0, 2), at(1, 5), at(2, 1), at(3, 5)], [0, 1, 40, 101, 120, 201]);
        assert_eq!(rgb[0], 255);
    }
}
