//! A safetensors file, mapped into memory or part of the program: names, shapes, element types, bytes, and values as f32.
//!
//! Holds the package's only unsafe block, the memory map. Knows no model and no meaning of any tensor: see
//! [`crate::checkpoint`] and [`crate::latents`] for those.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::{Metadata, SafeTensorError};

use crate::error::{Error, Result};

pub use safetensors::Dtype;

/// Elements converted at a time by one thread; a tensor up to this long is converted on the calling thread.
const CHUNK: usize = 1 << 16;

/// An open safetensors file. Its header is checked whole when it is opened: every tensor lies inside the file and is as
/// long as its shape and element type say.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    content: Content,
    data_start: usize,
    header: Metadata,
}

/// Where the bytes of a file are.
#[derive(Debug)]
enum Content {
    Mapped(Mmap),
    /// Part of the program.
    Static(&'static [u8]),
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Content::Mapped(map) => map,
            Content::Static(bytes) => bytes,
        }
    }
}

/// One tensor of an open file: where its bytes lie, not a copy of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorView<'a> {
    /// Element type.
    pub dtype: Dtype,
    /// Axes, slowest first.
    pub shape: &'a [usize],
    /// Row-major little-endian values; no alignment is promised.
    pub bytes: &'a [u8],
}

impl TensorFile {
    /// Opens and checks `path`. `hint` ends the message for a missing file: what it should be, where to get it.
    ///
    /// # Errors
    /// [`Error::MissingFile`], [`Error::Read`], or [`Error::BadSafetensors`] with what is wrong.
    pub fn open(path: &Path, hint: &str) -> Result<TensorFile> {
        let read_error = |cause: std::io::Error| match cause.kind() {
            ErrorKind::NotFound => Error::MissingFile { path: path.into(), hint: hint.into() },
            _ => Error::Read { path: path.into(), cause },
        };
        let bad = |problem: &str| Error::BadSafetensors { path: path.into(), problem: problem.into() };
        // Looked at before it is opened: opening a named pipe would wait for a writer.
        let found = fs::metadata(path).map_err(read_error)?;
        if !found.is_file() {
            return Err(bad("it is not a regular file"));
        }
        if found.len() == 0 {
            return Err(bad("it is empty; the download did not finish"));
        }
        let file = File::open(path).map_err(read_error)?;
        let map = map(&file).map_err(read_error)?;
        TensorFile::parse(path, Content::Mapped(map))
    }

    /// A file that is part of the program; `path` stands for it in messages.
    ///
    /// # Errors
    /// [`Error::BadSafetensors`] with what is wrong.
    pub fn from_static(path: &Path, bytes: &'static [u8]) -> Result<TensorFile> {
        TensorFile::parse(path, Content::Static(bytes))
    }

    fn parse(path: &Path, content: Content) -> Result<TensorFile> {
        let (header_len, header) = SafeTensors::read_metadata(&content)
            .map_err(|cause| Error::BadSafetensors { path: path.into(), problem: explain(&content, cause) })?;
        Ok(TensorFile { path: path.into(), data_start: size_of::<u64>() + header_len, content, header })
    }

    /// The file's path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names in the file, in the order of their data.
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// The value of `key` in the file's metadata.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// The tensor of this exact name.
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let info = self.header.info(name)?;
        let (start, end) = info.data_offsets;
        let bytes = &self.content[self.data_start + start..self.data_start + end];
        Some(TensorView { dtype: info.dtype, shape: &info.shape, bytes })
    }

    /// The values of a tensor as f32, row-major. Long tensors are converted on all threads.
    ///
    /// # Errors
    /// [`Error::MissingTensor`]; [`Error::WrongDtype`] unless the tensor is f32, f16, bf16 or f64.
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        let view = self.tensor(name).ok_or_else(|| Error::MissingTensor {
            path: self.path.clone(),
            tensor: name.into(),
            present: self.contents(),
        })?;
        view.to_f32().ok_or_else(|| Error::WrongDtype {
            path: self.path.clone(),
            tensor: name.into(),
            found: view.dtype.to_string(),
            expected: "F32, F16, BF16 or F64",
        })
    }

    /// The tensors with element types and shapes, for messages: at most twelve and a count of the others.
    pub fn contents(&self) -> String {
        let names = self.names();
        describe(names.len(), names.iter().filter_map(|name| Some((name.as_str(), self.tensor(name)?))))
    }
}

/// The bytes of a regular file.
pub(crate) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only and its pages are only ever read as bytes, for which every bit pattern is valid.
    // What is left is another process that changes or shortens the file while it is mapped; that is ruled out by
    // contract, as for every program that maps its weights: a checkpoint is not rewritten in place while in use.
    unsafe { Mmap::map(file) }
}

/// The first twelve of `count` tensors with element types and shapes, for messages, and a count of the others.
pub(crate) fn describe<'a>(count: usize, tensors: impl Iterator<Item = (&'a str, TensorView<'a>)>) -> String {
    const SHOWN: usize = 12;
    let mut shown: Vec<String> =
        tensors.take(SHOWN).map(|(name, view)| format!("`{name}` {} {:?}", view.dtype, view.shape)).collect();
    if count > SHOWN {
        shown.push(format!("{} others", count - SHOWN));
    }
    if shown.is_empty() { "no tensors".into() } else { shown.join(", ") }
}

impl TensorView<'_> {
    /// Whether [`Self::to_f32`] can read it: f32, f16, bf16 or f64.
    pub fn is_float(&self) -> bool {
        matches!(self.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64)
    }

    /// The values as f32, or `None` unless [`Self::is_float`]; f64 is rounded.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        match self.dtype {
            Dtype::F32 => Some(convert(self.bytes, |from: &[[u8; 4]], to| {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = f32::from_le_bytes(*from));
            })),
            Dtype::F64 => Some(convert(self.bytes, |from: &[[u8; 8]], to| {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = f64::from_le_bytes(*from) as f32);
            })),
            Dtype::F16 => Some(convert(self.bytes, |from, to| {
                to_words(from).reinterpret_cast::<f16>().convert_to_f32_slice(to);
            })),
            Dtype::BF16 => Some(convert(self.bytes, |from, to| {
                to_words(from).reinterpret_cast::<bf16>().convert_to_f32_slice(to);
            })),
            _ => None,
        }
    }
}

/// The file may start a 16-bit tensor at an odd address: a chunk is copied to where its words are aligned.
fn to_words(from: &[[u8; 2]]) -> Vec<u16> {
    from.iter().map(|word| u16::from_le_bytes(*word)).collect()
}

/// Converts values of `N` bytes with `chunk`, which gets equally many values and places.
fn convert<const N: usize>(bytes: &[u8], chunk: impl Fn(&[[u8; N]], &mut [f32]) + Sync) -> Vec<f32> {
    let (values, rest) = bytes.as_chunks::<N>();
    debug_assert!(rest.is_empty(), "the header was checked when the file was opened");
    let mut out = vec![0.0; values.len()];
    if values.len() <= CHUNK {
        chunk(values, &mut out);
    } else {
        out.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK)).for_each(|(to, from)| chunk(from, to));
    }
    out
}

/// What a rejected header means to the person who has the file.
fn explain(bytes: &[u8], cause: SafeTensorError) -> String {
    if bytes.starts_with(b"version https://git-lfs") {
        return "it is a Git LFS pointer, not the file itself; run `git lfs pull` in its folder".into();
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02") {
        return "it is a PyTorch pickle; convert it to safetensors first".into();
    }
    match cause {
        SafeTensorError::HeaderTooLarge | SafeTensorError::HeaderTooSmall => {
            "its first eight bytes are not the length of a header; is it another kind of file?".into()
        }
        SafeTensorError::InvalidHeaderLength => {
            format!(
                "its header should end beyond the file's {} bytes; it is cut off or another kind of file",
                bytes.len()
            )
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            let length = bytes.len();
            format!(
                "its tensors do not end where the file does ({length} bytes); it is cut off or too long, fetch it again"
            )
        }
        SafeTensorError::InvalidOffset(tensor) => {
            format!("the bytes of tensor `{tensor}` do not follow those of the tensor before; the header is damaged")
        }
        SafeTensorError::TensorInvalidInfo | SafeTensorError::ValidationOverflow => {
            format!("a tensor is not as long as its shape and element type say ({cause}); the header is damaged")
        }
        other => format!("{other}; the header is damaged"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a safetensors file with this JSON header and this data.
    fn bytes(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn open(bytes: &[u8]) -> Result<TensorFile> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        TensorFile::open(file.path(), "expected here")
    }

    fn complaint(bytes: &[u8]) -> String {
        open(bytes).unwrap_err().to_string()
    }

    #[test]
    fn every_float_type_is_read_also_unaligned() {
        let values = [0.5f32, -2.0, 65504.0];
        // `a` has one byte, so that what follows is unaligned.
        let header = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
            "b":{"dtype":"F16","shape":[3],"data_offsets":[1,7]},"c":{"dtype":"BF16","shape":[3],"data_offsets":[7,13]},
            "d":{"dtype":"F32","shape":[3],"data_offsets":[13,25]},"e":{"dtype":"F64","shape":[3],"data_offsets":[25,49]}}"#;
        let mut data = vec![7u8];
        values.iter().for_each(|&v| data.extend(f16::from_f32(v).to_le_bytes()));
        values.iter().for_each(|&v| data.extend(bf16::from_f32(v).to_le_bytes()));
        values.iter().for_each(|&v| data.extend(v.to_le_bytes()));
        values.iter().for_each(|&v| data.extend(f64::from(v).to_le_bytes()));
        let file = open(&bytes(header, &data)).unwrap();
        assert_eq!(file.names(), ["a", "b", "c", "d", "e"]);
        for name in ["b", "d", "e"] {
            assert_eq!(file.to_f32(name).unwrap(), values, "{name}");
        }
        assert_eq!(file.to_f32("c").unwrap(), [0.5, -2.0, 65536.0]);
        let message = file.to_f32("a").unwrap_err().to_string();
        assert!(message.contains("tensor `a` is U8, expected F32"), "{message}");
        let message = file.to_f32("z").unwrap_err().to_string();
        assert!(message.contains("no tensor `z`") && message.contains("`b` F16 [3]"), "{message}");
    }

    #[test]
    fn a_long_tensor_is_converted_in_chunks() {
        let count = 2 * CHUNK + 17;
        let header = format!(r#"{{"x":{{"dtype":"BF16","shape":[{count}],"data_offsets":[0,{}]}}}}"#, 2 * count);
        let data: Vec<u8> = (0..count).flat_map(|i| bf16::from_f32((i % 251) as f32).to_le_bytes()).collect();
        let values = open(&bytes(&header, &data)).unwrap().to_f32("x").unwrap();
        assert!(values.iter().enumerate().all(|(i, &v)| v == (i % 251) as f32));
        assert_eq!(values.len(), count);
    }

    #[test]
    fn bad_files_are_explained() {
        let one = r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        assert!(complaint(b"").contains("is empty"));
        assert!(complaint(b"abc").contains("first eight bytes"));
        assert!(complaint(&[0xff; 64]).contains("first eight bytes"));
        assert!(complaint(&bytes(one, &[])).contains("cut off"));
        assert!(complaint(&bytes(one, &[0; 9])).contains("do not end where the file does"));
        assert!(complaint(&bytes("{nonsense", &[])).contains("header"));
        assert!(complaint(&bytes(one, &[0; 8])[..30]).contains("beyond the file's 30 bytes"));
        assert!(complaint(&bytes(&one.replace("[2]", "[3]"), &[0; 8])).contains("not as long as its shape"));
        assert!(complaint(&bytes(&one.replace("[0,8]", "[4,12]"), &[0; 12])).contains("tensor `x`"));
        let huge = one.replace("[2]", "[4294967296,4294967296,4294967296]");
        assert!(complaint(&bytes(&huge, &[0; 8])).contains("not as long as its shape"));
        assert!(complaint(b"version https://git-lfs.github.com/spec/v1\noid").contains("git lfs pull"));
        let folder = tempfile::tempdir().unwrap();
        assert!(TensorFile::open(folder.path(), "").unwrap_err().to_string().contains("not a regular file"));
        let missing = TensorFile::open(&folder.path().join("x"), "expected here").unwrap_err();
        assert!(missing.to_string().ends_with("no such file; expected here"));
    }
}
