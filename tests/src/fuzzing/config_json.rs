//! `config.json`: refused with reasons, or a model whose steps can be declared and optimised.

use frontend::{Config, DeclareError, Half, Step, StepKind, Taps, declare, parameters};
use passes::{Precision, pipeline};

/// Modules of a model that is declared whole, at most: those of the published one are not half as many.
const MODULES: usize = 64;
/// Ops of a step that is optimised as well, at most.
const OPS: usize = 300;

/// Reads `bytes` as `config.json` and declares every kind of step over the smallest input, with all taps.
///
/// # Panics
/// When a configuration that was taken cannot be declared though its tensors fit the address space, or a step does not
/// verify or cannot be optimised.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok((config, _)) = Config::from_json(text) else { return };
    assert!(config.problems().is_empty(), "{:?}", config.problems());
    if config.levels() * (config.layers_per_block + 1) > MODULES {
        return;
    }
    for half in [Half::Encoder, Half::Decoder] {
        match parameters(&config, half) {
            Ok(parameters) => assert!(!parameters.is_empty()),
            Err(DeclareError::Build { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    for kind in StepKind::ALL {
        let size = if kind.half() == Half::Encoder { config.spatial_compression() } else { 1 };
        let step = Step { kind, batch: 1, frames: 3, height: size, width: size };
        let graph = match declare(&config, &step, &Taps::All) {
            Ok(graph) => graph,
            // Tensors beyond the address space.
            Err(DeclareError::Build { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        ir::verify::verify(&graph).unwrap_or_else(|error| panic!("{step}: {error}"));
        if graph.len() <= OPS {
            let passes = pipeline::cpu_pipeline(Precision::Bf16);
            pipeline::run(passes, &graph, &mut |_, _, _| {}).unwrap_or_else(|error| panic!("{step}: {error}"));
        }
    }
}
