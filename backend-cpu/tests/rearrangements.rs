//! Shuffles, means and repeats of channels as `ir::rearrange` declares them, through the passes and
//! native code: right, and in no more kernels than there is to do.

mod common;

use std::collections::BTreeMap;

use backend_cpu::isa::Isa;
use backend_cpu::program::compile;
use ir::rearrange::{
    CHANNELS_FASTEST, CHANNELS_SLOWEST, channel_means, depth_to_space, repeat_channels, space_to_depth, with_outputs_in,
};
use ir::{BuildError, Builder, ElementType, Graph, Layout, Role, TensorType, Value};
use passes::pipeline::{Precision, cpu_pipeline, run};

/// A step of what `build` makes of an activation, lowered, and the same in bf16.
fn lowered(channels: usize, build: impl Fn(&mut Builder, Value) -> Result<Value, BuildError>) -> [Graph; 2] {
    let mut b = Builder::new("rearranged");
    let ty = TensorType::with_layout(ElementType::F32, Layout::NCTHW, [2, channels, 2, 6, 4]);
    let x = b.input("x".to_owned(), ty).unwrap();
    let x = b.silu(x).unwrap();
    let y = build(&mut b, x).unwrap();
    let y = b.silu(y).unwrap();
    b.output(Role::Result, "y", y);
    let graph = b.finish();
    Precision::ALL.map(|precision| run(cpu_pipeline(precision), &graph, &mut |_, _, _| {}).unwrap())
}

/// How many calls of each kind a program makes, views not counted.
fn calls(graph: &Graph) -> BTreeMap<String, usize> {
    let program = compile(graph, Isa::Portable).unwrap();
    let mut count = BTreeMap::new();
    for call in program.calls().iter().filter(|call| call.cost.bytes_written > 0) {
        *count.entry(call.kind.clone()).or_insert(0) += 1;
    }
    count
}

#[test]
fn each_agrees_with_the_evaluator() {
    for graph in lowered(24, |b, x| depth_to_space(b, x, [2, 2, 1], CHANNELS_SLOWEST))
        .into_iter()
        .chain(lowered(24, |b, x| depth_to_space(b, x, [1, 2, 3], CHANNELS_FASTEST)))
        .chain(lowered(5, |b, x| space_to_depth(b, x, [2, 3, 2], CHANNELS_SLOWEST)))
        .chain(lowered(5, |b, x| space_to_depth(b, x, [1, 2, 2], CHANNELS_FASTEST)))
        .chain(lowered(24, |b, x| channel_means(b, x, 8)))
        .chain(lowered(7, |b, x| repeat_channels(b, x, 3)))
    {
        common::check(&graph);
    }
}

/// Turns to and from the caller's layout are a gather each; so is a shuffle, and a repeat. Views
/// are nothing.
#[test]
fn none_takes_a_copy_more_than_it_moves() {
    let gathers = |graphs: [Graph; 2]| calls(&graphs[0])["gather"];
    assert_eq!(gathers(lowered(8, |b, x| b.silu(x))), 2, "the two turns");
    assert_eq!(gathers(lowered(24, |b, x| depth_to_space(b, x, [1, 2, 3], CHANNELS_FASTEST))), 3);
    assert_eq!(gathers(lowered(5, |b, x| space_to_depth(b, x, [1, 2, 2], CHANNELS_SLOWEST))), 3);
    assert_eq!(gathers(lowered(7, |b, x| repeat_channels(b, x, 3))), 3);
    let means = lowered(24, |b, x| channel_means(b, x, 8));
    assert_eq!(calls(&means[0])["average_pool"], 1);
    assert_eq!(gathers(means), 2);
}

/// A convolution in front of a shuffle makes channels in the order that is fastest to move; its
/// weights are ordered once.
#[test]
fn weights_are_ordered_for_a_shuffle() {
    let factors = [1, 2, 2];
    let block = |in_front: bool| {
        lowered(3, |b, x| {
            let weight = TensorType::with_layout(ElementType::F32, Layout::OIDHW, [20, 3, 1, 3, 3]);
            let mut weight = b.parameter("w".to_owned(), weight)?;
            let mut bias = b.parameter("b".to_owned(), TensorType::plain(ElementType::F32, [20]))?;
            let mut order = CHANNELS_SLOWEST;
            if in_front {
                order = CHANNELS_FASTEST;
                weight = with_outputs_in(b, weight, factors, [CHANNELS_SLOWEST, order])?;
                bias = with_outputs_in(b, bias, factors, [CHANNELS_SLOWEST, order])?;
            }
            let y = b.convolution(x, weight, None, None, None, [1; 3], [[0, 0], [1, 1], [1, 1]], 0)?;
            let y = b.add_bias(y, bias)?;
            depth_to_space(b, y, factors, order)
        })
    };
    let [plain, ordered] = [block(false), block(true)];
    for graph in &ordered {
        common::check(graph);
    }
    assert_eq!(calls(&plain[0]), calls(&ordered[0]), "the step does no more");
    let (_, leaves) = common::leaves(&plain[0]);
    let results = [&plain, &ordered].map(|graphs| common::run(&graphs[0], Isa::Portable.into(), 1, &leaves));
    assert_eq!(results[0], results[1]);
}
