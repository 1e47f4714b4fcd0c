//! Snapshots of the declared and the lowered program of every step kind, and of its StableHLO text.
//!
//! A change of a pass shows here as a readable difference. To accept it: `cargo insta review`, or run the tests with
//! `INSTA_UPDATE=always`.

use backend_tpu_stablehlo::EmitOptions;
use frontend::{Config, Step, StepKind, Taps, declare};
use ir::Graph;
use passes::pipeline::{Precision, cpu_pipeline, run, tpu_pipeline};

/// One level of everything: two blocks, time compressed once.
fn config() -> Config {
    let text = include_str!("../goldens/two-level/config.json");
    Config::from_json(text).expect("a valid config").0
}

/// An odd first step and an even later one, over few pixels.
fn step(kind: StepKind) -> Step {
    let (frames, height, width) = match kind {
        StepKind::DecodeFirst => (3, 5, 7),
        StepKind::DecodeNext | StepKind::DecodeWhole => (2, 5, 7),
        StepKind::EncodeFirst => (9, 10, 14),
        StepKind::EncodeNext | StepKind::EncodeWhole => (8, 10, 14),
    };
    Step { kind, batch: 1, frames, height, width }
}

fn lowered(kind: StepKind) -> Graph {
    let declared = declare(&config(), &step(kind), &Taps::None).expect("it declares");
    run(cpu_pipeline(Precision::F32), &declared, &mut |_, _, _| {}).expect("the pipeline takes it")
}

#[test]
fn declared_step() {
    let graph = declare(&config(), &step(StepKind::DecodeFirst), &Taps::None).expect("it declares");
    insta::assert_snapshot!("declared-decode-first", ir::text::print(&graph));
}

#[test]
fn lowered_steps() {
    for kind in StepKind::ALL {
        insta::assert_snapshot!(format!("lowered-{kind}"), ir::text::print(&lowered(kind)));
    }
}

/// Every step kind has a StableHLO text; a snapshot of a later step in bf16, and of a first one in f32.
#[test]
fn stablehlo_of_steps() {
    for kind in StepKind::ALL {
        for precision in Precision::ALL {
            let declared = declare(&config(), &step(kind), &Taps::None).expect("it declares");
            let graph = run(tpu_pipeline(precision), &declared, &mut |_, _, _| {}).expect("the pipeline takes it");
            let module = backend_tpu_stablehlo::emit(&graph, &EmitOptions::default()).expect("every op has a form");
            if matches!(
                (kind, precision),
                (StepKind::DecodeNext, Precision::Bf16) | (StepKind::EncodeFirst, Precision::F32)
            ) {
                insta::assert_snapshot!(format!("stablehlo-{kind}-{precision}"), module.text);
            }
        }
    }
}

#[test]
fn printed_programs_parse_back() {
    for kind in StepKind::ALL {
        let graph = lowered(kind);
        assert_eq!(ir::text::parse(&ir::text::print(&graph)).expect("it parses"), graph);
    }
}
