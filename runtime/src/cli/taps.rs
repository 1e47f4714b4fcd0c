//! `tessera taps`: every named activation of a run, to a file.

use std::path::PathBuf;

use clap::Args;
use tessera::{Error, amount};
use workbench::recording::TapWriter;
use workbench::verification::record;

use super::arguments::{ModelArguments, RunArguments};
use super::conditions::ConditionArguments;
use super::input::{self, InputArguments};
use super::inspection::InspectionArguments;
use super::progress::{Bar, with_bar};
use super::run_files::RunFiles;
use super::{Console, EXIT_CODES, Failure, interrupt};

const EXAMPLES: &str = "\
Examples:
  tessera taps --output taps.safetensors
      the demo's model, over a corner of its latents
  tessera taps --model vae --latents latents.safetensors --output taps.safetensors
      what every module returns, batch of frames by batch of frames
  tessera taps --model vae --video clip.mp4 --size 96x128 --frames 9 --output taps.safetensors
      of the encoder";

/// Write what every module of the model returns
///
/// The file has `input` and `output`, [B, C, T, H, W], and for every module and every call of it
/// `tap.CALL.PATH`, f32 and channel-first: what tools/taps.py writes of PyTorch, and what `tessera
/// verify --against` takes. CALL counts the batches of frames from 0; with tiles those of the first
/// tile, then those of the second; tiles along time one behind the other. Frames go through whole unless --tiling names a size. Without
/// --latents and --video a small input is made up.
#[derive(Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    input: InputArguments,
    /// Where the activations go; a file that is there is replaced
    #[arg(long, short, value_name = "FILE.safetensors", default_value = "taps.safetensors", help_heading = "Output")]
    output: PathBuf,
    #[command(flatten)]
    conditions: ConditionArguments,
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    inspection: InspectionArguments,
}

pub(super) fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    interrupt::listen();
    let mut files = RunFiles::new();
    files.writes("the file of activations", &arguments.output)?;
    let vae = arguments.model.open(console, &mut files)?;
    let input = match arguments.input.read(&vae, console, &mut files)? {
        Some(input) => input,
        None => input::small(&vae, arguments.model.model.is_none())?,
    };
    let writer = TapWriter::create(&arguments.output)?;
    let (inspection, trace) = arguments.inspection.open(&mut files)?;
    let options = arguments
        .run
        .options(&mut files)?
        .with_inspection(inspection)
        .with_conditions(arguments.conditions.conditions(&mut files)?);
    let record = |bar: &mut Bar| record(&vae, &input, &options, bar);
    let (mut recording, output, report) = with_bar(console, "running", Error::Interrupted, record)?;
    trace.finish()?;
    let activations = recording.len();
    let (path, bytes) = recording.write(writer, &input, &output, &report.tiling)?;
    let (path, size, run) = (path.display(), amount::bytes(bytes), input::named(&input));
    console.say(&format!("{path}: {activations} activations of {run} ({size})\n"))
}
