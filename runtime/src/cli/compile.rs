//! `tessera compile`: a video's steps compiled ahead of time, for a device that need not be there.

use std::ops::ControlFlow;
use std::path::PathBuf;

use backend_tpu_stablehlo::Mesh;
use backend_tpu_stablehlo::pjrt::Optimization;
use backend_tpu_stablehlo::pjrt::locate::PluginSpec;
use clap::Args;
use files::staging::StagedFolder;
use frontend::{Half, StepKind};
use passes::Precision;
use tessera::amount::{bytes, count};
use tessera::{FrameTilingChoice, Overlap, TileOrder, TilingChoice};
use workbench::ahead_of_time::{Basis, CompiledStep, Event, Job, Prepared, Target};
use workbench::programs::{is_program, json, write};

use super::arguments::{ModelArguments, height_by_width, overlap, precision, tile_frames, tiling, with_stride};
use super::plugin::{self, reexecution};
use super::run_files::RunFiles;
use super::table::table;
use super::{Console, EXIT_CODES, Failure, interrupt, print};

/// Frames of the video, unless told otherwise.
const FRAMES: &str = "49";

const EXAMPLES: &str = "\
Examples:
  tessera compile --model vae --target v6e:1x1 --tiling 240x360
      decoding 49 frames of the model's size: memory and time of each step on a TPU v6e
  tessera compile --model vae --target v6e:1x1 --tiling auto --size 768x1360
      in the largest tiles that fit
  tessera compile --model vae --target v6e:2x4 --mesh height=8 --size 720x1280 --frames 81
      whole frames, each in strips on eight devices
  tessera compile --model vae --target v5e:1x1 --tiling 240x360 --output programs/ --json > report.json
      and keep the compiled programs, with a report

Targets are topologies as libtpu names them: v5e:1x1, v5p:1x1x1, v6e:1x1, and so on. `tessera plugin install tpu` gets \
libtpu.";

/// Compile a video's steps for a TPU that need not be there, and show what they need
///
/// Only config.json is read, or fetched: weights need not be there. A step of the published model
/// takes half a minute and more.
#[derive(Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Compile for encoding a video, not for decoding one
    #[arg(long, help_heading = "Model")]
    encode: bool,
    /// Only this step: decode-first, -next or -whole, encode-first, -next or -whole
    #[arg(long, value_name = "STEP", help_heading = "Model")]
    step: Option<StepKind>,
    /// What is computed in
    #[arg(long, value_name = "f32|bf16", default_value = "bf16", value_parser = precision, help_heading = "Model")]
    dtype: Precision,
    /// Height and width of the video in pixels [default: config.json's]
    #[arg(long, value_name = "HxW", value_parser = height_by_width, help_heading = "Video")]
    size: Option<(usize, usize)>,
    /// Frames of the video
    #[arg(
        long,
        value_name = "N",
        default_value = FRAMES,
        value_parser = clap::value_parser!(u64).range(1..),
        help_heading = "Video"
    )]
    frames: u64,
    /// `off`: whole frames; `auto`: the largest tiles that fit the device, found by trying;
    /// `default`: the model's own tiles; or tiles of this height and width in pixels
    #[arg(
        long,
        value_name = "auto|off|default|HxW",
        default_value = "off",
        value_parser = tiling,
        help_heading = "Video"
    )]
    tiling: TilingChoice,
    /// With --tiling HxW, the pixels from one tile to the next, down and to the right
    #[arg(
        long,
        value_name = "HxW",
        value_parser = height_by_width,
        conflicts_with = "tile_overlap",
        help_heading = "Video"
    )]
    tile_stride: Option<(usize, usize)>,
    /// The share of a tile's height and width that the next one covers too [default: the model's
    /// own]
    #[arg(long, value_name = "H,W", value_parser = overlap, help_heading = "Video")]
    tile_overlap: Option<Overlap>,
    /// Tiles along time of N frames at a stride of STRIDE, of models that have them; `off`: none
    /// [default: what the reference does by itself]
    #[arg(long, value_name = "N/STRIDE|off", value_parser = tile_frames, help_heading = "Video")]
    tile_frames: Option<FrameTilingChoice>,
    /// The devices to compile for, as the plugin names them, such as v6e:1x1
    #[arg(long, value_name = "TOPOLOGY", help_heading = "Target")]
    target: String,
    /// How several devices share the work: `data` videos at once, each frame in `height` strips.
    /// Never time: steps of a video need what the step before left them
    #[arg(long, value_name = "data=D,height=H", default_value_t = Mesh::SINGLE, help_heading = "Target")]
    mesh: Mesh,
    /// The plugin: tpu, or the path of a shared library
    #[arg(long, value_name = "PLUGIN", default_value = "tpu", value_parser = plugin::parser(), help_heading = "Target")]
    plugin: PluginSpec,
    /// How hard the plugin optimises. XLA's own choice, O2, takes ten times as long to compile; at
    /// O0, memory and time say little
    #[arg(long, value_name = "O0|O1|O2|O3", default_value_t = Optimization::OF_TPUS, help_heading = "Target")]
    optimize: Optimization,
    /// A new folder for the compiled programs, one file a step; the plugin of the same version
    /// loads them on the devices
    #[arg(long, short, value_name = "DIR", help_heading = "Output")]
    output: Option<PathBuf>,
    /// Print one JSON object to stdout, and nothing else
    #[arg(long, help_heading = "Output")]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    interrupt::listen();
    let half = if arguments.encode { Half::Encoder } else { Half::Decoder };
    if arguments.step.is_some_and(|kind| kind.half != half) {
        let message =
            "--step is of the other half; the encoder's steps go with --encode, the decoder's without it".into();
        return Err(Failure::Usage { command: "compile", message });
    }
    let mut files = RunFiles::new();
    let model = arguments.model.config(console, &mut files)?;
    arguments.output.iter().try_for_each(|path| files.writes_folder("the folder of programs", path))?;
    let plugin = arguments.plugin.locate();
    plugin.iter().try_for_each(|path| files.reads("the plugin", path))?;
    let folder = arguments.output.as_deref().map(|output| StagedFolder::create(output, is_program)).transpose()?;
    let (height, width) = arguments.size.unwrap_or_else(|| model.training_size().into());
    let job = Job {
        model: &*model,
        half,
        video: [usize::try_from(arguments.frames).unwrap_or(usize::MAX), height, width],
        kind: arguments.step,
        tiling: with_stride(arguments.tiling, arguments.tile_stride)?,
        overlap: arguments.tile_overlap,
        frame_tiling: arguments.tile_frames.unwrap_or_default(),
        precision: arguments.dtype,
    };
    let plugin = plugin?;
    let target = Target {
        plugin,
        topology: arguments.target.clone(),
        mesh: arguments.mesh,
        optimization: arguments.optimize,
        reexecution: reexecution()?,
    };
    let mut tell = |event: Event<'_>| match event {
        Event::Compiling { step, number, of } => console.note(&format!("compiling {step} ({number} of {of})")),
        Event::TooLarge(None) => console.note("whole frames do not fit"),
        Event::TooLarge(Some(tile)) => console.note(&format!("tiles of {}x{} do not fit", tile.height, tile.width)),
    };
    let mut watch = || if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let prepared = job.prepare(&target, &mut tell, &mut watch).map_err(Failure::of_workbench)?;

    let written = match folder {
        None => None,
        Some(folder) => Some(write(&prepared, folder).map_err(Failure::of_workbench)?),
    };
    if arguments.json {
        return print(&format!("{}\n", json(&job, &target, &prepared, written.as_deref())));
    }
    let mut text = report_text(arguments, &job, &prepared);
    if let Some(folder) = written {
        text += &format!("\nWritten: {}\n", folder.display());
    }
    console.say(&text)
}

fn report_text(arguments: &Arguments, job: &Job<'_>, prepared: &Prepared) -> String {
    let [frames, height, width] = job.video;
    let first = prepared.steps.first().map(|step| &step.compilation);
    let (kind, devices) = first.map_or((String::new(), 0), |compilation| compilation.devices.clone());
    let mesh = if arguments.mesh == Mesh::SINGLE { String::new() } else { format!(", mesh {}", arguments.mesh) };
    let (precision, level) = (job.precision, arguments.optimize);
    let mut text = format!("Target: {} ({devices} x {kind}){mesh}, {precision}, {level}\n", arguments.target);
    let [rows, columns] = prepared.tiles;
    text += &match prepared.tiling {
        None => format!("Video: {frames} frames of {height}x{width}, whole\n\n"),
        Some(tile) => {
            let order = match prepared.order {
                TileOrder::FrameMajor => "frame by frame",
                TileOrder::TileMajor => "tile by tile",
            };
            let tile = format!("{rows} x {columns} tiles of {}x{}", tile.height, tile.width);
            format!("Video: {frames} frames of {height}x{width}, {tile}, {order}\n\n")
        }
    };
    let titles = ["step", "runs", "compiled in", "arguments", "temporaries", "peak", "total", "arithmetic", "at best"];
    let mut lines = vec![titles.map(String::from)];
    for CompiledStep { step, runs, compilation, flops, estimate, .. } in &prepared.steps {
        let memory = &compilation.memory;
        let time = estimate.map_or("unknown".into(), |estimate| match estimate.basis {
            Basis::Compiler => format!("{:.1} ms", estimate.seconds * 1e3),
            Basis::Roofline => format!("{:.1} ms (roofline)", estimate.seconds * 1e3),
        });
        lines.push([
            step.to_string(),
            runs.to_string(),
            format!("{:.1} s", compilation.seconds),
            bytes(memory.arguments),
            bytes(memory.temporaries),
            bytes(memory.peak),
            bytes(memory.total()),
            count(*flops, "FLOP"),
            time,
        ]);
    }
    text += &table(&lines, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let of = prepared.device_memory.map_or(String::new(), |memory| {
        format!(" of the {} of a device{}", bytes(memory), if prepared.fits() { "" } else { ": too much" })
    });
    text += &format!("\nMemory: {}{of}\n", bytes(prepared.needed));
    let runs: usize = prepared.steps.iter().map(|step| step.runs).sum();
    let runs = if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") };
    text += &match prepared.seconds {
        Some(seconds) => format!("Time: {seconds:.3} s at best for {runs}\n"),
        None => format!("Time: unknown for {runs} on this device\n"),
    };
    text
}
