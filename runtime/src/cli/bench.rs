//! `tessera bench`: how long a step takes, kernel by kernel, against what this machine reaches at
//! most.

mod ablation;
mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use backend_cpu::blocking::Algorithm;
use backend_cpu::isa::Isa;
use backend_cpu::target::Target;
use clap::Args;
use frontend::{Autoencoder, Half, Published, Step, StepKind};
use passes::pipeline::without;
use passes::{Precision, cpu_pipeline};
use tessera::memory::peak_resident_bytes;
use tessera::options::MOST_THREADS;
use tessera::vae::read_config;
use tessera::{Error, RunOptions, demo};
use workbench::loaded_weights::LoadedWeights;
use workbench::profile::{Bench, Prepared, RunTimes, Variant, median_run};
use workbench::roofline;
use workbench::svg_file::SvgFile;

use super::arguments::{ModelArguments, precision};
use super::progress::RunBar;
use super::run_files::RunFiles;
use super::{Console, EXIT_CODES, Failure, interrupt, print};

const EXAMPLES: &str = "\
Examples:
  tessera bench
      a decode step of the demo's model
  tessera bench --random-weights --frames 2 --height 12 --width 16 --top 20
      the published model's size, without its weights: the 20 slowest kernels
  tessera bench --model vae --step encode-first --frames 9 --height 96 --width 128 --plot roofline.svg
      an encode step, with a picture
  tessera bench --algorithm direct --without-pass fuse-normalization --json > slower.json
      what a pass and an algorithm are worth
  tessera bench --ablation
      each of them, in turn";

/// Time a step of the model, kernel by kernel
///
/// Arithmetic is counted as the model asks for it: a convolution by Winograd's algorithm as if it
/// were direct, so that it can exceed the peak. Peak and bandwidth are measured behind the runs, on
/// as many threads. Bytes are those of operands and results, each moved once.
#[derive(Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Arguments {
    /// A folder with the VAE's config.json and weights, a pipeline's folder with `vae/` in it, a
    /// file of weights (safetensors, or of torch.save), or an id on the hub, OWNER/NAME or
    /// OWNER/NAME@REVISION [default: the demo's model]
    #[arg(long, value_name = "MODEL", help_heading = "Model", conflicts_with = "random_weights")]
    model: Option<PathBuf>,
    /// The configuration to use, in place of the config.json beside the weights; with
    /// --random-weights, in place of the published model's
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    config: Option<PathBuf>,
    /// Make weights up: time does not depend on them
    #[arg(long, help_heading = "Model")]
    random_weights: bool,
    #[arg(long, value_name = "NAME", help_heading = "Model", requires = "random_weights", conflicts_with = "config",
        value_parser = published_name, help = format!(
        "The published model whose size --random-weights take: {} [default: the first]", published_names()
    ))]
    published: Option<&'static Published>,
    /// Which step: decode-first, -next or -whole, encode-first, -next or -whole [default: the first
    /// that the model decodes by]
    #[arg(long, value_name = "STEP", help_heading = "Step")]
    step: Option<StepKind>,
    /// Frames of the step's input: latents to decode or a video to encode [default: as many as the
    /// model's steps have]
    #[arg(long, value_name = "N", help_heading = "Step")]
    frames: Option<usize>,
    /// Height of the step's input: latents to decode, pixels to encode [default: that of a tile]
    #[arg(long, value_name = "N", help_heading = "Step")]
    height: Option<usize>,
    /// Width of the step's input: latents to decode, pixels to encode [default: that of a tile]
    #[arg(long, value_name = "N", help_heading = "Step")]
    width: Option<usize>,
    /// Threads, 1 to 1024 [default: as many as the system offers]
    #[arg(
        long,
        value_name = "N",
        help_heading = "Running",
        value_parser = clap::value_parser!(u64).range(1..=MOST_THREADS as u64)
    )]
    threads: Option<u64>,
    /// The instruction set of compiled code: avx512, avx2 or portable [default: TESSERA_ISA, or the
    /// best this CPU has]
    #[arg(long, value_name = "ISA", help_heading = "Running", value_parser = isa)]
    isa: Option<Isa>,
    /// What the step computes with: f32 or bf16
    #[arg(long, value_name = "f32|bf16", default_value = "f32", help_heading = "Running", value_parser = precision)]
    dtype: Precision,
    /// Timed runs, of which the median counts; one before them is not timed
    #[arg(
        long,
        value_name = "N",
        default_value = "5",
        help_heading = "Running",
        value_parser = clap::value_parser!(u64).range(1..=10_000)
    )]
    repeats: u64,
    /// The one algorithm for convolutions that it can compute, direct, dot, winograd2, winograd4,
    /// winograd2_time or winograd4_time; the others stay direct [default: what is estimated to
    /// be fastest]
    #[arg(long, value_name = "ALGORITHM", value_parser = algorithm, help_heading = "Leave out")]
    algorithm: Option<Algorithm>,
    /// Leave out a pass that is not needed; can be given several times
    #[arg(long, value_name = "PASS", help_heading = "Leave out")]
    without_pass: Vec<String>,
    /// Leave each pass out, and force each algorithm, in turn: a table of what they are worth
    #[arg(long, help_heading = "Leave out", conflicts_with_all = ["algorithm", "without_pass", "top", "plot"])]
    ablation: bool,
    /// Only the N slowest rows, slowest first
    #[arg(long, value_name = "N", help_heading = "Output", conflicts_with = "json")]
    top: Option<usize>,
    /// A picture of all kernels under the roof of peak and bandwidth; a file that is there is
    /// replaced
    #[arg(long, value_name = "FILE.svg", help_heading = "Output")]
    plot: Option<PathBuf>,
    #[arg(
        long,
        help_heading = "Output",
        help = "Print one JSON object to stdout, and nothing else",
        long_help = format!(
            "Print one JSON object to stdout, and nothing else\n\n{}", report::JSON_FIELDS
        )
    )]
    json: bool,
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    let known = || Algorithm::ALL.map(Algorithm::name).join(", ");
    Algorithm::ALL.into_iter().find(|a| a.name() == name).ok_or_else(|| format!("known are {}", known()))
}

fn isa(name: &str) -> Result<Isa, String> {
    let supported = || Isa::supported().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match name.parse::<Isa>() {
        Ok(isa) if isa.is_supported() => Ok(isa),
        Ok(isa) => Err(format!("this CPU cannot run {isa}; it can run {}", supported())),
        Err(error) => Err(error.to_string()),
    }
}

/// The model to time.
struct Model {
    name: String,
    model: Arc<dyn Autoencoder>,
    weights: LoadedWeights,
    /// Reading them, or making them up.
    load_seconds: f64,
}

/// Runs of one variant of a step.
struct Measured {
    prepared: Prepared,
    /// Not counted.
    first: RunTimes,
    runs: Vec<RunTimes>,
}

impl Measured {
    fn median(&self) -> RunTimes {
        median_run(&self.runs)
    }
}

pub(super) fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    interrupt::listen();
    let usage = |message: String| Failure::Usage { command: "bench", message };
    if arguments.config.is_some() && arguments.model.is_none() && !arguments.random_weights {
        return Err(usage("--config needs --model or --random-weights: whose configuration is it?".into()));
    }
    let passes =
        without(cpu_pipeline(arguments.dtype), &arguments.without_pass).map_err(|error| usage(error.to_string()))?;
    let variant = Variant { passes, algorithm: arguments.algorithm };
    let mut files = RunFiles::new();
    arguments.plot.iter().try_for_each(|path| files.writes("the picture", path))?;
    let picture = arguments.plot.as_deref().map(SvgFile::create).transpose()?;

    let Model { name, model, weights, load_seconds } = arguments.model(console, &mut files)?;
    let step = arguments.step_of(&*model);
    let options = RunOptions::default()
        .with_threads(arguments.threads.map(|threads| threads as usize))
        .with_target(arguments.isa.map(Target::from));
    let mut bench = Bench::new(&*model, weights, &options)?;
    if arguments.ablation {
        return ablation::run(&mut bench, &step, arguments, &name, console);
    }
    let mut bar = RunBar::new(console, arguments.repeats as usize + 1);
    let prepared = bench.prepare(&step, &variant)?;
    let mut timed = || bench.run(&prepared, &mut |share| bar.show(share));
    let first = timed()?;
    let runs = (0..arguments.repeats).map(|_| timed()).collect::<Result<Vec<_>, _>>()?;
    drop(bar);
    check_interrupt()?;
    let measured = Measured { prepared, first, runs };
    // Before the arrays by which the bandwidth is measured.
    let peak_bytes = peak_resident_bytes();
    let ceilings = bench.ceilings()?;
    let context = report::Context {
        model: &name,
        step: &step,
        precision: arguments.dtype,
        bench: &bench,
        ceilings,
        algorithm: variant.algorithm,
        without_passes: &arguments.without_pass,
        load_seconds,
        peak_bytes,
        measured: &measured,
    };
    if let Some(picture) = picture {
        picture.finish(roofline::draw(&context.title(), &ceilings, &context.points()))?;
    }
    if arguments.json { print(&context.json()) } else { print(&context.text(arguments.top)) }
}

impl Arguments {
    fn model(&self, console: Console, files: &mut RunFiles) -> Result<Model, Failure> {
        let half = self.step.map_or(Half::Decoder, |kind| kind.half);
        if self.random_weights {
            let started = Instant::now();
            let (name, model) = match &self.config {
                None => published(self.published.unwrap_or(&frontend::published()[0]))?,
                Some(path) => {
                    files.reads("the configuration", path)?;
                    let (model, warnings) = read_config(path)?;
                    warnings.iter().for_each(|warning| {
                        console.note(&format!("warning: {}: {warning}", path.display()));
                    });
                    (path.display().to_string(), model)
                }
            };
            let weights = LoadedWeights::random(&*model, half)?;
            let name = format!("{name}, random weights");
            return Ok(Model { name, model, weights, load_seconds: started.elapsed().as_secs_f64() });
        }
        let named = ModelArguments { model: self.model.clone(), config: self.config.clone() };
        let vae = named.open(console, files)?;
        let started = Instant::now();
        let weights = LoadedWeights::read(&vae, half)?;
        let load_seconds = started.elapsed().as_secs_f64();
        let name = named.name().unwrap_or_else(|| format!("the demo of the program ({})", demo::CREDIT));
        Ok(Model { name, model: vae.shared_model(), weights, load_seconds })
    }

    /// The step asked for; by default as many frames as a step has, over a tile as the reference
    /// cuts it.
    fn step_of(&self, model: &dyn Autoencoder) -> Step {
        let usual = || StepKind::new(Half::Decoder, model.frame_steps(Half::Decoder).first());
        let kind = self.step.unwrap_or_else(usual);
        let [height, width] = model.tile_rule(kind.half).size.map(|pixels| match kind.half {
            Half::Decoder => model.latent_size(pixels),
            Half::Encoder => pixels,
        });
        let least = |size: usize| size.max(model.least_size(kind.half));
        let (height, width) = (self.height.unwrap_or(least(height)), self.width.unwrap_or(least(width)));
        super::emit::step_of(model, kind, self.frames, Some(height), Some(width))
    }
}

fn published_names() -> String {
    frontend::published().iter().map(|published| published.name).collect::<Vec<_>>().join(", ")
}

fn published_name(name: &str) -> Result<&'static Published, String> {
    let found = frontend::published().iter().find(|published| published.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| format!("known are {}", published_names()))
}

/// A published model, and what to call it.
fn published(named: &Published) -> Result<(String, Arc<dyn Autoencoder>), Error> {
    let path = Path::new(named.name);
    let (model, _) = frontend::read_config(named.config).map_err(|cause| Error::Config { path: path.into(), cause })?;
    Ok((format!("the published {} VAE's size", named.name), model))
}

/// What Ctrl-C between runs comes to.
fn check_interrupt() -> Result<(), Error> {
    if interrupt::asked() { Err(Error::Interrupted) } else { Ok(()) }
}
