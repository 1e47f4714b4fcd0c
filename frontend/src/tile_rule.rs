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
    /// Which tile of a row, and of a column, is the last.
    pub last: LastTile,
    /// What is where four tiles meet.
    pub corners: Corners,
}

/// What is made of the values that four tiles have for a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Corners {
    /// The tile above is blended in as it was blended with the one to its left before: the one across
    /// the corner counts more than its distances say (`blend_v`, then `blend_h`).
    #[default]
    InTurn,
    /// Their sum, each times the product of its weights in height and width.
    Products,
}

impl TileRule {
    /// Tiles of this size with this overlap, blended pixel by pixel, of all frames larger than one.
    pub const fn new(size: [usize; 2], overlap: [f64; 2]) -> Self {
        Self { size, overlap, grain: 1, whole_share: 1.0, last: LastTile::BeginsInside, corners: Corners::InTurn }
    }
}

/// Which tile along an axis is the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LastTile {
    /// The last that begins within the input, at a multiple of the stride, also where the one before
    /// reaches the input's end.
    #[default]
    BeginsInside,
    /// The first that reaches the input's end. It is kept whole.
    ReachesTheEnd,
}

/// How a model's tiles along time are given, for one of its halves. Each is a clip of its own, that
/// knows nothing of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTileRule {
    /// Frames of the sample that a tile has: behind its first one where there is a surplus frame, in
    /// all where there is none. Clips of no more frames, or of no more latents than that makes, are
    /// not cut.
    pub frames: usize,
    /// Frames of the sample from the beginning of a tile to that of the next.
    pub stride: usize,
    /// Whether the reference cuts clips so unless told otherwise; else only where it is asked to.
    pub usual: bool,
    /// Which frame is left out of the result of every tile but the first: where clips begin with a
    /// frame by itself, the tile before has one for that place already. `None` where they do not.
    pub surplus: Option<SurplusFrame>,
    /// Which tile of a clip is the last.
    pub last: LastTile,
}

/// The frame of a tile's result that a clip has no place for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SurplusFrame {
    /// The first, which stands for the place where the tile begins.
    First,
    /// The last: the others then are one frame late.
    Last,
}
