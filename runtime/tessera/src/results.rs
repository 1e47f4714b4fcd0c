//! What a half makes on its way to the caller's sink: seen to be numbers, brought into a range.

use frontend::Half;

use crate::error::{Error, Result};
use crate::media::{ClipShape, FrameBlock};

/// Hands frames of a clip of this shape, which come in order, to `sink` once they are seen to be
/// numbers.
pub(crate) fn finite<'a>(
    half: Half,
    shape: ClipShape,
    sink: &'a mut dyn FnMut(usize, &FrameBlock<'_>) -> Result<()>,
) -> impl FnMut(usize, &[f32]) -> Result<()> + 'a {
    // The sample whose frames come, and how many of them came.
    let mut seen = (0, 0);
    move |sample, data| {
        // No overflow: a step whose result is beyond the address space is refused when it is declared.
        let plane = shape.height * shape.width;
        let block = FrameBlock { data, frames: data.len() / (shape.channels * plane).max(1) };
        let first = if seen.0 == sample { seen.1 } else { 0 };
        check_made(half, &block, plane, sample, first)?;
        seen = (sample, first + block.frames);
        sink(sample, &block)
    }
}

/// Hands results to `sink` brought into a range, if there is one. Non-finite values stay, to be
/// seen.
pub(crate) fn in_range<'a>(
    range: Option<[f32; 2]>,
    sink: &'a mut dyn FnMut(usize, &[f32]) -> Result<()>,
) -> impl FnMut(usize, &[f32]) -> Result<()> + 'a {
    let mut clamped = vec![];
    move |sample, data| {
        let Some([low, high]) = range else { return sink(sample, data) };
        clamped.clear();
        clamped.extend(data.iter().map(|value| if value.is_finite() { value.clamp(low, high) } else { *value }));
        sink(sample, &clamped)
    }
}

/// Checks that what a half made, [C, T, H, W] with T from frame `first` on, are numbers.
fn check_made(half: Half, block: &FrameBlock<'_>, plane: usize, sample: usize, first: usize) -> Result<()> {
    let bad = |value: &f32| !value.is_finite();
    // The earliest frame that has one, whatever its channel.
    let images = block.data.chunks_exact(plane).enumerate();
    let found = images.filter_map(|(i, image)| Some((i % block.frames, *image.iter().find(|value| bad(value))?)));
    let Some((frame, value)) = found.min_by_key(|(frame, _)| *frame) else { return Ok(()) };
    let count = block.data.iter().filter(|value| bad(value)).count();
    Err(Error::NonFiniteResult { half, count, total: block.data.len(), value, sample, frame: first + frame })
}
