//! A tensor of a file: what it is, where its bytes are, and these in row-major, little-endian
//! order.

use std::ops::Range;
use std::sync::OnceLock;

use safetensors::Dtype;

/// A tensor of the file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) location: Location,
    /// Steps between elements along each axis, in elements, where they are not row-major.
    pub(super) strides: Option<Vec<usize>>,
    pub(super) big_endian: bool,
    /// Row-major little-endian bytes, made when they are first asked for, where the file's are not.
    pub(super) arranged: OnceLock<Vec<u8>>,
}

/// Where a tensor's bytes are.
#[derive(Debug)]
pub(super) enum Location {
    /// In the file as it is.
    Content(Range<usize>),
    /// In a part of the file that was unpacked.
    Unpacked(Vec<u8>),
}

impl Location {
    /// Without the first `bytes`.
    pub(super) fn from(self, bytes: usize) -> Location {
        match self {
            Location::Content(range) => Location::Content(range.start + bytes..range.end),
            Location::Unpacked(mut all) => Location::Unpacked(all.split_off(bytes)),
        }
    }
}

impl Entry {
    /// Whether the file has its values in another order, so that they are copied.
    pub(super) fn is_arranged(&self) -> bool {
        self.strides.is_some() || (self.big_endian && self.dtype.bitsize() >= 16)
    }

    /// Row-major little-endian values; `content` is the file's.
    pub(super) fn bytes<'a>(&'a self, content: &'a [u8]) -> &'a [u8] {
        let stored = match &self.location {
            Location::Content(range) => &content[range.clone()],
            Location::Unpacked(bytes) => bytes,
        };
        if !self.is_arranged() {
            return stored;
        }
        let size = self.dtype.bitsize() / 8;
        self.arranged.get_or_init(|| {
            let mut bytes = match &self.strides {
                Some(strides) => row_major(stored, size, &self.shape, strides),
                None => stored.to_vec(),
            };
            if self.big_endian {
                // A complex number is two numbers.
                let number = if self.dtype == Dtype::C64 { size / 2 } else { size };
                bytes.chunks_exact_mut(number).for_each(<[u8]>::reverse);
            }
            bytes
        })
    }
}

/// The elements of `size` bytes, which lie in `stored` with these strides, in row-major order.
fn row_major(stored: &[u8], size: usize, shape: &[usize], strides: &[usize]) -> Vec<u8> {
    let elements: usize = shape.iter().product();
    let mut out = Vec::with_capacity(elements * size);
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    for _ in 0..elements {
        out.extend_from_slice(&stored[at * size..(at + 1) * size]);
        // The next index, the last axis fastest, and where its element is.
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= index[axis] * strides[axis];
            index[axis] = 0;
        }
    }
    out
}
