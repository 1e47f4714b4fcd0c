//! Pixels from values, and Y'CbCr planes from pixels.

use crate::clip::{ClipShape, FrameBlock};

/// The pixel of a value; see [`crate::ClipWriter`].
fn pixel(value: f32) -> u8 {
    // f32 as in diffusers' postprocess, operation by operation; a NaN passes through and the cast
    // makes it 0.
    ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

/// Fills `rgb` with frame `t` of the block as interleaved 8-bit RGB, RGBA if there are four channels;
/// gray is shown as RGB.
pub(crate) fn frame_pixels(shape: ClipShape, block: &FrameBlock<'_>, t: usize, rgb: &mut Vec<u8>) {
    let plane = shape.height * shape.width;
    let channel = |c: usize| {
        let c = if shape.channels == 1 { 0 } else { c };
        &block.data[(c * block.frames + t) * plane..][..plane]
    };
    rgb.clear();
    let (red, green, blue) = (channel(0), channel(1), channel(2));
    let colours = red.iter().zip(green).zip(blue);
    if shape.channels == 4 {
        for (((&r, &g), &b), &opacity) in colours.zip(channel(3)) {
            rgb.extend([r, g, b, opacity].map(pixel));
        }
    } else {
        for ((&r, &g), &b) in colours {
            rgb.extend([r, g, b].map(pixel));
        }
    }
}

/// How Y'CbCr is made of R'G'B': luma weights of red and blue (green has the rest), limited range
/// of 8 bits.
///
/// Y' = 16 + 219 E'Y, Cb = 128 + 224 (E'B - E'Y) / (2 - 2 Kb), Cr = 128 + 224 (E'R - E'Y) / (2 - 2
/// Kr), with E'Y = Kr E'R + (1 - Kr - Kb) E'G + Kb E'B: ITU-T H.273 (07/2021), 8.3, equations 20 to
/// 22 and 34, 35, 38.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Matrix {
    pub(crate) red: f32,
    pub(crate) blue: f32,
}

/// ITU-R BT.709-6, item 3.2.
#[cfg(any(test, feature = "codecs"))]
pub(crate) const BT709: Matrix = Matrix { red: 0.2126, blue: 0.0722 };
/// ITU-R BT.601-7, item 2.5.1.
pub(crate) const BT601: Matrix = Matrix { red: 0.299, blue: 0.114 };

/// Three planes of a frame, each row-major without padding between rows.
#[derive(Debug, Default)]
pub(crate) struct Planes {
    pub(crate) luma: Vec<u8>,
    pub(crate) blue: Vec<u8>,
    pub(crate) red: Vec<u8>,
}

impl Matrix {
    /// Y', Cb, Cr of a pixel on the scale of 8 bits, not rounded.
    fn convert(self, rgb: &[u8]) -> [f32; 3] {
        let [r, g, b] = [rgb[0], rgb[1], rgb[2]].map(|value| f32::from(value) / 255.0);
        let y = self.red * r + (1.0 - self.red - self.blue) * g + self.blue * b;
        let chroma = |difference: f32, weight: f32| 128.0 + 224.0 * difference / (2.0 - 2.0 * weight);
        [16.0 + 219.0 * y, chroma(b - y, self.blue), chroma(r - y, self.red)]
    }

    /// Fills `planes` at full resolution (4:4:4).
    pub(crate) fn full(self, rgb: &[u8], planes: &mut Planes) {
        planes.clear();
        for pixel in rgb.chunks_exact(3) {
            let [y, cb, cr] = self.convert(pixel);
            planes.luma.push(round(y));
            planes.blue.push(round(cb));
            planes.red.push(round(cr));
        }
    }

    /// Fills `planes` with chroma at half resolution (4:2:0) of a frame `width` wide. An odd width
    /// or height is made even by repeating the last column or row. A chroma sample is the mean
    /// of four pixels and lies between them.
    #[cfg(feature = "codecs")]
    pub(crate) fn halved(self, rgb: &[u8], width: usize, planes: &mut Planes) {
        planes.clear();
        let height = rgb.len() / 3 / width;
        let half_width = width.div_ceil(2);
        // Sums of two by two.
        let (mut blue, mut red) = (vec![0.0; half_width], vec![0.0; half_width]);
        for y in 0..height.next_multiple_of(2) {
            let row = &rgb[y.min(height - 1) * width * 3..][..width * 3];
            for x in 0..2 * half_width {
                let [y, cb, cr] = self.convert(&row[x.min(width - 1) * 3..][..3]);
                planes.luma.push(round(y));
                blue[x / 2] += cb;
                red[x / 2] += cr;
            }
            if y % 2 == 1 {
                planes.blue.extend(blue.iter_mut().map(|sum| round(std::mem::take(sum) / 4.0)));
                planes.red.extend(red.iter_mut().map(|sum| round(std::mem::take(sum) / 4.0)));
            }
        }
    }
}

fn round(value: f32) -> u8 {
    // Both ends of limited range are far inside u8.
    (value + 0.5) as u8
}

impl Planes {
    fn clear(&mut self) {
        self.luma.clear();
        self.blue.clear();
        self.red.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_those_of_diffusers() {
        // numpy: np.round(np.clip(x / 2 + 0.5, 0, 1) * 255) in f32, halves to even.
        let cases = [(-1.0, 0), (1.0, 255), (0.0, 128), (-1.5, 0), (7.0, 255), (f32::NAN, 0), (f32::INFINITY, 255)];
        for (value, expected) in cases {
            assert_eq!(pixel(value), expected, "{value}");
        }
        assert_eq!(pixel(f32::NEG_INFINITY), 0);
        // Just below and above a half.
        assert_eq!((pixel(-0.0041), pixel(0.0041)), (127, 128));
    }

    #[test]
    fn primaries_have_their_published_codes() {
        // SMPTE colour bars at 100 %, BT.709 limited range.
        let rgb = [255, 255, 255, 255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0];
        let mut planes = Planes::default();
        BT709.full(&rgb, &mut planes);
        assert_eq!(planes.luma, [235, 63, 173, 32, 16]);
        assert_eq!(planes.blue, [128, 102, 42, 240, 128]);
        assert_eq!(planes.red, [128, 240, 26, 118, 128]);
        BT601.full(&rgb[3..6], &mut planes);
        assert_eq!((planes.luma[0], planes.blue[0], planes.red[0]), (81, 90, 240));
    }

    #[test]
    #[cfg(feature = "codecs")]
    fn odd_frames_are_made_even() {
        let mut planes = Planes::default();
        BT709.halved(&[255; 3 * 5 * 3], 5, &mut planes);
        assert_eq!((planes.luma.len(), planes.blue.len(), planes.red.len()), (6 * 4, 3 * 2, 3 * 2));
        assert!(planes.luma.iter().all(|&y| y == 235) && planes.blue.iter().chain(&planes.red).all(|&c| c == 128));
        BT709.halved(&[0; 3], 1, &mut planes);
        assert_eq!(planes.luma, [16; 4]);
    }
}
