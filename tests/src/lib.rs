//! What tests of the whole stand on; the tests themselves are in `tests/`.
//!
//! - Golden cases: reading them, and comparing what we compute with what the reference
//!   implementation computed. They are in `goldens/`, described by its README. Those of
//!   `goldens/models` as something to run: [`golden_run`].
//! - Random programs ([`random_graph`], [`random_vae`]), numbers for them ([`evaluation`]), how far
//!   results may be off ([`rounding`]), and making small what fails ([`reduce`]).
//! - The names of others for the tensors of golden checkpoints ([`spellings`]).
//! - What is done with bytes that anybody could have written ([`fuzzing`]).

pub mod evaluation;
pub mod fuzzing;
pub mod golden_run;
pub mod random_graph;
pub mod random_vae;
pub mod reduce;
pub mod rounding;
pub mod spellings;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use backend_cpu::target::{DotProducts, Target};
use passes::Precision;
use safetensors::{Dtype, SafeTensors};

/// The largest mean absolute error that a golden case may show.
pub const MEAN_BOUND: f64 = 1e-5;
/// The largest absolute error that any element of a golden case may show.
pub const MAXIMUM_BOUND: f64 = 2e-4;

/// A dense tensor, row-major.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Its elements; pictures (u8) as x / 127.5 - 1.
    pub data: Vec<f32>,
}

/// One run of the reference implementation.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file's stem.
    pub name: String,
    /// `input`, `output`, `tap.STEP.PATH` and whatever else the file holds.
    pub tensors: BTreeMap<String, Tensor>,
    /// What was run, each value in JSON.
    pub metadata: BTreeMap<String, serde_json::Value>,
}

/// The arguments of `enable_tiling`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tiles {
    /// It was not called.
    Off,
    /// None: the tiles are the model's own.
    Usual,
    /// Height and width in pixels, and the share of both that the next one covers too.
    Overlapping {
        /// Of a tile.
        size: [usize; 2],
        /// Of height and width.
        overlap: f64,
    },
    /// Height and width, and from the beginning of a tile to that of the next, in pixels.
    Strided {
        /// Of a tile.
        size: [usize; 2],
        /// From the beginning of one to that of the next.
        stride: [usize; 2],
    },
}

/// Every target of this CPU on which results of this precision may differ: dot products are of bf16
/// alone.
pub fn targets(precision: Precision) -> Vec<Target> {
    let matters = |target: &Target| precision == Precision::Bf16 || target.dot_products == DotProducts::Absent;
    Target::supported().into_iter().filter(matters).collect()
}

/// The folder of golden checkpoints.
pub fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens")
}

/// The folder of the demo's checkpoint, which is the trained model of the goldens.
pub fn demo_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/demo")
}

impl Case {
    /// Reads one case.
    ///
    /// # Panics
    /// When the file is not as the goldens' README has it.
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a safetensors header");
        let metadata = header.metadata().iter().flatten();
        let metadata = metadata.filter_map(|(k, v)| Some((k.clone(), serde_json::from_str(v).ok()?))).collect();
        let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let tensors = tensors.iter().map(|(name, view)| {
            let data = match view.dtype() {
                Dtype::F32 => view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
                Dtype::U8 => view.data().iter().map(|&x| f32::from(x) / 127.5 - 1.0).collect(),
                other => panic!("{}: {name} is {other:?}", path.display()),
            };
            (name.to_owned(), Tensor { shape: view.shape().to_vec(), data })
        });
        let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_owned();
        Self { name, tensors: tensors.collect(), metadata }
    }

    /// The cases of a golden checkpoint, by name.
    ///
    /// # Panics
    /// When the folder cannot be read.
    pub fn all(checkpoint: &str) -> Vec<Self> {
        let folder = goldens().join(checkpoint).join("cases");
        let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("a folder entry").path()).collect();
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// What was run: `decode` or `encode`.
    pub fn op(&self) -> &str {
        self.metadata["op"].as_str().unwrap_or_default()
    }

    /// The activation of this module in this run of it, also where it is held under another
    /// module's name.
    pub fn tap(&self, step: usize, module: &str) -> Option<&Tensor> {
        let name = format!("tap.{step}.{module}");
        let alias = self.metadata.get("aliases").and_then(|aliases| aliases.get(&name)?.as_str());
        self.tensors.get(alias.unwrap_or(&name))
    }

    /// How many activations it holds, under all their names.
    pub fn taps(&self) -> usize {
        let held = self.tensors.keys().filter(|name| name.starts_with("tap.")).count();
        held + self.metadata.get("aliases").and_then(|aliases| aliases.as_object()).map_or(0, |aliases| aliases.len())
    }

    /// Frames of each clip where tensors are of images, [B * T, C, H, W].
    pub fn frames_of_images(&self) -> usize {
        self.metadata.get("num_frames").and_then(|frames| frames.as_u64()).unwrap_or(1) as usize
    }

    /// Whether the frames are kept that the reference drops unless it is told not to.
    pub fn keeps_all_frames(&self) -> bool {
        let attributes = self.metadata.get("attributes");
        attributes.and_then(|all| all.get("drop_last_temporal_frames")?.as_bool()) == Some(false)
    }

    /// The tiles of a case of the models in `goldens/models`.
    ///
    /// # Panics
    /// When the metadata is not as the goldens' README has it.
    pub fn tiles(&self) -> Tiles {
        let Some(tiling) = self.metadata.get("tiling").and_then(|tiling| tiling.as_object()) else { return Tiles::Off };
        if let Some([[_, size @ ..], [_, stride @ ..]]) = self.cubes() {
            return Tiles::Strided { size, stride };
        }
        if tiling.is_empty() {
            return Tiles::Usual;
        }
        let pixels = |field: &str| tiling[field].as_u64().expect("a size in pixels") as usize;
        let both = |what: &str| ["height", "width"].map(|axis| pixels(&format!("tile_sample_{what}_{axis}")));
        if let Some(overlap) = tiling.get("tile_overlap_factor") {
            return Tiles::Overlapping { size: both("min"), overlap: overlap.as_f64().expect("a share") };
        }
        Tiles::Strided { size: both("min"), stride: both("stride") }
    }

    /// Whether the reference was told to cut the input along time, or not to.
    pub fn framewise(&self) -> Option<bool> {
        self.metadata.get("attributes")?.get("use_framewise_decoding")?.as_bool()
    }

    /// Frames of the sample of a tile along time, and from one to the next, where they were told.
    ///
    /// # Panics
    /// When the metadata is not as the goldens' README has it.
    pub fn frame_tiles(&self) -> Option<[usize; 2]> {
        let told = |what: &str| {
            let frames = self.metadata.get("tiling")?.get(format!("tile_sample_{what}_num_frames"))?;
            Some(frames.as_u64().expect("a number of frames") as usize)
        };
        self.cubes()
            .map(|[[frames, ..], [stride, ..]]| [frames, stride])
            .or_else(|| Some([told("min")?, told("stride")?]))
    }

    /// Frames, height and width of a tile in all three axes, and from one to the next.
    fn cubes(&self) -> Option<[[usize; 3]; 2]> {
        let attributes = self.metadata.get("attributes")?;
        let told = |what: &str| {
            let sizes = attributes.get(what)?.as_array()?.iter().map(|size| size.as_u64().map(|size| size as usize));
            sizes.collect::<Option<Vec<_>>>()?.try_into().ok()
        };
        Some([told("kernel")?, told("stride")?])
    }

    /// The tiles that the reference cut the input into, if it did: height and width in pixels,
    /// overlaps of both.
    ///
    /// # Panics
    /// When the metadata is not as the goldens' README has it.
    pub fn tiling(&self) -> Option<(usize, usize, [f64; 2])> {
        let tiling = self.metadata.get("tiling").filter(|tiling| !tiling.is_null())?;
        let pixels = |field: &str| tiling[field].as_u64().expect("a size in pixels") as usize;
        let overlap = |field: &str| tiling[field].as_f64().expect("an overlap factor");
        let overlaps = [overlap("overlap_height"), overlap("overlap_width")];
        Some((pixels("sample_height"), pixels("sample_width"), overlaps))
    }
}

/// Mean and maximum of `|found - expected|`.
///
/// # Panics
/// When the lengths differ.
pub fn errors<T: Copy + Into<f64>>(expected: &[T], found: &[T]) -> (f64, f64) {
    assert_eq!(expected.len(), found.len(), "numbers of elements differ");
    let differences = expected.iter().zip(found).map(|(e, f)| ((*e).into() - (*f).into()).abs());
    let (sum, maximum) = differences.fold((0.0, 0.0_f64), |(sum, max), d| {
        // A NaN counts as the largest error there is.
        (sum + d, if d.is_nan() { f64::INFINITY } else { max.max(d) })
    });
    (sum / expected.len() as f64, maximum)
}

/// Checks `found` against `expected` within the bounds of golden cases.
///
/// # Panics
/// When it is outside, naming `what`.
pub fn assert_close(what: &str, expected: &[f32], found: &[f32]) {
    let (mean, maximum) = errors(expected, found);
    assert!(
        mean <= MEAN_BOUND && maximum <= MAXIMUM_BOUND,
        "{what}: mean error {mean:.2e} (at most {MEAN_BOUND:.0e}), maximum {maximum:.2e} (at most {MAXIMUM_BOUND:.0e})"
    );
    println!("{what}: mean error {mean:.2e}, maximum {maximum:.2e}");
}
