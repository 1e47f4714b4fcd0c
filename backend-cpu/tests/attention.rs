//! Attention against the reference evaluator, on every instruction set that this machine runs, and
//! what it takes of memory.

mod common;

use backend_cpu::isa::Isa;
use backend_cpu::program::compile;
use backend_cpu::requirements::requirements;
use ir::Graph;
use proptest::prelude::*;

/// One attention.
#[derive(Clone, Copy, Debug)]
struct Case<'a> {
    /// Sets of tokens, and heads.
    sets: [usize; 2],
    /// Queries and keys of a set.
    tokens: [usize; 2],
    /// Channels of a head, of queries and of values.
    channels: [usize; 2],
    /// As in text.
    mask: &'a str,
}

impl<'a> Case<'a> {
    fn new(sets: [usize; 2], tokens: [usize; 2], channels: [usize; 2], mask: &'a str) -> Self {
        Self { sets, tokens, channels, mask }
    }

    /// Over inputs in f32, or over states in bf16, which callers do not give and get.
    fn graph(self, element: &str) -> Graph {
        let (leaf, role) = if element == "f32" { ("input", "result") } else { ("state", "state") };
        let Self { sets: [sets, heads], tokens: [queries, keys], channels: [channels, outputs], mask } = self;
        let ty = |tokens: usize, channels: usize| format!("tensor<{sets}x{tokens}x{}x{element}>", heads * channels);
        let scale = 1.0 / (channels as f64).sqrt();
        let text = format!(
            "graph @test {{\n%0 = {leaf} {{name = \"q\"}} : {}\n%1 = {leaf} {{name = \"k\"}} : {}\n\
             %2 = {leaf} {{name = \"v\"}} : {}\n\
             %3 = attention %0, %1, %2 {{heads = {heads}, scale = {scale:?}, mask = {mask}}} : {}\n\
             return {role} \"y\" = %3\n}}\n",
            ty(queries, channels),
            ty(keys, channels),
            ty(keys, outputs),
            ty(queries, outputs)
        );
        ir::text::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    fn check(self) {
        common::check(&self.graph("f32"));
        common::check(&self.graph("bf16"));
    }
}

#[test]
fn one_block_packs_what_it_alone_reads() {
    Case::new([1, 1], [1, 1], [1, 1], "none").check();
    Case::new([1, 1], [5, 3], [4, 7], "none").check();
    for mask in ["none", "causal", "[causal, 3]"] {
        Case::new([2, 3], [6, 9], [5, 33], mask).check();
        Case::new([1, 2], [99, 99], [17, 9], mask).check();
        // Several heads a block.
        Case::new([50, 4], [9, 9], [32, 32], mask).check();
    }
}

#[test]
fn blocks_runs_slices_and_panels_have_ragged_ends() {
    for mask in ["none", "causal", "[causal, 29]"] {
        Case::new([1, 2], [203, 203], [70, 75], mask).check();
    }
    Case::new([2, 1], [150, 101], [200, 40], "none").check();
    // More keys than queries, of which one block sees few and the next all.
    Case::new([1, 1], [128, 320], [9, 130], "[causal, 64]").check();
    Case::new([1, 1], [3, 400], [40, 3], "causal").check();
}

/// Scores that are not negative, as after a rectifier.
fn linear(sets: [usize; 2], tokens: [usize; 2], channels: [usize; 2]) {
    let ([sets, heads], [queries, keys], [channels, outputs]) = (sets, tokens, channels);
    for element in ["f32", "bf16"] {
        let (leaf, role) = if element == "f32" { ("input", "result") } else { ("state", "state") };
        let ty = |tokens: usize, channels: usize| format!("tensor<{sets}x{tokens}x{}x{element}>", heads * channels);
        let [q, k, v, y] = [(queries, channels), (keys, channels), (keys, outputs), (queries, outputs)]
            .map(|(tokens, channels)| ty(tokens, channels));
        let text = format!(
            "graph @test {{\n%0 = {leaf} {{name = \"q\"}} : {q}\n%1 = {leaf} {{name = \"k\"}} : {k}\n\
             %2 = {leaf} {{name = \"v\"}} : {v}\n%3 = clamp %0 {{low = 0.0, high = inf}} : {q}\n\
             %4 = clamp %1 {{low = 0.0, high = inf}} : {k}\n\
             %5 = linear_attention %3, %4, %2 {{heads = {heads}, epsilon = 0.125}} : {y}\n\
             return {role} \"y\" = %5\n}}\n"
        );
        common::check(&ir::text::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}")));
    }
}

#[test]
fn linear_attention_has_ragged_runs_blocks_and_lanes() {
    linear([1, 1], [1, 1], [1, 1]);
    linear([2, 3], [5, 7], [4, 9]);
    linear([1, 2], [300, 203], [32, 32]);
    linear([2, 2], [130, 96], [6, 5]);
    linear([1, 4], [3, 193], [8, 16]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sizes(
        sets in (1..4_usize, 1..4_usize),
        frames in (1..5_usize, 0..4_usize),
        tokens in 1..60_usize,
        channels in (1..120_usize, 1..70_usize),
        mask in 0..3_usize,
    ) {
        let (queries, keys) = (frames.0 * tokens, (frames.0 + frames.1) * tokens);
        let of_frames = format!("[causal, {tokens}]");
        let mask = ["none", "causal", &of_frames][mask];
        Case::new([sets.0, sets.1], [queries, keys], [channels.0, channels.1], mask).check();
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let graph = Case::new([1, 2], [230, 250], [17, 17], "[causal, 10]").graph("f32");
    let (_, tensors) = common::leaves(&graph);
    for isa in Isa::supported() {
        let bits = |threads| {
            let outputs = common::run(&graph, isa.into(), threads, &tensors);
            outputs.concat().into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let alone = bits(1);
        assert!([2, 3].into_iter().all(|threads| bits(threads) == alone), "{isa}");
    }
}

/// A sum over many keys is as exact as one over few, and scores that overflow as exponentials do no
/// harm.
#[test]
fn sums_are_exact_and_stable() {
    common::check(&Case::new([1, 1], [40, 5000], [24, 24], "none").graph("f32"));
    let text = "graph @test {\n%0 = input {name = \"x\"} : tensor<150x24xf32>\n\
         %1 = attention %0, %0, %0 {heads = 1, scale = 1e4, mask = none} : tensor<150x24xf32>\n\
         return result \"y\" = %1\n}\n";
    let graph = ir::text::parse(text).unwrap();
    let (exact, tensors) = common::leaves(&graph);
    let exact = ir::eval::evaluate(&graph, &exact).unwrap().remove(0).1;
    for isa in Isa::supported() {
        for (found, exact) in common::run(&graph, isa.into(), 2, &tensors).concat().iter().zip(&exact.data) {
            assert!((f64::from(*found) - exact).abs() < 1e-6, "{isa}: {found}, expected {exact}");
        }
    }
}

/// What is packed counts as temporary memory of the step, and scratch does not grow with the number
/// of tokens.
#[test]
fn memory_is_bounded_and_counted() {
    for isa in Isa::supported() {
        let of = |tokens: usize| {
            let graph = Case::new([2, 1], [tokens; 2], [64, 64], "none").graph("f32");
            let needs = requirements(&graph, isa.into()).unwrap();
            assert_eq!(compile(&graph, isa).unwrap().arena_bytes(), needs.arena);
            needs
        };
        let (small, large) = (of(3200), of(32_000));
        // Both are multiples of any panel's columns.
        assert_eq!([small.arena, large.arena], [3200, 32_000].map(|tokens| 2 * 2 * tokens * 64 * 4), "{isa}");
        assert_eq!(small.scratch, large.scratch);
        assert!(large.scratch < 1 << 20, "{isa}: {} bytes", large.scratch);
    }
}
