//! NumPy's `.npy`, mapped into memory: what its bytes are, in which order. What they mean is the
//! array reader's to know.

use std::io::Read;

use files::npy_header::{MAX_HEADER, NpyHeader};
use files::tensor_file::{self, Dtype};
use memmap2::Mmap;

use super::clip_file::ClipFile;
use crate::error::{Result, bad};

/// Magic, version and the header's length, at most.
const BEFORE_HEADER: usize = 12;

/// An array in a file that is as long as its header says.
pub(super) struct Npy {
    pub(super) map: Mmap,
    /// Where the values begin.
    pub(super) start: usize,
    pub(super) dtype: Dtype,
    pub(super) big_endian: bool,
    pub(super) shape: Vec<usize>,
    /// Steps between elements along each axis, in elements.
    pub(super) strides: Vec<usize>,
}

/// Reads the header, and checks that the file is as long as it says.
pub(super) fn open(clip: &ClipFile) -> Result<Npy> {
    let path = &clip.name;
    let read_error = |cause: std::io::Error| files::Error::Read { path: path.into(), cause };
    let mut head = vec![];
    clip.bytes().take((BEFORE_HEADER + MAX_HEADER) as u64).read_to_end(&mut head).map_err(read_error)?;
    let NpyHeader { descr, fortran, shape, start } = NpyHeader::parse(&head).map_err(|problem| bad(path, problem))?;
    let (order, kind) = descr.split_at_checked(1).unwrap_or(("", &descr));
    let dtype = match (order, kind) {
        ("|" | "<" | ">", "u1") => Dtype::U8,
        ("<" | ">", "f2") => Dtype::F16,
        ("<" | ">", "f4") => Dtype::F32,
        ("<" | ">", "f8") => Dtype::F64,
        _ => {
            let problem = format!("an array of {descr} {shape:?}; expected pixels as u1, or values as f2, f4 or f8");
            return Err(bad(path, problem));
        }
    };
    let map = tensor_file::map(&clip.file).map_err(read_error)?;
    let size = shape.iter().try_fold(dtype.bitsize() / 8, |size, &axis| size.checked_mul(axis));
    if size.and_then(|size| size.checked_add(start)) != Some(map.len()) {
        let problem = format!("{descr} {shape:?} is not what is in its {} bytes; it is cut off or damaged", map.len());
        return Err(bad(path, problem));
    }
    let strides = if fortran {
        shape.iter().scan(1, |step, axis| Some(std::mem::replace(step, *step * axis))).collect()
    } else {
        row_major(&shape)
    };
    Ok(Npy { map, start, dtype, big_endian: order == ">", shape, strides })
}

/// The strides of an array whose last axis is the fastest.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}
