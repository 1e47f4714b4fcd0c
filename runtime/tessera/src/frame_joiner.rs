//! Tiles along time joined into a clip, as diffusers' `blend_t` does, bit for bit: the first frames
//! of a tile are faded into the last ones of the tile before, as *its* blending left them.
//!
//! Results come step by step, in order, and leave as they come; of a tile only the strip of frames
//! is kept that the next one is blended with.

use std::collections::TryReserveError;
use std::mem;
use std::ops::Range;

use crate::blend::{blend, weights};
use crate::error::{Error, Result};
use crate::route::{Batch, Route};

/// A clip's samples, one after the other, as far as their steps have come.
pub(crate) struct FrameJoiner<'a> {
    route: &'a Route,
    /// Channels of a result.
    channels: usize,
    /// The batch that comes next.
    batch: usize,
    /// The last frames of the tile before, one after the other, [C, H, W] each.
    before: Vec<f32>,
    /// Those of this tile.
    own: Vec<f32>,
    /// One frame, [C, H, W].
    frame: Vec<f32>,
    /// What leaves, [C, T, H, W].
    leaving: Vec<f32>,
}

impl<'a> FrameJoiner<'a> {
    /// Before the first batch of a route's first sample.
    pub(crate) fn new(route: &'a Route, channels: usize) -> Self {
        Self { route, channels, batch: 0, before: vec![], own: vec![], frame: vec![], leaving: vec![] }
    }

    /// Frames of results that it holds at most, for a route that has tiles along time.
    pub(crate) fn most_frames(route: &Route) -> usize {
        let blend = route.frame_tiles().iter().map(|tile| tile.blend).max().unwrap_or(0);
        match route.frame_tiles() {
            [] => 0,
            _ => 2 * blend + route.most_leaving() + 1,
        }
    }

    /// Takes the result of the next batch, [C, T, H, W] of whole frames, and gives `sink` what
    /// leaves with it.
    ///
    /// # Errors
    /// [`Error::Memory`]; what `sink` returns.
    pub(crate) fn add(
        &mut self,
        sample: usize,
        data: &[f32],
        sink: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let batch = self.batch;
        self.batch = (batch + 1) % self.route.batches().len();
        let Batch { result, frame_tile, .. } = &self.route.batches()[batch];
        let leaving = self.route.leaving(batch);
        let needed = |cause: TryReserveError| Error::Memory {
            step: "the frames of tiles along time".into(),
            problem: cause.to_string(),
        };
        let Some(tile) = self.route.frame_tiles().get(*frame_tile) else {
            if leaving == *result {
                return sink(sample, data);
            }
            // The first, of which frames are dropped.
            let channel = data.len() / self.channels;
            let plane = channel / result.len().max(1);
            self.leaving.clear();
            self.leaving.try_reserve_exact(self.channels * plane * leaving.len()).map_err(needed)?;
            for frames in data.chunks_exact(channel) {
                self.leaving.extend_from_slice(&frames[plane * (leaving.start - result.start)..]);
            }
            return if self.leaving.is_empty() { Ok(()) } else { sink(sample, &self.leaving) };
        };
        let blend_next = self.route.left_to_next_tile(batch);
        if result.start == 0 {
            // The first of its tile.
            mem::swap(&mut self.before, &mut self.own);
            self.own.clear();
        }
        let used = &tile.used;
        let frame = data.len() / result.len().max(1);
        self.leaving.clear();
        self.leaving.try_reserve_exact(frame * leaving.len()).map_err(needed)?;
        self.leaving.resize(frame * leaving.len(), 0.0);
        self.own.try_reserve_exact(frame * blend_next - self.own.len()).map_err(needed)?;
        let plane = frame / self.channels;
        for at in result.start.max(used.start)..result.end.min(used.end) {
            let place = at - used.start;
            self.frame.clear();
            for channel in data.chunks_exact(result.len() * plane) {
                self.frame.extend_from_slice(&channel[plane_of(at - result.start, plane)]);
            }
            if place < tile.blend {
                let (weights, before) = (weights(place, tile.blend, 1), &self.before[plane_of(place, frame)]);
                self.frame.iter_mut().zip(before).for_each(|(b, &a)| blend(a, b, weights));
            }
            if leaving.contains(&at) {
                let rows = self.leaving.chunks_exact_mut(leaving.len() * plane);
                for (to, from) in rows.zip(self.frame.chunks_exact(plane)) {
                    to[plane_of(at - leaving.start, plane)].copy_from_slice(from);
                }
            }
            if place + blend_next >= used.len() {
                self.own.extend_from_slice(&self.frame);
            }
        }
        if self.leaving.is_empty() { Ok(()) } else { sink(sample, &self.leaving) }
    }
}

/// Where element `number` of a row of elements of this length is.
fn plane_of(number: usize, length: usize) -> Range<usize> {
    number * length..(number + 1) * length
}

#[cfg(test)]
mod tests {
    use frontend::{Autoencoder, Half, SurplusFrame};

    use super::*;
    use crate::frame_tiling::FrameTiling;
    use crate::framewise::Framewise;
    use crate::route::TileOrder;
    use crate::tiling::Grid;

    /// What comes of a clip of so many latents, where frame `t` of tile `n` is `1000 n + t`.
    fn joined(model: &dyn Autoencoder, tiling: FrameTiling, latents: usize) -> Vec<f32> {
        let grid = Grid::whole(model, Half::Decoder, 1, 1);
        let (shape, steps) = ([1, 16, latents, 1, 1], model.frame_steps(Half::Decoder));
        let route = Route::new(model, Half::Decoder, shape, steps, Some(tiling), grid, TileOrder::FrameMajor).unwrap();
        let mut joiner = FrameJoiner::new(&route, 2);
        let mut found = vec![];
        for batch in route.batches() {
            let of_channel = |sign: f32| {
                let frames = batch.result.clone();
                frames.map(move |t| sign * (1000 * batch.frame_tile + t) as f32)
            };
            let data: Vec<f32> = of_channel(1.0).chain(of_channel(-1.0)).collect();
            let mut sink = |_: usize, data: &[f32]| {
                let (first, second) = data.split_at(data.len() / 2);
                assert!(first.iter().zip(second).all(|(a, b)| *a == -*b));
                found.extend_from_slice(first);
                Ok(())
            };
            joiner.add(0, &data, &mut sink).unwrap();
        }
        found
    }

    #[test]
    fn tiles_are_faded_into_each_other() {
        let model = Framewise::new(SurplusFrame::First, true);
        let tiling = FrameTiling { frames: 8, stride: 4 };
        let found = joined(&model, tiling, 4);
        // Tiles of 3, 3 and 2 latents: frames 0 to 8, 1 to 8 and 1 to 4 of their results.
        let mut expected: Vec<f32> = (0..5).map(|t| t as f32).collect();
        let faded = |a: f32, b: f32, k: f32| a * (1.0 - k / 4.0) + b * (k / 4.0);
        expected.extend((0..4).map(|k| faded((5 + k) as f32, (1001 + k) as f32, k as f32)));
        expected.extend((0..4).map(|k| faded((1005 + k) as f32, (2001 + k) as f32, k as f32)));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_strip_that_is_blended_itself_is_handed_on_as_it_is() {
        // Twelve frames in common and a stride of four: each frame is of up to four tiles.
        let model: &dyn Autoencoder = &Framewise::new(SurplusFrame::First, true);
        let tiling = FrameTiling { frames: 16, stride: 4 };
        let found = joined(model, tiling, 9);
        assert_eq!(found.len(), 33);
        // As the reference does it, with whole tiles.
        let tiles = tiling.tiles(model, Half::Decoder, 9).unwrap();
        let mut whole: Vec<Vec<f32>> =
            tiles.iter().zip(0..).map(|(tile, n)| tile.used.clone().map(|t| (1000 * n + t) as f32).collect()).collect();
        let mut expected = vec![];
        for number in 0..whole.len() {
            let (before, own) = whole.split_at_mut(number);
            let (own, extent) = (&mut own[0], tiles[number].blend);
            for k in 0..extent {
                let before = &before[number - 1];
                blend(before[before.len() - extent + k], &mut own[k], weights(k, extent, 1));
            }
            expected.extend_from_slice(&own[..tiles[number].kept]);
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn steps_of_a_tile_give_what_the_tile_gives() {
        let tiling = FrameTiling { frames: 16, stride: 8 };
        for surplus in [SurplusFrame::First, SurplusFrame::Last] {
            let [whole, stepped] = [true, false].map(|whole| joined(&Framewise::new(surplus, whole), tiling, 9));
            assert_eq!(whole, stepped);
        }
    }
}
