//! What a bench measured, as tables and as JSON.

use std::collections::HashMap;

use backend_cpu::blocking::Algorithm;
use backend_cpu::profile::CallSummary;
use frontend::Step;
use passes::Precision;
use serde_json::{Value, json};
use tessera::amount::{bytes, count};
use workbench::profile::{Bench, Ceilings, PrepareSeconds};
use workbench::roofline::Point;

use super::Measured;
use crate::cli::info::cpu_name;
use crate::cli::report::row;
use crate::cli::table::table;

/// What `--json` prints, for its help.
pub(super) const JSON_FIELDS: &str = "\
Its fields: model, step {kind, batch, frames, height, width}, element, isa, threads, cpu, algorithm (null: the \
estimated best of each), without_passes, repeats, ceilings {gflops, gbytes_per_second}, seconds {load, declare, \
passes, codegen, pack, first, run (the median), runs}, flops, bytes, gflops_per_second, share_of_peak, arena_bytes, \
weight_bytes, peak_rss_bytes (null where the system does not tell), kinds [{kind, calls, seconds, flops, bytes}], \
calls [{module, kernel, kind, algorithm (null but for convolutions), seconds, flops, bytes_read, bytes_written}], in \
the order in which they run. With --ablation: model to cpu and repeats as above, and variants [{variant, seconds, \
runs, ratio, calls, bytes, arena_bytes}].";

/// All that there is to report.
pub(super) struct Context<'a> {
    pub(super) model: &'a str,
    pub(super) step: &'a Step,
    pub(super) precision: Precision,
    pub(super) bench: &'a Bench<'a>,
    pub(super) ceilings: Ceilings,
    pub(super) algorithm: Option<Algorithm>,
    pub(super) without_passes: &'a [String],
    pub(super) load_seconds: f64,
    /// The most memory held while the step was made and run.
    pub(super) peak_bytes: Option<u64>,
    pub(super) measured: &'a Measured,
}

/// Calls taken together.
#[derive(Clone, Debug, Default)]
struct Sum {
    calls: usize,
    seconds: f64,
    flops: f64,
    bytes: f64,
}

impl Sum {
    fn add(&mut self, call: &CallSummary, seconds: f64) {
        self.calls += 1;
        self.seconds += seconds;
        self.flops += call.cost.flops as f64;
        self.bytes += (call.cost.bytes_read + call.cost.bytes_written) as f64;
    }
}

/// The kind of a call, with its algorithm if it has one.
fn kind(call: &CallSummary) -> String {
    match call.algorithm {
        Some(algorithm) => format!("{} {}", call.kind, algorithm.name()),
        None => call.kind.clone(),
    }
}

/// What stands at the head of both JSON objects.
pub(super) fn head(model: &str, step: &Step, precision: Precision, bench: &Bench<'_>) -> Value {
    json!({
        "model": model,
        "step": {
            "kind": step.kind.to_string(),
            "batch": step.batch,
            "frames": step.frames,
            "height": step.height,
            "width": step.width,
        },
        "element": precision.name(),
        "isa": bench.target().isa.name(),
        "threads": bench.threads(),
        "cpu": cpu_name(),
    })
}

impl Context<'_> {
    /// Calls with what each took in the median run.
    fn timed(&self) -> impl Iterator<Item = (&CallSummary, f64)> {
        self.measured.prepared.program().calls().iter().zip(self.measured.median().calls)
    }

    /// Calls by `key`, in the order in which each key first comes.
    fn sums(&self, key: impl Fn(&CallSummary) -> [String; 2]) -> Vec<([String; 2], Sum)> {
        let mut places = HashMap::new();
        let mut sums: Vec<([String; 2], Sum)> = vec![];
        for (call, seconds) in self.timed() {
            let key = key(call);
            let place = *places.entry(key.clone()).or_insert(sums.len());
            if place == sums.len() {
                sums.push((key, Sum::default()));
            }
            sums[place].1.add(call, seconds);
        }
        sums
    }

    fn by_kind(&self) -> Vec<([String; 2], Sum)> {
        let mut sums = self.sums(|call| [kind(call), String::new()]);
        sums.sort_by(|(_, a), (_, b)| b.seconds.total_cmp(&a.seconds));
        sums
    }

    fn total(&self) -> Sum {
        let mut total = Sum::default();
        self.timed().for_each(|(call, seconds)| total.add(call, seconds));
        total
    }

    /// The picture's heading.
    pub(super) fn title(&self) -> String {
        let (isa, threads) = (self.bench.target().isa, self.bench.threads());
        format!("{}, {isa}, {threads} threads: {:.4} s", self.step, self.measured.median().seconds)
    }

    /// Every call, for the picture.
    pub(super) fn points(&self) -> Vec<Point> {
        let point = |(call, seconds): (&CallSummary, f64)| Point {
            kind: kind(call),
            flops: call.cost.flops as f64,
            bytes: (call.cost.bytes_read + call.cost.bytes_written) as f64,
            seconds,
        };
        self.timed().map(point).collect()
    }

    /// The one object that `--json` prints.
    pub(super) fn json(&self) -> String {
        let Measured { prepared, first, runs } = self.measured;
        let PrepareSeconds { declare, passes, codegen, pack } = prepared.seconds;
        let (total, run) = (self.total(), self.measured.median().seconds);
        let call = |(call, seconds): (&CallSummary, f64)| {
            json!({
                "module": call.path.to_string(),
                "kernel": call.kernel,
                "kind": call.kind,
                "algorithm": call.algorithm.map(Algorithm::name),
                "seconds": seconds,
                "flops": call.cost.flops,
                "bytes_read": call.cost.bytes_read,
                "bytes_written": call.cost.bytes_written,
            })
        };
        let kind = |([kind, _], sum): ([String; 2], Sum)| {
            let Sum { calls, seconds, flops, bytes } = sum;
            json!({"kind": kind, "calls": calls, "seconds": seconds, "flops": flops as u64, "bytes": bytes as u64})
        };
        let mut object = head(self.model, self.step, self.precision, self.bench);
        let rest = json!({
            "algorithm": self.algorithm.map(Algorithm::name),
            "without_passes": self.without_passes,
            "repeats": runs.len(),
            "ceilings": {"gflops": self.ceilings.flops / 1e9, "gbytes_per_second": self.ceilings.bandwidth / 1e9},
            "seconds": {
                "load": self.load_seconds,
                "declare": declare,
                "passes": passes,
                "codegen": codegen,
                "pack": pack,
                "first": first.seconds,
                "run": run,
                "runs": runs.iter().map(|run| run.seconds).collect::<Vec<_>>(),
            },
            "flops": total.flops as u64,
            "bytes": total.bytes as u64,
            "gflops_per_second": total.flops / run / 1e9,
            "share_of_peak": total.flops / run / self.ceilings.flops,
            "arena_bytes": prepared.program().arena_bytes(),
            "weight_bytes": self.bench.weight_bytes(),
            "peak_rss_bytes": self.peak_bytes,
            "kinds": self.by_kind().into_iter().map(kind).collect::<Vec<_>>(),
            "calls": self.timed().map(call).collect::<Vec<_>>(),
        });
        if let (Value::Object(object), Value::Object(rest)) = (&mut object, rest) {
            object.extend(rest);
        }
        format!("{object}\n")
    }

    /// The tables: kernels by module, by kind, and the whole.
    pub(super) fn text(&self, top: Option<usize>) -> String {
        let mut modules = self.sums(|call| [call.path.to_string(), kind(call)]);
        let heading = match top {
            None => "Kernels by module, in the order in which they run".to_owned(),
            Some(top) => {
                modules.sort_by(|(_, a), (_, b)| b.seconds.total_cmp(&a.seconds));
                let all = modules.len();
                modules.truncate(top);
                format!("The {} slowest of {all} kernels by module", modules.len())
            }
        };
        let kinds: Vec<_> = self.by_kind();
        let kinds = kinds.into_iter().map(|([kind, _], sum)| ([format!("{} x", sum.calls), kind], sum));
        format!(
            "{heading}\n{}\nBy kind of kernel\n{}\n{}",
            self.table("module", modules),
            self.table("calls", kinds.collect()),
            table(&self.summary(), &[])
        )
    }

    fn table(&self, first: &str, sums: Vec<([String; 2], Sum)>) -> String {
        let whole = self.total().seconds.max(f64::MIN_POSITIVE);
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let mut rows =
            vec![[first, "kernel", "ms", "share", "GFLOP", "GFLOP/s", "of peak", "GB/s", "of roof"].map(String::from)];
        for ([first, second], Sum { seconds, flops, bytes, .. }) in sums {
            let per_second = seconds.max(f64::MIN_POSITIVE);
            let or_dash = |there: bool, text: String| if there { text } else { "-".into() };
            rows.push([
                first,
                second,
                format!("{:.3}", 1e3 * seconds),
                percent(seconds / whole),
                or_dash(flops > 0.0, format!("{:.3}", flops / 1e9)),
                or_dash(flops > 0.0, format!("{:.1}", flops / per_second / 1e9)),
                or_dash(flops > 0.0, percent(flops / per_second / self.ceilings.flops)),
                or_dash(bytes > 0.0, format!("{:.1}", bytes / per_second / 1e9)),
                or_dash(bytes > 0.0, percent(self.ceilings.least_seconds(flops, bytes) / per_second)),
            ]);
        }
        table(&rows, &[2, 3, 4, 5, 6, 7, 8])
    }

    fn summary(&self) -> Vec<[String; 2]> {
        let Measured { prepared, first, runs } = self.measured;
        let PrepareSeconds { declare, passes, codegen, pack } = prepared.seconds;
        let (total, run) = (self.total(), self.measured.median().seconds);
        let Ceilings { flops, bandwidth } = self.ceilings;
        let all = runs.iter().map(|run| run.seconds);
        let (least, most) = all.fold((f64::INFINITY, 0.0_f64), |(low, high), s| (low.min(s), high.max(s)));
        let peak = self.peak_bytes.map_or("unknown".into(), bytes);
        vec![
            row("model", self.model),
            row("step", self.step.to_string()),
            row(
                "machine",
                format!(
                    "{}, {} threads, {}: {:.1} GFLOP/s and {:.1} GB/s measured",
                    cpu_name().unwrap_or_else(|| std::env::consts::ARCH.into()),
                    self.bench.threads(),
                    self.bench.target(),
                    flops / 1e9,
                    bandwidth / 1e9
                ),
            ),
            row(
                "run",
                format!(
                    "{run:.4} s, the median of {} ({least:.4} to {most:.4}; the first took {:.4}), {:.4} outside of \
                     kernels",
                    runs.len(),
                    first.seconds,
                    (run - total.seconds).max(0.0)
                ),
            ),
            row(
                "speed",
                format!(
                    "{} in all, {:.1} GFLOP/s, {:.1} % of the peak; {} moved",
                    count(total.flops as u64, "FLOP"),
                    total.flops / run / 1e9,
                    100.0 * total.flops / run / flops,
                    bytes(total.bytes as u64)
                ),
            ),
            row(
                "before",
                format!(
                    "load {:.3} s, declare {declare:.3}, passes {passes:.3}, code {codegen:.3}, pack weights {pack:.3}",
                    self.load_seconds
                ),
            ),
            row(
                "memory",
                format!(
                    "arena {}, weights {}, peak {peak}",
                    bytes(prepared.program().arena_bytes() as u64),
                    bytes(self.bench.weight_bytes() as u64)
                ),
            ),
        ]
    }
}
