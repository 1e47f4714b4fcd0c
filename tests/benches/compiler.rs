//! How long the compiler itself takes, on the full-size decoder: declaring a step, the pass
//! pipeline and each pass by itself, code generation.

use std::hint::black_box;

use backend_cpu::isa::Isa;
use criterion::{Criterion, criterion_group, criterion_main};
use frontend::cogvideox::Config;
use frontend::{Half, Position, Step, StepKind, Taps, declare};
use passes::pipeline::{Precision, cpu_pipeline, run};

/// A step over one default tile of the published model: two latent frames of 30x45.
const STEP: Step =
    Step { kind: StepKind::new(Half::Decoder, Position::Next), batch: 1, frames: 2, height: 30, width: 45 };

fn compiler(criterion: &mut Criterion) {
    let config = Config::default();
    let declared = declare(&config, &STEP, &Taps::None).expect("the default config is valid");
    let lowered = run(cpu_pipeline(Precision::F32), &declared, &mut |_, _, _| {}).expect("the pipeline takes it");

    let mut group = criterion.benchmark_group("compiler");
    group.sample_size(20);
    group.bench_function("declare", |b| b.iter(|| declare(black_box(&config), &STEP, &Taps::None)));
    group.bench_function("passes", |b| {
        b.iter(|| run(cpu_pipeline(Precision::F32), black_box(&declared), &mut |_, _, _| {}))
    });
    let mut graph = declared.clone();
    for (number, pass) in cpu_pipeline(Precision::F32).iter().enumerate() {
        group.bench_function(format!("pass/{:02}-{}", number + 1, pass.name), |b| {
            b.iter(|| (pass.run)(black_box(&graph)));
        });
        graph = (pass.run)(&graph).expect("the pipeline takes it");
    }
    for isa in Isa::supported() {
        group.bench_function(format!("codegen/{isa}"), |b| {
            b.iter(|| backend_cpu::program::compile(black_box(&lowered), isa));
        });
    }
    group.finish();
}

criterion_group!(benches, compiler);
criterion_main!(benches);
