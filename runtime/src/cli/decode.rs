//! `tessera decode`: latents to a clip.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use runtime::media::{self, FrameBlock, FrameRate, KNOWN_OUTPUTS, Output};
use runtime::memory::peak_resident_bytes;
use runtime::options::MOST_THREADS;
use runtime::{Backend, Error, Latents, LatentsLayout, Report, RunOptions, Vae, demo};
use serde_json::{Value, json};

use super::progress::Bar;
use super::{EXIT_CODES, Failure, interrupt, note, print, table};

/// Where the demo goes unless told otherwise.
const DEMO_OUTPUT: &str = "demo.mp4";
/// Where anything else goes unless told otherwise.
const OUTPUT: &str = "decoded.mp4";

const EXAMPLES: &str = "\
Examples:
  tessera decode
      the demo that is part of the program, to demo.mp4
  tessera decode --model CogVideoX-2b --latents latents.safetensors --output clip.mp4
      latents as a diffusers pipeline returns them with output_type=\"latent\"
  tessera decode --model vae --latents z.safetensors#z --unscaled --output frames/
      what the model's own decode() takes, to a folder of PNGs
  tessera decode --model vae --latents latents.safetensors --output clip.npy --json > report.json
      frames as numbers, and a report";

/// Decode latents to a clip, pictures or an array
///
/// Without --model and --latents it decodes a small demo that is part of the program: a scene of Big Buck Bunny, (c)
/// Blender Foundation, CC BY 3.0.
#[derive(Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Arguments {
    /// Folder with the VAE's config.json and diffusion_pytorch_model.safetensors, or a pipeline's folder with `vae/` in it
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Latents, a tensor with five axes; #TENSOR says which where there are several and none is named `latents`
    #[arg(long, value_name = "FILE.safetensors[#TENSOR]")]
    latents: Option<String>,
    /// Order of the latents' axes; `auto` takes what fits the model's channels, if both do: btchw for a pipeline's latents,
    /// bcthw for unscaled ones
    #[arg(long, value_name = "LAYOUT", value_enum, default_value_t, requires = "latents")]
    latents_layout: Layout,
    /// The latents are what the model's decode() takes: do not divide by config.json's scaling_factor
    #[arg(long, requires = "latents")]
    unscaled: bool,
    #[arg(long, short, value_name = "FILE", help = format!(
        "Where the result goes [default: {OUTPUT}, the demo's: {DEMO_OUTPUT}]. The ending says the format: {KNOWN_OUTPUTS}. \
         An output that is there is replaced"
    ))]
    output: Option<PathBuf>,
    /// Frames a second of the clip
    #[arg(long, value_name = "N", default_value = "8", value_parser = frame_rate, allow_negative_numbers = true)]
    fps: FrameRate,
    /// Threads, 1 to 1024 [default: as many as the system offers]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..=MOST_THREADS as u64))]
    threads: Option<u64>,
    /// What decodes: native code, or the evaluator that defines every op, far slower
    #[arg(long, value_enum, default_value_t)]
    backend: BackendName,
    /// Print one JSON object about the run to stdout, and nothing else
    ///
    /// Its fields: output (a path, or a list of them where a batch makes several), frames (of all samples), height, width,
    /// seconds {load, compile, run, write}, programs_compiled, program_runs, arena_bytes, peak_rss_bytes (null where the
    /// system does not tell), threads, isa (`none` with the evaluator).
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Layout {
    #[default]
    Auto,
    Bcthw,
    Btchw,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum BackendName {
    #[default]
    Cpu,
    Interpret,
}

fn frame_rate(text: &str) -> Result<FrameRate, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    FrameRate::new(number).map_err(|error| error.to_string())
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    interrupt::listen();
    let started = Instant::now();
    let source = Source::of(arguments)?;
    let (vae, latents) = source.read(arguments)?;
    for warning in vae.warnings() {
        note(&format!("warning: {warning}"));
    }
    let read_seconds = started.elapsed().as_secs_f64();

    let output = arguments.output.as_deref().unwrap_or(source.default_output());
    let mut writer = media::create(output, vae.decoded_shape(&latents)?, arguments.fps)?;
    let options = RunOptions {
        backend: match arguments.backend {
            BackendName::Cpu => Backend::Cpu,
            BackendName::Interpret => Backend::Interpret,
        },
        threads: arguments.threads.map(|threads| threads as usize),
        ..RunOptions::default()
    };
    let mut write_seconds = 0.0;
    let mut sink = |sample, frames: &FrameBlock<'_>| {
        let started = Instant::now();
        writer.write(sample, frames)?;
        write_seconds += started.elapsed().as_secs_f64();
        Ok(())
    };
    let mut bar = Bar::new();
    let decoded = vae.decode(&latents, &options, &mut sink, &mut bar);
    drop(bar);
    let mut report = decoded?;
    if interrupt::asked() {
        return Err(Error::Interrupted.into());
    }
    let finishing = Instant::now();
    let output = writer.finish()?;
    write_seconds += finishing.elapsed().as_secs_f64();
    report.seconds.load += read_seconds;

    if arguments.json {
        return print(&format!("{}\n", as_json(&report, &output, write_seconds)));
    }
    print(&summary(&report, &output, &latents, write_seconds, started.elapsed().as_secs_f64()))
}

/// What is decoded.
enum Source<'a> {
    Demo,
    Files { model: &'a Path, latents: &'a str },
}

impl<'a> Source<'a> {
    fn of(arguments: &'a Arguments) -> Result<Source<'a>, Failure> {
        let usage = |message: &str| Err(Failure::Usage { command: "decode", message: message.into() });
        match (&arguments.model, &arguments.latents) {
            (Some(model), Some(latents)) => Ok(Source::Files { model, latents }),
            (None, None) => Ok(Source::Demo),
            (Some(_), None) => usage("--model needs --latents: which latents should it decode? (Neither: the demo.)"),
            (None, Some(_)) => usage("--latents needs --model: which model should decode them? (Neither: the demo.)"),
        }
    }

    /// The model, and its latents unscaled.
    fn read(&self, arguments: &Arguments) -> Result<(Vae, Latents), Failure> {
        let (vae, mut latents, scaled) = match *self {
            Source::Demo => {
                if !arguments.json {
                    print(&format!("No --model: decoding the demo of the program. {}\n", demo::CREDIT))?;
                }
                (demo::vae()?, demo::latents()?, true)
            }
            Source::Files { model, latents } => {
                let vae = Vae::open(model)?;
                let layout = match arguments.latents_layout {
                    Layout::Auto => LatentsLayout::Auto,
                    Layout::Bcthw => LatentsLayout::Bcthw,
                    Layout::Btchw => LatentsLayout::Btchw,
                };
                let latents = Latents::read(latents, layout, vae.config().latent_channels, arguments.unscaled)?;
                (vae, latents, !arguments.unscaled)
            }
        };
        if scaled {
            vae.latent_scaling().unscale(&mut latents)?;
        }
        Ok((vae, latents))
    }

    fn default_output(&self) -> &'static Path {
        Path::new(match self {
            Source::Demo => DEMO_OUTPUT,
            Source::Files { .. } => OUTPUT,
        })
    }
}

fn as_json(report: &Report, output: &Output, write_seconds: f64) -> Value {
    let paths: Vec<_> = output.paths.iter().map(|path| path.to_string_lossy()).collect();
    let output = if let [path] = paths.as_slice() { json!(path) } else { json!(paths) };
    let Report { frames, height, width, seconds, programs_compiled, program_runs, arena_bytes, threads, isa } = *report;
    json!({
        "output": output,
        "frames": frames,
        "height": height,
        "width": width,
        "seconds": {
            "load": seconds.load,
            "compile": seconds.compile,
            "run": seconds.run,
            "write": write_seconds,
        },
        "programs_compiled": programs_compiled,
        "program_runs": program_runs,
        "arena_bytes": arena_bytes,
        "peak_rss_bytes": peak_resident_bytes(),
        "threads": threads,
        "isa": isa,
    })
}

fn summary(report: &Report, output: &Output, latents: &Latents, write_seconds: f64, total_seconds: f64) -> String {
    let Report { frames, height, width, seconds, programs_compiled, program_runs, arena_bytes, threads, isa } = *report;
    let row = |name: &str, value: String| [name.to_owned(), value];
    let paths: Vec<_> = output.paths.iter().map(|path| path.display().to_string()).collect();
    let rows = [
        row("latents", format!("{:?} [B, C, T, H, W]", latents.shape)),
        row("frames", format!("{frames} of {width}x{height}")),
        row(
            "seconds",
            format!(
                "{total_seconds:.2}: load {:.2}, compile {:.2}, run {:.2} ({:.1} frames/s), write {write_seconds:.2}",
                seconds.load,
                seconds.compile,
                seconds.run,
                frames as f64 / seconds.run.max(f64::MIN_POSITIVE)
            ),
        ),
        row("programs", format!("{programs_compiled} compiled, {program_runs} runs, {threads} threads, {isa}")),
        row(
            "memory",
            format!(
                "arena {}, peak {}",
                table::bytes(arena_bytes as u64),
                peak_resident_bytes().map_or("unknown".into(), table::bytes)
            ),
        ),
        row("written", format!("{} ({})", paths.join(", "), table::bytes(output.bytes))),
    ];
    table::table(&rows, &[])
}
