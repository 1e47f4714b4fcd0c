//! Convolutions over large videos, strip by strip of rows.
//!
//! What a convolution reads is often made for it alone: a normalised or an enlarged video, with
//! frames in front and zeros around it. Whole, that is as large as the video itself, and several
//! copies of it live at once. A loop over strips of rows makes it a strip at a time, with the row
//! above and below, and writes each strip of the result in its place.
//!
//! ```text
//! for rows in strips:
//!     z = producer(rows of input, and one source row on each side)
//!     z = z behind the same rows of the frames in front, zeros above and below the video
//!     result[rows] = convolution(z) + bias + residual[rows]
//! ```
//!
//! The last strip ends with the video, so where strips do not divide it, some rows are made twice,
//! alike.

use ir::types::VideoAxes;
use ir::{Activation, ElementType, FirstFrame};

use super::body::{Body, Tensor};
use super::channel_norm::{ChannelNorm, channel_norm};
use super::convolution::{Convolution, convolution};
use super::loops::{for_each_strip, rows_of, scalar};
use super::norm::{Affine, normalized_rows};
use super::resample::resize_nearest;

/// The most strips: of more, the rows that neighbours make twice would tell, and what is whole
/// anyway is larger than a strip.
const MOST_STRIPS: usize = 16;

/// Number of rows of a strip of a result with `height` rows, each of which takes `row_bytes` of
/// what the convolution reads; a multiple of `multiple`. `None` when strips are not worth it.
pub(super) fn rows_of_strip(height: usize, row_bytes: usize, strip_bytes: usize, multiple: usize) -> Option<usize> {
    let whole = height.checked_mul(row_bytes)?;
    let strip_bytes = strip_bytes.max(whole.div_ceil(MOST_STRIPS));
    // Half as much again whole is no worse than in two halves with their rows on both sides.
    if whole <= strip_bytes.saturating_add(strip_bytes / 2) {
        return None;
    }
    let rows = (strip_bytes / row_bytes.max(1)).max(1).next_multiple_of(multiple);
    (rows + 2 * multiple <= height).then_some(rows)
}

/// How rows of what the convolution reads are made of rows of a source.
pub(super) enum Producer<'a> {
    /// Normalised, with gain and shift that have all rows, but may have fewer frames and columns.
    Normalize { affine: &'a Affine, gain_and_shift: Option<([&'a Tensor; 2], FirstFrame)>, activation: Activation },
    /// Normalised position by position.
    ChannelNorm(ChannelNorm<'a>),
    /// Enlarged to these frames and columns, and so many rows for each one.
    Resize { frames: usize, width: usize, factor: usize, first_frame: FirstFrame },
}

/// What stands in front of the frames.
pub(super) enum Leading<'a> {
    /// Nothing.
    Nothing,
    /// Other frames, with all rows.
    Frames(&'a Tensor),
    /// The first frame so many times.
    First(usize),
}

/// A convolution over a video that is made in strips.
pub(super) struct Strips<'a> {
    /// What the producer reads.
    pub source: &'a Tensor,
    pub producer: Producer<'a>,
    pub leading: Leading<'a>,
    /// With padding 1 along the height.
    pub convolution: Convolution<'a>,
    pub axes: VideoAxes,
    pub layout: ir::Layout,
    /// The result's element type and sizes.
    pub element: ElementType,
    pub dims: &'a [usize],
    /// Rows of a strip: a multiple of the producer's factor.
    pub rows: usize,
}

/// The result, whole.
pub(super) fn emit(body: &mut Body, strips: &Strips<'_>) -> Tensor {
    let &Strips { source, ref producer, ref leading, axes, rows, dims, .. } = strips;
    let [time, row_axis, _] = axes.space;
    let factor = match producer {
        Producer::Resize { factor, .. } => *factor,
        Producer::Normalize { .. } | Producer::ChannelNorm(_) => 1,
    };
    let height = dims[row_axis];
    let blank = body.splat("blank", 0.0, strips.element, dims);
    for_each_strip(body, blank, row_axis, rows, |body, start| {
        let source_rows = rows / factor + 2;
        let by = scalar(body, "factor", factor);
        let source_row = body.elementwise("source_row", "divide", &[start, &by]);
        let one = scalar(body, "one", 1);
        let source_row = body.elementwise("source_row", "subtract", &[&source_row, &one]);
        let zero = scalar(body, "zero", 0);
        let source_row = body.elementwise("source_row", "maximum", &[&source_row, &zero]);
        let last = scalar(body, "last", height / factor - source_rows);
        let source_row = body.elementwise("source_row", "minimum", &[&source_row, &last]);

        let x = rows_of(body, "source", source, row_axis, &source_row, source_rows);
        let mut z = match producer {
            Producer::Normalize { affine, gain_and_shift, activation } => {
                let small = gain_and_shift.map(|(tensors, first_frame)| {
                    let [gain, shift] = tensors.map(|v| rows_of(body, "rows", v, row_axis, &source_row, source_rows));
                    ([gain, shift], first_frame)
                });
                normalized_rows(body, &x, axes, affine, small.as_ref().map(|([g, s], f)| ([g, s], *f)), *activation)
            }
            Producer::ChannelNorm(by) => channel_norm(body, &x, by),
            Producer::Resize { frames, width, factor, first_frame } => {
                resize_nearest(body, &x, axes, [*frames, source_rows * factor, *width], *first_frame)
            }
        };
        let top = body.elementwise("top", "multiply", &[&source_row, &by]);
        let made = source_rows * factor;
        let before = match leading {
            Leading::Nothing => None,
            Leading::Frames(frames) => Some(rows_of(body, "in_front", frames, row_axis, &top, made)),
            Leading::First(count) => super::shape_ops::repeated(body, &z, time, 0, *count),
        };
        if let Some(before) = before {
            z = body.concatenate("frames", &[&before, &z], time);
        }
        // A row of zeros above and below; then the rows that the strip reads start one above it.
        let (mut low, none) = (vec![0; 5], vec![0; 5]);
        low[row_axis] = 1;
        let mut padded = z.dims.clone();
        padded[row_axis] += 2;
        let nothing = body.splat("zero", 0.0, z.element, &[]);
        let head = format!("pad {}, {}, low = {low:?}, high = {low:?}, interior = {none:?}", z.name, nothing.name);
        let z = body.op("padded", &head, &[&z, &nothing], z.element, &padded);
        let above = body.elementwise("above", "subtract", &[start, &top]);
        let z = rows_of(body, "read", &z, row_axis, &above, rows + 2);

        let residual = strips.convolution.residual.map(|v| rows_of(body, "residual", v, row_axis, start, rows));
        let mut by = Convolution { residual: residual.as_ref(), ..strips.convolution };
        by.padding[1] = [0, 0];
        let mut strip = dims.to_vec();
        strip[row_axis] = rows;
        convolution(body, &z, strips.layout, &by, &strip)
    })
}

#[cfg(test)]
mod tests {
    use super::rows_of_strip;

    #[test]
    fn strips_are_cut_where_the_whole_is_large() {
        assert_eq!(rows_of_strip(100, 10, 1000, 1), None);
        assert_eq!(rows_of_strip(151, 10, 1000, 1), Some(100));
        assert_eq!(rows_of_strip(100, 10, 50, 2), Some(6));
        assert_eq!(rows_of_strip(30, 1000, 50, 2), Some(2), "a strip has a row at least");
        assert_eq!(rows_of_strip(1600, 10, 1000, 2), Some(100));
        assert_eq!(rows_of_strip(3200, 10, 1000, 2), Some(200), "there are at most 16 strips");
        assert_eq!(rows_of_strip(3, 1000, 50, 2), None, "the rows on both sides must be there");
    }
}
