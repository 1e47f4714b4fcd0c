//! Which sizes of tiles are worth a look when memory does not take whole frames.
//!
//! Rather than some size that leaves slivers at the borders, the frame is shared out evenly: so
//! many rows, so many columns, with overlaps as near to those asked for as divide. What each of
//! them needs of memory is [`crate::memory_plan`]'s affair.

use frontend::{Autoencoder, Half};

use crate::tiling::{Band, Grid, Overlap, Tiling};

/// Most rows, and most columns, of tiles.
const MOST_BANDS: usize = 24;

/// How many times longer or shorter, for its width, a tile may be than the one that diffusers takes
/// by itself.
const MOST_STRETCH: f64 = 2.0;

/// A way to cut frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The tiles.
    pub tiling: Tiling,
    /// Where they are.
    pub grid: Grid,
    /// Elements of the input that all tiles together read.
    pub work: usize,
    /// Elements of the input that the largest tile reads.
    pub tile_area: usize,
}

/// The candidates for frames of this input size, the largest tile first; of tiles of one area,
/// those of the least work.
///
/// No tile is smaller in either direction than half the one that diffusers takes by itself, or of a
/// much other shape: group norms gather their statistics within a tile, and a picture made of very
/// small ones or of strips would show it.
pub fn candidates(
    model: &dyn Autoencoder,
    half: Half,
    [height, width]: [usize; 2],
    overlap: Overlap,
) -> Vec<Candidate> {
    let usual = Tiling::of(model, half).nearest(model);
    let heights = tile_sizes(model, half, height, overlap.height, usual.height);
    let widths = tile_sizes(model, half, width, overlap.width, usual.width);
    let mut found: Vec<Candidate> = vec![];
    for &height_of_tile in &heights {
        for &width_of_tile in &widths {
            let tiling = Tiling { height: height_of_tile, width: width_of_tile, overlap }.nearest(model);
            let Ok(grid) = tiling.grid(model, half, height, width) else { continue };
            // One tile is no tiling; the same tiles again are no other one.
            if grid.tiles() == 1 || found.iter().any(|candidate| candidate.grid == grid) {
                continue;
            }
            let read = |bands: &[Band]| bands.iter().map(|band| band.input.len()).sum::<usize>();
            let largest = |bands: &[Band]| bands.iter().map(|band| band.input.len()).max().unwrap_or(0);
            let [rows, columns] = [&grid.rows, &grid.columns].map(|bands| largest(bands));
            let aspect = rows as f64 / columns as f64 / (usual.height as f64 / usual.width as f64);
            if !(1.0 / MOST_STRETCH..=MOST_STRETCH).contains(&aspect) {
                continue;
            }
            let work = read(&grid.rows) * read(&grid.columns);
            found.push(Candidate { work, tile_area: rows * columns, tiling, grid });
        }
    }
    found.sort_by_key(|candidate| (candidate.tile_area, candidate.work));
    found.dedup_by_key(|candidate| candidate.tile_area);
    found.reverse();
    found
}

/// Sizes in pixels, along one axis, that share an input of `size` out into one, two, three and more
/// bands.
fn tile_sizes(model: &dyn Autoencoder, half: Half, size: usize, overlap: f64, usual: usize) -> Vec<usize> {
    let compression = model.spatial_compression();
    let latents = match half {
        Half::Decoder => size,
        Half::Encoder => size.div_ceil(compression),
    };
    let least = usual.div_ceil(2).div_ceil(compression).max(1);
    let mut sizes = vec![];
    for bands in 1..=MOST_BANDS {
        // The last band ends where the frame does if strides share it out.
        let stride = latents.div_ceil(bands);
        let tile = ((stride as f64 / (1.0 - overlap)).round() as usize).max(stride);
        if bands > 1 && tile < least {
            break;
        }
        // Overlaps are rounded to whole latents: one of the two has this stride.
        sizes.extend([tile * compression, (tile + 1) * compression]);
    }
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn published() -> (Arc<dyn Autoencoder>, Overlap) {
        let (model, _) = frontend::read_config(frontend::published()[0].config).unwrap();
        let overlap = Overlap::of(&*model, Half::Decoder);
        (model, overlap)
    }

    #[test]
    fn frames_are_shared_out_evenly() {
        let (model, overlap) = published();
        let model = &*model;
        let found = candidates(model, Half::Decoder, [60, 90], overlap);
        for candidate in &found {
            assert_eq!(candidate.grid.output_size(), [480, 720]);
            assert!(candidate.grid.tiles() > 1);
            assert!(candidate.tiling.check(model, Half::Encoder).is_ok());
        }
        // Two bands of one axis come first; all have an overlap.
        assert_eq!(found[0].grid.tiles(), 2);
        assert!(found.is_sorted_by(|a, b| a.tile_area > b.tile_area));
        assert!(found.iter().all(|candidate| candidate.tiling.overlap.height > 0.1));
        // No sliver: the last band is about a stride.
        let four = found.iter().find(|candidate| candidate.grid.rows.len() == 2 && candidate.grid.columns.len() == 2);
        let four = four.expect("two by two tiles");
        assert!(four.grid.rows[1].input.len() >= 28 && four.grid.columns[1].input.len() >= 42, "{four:?}");
        assert!(four.work < 60 * 90 * 13 / 10);
        assert!(found.iter().any(|candidate| candidate.tile_area <= 18 * 27));
        let pixels = candidates(model, Half::Encoder, [480, 720], overlap);
        assert_eq!(pixels[0].tiling, found[0].tiling);
    }

    #[test]
    fn small_frames_have_none() {
        let (model, overlap) = published();
        assert_eq!(candidates(&*model, Half::Decoder, [8, 8], overlap), []);
        assert_eq!(candidates(&*model, Half::Decoder, [1, 1], overlap), []);
    }
}
