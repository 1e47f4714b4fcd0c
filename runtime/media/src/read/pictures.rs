//! Formats whose frames are 8-bit pictures: what they have in common, from pixels to values.

use std::path::{Path, PathBuf};

use super::reader::{ClipReader, Frames, ReadOptions, ReadShape, frames_to_read, no_frames_asked};
use super::resize::Resize;
use crate::error::{Error, Result, bad};
use crate::frame_rate::FrameRate;

/// What is known of a clip of pictures once it is open.
#[derive(Debug, Clone, Copy)]
pub(super) struct PictureShape {
    pub(super) width: usize,
    pub(super) height: usize,
    /// A source that says a number returns so many pictures, or an error.
    pub(super) frames: Option<usize>,
    pub(super) rate: Option<FrameRate>,
}

/// Decodes a clip's pictures in the order they are shown, all of one size.
pub(super) trait PictureSource: Send {
    fn shape(&self) -> PictureShape;

    /// Fills `rgb` with the next picture, interleaved 8-bit RGB; false, and nothing done, behind
    /// the last.
    fn next(&mut self, rgb: &mut Vec<u8>) -> Result<bool>;
}

/// Pictures of any source as blocks of values.
pub(super) struct PictureReader {
    path: PathBuf,
    source: Box<dyn PictureSource>,
    resize: Option<Resize>,
    shape: ReadShape,
    /// As asked for.
    limit: Option<usize>,
    done: usize,
    ended: bool,
}

impl PictureReader {
    pub(super) fn boxed(
        path: &Path,
        source: Box<dyn PictureSource>,
        options: ReadOptions,
    ) -> Result<Box<dyn ClipReader>> {
        let PictureShape { width, height, frames, rate } = source.shape();
        let frames = frames_to_read(path, options, frames)?;
        let resize = Resize::new((height, width), options.size);
        let (height, width) = options.size.unwrap_or((height, width));
        let shape = ReadShape { batch: 1, channels: 3, frames, height, width, rate };
        let limit = options.frames;
        Ok(Box::new(PictureReader { path: path.into(), source, resize, shape, limit, done: 0, ended: false }))
    }

    /// Appends the next picture's planes to `planes`, each [3, H, W]; false behind the last.
    fn next(&mut self, planes: &mut Vec<u8>, picture: &mut Vec<u8>, resized: &mut Vec<u8>) -> Result<bool> {
        if self.ended || self.limit == Some(self.done) {
            return Ok(false);
        }
        if !self.source.next(picture)? {
            self.ended = true;
            return match self.limit {
                Some(asked) => Err(Error::TooFewFrames { path: self.path.clone(), asked, found: self.done }),
                None if self.done == 0 => Err(bad(&self.path, "it has no frames")),
                None => Ok(false),
            };
        }
        self.done += 1;
        let rgb = match &mut self.resize {
            Some(resize) => {
                resize.pixels(picture, resized).map_err(|problem| bad(&self.path, problem))?;
                &*resized
            }
            None => &*picture,
        };
        for channel in 0..3 {
            planes.extend(rgb.iter().skip(channel).step_by(3));
        }
        Ok(true)
    }
}

impl ClipReader for PictureReader {
    fn shape(&self) -> ReadShape {
        self.shape
    }

    fn read(&mut self, frames: usize) -> Result<Option<Frames>> {
        if frames == 0 {
            return Err(no_frames_asked());
        }
        // [T, C, H, W] in 8 bits while they come.
        let (mut planes, mut picture, mut resized) = (vec![], vec![], vec![]);
        let mut count = 0;
        while count < frames && self.next(&mut planes, &mut picture, &mut resized)? {
            count += 1;
        }
        if count == 0 {
            return Ok(None);
        }
        let plane = self.shape.height * self.shape.width;
        let mut data = Vec::with_capacity(planes.len());
        for channel in 0..3 {
            for frame in planes.chunks_exact(3 * plane) {
                data.extend(frame[channel * plane..][..plane].iter().map(|&pixel| value(pixel)));
            }
        }
        Ok(Some(Frames { sample: 0, frames: count, data }))
    }
}

/// The value of a pixel; see [`Frames::data`].
fn value(pixel: u8) -> f32 {
    2.0 * (f32::from(pixel) / 255.0) - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_diffusers() {
        assert_eq!((value(0), value(255), value(51)), (-1.0, 1.0, -0.6));
        // Both steps of diffusers in f32, and what they come to: doubling is exact.
        assert!((0..=255).all(|pixel| value(pixel) == f32::from(pixel) / 127.5 - 1.0));
    }
}
