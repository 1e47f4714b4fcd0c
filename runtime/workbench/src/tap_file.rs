//! Files of activations: safetensors with `input` and `output`, [B, C, T, H, W] or, of images, [B,
//! C, H, W], and, of every module and every call of it, `tap.CALL.PATH`. The metadata says what was
//! run, each value in JSON: `op` (`decode` or `encode`), `shape`, `tiling`, `tile_frames`. Of a decoder
//! that is told more than its latents, `temb` is the timestep of each sample and `noise.N`, [H, W], the
//! N-th draw of its noise.
//!
//! CALL counts a module's calls from 0, as the reference makes them: the steps of a clip, and with
//! tiles all steps of the first tile, then those of the second; tiles along time are clips, one
//! behind the other. `tools/taps.py` writes such files
//! of PyTorch, [`crate::recording`] of ours.

use std::collections::HashSet;
use std::path::Path;

use frontend::{Autoencoder, Half, TIMESTEP};
use serde_json::{Map, Value};

use tessera::conditions::{Conditions, NoiseSource};
use tessera::frame_tiling::FrameTiling;
use tessera::options::{FrameTilingChoice, RunOptions, TilingChoice};
use tessera::tensor_file::TensorFile;
use tessera::tiling::{Overlap, Tiling};
use tessera::{Error, Result};
use tessera::{RunInput, Video};

/// What a missing file should have been.
const HINT: &str = "expected activations as `tessera taps` and tools/taps.py write them";

/// The tensor's name.
pub(crate) fn tensor_name(module: &str, call: usize) -> String {
    format!("tap.{call}.{module}")
}

/// An open file of activations.
#[derive(Debug)]
pub struct TapFile {
    file: TensorFile,
}

impl TapFile {
    /// Opens a file.
    ///
    /// # Errors
    /// Those of [`TensorFile::open`]; [`files::Error::MissingTensor`] if it has no activation.
    pub fn open(path: &Path) -> Result<TapFile> {
        let taps = TapFile { file: TensorFile::open(path, HINT)? };
        if taps.modules().is_empty() {
            let present = taps.file.contents();
            return Err(
                files::Error::MissingTensor { path: path.into(), tensor: "tap.0.MODULE".into(), present }.into()
            );
        }
        Ok(taps)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The modules in it, in the order of their data.
    pub fn modules(&self) -> Vec<String> {
        let (names, mut seen) = (self.file.names(), HashSet::new());
        let modules = names.iter().filter_map(|name| Some(name.strip_prefix("tap.")?.split_once('.')?.1));
        modules.filter(|module| seen.insert(*module)).map(str::to_owned).collect()
    }

    /// The half of the model whose activations these are: as the metadata says, else as its modules
    /// are called.
    pub fn half(&self) -> Half {
        match self.label("op").as_ref().and_then(Value::as_str) {
            Some("encode") => Half::Encoder,
            Some(_) => Half::Decoder,
            None if self.modules().iter().any(|module| module.starts_with("encoder.")) => Half::Encoder,
            None => Half::Decoder,
        }
    }

    /// The tiles that frames were cut into, if the metadata says so: height and width in pixels,
    /// and their overlaps, or nothing, which are the model's own.
    pub fn tiling(&self, model: &dyn Autoencoder) -> Option<Tiling> {
        let tiling = self.label("tiling")?;
        if tiling.as_object().is_some_and(Map::is_empty) {
            return Some(Tiling::of(model, self.half()));
        }
        let pixels = |field: &str| usize::try_from(tiling[field].as_u64()?).ok();
        let overlap = |field: &str| tiling[field].as_f64();
        Some(Tiling {
            height: pixels("sample_height")?,
            width: pixels("sample_width")?,
            overlap: Overlap { height: overlap("overlap_height")?, width: overlap("overlap_width")? },
        })
    }

    /// Whether the clip was cut along time, if the metadata says so.
    pub fn frame_tiling(&self) -> Option<FrameTilingChoice> {
        let frames = |at: &Value| usize::try_from(at.as_u64()?).ok();
        match self.label("tile_frames")? {
            Value::Null => Some(FrameTilingChoice::Off),
            tiling => {
                Some(FrameTilingChoice::Of(FrameTiling { frames: frames(&tiling[0])?, stride: frames(&tiling[1])? }))
            }
        }
    }

    /// What the decoder was told beside its latents.
    ///
    /// # Errors
    /// [`files::Error::WrongDtype`].
    pub fn conditions(&self) -> Result<Conditions> {
        let mut conditions = Conditions::default();
        if self.file.tensor("temb").is_some() {
            conditions = conditions.with_numbers(TIMESTEP, self.file.to_f32("temb")?);
        }
        Ok(match NoiseSource::of_file(&self.file)? {
            Some(noise) => conditions.with_noise(noise),
            None => conditions,
        })
    }

    fn label(&self, key: &str) -> Option<Value> {
        serde_json::from_str(self.file.label(key)?).ok()
    }

    /// Options by which a run has the tiles of the file, where it is free to have any, and its
    /// conditions, where it is given none.
    ///
    /// # Errors
    /// Those of [`Self::conditions`].
    pub fn as_it_was_run(&self, model: &dyn Autoencoder, mut options: RunOptions) -> Result<RunOptions> {
        if options.conditions == Conditions::default() {
            options.conditions = self.conditions()?;
        }
        if let (TilingChoice::Auto, Some(tiling)) = (options.tiling, self.tiling(model)) {
            options.tiling = TilingChoice::Size { height: tiling.height, width: tiling.width };
            options.overlap = Some(tiling.overlap);
        }
        if let (FrameTilingChoice::Usual, Some(choice)) = (options.frame_tiling, self.frame_tiling()) {
            options.frame_tiling = choice;
        }
        Ok(options)
    }

    /// What was run.
    ///
    /// # Errors
    /// [`files::Error::MissingTensor`] if the file does not hold it; [`files::Error::WrongDtype`];
    /// [`files::Error::WrongShape`].
    pub fn input(&self) -> Result<RunInput> {
        let input = self.video("input")?;
        Ok(RunInput::of(self.half(), input.data, input.shape))
    }

    /// What came of it, if it is there.
    ///
    /// # Errors
    /// [`files::Error::WrongDtype`], [`files::Error::WrongShape`].
    pub fn output(&self) -> Result<Option<Video>> {
        if self.file.tensor("output").is_none() { Ok(None) } else { self.video("output").map(Some) }
    }

    fn video(&self, name: &str) -> Result<Video> {
        let data = self.file.to_f32(name)?;
        let shape = self.file.tensor(name).map(|view| view.shape).unwrap_or_default();
        match *shape {
            [batch, channels, frames, height, width] => {
                Ok(Video { data, shape: [batch, channels, frames, height, width] })
            }
            [batch, channels, height, width] => Ok(Video { data, shape: [batch, channels, 1, height, width] }),
            _ => Err(self.wrong_shape(name, "expected five axes, [B, C, T, H, W], or, of images, four".into())),
        }
    }

    fn wrong_shape(&self, name: &str, problem: String) -> Error {
        let found = self.file.tensor(name).map(|view| view.shape.to_vec()).unwrap_or_default();
        files::Error::WrongShape { path: self.path().into(), tensor: name.into(), found, problem }.into()
    }

    /// What `module` returned at this call, for this sample, row-major; `None` if it is not there.
    /// `shape` is that of one sample, with a batch of one in front.
    ///
    /// # Errors
    /// [`files::Error::WrongShape`] if it is of another shape or has no such sample;
    /// [`files::Error::WrongDtype`].
    pub fn activation(&self, module: &str, call: usize, sample: usize, shape: &[usize]) -> Result<Option<Vec<f32>>> {
        let name = tensor_name(module, call);
        let Some(view) = self.file.tensor(&name) else { return Ok(None) };
        let sample_of = |shape: &[usize]| shape.iter().skip(1).product::<usize>();
        // An image has no axis of frames, and positions may stand in a row.
        let fits = match view.shape.len() == shape.len() {
            true => view.shape.iter().skip(1).eq(shape.iter().skip(1)),
            false => sample_of(view.shape) == sample_of(shape),
        };
        if !fits || view.shape.first().is_none_or(|batch| *batch <= sample) {
            let problem =
                format!("for sample {sample} of this input the model's is {shape:?}; was it made of another?");
            return Err(self.wrong_shape(&name, problem));
        }
        let mut data = self.file.to_f32(&name)?;
        let elements: usize = shape.iter().product();
        if data.len() > elements {
            data = data[sample * elements..(sample + 1) * elements].to_vec();
        }
        Ok(Some(data))
    }

    /// The error for a module that should be there.
    pub(crate) fn lacks(&self, module: &str) -> Error {
        let present = self.file.contents();
        files::Error::MissingTensor { path: self.path().into(), tensor: tensor_name(module, 0), present }.into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use safetensors::Dtype;
    use safetensors::tensor::TensorView;

    use super::*;

    /// A file with tensors of these names and shapes, whose values count up.
    fn file(folder: &Path, tensors: &[(&str, &[usize])], metadata: &[(&str, &str)]) -> std::path::PathBuf {
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(_, shape)| (0..shape.iter().product()).flat_map(|i: usize| (i as f32).to_le_bytes()).collect())
            .collect();
        let views = tensors
            .iter()
            .zip(&bytes)
            .map(|((name, shape), bytes)| (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap()));
        let metadata: HashMap<String, String> =
            metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let path = folder.join("taps.safetensors");
        safetensors::serialize_to_file(views, Some(metadata), &path).unwrap();
        path
    }

    #[test]
    fn images_have_no_axis_of_frames() {
        let folder = tempfile::tempdir().unwrap();
        let tensors: [(&str, &[usize]); 3] =
            [("input", &[2, 3, 4, 5]), ("tap.0.decoder.conv_in", &[2, 1, 1, 2]), ("tap.0.decoder.to_q", &[2, 6, 1])];
        let path = file(folder.path(), &tensors, &[("tiling", "{}")]);
        let taps = TapFile::open(&path).unwrap();
        assert_eq!(taps.input().unwrap().shape(), [2, 3, 1, 4, 5]);
        let model = frontend::read_config(frontend::published()[0].config).unwrap().0;
        assert_eq!(taps.tiling(&*model), Some(Tiling::of(&*model, Half::Decoder)));
        let of = |module: &str, shape: &[usize]| taps.activation(module, 0, 1, shape);
        assert_eq!(of("decoder.conv_in", &[1, 1, 1, 1, 2]).unwrap(), Some(vec![2.0, 3.0]));
        assert_eq!(of("decoder.to_q", &[1, 1, 6, 1]).unwrap().map(|values| values.len()), Some(6));
        assert!(of("decoder.conv_in", &[1, 1, 1, 1, 3]).is_err());
    }

    #[test]
    fn a_file_tells_what_was_run() {
        let folder = tempfile::tempdir().unwrap();
        let tensors: [(&str, &[usize]); 3] =
            [("input", &[2, 3, 1, 4, 4]), ("tap.0.encoder.conv_in", &[2, 1, 1, 1, 2]), ("tap.1.encoder.conv_in", &[1])];
        let tiling = r#"{"sample_height": 32, "sample_width": 48, "overlap_height": 0.25, "overlap_width": 0.5}"#;
        let path =
            file(folder.path(), &tensors, &[("op", "\"encode\""), ("tiling", tiling), ("tile_frames", "[16, 12]")]);
        let taps = TapFile::open(&path).unwrap();
        let of_time = FrameTiling { frames: 16, stride: 12 };
        assert_eq!(taps.frame_tiling(), Some(FrameTilingChoice::Of(of_time)));
        assert_eq!((taps.half(), taps.modules()), (Half::Encoder, vec!["encoder.conv_in".to_owned()]));
        let overlap = Overlap { height: 0.25, width: 0.5 };
        let model = frontend::read_config(frontend::published()[0].config).unwrap().0;
        assert_eq!(taps.tiling(&*model), Some(Tiling { height: 32, width: 48, overlap }));
        assert_eq!(taps.input().unwrap().shape(), [2, 3, 1, 4, 4]);
        assert_eq!(taps.output().unwrap(), None);
        let of = |module: &str, call, sample| taps.activation(module, call, sample, &[1, 1, 1, 1, 2]);
        assert_eq!(of("encoder.conv_in", 0, 1).unwrap(), Some(vec![2.0, 3.0]));
        assert_eq!(of("encoder.conv_out", 0, 0).unwrap(), None);
        let complaint = of("encoder.conv_in", 1, 0).unwrap_err().to_string();
        assert!(complaint.contains("tap.1.encoder.conv_in") && complaint.contains("[1, 1, 1, 1, 2]"), "{complaint}");
        assert!(of("encoder.conv_in", 0, 2).is_err(), "a sample too many");
    }

    #[test]
    fn a_file_without_activations_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), &[("latents", &[1])], &[]);
        let complaint = TapFile::open(&path).unwrap_err().to_string();
        assert!(complaint.contains("no tensor `tap.0.MODULE`; the file has `latents`"), "{complaint}");
    }
}
