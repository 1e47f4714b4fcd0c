//! Arrays: a tensor of a safetensors file, or an `.npy`. Floats, or pixels in eight bits, in any
//! order of axes.
//!
//! Which axis is which and what values mean is told in [`crate::layout`].

use std::path::{Path, PathBuf};

use files::tensor_file::{Dtype, TensorFile};
use half::{bf16, f16};

use super::clip_file::ClipFile;
use super::npy::{self, Npy, row_major};
use super::reader::{ClipReader, Frames, Note, ReadOptions, ReadShape, check_size, frames_to_read, no_frames_asked};
use super::resize::Resize;
use crate::error::{Error, Remedy, Result, bad};
use crate::layout::{Axes, Extent, RANGE_LABEL, ValueRange, axes_of};

/// The names a clip goes by in a safetensors file that has several tensors.
const TENSORS: [&str; 2] = ["sample", "video"];
/// Values beyond it are no clip in [-1, 1], not even one that a decoder overshot.
const MAX_VALUE: f32 = 8.0;

pub(super) struct ArrayReader {
    array: Array,
    range: ValueRange,
    note: Option<Note>,
    shape: ReadShape,
    resize: Option<Resize>,
    /// Frames of each sample to be returned.
    frames: usize,
    /// What is due.
    sample: usize,
    frame: usize,
}

/// The numbers of a file, and which is where.
struct Array {
    path: PathBuf,
    values: Values,
    axes: Axes,
    number: Number,
    /// Of batch, channels, time, height and width.
    sizes: [usize; 5],
    /// Steps along each of them, in numbers.
    strides: [usize; 5],
}

enum Values {
    Tensor { file: TensorFile, name: String },
    Npy(Npy),
}

/// What a file says of its numbers.
struct Description<'a> {
    dtype: Dtype,
    big_endian: bool,
    shape: &'a [usize],
    strides: &'a [usize],
}

impl ArrayReader {
    pub(super) fn safetensors(clip: &ClipFile, options: ReadOptions) -> Result<Box<dyn ClipReader>> {
        let path = &clip.name;
        let file = TensorFile::of_file(path, &clip.file)?;
        let names = file.names();
        let usual = TENSORS.into_iter().find(|&name| file.tensor(name).is_some());
        let missing = || files::Error::MissingTensor {
            path: path.into(),
            tensor: TENSORS.join("` or `"),
            present: file.contents(),
        };
        let name = match (usual, names.as_slice()) {
            (Some(name), _) => name.to_string(),
            (None, [only]) => only.clone(),
            _ => return Err(missing().into()),
        };
        let view = file.tensor(&name).ok_or_else(missing)?;
        let (dtype, shape) = (view.dtype, view.shape.to_vec());
        if number(dtype, false).is_none() {
            return Err(files::Error::WrongDtype {
                path: path.into(),
                tensor: name,
                found: dtype.to_string(),
                expected: "F32, F16, BF16, F64 or U8",
            }
            .into());
        }
        let strides = row_major(&shape);
        let labelled = file.label(RANGE_LABEL).and_then(|range| range.parse().ok());
        let options = ReadOptions { range: options.range.or(labelled), ..options };
        let description = Description { dtype, big_endian: false, shape: &shape, strides: &strides };
        ArrayReader::boxed(path, Values::Tensor { file, name }, &description, options)
    }

    pub(super) fn npy(clip: &ClipFile, options: ReadOptions) -> Result<Box<dyn ClipReader>> {
        let array = npy::open(clip)?;
        let (shape, strides) = (array.shape.clone(), array.strides.clone());
        let description =
            Description { dtype: array.dtype, big_endian: array.big_endian, shape: &shape, strides: &strides };
        ArrayReader::boxed(&clip.name, Values::Npy(array), &description, options)
    }

    fn boxed(
        path: &Path,
        values: Values,
        description: &Description<'_>,
        options: ReadOptions,
    ) -> Result<Box<dyn ClipReader>> {
        let &Description { dtype, big_endian, shape, strides } = description;
        if shape.contains(&0) {
            return Err(bad(path, format!("its shape {shape:?} has an empty axis: it has no frames")));
        }
        let no_clip = |problem: &str| {
            let problem = format!(
                "an array of {dtype} {shape:?}; {problem}; expected [B, C, T, H, W], [B, T, H, W, C] or [B, T, C, H, \
                 W] with three channels, or one of them without B, or one frame"
            );
            bad(path, problem)
        };
        let (axes, others) = match options.axes {
            Some(axes) if axes.fit(shape.len()) => (axes, vec![]),
            Some(axes) => return Err(no_clip(&format!("it was said to be {axes}"))),
            None => axes_of(shape).ok_or_else(|| no_clip("no axis has three channels where a clip has them"))?,
        };
        let number = number(dtype, big_endian).ok_or_else(|| no_clip("its numbers are not read"))?;
        let sizes @ [batch, channels, found, height, width] = axes.sorted(shape, 1);
        check_size(path, width as u64, height as u64)?;
        let array = Array { path: path.into(), values, axes, number, sizes, strides: axes.sorted(strides, 0) };
        let frames = frames_to_read(path, options, Some(found))?.unwrap_or(found);
        let range = match (options.range, dtype) {
            (Some(range), _) => range,
            (None, Dtype::U8) => ValueRange::Pixels,
            (None, _) => array.range(frames)?,
        };
        // Pixels are pixels, and what was said needs no saying.
        let known = axes == Axes::OWN || dtype == Dtype::U8 || options.axes.and(options.range).is_some();
        let note = (!known || !others.is_empty()).then(|| {
            let names: Vec<String> = others.iter().map(ToString::to_string).collect();
            let guess = if others.is_empty() { String::new() } else { format!("; {} fits too", names.join(" or ")) };
            let text = format!("{}: {dtype} {shape:?} is read as {axes} in {range}{guess}", path.display());
            Note { text, other_axes: others }
        });
        let resize = Resize::new((height, width), options.size);
        let (height, width) = options.size.unwrap_or((height, width));
        let shape = ReadShape { batch, channels, frames: Some(frames), height, width, rate: None };
        Ok(Box::new(ArrayReader { array, range, note, shape, resize, frames, sample: 0, frame: 0 }))
    }
}

impl Array {
    /// The range that the values of the first frames of each sample are in.
    fn range(&self, frames: usize) -> Result<ValueRange> {
        let mut extent = Extent::new();
        let mut plane = vec![];
        for sample in 0..self.sizes[0] {
            for frame in 0..frames {
                for channel in 0..self.sizes[1] {
                    self.plane([sample, channel, frame], &mut plane)?;
                    extent.add(&plane);
                    if extent.is_clear() {
                        return Ok(ValueRange::Signed);
                    }
                }
            }
        }
        extent.range(self.axes).map_err(|problem| self.wrong_range(problem, &ValueRange::ALL))
    }

    /// Fills `plane` with the finite numbers [H, W] of a sample, channel and frame.
    fn plane(&self, place: [usize; 3], plane: &mut Vec<f32>) -> Result<()> {
        let bytes = match &self.values {
            Values::Tensor { file, name } => file.tensor(name).map(|tensor| tensor.bytes).unwrap_or_default(),
            Values::Npy(array) => &array.map[array.start..],
        };
        let (size, value) = self.number;
        let [.., height, width] = self.sizes;
        let [.., row, column] = self.strides;
        // No overflow: the file is as long as its shape says.
        let start: usize = place.iter().zip(self.strides).map(|(index, stride)| index * stride).sum();
        plane.clear();
        for y in 0..height {
            let at = |x: usize| (start + y * row + x * column) * size;
            plane.extend((0..width).map(|x| value(&bytes[at(x)..at(x) + size])));
        }
        match plane.iter().position(|value| !value.is_finite()) {
            Some(at) => {
                let what =
                    format!("{}; the program that wrote it overflowed or failed", self.value(place, at, plane[at]));
                Err(bad(&self.path, what))
            }
            None => Ok(()),
        }
    }

    /// A value and where it is, as the beginning of a sentence.
    fn value(&self, [sample, channel, frame]: [usize; 3], at: usize, value: f32) -> String {
        let width = self.sizes[4];
        let index = [sample, channel, frame, at / width, at % width];
        format!("the value at {index:?} of [B, C, T, H, W] is {value}")
    }

    /// The error for values that are of another range than they are taken for: one of these.
    fn wrong_range(&self, problem: String, ranges: &[ValueRange]) -> Error {
        Error::BadClip { path: self.path.clone(), problem, remedy: Some(Remedy::Range(ranges.to_vec())) }
    }
}

/// The size of a number in bytes, and what its bytes say.
type Number = (usize, fn(&[u8]) -> f32);

fn number(dtype: Dtype, big_endian: bool) -> Option<Number> {
    fn word<const N: usize>(bytes: &[u8]) -> [u8; N] {
        bytes.first_chunk().copied().unwrap_or([0; N])
    }
    Some(match (dtype, big_endian) {
        (Dtype::U8, _) => (1, |bytes| f32::from(word::<1>(bytes)[0])),
        (Dtype::F16, false) => (2, |bytes| f16::from_le_bytes(word(bytes)).to_f32()),
        (Dtype::F16, true) => (2, |bytes| f16::from_be_bytes(word(bytes)).to_f32()),
        (Dtype::BF16, false) => (2, |bytes| bf16::from_le_bytes(word(bytes)).to_f32()),
        (Dtype::F32, false) => (4, |bytes| f32::from_le_bytes(word(bytes))),
        (Dtype::F32, true) => (4, |bytes| f32::from_be_bytes(word(bytes))),
        (Dtype::F64, false) => (8, |bytes| f64::from_le_bytes(word(bytes)) as f32),
        (Dtype::F64, true) => (8, |bytes| f64::from_be_bytes(word(bytes)) as f32),
        _ => return None,
    })
}

impl ClipReader for ArrayReader {
    fn shape(&self) -> ReadShape {
        self.shape
    }

    fn note(&self) -> Option<&Note> {
        self.note.as_ref()
    }

    fn read(&mut self, frames: usize) -> Result<Option<Frames>> {
        if frames == 0 {
            return Err(no_frames_asked());
        }
        let [batch, channels, ..] = self.array.sizes;
        if self.sample == batch {
            return Ok(None);
        }
        let frames = frames.min(self.frames - self.frame);
        let (mut data, mut plane) = (vec![], vec![]);
        for channel in 0..channels {
            for frame in self.frame..self.frame + frames {
                let place = [self.sample, channel, frame];
                self.array.plane(place, &mut plane)?;
                plane.iter_mut().for_each(|value| *value = self.range.value(*value));
                if let Some(at) = plane.iter().position(|value| value.abs() > MAX_VALUE) {
                    let value = self.array.value(place, at, plane[at]);
                    let problem = format!("{value}; far from {}, the range of a clip that is read", ValueRange::Signed);
                    return Err(self.array.wrong_range(problem, &ValueRange::ALL));
                }
                match &mut self.resize {
                    Some(resize) => {
                        resize.plane(&plane, &mut data).map_err(|problem| bad(&self.array.path, problem))?;
                    }
                    None => data.extend_from_slice(&plane),
                }
            }
        }
        let block = Frames { sample: self.sample, frames, data };
        self.frame += frames;
        if self.frame == self.frames {
            (self.sample, self.frame) = (self.sample + 1, 0);
        }
        Ok(Some(block))
    }
}
