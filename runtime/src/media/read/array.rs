//! Arrays of floats [B, C, T, H, W] in [-1, 1]: a tensor of a safetensors file, or an `.npy`. Values are as they are.

use std::path::{Path, PathBuf};

use super::npy::Floats;
use super::resize::Resize;
use super::{ClipReader, Frames, ReadOptions, ReadShape, bad, check_size, frames_to_read, no_frames_asked};
use crate::error::{Error, Result};
use crate::tensor_file::{Dtype, TensorFile, TensorView};

/// The names a clip goes by in a safetensors file that has several tensors.
const TENSORS: [&str; 2] = ["sample", "video"];
/// Values beyond it are no clip in [-1, 1], not even one that a decoder overshot: more likely pixels from 0 to 255.
const MAX_VALUE: f32 = 8.0;

pub(super) struct ArrayReader {
    path: PathBuf,
    values: Values,
    dtype: Dtype,
    /// [B, C, T, H, W] of the file.
    axes: [usize; 5],
    shape: ReadShape,
    resize: Option<Resize>,
    /// Frames of each sample to be returned.
    frames: usize,
    /// What is due.
    sample: usize,
    frame: usize,
}

enum Values {
    Tensor { file: TensorFile, name: String },
    Npy(Floats),
}

impl ArrayReader {
    pub(super) fn safetensors(path: &Path, options: ReadOptions) -> Result<Box<dyn ClipReader>> {
        let file = TensorFile::open(path, "expected a clip as a safetensors file")?;
        let names = file.names();
        let usual = TENSORS.into_iter().find(|&name| file.tensor(name).is_some());
        let missing =
            || Error::MissingTensor { path: path.into(), tensor: TENSORS.join("` or `"), present: file.contents() };
        let name = match (usual, names.as_slice()) {
            (Some(name), _) => name.to_string(),
            (None, [only]) => only.clone(),
            _ => return Err(missing()),
        };
        let view = file.tensor(&name).ok_or_else(missing)?;
        let axes = view.shape.try_into().map_err(|_| Error::WrongShape {
            path: path.into(),
            tensor: name.clone(),
            found: view.shape.to_vec(),
            problem: "a clip has five axes: batch, channels, frames, height, width".into(),
        })?;
        let dtype = view.dtype;
        if value_bytes(dtype).is_none() {
            return Err(Error::WrongDtype {
                path: path.into(),
                tensor: name,
                found: dtype.to_string(),
                expected: "F32, F16, BF16 or F64",
            });
        }
        ArrayReader::boxed(path, Values::Tensor { file, name }, dtype, axes, options)
    }

    pub(super) fn npy(array: Floats, options: ReadOptions) -> Result<Box<dyn ClipReader>> {
        let (path, dtype, axes) = (array.path.clone(), array.dtype, array.axes);
        ArrayReader::boxed(&path, Values::Npy(array), dtype, axes, options)
    }

    fn boxed(
        path: &Path,
        values: Values,
        dtype: Dtype,
        axes: [usize; 5],
        options: ReadOptions,
    ) -> Result<Box<dyn ClipReader>> {
        if axes.contains(&0) {
            return Err(bad(path, format!("its shape {axes:?} has an empty axis: it has no frames")));
        }
        let [batch, channels, found, height, width] = axes;
        check_size(path, width as u64, height as u64)?;
        let resize = Resize::new((height, width), options.size);
        let frames = frames_to_read(path, options, Some(found))?.unwrap_or(found);
        let (height, width) = options.size.unwrap_or((height, width));
        let shape = ReadShape { batch, channels, frames: Some(frames), height, width, rate: None };
        let path = path.to_path_buf();
        Ok(Box::new(ArrayReader { path, values, dtype, axes, shape, resize, frames, sample: 0, frame: 0 }))
    }

    /// The values of `frames` frames of one channel, from the frame that is due.
    fn run(&mut self, channel: usize, frames: usize) -> Result<Vec<f32>> {
        let [_, channels, total, height, width] = self.axes;
        let (plane, bytes) = (height * width, value_bytes(self.dtype).unwrap_or(0));
        // No overflow: the file is as long as its shape says.
        let start = ((self.sample * channels + channel) * total + self.frame) * plane * bytes;
        let length = frames * plane * bytes;
        let view = |bytes| TensorView { dtype: self.dtype, shape: &[], bytes }.to_f32().unwrap_or_default();
        match &mut self.values {
            Values::Tensor { file, name } => {
                Ok(file.tensor(name).map(|tensor| view(&tensor.bytes[start..start + length])).unwrap_or_default())
            }
            Values::Npy(array) => {
                let mut buffer = vec![0; length];
                array.read(start as u64, &mut buffer)?;
                Ok(view(&buffer))
            }
        }
    }

    fn check(&self, values: &[f32], channel: usize) -> Result<()> {
        let Some(at) = values.iter().position(|value| !value.is_finite() || value.abs() > MAX_VALUE) else {
            return Ok(());
        };
        let [_, _, _, height, width] = self.axes;
        let frame = self.frame + at / (height * width);
        let index = [self.sample, channel, frame, at / width % height, at % width];
        let what = if values[at].is_finite() {
            "it should lie in [-1, 1]; make pixels p of 0 to 255 into p / 127.5 - 1 first"
        } else {
            "the program that wrote it overflowed or failed"
        };
        Err(bad(&self.path, format!("the value at {index:?} is {}; {what}", values[at])))
    }
}

/// Size of a value, of those that [`TensorView::to_f32`] can read.
fn value_bytes(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::F16 | Dtype::BF16 => Some(2),
        Dtype::F32 => Some(4),
        Dtype::F64 => Some(8),
        _ => None,
    }
}

impl ClipReader for ArrayReader {
    fn shape(&self) -> ReadShape {
        self.shape
    }

    fn read(&mut self, frames: usize) -> Result<Option<Frames>> {
        if frames == 0 {
            return Err(no_frames_asked());
        }
        let [batch, channels, _, height, width] = self.axes;
        if self.sample == batch {
            return Ok(None);
        }
        let frames = frames.min(self.frames - self.frame);
        let mut data = vec![];
        for channel in 0..channels {
            let mut run = self.run(channel, frames)?;
            self.check(&run, channel)?;
            match &mut self.resize {
                Some(resize) => {
                    for plane in run.chunks_exact(height * width) {
                        resize.plane(plane, &mut data).map_err(|problem| bad(&self.path, problem))?;
                    }
                }
                None => data.append(&mut run),
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
