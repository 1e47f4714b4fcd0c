//! Blending the tiles of one batch of frames to whole frames, as diffusers' `blend_v` and `blend_h`
//! do, bit for bit.
//!
//! A tile is blended with the one above it and then with the one to its left, each as *their*
//! blending left them; for [`Corners::Products`] the one above as its blending with the one above it
//! left it. Tiles come row by row; of earlier ones only the strips are kept that later
//! ones are blended with.

use std::collections::TryReserveError;

use frontend::Corners;

use crate::tiling::Grid;

/// The frames of one batch, as far as their tiles have come.
pub(crate) struct Blender<'a> {
    grid: &'a Grid,
    /// Channels times frames: images that are blended alike.
    planes: usize,
    /// [planes, H, W] of the whole frame.
    canvas: Vec<f32>,
    /// For each column the last rows of the tile above, [planes, rows, W] of that tile.
    above: Vec<Vec<f32>>,
    /// The last columns of the tile to the left, [planes, H, columns] of that tile.
    left: Vec<f32>,
}

impl<'a> Blender<'a> {
    /// No tiles yet.
    pub(crate) fn new(grid: &'a Grid) -> Self {
        Self { grid, planes: 0, canvas: vec![], above: vec![vec![]; grid.columns.len()], left: vec![] }
    }

    /// Makes room for a batch of so many `planes`.
    pub(crate) fn start(&mut self, planes: usize) -> Result<(), TryReserveError> {
        let [height, width] = self.grid.output_size();
        let elements = planes * height * width;
        self.planes = planes;
        self.canvas.clear();
        self.canvas.try_reserve_exact(elements)?;
        self.canvas.resize(elements, 0.0);
        Ok(())
    }

    /// Blends in the tile of this row and column, [planes, H, W] of it. Tiles come row by row.
    pub(crate) fn add(&mut self, row: usize, column: usize, tile: &mut [f32]) {
        let (band, side) = (&self.grid.rows[row], &self.grid.columns[column]);
        let (height, width) = (band.result, side.result);
        debug_assert_eq!(tile.len(), self.planes * height * width);
        let grain = self.grid.grain;
        let below = Grid::left_to_next(&self.grid.rows, row);
        let right = Grid::left_to_next(&self.grid.columns, column);
        blend_rows(&self.above[column], tile, [height, width], band.blend, grain);
        if self.grid.corners == Corners::Products {
            self.keep_above(column, tile, [height, width], below);
        }
        blend_columns(&self.left, tile, [height, width], side.blend, grain);
        if self.grid.corners == Corners::InTurn {
            self.keep_above(column, tile, [height, width], below);
        }

        self.left.clear();
        let [_, full] = self.grid.output_size();
        let full_plane = self.canvas.len() / self.planes.max(1);
        for (plane, image) in tile.chunks_exact(height * width).enumerate() {
            for line in image.chunks_exact(width) {
                self.left.extend_from_slice(&line[width - right..]);
            }
            for (y, line) in band.output.clone().zip(image.chunks_exact(width)) {
                let start = plane * full_plane + y * full + side.output.start;
                self.canvas[start..start + side.output.len()].copy_from_slice(&line[..side.output.len()]);
            }
        }
    }

    /// Keeps the last `below` rows of a tile, [planes, H, W], for the one below it.
    fn keep_above(&mut self, column: usize, tile: &[f32], [height, width]: [usize; 2], below: usize) {
        let above = &mut self.above[column];
        above.clear();
        for image in tile.chunks_exact(height * width) {
            above.extend_from_slice(&image[(height - below) * width..]);
        }
    }

    /// The whole frames, [planes, H, W], once every tile is there.
    pub(crate) fn frames(&self) -> &[f32] {
        &self.canvas
    }
}

/// The weights of the earlier and the later tile at element `at` of `extent`, of which so many
/// neighbours have one weight: computed in f64 and rounded, as torch does with numbers of Python.
pub(crate) fn weights(at: usize, extent: usize, grain: usize) -> (f32, f32) {
    let later = (at / grain) as f64 / (extent / grain) as f64;
    ((1.0 - later) as f32, later as f32)
}

/// b = a * (1 - y / e) + b * (y / e), each step rounded.
pub(crate) fn blend(a: f32, b: &mut f32, (earlier, later): (f32, f32)) {
    *b = a * earlier + *b * later;
}

/// Fades the first `extent` rows of `tile`, [planes, H, W], over `above`, [planes, extent, W].
fn blend_rows(above: &[f32], tile: &mut [f32], [height, width]: [usize; 2], extent: usize, grain: usize) {
    if extent == 0 {
        return;
    }
    for (image, above) in tile.chunks_exact_mut(height * width).zip(above.chunks_exact(extent * width)) {
        for (y, (line, above)) in image.chunks_exact_mut(width).zip(above.chunks_exact(width)).enumerate() {
            let weights = weights(y, extent, grain);
            line.iter_mut().zip(above).for_each(|(b, &a)| blend(a, b, weights));
        }
    }
}

/// Fades the first `extent` columns of `tile`, [planes, H, W], over `left`, [planes, H, extent].
fn blend_columns(left: &[f32], tile: &mut [f32], [_, width]: [usize; 2], extent: usize, grain: usize) {
    if extent == 0 {
        return;
    }
    let weights: Vec<_> = (0..extent).map(|x| weights(x, extent, grain)).collect();
    for (line, left) in tile.chunks_exact_mut(width).zip(left.chunks_exact(extent)) {
        for ((b, &a), &weights) in line.iter_mut().zip(left).zip(&weights) {
            blend(a, b, weights);
        }
    }
}
