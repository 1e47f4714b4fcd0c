//! How a clip was cut, and why, as reports tell it. The choice is [`crate::memory_plan`]'s.

use std::fmt;

use crate::amount::at_most;
use crate::frame_tiling::FrameTiling;
use crate::memory_estimate::MemoryEstimate;
use crate::route::TileOrder;
use crate::tiling::{Overlap, Tiling};

/// How the frames of a clip were cut, and why.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TilingDecision {
    /// The tiles; `None` where frames went through whole.
    pub tiling: Option<Tiling>,
    /// Rows of tiles.
    pub rows: usize,
    /// Columns of tiles.
    pub columns: usize,
    /// Frames of a step of what goes in, where they are others than the model's usual ones: because
    /// they are faster, or were asked for.
    pub step_frames: Option<usize>,
    /// The tiles along time into which the clip was cut first, if it was.
    pub frame_tiling: Option<FrameTiling>,
    /// How many of those there are; 1 where there are none.
    pub frame_tiles: usize,
    /// In which order tiles ran.
    pub order: TileOrder,
    /// What it was expected to need; `None` for the evaluator, which plans nothing ahead, and for
    /// PJRT plugins.
    pub memory: Option<MemoryEstimate>,
    /// What it was allowed to need, in bytes.
    pub budget: u64,
    /// What tiles have in common where nothing is asked for.
    pub usual_overlap: Overlap,
    /// Why it was chosen.
    pub reason: &'static str,
    /// Whether these tiles, and with them the pixels, follow from how much memory happened to be
    /// free: nobody asked for tiles, nor for a budget in bytes. Another run may choose others.
    pub follows_free_memory: bool,
}

/// Prints as `2 x 2 tiles of 288x400 pixels, tile by tile: whole frames do not fit ...; needs
/// 3287.5 MiB (...) of 4096.0 MiB`.
impl fmt::Display for TilingDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tiling {
            None => write!(f, "whole frames")?,
            Some(Tiling { height, width, .. }) => {
                let order = match self.order {
                    TileOrder::FrameMajor => "frame by frame",
                    TileOrder::TileMajor => "tile by tile",
                };
                write!(f, "{} x {} tiles of {height}x{width} pixels, {order}", self.rows, self.columns)?;
            }
        }
        if let Some(FrameTiling { frames, stride }) = self.frame_tiling {
            write!(f, ", in {} tiles along time of {frames} frames at a stride of {stride}", self.frame_tiles)?;
        }
        if let Some(frames) = self.step_frames {
            write!(f, ", in steps of {frames} frames")?;
        }
        write!(f, ": {}", self.reason)?;
        match &self.memory {
            Some(memory) => write!(f, "; needs {memory} of {}", at_most(self.budget)),
            None => Ok(()),
        }
    }
}
