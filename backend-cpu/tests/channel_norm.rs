//! Normalisation over channels, by itself and within convolutions, on every instruction set that
//! this machine runs.

mod common;

use backend_cpu::isa::Isa;
use backend_cpu::program::listings;
use ir::eval::{Tensor, Tensors, evaluate};
use ir::{ChannelNormKind, Graph};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

fn graph(lines: &str) -> Graph {
    let text = format!("graph @test {{\n{lines}\n}}\n");
    ir::text::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Whether a leaf in this element is an input or a state, and its output a result or a state:
/// callers give and get f32.
fn roles(element: &str) -> (&str, &str) {
    if element == "f32" { ("input", "result") } else { ("state", "state") }
}

/// One norm over a tensor of this shape and layout, channels last.
fn norm(
    shape: &str,
    channels: usize,
    layout: &str,
    [scale, offset]: [bool; 2],
    attributes: &str,
    element: &str,
) -> Graph {
    let (leaf, role) = roles(element);
    let ty = format!("tensor<{shape}x{channels}x{element}, {layout}>");
    let operand = |there: bool, text: &str| if there { text.to_owned() } else { String::new() };
    graph(&format!(
        "%0 = {leaf} {{name = \"x\"}} : {ty}\n%1 = parameter {{name = \"a\"}} : tensor<{channels}xf32>\n\
         %2 = parameter {{name = \"b\"}} : tensor<{channels}xf32>\n\
         %3 = channel_norm %0{}{} {{{attributes}}} : {ty}\nreturn {role} \"y\" = %3",
        operand(scale, ", scale: %1"),
        operand(offset, ", offset: %2")
    ))
}

#[test]
fn any_size_agrees_with_the_evaluator() {
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let sizes = (1_usize..3, 1_usize..9, prop_oneof![1_usize..70, 500_usize..700]);
    let kind = proptest::sample::select(ChannelNormKind::ALL);
    let case = (sizes, kind, any::<[bool; 2]>(), any::<[bool; 2]>());
    let mut runner =
        TestRunner::new_with_rng(config, proptest::test_runner::TestRng::deterministic_rng(Default::default()));
    runner
        .run(&case, |((batch, pixels, channels), kind, affine, [silu, narrow])| {
            let activation = if silu { "silu" } else { "none" };
            let attributes = format!("kind = {}, epsilon = 1e-3, activation = {activation}", kind.word());
            let element = if narrow { "bf16" } else { "f32" };
            common::check(&norm(&format!("{batch}x{pixels}"), channels, "ntc", affine, &attributes, element));
            Ok(())
        })
        .unwrap();
    // Several blocks.
    for element in ["f32", "bf16"] {
        common::check(&norm(
            "2x3x41x37",
            17,
            "nthwc",
            [true; 2],
            "kind = l2, epsilon = 0.5, activation = silu",
            element,
        ));
    }
}

#[test]
fn sums_over_many_channels_cost_no_digits() {
    for (&kind, channels) in ChannelNormKind::ALL.iter().flat_map(|kind| [2, 96, 1023, 2048].map(|n| (kind, n))) {
        for middle in [0.0, 1.0, 1000.0] {
            let attributes = format!("kind = {}, epsilon = 1e-12, activation = none", kind.word());
            let graph = norm("3", channels, "nc", [false; 2], &attributes, "f32");
            let ty = graph.nodes().next().unwrap().1.ty.clone();
            let number = |i: usize| middle + ((i * 2_654_435_761) % 65_536) as f32 / 65_536.0 - 0.5;
            let data: Vec<f32> = (0..ty.elements()).map(number).collect();
            let mut exact = Tensors::<f64>::default();
            let wide = data.iter().map(|&x| f64::from(x)).collect();
            exact.inputs.insert("x".to_owned(), Tensor::new(ty.clone(), wide).unwrap());
            let mut tensors = Tensors::default();
            tensors.inputs.insert("x".to_owned(), Tensor::new(ty, data).unwrap());
            for name in ["a", "b"] {
                let one = "tensor<1xf32>".parse().unwrap();
                tensors.parameters.insert(name.to_owned(), Tensor::new(one, vec![1.0]).unwrap());
            }
            let expected = evaluate(&graph, &exact).unwrap().remove(0).1;
            for isa in Isa::supported() {
                let found = common::run(&graph, isa.into(), 1, &tensors).remove(0);
                for (e, f) in expected.data.iter().zip(found) {
                    let off = (e - f64::from(f)).abs();
                    assert!(off <= 1e-6 * e.abs().max(0.1), "{isa}, {kind:?}, {channels}, {middle}: {f}, expected {e}");
                }
            }
        }
    }
}

#[test]
fn zeros_stay_zero_and_nan_and_infinity_are_what_the_evaluator_says() {
    let rows =
        [[0.0, 0.0, 0.0], [f32::NAN, 1.0, 2.0], [f32::INFINITY, 1.0, -1.0], [1e-30, 2e-30, 0.0], [1e30, -3e30, 1.0]];
    for &kind in ChannelNormKind::ALL {
        let attributes = format!("kind = {}, epsilon = 1e-12, activation = none", kind.word());
        let graph = norm("5", 3, "nc", [false; 2], &attributes, "f32");
        let (_, mut tensors) = common::leaves(&graph);
        tensors.inputs.get_mut("x").unwrap().data = rows.concat();
        let expected = evaluate(&graph, &tensors).unwrap().remove(0).1;
        for isa in Isa::supported() {
            let found = common::run(&graph, isa.into(), 1, &tensors).remove(0);
            for (i, (e, f)) in expected.data.iter().zip(found).enumerate() {
                let alike = e.is_nan() && f.is_nan() || (e - f).abs() <= 1e-6 * e.abs();
                assert!(alike, "{isa}, {kind:?}, {i}: {f}, expected {e}");
            }
        }
    }
}

/// What Wan's networks are made of: a norm with SiLU that a convolution reads, and frames of it for
/// the next step.
fn residual(kind: ChannelNormKind, channels: usize, outputs: usize, cached: bool, element: &str) -> Graph {
    let (leaf, role) = roles(element);
    let video = |frames: usize, channels: usize| format!("tensor<2x{frames}x9x10x{channels}x{element}, nthwc>");
    let (x, y, cache) = (video(5, channels), video(5, outputs), video(2, channels));
    let weight = format!("tensor<3x3x3x{channels}x{outputs}x");
    let (operand, repeat) = if cached { (", cache: %4", 0) } else { ("", 2) };
    let affine = if kind == ChannelNormKind::Layer { ", scale: %1, offset: %2" } else { ", scale: %1" };
    graph(&format!(
        "%0 = {leaf} {{name = \"x\"}} : {x}\n%1 = parameter {{name = \"scale\"}} : tensor<{channels}xf32>\n\
         %2 = parameter {{name = \"offset\"}} : tensor<{channels}xf32>\n\
         %3 = parameter {{name = \"w\"}} : {weight}f32, dhwio>\n\
         %4 = state {{name = \"cache\"}} : {cache}\n%5 = {leaf} {{name = \"residual\"}} : {y}\n\
         %6 = parameter {{name = \"bias\"}} : tensor<{outputs}xf32>\n\
         %7 = convert %3 {{element = {element}}} : {weight}{element}, dhwio>\n\
         %8 = channel_norm %0{affine} {{kind = {}, epsilon = 1e-3, activation = silu}} : {x}\n\
         %9 = slice %8 {{start = [0, 3, 0, 0, 0], limit = [2, 5, 9, 10, {channels}]}} : {cache}\n\
         %10 = convolution %8, %7, bias: %6, residual: %5{operand} {{strides = [1, 1, 1], \
         padding = [[0, 0], [1, 1], [1, 1]], repeat_first = {repeat}}} : {y}\n\
         return {role} \"y\" = %10\nreturn state \"cache\" = %9",
        kind.word()
    ))
}

#[test]
fn a_convolution_normalises_what_it_reads() {
    for element in ["f32", "bf16"] {
        for &kind in ChannelNormKind::ALL {
            common::check(&residual(kind, 6, 7, false, element));
        }
        common::check(&residual(ChannelNormKind::L2, 40, 33, true, element));
    }
}

#[test]
fn no_tensor_is_made_of_what_only_a_convolution_reads() {
    let graph = residual(ChannelNormKind::L2, 8, 8, true, "f32");
    let names: Vec<String> =
        listings(&graph, Isa::Portable.into()).unwrap().into_iter().map(|listing| listing.name).collect();
    assert!(names.iter().any(|name| name.contains("_channel_normalized")), "{names:?}");
    // Two of five frames of 9 x 10 pixels in two videos, for the next step.
    let alone: Vec<_> = names.iter().filter(|name| name.contains("_channel_norm_")).collect();
    assert!(matches!(alone[..], [one] if one.contains("channel_norm_l2_360x8")), "{names:?}");
}
