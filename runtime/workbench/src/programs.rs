//! What was compiled ahead of time, written down: the programs in a folder, and a report about them
//! as JSON.

use std::fs;
use std::path::{Path, PathBuf};

use files::staging::StagedFolder;
use frontend::Step;
use serde_json::{Value, json};

use crate::ahead_of_time::{Basis, CompiledStep, Job, Prepared, Target};
use crate::error::Result;

/// What the files of programs end with.
const ENDING: &str = "executable";

/// Whether a file of a folder of programs is one.
pub fn is_program(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == ENDING)
}

/// `decode-next-1x2x60x90.executable`: batch, frames, height and width of the input.
fn file_name(step: &Step) -> String {
    format!("{}-{}x{}x{}x{}.{ENDING}", step.kind, step.batch, step.frames, step.height, step.width)
}

/// Writes every program into `folder`, which then takes its place; returns where that is.
///
/// # Errors
/// [`files::Error::Write`] and the like.
pub fn write(prepared: &Prepared, folder: StagedFolder) -> Result<PathBuf> {
    for CompiledStep { step, compilation, .. } in &prepared.steps {
        let file = folder.staged().join(file_name(step));
        fs::write(file, &compilation.executable).map_err(|cause| folder.error(cause))?;
    }
    Ok(folder.persist()?)
}

/// All that is known, with where programs were `written` if they were.
pub fn json(job: &Job<'_>, target: &Target, prepared: &Prepared, written: Option<&Path>) -> Value {
    let step = |found: &CompiledStep| {
        let CompiledStep { step, runs, compilation, flops, states, estimate } = found;
        let (memory, cost) = (&compilation.memory, &compilation.cost);
        json!({
            "step": step.kind.to_string(),
            "input": [step.batch, step.frames, step.height, step.width],
            "runs": runs,
            "compile_seconds": compilation.seconds,
            "memory_bytes": {
                "arguments": memory.arguments,
                "results": memory.results,
                "aliased": memory.aliased,
                "temporaries": memory.temporaries,
                "code": memory.code,
                "live": memory.peak,
                "total": memory.total(),
            },
            "states_bytes": states,
            "flops": flops,
            "compiler": {
                "flops": cost.flops,
                "bytes_accessed": cost.bytes_accessed,
                "optimal_seconds": cost.optimal_seconds,
            },
            "seconds": estimate.map(|estimate| estimate.seconds),
            "seconds_from": estimate.map(|estimate| basis(estimate.basis)),
            "executable": written.map(|folder| folder.join(file_name(step)).to_string_lossy().into_owned()),
            "executable_bytes": compilation.executable.len(),
        })
    };
    let first = prepared.steps.first().map(|step| &step.compilation);
    json!({
        "target": target.topology,
        "device": first.map(|compilation| compilation.devices.0.clone()),
        "devices": first.map(|compilation| compilation.devices.1),
        "stablehlo": first.and_then(|compilation| compilation.stablehlo.clone()),
        "mesh": {"data": target.mesh.data, "height": target.mesh.height},
        "dtype": job.precision.name(),
        "optimization": target.optimization.name(),
        "video": job.video,
        "tile": prepared.tiling.map(|tiling| [tiling.height, tiling.width]),
        "rows": prepared.tiles[0],
        "columns": prepared.tiles[1],
        "steps": prepared.steps.iter().map(step).collect::<Vec<_>>(),
        "needed_bytes": prepared.needed,
        "device_bytes": prepared.device_memory,
        "fits": prepared.fits(),
        "runs": prepared.steps.iter().map(|step| step.runs).sum::<usize>(),
        "seconds": prepared.seconds,
    })
}

fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Compiler => "compiler",
        Basis::Roofline => "roofline",
    }
}
