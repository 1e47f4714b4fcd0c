//! Random graphs through the passes: running one twice is running it once, every fusion is reached,
//! and no two values of a buffer plan that live at once overlap. That passes keep the meaning is
//! `differential`'s to say.

use ir::{Activation, FirstFrame, Graph, Op, TensorType, Value};
use passes::buffer_plan::{self, Reuse};
use passes::{Precision, Stage, cpu_pipeline, pipeline};
use tests::evaluation::Random;
use tests::random_graph::samples;

/// The most ops that a graph is declared with.
const OPS: usize = 16;

#[test]
fn running_a_pass_twice_is_running_it_once() {
    for graph in samples(100, OPS) {
        pipeline::run(cpu_pipeline(Precision::F32), &graph, &mut |_, _, stage| {
            for pass in pipeline::ALL {
                let text = |graph: &Graph| ir::text::print(&(passes::eliminate_dead_code::PASS.run)(graph).unwrap());
                let once = (pass.run)(stage).unwrap();
                let twice = (pass.run)(&once).unwrap();
                assert_eq!(text(&twice), text(&once), "{} on\n{}", pass.name, ir::text::print(stage));
            }
        })
        .unwrap();
    }
}

#[test]
fn random_graphs_go_to_bf16() {
    let mut sums = 0;
    for graph in samples(300, OPS) {
        let result = pipeline::run(cpu_pipeline(Precision::Bf16), &graph, &mut |_, _, _| {});
        let result = result.unwrap_or_else(|error| panic!("{error}\n{}", ir::text::print(&graph)));
        assert_eq!(passes::legality::check(&result, Stage::Bf16), Ok(()));
        sums += result.nodes().filter(|(_, node)| matches!(node.op, Op::GroupStatistics { .. })).count();
    }
    assert!(sums > 100, "random graphs no longer have norms: {sums}");
}

/// Frames of a video.
fn frames(ty: &TensorType) -> usize {
    ty.space().unwrap_or_default()[0]
}

#[test]
fn random_graphs_reach_the_fused_ops() {
    let mut seen = std::collections::BTreeSet::new();
    for graph in samples(300, OPS) {
        let graph = pipeline::run(cpu_pipeline(Precision::F32), &graph, &mut |_, _, _| {}).unwrap();
        for (_, node) in graph.nodes() {
            match &node.op {
                Op::Convolution { bias, residual, cache, repeat_first, .. } => {
                    seen.extend(bias.map(|_| "bias"));
                    seen.extend(residual.map(|_| "residual"));
                    seen.extend(cache.map(|_| "cache"));
                    seen.extend((*repeat_first > 0).then_some("repeat_first"));
                }
                Op::Normalize { gain, activation, first_frame, .. } => {
                    seen.extend(gain.map(|_| "gain"));
                    let low = gain.is_some_and(|gain| frames(graph.ty(gain)) < frames(&node.ty));
                    seen.extend((low && *first_frame == FirstFrame::Apart).then_some("gain apart"));
                    seen.extend((*activation == Activation::Silu).then_some("silu"));
                }
                _ => {}
            }
        }
    }
    let all = ["bias", "cache", "gain", "gain apart", "repeat_first", "residual", "silu"];
    assert!(seen.iter().eq(&all), "random graphs no longer reach every fusion: {seen:?}");
}

#[test]
fn values_that_live_at_once_do_not_overlap() {
    let mut reuses = 0;
    for (seed, mut graph) in (0_u64..).zip(samples(300, 2 * OPS)) {
        let mut random = Random(seed);
        if seed % 2 == 0 {
            graph = pipeline::run(cpu_pipeline(Precision::F32), &graph, &mut |_, _, _| {}).unwrap();
        }
        let weights = ir::analysis::weight_only(&graph);
        let with_outputs = random.below(2) == 0;
        let inlined = if random.below(2) == 0 { passes::inline::inlined(&graph) } else { vec![false; graph.len()] };
        let in_arena = |value: Value| {
            let left = graph.outputs().iter().any(|o| o.value == value);
            let stored = !graph.op(value).is_leaf() && !weights[value.index()] && !inlined[value.index()];
            stored && (with_outputs || !left)
        };
        let alignment = [1, 64, 256][random.below(3)];
        let plan = buffer_plan::plan(&graph, &in_arena, &inlined, alignment);
        let live = passes::inline::liveness(&graph, &inlined);
        assert!(plan.arena_bytes >= plan.peak_live_bytes);
        let values: Vec<Value> = graph.nodes().map(|(value, _)| value).collect();
        for &a in &values {
            assert_eq!(plan.placement(a).is_some(), in_arena(a));
            let Some(place) = plan.placement(a) else { continue };
            assert_eq!((place.bytes, place.offset % alignment), (graph.ty(a).bytes(), 0));
            assert!(place.offset + place.bytes <= plan.arena_bytes);
            for &b in values.iter().filter(|b| **b > a) {
                let Some(other) = plan.placement(b) else { continue };
                let apart = place.offset + place.bytes <= other.offset || other.offset + other.bytes <= place.offset;
                let (first, second) = (live[a.index()], live[b.index()]);
                let dies_where_written = first.end == second.start;
                let shares = match other.reuse {
                    Some(Reuse::InPlace(_)) => dies_where_written && other.offset == place.offset,
                    // A view, or the op over the view's last use, stands on the same elements.
                    Some(Reuse::View(of)) => plan.placement(of).is_some_and(|p| p.offset == other.offset),
                    None => false,
                };
                reuses += usize::from(!apart && shares);
                assert!(
                    apart || first.end < second.start || shares,
                    "seed {seed}: {a} and {b} live at once and overlap\n{}\n{plan}",
                    ir::text::print(&graph)
                );
            }
        }
    }
    assert!(reuses > 100, "random graphs no longer reuse memory in place: {reuses}");
}
