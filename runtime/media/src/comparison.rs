//! A clip beside what became of it: frames side by side. How alike they are in figures is
//! [`crate::quality`].

use crate::clip::{ClipShape, FrameBlock};

/// Pixels between pictures.
pub const GAP: usize = 8;
/// The value of what is between them: white.
const GAP_VALUE: f32 = 1.0;

/// The shape of a clip beside another of the same shape.
pub fn side_by_side_shape(clip: ClipShape) -> ClipShape {
    ClipShape { width: 2 * clip.width + GAP, ..clip }
}

/// Frames with `left`'s at the left, those of `right` at the right and [`GAP`] pixels between them:
/// row-major [C, T, H, W] of [`side_by_side_shape`]. Both are blocks of as many frames of a clip of
/// this shape.
pub fn side_by_side(clip: ClipShape, left: &FrameBlock<'_>, right: &FrameBlock<'_>) -> Vec<f32> {
    let lines = left.data.chunks_exact(clip.width).zip(right.data.chunks_exact(clip.width));
    let gap = [GAP_VALUE; GAP];
    lines.flat_map(|(left, right)| left.iter().chain(&gap).chain(right)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_stand_side_by_side() {
        let clip = ClipShape { batch: 1, channels: 1, frames: 1, height: 2, width: 1 };
        let (left, right) = ([0.1, 0.2], [0.3, 0.4]);
        let wide = side_by_side(clip, &FrameBlock { data: &left, frames: 1 }, &FrameBlock { data: &right, frames: 1 });
        assert_eq!(side_by_side_shape(clip).width, wide.len() / 2);
        assert_eq!((wide[0], wide[1], wide[GAP], wide[GAP + 1]), (0.1, 1.0, 1.0, 0.3));
        assert_eq!((wide[GAP + 2], wide[2 * GAP + 3]), (0.2, 0.4));
    }
}
