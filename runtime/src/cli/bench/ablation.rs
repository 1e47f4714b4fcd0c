//! What each pass and each algorithm is worth: the step without it, in turn with the step as it is.

use backend_cpu::blocking::Algorithm;
use backend_cpu::element::Element;
use backend_cpu::target::{DotProducts, Target};
use frontend::Step;
use passes::pipeline::{removable, without};
use passes::{Precision, cpu_pipeline};
use serde_json::{Value, json};
use tessera::amount::bytes;
use workbench::profile::{Bench, Prepared, Variant, median};

use super::{Arguments, check_interrupt, report};
use crate::cli::progress::RunBar;
use crate::cli::table::table;
use crate::cli::{Console, Failure, print};

/// A variant and its runs.
struct TimedVariant {
    name: String,
    prepared: Prepared,
    runs: Vec<f64>,
}

impl TimedVariant {
    fn seconds(&self) -> f64 {
        median(self.runs.iter().copied())
    }

    /// Bytes that all calls move.
    fn moved(&self) -> u64 {
        self.prepared.program().calls().iter().map(|call| call.cost.bytes_read + call.cost.bytes_written).sum()
    }
}

/// The step as it is, without each pass that can be left out, without all of them, by each
/// algorithm.
fn variants(target: Target, precision: Precision) -> Vec<(String, Variant)> {
    let pipeline = cpu_pipeline(precision);
    let leave_out = |names: &[&str]| {
        let passes = without(pipeline, names).expect("only what can be left out is left out");
        Variant { passes, algorithm: None }
    };
    let whole = || leave_out(&[]);
    let mut variants = vec![("as it is".to_owned(), whole())];
    let names = removable(pipeline);
    variants.extend(names.iter().map(|name| (format!("without {name}"), leave_out(&[*name]))));
    variants.push(("without any of these".to_owned(), leave_out(&names)));
    // Dot products are of bf16 alone.
    let has_dots = precision == Precision::Bf16 && target.dot_products != DotProducts::Absent;
    let algorithms = Algorithm::ALL.into_iter().filter(|algorithm| has_dots || algorithm.factors() == Element::F32);
    variants.extend(
        algorithms
            .map(|algorithm| (format!("all {}", algorithm.name()), Variant { algorithm: Some(algorithm), ..whole() })),
    );
    variants
}

pub(super) fn run(
    bench: &mut Bench<'_>,
    step: &Step,
    arguments: &Arguments,
    model: &str,
    console: Console,
) -> Result<(), Failure> {
    let mut rows = vec![];
    for (name, variant) in variants(bench.target(), arguments.dtype) {
        check_interrupt()?;
        rows.push(TimedVariant { name, prepared: bench.prepare(step, &variant)?, runs: vec![] });
    }
    let mut bar = RunBar::new(console, (arguments.repeats as usize + 1) * rows.len());
    for round in 0..=arguments.repeats {
        for row in &mut rows {
            let times = bench.run(&row.prepared, &mut |share| bar.show(share))?;
            // The first round is not counted.
            if round > 0 {
                row.runs.push(times.seconds);
            }
        }
    }
    drop(bar);
    let text = if arguments.json { json_text(model, step, bench, &rows, arguments) } else { table_text(&rows) };
    print(&text)
}

fn json_text(model: &str, step: &Step, bench: &Bench<'_>, rows: &[TimedVariant], arguments: &Arguments) -> String {
    let whole = rows.first().map_or(0.0, TimedVariant::seconds);
    let variant = |row: &TimedVariant| {
        json!({
            "variant": row.name,
            "seconds": row.seconds(),
            "runs": row.runs,
            "ratio": row.seconds() / whole,
            "calls": row.prepared.program().calls().len(),
            "bytes": row.moved(),
            "arena_bytes": row.prepared.program().arena_bytes(),
        })
    };
    let mut object = report::head(model, step, arguments.dtype, bench);
    if let Value::Object(fields) = &mut object {
        fields.insert("repeats".into(), json!(arguments.repeats));
        fields.insert("variants".into(), rows.iter().map(variant).collect());
    }
    format!("{object}\n")
}

fn table_text(rows: &[TimedVariant]) -> String {
    let whole = rows.first().map_or(0.0, TimedVariant::seconds);
    let mut cells = vec![["variant", "ms", "times as long", "calls", "moved", "arena"].map(String::from)];
    cells.extend(rows.iter().map(|row| {
        let program = row.prepared.program();
        [
            row.name.clone(),
            format!("{:.3}", 1e3 * row.seconds()),
            format!("{:.2}", row.seconds() / whole),
            program.calls().len().to_string(),
            bytes(row.moved()),
            bytes(program.arena_bytes() as u64),
        ]
    }));
    table(&cells, &[1, 2, 3, 4, 5])
}
