//! `tessera info`: what a model is, what its first decode step costs, and what this machine runs it
//! with.

use std::fs;

use backend_cpu::isa::{ISA_VARIABLE, Isa};
use backend_cpu::panel::PanelFamily;
use backend_cpu::target::{DOT_PRODUCTS_VARIABLE, Target};
use clap::Args;
use frontend::{Autoencoder, Half, StepKind, Taps, declare, field_text};
use ir::analysis::total_cost;
use passes::{Precision, cpu_pipeline};
use tessera::amount::{bytes, count};
use tessera::weight_sums::{WeightSum, weight_sums};
use tessera::{Error, Vae, demo, lowering};

use super::arguments::{ModelArguments, precision};
use super::emit::step_of;
use super::run_files::RunFiles;
use super::table::table;
use super::{Console, EXIT_CODES, Failure, interrupt, print};

const EXAMPLES: &str = "\
Examples:
  tessera info
      the demo's model
  tessera info --model vae
      a model on disk
  tessera info --model owner/name
      a model from the hub
  TESSERA_ISA=avx2 tessera info
      what would run without AVX-512";

/// Show a model's configuration and weights, the cost of a decode step, and this machine
#[derive(Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// What the step computes with: f32 or bf16
    #[arg(long, value_name = "f32|bf16", default_value = "f32", value_parser = precision)]
    dtype: Precision,
}

pub(super) fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    interrupt::listen();
    let vae = arguments.model.open(console, &mut RunFiles::new())?;
    let name = arguments.model.name().unwrap_or_else(|| format!("the demo of the program ({})", demo::CREDIT));
    let target = Target::from_env_or_probe().map_err(Error::from)?;
    let mut text = format!("Model: {name}\n{}", configuration(vae.model()));
    text += &format!("\nWeights: {}\n{}", vae.checkpoint().path().display(), weights(&vae)?);
    for sentence in vae.account() {
        text += &format!("  {sentence}\n");
    }
    text += &decode_step(vae.model(), target, arguments.dtype)?;
    text += &machine(target);
    print(&text)
}

fn row(name: &str, value: impl ToString) -> [String; 2] {
    [name.to_owned(), value.to_string()]
}

/// Every field of config.json, and what follows from them.
fn configuration(model: &dyn Autoencoder) -> String {
    let spatial = model.spatial_compression();
    let mut rows = vec![row("class", model.class_name())];
    rows.extend(model.fields().into_iter().map(|(name, value)| row(name, field_text(&value))));
    rows.push(row("compression", format!("{} in time, {spatial}x{spatial} in space", model.temporal_compression())));
    table(&rows, &[])
}

/// Tensors, parameters and bytes on disk, by half and element type.
fn weights(vae: &Vae) -> Result<String, Error> {
    let mut rows = vec![["half", "type", "tensors", "parameters", "bytes"].map(String::from)];
    for WeightSum { part, dtype, tensors, elements, bytes: size } in weight_sums(vae)? {
        rows.push([part.into(), dtype, tensors.to_string(), elements.to_string(), bytes(size)]);
    }
    let mut text = table(&rows, &[2, 3, 4]);
    for half in [Half::Decoder, Half::Encoder] {
        if let Err(error) = vae.check_weights(half) {
            text += &format!("  {half}: {error}\n");
        }
    }
    Ok(text)
}

/// The cost of the first step over a whole sample.
fn decode_step(model: &dyn Autoencoder, target: Target, precision: Precision) -> Result<String, Error> {
    let kind = StepKind::new(Half::Decoder, model.frame_steps(Half::Decoder).first());
    let step = step_of(model, kind, None, None, None);
    let graph = lowering::optimize(&step, &declare(model, &step, &Taps::None)?, cpu_pipeline(precision))?;
    let program = lowering::compile(&step, &graph, target)?;
    let kernels = program.kernels();
    let calls: usize = kernels.iter().map(|(_, calls)| calls).sum();
    let rows = [
        row("arithmetic", count(total_cost(&graph).flops, "FLOP")),
        row("arena", bytes(program.arena_bytes() as u64)),
        row("plan's peak", bytes(program.plan().peak_live_bytes as u64)),
        row("kernels", format!("{} distinct, {calls} calls", kernels.len())),
    ];
    Ok(format!(
        "\nStep: {step} latents (batch, frames, height, width), a whole sample, in {}\n{}",
        precision.name(),
        table(&rows, &[])
    ))
}

/// The CPU and what is chosen for it.
fn machine(target: Target) -> String {
    let isa = target.isa;
    let supported = Isa::supported().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let asked = ir::knobs::ISA.get();
    let reason = match asked {
        Some(_) => format!("{isa}, asked for by {ISA_VARIABLE}"),
        None => format!("{isa}, the best of them; {ISA_VARIABLE} chooses another"),
    };
    let dot_products = match ir::knobs::DOT_PRODUCTS.get() {
        Some(_) => format!("{}, asked for by {DOT_PRODUCTS_VARIABLE}", target.dot_products.name()),
        None => target.dot_products.name().to_owned(),
    };
    let threads = std::thread::available_parallelism().map_or("unknown".into(), |threads| threads.to_string());
    let mut rows = vec![
        row("CPU", cpu_name().unwrap_or_else(|| std::env::consts::ARCH.into())),
        row("threads", threads),
        row("instruction sets", supported),
        row("chosen", reason),
        row("dot products of bf16", dot_products),
    ];
    for family in PanelFamily::all(isa) {
        rows.push(row("contraction kernel", format!("{}, up to {} x {}", family.name, family.max_rows(), family.nr)));
    }
    format!("\nMachine\n{}", table(&rows, &[]))
}

/// What Linux calls the CPU.
pub(super) fn cpu_name() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
