//! The activations of one run, kept on disk while it goes on: to compare another run with, or to
//! write to a file of the form that [`crate::tap_file`] reads.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use files::array_file::{safetensors_header, write_values};
use serde_json::json;

use crate::tap_file::tensor_name;
use files::place::require_ending;
use files::spill::Spill;
use files::staging::StagedFile;
use tessera::Result;
use tessera::frame_tiling::FrameTiling;
use tessera::observer::Tap;
use tessera::tiling::Tiling;
use tessera::{RunInput, TilingDecision, Video};

/// How the name of a file of activations ends.
const ENDING: &str = "safetensors";

/// One module at one call.
struct Entry {
    module: String,
    call: usize,
    /// Of one sample, with a batch of one in front.
    shape: Vec<usize>,
    /// Of each sample, where its values are.
    samples: Vec<Option<usize>>,
}

/// The activations of a run, as they come.
pub struct Recording {
    samples: usize,
    entries: Vec<Entry>,
    index: HashMap<(String, usize), usize>,
    values: Spill,
}

impl Recording {
    /// Nothing yet, of a run over this input.
    ///
    /// # Errors
    /// [`files::Error::Spill`].
    pub fn new(input: &RunInput) -> Result<Recording> {
        let [samples, ..] = input.shape();
        Ok(Recording { samples, entries: vec![], index: HashMap::new(), values: Spill::new()? })
    }

    /// Takes an activation.
    ///
    /// # Errors
    /// [`files::Error::Spill`].
    pub fn add(&mut self, tap: &Tap<'_>) -> Result<()> {
        let Tap { call, .. } = *tap;
        let next = self.entries.len();
        let at = *self.index.entry((tap.module.to_owned(), call)).or_insert(next);
        if at == next {
            let shape = tap.ty.shape.to_vec();
            self.entries.push(Entry { module: tap.module.into(), call, shape, samples: vec![None; self.samples] });
        }
        self.entries[at].samples[tap.sample] = Some(self.values.len());
        Ok(self.values.push(tap.data)?)
    }

    /// Activations that are there: modules times calls.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What `module` returned at this call, for this sample, row-major; `None` if it is not there.
    ///
    /// # Errors
    /// [`files::Error::Spill`].
    pub fn activation(&mut self, module: &str, call: usize, sample: usize) -> Result<Option<Vec<f32>>> {
        let entry = self.index.get(&(module.to_owned(), call)).map(|at| &self.entries[*at]);
        let Some(number) = entry.and_then(|entry| *entry.samples.get(sample)?) else { return Ok(None) };
        let mut values = vec![];
        self.values.read(number, &mut values)?;
        Ok(Some(values))
    }

    /// Writes all of them, with what was run and what came of it. `tiling` is how the clip was cut.
    ///
    /// # Errors
    /// [`files::Error::Encode`], [`files::Error::Write`], [`files::Error::NotInPlace`],
    /// [`files::Error::Spill`].
    pub fn write(
        &mut self,
        to: TapWriter,
        input: &RunInput,
        output: &Video,
        tiling: &TilingDecision,
    ) -> Result<(PathBuf, u64)> {
        let TapWriter { mut file, path } = to;
        let header = self.header(input, output, tiling);
        let header = header.map_err(|problem| files::Error::Encode { path, format: "safetensors", problem })?;
        file.write_all(&header).map_err(|cause| file.error(cause))?;
        for values in [input.data(), &output.data] {
            write_values(&mut file, values).map_err(|cause| file.error(cause))?;
        }
        let mut values = vec![];
        for number in self.entries.iter().flat_map(|entry| entry.samples.iter().flatten()) {
            self.values.read(*number, &mut values)?;
            write_values(&mut file, &values).map_err(|cause| file.error(cause))?;
        }
        Ok(file.persist()?)
    }

    fn header(&self, input: &RunInput, output: &Video, decision: &TilingDecision) -> Result<Vec<u8>, String> {
        let op = match input {
            RunInput::Latents(_) => "decode",
            RunInput::Clip(_) => "encode",
        };
        let tiling = decision.tiling.map(|Tiling { height, width, overlap }| {
            json!({
                "sample_height": height, "sample_width": width,
                "overlap_height": overlap.height, "overlap_width": overlap.width,
            })
        });
        let tile_frames = decision.frame_tiling.map(|FrameTiling { frames, stride }| [frames, stride]);
        let metadata = [
            ("op", json!(op)),
            ("shape", json!(input.shape())),
            ("tiling", json!(tiling)),
            ("tile_frames", json!(tile_frames)),
            ("taps", json!(true)),
        ];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_string()));
        let activations = self.entries.iter().map(|entry| {
            let mut shape = entry.shape.clone();
            shape[0] *= entry.samples.iter().flatten().count();
            (tensor_name(&entry.module, entry.call), shape)
        });
        let ends = [("input".to_owned(), input.shape().to_vec()), ("output".to_owned(), output.shape.to_vec())];
        safetensors_header(Some(HashMap::from(metadata)), ends.into_iter().chain(activations))
    }
}

/// A file of activations on its way; it appears whole or not at all.
pub struct TapWriter {
    file: StagedFile,
    path: PathBuf,
}

impl TapWriter {
    /// Opens a file for activations.
    ///
    /// # Errors
    /// [`files::Error::UnknownOutput`] unless the path ends in `.safetensors`;
    /// [`files::Error::OutputPlace`].
    pub fn create(path: &Path) -> Result<TapWriter> {
        require_ending(path, ENDING, ".safetensors, for activations")?;
        Ok(TapWriter { file: StagedFile::create(path)?, path: path.into() })
    }
}
