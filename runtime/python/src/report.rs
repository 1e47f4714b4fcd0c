//! What calls tell, as Python's dicts: what they cost, how they would go, what a model is.

use backend_cpu::isa::Isa;
use backend_cpu::target::Target;
use frontend::{Autoencoder, Half, Medium};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use serde_json::{Value, json};
use tessera::weight_sums::{WeightSum, weight_sums};
use tessera::{FrameTiling, LatentScaling, Report, RunPlan, TileOrder, Tiling, TilingDecision, Vae};

use crate::errors::to_python;

/// JSON as Python's own objects.
pub(crate) fn to_object<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::Null => Ok(py.None().into_bound(py)),
        Value::Bool(flag) => Ok(flag.into_pyobject(py)?.to_owned().into_any()),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(whole), ..) => Ok(whole.into_pyobject(py)?.into_any()),
            (_, Some(whole), _) => Ok(whole.into_pyobject(py)?.into_any()),
            (.., fraction) => Ok(fraction.into_pyobject(py)?.into_any()),
        },
        Value::String(text) => Ok(text.into_pyobject(py)?.into_any()),
        Value::Array(elements) => {
            let list = PyList::empty(py);
            elements.iter().try_for_each(|element| list.append(to_object(py, element)?))?;
            Ok(list.into_any())
        }
        Value::Object(fields) => {
            let dict = PyDict::new(py);
            fields.iter().try_for_each(|(name, field)| dict.set_item(name, to_object(py, field)?))?;
            Ok(dict.into_any())
        }
    }
}

/// What a call has cost.
pub(crate) fn report(report: &Report) -> Value {
    json!({
        "frames": report.frames,
        "height": report.height,
        "width": report.width,
        "seconds": {"load": report.seconds.load, "compile": report.seconds.compile, "run": report.seconds.run},
        "programs_compiled": report.programs_compiled,
        "programs_cached": report.programs_cached,
        "programs_kept": report.programs_kept,
        "plan_kept": report.plan_kept,
        "program_runs": report.program_runs,
        "tiling": tiling(&report.tiling),
        "arena_bytes": report.arena_bytes,
        "threads": report.threads,
        "workers": report.workers,
        "precision": report.precision.name(),
        "isa": report.isa,
        "device": report.device,
    })
}

/// The numbers by which pipelines scale latents.
pub(crate) fn latent_scaling(scaling: &LatentScaling) -> Value {
    json!({
        "scaling_factor": scaling.scaling_factor,
        "shift_factor": scaling.shift_factor,
        "latents_mean": scaling.latents_mean,
        "latents_std": scaling.latents_std,
        "patch": scaling.patch,
        "frames": scaling.frames,
    })
}

/// How a call would go; shapes are as the model's tensors have them.
pub(crate) fn plan(plan: &RunPlan, medium: Medium) -> Value {
    let steps = plan.steps.iter().map(|(step, runs)| {
        json!({"step": step.kind.to_string(), "input": [step.batch, step.frames, step.height, step.width], "runs": runs})
    });
    json!({
        "result": axes(plan.result.axes(), medium),
        "steps": steps.collect::<Vec<_>>(),
        "runs": plan.steps.iter().map(|(_, runs)| runs).sum::<usize>(),
        "workers": plan.workers,
        "tiling": tiling(&plan.tiling),
    })
}

/// The axes of a model's tensors as the reference has them.
fn axes(shape: [usize; 5], medium: Medium) -> Vec<usize> {
    let [batch, channels, frames, height, width] = shape;
    match medium {
        Medium::Video => vec![batch, channels, frames, height, width],
        Medium::Image => vec![batch, channels, height, width],
    }
}

fn tiling(decision: &TilingDecision) -> Value {
    let memory = decision.memory.map(|memory| {
        json!({
            "total": memory.total(),
            "process": memory.process,
            "weights": memory.weights,
            "arena": memory.arena,
            "states": memory.states,
            "frames": memory.frames,
            "code": memory.code,
        })
    });
    json!({
        "tile": decision.tiling.map(|Tiling { height, width, .. }| [height, width]),
        "overlap": decision.tiling.map(|Tiling { overlap, .. }| [overlap.height, overlap.width]),
        "rows": decision.rows,
        "columns": decision.columns,
        "tile_frames": decision.frame_tiling.map(|FrameTiling { frames, stride }| [frames, stride]),
        "frame_tiles": decision.frame_tiles,
        "step_frames": decision.step_frames,
        "order": match decision.order {
            TileOrder::FrameMajor => "frame by frame",
            TileOrder::TileMajor => "tile by tile",
        },
        "reason": decision.reason,
        "follows_free_memory": decision.follows_free_memory,
        "memory": memory,
        "budget": decision.budget,
        "text": decision.to_string(),
    })
}

/// The tiles that the reference takes, in pixels and in frames of the sample.
pub(crate) fn usual_tiles(model: &dyn Autoencoder, half: Half) -> Value {
    let rule = model.tile_rule(half);
    let along_time = model.frame_tile_rule(half);
    json!({
        "size": rule.size,
        "overlap": rule.overlap,
        "frames": along_time.map(|rule| [rule.frames, rule.stride]),
        "cuts_frames": along_time.is_some_and(|rule| rule.usual),
    })
}

/// What a model is, its weights, and what this machine runs it with.
///
/// # Errors
/// If the model cannot be declared, or the environment asks for what this CPU lacks.
pub(crate) fn info(vae: &Vae) -> PyResult<Value> {
    let model = vae.model();
    let channels = model.channels();
    let target = Target::from_env_or_probe().map_err(to_python)?;
    let supported: Vec<_> = Isa::supported().iter().map(ToString::to_string).collect();
    let sums = weight_sums(vae).map_err(to_python)?.into_iter();
    let sums = sums.map(|WeightSum { part, dtype, tensors, elements, bytes }| {
        json!({"part": part, "dtype": dtype, "tensors": tensors, "elements": elements, "bytes": bytes})
    });
    let missing = Half::ALL.into_iter();
    let missing =
        missing.filter_map(|half| Some((half.to_string(), vae.check_weights(half).err()?.to_string().into())));
    let conditions = Half::ALL.into_iter().map(|half| {
        let names: Vec<_> = model.conditions(half).into_iter().map(|condition| condition.name).collect();
        (half.to_string(), names.into())
    });
    Ok(json!({
        "class": model.class_name(),
        "medium": match model.medium() {
            Medium::Video => "video",
            Medium::Image => "image",
        },
        "channels": {"input": channels.input, "output": channels.output, "latents": channels.latents},
        "conditions": conditions.collect::<serde_json::Map<_, _>>(),
        "latents": {"unscaling": model.unscaling().name(), "frames_in_batch": model.frames_in_batch()},
        "compression": {"time": model.temporal_compression(), "space": model.spatial_compression()},
        "weights": {
            "path": vae.checkpoint().path().to_string_lossy(),
            "sums": sums.collect::<Vec<_>>(),
            "account": vae.account(),
            "missing": missing.collect::<serde_json::Map<_, _>>(),
        },
        "warnings": vae.warnings(),
        "machine": {
            "threads": std::thread::available_parallelism().map_or(1, usize::from),
            "isa": target.isa.name(),
            "dot_products": target.dot_products.name(),
            "supported": supported,
        },
    }))
}
