//! The text of programs: refused at a place, or a program that prints as itself and, if it
//! verifies, goes through every pass and every backend's planning, and is evaluated where it is
//! small.

use std::borrow::Cow;

use backend_cpu::isa::Isa;
use backend_cpu::requirements::requirements;
use backend_tpu_stablehlo::{EmitOptions, emit};
use ir::eval::{Bindings, Leaf, Tensor, evaluate};
use ir::text::{parse, print};
use ir::verify::verify;
use ir::{Graph, analysis};
use passes::pass::Pass;
use passes::pipeline::{self, PipelineFault};
use passes::{Precision, buffer_plan, inline};

/// Elements of all values and operations of a graph that is evaluated, at most.
const ELEMENTS: usize = 1 << 12;
const FLOPS: u64 = 1 << 18;

/// Parses `bytes` and does all that is done to a program without compiling it.
///
/// # Panics
/// When what was parsed does not print as itself, or a pass leaves what is no graph or another one.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(graph) = parse(text) else { return };
    let printed = print(&graph);
    let again = parse(&printed).unwrap_or_else(|error| panic!("what was printed does not parse: {error}\n{printed}"));
    assert_eq!(print(&again), printed);
    if verify(&graph).is_err() {
        return;
    }
    look_at(&graph);
    for pass in pipeline::ALL {
        rewritten(&[*pass], &graph);
    }
    for precision in Precision::ALL {
        let Some(last) = rewritten(pipeline::cpu_pipeline(precision), &graph) else { continue };
        let _ = emit(&last, &EmitOptions::default());
        let _ = emit(&last, &EmitOptions::default().with_strip_bytes(1));
        for isa in Isa::supported() {
            let _ = requirements(&last, isa.into());
        }
    }
}

/// Everything that can be said of a graph.
fn look_at(graph: &Graph) {
    let inlined = inline::inlined(graph);
    let plan = buffer_plan::plan(graph, &|value| !inlined[value.index()], &inlined, 64);
    assert!(plan.arena_bytes >= plan.peak_live_bytes);
    let cost = analysis::total_cost(graph);
    assert!(!ir::dot::dot(graph, 2).is_empty() && analysis::critical_path(graph) <= graph.len());
    let elements = graph.nodes().map(|(_, node)| node.ty.elements()).fold(0, usize::saturating_add);
    if elements <= ELEMENTS && cost.flops <= FLOPS {
        let outputs = evaluate(graph, &Halves).unwrap_or_else(|error| panic!("a small graph: {error}"));
        assert_eq!(outputs.len(), graph.outputs().len());
    }
}

/// What `passes` make of the graph; `None` if they say that they cannot.
fn rewritten(passes: &[Pass], graph: &Graph) -> Option<Graph> {
    match pipeline::run(passes, graph, &mut |_, _, _| {}) {
        Ok(after) => {
            look_at(&after);
            Some(after)
        }
        Err(error) if matches!(error.fault, PipelineFault::Pass(_) | PipelineFault::Legality(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

/// One half everywhere.
struct Halves;

impl Bindings<f64> for Halves {
    fn tensor(&self, leaf: Leaf<'_>) -> Option<Cow<'_, Tensor<f64>>> {
        Tensor::new(leaf.ty.clone(), vec![0.5; leaf.ty.elements()]).ok().map(Cow::Owned)
    }
}
