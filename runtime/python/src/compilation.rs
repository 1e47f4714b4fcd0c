//! `Session.compile`: the steps of a video compiled ahead of time, and what the compiler says, as a
//! dict.

use std::path::PathBuf;

use backend_tpu_stablehlo::Mesh;
use backend_tpu_stablehlo::pjrt::Optimization;
use backend_tpu_stablehlo::pjrt::child::Reexecution;
use backend_tpu_stablehlo::pjrt::locate::{PluginName, PluginSpec};
use files::staging::StagedFolder;
use frontend::{Autoencoder, Half, StepKind};
use passes::Precision;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;
use tessera::{FrameTilingChoice, Overlap, TilingChoice};
use workbench::ahead_of_time::{Event, Job, Target};
use workbench::programs::{is_program, json, write};

use crate::errors::{refused_option, to_python};
use crate::options::{expected, pair, plugin, positive, precision, tile_frames, tile_overlap, tiling, with_stride};
use crate::watch::Watch;

/// Frames of the video, unless told otherwise.
const FRAMES: usize = 49;

/// What is to be compiled, for what.
pub(crate) struct Asked {
    half: Half,
    video: [usize; 3],
    kind: Option<StepKind>,
    tiling: TilingChoice,
    overlap: Option<Overlap>,
    frame_tiling: FrameTilingChoice,
    precision: Precision,
    target: Target,
    output: Option<PathBuf>,
}

impl Asked {
    /// Reads what is asked for by its names.
    ///
    /// # Errors
    /// `TypeError` for a name that is not known; `OptionError`; `PluginError` if the plugin is not
    /// to be found.
    pub(crate) fn read(given: &Bound<'_, PyDict>, model: &dyn Autoencoder, reexecution: Reexecution) -> PyResult<Self> {
        let [height, width] = model.training_size();
        let mut asked = Self {
            half: Half::Decoder,
            video: [FRAMES, height, width],
            kind: None,
            tiling: TilingChoice::Off,
            overlap: None,
            frame_tiling: FrameTilingChoice::Usual,
            precision: Precision::Bf16,
            target: Target {
                plugin: PathBuf::new(),
                topology: String::new(),
                mesh: Mesh::SINGLE,
                optimization: Optimization::OF_TPUS,
                reexecution,
            },
            output: None,
        };
        let (mut spec, mut stride) = (PluginSpec::Name(PluginName::Tpu), None);
        for (name, value) in given {
            let name: String = name.extract()?;
            let text = |what: &str| expected::<String>(&name, &value, what);
            match name.as_str() {
                _ if value.is_none() => {}
                "target" => asked.target.topology = text("devices as the plugin names them, such as \"v6e:1x1\"")?,
                "half" => asked.half = crate::model::half(&text("\"decoder\" or \"encoder\"")?)?,
                "frames" => asked.video[0] = positive(&name, &value)?,
                "size" => (asked.video[1], asked.video[2]) = pair(&name, &value)?,
                "step" => asked.kind = Some(parsed(&name, &text("a step, such as \"decode-first\"")?)?),
                "precision" => asked.precision = precision(&value)?,
                "tiling" => asked.tiling = tiling(&value)?,
                "tile_stride" => stride = Some(pair(&name, &value)?),
                "tile_overlap" => asked.overlap = Some(tile_overlap(&value)?),
                "tile_frames" => asked.frame_tiling = tile_frames(&value)?,
                "mesh" => asked.target.mesh = parsed(&name, &text("text such as \"data=1,height=8\"")?)?,
                "plugin" => spec = plugin(&value)?,
                "optimization" => asked.target.optimization = parsed(&name, &text("\"O0\" to \"O3\"")?)?,
                "output" => asked.output = Some(expected(&name, &value, "a folder")?),
                _ => {
                    return Err(PyTypeError::new_err(format!(
                        "there is no option `{name}` of compiling ahead of time"
                    )));
                }
            }
        }
        asked.tiling = with_stride(asked.tiling, stride)?;
        if asked.kind.is_some_and(|kind| kind.half != asked.half) {
            return Err(refused_option("step", "it is of the other half; name that half"));
        }
        asked.target.plugin = spec.locate().map_err(to_python)?;
        Ok(asked)
    }

    /// Compiles, and writes programs where they are wanted.
    ///
    /// # Errors
    /// Those of [`Job::prepare`] and of writing.
    pub(crate) fn run(&self, model: &dyn Autoencoder, watch: &mut Watch) -> workbench::Result<Value> {
        let folder = self.output.as_deref().map(|output| StagedFolder::create(output, is_program)).transpose()?;
        let Self { half, video, kind, tiling, overlap, frame_tiling, precision, .. } = *self;
        let job = Job { model, half, video, kind, tiling, overlap, frame_tiling, precision };
        let mut tell = |event: Event<'_>| match event {
            Event::Compiling { step, number, of } => log::info!("compiling {step} ({number} of {of})"),
            Event::TooLarge(None) => log::info!("whole frames do not fit"),
            Event::TooLarge(Some(tile)) => log::info!("tiles of {}x{} do not fit", tile.height, tile.width),
        };
        let prepared = job.prepare(&self.target, &mut tell, &mut || watch.glance())?;
        let written = folder.map(|folder| write(&prepared, folder)).transpose()?;
        Ok(json(&job, &self.target, &prepared, written.as_deref()))
    }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> PyResult<T> {
    text.parse().map_err(|problem| refused_option(name, problem))
}
