//! NumPy's `.npy`: pictures as u8 [T, H, W, 3], or values as floats [B, C, T, H, W].

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::pictures::{PictureShape, PictureSource};
use super::{bad, check_size};
use crate::error::{Error, Result};
use crate::npy_header::dictionary;
use crate::tensor_file::Dtype;

/// Length of a header, at most; NumPy itself refuses more than 10000 by default.
const MAX_HEADER: u64 = 1 << 16;

/// What a file turned out to hold.
pub(super) enum Npy {
    Pictures(Pictures),
    Floats(Floats),
}

/// Floats [B, C, T, H, W] in a file that is as long as they are.
pub(super) struct Floats {
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// Where the values begin.
    pub(super) start: u64,
    pub(super) dtype: Dtype,
    pub(super) axes: [usize; 5],
}

/// Frames u8 [T, H, W, 3].
pub(super) struct Pictures {
    path: PathBuf,
    file: File,
    shape: PictureShape,
    left: usize,
}

/// Reads the header and checks that the file is as long as it says.
pub(super) fn open(path: &Path) -> Result<Npy> {
    let read_error = |cause: std::io::Error| match cause.kind() {
        ErrorKind::UnexpectedEof => bad(path, "it is cut off in its header"),
        _ => Error::Read { path: path.into(), cause },
    };
    let mut file = File::open(path).map_err(read_error)?;
    let length = file.metadata().map_err(read_error)?.len();
    let mut head = [0; 8];
    file.read_exact(&mut head).map_err(read_error)?;
    if &head[..6] != b"\x93NUMPY" {
        return Err(bad(path, "it does not begin as an .npy file does"));
    }
    let header_length = if head[6] == 1 {
        let mut bytes = [0; 2];
        file.read_exact(&mut bytes).map_err(read_error)?;
        u64::from(u16::from_le_bytes(bytes))
    } else {
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes).map_err(read_error)?;
        u64::from(u32::from_le_bytes(bytes))
    };
    if header_length > MAX_HEADER {
        return Err(bad(path, format!("its header says to be {header_length} bytes long; it is damaged")));
    }
    let mut header = vec![0; header_length as usize];
    file.read_exact(&mut header).map_err(read_error)?;
    let header = String::from_utf8_lossy(&header);
    let (descr, fortran, axes) =
        dictionary(&header).ok_or_else(|| bad(path, format!("its header is not understood: {}", header.trim_end())))?;
    if fortran {
        return Err(bad(path, "it is in Fortran order; write it with numpy.ascontiguousarray"));
    }

    let wrong = || {
        bad(
            path,
            format!(
                "an array of {descr} {axes:?}; expected |u1 [frames, height, width, 3], or <f4, <f2 or <f8 \
                 [batch, channels, frames, height, width] in [-1, 1]"
            ),
        )
    };
    let (dtype, bytes) = match descr.as_str() {
        "|u1" => (Dtype::U8, 1),
        "<f2" => (Dtype::F16, 2),
        "<f4" => (Dtype::F32, 4),
        "<f8" => (Dtype::F64, 8),
        _ => return Err(wrong()),
    };
    if axes.contains(&0) {
        return Err(bad(path, format!("its shape {axes:?} has an empty axis: it has no frames")));
    }
    let start = file.stream_position().map_err(read_error)?;
    let size = axes.iter().try_fold(bytes, |size: u64, &axis| size.checked_mul(axis as u64));
    if size.and_then(|size| size.checked_add(start)) != Some(length) {
        let problem = format!("{descr} {axes:?} is not what is in its {length} bytes; it is cut off or damaged");
        return Err(bad(path, problem));
    }
    let path = path.to_path_buf();
    match (dtype, axes.as_slice()) {
        (Dtype::U8, &[frames, height, width, 3]) => {
            check_size(&path, width as u64, height as u64)?;
            let shape = PictureShape { width, height, frames: Some(frames), rate: None };
            Ok(Npy::Pictures(Pictures { path, file, shape, left: frames }))
        }
        (Dtype::F16 | Dtype::F32 | Dtype::F64, &[b, c, t, h, w]) => {
            Ok(Npy::Floats(Floats { path, file, start, dtype, axes: [b, c, t, h, w] }))
        }
        _ => Err(wrong()),
    }
}

impl Floats {
    /// Fills `bytes` with those at `at`, counted from the first value.
    pub(super) fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<()> {
        let read = self.file.seek(SeekFrom::Start(self.start + at)).and_then(|_| self.file.read_exact(bytes));
        read.map_err(|cause| Error::Read { path: self.path.clone(), cause })
    }
}

impl PictureSource for Pictures {
    fn shape(&self) -> PictureShape {
        self.shape
    }

    fn next(&mut self, rgb: &mut Vec<u8>) -> Result<bool> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        rgb.resize(self.shape.width * self.shape.height * 3, 0);
        self.file.read_exact(rgb).map_err(|cause| Error::Read { path: self.path.clone(), cause })?;
        Ok(true)
    }
}
