//! Resizing by covering: the picture is scaled, its aspect kept, until it covers the target, and
//! cut off at the centre.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{F32, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

/// Resizes frames from one size to another with Lanczos of three lobes, widened when it shrinks, as
/// Pillow's does.
pub(super) struct Resize {
    resizer: Resizer,
    options: ResizeOptions,
    from: (u32, u32),
    to: (u32, u32),
}

impl Resize {
    /// From and to (height, width); both were checked to be sizes of pictures. `None` if nothing is
    /// to be done.
    pub(super) fn new(from: (usize, usize), to: Option<(usize, usize)>) -> Option<Resize> {
        let to = to.filter(|&to| to != from)?;
        let centre = Some((0.5, 0.5));
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
            .fit_into_destination(centre)
            .use_alpha(false);
        let size = |(height, width): (usize, usize)| (height as u32, width as u32);
        Some(Resize { resizer: Resizer::new(), options, from: size(from), to: size(to) })
    }

    /// Interleaved 8-bit RGB.
    pub(super) fn pixels(&mut self, from: &[u8], to: &mut Vec<u8>) -> Result<(), String> {
        let from: Vec<U8x3> = from.as_chunks().0.iter().map(|&pixel| U8x3::new(pixel)).collect();
        let out = self.resize(&from, U8x3::new([0; 3]))?;
        to.clear();
        to.extend(out.iter().flat_map(|pixel| pixel.0));
        Ok(())
    }

    /// A plane of values. The filter overshoots beside edges; the result is kept within the plane's
    /// own range.
    pub(super) fn plane(&mut self, from: &[f32], to: &mut Vec<f32>) -> Result<(), String> {
        let low = from.iter().copied().fold(f32::INFINITY, f32::min);
        let high = from.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let from: Vec<F32> = from.iter().map(|&value| F32::new(value)).collect();
        let out = self.resize(&from, F32::new(0.0))?;
        to.extend(out.iter().map(|value| value.0.max(low).min(high)));
        Ok(())
    }

    fn resize<P: PixelTrait>(&mut self, from: &[P], zero: P) -> Result<Vec<P>, String> {
        let mut out = vec![zero; self.to.0 as usize * self.to.1 as usize];
        let source = TypedImageRef::new(self.from.1, self.from.0, from).map_err(|cause| cause.to_string())?;
        let mut target =
            TypedImage::from_pixels_slice(self.to.1, self.to.0, &mut out).map_err(|cause| cause.to_string())?;
        self.resizer.resize_typed(&source, &mut target, &self.options).map_err(|cause| cause.to_string())?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_and_crops_at_the_centre() {
        // 2 rows of 8 columns to 2 by 2: scaled by 1, columns 3 and 4 are kept.
        let mut resize = Resize::new((2, 8), Some((2, 2))).unwrap();
        let row: Vec<u8> = (0..8).flat_map(|x| [x * 10, x, 255]).collect();
        let mut out = vec![];
        resize.pixels(&row.repeat(2), &mut out).unwrap();
        assert_eq!(out, [30, 3, 255, 40, 4, 255].repeat(2));
        // What is cut off has been scaled with the rest: the middle rows of all of them.
        let plane: Vec<f32> = (0..8 * 4).map(|i| ((i * 7) as f32 * 0.3).sin()).collect();
        let resized = |to| {
            let mut out = vec![];
            Resize::new((8, 4), Some(to)).unwrap().plane(&plane, &mut out).unwrap();
            out
        };
        let (all, middle) = (resized((4, 2)), resized((2, 2)));
        assert!(all[2..6].iter().zip(&middle).all(|(a, b)| (a - b).abs() < 1e-6), "{all:?} {middle:?}");
    }

    #[test]
    fn flat_pictures_stay_flat_and_edges_stay_in_range() {
        for to in [(5, 7), (40, 60)] {
            let mut resize = Resize::new((16, 24), Some(to)).unwrap();
            let mut out = vec![];
            resize.pixels(&[200; 16 * 24 * 3], &mut out).unwrap();
            assert_eq!(out, vec![200; to.0 * to.1 * 3]);
            let edge: Vec<f32> = (0..16 * 24).map(|i| if i % 24 < 12 { -1.0 } else { 1.0 }).collect();
            let mut out = vec![];
            resize.plane(&edge, &mut out).unwrap();
            assert!(out.iter().all(|value| (-1.0..=1.0).contains(value)));
        }
        assert!(Resize::new((2, 2), Some((2, 2))).is_none());
        assert!(Resize::new((2, 2), None).is_none());
    }
}
