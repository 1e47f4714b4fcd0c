//! What a run has cost, for people and as JSON: what the commands that run the model have in
//! common.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tessera::media::{self, FrameRate, Output};
use tessera::memory::peak_resident_bytes;
use tessera::{FrameTiling, Report, TileOrder, Tiling, TilingDecision, amount};

use super::table;

/// What `--json` prints, for its help.
pub(super) const JSON_FIELDS: &str = "\
frames (of all samples), height, width, seconds {load, compile, run, write}, programs_compiled, programs_cached (read \
from disk), program_runs, tiling {tile and overlap (null for whole frames), rows, columns, tile_frames (along time: \
frames and stride, null for none), frame_tiles, order, reason, step_frames (of a step of what goes in, where they are \
others than the reference's, else null), \
follows_free_memory (true: with more or less memory free the tiles, and with them the pixels, may be others), \
pinned_by (the options that always cut these tiles, else null), needed_bytes (null but with --backend cpu), \
budget_bytes}, tiles, arena_bytes, threads, lanes (steps that ran at once), dtype, isa (`none` but with --backend \
cpu), device (of a PJRT plugin, else null)";

/// A report's fields; `write_seconds` were spent on the output.
pub(super) fn fields(report: &Report, write_seconds: f64) -> Map<String, Value> {
    let Report {
        frames,
        height,
        width,
        seconds,
        programs_compiled,
        programs_cached,
        program_runs,
        arena_bytes,
        threads,
        workers,
        precision,
        isa,
        ref device,
        ref tiling,
        ..
    } = *report;
    let tile = tiling.tiling.map(|Tiling { height, width, .. }| [height, width]);
    let overlap = tiling.tiling.map(|Tiling { overlap, .. }| [overlap.height, overlap.width]);
    let fields = json!({
        "frames": frames,
        "height": height,
        "width": width,
        "seconds": {"load": seconds.load, "compile": seconds.compile, "run": seconds.run, "write": write_seconds},
        "programs_compiled": programs_compiled,
        "programs_cached": programs_cached,
        "program_runs": program_runs,
        "tiling": {
            "tile": tile,
            "overlap": overlap,
            "rows": tiling.rows,
            "columns": tiling.columns,
            "tile_frames": tiling.frame_tiling.map(|FrameTiling { frames, stride }| [frames, stride]),
            "frame_tiles": tiling.frame_tiles,
            "order": order_text(tiling.order),
            "reason": tiling.reason,
            "step_frames": tiling.step_frames,
            "follows_free_memory": tiling.follows_free_memory,
            "pinned_by": pinned_by(tiling),
            "needed_bytes": tiling.memory.map(|memory| memory.total()),
            "budget_bytes": tiling.budget,
        },
        "tiles": tiling.rows * tiling.columns,
        "arena_bytes": arena_bytes,
        "threads": threads,
        "lanes": workers,
        "dtype": precision.name(),
        "isa": isa,
        "device": device,
    });
    let Value::Object(fields) = fields else { unreachable!("written as one above") };
    fields
}

/// One path, or a list of them.
pub(super) fn paths_json(paths: &[PathBuf]) -> Value {
    let paths: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
    if let [path] = paths.as_slice() { json!(path) } else { json!(paths) }
}

/// The paths, one after the other, and their size.
pub(super) fn paths_text(paths: &[PathBuf], bytes: u64) -> String {
    let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    format!("{} ({})", names.join(", "), amount::bytes(bytes))
}

pub(super) fn row(name: &str, value: impl Into<String>) -> [String; 2] {
    [name.to_owned(), value.into()]
}

/// The rows about one way through the model; `write_seconds` were spent on the output,
/// `total_seconds` on everything.
pub(super) fn rows(report: &Report, write_seconds: f64, total_seconds: f64) -> Vec<[String; 2]> {
    let Report { frames, height, width, seconds, ref tiling, .. } = *report;
    let mut rows = vec![
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
        row("tiling", tiling_text(tiling)),
    ];
    rows.extend(pinned_by(tiling).map(|options| {
        let text = format!(
            "follow from the memory that was free: another run may cut other tiles, and other tiles give other pixels; \
             `{options}` always cuts these, `--memory-budget` with a size counts on that much"
        );
        row("pixels", text)
    }));
    rows.push(row("programs", programs_text(report)));
    rows
}

/// The options that always cut the tiles of a decision that another run may not make; `None` where
/// it would.
fn pinned_by(decision: &TilingDecision) -> Option<String> {
    let Tiling { height, width, overlap } = decision.tiling.filter(|_| decision.follows_free_memory)?;
    let tiles = format!("--tiling {height}x{width}");
    Some(match overlap == decision.usual_overlap {
        true => tiles,
        false => format!("{tiles} --tile-overlap {},{}", overlap.height, overlap.width),
    })
}

/// The programs, and what ran them.
fn programs_text(report: &Report) -> String {
    let Report {
        programs_compiled, programs_cached, program_runs, threads, workers, precision, isa, ref device, ..
    } = *report;
    let dtype = precision.name();
    match device {
        Some(device) => {
            format!(
                "{programs_compiled} compiled, {programs_cached} from the cache, {program_runs} runs, {dtype}, PJRT \
                 device `{device}`"
            )
        }
        None => {
            let at_once = if workers > 1 { format!(" in {workers} lanes") } else { String::new() };
            format!("{programs_compiled} compiled, {program_runs} runs{at_once}, {threads} threads, {dtype}, {isa}")
        }
    }
}

/// The tiles, why, and what they were expected to need; `--verbose` tells of what that is made.
fn tiling_text(decision: &TilingDecision) -> String {
    let frames = decision.tiling.map_or("whole frames".into(), |Tiling { height, width, .. }| {
        let order = order_text(decision.order);
        format!("{} x {} tiles of {height}x{width} pixels, {order}", decision.rows, decision.columns)
    });
    let memory = decision.memory.map_or(String::new(), |memory| {
        format!(" (needs {} of {})", amount::bytes(memory.total()), amount::bytes(decision.budget))
    });
    let along_time = decision.frame_tiling.map_or(String::new(), |FrameTiling { frames, stride }| {
        format!(", in {} tiles along time of {frames} frames at a stride of {stride}", decision.frame_tiles)
    });
    format!("{frames}{along_time}: {}{memory}", decision.reason)
}

fn order_text(order: TileOrder) -> &'static str {
    match order {
        TileOrder::FrameMajor => "frame by frame",
        TileOrder::TileMajor => "tile by tile",
    }
}

/// What is to be said of an output that cannot be played at the rate that was asked for.
pub(super) fn rate_note(output: &Path, asked: FrameRate) -> Option<String> {
    let played = media::played_rate(output, asked).filter(|&played| played != asked)?;
    let longer = asked.per_second() / played.per_second();
    Some(format!(
        "note: {}: a GIF shows at most {played} frames a second: it plays at {played} in place of {asked}, {longer:.2} \
         times as long; .mp4 and .y4m have any rate",
        output.display()
    ))
}

/// The row about memory.
pub(super) fn memory_row(arena_bytes: usize) -> [String; 2] {
    let peak = peak_resident_bytes().map_or("unknown".into(), amount::bytes);
    row("memory", format!("arena {}, peak {peak}", amount::bytes(arena_bytes as u64)))
}

/// The one object that `--json` prints for a run: what `head` has, then the report's fields.
pub(super) fn object(mut head: Map<String, Value>, report: &Report, write_seconds: f64) -> String {
    head.extend(fields(report, write_seconds));
    head.insert("peak_rss_bytes".into(), json!(peak_resident_bytes()));
    format!("{}\n", Value::Object(head))
}

/// The table that ends a run: `first`, the report, and where the output is.
pub(super) fn summary(
    first: [String; 2],
    report: &Report,
    write_seconds: f64,
    total_seconds: f64,
    output: &Output,
) -> String {
    let mut summary = rows(report, write_seconds, total_seconds);
    summary.insert(0, first);
    summary.push(memory_row(report.arena_bytes));
    summary.push(row("written", paths_text(&output.paths, output.bytes)));
    table::table(&summary, &[])
}
