//! Snapshots of the declared and the lowered program of every step kind, and of its StableHLO text.
//!
//! A change of a pass shows here as a readable difference. To accept it: `cargo insta review`, or
//! run the tests with `INSTA_UPDATE=always`.

use backend_tpu_stablehlo::EmitOptions;
use std::sync::Arc;

use frontend::{Autoencoder, Half, Position, Step, StepKind, Taps, declare, read_config};
use ir::Graph;
use passes::pipeline::{Precision, cpu_pipeline, run, tpu_pipeline};

/// One level of everything: two blocks, time compressed once.
fn model() -> Arc<dyn Autoencoder> {
    let text = include_str!("../goldens/two-level/config.json");
    read_config(text).expect("a valid config").0
}

/// An odd first step and an even later one, over few pixels.
fn step(kind: StepKind) -> Step {
    let (frames, height, width) = match (kind.half, kind.position) {
        (Half::Decoder, Position::First) => (3, 5, 7),
        (Half::Decoder, _) => (2, 5, 7),
        (Half::Encoder, Position::First) => (9, 10, 14),
        (Half::Encoder, _) => (8, 10, 14),
    };
    Step { kind, batch: 1, frames, height, width }
}

fn lowered(kind: StepKind) -> Graph {
    let declared = declare(&*model(), &step(kind), &Taps::None).expect("it declares");
    run(cpu_pipeline(Precision::F32), &declared, &mut |_, _, _| {}).expect("the pipeline takes it")
}

#[test]
fn declared_step() {
    let graph =
        declare(&*model(), &step(StepKind::new(Half::Decoder, Position::First)), &Taps::None).expect("it declares");
    insta::assert_snapshot!("declared-decode-first", ir::text::print(&graph));
}

#[test]
fn lowered_steps() {
    for kind in StepKind::ALL {
        insta::assert_snapshot!(format!("lowered-{kind}"), ir::text::print(&lowered(kind)));
    }
}

/// Every step kind has a StableHLO text; a snapshot of a later step in bf16, and of a first one in
/// f32.
#[test]
fn stablehlo_of_steps() {
    for kind in StepKind::ALL {
        for precision in Precision::ALL {
            let declared = declare(&*model(), &step(kind), &Taps::None).expect("it declares");
            let graph = run(tpu_pipeline(precision), &declared, &mut |_, _, _| {}).expect("the pipeline takes it");
            let module = backend_tpu_stablehlo::emit(&graph, &EmitOptions::default()).expect("every op has a form");
            if matches!(
                (kind.half, kind.position, precision),
                (Half::Decoder, Position::Next, Precision::Bf16) | (Half::Encoder, Position::First, Precision::F32)
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
