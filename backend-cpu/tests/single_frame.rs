//! Convolutions of one frame in front of which, or behind which, stand zeros: computed with the taps
//! that see the frame, out of weights that were packed for longer steps.

use std::fmt::Write as _;

use backend_cpu::blocking::Algorithm;
use backend_cpu::isa::Isa;
use backend_cpu::options::CompileOptions;
use backend_cpu::program::choices;
use backend_cpu::requirements::requirements;
use ir::Graph;
use ir::eval::evaluate;

mod common;

/// A convolution of so many frames with these taps and this padding over time, of f32 or bf16.
fn graph(frames: usize, [taps, side]: [usize; 2], padding: [usize; 2], repeated: usize, element: &str) -> Graph {
    let result = frames + repeated + padding[0] + padding[1] + 1 - taps;
    let around = side / 2;
    let mut text = format!(
        "graph @test {{\n%0 = state {{name = \"x\"}} : tensor<1x{frames}x9x10x12x{element}, nthwc>\n\
         %1 = parameter {{name = \"w\"}} : tensor<{taps}x{side}x{side}x12x20xf32, dhwio>\n\
         %2 = parameter {{name = \"b\"}} : tensor<20xf32>\n"
    );
    let mut weight = "%1";
    if element == "bf16" {
        writeln!(text, "%3 = convert %1 {{element = bf16}} : tensor<{taps}x{side}x{side}x12x20xbf16, dhwio>").unwrap();
        weight = "%3";
    }
    write!(
        text,
        "%4 = convolution %0, {weight}, bias: %2 {{strides = [1, 1, 1], padding = [{padding:?}, [{around}, {around}], \
         [{around}, {around}]], repeat_first = {repeated}}} : tensor<1x{result}x9x10x20x{element}, nthwc>\n\
         return state \"y\" = %4\n}}\n"
    )
    .unwrap();
    ir::text::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Which taps a frame sees: the last of a causal kernel, the middle one, the first; all of them where
/// it is repeated. Each by every algorithm by itself, and with the weights of a step over four
/// frames that has this algorithm.
#[test]
fn one_frame_is_computed_with_the_taps_that_see_it() {
    for (kernel, padding, repeated) in [
        ([3, 3], [2, 0], 0),
        ([3, 3], [0, 2], 0),
        ([3, 3], [1, 1], 0),
        ([3, 1], [2, 0], 0),
        ([2, 3], [1, 0], 0),
        ([3, 3], [0, 0], 2),
    ] {
        for element in ["f32", "bf16"] {
            let one = graph(1, kernel, padding, repeated, element);
            common::check(&one);
            let long = graph(4, kernel, padding, repeated, element);
            let (wide, narrow) = common::leaves(&one);
            let expected = &evaluate(&one, &wide).unwrap()[0].1.data;
            for (isa, algorithm) in
                Isa::supported().into_iter().flat_map(|isa| Algorithm::ALL.map(|algorithm| (isa, algorithm)))
            {
                let chosen = choices(&long, CompileOptions::from(isa).with_algorithm(algorithm)).unwrap();
                let options = CompileOptions::from(isa).with_choices(&chosen);
                let found = &common::run(&one, options, 2, &narrow)[0];
                let largest = expected.iter().fold(1.0_f64, |most, x| most.max(x.abs()));
                let bound = largest * if element == "f32" { 1e-5 } else { 2e-2 };
                for (expected, found) in expected.iter().zip(found) {
                    let off = (expected - f64::from(*found)).abs();
                    assert!(
                        off <= bound,
                        "{isa}, {algorithm:?}, {kernel:?} {padding:?} {element}: {expected}, {found}"
                    );
                }
                let of = |graph: &Graph| requirements(graph, options).unwrap().weights;
                assert_eq!(of(&one), of(&long), "{isa}, {algorithm:?}, {kernel:?} {padding:?}: weights are not shared");
            }
        }
    }
}

/// By itself, a causal kernel takes a third of its weights, and its algorithm is a frame's.
#[test]
fn taps_that_see_nothing_are_not_packed() {
    for isa in Isa::supported() {
        let weights = |algorithm: Algorithm, padding| {
            let options = CompileOptions::from(isa).with_algorithm(algorithm);
            requirements(&graph(1, [3, 3], padding, 2 - padding[0], "f32"), options)
                .unwrap()
                .weights
                .into_values()
                .max()
        };
        for algorithm in [Algorithm::Direct, Algorithm::Winograd4] {
            let [causal, repeated] = [weights(algorithm, [2, 0]), weights(algorithm, [0, 0])];
            assert_eq!(causal.map(|bytes| 3 * bytes), repeated, "{isa}, {algorithm:?}");
        }
    }
}
