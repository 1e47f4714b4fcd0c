//! Options of calls by their names in Python: what each takes, and how the library has it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use backend_cpu::isa::Isa;
use backend_tpu_stablehlo::pjrt::locate::PluginSpec;
use frontend::TIMESTEP;
use passes::Precision;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};
use tessera::conditions::NoiseSource;
use tessera::options::{MOST_THREADS, usual_program_cache};
use tessera::{Backend, FrameTiling, FrameTilingChoice, MemoryBudget, Overlap, Parallel, RunOptions, TilingChoice};

use crate::arrays::Input;
use crate::errors::refused_option;
use crate::watch::{PyCancellation, Watch};

/// The options of a call.
pub(crate) struct CallOptions {
    pub(crate) run: RunOptions,
    progress: Option<Py<PyAny>>,
    /// Height and width in pixels from one tile to the next.
    tile_stride: Option<(usize, usize)>,
}

type Set = fn(&mut CallOptions, &Bound<'_, PyAny>) -> PyResult<()>;

/// Backends by their names.
pub(crate) const BACKENDS: [(&str, Backend); 3] =
    [("cpu", Backend::Cpu), ("pjrt", Backend::Pjrt), ("interpret", Backend::Interpret)];

/// Every option.
const KNOWN: [(&str, Set); 21] = [
    ("backend", |options, value| {
        options.run.backend = choice("backend", value, &BACKENDS)?;
        Ok(())
    }),
    ("cache_dir", |options, value| {
        options.run.program_cache = match value.cast::<PyBool>() {
            Ok(kept) if !kept.is_true() => None,
            Ok(_) => usual_program_cache(),
            Err(_) => Some(expected("cache_dir", value, "a folder, or False")?),
        };
        Ok(())
    }),
    ("cancellation", |options, value| {
        let cancellation: PyRef<'_, PyCancellation> = expected("cancellation", value, "a tessera.Cancellation")?;
        options.run.cancellation = Some(cancellation.0.clone());
        Ok(())
    }),
    ("check_finite", |options, value| {
        options.run.inspection.check_finite = expected("check_finite", value, "True or False")?;
        Ok(())
    }),
    ("isa", |options, value| {
        let name: String = expected("isa", value, "the name of an instruction set")?;
        let isa: Isa = name.parse().map_err(|problem| refused_option("isa", problem))?;
        if !Isa::supported().contains(&isa) {
            return Err(refused_option("isa", format!("this CPU has no {isa}")));
        }
        options.run.target = Some(isa.into());
        Ok(())
    }),
    ("keep_all_frames", |options, value| {
        options.run.keep_all_frames = expected("keep_all_frames", value, "True or False")?;
        Ok(())
    }),
    ("memory", |options, value| {
        const EXPECTED: &str = "a number of bytes, or text such as \"8GiB\" or \"70%\"";
        options.run.memory = match value.extract::<u64>() {
            Ok(bytes) => MemoryBudget::Bytes(bytes),
            Err(_) => {
                let text: String = expected("memory", value, EXPECTED)?;
                text.parse().map_err(|problem| refused_option("memory", problem))?
            }
        };
        Ok(())
    }),
    ("noise", |options, value| {
        const EXPECTED: &str = "planes [H, W] of f32 by their names";
        let planes: BTreeMap<String, Bound<'_, PyAny>> = expected("noise", value, EXPECTED)?;
        let values = |(name, plane): (String, Bound<'_, PyAny>)| {
            let values = Input::new(&plane, "f32").map_err(|_| found("noise", value, EXPECTED))?;
            Ok((name, values.view().values().into_owned()))
        };
        let planes: BTreeMap<String, Vec<f32>> = planes.into_iter().map(values).collect::<PyResult<_>>()?;
        options.run.conditions =
            std::mem::take(&mut options.run.conditions).with_noise(NoiseSource::Given(Arc::new(planes)));
        Ok(())
    }),
    ("optimization", |options, value| {
        let level: String = expected("optimization", value, "\"O0\", \"O1\", \"O2\" or \"O3\"")?;
        options.run.optimization = Some(level.parse().map_err(|problem| refused_option("optimization", problem))?);
        Ok(())
    }),
    ("parallel", |options, value| {
        let axis: String = expected("parallel", value, "\"auto\", \"batch\", \"tiles\" or \"none\"")?;
        options.run.parallel = axis.parse::<Parallel>().map_err(|problem| refused_option("parallel", problem))?;
        Ok(())
    }),
    ("plugin", |options, value| {
        options.run.plugin = Some(plugin(value)?);
        Ok(())
    }),
    ("precision", |options, value| {
        options.run.precision = precision(value)?;
        Ok(())
    }),
    ("progress", |options, value| {
        if !value.is_callable() {
            return Err(found("progress", value, "a function"));
        }
        options.progress = Some(value.clone().unbind());
        Ok(())
    }),
    ("seed", |options, value| {
        let seed = expected("seed", value, "a whole number, not negative")?;
        options.run.conditions = std::mem::take(&mut options.run.conditions).with_noise(NoiseSource::Seed(seed));
        Ok(())
    }),
    ("step_frames", |options, value| {
        options.run.step_frames = Some(positive("step_frames", value)?);
        Ok(())
    }),
    ("threads", |options, value| {
        let threads = positive("threads", value)?;
        if threads > MOST_THREADS {
            return Err(found("threads", value, &format!("1 to {MOST_THREADS}")));
        }
        options.run.threads = Some(threads);
        Ok(())
    }),
    ("tile_frames", |options, value| {
        options.run.frame_tiling = tile_frames(value)?;
        Ok(())
    }),
    ("tile_overlap", |options, value| {
        options.run.overlap = Some(tile_overlap(value)?);
        Ok(())
    }),
    ("tile_stride", |options, value| {
        options.tile_stride = Some(pair("tile_stride", value)?);
        Ok(())
    }),
    ("tiling", |options, value| {
        options.run.tiling = tiling(value)?;
        Ok(())
    }),
    (TIMESTEP, |options, value| {
        let numbers = value.extract::<f32>().map(|number| vec![number]).or_else(|_| value.extract::<Vec<f32>>());
        let numbers = numbers.map_err(|_| found(TIMESTEP, value, "a number, or one for each sample"))?;
        options.run.conditions = std::mem::take(&mut options.run.conditions).with_numbers(TIMESTEP, numbers);
        Ok(())
    }),
];

impl CallOptions {
    /// Reads options by their names; those that are `None` are as if they were not there.
    ///
    /// # Errors
    /// `TypeError` with all that are known, for one that is not; `OptionError` for a value that one
    /// does not take.
    pub(crate) fn read(given: &Bound<'_, PyDict>) -> PyResult<Self> {
        let run = RunOptions::default().with_program_cache(usual_program_cache());
        let mut options = Self { run, progress: None, tile_stride: None };
        for (name, value) in given {
            let name: String = name.extract()?;
            let Some((_, set)) = KNOWN.iter().find(|(known, _)| *known == name) else {
                let known = known_options().join(", ");
                return Err(PyTypeError::new_err(format!("there is no option `{name}`; known are {known}")));
            };
            if !value.is_none() {
                set(&mut options, &value)?;
            }
        }
        options.run.tiling = with_stride(options.run.tiling, options.tile_stride)?;
        Ok(options)
    }

    /// What watches over the call.
    pub(crate) fn watch(&self, py: Python<'_>) -> Watch {
        Watch::new(self.progress.as_ref().map(|told| told.clone_ref(py)), self.run.cancellation.clone())
    }
}

/// The names of all options.
pub(crate) fn known_options() -> [&'static str; KNOWN.len()] {
    KNOWN.map(|(name, _)| name)
}

/// Refuses options that are not known or have values that they do not take.
#[pyfunction]
pub(crate) fn check_options(given: &Bound<'_, PyDict>) -> PyResult<()> {
    CallOptions::read(given).map(drop)
}

/// `name: expected ..., found ...`
fn found(name: &str, value: &Bound<'_, PyAny>, expected: &str) -> PyErr {
    refused_option(name, format!("expected {expected}, found {value:?}"))
}

/// The value as Rust has it.
pub(crate) fn expected<'py, T: FromPyObjectOwned<'py>>(
    name: &str,
    value: &Bound<'py, PyAny>,
    what: &str,
) -> PyResult<T> {
    value.extract().map_err(|_| found(name, value, what))
}

fn choice<T: Copy>(name: &str, value: &Bound<'_, PyAny>, known: &[(&str, T)]) -> PyResult<T> {
    let names = || known.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let text: String = value.extract().map_err(|_| found(name, value, &names()))?;
    let chosen = known.iter().find(|(known, _)| *known == text);
    chosen.map(|(_, choice)| *choice).ok_or_else(|| found(name, value, &names()))
}

pub(crate) fn positive(name: &str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    let number: Option<usize> = value.extract().ok().filter(|number| *number > 0);
    number.ok_or_else(|| found(name, value, "a whole number of at least 1"))
}

/// Two whole numbers: of pixels, height by width, or of frames.
pub(crate) fn pair(name: &str, value: &Bound<'_, PyAny>) -> PyResult<(usize, usize)> {
    let numbers = value.extract::<Vec<usize>>().ok();
    match numbers.as_deref() {
        Some(&[height, width]) if height > 0 && width > 0 => Ok((height, width)),
        _ => Err(found(name, value, "two whole numbers of at least 1")),
    }
}

/// A plugin by its name or its path.
pub(crate) fn plugin(value: &Bound<'_, PyAny>) -> PyResult<PluginSpec> {
    let written: OsString =
        expected::<PathBuf>("plugin", value, "\"cpu\", \"tpu\", \"cuda\" or the path of a library")?.into();
    Ok(PluginSpec::from(written.as_os_str()))
}

/// A precision by its name.
pub(crate) fn precision(value: &Bound<'_, PyAny>) -> PyResult<Precision> {
    let known = Precision::ALL.map(|precision| (precision.name(), precision));
    choice("precision", value, &known)
}

/// `"auto"`, `"off"`, `"default"`, or height and width.
pub(crate) fn tiling(value: &Bound<'_, PyAny>) -> PyResult<TilingChoice> {
    const EXPECTED: &str = "\"auto\", \"off\", \"default\", or height and width in pixels";
    match value.extract::<String>().as_deref() {
        Ok("auto") => Ok(TilingChoice::Auto),
        Ok("off") => Ok(TilingChoice::Off),
        Ok("default") => Ok(TilingChoice::Usual),
        Ok(_) => Err(found("tiling", value, EXPECTED)),
        Err(_) => {
            let (height, width) = pair("tiling", value).map_err(|_| found("tiling", value, EXPECTED))?;
            Ok(TilingChoice::Size { height, width })
        }
    }
}

/// Tiles with what `tile_stride` says of them.
pub(crate) fn with_stride(tiling: TilingChoice, stride: Option<(usize, usize)>) -> PyResult<TilingChoice> {
    match (tiling, stride) {
        (_, None) => Ok(tiling),
        (TilingChoice::Size { height, width }, Some((down, right))) => {
            Ok(TilingChoice::Strided { size: [height, width], stride: [down, right] })
        }
        (_, Some(_)) => Err(refused_option("tile_stride", "it is of tiles of a size: name it, tiling=(256, 256)")),
    }
}

/// The shares of a tile's height and width that the next one covers too.
pub(crate) fn tile_overlap(value: &Bound<'_, PyAny>) -> PyResult<Overlap> {
    let shares = value.extract::<Vec<f64>>().ok();
    match shares.as_deref() {
        Some(&[height, width]) if [height, width].iter().all(|share| (0.0..1.0).contains(share)) => {
            Ok(Overlap { height, width })
        }
        _ => Err(found("tile_overlap", value, "two shares of at least 0 and less than 1, such as (0.1667, 0.2)")),
    }
}

/// `"off"`, or the frames of tiles along time, and their stride.
pub(crate) fn tile_frames(value: &Bound<'_, PyAny>) -> PyResult<FrameTilingChoice> {
    if value.extract::<String>().is_ok_and(|text| text == "off") {
        return Ok(FrameTilingChoice::Off);
    }
    let (frames, stride) = pair("tile_frames", value)
        .map_err(|_| found("tile_frames", value, "the frames of a tile and from one to the next, or \"off\""))?;
    Ok(FrameTilingChoice::Of(FrameTiling { frames, stride }))
}
