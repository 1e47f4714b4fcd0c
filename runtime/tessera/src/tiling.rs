//! Tiles: which windows of a frame are decoded or encoded apart, and which part of each result ends
//! up where.
//!
//! Pure geometry, with the arithmetic of diffusers' `enable_tiling`, `tiled_decode` and
//! `tiled_encode`, truncations included. Running tiles is in `clip`, blending them in `blend`,
//! choosing them by memory in [`crate::memory_plan`].
//!
//! Along one axis tile n starts at n times the *stride*, reaches over the *tile*, and is cut off
//! where the input ends; which one is the last, [`frontend::LastTile`] says. Of its result the first *limit* elements are kept; its first *blend*
//! elements are faded into the last ones of the tile before. Stride and tile count the input's
//! elements (latents or pixels), blend and limit the result's. diffusers truncates them one by one,
//! so that they need not belong together: such a geometry gives frames of a wrong size there,
//! and is refused here.

use std::fmt;
use std::ops::Range;

use frontend::{Autoencoder, Corners, Half, LastTile, TileRule};

use crate::error::{Error, Result};

/// How many units in the last place around k / n the overlap factor is looked for that truncates to
/// k on all four counts.
const NUDGES: i64 = 4;

/// The size of tiles in pixels, and the share of each that it has in common with the next one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tiling {
    /// Height of a tile in pixels: a multiple of the spatial compression.
    pub height: usize,
    /// Width of a tile in pixels: a multiple of the spatial compression.
    pub width: usize,
    /// What neighbours have in common.
    pub overlap: Overlap,
}

/// The share of a tile that the next one covers too: at least 0 and less than 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overlap {
    /// Of a tile's height.
    pub height: f64,
    /// Of a tile's width.
    pub width: f64,
}

impl Overlap {
    /// What tiles of the reference have in common unless told otherwise.
    pub fn of(model: &dyn Autoencoder, half: Half) -> Self {
        let [height, width] = model.tile_rule(half).overlap;
        Self { height, width }
    }
}

impl fmt::Display for Tiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Overlap { height, width } = self.overlap;
        write!(f, "tiles of {}x{} pixels (height x width) with overlaps {height} and {width}", self.height, self.width)
    }
}

/// The tiles of one frame, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    /// From top to bottom.
    pub rows: Vec<Band>,
    /// From left to right.
    pub columns: Vec<Band>,
    /// So many neighbouring rows, and columns, of a result are blended with one weight.
    pub grain: usize,
    /// What is where four tiles meet.
    pub corners: Corners,
}

/// One row or one column of tiles: its extent along one axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Band {
    /// What its tiles read of the input: latents for decoding, pixels for encoding.
    pub input: Range<usize>,
    /// Elements that a tile's result has along this axis.
    pub result: usize,
    /// What is kept of the result, and where it goes: its first elements, as many as this range is
    /// long.
    pub output: Range<usize>,
    /// The first elements of the result that are blended with as many last ones of the band before.
    pub blend: usize,
}

/// One axis of a tiling, for one half of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Axis {
    tile: usize,
    stride: usize,
    blend: usize,
    limit: usize,
}

impl Axis {
    /// As diffusers computes it; whether the numbers belong together is not looked at.
    fn new(half: Half, pixels: usize, factor: f64, compression: usize) -> Self {
        // `int()` of Python truncates, as `as` does.
        let share = |size: usize, factor: f64| (size as f64 * factor) as usize;
        let latents = pixels / compression;
        let (tile, result) = match half {
            Half::Decoder => (latents, pixels),
            Half::Encoder => (pixels, latents),
        };
        let blend = share(result, factor);
        Self { tile, stride: share(tile, 1.0 - factor), blend, limit: result.saturating_sub(blend) }
    }

    /// Whether a stride in the input is what is kept of a tile in the result.
    fn divides(self, half: Half, compression: usize) -> bool {
        let (pixels, latents) = match half {
            Half::Decoder => (self.limit, self.stride),
            Half::Encoder => (self.stride, self.limit),
        };
        self.stride > 0 && latents.checked_mul(compression) == Some(pixels)
    }

    /// The bands of an input of `size` elements.
    fn bands(self, model: &dyn Autoencoder, half: Half, size: usize) -> Vec<Band> {
        let scaled = |size| model.result_size(half, size);
        let last = model.tile_rule(half).last;
        let mut bands: Vec<Band> = vec![];
        for start in (0..size).step_by(self.stride) {
            let input = start..size.min(start.saturating_add(self.tile));
            let result = scaled(input.len());
            // Too few pixels at the lower or right border for a latent of their own; those before have seen
            // them.
            if result == 0 && start > 0 {
                break;
            }
            let is_last = last == LastTile::ReachesTheEnd && scaled(start) + result >= scaled(size);
            let kept = if is_last { result } else { result.min(self.limit) };
            let output = scaled(start)..scaled(start) + kept;
            let blend = bands.last().map_or(0, |before| self.blend.min(before.result).min(result));
            bands.push(Band { input, result, output, blend });
            if is_last {
                break;
            }
        }
        bands
    }
}

/// Whether tiles of `pixels` with this overlap give frames of the right size in both halves.
fn divides(half: Half, pixels: usize, factor: f64, compression: usize) -> bool {
    pixels > 0
        && pixels.is_multiple_of(compression)
        && (0.0..1.0).contains(&factor)
        && Axis::new(half, pixels, factor, compression).divides(half, compression)
}

/// The overlap factor nearest to `factor` that divides in both halves, of tiles of so many latents.
fn nearest_factor(latents: usize, factor: f64, compression: usize) -> f64 {
    let in_both = |factor: f64| {
        let works = |half| divides(half, latents * compression, factor, compression);
        works(Half::Decoder) && works(Half::Encoder)
    };
    if in_both(factor) {
        return factor;
    }
    let factor = if factor.is_finite() { factor.clamp(0.0, 1.0) } else { 0.0 };
    let asked = factor * latents as f64;
    // Latents in common, the nearest number first; of two that are as near, the larger.
    let mut shared: Vec<usize> = (0..latents).collect();
    let distance = |shared: usize| (shared as f64 - asked).abs();
    shared.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)).then(b.cmp(&a)));
    let factors = shared.into_iter().flat_map(|shared| {
        let exact = shared as f64 / latents as f64;
        (0..=NUDGES).flat_map(move |n| {
            let nudged = |by: i64| f64::from_bits(exact.to_bits().saturating_add_signed(by));
            [nudged(n), nudged(-n)]
        })
    });
    // No overlap always divides.
    factors.into_iter().find(|&factor| in_both(factor)).unwrap_or(0.0)
}

impl Tiling {
    /// The tiles that the reference takes unless told otherwise.
    pub fn of(model: &dyn Autoencoder, half: Half) -> Self {
        let [height, width] = model.tile_rule(half).size;
        Self { height, width, overlap: Overlap::of(model, half) }
    }

    /// Tiles of this height and width in pixels, of which so many lie between the beginning of one
    /// and that of the next.
    ///
    /// # Errors
    /// [`Error::Tiling`] if a stride is no multiple of the spatial compression, 0, or longer than a
    /// tile.
    pub fn strided(model: &dyn Autoencoder, half: Half, size: [usize; 2], stride: [usize; 2]) -> Result<Self> {
        let compression = model.spatial_compression();
        let factor = |axis: usize| {
            let asked = 1.0 - stride[axis] as f64 / size[axis].max(1) as f64;
            nearest_factor(size[axis] / compression, asked, compression)
        };
        let [height, width] = size;
        let tiling = Self { height, width, overlap: Overlap { height: factor(0), width: factor(1) } };
        tiling.check(model, half)?;
        let [rows, columns] = [(height, tiling.overlap.height), (width, tiling.overlap.width)]
            .map(|(pixels, factor)| Axis::new(Half::Encoder, pixels, factor, compression).stride);
        if [rows, columns] != stride {
            let [height, width] = stride;
            let problem = format!(
                "a stride of {height}x{width} pixels cannot be had; strides are multiples of {compression} up to the tile, \
                 the nearest is {rows}x{columns}"
            );
            return Err(Error::Tiling { tiling, half, problem });
        }
        Ok(tiling)
    }

    /// Whether the input is larger than one tile, or than the share of one that the model's
    /// [`frontend::TileRule`] says, so that diffusers tiles it at all. Height and width are the
    /// input's: of latents for the decoder, of pixels for the encoder.
    pub fn applies(&self, model: &dyn Autoencoder, half: Half, height: usize, width: usize) -> bool {
        let whole = |pixels: usize| {
            let pixels = (pixels as f64 * model.tile_rule(half).whole_share) as usize;
            match half {
                Half::Decoder => model.latent_size(pixels),
                Half::Encoder => pixels,
            }
        };
        height > whole(self.height) || width > whole(self.width)
    }

    /// Checks that the tiles give frames of the right size.
    ///
    /// # Errors
    /// [`Error::Tiling`], naming the nearest overlap factors and the nearest sizes that do.
    pub fn check(&self, model: &dyn Autoencoder, half: Half) -> Result<()> {
        let compression = model.spatial_compression();
        let axis = |name: &str, pixels: usize, factor: f64| {
            if divides(half, pixels, factor, compression) {
                return None;
            }
            if pixels == 0 || !pixels.is_multiple_of(compression) {
                let near = nearest_multiple(pixels, compression);
                return Some(format!("the {name} must be a multiple of {compression}, such as {near}"));
            }
            if !(0.0..1.0).contains(&factor) {
                return Some(format!("the overlap of the {name} must be at least 0 and less than 1"));
            }
            let overlap = nearest_factor(pixels / compression, factor, compression);
            let sizes = nearest_sizes(half, pixels, factor, compression);
            let sizes = sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ");
            let or = if sizes.is_empty() { String::new() } else { format!(", or the {name} {sizes}") };
            Some(format!(
                "in {name} the steps from tile to tile do not fit what is kept of each; take the overlap {overlap}{or}"
            ))
        };
        let Overlap { height, width } = self.overlap;
        let problems: Vec<_> =
            [axis("height", self.height, height), axis("width", self.width, width)].into_iter().flatten().collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::Tiling { tiling: *self, half, problem: problems.join("; ") })
    }

    /// This tiling if it divides in both halves of the model; else with the nearest sizes that are
    /// multiples of the spatial compression, and then the nearest overlaps that divide.
    #[must_use]
    pub fn nearest(&self, model: &dyn Autoencoder) -> Self {
        let compression = model.spatial_compression();
        let [height, width] = [self.height, self.width].map(|pixels| nearest_multiple(pixels, compression));
        let overlap = Overlap {
            height: nearest_factor(height / compression, self.overlap.height, compression),
            width: nearest_factor(width / compression, self.overlap.width, compression),
        };
        Self { height, width, overlap }
    }

    /// The tiles of a frame whose input has this height and width. Also where [`Self::applies`]
    /// says no: diffusers would not ask then.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn grid(&self, model: &dyn Autoencoder, half: Half, height: usize, width: usize) -> Result<Grid> {
        self.check(model, half)?;
        let compression = model.spatial_compression();
        let bands = |pixels, factor, size| Axis::new(half, pixels, factor, compression).bands(model, half, size);
        let rows = bands(self.height, self.overlap.height, height);
        let columns = bands(self.width, self.overlap.width, width);
        let least = model.least_size(half);
        for (line, bands) in [("rows", &rows), ("columns", &columns)] {
            if let Some(band) = bands.iter().find(|band| bands.len() > 1 && band.input.len() < least) {
                let of = if half == Half::Decoder { "latents" } else { "pixels" };
                let found = band.input.len();
                let problem = format!(
                    "one of them would have {found} {line} of {of}, and the model needs {least}; take tiles of another size"
                );
                return Err(Error::Tiling { tiling: *self, half, problem });
            }
        }
        let TileRule { grain, corners, .. } = model.tile_rule(half);
        Ok(Grid { rows, columns, grain, corners })
    }
}

/// The multiple of `compression` nearest to `pixels`, at least one.
fn nearest_multiple(pixels: usize, compression: usize) -> usize {
    (pixels.saturating_add(compression / 2) / compression).max(1).saturating_mul(compression)
}

/// The next smaller and the next larger tile that divides with this overlap, where there are any of
/// up to twice the size.
fn nearest_sizes(half: Half, pixels: usize, factor: f64, compression: usize) -> Vec<usize> {
    let works = |latents: &usize| divides(half, latents * compression, factor, compression);
    let latents = pixels / compression;
    let smaller = (1..latents).rev().find(works);
    let larger = (latents + 1..=latents.saturating_mul(2)).find(works);
    smaller.into_iter().chain(larger).map(|latents| latents * compression).collect()
}

impl Grid {
    /// One tile, as large as the frame: no tiling.
    pub fn whole(model: &dyn Autoencoder, half: Half, height: usize, width: usize) -> Self {
        let bands = |size| {
            let result = model.result_size(half, size);
            vec![Band { input: 0..size, result, output: 0..result, blend: 0 }]
        };
        Self { rows: bands(height), columns: bands(width), grain: 1, corners: Corners::InTurn }
    }

    /// Tiles of the frame.
    pub fn tiles(&self) -> usize {
        self.rows.len() * self.columns.len()
    }

    /// Row and column of every tile, row by row.
    pub fn places(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let columns = self.columns.len();
        (0..self.rows.len()).flat_map(move |row| (0..columns).map(move |column| (row, column)))
    }

    /// Height and width of what all tiles together give.
    pub fn output_size(&self) -> [usize; 2] {
        [&self.rows, &self.columns].map(|bands| bands.last().map_or(0, |band| band.output.end))
    }

    /// How many of its last elements each band leaves to the next one to blend with; none for the
    /// last.
    pub(crate) fn left_to_next(bands: &[Band], band: usize) -> usize {
        bands.get(band + 1).map_or(0, |next| next.blend)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use frontend::read_config;

    use super::*;

    /// A model of this many levels; of 4, the published one's compression, 8.
    fn model(levels: usize) -> Arc<dyn Autoencoder> {
        let list = |text: &str| vec![text; levels].join(", ");
        let (down, up) = (list("\"CogVideoXDownBlock3D\""), list("\"CogVideoXUpBlock3D\""));
        let fields = format!("\"down_block_types\": [{down}], \"up_block_types\": [{up}]");
        read_config(&format!("{{{fields}, \"block_out_channels\": [{}]}}", list("32"))).unwrap().0
    }

    fn tiling(height: usize, width: usize, overlap: [f64; 2]) -> Tiling {
        Tiling { height, width, overlap: Overlap { height: overlap[0], width: overlap[1] } }
    }

    #[test]
    fn the_published_model_has_nine_tiles_of_four_shapes() {
        let model = &*model(4);
        let tiling = Tiling::of(model, Half::Decoder);
        let starts = |bands: &[Band]| bands.iter().map(|band| band.input.clone()).collect::<Vec<_>>();
        let blends = |bands: &[Band]| bands.iter().map(|band| band.blend).collect::<Vec<_>>();
        let decode = tiling.grid(model, Half::Decoder, 60, 90).unwrap();
        assert_eq!(starts(&decode.rows), [0..30, 25..55, 50..60]);
        assert_eq!(starts(&decode.columns), [0..45, 36..81, 72..90]);
        assert_eq!((blends(&decode.rows), blends(&decode.columns)), (vec![0, 40, 40], vec![0, 72, 72]));
        assert_eq!(decode.rows[1].output, 200..400);
        let encode = tiling.grid(model, Half::Encoder, 480, 720).unwrap();
        assert_eq!(starts(&encode.rows), [0..240, 200..440, 400..480]);
        assert_eq!((blends(&encode.rows), blends(&encode.columns)), (vec![0, 5, 5], vec![0, 9, 9]));
        assert_eq!((decode.output_size(), encode.output_size()), ([480, 720], [60, 90]));
    }

    #[test]
    fn only_what_is_larger_than_a_tile_is_tiled() {
        let model = &*model(4);
        let tiling = Tiling::of(model, Half::Decoder);
        assert!(!tiling.applies(model, Half::Decoder, 30, 45));
        assert!(tiling.applies(model, Half::Decoder, 31, 45));
        assert!(!tiling.applies(model, Half::Encoder, 240, 360));
        assert!(tiling.applies(model, Half::Encoder, 240, 361));
        // A tile that just covers the height still has a second row, as in diffusers: the stride is
        // shorter.
        assert_eq!(tiling.grid(model, Half::Decoder, 30, 90).unwrap().rows.len(), 2);
    }

    #[test]
    fn what_does_not_divide_is_refused_with_what_does() {
        let model = &*model(4);
        let refused = tiling(64, 96, [1.0 / 6.0, 0.2]);
        for half in [Half::Decoder, Half::Encoder] {
            let message = refused.check(model, half).unwrap_err().to_string();
            for part in
                ["64x96", "overlap 0.125, or the height 48 or 96", "overlap 0.1666666", "or the width 80 or 120"]
            {
                assert!(message.contains(part), "{half}: {message}");
            }
            assert!(refused.nearest(model).check(model, half).is_ok());
        }
        let nearest = refused.nearest(model);
        assert_eq!((nearest.height, nearest.width), (64, 96));
        let complaint = |tiling: Tiling| tiling.check(model, Half::Decoder).unwrap_err().to_string();
        assert!(complaint(tiling(100, 120, [0.0, 0.2])).contains("the height must be a multiple of 8, such as 104"));
        assert!(complaint(tiling(0, 120, [0.0, 0.2])).contains("such as 8"));
        assert!(complaint(tiling(96, 120, [1.0, 0.2])).contains("less than 1"));
        assert!(complaint(tiling(96, 120, [f64::NAN, 0.2])).contains("less than 1"));
        // What divides stays as it is.
        assert_eq!(Tiling::of(model, Half::Decoder).nearest(model), Tiling::of(model, Half::Decoder));
    }

    #[test]
    fn strides_are_overlaps() {
        let model = &*model(4);
        for (size, stride) in
            [([256, 256], [192, 192]), ([32, 40], [24, 24]), ([64, 64], [64, 8]), ([240, 360], [200, 288])]
        {
            for half in Half::ALL {
                let tiling = Tiling::strided(model, half, size, stride).unwrap();
                let grid = tiling.grid(model, Half::Encoder, 1000, 1000).unwrap();
                assert_eq!([grid.rows[1].input.start, grid.columns[1].input.start], stride, "{size:?}");
            }
        }
        for stride in [[0, 24], [20, 24], [40, 24]] {
            let message = Tiling::strided(model, Half::Decoder, [32, 40], stride).unwrap_err().to_string();
            assert!(message.contains("strides are multiples of 8 up to the tile"), "{message}");
        }
    }

    #[test]
    fn a_border_too_thin_for_a_latent_is_left_out() {
        let model = &*model(4);
        let grid = tiling(240, 360, [1.0 / 6.0, 0.2]).grid(model, Half::Encoder, 407, 300).unwrap();
        assert_eq!(grid.rows.len(), 2);
        assert_eq!(grid.output_size(), [50, 37]);
    }

    /// Every tiling that is not refused, over many sizes: outputs follow upon each other from first
    /// to last, inputs leave nothing out, and what is blended lies on the same place of the
    /// frame.
    #[test]
    fn windows_cover_everything_exactly_once() {
        let factors = [0.0, 0.1, 0.125, 1.0 / 6.0, 0.2, 0.25, 1.0 / 3.0, 0.5, 0.7, 0.9];
        let mut checked = 0;
        let published = || frontend::published().iter().map(|one| frontend::read_config(one.config).unwrap().0);
        let rounds_up = published().filter(|model| model.rounds_up()).take(1);
        let ends = |model: &Arc<dyn Autoencoder>| model.tile_rule(Half::Decoder).last == LastTile::ReachesTheEnd;
        let ends = published().filter(ends).take(1);
        for model in [model(1), model(2), model(4)].into_iter().chain(rounds_up).chain(ends) {
            let model = &*model;
            let compression = model.spatial_compression();
            for latents in [1, 2, 3, 4, 6, 7, 12, 15, 30, 45] {
                for factor in factors {
                    let asked = tiling(latents * compression, latents * compression, [factor, factor]);
                    let nearest = asked.nearest(model);
                    assert_eq!(nearest.height, asked.height);
                    for (half, tiling) in
                        [Half::Decoder, Half::Encoder].into_iter().flat_map(|half| [(half, asked), (half, nearest)])
                    {
                        if tiling.check(model, half).is_err() {
                            assert_eq!(tiling, asked, "the nearest always divides");
                            continue;
                        }
                        for size in (1..64).chain([90, 131, 480, 727]) {
                            check_bands(model, half, tiling, size);
                            checked += 1;
                        }
                    }
                }
            }
        }
        assert!(checked > 10_000);
    }

    #[test]
    fn a_tile_that_reaches_the_end_is_the_last_where_the_model_says_so() {
        let ends = |model: &Arc<dyn Autoencoder>| model.tile_rule(Half::Decoder).last == LastTile::ReachesTheEnd;
        let published = frontend::published().iter().map(|one| frontend::read_config(one.config).unwrap().0);
        let model = &*{ published }.find(ends).unwrap();
        let tiling = Tiling::of(model, Half::Decoder);
        let starts = |bands: &[Band]| bands.iter().map(|band| band.input.clone()).collect::<Vec<_>>();
        let grid = tiling.grid(model, Half::Decoder, 90, 160).unwrap();
        assert_eq!(starts(&grid.rows), [0..40, 25..65, 50..90]);
        assert_eq!(starts(&grid.columns), [0..40, 30..70, 60..100, 90..130, 120..160]);
        assert_eq!(grid.rows[2].output, 400..720);
        assert_eq!(grid.corners, Corners::Products);
        // What is left over is a tile, too.
        assert_eq!(starts(&tiling.grid(model, Half::Decoder, 91, 40).unwrap().rows)[2..], [50..90, 75..91]);
        assert_eq!(tiling.grid(model, Half::Encoder, 327, 320).unwrap().tiles(), 1);
    }

    fn check_bands(model: &dyn Autoencoder, half: Half, tiling: Tiling, size: usize) {
        let compression = model.spatial_compression();
        let grid = tiling.grid(model, half, size, size).unwrap();
        let what = format!("{half}, {tiling}, size {size}");
        let [height, _] = grid.output_size();
        assert_eq!(height, model.result_size(half, size), "{what}");
        let whole = Grid::whole(model, half, size, size);
        assert_eq!(grid.output_size(), whole.output_size(), "{what}");
        let bands = &grid.rows;
        assert_eq!((bands[0].input.start, bands[0].output.start, bands[0].blend), (0, 0, 0), "{what}");
        for band in bands {
            assert_eq!(band.result, model.result_size(half, band.input.len()), "{what}");
            assert!(band.output.len() <= band.result, "{what}");
            assert_eq!(band.output.start, model.result_size(half, band.input.start), "{what}");
        }
        for pair in bands.windows(2) {
            assert_eq!(pair[0].output.end, pair[1].output.start, "{what}");
            assert!(pair[1].input.start <= pair[0].input.end, "{what}");
            // The last elements of the first are the first of the second.
            assert!(pair[1].blend <= pair[0].result.min(pair[1].result), "{what}");
            if pair[1].blend > 0 {
                let blended = pair[0].output.start + pair[0].result - pair[1].blend;
                assert_eq!(blended, pair[1].output.start, "{what}");
            }
        }
        let last = bands.last().unwrap().input.end;
        assert!(last == size || model.result_size(half, size - last + bands.last().unwrap().input.len()) > 0, "{what}");
        assert!(size - last < compression, "{what}");
    }

    /// What a model mirrors at its borders must be there.
    #[test]
    fn tiles_smaller_than_the_model_takes_are_refused() {
        let published = frontend::published().iter().find(|published| published.name == "LTX-2").unwrap();
        let (model, _) = frontend::read_config(published.config).unwrap();
        let tiling = Tiling::of(&*model, Half::Decoder);
        // 480 pixels: tiles begin at 0 and 14.
        let error = tiling.grid(&*model, Half::Decoder, 15, 20).unwrap_err().to_string();
        let expected = "one of them would have 1 rows of latents, and the model needs 2; take tiles of another size";
        assert!(error.ends_with(expected), "{error}");
        assert!(tiling.grid(&*model, Half::Encoder, 480, 640).is_ok());
        assert_eq!(tiling.grid(&*model, Half::Decoder, 16, 20).unwrap().tiles(), 4);
        let candidates = crate::tile_sizes::candidates(&*model, Half::Decoder, [15, 23], tiling.overlap);
        assert!(!candidates.is_empty());
        let bands = candidates.iter().flat_map(|candidate| candidate.grid.rows.iter().chain(&candidate.grid.columns));
        assert!({ bands }.all(|band| band.input.len() >= 2));
    }
}
