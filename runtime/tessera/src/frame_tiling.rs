//! Tiles along time: which windows of a clip go through the model as clips of their own, and which
//! frames of each result end up where.
//!
//! Pure geometry, with the arithmetic of diffusers' `_temporal_tiled_decode` and
//! `_temporal_tiled_encode`. Whether a model has such tiles, and whether it takes them by itself,
//! [`frontend::FrameTileRule`] says; running them is in `clip`, joining them in `frame_joiner`.
//!
//! Tile n starts at n times the *stride* and reads the *frames* that it is said to have; of models
//! whose clips begin with a frame by itself one more, that one. What comes of it is left out of every
//! tile but the first. Of the rest the first ones are blended with the last ones of the tile before,
//! and a stride of them is kept. Frames and stride count the sample's frames for both halves.

use std::fmt;
use std::ops::Range;

use frontend::{Autoencoder, FrameTileRule, Half, LastTile, SurplusFrame};

use crate::error::{Error, Result};

/// Tiles along time, in frames of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameTiling {
    /// Frames that a tile has, behind its first one if that is by itself: a multiple of the temporal
    /// compression.
    pub frames: usize,
    /// From the beginning of a tile to that of the next: a multiple of the temporal compression.
    pub stride: usize,
}

impl fmt::Display for FrameTiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tiles of {} frames at a stride of {}", self.frames, self.stride)
    }
}

/// One tile along time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameTile {
    /// Frames of the input that it reads.
    pub input: Range<usize>,
    /// Frames of its result that there is a place for.
    pub used: Range<usize>,
    /// How many of those, from the first on, are kept.
    pub kept: usize,
    /// How many of those, from the first on, are blended with as many last ones of the tile before.
    pub blend: usize,
}

impl FrameTile {
    /// The frames of its result that are kept.
    pub fn kept_range(&self) -> Range<usize> {
        self.used.start..self.used.start + self.kept
    }
}

impl FrameTiling {
    /// The tiles that the reference takes unless told otherwise, by itself or when it is asked to
    /// cut clips; `None` where it has none.
    pub fn of(model: &dyn Autoencoder, half: Half) -> Option<Self> {
        model.frame_tile_rule(half).map(|FrameTileRule { frames, stride, .. }| Self { frames, stride })
    }

    /// Checks that the model has such tiles, and that they give a clip of the right length.
    ///
    /// # Errors
    /// [`Error::FrameTiling`].
    pub fn check(self, model: &dyn Autoencoder, half: Half) -> Result<()> {
        let refused = |problem, nearest| Err(Error::FrameTiling { tiling: self, half, problem, nearest });
        if model.frame_tile_rule(half).is_none() {
            let class = model.class_name();
            return refused(format!("{class} has no tiles along time: it takes clips as its steps do"), None);
        }
        let unit = model.temporal_compression();
        let whole = |frames: usize| frames > 0 && frames.is_multiple_of(unit);
        if whole(self.frames) && whole(self.stride) && self.stride <= self.frames {
            return Ok(());
        }
        let nearest = |frames: usize| (frames.saturating_add(unit / 2) / unit).max(1).saturating_mul(unit);
        let frames = nearest(self.frames);
        let problem = format!("both must be multiples of {unit}, the stride no longer than the tile");
        refused(problem, Some(Self { frames, stride: nearest(self.stride).min(frames) }))
    }

    /// What the model's halves count: frames of the input of `half` for so many of the sample.
    fn of_input(model: &dyn Autoencoder, half: Half, frames: usize) -> usize {
        match half {
            Half::Decoder => frames / model.temporal_compression(),
            Half::Encoder => frames,
        }
    }

    /// The same of its result.
    fn of_result(model: &dyn Autoencoder, half: Half, frames: usize) -> usize {
        match half {
            Half::Decoder => frames,
            Half::Encoder => frames / model.temporal_compression(),
        }
    }

    /// Whether a clip of so many frames of input is longer than one tile, so that the reference
    /// cuts it at all.
    pub fn applies(self, model: &dyn Autoencoder, half: Half, frames: usize) -> bool {
        frames > Self::of_input(model, half, self.frames)
    }

    /// The tiles of a clip of so many frames of input. A last one that would add nothing is left
    /// out.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn tiles(self, model: &dyn Autoencoder, half: Half, frames: usize) -> Result<Vec<FrameTile>> {
        self.check(model, half)?;
        let Some(FrameTileRule { surplus, last, .. }) = model.frame_tile_rule(half) else { return Ok(vec![]) };
        let by_itself = usize::from(surplus.is_some());
        let reach = Self::of_input(model, half, self.frames).saturating_add(by_itself);
        let stride = Self::of_input(model, half, self.stride);
        let limit = Self::of_result(model, half, self.stride);
        let blend = Self::of_result(model, half, self.frames - self.stride);
        let clip_result = model.clip_frames(half, frames);
        let mut tiles: Vec<FrameTile> = vec![];
        for start in (0..frames).step_by(stride) {
            let input = start..frames.min(start.saturating_add(reach));
            let result = model.clip_frames(half, input.len());
            let used = match (tiles.is_empty(), surplus) {
                (true, _) | (false, None) => 0..result,
                (false, Some(SurplusFrame::First)) => 1.min(result)..result,
                (false, Some(SurplusFrame::Last)) => 0..result.saturating_sub(1),
            };
            if used.is_empty() {
                break;
            }
            let joined: usize = tiles.iter().map(|tile| tile.kept).sum();
            let is_last = last == LastTile::ReachesTheEnd && joined + used.len() >= clip_result;
            let limit = if is_last { used.len() } else { limit + if tiles.is_empty() { by_itself } else { 0 } };
            let blend = tiles.last().map_or(0, |before| blend.min(before.used.len()).min(used.len()));
            tiles.push(FrameTile { kept: used.len().min(limit), input, used, blend });
            if is_last {
                break;
            }
        }
        Ok(tiles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framewise::Framewise;

    const USUAL: FrameTiling = FrameTiling { frames: 16, stride: 12 };

    fn tile(input: Range<usize>, used: Range<usize>, kept: usize, blend: usize) -> FrameTile {
        FrameTile { input, used, kept, blend }
    }

    #[test]
    fn tiles_are_those_of_the_reference() {
        let model = Framewise::new(SurplusFrame::First, true);
        let tiles = |half, frames| USUAL.tiles(&model, half, frames).unwrap();
        let (decoder, encoder) = (Half::Decoder, Half::Encoder);
        assert_eq!(tiles(decoder, 5), [tile(0..5, 0..17, 13, 0), tile(3..5, 1..5, 4, 4)]);
        // The last one would give a frame, which is the one that is left out.
        assert_eq!(tiles(decoder, 7), [tile(0..5, 0..17, 13, 0), tile(3..7, 1..13, 12, 4)]);
        assert_eq!(tiles(encoder, 21), [tile(0..17, 0..5, 4, 0), tile(12..21, 1..3, 2, 1)]);
        assert_eq!(tiles(encoder, 1), [tile(0..1, 0..1, 1, 0)]);
        let last = Framewise::new(SurplusFrame::Last, true);
        assert_eq!(USUAL.tiles(&last, decoder, 5).unwrap()[1], tile(3..5, 0..4, 4, 4));
        assert_eq!([4, 5].map(|frames| USUAL.applies(&model, decoder, frames)), [false, true]);
        assert_eq!([16, 17].map(|frames| USUAL.applies(&model, encoder, frames)), [false, true]);
    }

    #[test]
    fn a_tile_that_reaches_the_end_is_the_last_where_the_model_says_so() {
        let ends = |model: &std::sync::Arc<dyn Autoencoder>| {
            model.frame_tile_rule(Half::Decoder).is_some_and(|rule| rule.last == LastTile::ReachesTheEnd)
        };
        let published = frontend::published().iter().map(|one| frontend::read_config(one.config).unwrap().0);
        let model = &*{ published }.find(ends).unwrap();
        let tiling = FrameTiling::of(model, Half::Decoder).unwrap();
        let tiles = |half, frames| tiling.tiles(model, half, frames).unwrap();
        let (decoder, encoder) = (Half::Decoder, Half::Encoder);
        assert_eq!(tiles(decoder, 10), [tile(0..6, 0..24, 16, 0), tile(4..10, 0..24, 24, 8)]);
        assert_eq!(tiles(decoder, 11)[1..], [tile(4..10, 0..24, 16, 8), tile(8..11, 0..12, 12, 8)]);
        // Frames behind the last whole unit are not read.
        assert_eq!(tiles(encoder, 43), [tile(0..24, 0..6, 4, 0), tile(16..40, 0..6, 6, 2)]);
        assert_eq!([6, 7].map(|frames| tiling.applies(model, decoder, frames)), [false, true]);
        for clip in 4..90 {
            let kept: usize = tiles(encoder, clip).iter().map(|tile| tile.kept).sum();
            assert_eq!(kept, clip / 4, "{clip}");
        }
    }

    #[test]
    fn tiles_give_as_many_frames_as_the_clip_whole() {
        let model: &dyn Autoencoder = &Framewise::new(SurplusFrame::First, true);
        for (frames, stride) in [(16, 12), (16, 4), (8, 8), (4, 4), (32, 16)] {
            let tiling = FrameTiling { frames, stride };
            for half in Half::ALL {
                for clip in 1..80 {
                    let tiles = tiling.tiles(model, half, clip).unwrap();
                    let kept: usize = tiles.iter().map(|tile| tile.kept).sum();
                    assert_eq!(kept, model.clip_frames(half, clip), "{tiling}, {half} of {clip}");
                }
            }
        }
    }

    #[test]
    fn tiles_that_do_not_fit_are_refused_with_the_nearest_that_do() {
        let model = Framewise::new(SurplusFrame::First, true);
        for (frames, stride, nearest) in
            [(16, 10, [16, 12]), (15, 12, [16, 12]), (8, 12, [8, 8]), (0, 0, [4, 4]), (16, 0, [16, 4])]
        {
            let error = FrameTiling { frames, stride }.check(&model, Half::Decoder).unwrap_err();
            let Error::FrameTiling { nearest: Some(found), .. } = &error else { panic!("{error}") };
            assert_eq!([found.frames, found.stride], nearest);
            assert!(found.check(&model, Half::Encoder).is_ok());
            assert!(error.to_string().contains("both must be multiples of 4"), "{error}");
        }
        let demo = crate::demo::model().unwrap();
        let error = USUAL.check(&*demo, Half::Decoder).unwrap_err().to_string();
        assert!(error.contains("has no tiles along time"), "{error}");
    }
}
