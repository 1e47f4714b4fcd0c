//! The tiles that the reference cuts frames into unless it is told otherwise. What tiles of other
//! sizes there may be, and where each ends up, is the caller's.

/// How a model's tiles are given, for one of its halves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TileRule {
    /// Height and width of a tile in pixels.
    pub size: [usize; 2],
    /// The share of its height and of its width that a tile has in common with the next one.
    pub overlap: [f64; 2],
    /// So many neighbouring rows, and columns, of a result are blended with one weight: more than 1
    /// where what is blended are patches.
    pub grain: usize,
    /// The largest height and width of frames that are not cut, as a share of a tile's.
    pub whole_share: f64,
}

impl TileRule {
    /// Tiles of this size with this overlap, blended pixel by pixel, of all frames larger than one.
    pub const fn new(size: [usize; 2], overlap: [f64; 2]) -> Self {
        Self { size, overlap, grain: 1, whole_share: 1.0 }
    }
}
