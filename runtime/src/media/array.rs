//! Arrays: the values as they are, f32 row-major [B, C, T, H, W], as tensor `sample` of a safetensors file or as NumPy's
//! `.npy`. The file gets its full length at once and each block is written where it belongs. Latents are written here too,
//! under their own name; what is in them is [`crate::LatentWriter`]'s to know.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use files::array_file::{npy_header, safetensors_header, write_values};

use super::{ClipShape, ClipWriter, FrameBlock, Output, Progress};
use crate::error::Result;
use files::staging::StagedFile;

/// The tensor's name in a safetensors file.
const TENSOR: &str = "sample";
/// The key in a safetensors file's metadata of which values are black and white.
pub(super) const RANGE_LABEL: &str = "range";
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
        let TensorLabel { name, frames_first, metadata } = label;
        let mut axes = shape.axes().to_vec();
        if frames_first {
            axes.swap(1, 2);
        }
        let header = safetensors_header(metadata, [(name.into(), axes)]).map_err(|problem| files::Error::Encode {
            path: path.into(),
            format: "safetensors",
            problem,
        })?;
        Ok(ArrayWriter { frames_first, ..ArrayWriter::create(path, shape, &header)? })
    }

    pub(super) fn npy(path: &Path, shape: ClipShape) -> Result<ArrayWriter> {
        ArrayWriter::create(path, shape, &npy_header(&shape.axes()))
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
        for (c, run) in data.chunks_exact(run).enumerate() {
            let image = match self.frames_first {
                false => (sample * channels + c) * total + first,
                true => (sample * total + first) * channels,
            };
            let at = self.start + (image * plane * size_of::<f32>()) as u64;
            self.file.seek(SeekFrom::Start(at)).map_err(|cause| self.file.error(cause))?;
            write_values(&mut self.file, run).map_err(|cause| self.file.error(cause))?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Output> {
        self.progress.check_complete()?;
        let (path, bytes) = self.file.persist()?;
        Ok(Output { paths: vec![path], bytes })
    }
}
