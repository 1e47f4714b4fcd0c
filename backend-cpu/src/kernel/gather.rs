//! The kernel that moves elements: which element of the source each of the result is. Slices,
//! concatenations, pads, transposes and resizes are gathers. Its code is in `codegen::gather`.

use ir::Dims;

use super::LINE_BLOCK;

/// Where the index along one axis of a gather's source comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AxisMap {
    /// The same index.
    Same,
    /// The nearest of `from` elements spread over `to`.
    Nearest {
        /// Elements of the source.
        from: usize,
        /// Elements of the result.
        to: usize,
        /// Whether element 0 stands apart.
        apart: bool,
    },
    /// The index less `low`, moved to the nearest of `size`.
    Clamp {
        /// Elements in front.
        low: usize,
        /// Elements of the source.
        size: usize,
    },
    /// The index less `low`, mirrored into `0..size` at the first and the last.
    Reflect {
        /// Elements in front.
        low: usize,
        /// Elements of the source.
        size: usize,
    },
    /// The index less `low`; zero stands outside `0..size`.
    Zero {
        /// Elements in front.
        low: usize,
        /// Elements of the source.
        size: usize,
    },
}

/// `result[offset + i · strides] = source[offset + map(i) · strides]` for each index `i` of a box.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gather {
    /// Bytes of an element; its bits are of no consequence, but that zero has none.
    pub element_bytes: usize,
    /// The box.
    pub shape: Dims,
    /// How each axis of the box is looked up.
    pub maps: Vec<AxisMap>,
    /// Elements between neighbours of the source.
    pub source_strides: Dims,
    /// Where the source starts.
    pub source_offset: usize,
    /// Elements between neighbours of the result.
    pub result_strides: Dims,
    /// Where the result starts.
    pub result_offset: usize,
}

impl Gather {
    /// The same gather over fewer axes: those of size 1 left out, neighbours that are contiguous in
    /// both source and result made one. At least one axis is left.
    pub fn coalesced(&self) -> Self {
        let mut merged = Self {
            shape: Dims::new(),
            maps: vec![],
            source_strides: Dims::new(),
            result_strides: Dims::new(),
            ..*self
        };
        for axis in 0..self.shape.len() {
            let (size, map) = (self.shape[axis], self.maps[axis]);
            let (source, result) = (self.source_strides[axis], self.result_strides[axis]);
            if size == 1 && map == AxisMap::Same {
                continue;
            }
            let mergeable = map == AxisMap::Same
                && merged.maps.last() == Some(&AxisMap::Same)
                && merged.source_strides.last() == Some(&(source * size))
                && merged.result_strides.last() == Some(&(result * size));
            if mergeable {
                let last = merged.shape.len() - 1;
                merged.shape[last] *= size;
                merged.source_strides[last] = source;
                merged.result_strides[last] = result;
            } else {
                merged.shape.push(size);
                merged.maps.push(map);
                merged.source_strides.push(source);
                merged.result_strides.push(result);
            }
        }
        if merged.shape.is_empty() {
            merged.shape.push(1);
            merged.maps.push(AxisMap::Same);
            merged.source_strides.push(1);
            merged.result_strides.push(1);
        }
        merged
    }

    /// Number of rows: everything but the last axis.
    pub fn rows(&self) -> usize {
        self.shape[..self.shape.len() - 1].iter().product()
    }

    /// Rows of one block.
    pub fn rows_per_block(&self) -> usize {
        (LINE_BLOCK / self.shape[self.shape.len() - 1].max(1)).clamp(1, self.rows())
    }
}
