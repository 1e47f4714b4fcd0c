//! That the text means what the graph means: every op on a plugin, against the evaluator.

mod common;

use std::borrow::Cow;

use backend_tpu_stablehlo::EmitOptions;
use common::programs::{LARGE, LARGE_CHANNEL_NORM, PROGRAMS, graph};
use half::bf16;
use ir::eval::{Bindings, Leaf, LeafKind, Tensor, evaluate};
use ir::{ElementType, TensorType};

/// Numbers that look random and are always the same for a name, in the leaf's own element type.
struct Numbers;

impl Numbers {
    fn of(kind: LeafKind, name: &str, ty: &TensorType) -> Tensor<f32> {
        let seed = name.bytes().fold(kind as u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let number = |i: usize| {
            let bits = (seed.wrapping_mul(7919).wrapping_add(i as u32)).wrapping_mul(2_654_435_761) >> 8;
            let x = bits as f32 / (1 << 23) as f32 - 1.0;
            if ty.element == ElementType::Bf16 { bf16::from_f32(x).to_f32() } else { x }
        };
        Tensor { ty: ty.clone(), data: (0..ty.elements()).map(number).collect() }
    }
}

impl Bindings<f32> for Numbers {
    fn tensor(&self, leaf: Leaf<'_>) -> Option<Cow<'_, Tensor<f32>>> {
        Some(Cow::Owned(Numbers::of(leaf.kind, leaf.name, leaf.ty)))
    }
}

#[test]
fn every_op_computes_what_the_evaluator_says() {
    let Some(client) = common::client("every_op_computes_what_the_evaluator_says", 1) else { return };
    let whole = PROGRAMS
        .into_iter()
        .chain([("large", LARGE), ("large channel norm", LARGE_CHANNEL_NORM)])
        .map(|(name, body)| (name, body, EmitOptions::default()));
    let strips = EmitOptions::default().with_strip_bytes(300);
    // Four of six queries at once, with all keys.
    let attention = PROGRAMS.iter().find(|(name, _)| *name == "attention").expect("a program").1;
    let queries = EmitOptions::default().with_strip_bytes(600);
    let loops = [
        ("in strips", LARGE, strips),
        ("norm in strips", LARGE_CHANNEL_NORM, strips),
        ("attention in strips", attention, queries),
    ];
    for (name, body, options) in whole.chain(loops) {
        let graph = graph(body);
        let found = common::run(&client, &graph, &options, &Numbers);
        // In bf16 plugins may leave out a rounding between two ops, and sums in another order round
        // to the other side.
        let is_narrow = graph.nodes().any(|(_, node)| node.ty.element == ElementType::Bf16);
        let step = if is_narrow { 1.0 / 64.0 } else { 1e-5 };
        for ((output, expected), found) in evaluate(&graph, &Numbers).expect("it evaluates").iter().zip(&found) {
            let least: f32 = if expected.ty.element == ElementType::I8 { 1.0 } else { step };
            for (expected, found) in expected.data.iter().zip(found) {
                let near = (expected - found).abs() <= least.max(step * expected.abs());
                assert!(near, "{name}, {}: {found}, expected {expected}", output.name);
            }
        }
    }
}
