//! A file of tensors, mapped into memory or part of the program: names, shapes, element types,
//! bytes, and values as f32.
//!
//! What a file is read as, its content decides and not its name: safetensors; what `torch.save`
//! writes; NumPy's arrays. Holds the package's only unsafe blocks, the memory map and how
//! its pages are let go. Knows no model
//! and no meaning of any tensor.

mod archive;
mod entry;
mod float8;
mod globals;
mod numpy;
mod pickle;
#[cfg(test)]
mod tests;
mod torch;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use rayon::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::SafeTensorError;

use crate::error::{Error, Result};
use crate::{foreign, npy_header};
use entry::{Entry, Location};

pub use safetensors::Dtype;

/// Elements converted at a time by one thread; a tensor up to this long is converted on the calling
/// thread.
const CHUNK: usize = 1 << 16;

/// An open file of tensors. Its header is checked whole when it is opened: every tensor lies inside
/// the file and is as long as its shape and element type say.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    content: Content,
    /// In the order of the file.
    entries: Vec<Entry>,
    /// Name -> place in `entries`.
    places: HashMap<String, usize>,
    labels: HashMap<String, String>,
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

/// What the content of a file was found to be.
struct Parsed {
    entries: Vec<Entry>,
    labels: HashMap<String, String>,
}

impl From<Vec<Entry>> for Parsed {
    fn from(entries: Vec<Entry>) -> Parsed {
        Parsed { entries, labels: HashMap::new() }
    }
}

impl TensorFile {
    /// Opens and checks `path`. `hint` ends the message for a missing file: what it should be,
    /// where to get it.
    ///
    /// # Errors
    /// [`Error::MissingFile`], [`Error::Read`], or [`Error::BadTensorFile`] with what is wrong.
    pub fn open(path: &Path, hint: &str) -> Result<TensorFile> {
        let read_error = |cause: std::io::Error| match cause.kind() {
            ErrorKind::NotFound => Error::MissingFile { path: path.into(), hint: hint.into() },
            _ => Error::Read { path: path.into(), cause },
        };
        let bad = |problem: &str| Error::BadTensorFile { path: path.into(), format: "tensor", problem: problem.into() };
        // Looked at before it is opened: opening a named pipe would wait for a writer.
        let found = fs::metadata(path).map_err(read_error)?;
        if !found.is_file() {
            return Err(bad("it is not a regular file"));
        }
        if found.len() == 0 {
            return Err(bad("it is empty; the download did not finish"));
        }
        TensorFile::of_file(path, &File::open(path).map_err(read_error)?)
    }

    /// The tensors of a regular file that is open; `path` stands for it in messages.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::BadTensorFile`].
    pub fn of_file(path: &Path, file: &File) -> Result<TensorFile> {
        let map = map(file).map_err(|cause| Error::Read { path: path.into(), cause })?;
        TensorFile::parse(path, Content::Mapped(map))
    }

    /// A file that is part of the program; `path` stands for it in messages.
    ///
    /// # Errors
    /// [`Error::BadTensorFile`] with what is wrong.
    pub fn from_static(path: &Path, bytes: &'static [u8]) -> Result<TensorFile> {
        TensorFile::parse(path, Content::Static(bytes))
    }

    fn parse(path: &Path, content: Content) -> Result<TensorFile> {
        let (format, parsed) = parse(&content);
        let Parsed { entries, labels } =
            parsed.map_err(|problem| Error::BadTensorFile { path: path.into(), format, problem })?;
        let places = entries.iter().enumerate().map(|(place, entry)| (entry.name.clone(), place)).collect();
        Ok(TensorFile { path: path.into(), content, entries, places, labels })
    }

    /// The file's path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names in the file, in the order of their data.
    pub fn names(&self) -> Vec<String> {
        self.entries.iter().map(|entry| entry.name.clone()).collect()
    }

    /// The value of `key` in the file's metadata.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    /// The shape of the tensor of this exact name, without a look at its values.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.entries[*self.places.get(name)?].shape)
    }

    /// Element type and shape of the tensor of this exact name, without a look at its values.
    pub fn signature(&self, name: &str) -> Option<(Dtype, &[usize])> {
        let entry = &self.entries[*self.places.get(name)?];
        Some((entry.dtype, &entry.shape))
    }

    /// The tensor of this exact name. One that does not lie in the file row by row and
    /// little-endian is copied when it is first asked for, and the copy kept.
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let entry = &self.entries[*self.places.get(name)?];
        Some(TensorView { dtype: entry.dtype, shape: &entry.shape, bytes: entry.bytes(&self.content) })
    }

    /// The values of a tensor as f32, row-major. Long tensors are converted on all threads.
    ///
    /// # Errors
    /// [`Error::MissingTensor`]; [`Error::WrongDtype`] unless [`TensorView::is_float`].
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        self.f32s(name).map(Cow::into_owned)
    }

    /// The same, where they lie if they are f32 already.
    ///
    /// # Errors
    /// As [`Self::to_f32`].
    pub fn f32s(&self, name: &str) -> Result<Cow<'_, [f32]>> {
        let view = self.tensor(name).ok_or_else(|| Error::MissingTensor {
            path: self.path.clone(),
            tensor: name.into(),
            present: self.contents(),
        })?;
        view.f32s().ok_or_else(|| Error::WrongDtype {
            path: self.path.clone(),
            tensor: name.into(),
            found: view.dtype.to_string(),
            expected: TensorView::FLOATS,
        })
    }

    /// Lets go of the memory that the tensor's part of a mapped file takes: it is read from the file
    /// again when it is asked for.
    pub fn release(&self, name: &str) {
        if let Some((map, range)) = self.places.get(name).and_then(|&place| self.mapped(&self.entries[place])) {
            release(map, range);
        }
    }

    /// Bytes of memory that a tensor keeps once it was read and [released](Self::release).
    pub fn kept_bytes(&self, name: &str) -> usize {
        let Some(entry) = self.places.get(name).map(|&place| &self.entries[place]) else { return 0 };
        match self.mapped(entry) {
            Some(_) if RELEASES => 0,
            _ => entry.shape.iter().product::<usize>().saturating_mul(entry.dtype.bitsize() / 8),
        }
    }

    /// The map, and the tensor's bytes in it, where it is read from there as it is.
    fn mapped(&self, entry: &Entry) -> Option<(&Mmap, Range<usize>)> {
        match (&self.content, &entry.location) {
            (Content::Mapped(map), Location::Content(range)) if !entry.is_arranged() => Some((map, range.clone())),
            _ => None,
        }
    }

    /// The tensors with element types and shapes, for messages: at most twelve and a count of the
    /// others.
    pub fn contents(&self) -> String {
        let names = self.names();
        describe(names.len(), names.iter().filter_map(|name| Some((name.as_str(), self.tensor(name)?))))
    }
}

/// The bytes of a regular file, as they are while the map lives: whoever maps a file promises that
/// nobody changes or shortens it in place meanwhile.
///
/// # Errors
/// What the operating system says.
pub fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only and its pages are only ever read as bytes, for which every bit
    // pattern is valid. What is left is another process that changes or shortens the file while it
    // is mapped; that is ruled out by contract, as for every program that maps its weights: a
    // checkpoint is not rewritten in place while in use.
    unsafe { Mmap::map(file) }
}

/// Whether the system lets go of pages that are mapped.
const RELEASES: bool = cfg!(unix);

/// Gives the pages of a part of a file back to the system, which keeps them in its cache as long as
/// it likes.
#[cfg(unix)]
fn release(map: &Mmap, range: Range<usize>) {
    // SAFETY: what this drops of a map are changes that were not written yet. The map is read-only and
    // of a file, so there are none: its pages are read from the file again, whose bytes stay the same
    // by the contract of `map`. Whoever reads them meanwhile sees these bytes, too.
    let advised = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
    if let Err(cause) = advised {
        log::debug!("pages of a mapped file stay in memory: {cause}");
    }
}

#[cfg(not(unix))]
fn release(_: &Mmap, _: Range<usize>) {}

/// The first twelve of `count` tensors with element types and shapes, for messages, and a count of
/// the others.
pub fn describe<'a>(count: usize, tensors: impl Iterator<Item = (&'a str, TensorView<'a>)>) -> String {
    const SHOWN: usize = 12;
    let mut shown: Vec<String> =
        tensors.take(SHOWN).map(|(name, view)| format!("`{name}` {} {:?}", view.dtype, view.shape)).collect();
    if count > SHOWN {
        shown.push(format!("{} others", count - SHOWN));
    }
    if shown.is_empty() { "no tensors".into() } else { shown.join(", ") }
}

impl TensorView<'_> {
    /// The element types that [`Self::to_f32`] can read, for messages.
    pub const FLOATS: &'static str = "F32, F16, BF16, F64, F8_E4M3 or F8_E5M2";

    /// Whether [`Self::to_f32`] can read it: f32, f16, bf16, f64, or floats of eight bits.
    pub fn is_float(&self) -> bool {
        let is_wide = matches!(self.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64);
        is_wide || matches!(self.dtype, Dtype::F8_E4M3 | Dtype::F8_E5M2)
    }

    /// The values as f32, or `None` unless [`Self::is_float`]; f64 is rounded.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        self.f32s().map(Cow::into_owned)
    }
}

impl<'a> TensorView<'a> {
    /// As [`Self::to_f32`], where the values lie if they are f32 already, and aligned.
    pub fn f32s(&self) -> Option<Cow<'a, [f32]>> {
        if cfg!(target_endian = "little")
            && self.dtype == Dtype::F32
            && let Ok(values) = bytemuck::try_cast_slice(self.bytes)
        {
            return Some(Cow::Borrowed(values));
        }
        let converted = match self.dtype {
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
            Dtype::F8_E4M3 => Some(convert(self.bytes, |from: &[[u8; 1]], to| {
                to.iter_mut().zip(from).for_each(|(to, [from])| *to = float8::from_e4m3(*from));
            })),
            Dtype::F8_E5M2 => Some(convert(self.bytes, |from: &[[u8; 1]], to| {
                to.iter_mut().zip(from).for_each(|(to, [from])| *to = float8::from_e5m2(*from));
            })),
            _ => None,
        };
        converted.map(Cow::Owned)
    }
}

/// The file may start a 16-bit tensor at an odd address: a chunk is copied to where its words are
/// aligned.
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

/// What `content` is read as, and its tensors or what is wrong, as a sentence about "it".
fn parse(content: &[u8]) -> (&'static str, Result<Parsed, String>) {
    if content.starts_with(b"PK\x03\x04") {
        let members = match archive::members(content) {
            Ok(members) => members,
            Err(problem) => return ("tensor", Err(problem)),
        };
        if torch::is_torch(&members) {
            return ("PyTorch", torch::entries(content, &members).map(Parsed::from));
        }
        if numpy::is_npz(&members) {
            return ("NumPy", numpy::entries(content, &members).map(Parsed::from));
        }
        let first = members.first().map_or("nothing", |member| member.name.as_str());
        let problem = format!("it is a zip archive (of `{}` and so on); unpack it first", first.escape_debug());
        return ("tensor", Err(problem));
    }
    if content.starts_with(npy_header::MAGIC) {
        return ("NumPy", numpy::entry(content).map(|entry| vec![entry].into()));
    }
    match SafeTensors::read_metadata(content) {
        Ok((header_len, header)) => {
            let start = size_of::<u64>() + header_len;
            let names = header.offset_keys();
            let entries = names.into_iter().filter_map(|name| {
                let info = header.info(&name)?;
                let range = start + info.data_offsets.0..start + info.data_offsets.1;
                Some(Entry {
                    name,
                    dtype: info.dtype,
                    shape: info.shape.clone(),
                    location: Location::Content(range),
                    strides: None,
                    big_endian: false,
                    arranged: OnceLock::new(),
                })
            });
            let labels = header.metadata().clone().unwrap_or_default();
            ("safetensors", Ok(Parsed { entries: entries.collect(), labels }))
        }
        Err(cause) => match torch::bare_pickle(content).or_else(|| foreign::kind(content)) {
            Some(kind) => ("tensor", Err(kind)),
            None => ("safetensors", Err(explain(content, cause))),
        },
    }
}

/// What a rejected header of a safetensors file means to the person who has it.
fn explain(bytes: &[u8], cause: SafeTensorError) -> String {
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
