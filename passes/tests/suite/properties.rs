//! Random graphs: the pipeline keeps their meaning, and no two values of a buffer plan that live at once overlap.

use ir::{
    Activation, Builder, Dims, ElementType, Elements, FirstFrame, Graph, Layout, Op, PadMode, Role, TensorType, Value,
};
use passes::buffer_plan::{self, Reuse};
use passes::{Precision, Stage, cpu_pipeline, pipeline};

use crate::evaluation::{Random, same_meaning};

/// A graph of about `ops` random ops over channel-first videos, as a frontend might declare it, with all that nothing reads
/// as outputs of one role or another.
fn random_graph(random: &mut Random, ops: usize) -> Graph {
    let mut b = Builder::new("random");
    let size = |random: &mut Random| [1 + random.below(4), 2 + random.below(3), 2 + random.below(3)];
    let [t, h, w] = size(random);
    let video = |t, h, w| TensorType::with_layout(ElementType::F32, Layout::Ncthw, [1, 4, t, h, w]);
    let mut values = vec![b.input("x".to_owned(), video(t, h, w)).unwrap()];
    let [t2, h2, w2] = size(random);
    values.push(b.input("y".to_owned(), video(t2, h2, w2)).unwrap());
    values.push(b.state("s".to_owned(), video(2, h, w)).unwrap());
    values.push(b.constant(Elements::Splat([0.0, 1.0, 0.5][random.below(3)]), video(t, h, w)).unwrap());
    for _ in 0..ops {
        b.set_path(format!("module.{}", random.below(5)).into());
        if let Some(value) = random_op(&mut b, random, &values) {
            values.push(value);
        }
    }
    let graph = b.graph().clone();
    let uses = graph.use_counts();
    for (value, node) in graph.nodes() {
        let name = format!("v{}", value.index());
        let keep = uses[value.index()] == 0 && node.ty.layout.video().is_some() && random.below(5) > 0;
        if keep || random.below(12) == 0 {
            let roles = [Role::Result, Role::Result, Role::State, Role::Tap];
            b.output(roles[random.below(4)], name, value);
        }
    }
    b.finish()
}

/// One random op over `values`, if what the dice say is legal.
fn random_op(b: &mut Builder, random: &mut Random, values: &[Value]) -> Option<Value> {
    // Late values are read more often, so that chains grow.
    let pick = |random: &mut Random| {
        let back = random.below(values.len()).min(random.below(values.len()));
        values[values.len() - 1 - back]
    };
    let input = pick(random);
    let ty = b.ty(input).clone();
    let space = ty.space()?;
    let channels = ty.channels()?;
    let number = b.graph().len();
    let vector = |b: &mut Builder, what: &str, n: usize| {
        b.parameter(format!("{what}.{number}"), TensorType::plain(ElementType::F32, [n])).ok()
    };
    let first_frame = if random.below(2) == 0 { FirstFrame::Joined } else { FirstFrame::Apart };
    let mode = if random.below(2) == 0 { PadMode::Zero } else { PadMode::Edge };
    let axes = |random: &mut Random, limit: usize| -> Dims {
        (0..5).map(|axis| if axis >= 2 && random.below(2) == 0 { random.below(limit) } else { 0 }).collect()
    };
    match random.below(17) {
        0 => b.silu(input).ok(),
        1 | 2 => {
            let other = values.iter().copied().filter(|v| *b.ty(*v) == ty).nth(random.below(3)).unwrap_or(input);
            if random.below(2) == 0 { b.add(input, other).ok() } else { b.multiply(other, input).ok() }
        }
        3..=6 => {
            let kernel = [[1, 1, 1], [1, 1, 1], [3, 3, 3], [1, 3, 3], [3, 1, 1]][random.below(5)];
            let outputs = [4, 8][random.below(2)];
            let weight = TensorType::with_layout(
                ElementType::F32,
                Layout::Oidhw,
                [outputs, channels, kernel[0], kernel[1], kernel[2]],
            );
            let weight = b.parameter(format!("weight.{number}"), weight).ok()?;
            let padding = [[0, 0], [kernel[1] / 2; 2], [kernel[2] / 2; 2]];
            let strides = if random.below(4) == 0 { [1, 2, 2] } else { [1, 1, 1] };
            let product = b.convolution(input, weight, None, None, None, strides, padding, 0).ok()?;
            let bias = vector(b, "bias", outputs)?;
            if random.below(4) == 0 { Some(product) } else { b.add_bias(product, bias).ok() }
        }
        7 | 8 => {
            let (scale, offset) = (vector(b, "scale", channels)?, vector(b, "offset", channels)?);
            b.group_norm(input, scale, offset, 2, 1e-2).ok()
        }
        9 => {
            // A spatially conditioned norm.
            let (scale, offset) = (vector(b, "scale", channels)?, vector(b, "offset", channels)?);
            let normalized = b.group_norm(input, scale, offset, 2, 1e-2).ok()?;
            let mut modulation = pick(random);
            if b.ty(modulation).space() != Some(space) || random.below(2) == 0 {
                modulation = b.resize_nearest(modulation, space, first_frame).ok()?;
            }
            let scaled = b.multiply(normalized, modulation).ok()?;
            let shifted = b.add(modulation, scaled).ok()?;
            b.silu(shifted).ok()
        }
        10 => {
            let size = space.map(|n| (n * (1 + random.below(2))).min(6));
            b.resize_nearest(input, size, first_frame).ok()
        }
        11 => b.average_pool(input, [1 + random.below(2), 1, 1], first_frame).ok(),
        12 => {
            let (low, high) = (axes(random, 3), axes(random, 2));
            b.pad(input, low, high, mode).ok()
        }
        13 => {
            let start = axes(random, 3);
            let limit = ty.shape.iter().zip(axes(random, 2)).map(|(n, less)| n.saturating_sub(less)).collect();
            b.slice(input, start, limit).ok()
        }
        14 | 15 => {
            let axis = 2 + random.below(3);
            let cut = |b: &Builder, v: Value| {
                let mut shape = b.ty(v).shape.clone();
                shape[axis] = 0;
                shape
            };
            let fits: Vec<Value> = values.iter().copied().filter(|v| cut(b, *v) == cut(b, input)).collect();
            let other = fits[random.below(fits.len())];
            b.concatenate([other, input].into_iter().collect(), axis).ok()
        }
        _ => {
            // A causal convolution with its new state, as frontends declare it.
            let frames =
                [b.state(format!("cache.{number}"), b.ty(input).video_like(1, channels, [2, space[1], space[2]]))];
            let behind = if random.below(2) == 0 {
                b.concatenate([frames[0].clone().ok()?, input].into_iter().collect(), 2).ok()?
            } else {
                b.pad(input, [0, 0, 2, 0, 0].into_iter().collect(), Dims::from_elem(0, 5), PadMode::Edge).ok()?
            };
            let limit = b.ty(behind).shape.clone();
            let start = [0, 0, limit[2] - 2, 0, 0].into_iter().collect();
            let state = b.slice(behind, start, limit).ok()?;
            b.output(Role::State, format!("cache.{number}"), state);
            let weight = TensorType::with_layout(ElementType::F32, Layout::Oidhw, [4, channels, 3, 3, 3]);
            let weight = b.parameter(format!("weight.{number}"), weight).ok()?;
            b.convolution(behind, weight, None, None, None, [1, 1, 1], [[0, 0], [1, 1], [1, 1]], 0).ok()
        }
    }
}

#[test]
fn the_pipeline_keeps_the_meaning_of_random_graphs() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let ops = 3 + random.below(14);
        let graph = random_graph(&mut random, ops);
        ir::verify::verify(&graph).unwrap();
        let mut texts = vec![ir::text::print(&graph)];
        let mut guilty = None;
        let result = pipeline::run(cpu_pipeline(Precision::F32), &graph, &mut |number, pass, after| {
            texts.push(ir::text::print(after));
            if guilty.is_none()
                && let Err(difference) = same_meaning(&graph, after, seed)
            {
                guilty =
                    Some(format!("seed {seed}: {} (number {number}): {difference}\n{}", pass.name, texts[number - 1]));
            }
        });
        let result = result.unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", texts.last().unwrap()));
        if let Some(message) = guilty {
            panic!("{message}");
        }
        assert_eq!(passes::legality::check(&result, Stage::Fused), Ok(()));
    }
}

#[test]
fn running_a_pass_twice_is_running_it_once() {
    for seed in 0..100 {
        let mut random = Random(2000 + seed);
        let ops = 3 + random.below(14);
        let graph = random_graph(&mut random, ops);
        pipeline::run(cpu_pipeline(Precision::F32), &graph, &mut |_, _, stage| {
            for pass in pipeline::ALL {
                let text = |graph: &Graph| ir::text::print(&(passes::eliminate_dead_code::PASS.run)(graph).unwrap());
                let once = (pass.run)(stage).unwrap();
                let twice = (pass.run)(&once).unwrap();
                assert_eq!(text(&twice), text(&once), "seed {seed}: {} on\n{}", pass.name, ir::text::print(stage));
            }
        })
        .unwrap();
    }
}

#[test]
fn random_graphs_go_to_bf16() {
    let mut sums = 0;
    for seed in 0..300 {
        let mut random = Random(3000 + seed);
        let ops = 3 + random.below(14);
        let graph = random_graph(&mut random, ops);
        let result = pipeline::run(cpu_pipeline(Precision::Bf16), &graph, &mut |_, _, _| {});
        let result = result.unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", ir::text::print(&graph)));
        assert_eq!(passes::legality::check(&result, Stage::Bf16), Ok(()));
        sums += result.nodes().filter(|(_, node)| matches!(node.op, Op::GroupStatistics { .. })).count();
    }
    assert!(sums > 100, "random graphs no longer have norms: {sums}");
}

#[test]
fn random_graphs_reach_the_fused_ops() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let mut random = Random(seed);
        let ops = 3 + random.below(14);
        let graph =
            pipeline::run(cpu_pipeline(Precision::F32), &random_graph(&mut random, ops), &mut |_, _, _| {}).unwrap();
        for (_, node) in graph.nodes() {
            match &node.op {
                Op::Convolution { bias, residual, cache, repeat_first, .. } => {
                    seen.extend(bias.map(|_| "bias"));
                    seen.extend(residual.map(|_| "residual"));
                    seen.extend(cache.map(|_| "cache"));
                    seen.extend((*repeat_first > 0).then_some("repeat_first"));
                }
                Op::Normalize { gain, activation, .. } => {
                    seen.extend(gain.map(|_| "gain"));
                    seen.extend((*activation == Activation::Silu).then_some("silu"));
                }
                _ => {}
            }
        }
    }
    let all = ["bias", "cache", "gain", "repeat_first", "residual", "silu"];
    assert!(seen.iter().eq(&all), "random graphs no longer reach every fusion: {seen:?}");
}

#[test]
fn values_that_live_at_once_do_not_overlap() {
    let mut reuses = 0;
    for seed in 0..300 {
        let mut random = Random(1000 + seed);
        let ops = 5 + random.below(25);
        let mut graph = random_graph(&mut random, ops);
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
