//! `tessera emit`: a step at any stage on its way to native code, as text.

use std::fmt::Write as _;

use backend_cpu::target::Target;
use backend_tpu_stablehlo::EmitOptions;
use clap::Args;
use frontend::{Autoencoder, Half, Step, StepKind, Taps, declare};
use ir::Graph;
use passes::{Precision, cpu_pipeline, pipeline, tpu_pipeline};
use tessera::Error;
use tessera::lowering::{self, KernelCode};

use super::arguments::{ModelArguments, precision};
use super::run_files::RunFiles;
use super::{Console, EXIT_CODES, Failure, interrupt, print};

/// Components of module paths that are drawn as boxes.
const DOT_DEPTH: usize = 3;

const EXAMPLES: &str = "\
Examples:
  tessera emit --step decode-first --frames 3 --height 16 --width 24
      the demo's first step, as the CPU backend takes it
  tessera emit --model vae --step decode-next --stage declared --dot | dot -Tsvg > step.svg
      a picture of the step as the model declares it
  tessera emit --model owner/name --step decode-next
      of a model on the hub: its config.json is all that is fetched
  tessera emit --model vae --step encode-first --frames 9 --height 480 --width 720 --stage channel-last
      behind the last run of one pass
  TESSERA_ISA=portable tessera emit --step decode-next --stage clif
      Cranelift's form of every kernel
  tessera emit --model vae --step decode-next --stage stablehlo --dtype bf16
      what a TPU's compiler is given";

/// Print a step as a graph or as code
///
/// Only config.json is read, or fetched: weights need not be there.
#[derive(Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Which step: decode-first, -next or -whole, encode-first, -next or -whole
    #[arg(long, value_name = "STEP")]
    step: StepKind,
    /// Frames of the step's input: latents to decode or a video to encode [default: as many as the
    /// model's steps have]
    #[arg(long, value_name = "N")]
    frames: Option<usize>,
    /// Height of the step's input: latents to decode, pixels to encode [default: of the model's
    /// training videos]
    #[arg(long, value_name = "N")]
    height: Option<usize>,
    /// Width of the step's input: latents to decode, pixels to encode [default: of the model's
    /// training videos]
    #[arg(long, value_name = "N")]
    width: Option<usize>,
    /// What the step computes with: f32 or bf16
    #[arg(long, value_name = "f32|bf16", default_value = "f32", value_parser = precision)]
    dtype: Precision,
    #[arg(long, default_value = "final", value_parser = Stage::parse, help = format!(
        "How far on its way: {}", Stage::known()
    ))]
    stage: Stage,
    /// Print a graph in Graphviz' DOT language; not for clif, asm and stablehlo
    #[arg(long)]
    dot: bool,
}

/// A place on the way from the declared graph to native code.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Declared,
    /// Behind the last run of the pass of this name.
    Behind(String),
    Final,
    Clif,
    Assembly,
    StableHlo,
}

impl Stage {
    fn parse(name: &str) -> Result<Stage, String> {
        Ok(match name {
            "declared" => Stage::Declared,
            "final" => Stage::Final,
            "clif" => Stage::Clif,
            "asm" => Stage::Assembly,
            "stablehlo" => Stage::StableHlo,
            _ if Precision::ALL.iter().any(|precision| pipeline::up_to(cpu_pipeline(*precision), name).is_some()) => {
                Stage::Behind(name.to_owned())
            }
            _ => return Err(format!("known are {}", Stage::known())),
        })
    }

    fn known() -> String {
        let mut passes: Vec<&str> = vec![];
        for pass in Precision::ALL.into_iter().flat_map(cpu_pipeline).map(|pass| pass.name) {
            if !passes.contains(&pass) {
                passes.push(pass);
            }
        }
        format!("declared, a pass ({}), final, clif, asm, stablehlo", passes.join(", "))
    }
}

/// The step of this kind over a whole sample as the model was trained on, where sizes are not
/// given.
pub(super) fn step_of(
    model: &dyn Autoencoder,
    kind: StepKind,
    frames: Option<usize>,
    height: Option<usize>,
    width: Option<usize>,
) -> Step {
    let [usual_height, usual_width] = model.training_size().map(|pixels| match kind.half {
        Half::Decoder => model.latent_size(pixels),
        Half::Encoder => pixels,
    });
    Step {
        kind,
        batch: 1,
        frames: frames.unwrap_or_else(|| model.usual_frames(kind.half)),
        height: height.unwrap_or(usual_height),
        width: width.unwrap_or(usual_width),
    }
}

pub(super) fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    interrupt::listen();
    let Arguments { model, step, frames, height, width, dtype, stage, dot } = arguments;
    let all_passes = cpu_pipeline(*dtype);
    if *dot && matches!(stage, Stage::Clif | Stage::Assembly | Stage::StableHlo) {
        let message = "--dot draws graphs, and clif, asm and stablehlo are not; give another --stage".into();
        return Err(Failure::Usage { command: "emit", message });
    }
    let model = model.config(console, &mut RunFiles::new())?;
    let step = step_of(&*model, *step, *frames, *height, *width);
    let graph = declare(&*model, &step, &Taps::None)?;
    let passes = match stage {
        Stage::Declared => &[],
        Stage::Behind(name) => match pipeline::up_to(all_passes, name) {
            Some(passes) => passes,
            None => {
                let message = format!("the pass {name} is no part of --dtype {}", dtype.name());
                return Err(Failure::Usage { command: "emit", message });
            }
        },
        Stage::Final | Stage::Clif | Stage::Assembly => all_passes,
        Stage::StableHlo => tpu_pipeline(*dtype),
    };
    let graph = lowering::optimize(&step, &graph, passes)?;
    match stage {
        Stage::Clif => print(&kernels(&step, &graph, |kernel| &kernel.clif)?),
        Stage::Assembly => print(&kernels(&step, &graph, |kernel| &kernel.assembly)?),
        Stage::StableHlo => print(&lowering::stablehlo(&step, &graph, &EmitOptions::default())?.text),
        _ if *dot => print(&ir::dot::dot(&graph, DOT_DEPTH)),
        _ => print(&ir::text::print(&graph)),
    }
}

/// The text that `pick` takes of each kernel, under its name and the number of its calls.
fn kernels(step: &Step, graph: &Graph, pick: fn(&KernelCode) -> &String) -> Result<String, Failure> {
    let target = Target::from_env_or_probe().map_err(Error::from)?;
    let kernels = lowering::kernels(step, graph, target)?;
    let mut text = format!("; {step} for {target}: {} kernels\n", kernels.len());
    for kernel in &kernels {
        let KernelCode { name, calls, .. } = kernel;
        let times = if *calls == 1 { "call" } else { "calls" };
        let _ = writeln!(text, "\n; kernel {name}: {calls} {times}\n{}", pick(kernel).trim_end());
    }
    Ok(text)
}
