//! Pixels from Y'CbCr planes: chroma to full resolution, then the matrix.

use crate::colour::{BT601, Matrix};

/// Size and place of the chroma samples of 8-bit planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chroma {
    /// How they lie along a row.
    pub(super) across: Siting,
    /// How they lie along a column.
    pub(super) down: Siting,
}

/// Chroma samples along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Siting {
    /// One for each pixel.
    Full,
    /// One for two, at the first of them.
    First,
    /// One for two, between them.
    Between,
}

impl Siting {
    /// Samples for so many pixels.
    pub(super) fn samples(self, pixels: usize) -> usize {
        if self == Siting::Full { pixels } else { pixels.div_ceil(2) }
    }

    /// The two samples that pixel `at` lies between, and how many quarters of the second: linear
    /// interpolation.
    fn at(self, at: usize, samples: usize) -> (usize, usize, u16) {
        let (near, last) = (at / 2, samples - 1);
        match (self, at % 2) {
            (Siting::Full, _) => (at, at, 0),
            (Siting::First, 0) => (near, near, 0),
            (Siting::First, _) => (near, (near + 1).min(last), 2),
            (Siting::Between, 0) => (near, near.saturating_sub(1), 1),
            (Siting::Between, _) => (near, (near + 1).min(last), 1),
        }
    }
}

/// What turns Y'CbCr into R'G'B'.
#[derive(Debug, Clone, Copy)]
pub(super) struct ColourSpace {
    pub(super) matrix: Matrix,
    /// Y' from 0 to 255 instead of 16 to 235, and chroma likewise.
    pub(super) full_range: bool,
}

impl ColourSpace {
    /// What an unmarked clip is taken for, of whatever size: ffmpeg's choice.
    pub(super) const UNSPECIFIED: ColourSpace = ColourSpace { matrix: BT601, full_range: false };
}

/// A frame's planes, row-major without padding.
#[derive(Debug, Clone, Copy)]
pub(super) struct YuvView<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) luma: &'a [u8],
    /// Cb, Cr and how they lie; none of a gray frame.
    pub(super) chroma: Option<(&'a [u8], &'a [u8], Chroma)>,
}

/// Fills `rgb` with the frame as interleaved 8-bit RGB. The planes are as long as the view says.
pub(super) fn convert(frame: YuvView<'_>, space: ColourSpace, rgb: &mut Vec<u8>) {
    let Matrix { red: kr, blue: kb } = space.matrix;
    let kg = 1.0 - kr - kb;
    let (black, luma_gain, chroma_gain) =
        if space.full_range { (0.0, 1.0, 1.0) } else { (16.0, 255.0 / 219.0, 255.0 / 224.0) };
    // Chroma comes in sixteenths, less 128.
    let chroma_gain = chroma_gain / 16.0;
    let red_of_cr = 2.0 * (1.0 - kr) * chroma_gain;
    let blue_of_cb = 2.0 * (1.0 - kb) * chroma_gain;
    let green_of_cr = -kr / kg * red_of_cr;
    let green_of_cb = -kb / kg * blue_of_cb;

    rgb.clear();
    rgb.reserve(frame.width * frame.height * 3);
    let (mut cb, mut cr) = (vec![128 * 16; frame.width], vec![128 * 16; frame.width]);
    for (y, luma) in frame.luma.chunks_exact(frame.width).enumerate() {
        if let Some((blue, red, chroma)) = frame.chroma {
            chroma_row(blue, chroma, (frame.width, frame.height), y, &mut cb);
            chroma_row(red, chroma, (frame.width, frame.height), y, &mut cr);
        }
        for ((&luma, &cb), &cr) in luma.iter().zip(&cb).zip(&cr) {
            let luma = (f32::from(luma) - black) * luma_gain;
            let (cb, cr) = (f32::from(cb) - 2048.0, f32::from(cr) - 2048.0);
            // The cast rounds down and saturates.
            rgb.extend([
                (luma + red_of_cr * cr + 0.5) as u8,
                (luma + green_of_cb * cb + green_of_cr * cr + 0.5) as u8,
                (luma + blue_of_cb * cb + 0.5) as u8,
            ]);
        }
    }
}

/// Fills `out` with row `y` of a chroma plane at full resolution, in sixteenths.
fn chroma_row(plane: &[u8], chroma: Chroma, (width, height): (usize, usize), y: usize, out: &mut [u16]) {
    let samples = chroma.across.samples(width);
    let (near, far, weight) = chroma.down.at(y, chroma.down.samples(height));
    let row = |at: usize| &plane[at * samples..][..samples];
    let (near, far) = (row(near), row(far));
    // In quarters.
    let down: Vec<u16> =
        near.iter().zip(far).map(|(&near, &far)| u16::from(near) * (4 - weight) + u16::from(far) * weight).collect();
    for (x, out) in out.iter_mut().enumerate() {
        let (near, far, weight) = chroma.across.at(x, samples);
        *out = down[near] * (4 - weight) + down[far] * weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::colour::{BT709, Planes};

    const FULL: Chroma = Chroma { across: Siting::Full, down: Siting::Full };

    #[test]
    fn undoes_what_the_writer_does() {
        let colours: Vec<u8> =
            (0..8 * 8 * 8u32).flat_map(|i| [i & 7, i >> 3 & 7, i >> 6].map(|v| (v * 36) as u8)).collect();
        for matrix in [BT601, BT709] {
            let mut planes = Planes::default();
            matrix.full(&colours, &mut planes);
            let chroma = Some((&planes.blue[..], &planes.red[..], FULL));
            let view = YuvView { width: 512, height: 1, luma: &planes.luma, chroma };
            let mut rgb = vec![];
            convert(view, ColourSpace { matrix, full_range: false }, &mut rgb);
            // Rounding to limited range costs up to two steps.
            assert!(rgb.iter().zip(&colours).all(|(a, b)| a.abs_diff(*b) <= 2));
        }
    }

    #[test]
    fn ranges_and_gray() {
        let mut rgb = vec![];
        let gray = |luma| YuvView { width: 4, height: 1, luma, chroma: None };
        convert(gray(&[16, 235, 0, 255]), ColourSpace::UNSPECIFIED, &mut rgb);
        assert_eq!(rgb, [0, 0, 0, 255, 255, 255, 0, 0, 0, 255, 255, 255]);
        convert(gray(&[16, 235, 0, 255]), ColourSpace { full_range: true, ..ColourSpace::UNSPECIFIED }, &mut rgb);
        assert_eq!(rgb, [16, 16, 16, 235, 235, 235, 0, 0, 0, 255, 255, 255]);
    }

    #[test]
    fn chroma_is_interpolated_where_it_lies() {
        let row = |across, width: usize| {
            let mut out = vec![0; width];
            chroma_row(&[0, 16, 32], Chroma { across, down: Siting::Full }, (width, 1), 0, &mut out);
            out.iter().map(|value| f32::from(*value) / 16.0).collect::<Vec<_>>()
        };
        assert_eq!(row(Siting::First, 6), [0.0, 8.0, 16.0, 24.0, 32.0, 32.0]);
        assert_eq!(row(Siting::Between, 6), [0.0, 4.0, 12.0, 20.0, 28.0, 32.0]);
        assert_eq!(row(Siting::Between, 5), [0.0, 4.0, 12.0, 20.0, 28.0]);
        assert_eq!(row(Siting::Full, 3), [0.0, 16.0, 32.0]);
    }
}
