//! What animated pictures have in common: the canvas on which each frame is painted over the ones
//! before, and some undone before the next; how long frames are shown; which are there when the
//! file is cut off.

use std::path::Path;

use crate::error::{Error, Remedy, Result};
use crate::frame_rate::FrameRate;

/// How long a frame is shown that says no time, in seconds: so do browsers.
const USUAL_DELAY: f64 = 0.1;

/// How long frames are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Delays {
    frames: u32,
    seconds: f64,
}

impl Delays {
    /// Of one more frame; 0 if it says none.
    pub(super) fn add(&mut self, seconds: f64) {
        self.frames += 1;
        self.seconds += if seconds > 0.0 { seconds } else { USUAL_DELAY };
    }

    /// Frames a second, on average.
    pub(super) fn rate(self) -> Option<FrameRate> {
        // Sums of fractions are off by their rounding.
        const DIGITS: f64 = 1e6;
        FrameRate::new((f64::from(self.frames) / self.seconds * DIGITS).round() / DIGITS).ok()
    }
}

/// The frames to read of a file that is cut off or damaged behind `whole` of them: as many as were
/// asked for, if those are there. All that are left is no clip, unless somebody asks for just
/// these.
pub(super) fn whole_frames(path: &Path, format: &str, whole: usize, asked: Option<usize>) -> Result<usize> {
    if let Some(asked) = asked.filter(|&asked| asked <= whole) {
        return Ok(asked);
    }
    let problem = format!("the {format} is damaged or cut off in frame {whole}");
    Err(Error::BadClip { path: path.into(), problem, remedy: (whole > 0).then_some(Remedy::Frames(whole)) })
}

/// What an animation shows; RGBA, transparent black where nothing was painted.
pub(super) struct Canvas {
    width: usize,
    height: usize,
    rgba: Vec<u8>,
    /// What is to be undone of the frame before.
    undo: Option<Undo>,
}

/// How to undo a frame before the next one is painted.
enum Undo {
    /// Its rectangle becomes transparent black.
    Clear(Rectangle),
    /// The whole canvas as it was before.
    Restore(Vec<u8>),
}

/// A part of the canvas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rectangle {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// What becomes of what is under a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blend {
    /// It is replaced, alpha and all.
    Replace,
    /// It shines through where the frame is transparent.
    Over,
}

/// What becomes of a frame before the next one is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dispose {
    /// It stays.
    Keep,
    /// Its rectangle becomes transparent black.
    Clear,
    /// It is taken back.
    Restore,
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize) -> Canvas {
        Canvas { width, height, rgba: vec![0; width * height * 4], undo: None }
    }

    /// Every pixel of the canvas, RGBA.
    pub(super) fn pixels(&self) -> &[[u8; 4]] {
        self.rgba.as_chunks().0
    }

    /// Fills `rgb` with the pixels without their alpha.
    pub(super) fn opaque(&self, rgb: &mut Vec<u8>) {
        rgb.clear();
        rgb.extend(self.pixels().iter().flat_map(|&[r, g, b, _]| [r, g, b]));
    }

    /// Undoes the frame before as it asked for, and paints this one: `pixels` are the rectangle's,
    /// RGBA, row by row. What juts out of the canvas is not seen.
    pub(super) fn paint(&mut self, place: Rectangle, pixels: &[u8], blend: Blend, dispose: Dispose) {
        match self.undo.take() {
            Some(Undo::Clear(area)) => (0..area.height).for_each(|row| self.row(area, row).fill(0)),
            Some(Undo::Restore(before)) => self.rgba = before,
            None => {}
        }
        let seen = Rectangle {
            width: place.width.min(self.width.saturating_sub(place.left)),
            height: place.height.min(self.height.saturating_sub(place.top)),
            ..place
        };
        if seen.width == 0 || seen.height == 0 {
            return;
        }
        self.undo = match dispose {
            Dispose::Clear => Some(Undo::Clear(seen)),
            Dispose::Restore => Some(Undo::Restore(self.rgba.clone())),
            Dispose::Keep => None,
        };
        for (row, pixels) in pixels.chunks_exact(place.width * 4).take(seen.height).enumerate() {
            let to = self.row(seen, row);
            match blend {
                Blend::Replace => to.copy_from_slice(&pixels[..to.len()]),
                Blend::Over => {
                    for (to, from) in to.as_chunks_mut().0.iter_mut().zip(pixels.as_chunks().0) {
                        *to = over(*from, *to);
                    }
                }
            }
        }
    }

    /// The bytes of the canvas that one row of a rectangle covers.
    fn row(&mut self, area: Rectangle, row: usize) -> &mut [u8] {
        let start = ((area.top + row) * self.width + area.left) * 4;
        &mut self.rgba[start..start + area.width * 4]
    }
}

/// One pixel over another; alpha is not premultiplied (PNG, third edition, 13.16).
fn over(front: [u8; 4], back: [u8; 4]) -> [u8; 4] {
    let (front_alpha, back_alpha) = (u32::from(front[3]), u32::from(back[3]));
    if front_alpha == 255 || back_alpha == 0 && front_alpha != 0 {
        return front;
    }
    if front_alpha == 0 {
        return back;
    }
    // In parts of 255 * 255.
    let (front_part, back_part) = (front_alpha * 255, back_alpha * (255 - front_alpha));
    let all = front_part + back_part;
    let mix = |at: usize| ((u32::from(front[at]) * front_part + u32::from(back[at]) * back_part + all / 2) / all) as u8;
    [mix(0), mix(1), mix(2), ((all + 127) / 255) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transparent_pixels_let_through_what_is_below() {
        let (red, blue) = ([255, 0, 0, 255], [0, 0, 255, 255]);
        assert_eq!(over([0, 0, 255, 0], red), red);
        assert_eq!(over(blue, red), blue);
        assert_eq!(over([0, 0, 255, 128], red), [127, 0, 128, 255]);
        assert_eq!(over([9, 9, 9, 40], [1, 2, 3, 0]), [9, 9, 9, 40]);
        // 0.5 over 0.5 is 0.75, two thirds of it the front's.
        assert_eq!(over([255, 0, 0, 128], [0, 255, 0, 128]), [170, 85, 0, 192]);
    }

    #[test]
    fn frames_are_undone_as_they_ask() {
        let mut canvas = Canvas::new(2, 1);
        let pixel = |left| Rectangle { left, top: 0, width: 1, height: 1 };
        let mut paint = |left, value: u8, blend, dispose| {
            canvas.paint(pixel(left), &[value, 0, 0, value], blend, dispose);
            canvas.pixels().iter().map(|pixel| pixel[0]).collect::<Vec<_>>()
        };
        assert_eq!(paint(0, 255, Blend::Over, Dispose::Keep), [255, 0]);
        assert_eq!(paint(1, 7, Blend::Replace, Dispose::Restore), [255, 7]);
        assert_eq!(paint(0, 0, Blend::Over, Dispose::Clear), [255, 0]);
        assert_eq!(paint(1, 9, Blend::Replace, Dispose::Keep), [0, 9]);
        assert_eq!(paint(1, 0, Blend::Replace, Dispose::Keep), [0, 0]);
        // Outside of the canvas.
        assert_eq!(paint(5, 3, Blend::Replace, Dispose::Clear), [0, 0]);
    }
}
