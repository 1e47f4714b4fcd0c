//! How near decoded frames are to their source: peak signal-to-noise ratio and structural
//! similarity, frame by frame.
//!
//! Both are told on the scale of 8-bit pixels: a value x of either clip
//! is `255 * clamp(x / 2 + 0.5, 0, 1)`, not rounded (the
//! values of a source that was made of pixels are those pixels again). What is compared with what
//! is the caller's to know.

use rayon::prelude::*;

use crate::clip::{ClipShape, FrameBlock};

/// The largest pixel.
const PEAK: f64 = 255.0;
/// Side of the window that structural similarity is weighed over.
pub const SSIM_WINDOW: usize = 11;
/// Standard deviation of the window's weights in pixels.
const SSIM_SIGMA: f64 = 1.5;
/// K1 and K2, which keep the quotients of dark and of flat windows finite.
const SSIM_K: [f64; 2] = [0.01, 0.03];
/// Weights of red, green and blue in luma: ITU-R BT.601-7, item 2.5.1.
const LUMA: [f64; 3] = [0.299, 0.587, 0.114];

/// How near one frame is to its source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameQuality {
    /// Peak signal-to-noise ratio in dB: 10 log10(255^2 / mean squared difference), the mean over
    /// all values of all channels. Infinite where nothing differs.
    pub psnr_db: f64,
    /// Structural similarity of the frames' luma (of the first channel unless there are three), at
    /// most 1, after Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error
    /// Visibility to Structural Similarity", IEEE Transactions on Image Processing 13 (4),
    /// 2004: windows of 11 x 11 weighed by a Gaussian of sigma 1.5, K1 = 0.01, K2 = 0.03; the mean
    /// over all windows that lie inside the frame. `None` for a frame that is smaller than a
    /// window.
    pub ssim: Option<f64>,
}

/// Compares the frames of two blocks, which both have `shape`'s channels, height and width and as
/// many frames.
///
/// # Panics
/// If a block's values do not fill it.
pub fn compare(shape: ClipShape, source: &FrameBlock<'_>, decoded: &FrameBlock<'_>) -> Vec<FrameQuality> {
    let plane = shape.height * shape.width;
    let expected = shape.channels * source.frames * plane;
    assert!(
        source.data.len() == expected && decoded.data.len() == expected,
        "both blocks are [C, T, H, W] of one shape"
    );
    let frame = |block: &FrameBlock<'_>, t: usize| -> Vec<Vec<f64>> {
        let channel = |c: usize| &block.data[(c * block.frames + t) * plane..][..plane];
        (0..shape.channels).map(|c| channel(c).iter().map(|&value| on_pixel_scale(value)).collect()).collect()
    };
    let compared = (0..source.frames).into_par_iter().map(|t| {
        let (source, decoded) = (frame(source, t), frame(decoded, t));
        let squares = source.iter().flatten().zip(decoded.iter().flatten()).map(|(a, b)| (a - b) * (a - b));
        let mean = squares.sum::<f64>() / (shape.channels * plane) as f64;
        let ssim = ssim(&luma(&source), &luma(&decoded), shape.width);
        FrameQuality { psnr_db: 10.0 * (PEAK * PEAK / mean).log10(), ssim }
    });
    compared.collect()
}

/// The clip's figures: the mean over its frames; `None` for no frames, and for similarity where a
/// frame has none.
pub fn mean(frames: &[FrameQuality]) -> Option<FrameQuality> {
    let count = frames.len() as f64;
    let ssim = frames.iter().map(|frame| frame.ssim).sum::<Option<f64>>().map(|sum| sum / count);
    let psnr_db = frames.iter().map(|frame| frame.psnr_db).sum::<f64>() / count;
    (!frames.is_empty()).then_some(FrameQuality { psnr_db, ssim })
}

fn on_pixel_scale(value: f32) -> f64 {
    // In f32 as decoded pixels are made; NaN is black, as there.
    let share = (value / 2.0 + 0.5).clamp(0.0, 1.0);
    if share.is_nan() { 0.0 } else { f64::from(share) * PEAK }
}

fn luma(channels: &[Vec<f64>]) -> Vec<f64> {
    let [red, green, blue] = channels else { return channels[0].clone() };
    let weighed = |((r, g), b): ((&f64, &f64), &f64)| LUMA[0] * r + LUMA[1] * g + LUMA[2] * b;
    red.iter().zip(green).zip(blue).map(weighed).collect()
}

/// Mean structural similarity of two images of this width; equation 13 of the paper in every
/// window.
fn ssim(a: &[f64], b: &[f64], width: usize) -> Option<f64> {
    if width < SSIM_WINDOW || a.len() / width < SSIM_WINDOW {
        return None;
    }
    let weights = gaussian();
    let mean_of = |value: &dyn Fn(f64, f64) -> f64| {
        let image: Vec<f64> = a.iter().zip(b).map(|(&a, &b)| value(a, b)).collect();
        filter(&image, width, &weights)
    };
    let (mean_a, mean_b) = (mean_of(&|a, _| a), mean_of(&|_, b| b));
    let (square_a, square_b) = (mean_of(&|a, _| a * a), mean_of(&|_, b| b * b));
    let product = mean_of(&|a, b| a * b);
    let [c1, c2] = SSIM_K.map(|k| (k * PEAK) * (k * PEAK));
    let window = |i: usize| {
        let (a, b) = (mean_a[i], mean_b[i]);
        let (variance_a, variance_b) = (square_a[i] - a * a, square_b[i] - b * b);
        let covariance = product[i] - a * b;
        (2.0 * a * b + c1) * (2.0 * covariance + c2) / ((a * a + b * b + c1) * (variance_a + variance_b + c2))
    };
    Some((0..product.len()).map(window).sum::<f64>() / product.len() as f64)
}

/// Weights of a window along one axis; they sum to 1.
fn gaussian() -> [f64; SSIM_WINDOW] {
    let middle = (SSIM_WINDOW / 2) as f64;
    let weights: [f64; SSIM_WINDOW] =
        std::array::from_fn(|i| (-(i as f64 - middle).powi(2) / (2.0 * SSIM_SIGMA * SSIM_SIGMA)).exp());
    let sum: f64 = weights.iter().sum();
    weights.map(|weight| weight / sum)
}

/// The weighted mean of every window that lies inside the image: across, then down.
fn filter(image: &[f64], width: usize, weights: &[f64; SSIM_WINDOW]) -> Vec<f64> {
    let weigh = |values: &mut dyn Iterator<Item = f64>| weights.iter().zip(values).map(|(w, v)| w * v).sum::<f64>();
    let across: Vec<f64> = image
        .chunks_exact(width)
        .flat_map(|row| row.windows(SSIM_WINDOW).map(|window| weigh(&mut window.iter().copied())))
        .collect();
    let width = width + 1 - SSIM_WINDOW;
    let rows = across.len() / width;
    let down = |y: usize, x: usize| weigh(&mut (0..SSIM_WINDOW).map(|k| across[(y + k) * width + x]));
    (0..=rows - SSIM_WINDOW).flat_map(|y| (0..width).map(move |x| (y, x))).map(|(y, x)| down(y, x)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ClipShape = ClipShape { batch: 1, channels: 3, frames: 1, height: 13, width: 17 };

    /// Two images of pixels, as values.
    fn images() -> (Vec<f32>, Vec<f32>) {
        let value = |pixel: f64| (pixel / 127.5 - 1.0) as f32;
        let first = |i: usize| ((i * 37) % 256) as f64;
        let second = |i: usize| (first(i) * 0.8 + ((i * 11) % 29) as f64).floor().min(255.0);
        let pixels = 0..3 * 13 * 17;
        (pixels.clone().map(|i| value(first(i))).collect(), pixels.map(|i| value(second(i))).collect())
    }

    fn compared(shape: ClipShape, a: &[f32], b: &[f32]) -> FrameQuality {
        let block = |data| FrameBlock { data, frames: 1 };
        compare(shape, &block(a), &block(b))[0]
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
    }

    #[test]
    fn figures_are_those_of_scikit_image() {
        // skimage.metrics.structural_similarity(gaussian_weights=True, sigma=1.5,
        // use_sample_covariance=False, data_range=255) of scikit-image on the luma, and 10
        // log10(255^2 / mse).
        let (a, b) = images();
        let colour = compared(SHAPE, &a, &b);
        close(colour.ssim.unwrap(), 0.9703347115395925);
        close(colour.psnr_db, 21.86387063322734);
        let plane = SHAPE.height * SHAPE.width;
        let gray = compared(ClipShape { channels: 1, ..SHAPE }, &a[..plane], &b[..plane]);
        close(gray.ssim.unwrap(), 0.9655376794031134);
        close(gray.psnr_db, 21.903975853796606);
    }

    #[test]
    fn frames_are_taken_from_their_place_in_the_block() {
        let (a, b) = images();
        let plane = SHAPE.height * SHAPE.width;
        // [C, 2, H, W] with the two images as its frames.
        let both = |first: &[f32], second: &[f32]| -> Vec<f32> {
            first.chunks(plane).zip(second.chunks(plane)).flat_map(|(a, b)| [a, b].concat()).collect()
        };
        let (source, decoded) = (both(&a, &a), both(&a, &b));
        let block = |data| FrameBlock { data, frames: 2 };
        let found = compare(ClipShape { frames: 2, ..SHAPE }, &block(&source), &block(&decoded));
        assert_eq!(found[0], FrameQuality { psnr_db: f64::INFINITY, ssim: Some(1.0) });
        assert_eq!(found[1], compared(SHAPE, &a, &b));
        assert_eq!(mean(&found[1..]), Some(found[1]));
        assert_eq!(mean(&[]), None);
    }

    #[test]
    fn decoded_values_are_clamped_and_not_rounded() {
        let shape = ClipShape { channels: 1, height: 1, width: 2, ..SHAPE };
        // 255 against 255, and 0 against 0.5.
        let found = compared(shape, &[1.0, -1.0], &[1.7, 0.5 / 127.5 - 1.0]);
        close(found.psnr_db, 10.0 * (255.0 * 255.0 / 0.125_f64).log10());
        assert_eq!(found.ssim, None);
    }
}
