//! The tiles that the reference cuts frames into unless it is told otherwise. What tiles of other
//! sizes there may be, and where each ends up, is the caller's.

/// How a model's tiles are given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TileRule {
    /// Height and width of a tile in pixels.
    pub size: [usize; 2],
    /// The share of its height and of its width that a tile has in common with the next one.
    pub overlap: [f64; 2],
}
