//! Arrays: the values as they are, f32 row-major [B, C, T, H, W] or, of images, [B, C, H, W], as
//! tensor `sample` of a safetensors file or as NumPy's `.npy`. Each block is written where it
//! belongs, so what is written to can seek. Tensors of other names go the same way, such
//! as latents; what is in them is their writers' to know.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use files::array_file::{npy_header, safetensors_header, write_values};
use files::staging::StagedFile;

use super::writer::{ClipWriter, Output, Progress};
use crate::clip::{ClipShape, FrameBlock};
use crate::error::Result;
use crate::layout::RANGE_LABEL;

/// The tensor's name in a safetensors file.
const TENSOR: &str = "sample";

/// The axes of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArrayAxes {
    /// [B, C, T, H, W].
    Bcthw,
    /// [B, T, C, H, W].
    Btchw,
    /// [B, C, H, W], of clips of one frame.
    Bchw,
}

impl ArrayAxes {
    /// The sizes of an array that holds a clip of this shape.
    pub fn of(self, shape: ClipShape) -> Vec<usize> {
        let [batch, channels, frames, height, width] = shape.axes();
        match self {
            ArrayAxes::Bcthw => vec![batch, channels, frames, height, width],
            ArrayAxes::Btchw => vec![batch, frames, channels, height, width],
            ArrayAxes::Bchw => vec![batch, channels, height, width],
        }
    }
}

/// What a safetensors file says of its one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorLabel<'a> {
    /// The tensor's name.
    pub name: &'a str,
    /// Its axes.
    pub axes: ArrayAxes,
    /// What the file says beside it.
    pub metadata: Option<HashMap<String, String>>,
}

/// An array on its way into whatever takes bytes and can seek.
pub(super) struct Array<W> {
    pub(super) to: W,
    shape: ClipShape,
    /// Where the values begin.
    start: u64,
    frames_first: bool,
}

/// What stands in front of an array's values, and in which order they are.
pub(super) struct Header {
    bytes: Vec<u8>,
    frames_first: bool,
}

impl Header {
    /// Of a safetensors file, called `path` in messages, with one tensor of this label.
    fn tensor(path: &Path, shape: ClipShape, label: TensorLabel<'_>) -> Result<Header> {
        let TensorLabel { name, axes, metadata } = label;
        let bytes = safetensors_header(metadata, [(name.into(), axes.of(shape))]);
        let encode = |problem| files::Error::Encode { path: path.into(), format: "safetensors", problem };
        Ok(Header { bytes: bytes.map_err(encode)?, frames_first: axes == ArrayAxes::Btchw })
    }

    /// Of a clip in a safetensors file.
    pub(super) fn safetensors(path: &Path, shape: ClipShape, axes: ArrayAxes) -> Result<Header> {
        // Who reads it need not guess, not even of a clip that is bright all over.
        let metadata = Some(HashMap::from([(RANGE_LABEL.into(), "-1,1".into())]));
        Header::tensor(path, shape, TensorLabel { name: TENSOR, axes, metadata })
    }

    /// Of an `.npy`.
    pub(super) fn npy(shape: ClipShape, axes: ArrayAxes) -> Header {
        Header { bytes: npy_header(&axes.of(shape)), frames_first: axes == ArrayAxes::Btchw }
    }
}

impl<W: Write + Seek> Array<W> {
    /// Writes the header; the shape must have been checked.
    pub(super) fn begin(mut to: W, shape: ClipShape, header: &Header) -> io::Result<Array<W>> {
        to.write_all(&header.bytes)?;
        Ok(Array { to, shape, start: header.bytes.len() as u64, frames_first: header.frames_first })
    }

    /// Writes a block, whose first frame within the sample is `first`, where it belongs.
    pub(super) fn write(&mut self, sample: usize, first: usize, frames: &FrameBlock<'_>) -> io::Result<()> {
        let ClipShape { channels, frames: total, height, width, .. } = self.shape;
        let plane = height * width;
        // What is written in one piece: a channel's frames, or all there is.
        let (data, run): (Cow<'_, [f32]>, usize) = match self.frames_first {
            false => (frames.data.into(), frames.frames * plane),
            true => (frames_first(frames, plane).into(), frames.data.len()),
        };
        for (c, run) in data.chunks_exact(run).enumerate() {
            let image = match self.frames_first {
                false => (sample * channels + c) * total + first,
                true => (sample * total + first) * channels,
            };
            self.to.seek(SeekFrom::Start(self.start + (image * plane * size_of::<f32>()) as u64))?;
            write_values(&mut self.to, run)?;
        }
        Ok(())
    }
}

/// [C, T, H, W] as [T, C, H, W].
fn frames_first(block: &FrameBlock<'_>, plane: usize) -> Vec<f32> {
    let channels = block.data.len() / (block.frames * plane);
    let images = (0..block.frames).flat_map(|t| (0..channels).map(move |c| (c * block.frames + t) * plane));
    images.flat_map(|start| &block.data[start..start + plane]).copied().collect()
}

/// A file of one array. It gets its full length at once.
pub struct ArrayWriter {
    array: Array<StagedFile>,
    progress: Progress,
}

impl ArrayWriter {
    pub(super) fn create(path: &Path, shape: ClipShape, header: &Header) -> Result<ArrayWriter> {
        let file = StagedFile::create(path)?;
        // The shape was checked: the product is a file's size.
        let values = shape.axes().into_iter().product::<usize>() * size_of::<f32>();
        file.set_len((header.bytes.len() + values) as u64)?;
        let array = Array::begin(file, shape, header);
        let array = array.map_err(|cause| files::Error::Write { path: path.into(), cause })?;
        Ok(ArrayWriter { array, progress: Progress::new(path, shape) })
    }

    /// Opens a safetensors file for one tensor of f32, of this shape and label; blocks are [C, T,
    /// H, W] all the same.
    ///
    /// # Errors
    /// [`Error::InvalidClip`](crate::Error::InvalidClip), [`files::Error::OutputPlace`],
    /// [`files::Error::Encode`].
    pub fn tensor(path: &Path, shape: ClipShape, label: TensorLabel<'_>) -> Result<ArrayWriter> {
        shape.check()?;
        ArrayWriter::create(path, shape, &Header::tensor(path, shape, label)?)
    }
}

impl ClipWriter for ArrayWriter {
    fn write(&mut self, sample: usize, frames: &FrameBlock<'_>) -> Result<()> {
        let first = self.progress.advance(sample, frames)?;
        let written = self.array.write(sample, first, frames);
        Ok(written.map_err(|cause| self.array.to.error(cause))?)
    }

    fn finish(self: Box<Self>) -> Result<Output> {
        self.progress.check_complete()?;
        let (path, bytes) = self.array.to.persist()?;
        Ok(Output { paths: vec![path], bytes })
    }
}
