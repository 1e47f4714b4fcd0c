//! `tessera verify`: a run compared with another, activation by activation.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tessera::{Error, Precision, RunInput, RunOptions};
use workbench::comparison::{Level, ModuleErrors, Verdict};
use workbench::error_plot;
use workbench::svg_file::SvgFile;
use workbench::tap_file::TapFile;
use workbench::verification::{Against, Verification, usual_threshold, verify};

use super::arguments::{BackendName, ModelArguments, RunArguments};
use super::conditions::ConditionArguments;
use super::input::{self, InputArguments};
use super::inspection::InspectionArguments;
use super::progress::{Bar, with_bar};
use super::run_files::RunFiles;
use super::table::table;
use super::{Console, EXIT_CODES, Failure, interrupt, print};

const EXAMPLES: &str = "\
Examples:
  tessera verify
      the demo's model on this machine: native code against the evaluator that defines every op
  tessera verify --model vae --against taps.safetensors
      against PyTorch, whose activations `python tools/taps.py vae taps.safetensors --random decode:1,16,2,12,16` wrote;
      the file has the input, too
  tessera verify --model vae --against taps.safetensors --plot errors.svg --json > errors.json
      with a picture, and as JSON
  tessera verify --model vae --latents latents.safetensors --dtype bf16 --against cpu
      what bf16 costs, module by module: the other side runs in f32";

/// Compare a run with another, module by module
///
/// Prints a row for every module in the order of the network, over all batches of frames: mean
/// absolute error, mean squared error, largest error, relative error (Euclidean norms), and a level
/// by the mean absolute error: perfect < 1e-6, excellent < 1e-4, good < 1e-3, warning < 1e-2,
/// attention < 0.1, severe. The last row, `output`, is the result of the program as it runs when
/// nobody looks into it.
///
/// The error jumps at a module whose relative error is 10 times that of every module before it, and
/// at least a tenth of the threshold: what it computes is wrong, and not only what it was given.
/// Exit code 1 if the error jumps, or if mean absolute error and relative error of a module both
/// reach the threshold.
#[derive(Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    input: InputArguments,
    /// What to compare with: a backend, which runs in f32, or a file of activations, as
    /// tools/taps.py and `tessera taps` write them. Of a file comes the input too, unless one
    /// is named, and so do its tiles
    #[arg(long, value_name = "BACKEND|FILE.safetensors", default_value = "interpret", help_heading = "Comparison")]
    against: PathBuf,
    /// The error that is too much, of a module's mean absolute and relative error the smaller: a
    /// number, or the level that is still good enough [default: excellent, which is 1e-4;
    /// attention, 0.1, with --dtype bf16]
    #[arg(long, value_name = "ERROR|LEVEL", value_parser = threshold, help_heading = "Comparison")]
    threshold: Option<f64>,
    /// A picture of the errors along the network; a file that is there is replaced
    #[arg(long, value_name = "FILE.svg", help_heading = "Output")]
    plot: Option<PathBuf>,
    /// Print one JSON object to stdout, and nothing else
    ///
    /// Its fields: model, run (`decode` or `encode`), input (its shape), backend, dtype, isa,
    /// against, threshold, passed, first_jump (the module's path, or null), first_above (the
    /// first module that reaches the threshold, or null), rows {module, calls, elements, mae, mse,
    /// max, relative (null: infinite, or no number), level}, missing (modules that the file
    /// lacks).
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    conditions: ConditionArguments,
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    inspection: InspectionArguments,
}

fn threshold(text: &str) -> Result<f64, String> {
    if let Some(level) = Level::ALL.into_iter().find(|level| level.name() == text) {
        return Ok(level.limit());
    }
    let known = || format!("expected a positive number or a level: {}", Level::ALL.map(Level::name).join(", "));
    text.parse().ok().filter(|error: &f64| *error > 0.0).ok_or_else(known)
}

pub(super) fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    interrupt::listen();
    let mut files = RunFiles::new();
    let (inspection, trace) = arguments.inspection.open(&mut files)?;
    let mut options = arguments
        .run
        .options(&mut files)?
        .with_inspection(inspection)
        .with_conditions(arguments.conditions.conditions(&mut files)?);
    let vae = arguments.model.open(console, &mut files)?;
    arguments.plot.iter().try_for_each(|path| files.writes("the picture", path))?;
    let plot = arguments.plot.as_deref().map(SvgFile::create).transpose()?;
    let named = arguments.input.read(&vae, console, &mut files)?;
    let is_demo = arguments.model.model.is_none();
    let backend = arguments.against.to_str().and_then(|name| BackendName::from_str(name, true).ok());
    let (input, against) = match backend {
        Some(backend) => {
            let input = named.map_or_else(|| input::small(&vae, is_demo), Ok)?;
            let other = options.clone().with_backend(backend).with_precision(Precision::F32);
            (input, Against::Run(Box::new(other)))
        }
        None => {
            files.reads("the file of activations", &arguments.against)?;
            let file = TapFile::open(&arguments.against)?;
            options = file.as_it_was_run(vae.model(), options)?;
            (named.map_or_else(|| file.input(), Ok)?, Against::File(file))
        }
    };
    let verify = |bar: &mut Bar| verify(&vae, &input, &options, against, bar);
    let verification = with_bar(console, "comparing", Error::Interrupted, verify)?;
    trace.finish()?;

    let threshold = arguments.threshold.unwrap_or(usual_threshold(options.precision));
    let context = Context { arguments, input: &input, options: &options, threshold, verification: &verification };
    let verdict = verification.verdict(threshold);
    if let Some(plot) = plot {
        plot.finish(error_plot::draw(&context.title(), &verification.rows, verdict.first_jump))?;
    }
    print(&if arguments.json { context.json() } else { context.text(&verdict) })?;
    if verdict.passed() { Ok(()) } else { Err(Failure::Differs(complaint(&verdict, threshold))) }
}

/// Why it did not pass.
fn complaint(verdict: &Verdict<'_>, threshold: f64) -> String {
    match (verdict.first_jump, verdict.first_above) {
        (Some(row), _) => format!("the error jumps at `{}`, to {:.2e} of its values", row.module, row.relative),
        (None, Some(ModuleErrors { module, mae, relative, .. })) => format!(
            "the error jumps nowhere, but `{module}` reaches {threshold:.0e}: its mean absolute error is {mae:.2e}, \
             relative {relative:.2e}"
        ),
        (None, None) => "nothing is wrong".into(),
    }
}

/// All that is told.
struct Context<'a> {
    arguments: &'a Arguments,
    input: &'a RunInput,
    options: &'a RunOptions,
    threshold: f64,
    verification: &'a Verification,
}

impl Context<'_> {
    fn model(&self) -> String {
        self.arguments.model.name().unwrap_or_else(|| "the demo's model".into())
    }

    fn backend(&self) -> String {
        format!("{} in {}", self.arguments.run.backend_name(), self.options.precision.name())
    }

    fn title(&self) -> String {
        format!(
            "{}, {}: {} against {}",
            self.model(),
            input::named(self.input),
            self.backend(),
            self.arguments.against.display()
        )
    }

    fn text(&self, verdict: &Verdict<'_>) -> String {
        let rows = &self.verification.rows;
        let head = ["module", "MAE", "MSE", "maximum", "relative", "level", ""].map(String::from);
        let cells = rows.iter().map(|row| {
            let number = |error: f64| if error == 0.0 { "0".into() } else { format!("{error:.1e}") };
            let mark = if verdict.first_jump == Some(row) { "<- first jump" } else { "" };
            let [mae, mse, max, relative] = [row.mae, row.mse, row.max, row.relative].map(number);
            [row.module.clone(), mae, mse, max, relative, row.level().name().into(), mark.into()]
        });
        let mut text = format!("{}\n\n", self.title());
        text += &table(&std::iter::once(head).chain(cells).collect::<Vec<_>>(), &[1, 2, 3, 4]);
        if !self.verification.missing.is_empty() {
            let missing = &self.verification.missing;
            text += &format!("\nnot in the file: {}\n", missing.join(", "));
        }
        if let (true, Some(worst)) = (verdict.passed(), rows.iter().max_by(|a, b| a.mae.total_cmp(&b.mae))) {
            let level = worst.level().name();
            text += &format!(
                "\npassed: no jump, nothing reaches {:.0e}; the largest mean absolute error is {:.1e} ({level}), of \
                 {}\n",
                self.threshold, worst.mae, worst.module
            );
        }
        text
    }

    fn json(&self) -> String {
        let mut object = json!({
            "model": self.model(),
            "run": match self.input {
                RunInput::Latents(_) => "decode",
                RunInput::Clip(_) => "encode",
            },
            "input": self.input.shape(),
            "backend": self.arguments.run.backend_name(),
            "dtype": self.options.precision.name(),
            "isa": self.verification.report.isa,
            "against": self.arguments.against.to_string_lossy(),
        });
        if let Value::Object(object) = &mut object {
            object.extend(self.verification.fields(self.threshold));
        }
        format!("{object}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_numbers_or_levels() {
        assert_eq!(
            [threshold("1e-3"), threshold("warning"), threshold("severe")],
            [Ok(1e-3), Ok(1e-2), Ok(f64::INFINITY)]
        );
        for text in ["", "-1", "0", "NaN", "fine"] {
            assert!(threshold(text).unwrap_err().contains("perfect, excellent"), "{text}");
        }
    }
}
