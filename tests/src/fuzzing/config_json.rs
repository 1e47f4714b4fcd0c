//! `config.json`: refused with reasons, or a model whose steps can be declared and optimised.

use frontend::{
    DeclareError, FrameSteps, Half, Medium, Position, Step, StepKind, Taps, declare, parameters, read_config,
};
use passes::{Precision, pipeline};

/// Parameters of half a model whose every step is declared, at most: those of published ones are
/// fewer.
const MOST_PARAMETERS: usize = 800;
/// Ops of a step that is optimised as well, at most.
const OPS: usize = 300;

/// Reads `bytes` as `config.json` and declares every kind of step over the smallest input, with all
/// taps.
///
/// # Panics
/// When a configuration that was taken cannot be declared though its tensors fit the address space,
/// or a step does not verify or cannot be optimised.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok((model, _)) = read_config(text) else { return };
    let model = &*model;
    assert!(model.problems().is_empty(), "{:?}", model.problems());
    for half in [Half::Encoder, Half::Decoder] {
        match parameters(model, half) {
            Ok(parameters) if parameters.len() > MOST_PARAMETERS => return,
            Ok(parameters) => assert!(!parameters.is_empty()),
            Err(DeclareError::Build { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    for kind in StepKind::ALL {
        let size = model.least_size(kind.half);
        let frames = match (model.frame_steps(kind.half), kind.position) {
            (
                FrameSteps::WholeUnits { streams: false, .. } | FrameSteps::Units { .. },
                Position::First | Position::Next,
            ) => continue,
            (FrameSteps::Units { unit }, Position::Whole) => unit,
            (FrameSteps::WholeUnits { unit, .. }, Position::Whole) => 1 + unit,
            (FrameSteps::WholeUnits { .. }, Position::First) => 1,
            (
                FrameSteps::Free { unit, .. } | FrameSteps::Chunks { unit, .. } | FrameSteps::WholeUnits { unit, .. },
                Position::Next,
            ) => unit,
            (FrameSteps::Free { first, .. } | FrameSteps::Chunks { first, .. }, _) => first,
            _ if model.medium() == Medium::Image => 1,
            (
                FrameSteps::Fixed { .. } | FrameSteps::Ragged { .. } | FrameSteps::Parts { .. } | FrameSteps::Whole,
                _,
            ) => 3,
        };
        let step = Step { kind, batch: 1, frames, height: size, width: size };
        let graph = match declare(model, &step, &Taps::All) {
            Ok(graph) => graph,
            // Tensors beyond the address space.
            Err(DeclareError::Build { .. }) => continue,
            // Of a model that takes whole clips alone.
            Err(DeclareError::Frames { .. }) if model.frame_steps(kind.half).is_whole() => continue,
            Err(error) => panic!("{error}"),
        };
        ir::verify::verify(&graph).unwrap_or_else(|error| panic!("{step}: {error}"));
        if graph.len() <= OPS {
            let passes = pipeline::cpu_pipeline(Precision::Bf16);
            pipeline::run(passes, &graph, &mut |_, _, _| {}).unwrap_or_else(|error| panic!("{step}: {error}"));
        }
    }
}
