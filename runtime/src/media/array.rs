//! Arrays: the values as they are, f32 row-major [B, C, T, H, W], as tensor `sample` of a safetensors file or as NumPy's
//! `.npy`. The file gets its full length at once and each block is written where it belongs. Latents are written here too,
//! under their own name; what is in them is [`crate::LatentWriter`]'s to know.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::staging::StagedFile;
use super::{ClipShape, ClipWriter, FrameBlock, Output, Progress};
use crate::error::{Error, Result};

/// The tensor's name in a safetensors file.
const TENSOR: &str = "sample";
/// The key in a safetensors file's metadata of which values are black and white.
pub(super) const RANGE_LABEL: &str = "range";
/// What the values of a safetensors file are aligned to, by its specification.
const SAFETENSORS_ALIGNMENT: usize = 8;
/// What the values of an `.npy` file are aligned to, by its specification.
const NPY_ALIGNMENT: usize = 64;
/// Values that are turned into bytes at a time.
const CHUNK: usize = 1 << 14;

/// What a safetensors file says of its one tensor.
pub(crate) struct TensorLabel<'a> {
    pub(crate) name: &'a str,
    pub(crate) frames_first: bool,
    pub(crate) metadata: Option<HashMap<String, String>>,
}

pub(crate) struct ArrayWriter {
    file: StagedFile,
    shape: ClipShape,
    progress: Progress,
    /// Where the values begin.
    start: u64,
    /// [B, T, C, H, W] rather than [B, C, T, H, W].
    frames_first: bool,
}

impl ArrayWriter {
    pub(super) fn safetensors(path: &Path, shape: ClipShape) -> Result<ArrayWriter> {
        // Who reads it need not guess, not even of a clip that is bright all over.
        let metadata = Some(HashMap::from([(RANGE_LABEL.into(), "-1,1".into())]));
        ArrayWriter::tensor(path, shape, TensorLabel { name: TENSOR, frames_first: false, metadata })
    }

    /// A safetensors file with one tensor; its shape must have been checked.
    pub(crate) fn tensor(path: &Path, shape: ClipShape, label: TensorLabel<'_>) -> Result<ArrayWriter> {
        let frames_first = label.frames_first;
        let header = safetensors_header(shape, label).map_err(|problem| Error::Encode {
            path: path.into(),
            format: "safetensors",
            problem,
        })?;
        Ok(ArrayWriter { frames_first, ..ArrayWriter::create(path, shape, &header)? })
    }

    pub(super) fn npy(path: &Path, shape: ClipShape) -> Result<ArrayWriter> {
        ArrayWriter::create(path, shape, &npy_header(shape))
    }

    fn create(path: &Path, shape: ClipShape, header: &[u8]) -> Result<ArrayWriter> {
        let mut file = StagedFile::create(path)?;
        file.write_all(header).map_err(|cause| file.error(cause))?;
        let start = header.len() as u64;
        file.set_len(start + bytes(shape) as u64)?;
        Ok(ArrayWriter { file, shape, progress: Progress::new(path, shape), start, frames_first: false })
    }
}

/// Of the values; [`super::create`] has checked that the product is a file's size.
fn bytes(shape: ClipShape) -> usize {
    shape.axes().into_iter().product::<usize>() * size_of::<f32>()
}

fn safetensors_header(shape: ClipShape, label: TensorLabel<'_>) -> Result<Vec<u8>, String> {
    let TensorLabel { name, frames_first, metadata } = label;
    let mut axes = shape.axes().to_vec();
    if frames_first {
        axes.swap(1, 2);
    }
    let info = TensorInfo { dtype: Dtype::F32, shape: axes, data_offsets: (0, bytes(shape)) };
    let header = Metadata::new(metadata, vec![(name.into(), info)]).map_err(|cause| cause.to_string())?;
    let mut json = serde_json::to_vec(&header).map_err(|cause| cause.to_string())?;
    json.resize(json.len().next_multiple_of(SAFETENSORS_ALIGNMENT), b' ');
    Ok([&(json.len() as u64).to_le_bytes(), json.as_slice()].concat())
}

/// Version 1.0 of the format, described in `numpy.lib.format`.
fn npy_header(shape: ClipShape) -> Vec<u8> {
    const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
    let [b, c, t, h, w] = shape.axes();
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({b}, {c}, {t}, {h}, {w}), }}");
    let before = MAGIC.len() + size_of::<u16>();
    let length = (before + text.len() + 1).next_multiple_of(NPY_ALIGNMENT) - before;
    text.extend(std::iter::repeat_n(' ', length - 1 - text.len()));
    text.push('\n');
    [MAGIC, &(length as u16).to_le_bytes(), text.as_bytes()].concat()
}

/// [C, T, H, W] as [T, C, H, W].
fn frames_first(block: &FrameBlock<'_>, plane: usize) -> Vec<f32> {
    let channels = block.data.len() / (block.frames * plane);
    let images = (0..block.frames).flat_map(|t| (0..channels).map(move |c| (c * block.frames + t) * plane));
    images.flat_map(|start| &block.data[start..start + plane]).copied().collect()
}

impl ClipWriter for ArrayWriter {
    fn write(&mut self, sample: usize, frames: &FrameBlock<'_>) -> Result<()> {
        let first = self.progress.advance(sample, frames)?;
        let ClipShape { channels, frames: total, height, width, .. } = self.shape;
        let plane = height * width;
        // What is written in one piece: a channel's frames, or all there is.
        let (data, run): (Cow<'_, [f32]>, usize) = match self.frames_first {
            false => (frames.data.into(), frames.frames * plane),
            true => (frames_first(frames, plane).into(), frames.data.len()),
        };
        let mut buffer = Vec::with_capacity(CHUNK * size_of::<f32>());
        for (c, run) in data.chunks_exact(run).enumerate() {
            let image = match self.frames_first {
                false => (sample * channels + c) * total + first,
                true => (sample * total + first) * channels,
            };
            let at = self.start + (image * plane * size_of::<f32>()) as u64;
            self.file.seek(SeekFrom::Start(at)).map_err(|cause| self.file.error(cause))?;
            for values in run.chunks(CHUNK) {
                buffer.clear();
                buffer.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                self.file.write_all(&buffer).map_err(|cause| self.file.error(cause))?;
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Output> {
        self.progress.check_complete()?;
        let (path, bytes) = self.file.persist()?;
        Ok(Output { paths: vec![path], bytes })
    }
}
