//! A run compared with another of the same input, activation by activation: with another backend's,
//! or with what a file has of the reference implementation.
//!
//! Activations are compared where the model names them, as what a module returns, channel-first and
//! in f32, whatever a backend makes of the ops around: each is declared as an output of the step, a
//! tap, and no pass may take an output away or change its type. What a pass would fuse across it
//! stays apart in that program. So the program without taps, the one that a user runs, is run too,
//! and what it makes is the last row, [`OUTPUT`]: a jump there alone is a fault of what is fused
//! without taps.

use std::ops::ControlFlow;

use frontend::Taps;
use passes::Precision;
use serde_json::{Map, Value, json};

use crate::comparison::{Comparison, Level, ModuleErrors, Verdict};
use crate::recording::Recording;
use crate::tap_file::TapFile;
use tessera::observer::{Observer, Preparation, Progress, Tap};
use tessera::options::{RunOptions, TilingChoice};
use tessera::report::Report;
use tessera::vae::Vae;
use tessera::{Error, Result};
use tessera::{RunInput, Video};

/// The name of the row of the result, of the program without taps.
pub const OUTPUT: &str = "output";

/// What to compare with.
pub enum Against {
    /// Activations in a file.
    File(TapFile),
    /// A run in another way.
    Run(Box<RunOptions>),
}

/// Two runs compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Verification {
    /// One for each module that both sides have, in the order of the network, and [`OUTPUT`].
    pub rows: Vec<ModuleErrors>,
    /// Modules that the file lacks.
    pub missing: Vec<String>,
    /// What the run without taps has cost.
    pub report: Report,
}

impl Verification {
    /// What is wrong, for a threshold of errors.
    pub fn verdict(&self, threshold: f64) -> Verdict<'_> {
        Verdict::of(&self.rows, threshold)
    }

    /// The fields that reports of it have: `passed`, `first_jump`, `first_above`, `rows`, `missing`.
    pub fn fields(&self, threshold: f64) -> Map<String, Value> {
        let verdict = self.verdict(threshold);
        let module = |row: Option<&ModuleErrors>| row.map(|row| row.module.clone());
        // JSON has no infinity: null.
        let rows = self.rows.iter().map(|row| {
            let ModuleErrors { module, calls, elements, mae, mse, max, relative } = row;
            json!({
                "module": module, "calls": calls, "elements": elements,
                "mae": mae, "mse": mse, "max": max, "relative": relative, "level": row.level().name(),
            })
        });
        let fields = [
            ("threshold", json!(threshold)),
            ("passed", json!(verdict.passed())),
            ("first_jump", json!(module(verdict.first_jump))),
            ("first_above", json!(module(verdict.first_above))),
            ("rows", rows.collect()),
            ("missing", json!(self.missing)),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// The error that is too much unless told otherwise, of runs in this precision.
pub const fn usual_threshold(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => Level::Excellent.limit(),
        Precision::Bf16 => Level::Attention.limit(),
    }
}

/// How a run whose activations are looked at differs from others: all of them are laid open, and
/// frames go through whole unless tiles of a size are asked for, since other tiles are other
/// activations.
fn with_taps(options: &RunOptions) -> RunOptions {
    in_comparable_tiles(options).with_taps(Taps::All)
}

fn in_comparable_tiles(options: &RunOptions) -> RunOptions {
    let tiling = match options.tiling {
        TilingChoice::Auto => TilingChoice::Off,
        asked => asked,
    };
    options.clone().with_tiling(tiling)
}

/// Runs `input` and keeps its activations. `options` need not ask for them.
///
/// # Errors
/// As [`RunInput::run`]; [`files::Error::Spill`].
pub fn record(
    vae: &Vae,
    input: &RunInput,
    options: &RunOptions,
    observer: &mut dyn Observer,
) -> Result<(Recording, Video, Report)> {
    let mut recording = Recording::new(input)?;
    let mut keep = |tap: &Tap<'_>| recording.add(tap);
    let (output, report) = input.run(vae, &with_taps(options), &mut OnTap { tap: &mut keep, observer })?;
    Ok((recording, output, report))
}

/// Runs `input` by `options` and compares it with `against`.
///
/// # Errors
/// As [`RunInput::run`]; [`files::Error::Spill`]; [`files::Error::WrongShape`] if the file's
/// activations are of another input, [`files::Error::MissingTensor`] if it has none of this half of
/// the model.
pub fn verify(
    vae: &Vae,
    input: &RunInput,
    options: &RunOptions,
    against: Against,
    observer: &mut dyn Observer,
) -> Result<Verification> {
    let (mut others, expected) = match against {
        Against::File(file) => {
            let output = file.output()?;
            (Others::File(file), output)
        }
        Against::Run(other) => {
            let (recording, output, _) = record(vae, input, &other, observer)?;
            (Others::Run(recording), Some(output))
        }
    };
    let mut comparison = Comparison::new();
    let mut compare = |tap: &Tap<'_>| {
        match others.same(tap)? {
            Some(expected) => comparison.add(tap.module, &expected, tap.data),
            None => comparison.add_missing(tap.module),
        }
        Ok(())
    };
    input.run(vae, &with_taps(options), &mut OnTap { tap: &mut compare, observer })?;
    if let (true, Some(module), Others::File(file)) =
        (comparison.rows().is_empty(), comparison.missing().first(), &others)
    {
        return Err(file.lacks(module));
    }
    let plain = in_comparable_tiles(options).with_taps(Taps::None);
    let (output, report) = input.run(vae, &plain, observer)?;
    if let Some(expected) = expected {
        if expected.shape != output.shape {
            let problem =
                format!("what it is compared with is of shape {:?}; was it made of another input?", expected.shape);
            return Err(Error::Input { what: "the result", found: output.shape, problem });
        }
        comparison.add(OUTPUT, &expected.data, &output.data);
    }
    Ok(Verification { rows: comparison.rows(), missing: comparison.missing().to_vec(), report })
}

/// The activations to compare with.
enum Others {
    File(TapFile),
    Run(Recording),
}

impl Others {
    /// The activation that is to be compared with `tap`, if there is one.
    fn same(&mut self, tap: &Tap<'_>) -> Result<Option<Vec<f32>>> {
        match self {
            Others::File(file) => file.activation(tap.module, tap.call, tap.sample, &tap.ty.shape),
            Others::Run(recording) => recording.activation(tap.module, tap.call, tap.sample),
        }
    }
}

/// An observer whose taps go elsewhere.
struct OnTap<'a> {
    tap: &'a mut dyn FnMut(&Tap<'_>) -> Result<()>,
    observer: &'a mut dyn Observer,
}

impl Observer for OnTap<'_> {
    fn preparing(&mut self, preparation: Preparation) -> ControlFlow<()> {
        self.observer.preparing(preparation)
    }

    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        self.observer.progress(progress)
    }

    fn tap(&mut self, tap: &Tap<'_>) -> Result<()> {
        (self.tap)(tap)
    }
}
