//! `tessera encode`: a video to latents.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use frontend::Medium;
use serde_json::json;
use tessera::media::FrameBlock;
use tessera::posterior::Draw;
use tessera::{Error, LatentContent, LatentWriter};

use super::arguments::{ModelArguments, RunArguments, VideoArguments};
use super::inspection::InspectionArguments;
use super::progress::{Bar, with_bar};
use super::report::{JSON_FIELDS, object, paths_json, row, summary};
use super::returned::Extent;
use super::run_files::RunFiles;
use super::{Console, EXIT_CODES, Failure, interrupt, print};

const EXAMPLES: &str = "\
Examples:
  tessera encode --model vae --video clip.mp4 --size 480x720 --output latents.safetensors
      latents as a diffusers pipeline keeps them; `tessera decode` reads them back
  tessera encode --model vae --video frames/ --frames 49 --sample --seed 7 --output latents.safetensors
      a draw from the posterior in place of its mean
  tessera encode --model vae --video clip.npy --moments --output moments.safetensors
      mean and log-variance, as the reference's latent_dist.parameters";

/// Encode a video to latents
///
/// What is written is the posterior's mean, [B, T, C, H, W], or [B, C, H, W] with a model of
/// images, scaled as a diffusers pipeline keeps latents. Height and width that are no multiples of
/// the model's compression lose their last rows and columns, as in the reference.
#[derive(Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    video: VideoArguments,
    /// Where the latents go; a file that is there is replaced
    #[arg(
        long,
        short,
        value_name = "FILE.safetensors",
        default_value = "latents.safetensors",
        help_heading = "Output"
    )]
    output: PathBuf,
    /// Draw from the posterior in place of taking its mean
    #[arg(long, help_heading = "Output")]
    sample: bool,
    /// Names the draw's noise: the same seed, the same noise on every machine
    #[arg(long, value_name = "N", default_value_t, requires = "sample", help_heading = "Output")]
    seed: u64,
    /// Write what the model's encode() makes, [B, C, T, H, W] or [B, C, H, W]: do not scale
    /// as its pipeline does
    #[arg(long, help_heading = "Output")]
    unscaled: bool,
    /// Write mean and log-variance, `parameters` [B, 2C, T, H, W] or [B, 2C, H, W], unscaled
    #[arg(long, conflicts_with_all = ["sample", "unscaled"], help_heading = "Output")]
    moments: bool,
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    inspection: InspectionArguments,
    #[arg(long, help_heading = "Output", help = "Print one JSON object about the run to stdout, and nothing else", long_help = format!(
        "Print one JSON object about the run to stdout, and nothing else\n\nIts fields: output, shape (of the tensor), \
         comes_back {{frames, height, width}} (of the video that decoding makes of it), {JSON_FIELDS}, peak_rss_bytes (null where \
         the system does not tell). What is no Unicode in a path is replaced."
    ))]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    interrupt::listen();
    let started = Instant::now();
    let mut files = RunFiles::new();
    files.writes("the latents", &arguments.output)?;
    let vae = arguments.model.open(console, &mut files)?;
    let (inspection, trace) = arguments.inspection.open(&mut files)?;
    let options = arguments.run.options(&mut files)?.with_inspection(inspection);
    let video = arguments.video.open(vae.model().channels().input, console, &mut files)?;
    let moments = vae.encoded_shape(&video.shape)?;
    let taken = Extent::of(video.shape);
    taken.losses(vae.model()).iter().for_each(|loss| console.note(&format!("note: {loss}")));
    let draw = if arguments.sample { Draw::Sample { seed: arguments.seed } } else { Draw::Mean };
    let content = match () {
        () if arguments.moments => LatentContent::Moments,
        () if arguments.unscaled => LatentContent::Unscaled { draw },
        () => LatentContent::Scaled { draw, scaling: vae.latent_scaling()? },
    };
    let medium = vae.model().medium();
    let form = vae.latent_form();
    let axes = written(medium, &content);
    let mut writer = LatentWriter::create(&arguments.output, moments, form, content, medium)?;
    let shape = writer.tensor_shape();
    let read_seconds = started.elapsed().as_secs_f64();

    let mut source = video.frames()?;
    let mut write_seconds = 0.0;
    let mut next = |sample, frames| source.next(sample, frames);
    let mut sink = |sample, block: &FrameBlock<'_>| {
        let started = Instant::now();
        writer.write(sample, block)?;
        write_seconds += started.elapsed().as_secs_f64();
        Ok(())
    };
    let encode = |bar: &mut Bar| vae.encode_stream(&video.shape, &mut next, &options, &mut sink, bar);
    let mut report = with_bar(console, "encoding", Error::Interrupted, encode)?;
    trace.finish()?;
    let finishing = Instant::now();
    let output = writer.finish()?;
    write_seconds += finishing.elapsed().as_secs_f64();
    report.seconds.load += read_seconds;

    if arguments.json {
        let head = [
            ("output".to_owned(), paths_json(&output.paths)),
            ("shape".to_owned(), json!(shape)),
            ("comes_back".to_owned(), taken.returned(vae.model()).json()),
        ];
        return print(&object(head.into_iter().collect(), &report, write_seconds));
    }
    let latents = row("latents", format!("{shape:?} {axes}"));
    console.say(&summary(latents, &report, write_seconds, started.elapsed().as_secs_f64(), &output))
}

/// What the tensor is.
fn written(medium: Medium, content: &LatentContent) -> &'static str {
    match (medium, content) {
        (Medium::Video, LatentContent::Scaled { .. }) => "[B, T, C, H, W], scaled",
        (Medium::Video, LatentContent::Unscaled { .. }) => "[B, C, T, H, W], unscaled",
        (Medium::Video, LatentContent::Moments) => "[B, 2C, T, H, W]: mean and log-variance",
        (Medium::Image, LatentContent::Scaled { .. }) => "[B, C, H, W], scaled",
        (Medium::Image, LatentContent::Unscaled { .. }) => "[B, C, H, W], unscaled",
        (Medium::Image, LatentContent::Moments) => "[B, 2C, H, W]: mean and log-variance",
    }
}
