//! `tessera decode`: latents to a clip.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use frontend::Medium;
use serde_json::json;
use tessera::media::{FrameBlock, FrameRate, KNOWN_OUTPUTS};
use tessera::{Latents, LatentsAccount, Vae, demo};

use super::arguments::{ModelArguments, RunArguments, frame_rate};
use super::conditions::ConditionArguments;
use super::inspection::InspectionArguments;
use super::latents::{LatentsArguments, axes};
use super::progress::{Bar, with_bar};
use super::report::{JSON_FIELDS, object, paths_json, rate_note, row, summary};
use super::run_files::RunFiles;
use super::streams::{clip_writer, interrupted};
use super::{Console, EXIT_CODES, Failure, interrupt, print, streams};

/// Where the demo goes unless told otherwise.
const DEMO_OUTPUT: &str = "demo.mp4";
/// Where another video goes unless told otherwise.
const OUTPUT: &str = "decoded.mp4";
/// Where an image goes unless told otherwise.
const IMAGE_OUTPUT: &str = "decoded.png";

const EXAMPLES: &str = "\
Examples:
  tessera decode
      the demo that is part of the program, to demo.mp4
  tessera decode --model vae --latents latents.safetensors --output clip.mp4
      latents as a diffusers pipeline returns them with output_type=\"latent\"
  tessera decode --model vae --latents z.safetensors#z --unscaled --output frames/
      what the model's own decode() takes, to a folder of PNGs
  tessera decode --model vae --latents latents.safetensors --output clip.npy --json > report.json
      frames as numbers, and a report";

/// Decode latents to a clip, pictures or an array
///
/// Without --model and --latents it decodes a small demo that is part of the program: a scene of
/// Big Buck Bunny, (c) Blender Foundation, CC BY 3.0.
#[derive(Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    latents: LatentsArguments,
    #[arg(long, short, value_name = "FILE", help_heading = "Output", help = format!(
        "Where the result goes [default: {OUTPUT}, an image: {IMAGE_OUTPUT}, the demo's: {DEMO_OUTPUT}]. The ending says the format: {KNOWN_OUTPUTS}. \
         An output that is there is replaced. `-`, a named pipe or a device: y4m, frame by frame"
    ))]
    output: Option<PathBuf>,
    /// Frames a second of the clip
    #[arg(long, value_name = "N", default_value = "8", value_parser = frame_rate, allow_negative_numbers = true, help_heading = "Output")]
    fps: FrameRate,
    /// Keep the frames that the model drops from the beginning of a clip; refused for models that drop none
    #[arg(long, help_heading = "Output")]
    keep_all_frames: bool,
    #[command(flatten)]
    conditions: ConditionArguments,
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    inspection: InspectionArguments,
    #[arg(long, help_heading = "Output", help = "Print one JSON object about the run to stdout, and nothing else", long_help = format!(
        "Print one JSON object about the run to stdout, and nothing else\n\nIts fields: output (a path, or a list of them where \
         a batch makes several), latents {{layout (bcthw, btchw or, of images, bchw), guessed (the other one fits as well, and nothing said which)}} (null for the demo), \
         {JSON_FIELDS}, peak_rss_bytes (null where the system does not tell). What is no Unicode in a path is replaced."
    ))]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    interrupt::listen();
    let started = Instant::now();
    let is_demo = arguments.is_demo()?;
    let named = arguments.output.as_deref();
    // No output is a stream unless it is named.
    let console = named.map_or(console, |output| console.beside_clip(output));
    named.map_or(Ok(()), |output| streams::check_json("decode", arguments.json, output))?;
    let mut files = RunFiles::new();
    let (vae, latents, account) = arguments.read(console, &mut files)?;
    let medium = vae.model().medium();
    let output = named.unwrap_or(Path::new(match medium {
        _ if is_demo => DEMO_OUTPUT,
        Medium::Video => OUTPUT,
        Medium::Image => IMAGE_OUTPUT,
    }));
    let read_seconds = started.elapsed().as_secs_f64();

    let (inspection, trace) = arguments.inspection.open(&mut files)?;
    let options = arguments
        .run
        .options(&mut files)?
        .with_inspection(inspection)
        .with_conditions(arguments.conditions.conditions(&mut files)?)
        .with_keep_all_frames(arguments.keep_all_frames);
    let mut writer =
        clip_writer(output, vae.decoded_shape(&latents, &options)?, medium, arguments.fps, &mut files, console)?;
    rate_note(output, arguments.fps).iter().for_each(|note| console.note(note));
    let mut write_seconds = 0.0;
    let mut sink = |sample, frames: &FrameBlock<'_>| {
        let started = Instant::now();
        writer.write(sample, frames)?;
        write_seconds += started.elapsed().as_secs_f64();
        Ok(())
    };
    let decode = |bar: &mut Bar| vae.decode(&latents, &options, &mut sink, bar);
    let mut report = with_bar(console, "decoding", interrupted(output), decode)?;
    trace.finish()?;
    let finishing = Instant::now();
    let output = writer.finish()?;
    write_seconds += finishing.elapsed().as_secs_f64();
    report.seconds.load += read_seconds;

    if arguments.json {
        let read_as = account
            .as_ref()
            .map(|account| json!({"layout": account.layout.to_string(), "guessed": account.layout_is_guess}));
        let head = [("output".to_owned(), paths_json(&output.paths)), ("latents".to_owned(), json!(read_as))];
        return print(&object(head.into_iter().collect(), &report, write_seconds));
    }
    let guess =
        if account.is_some_and(|account| account.layout_is_guess) { ", a guess (--latents-layout)" } else { "" };
    let latents = row("latents", format!("{}{guess}", axes(medium, latents.shape)));
    console.say(&summary(latents, &report, write_seconds, started.elapsed().as_secs_f64(), &output))
}

impl Arguments {
    /// Whether the program's own latents are to be decoded.
    fn is_demo(&self) -> Result<bool, Failure> {
        let usage = |message: &str| Err(Failure::Usage { command: "decode", message: message.into() });
        match (&self.model.model, &self.latents.latents) {
            (None, None) => Ok(true),
            (Some(_), Some(_)) => Ok(false),
            (Some(_), None) => usage("--model needs --latents: which latents should it decode? (Neither: the demo.)"),
            (None, Some(_)) => usage("--latents needs --model: which model should decode them? (Neither: the demo.)"),
        }
    }

    /// The model, its latents unscaled, and how they were read if they are of a file.
    fn read(&self, console: Console, files: &mut RunFiles) -> Result<(Vae, Latents, Option<LatentsAccount>), Failure> {
        let vae = self.model.open(console, files)?;
        if let Some((latents, account)) = self.latents.read(&vae, console, files)? {
            return Ok((vae, latents, Some(account)));
        }
        if !self.json {
            console.say(&format!("No --model: decoding the demo of the program. {}\n", demo::CREDIT))?;
        }
        let mut latents = demo::latents()?;
        latents.unscale(&vae.latent_scaling()?)?;
        Ok((vae, latents, None))
    }
}
