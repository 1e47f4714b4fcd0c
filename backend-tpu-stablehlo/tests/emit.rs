//! What the emitter writes: every op, the signature, and what it refuses.
//!
//! That the text means what the graph means is tested where a plugin runs it.

use std::collections::BTreeSet;

use backend_tpu_stablehlo::{ArgumentRole, EmitOptions, Module, emit};
use ir::{Graph, op};

fn graph(body: &str) -> Graph {
    ir::text::parse(&format!("graph @test {{\n{body}\n}}")).expect("a program")
}

fn module(body: &str) -> Module {
    emit(&graph(body), &EmitOptions::default()).expect("every op has a form")
}

/// Programs that have every op between them.
const PROGRAMS: [(&str, &str); 5] = [
    (
        "elementwise",
        r#"%0 = input {name = "x"} : tensor<1x2x3x2x4xbf16, nthwc>
           %1 = constant {value = 0.5} : tensor<1x2x3x2x4xbf16, nthwc>
           %2 = parameter {name = "b"} : tensor<4xf32> @ bias
           %3 = add %0, %1 : tensor<1x2x3x2x4xbf16, nthwc>
           %4 = multiply %3, %0 : tensor<1x2x3x2x4xbf16, nthwc>
           %5 = silu %4 : tensor<1x2x3x2x4xbf16, nthwc> @ act
           %6 = add_bias %5, %2 : tensor<1x2x3x2x4xbf16, nthwc> @ bias
           %7 = convert %6 {element = i8} : tensor<1x2x3x2x4xi8, nthwc>
           %8 = convert %6 {element = f32} : tensor<1x2x3x2x4xf32, nthwc>
           return result "whole" = %7
           return result "y" = %8"#,
    ),
    (
        "convolution",
        r#"%0 = input {name = "x"} : tensor<1x3x4x4x2xf32, nthwc>
           %1 = convert %0 {element = bf16} : tensor<1x3x4x4x2xbf16, nthwc>
           %2 = state {name = "conv"} : tensor<1x2x4x4x2xbf16, nthwc> @ conv
           %3 = parameter {name = "conv.weight"} : tensor<2x2x3x3x3xf32, oidhw> @ conv
           %4 = transpose %3 {permutation = [2, 3, 4, 1, 0]} : tensor<3x3x3x2x2xf32, dhwio> @ conv
           %5 = convert %4 {element = bf16} : tensor<3x3x3x2x2xbf16, dhwio> @ conv
           %6 = parameter {name = "conv.bias"} : tensor<2xf32> @ conv
           %7 = slice %1 {start = [0, 1, 0, 0, 0], limit = [1, 3, 4, 4, 2]} : tensor<1x2x4x4x2xbf16, nthwc> @ conv
           %8 = convolution %1, %5, bias: %6, residual: %1, cache: %2 {strides = [1, 1, 1], padding = [[0, 0], [1, 1], [1, 1]], repeat_first = 0} : tensor<1x3x4x4x2xbf16, nthwc> @ conv
           %9 = convolution %8, %5 {strides = [1, 2, 2], padding = [[0, 0], [0, 1], [0, 1]], repeat_first = 2} : tensor<1x3x2x2x2xbf16, nthwc> @ down
           %10 = convert %9 {element = f32} : tensor<1x3x2x2x2xf32, nthwc>
           return state "conv" = %7
           return result "y" = %10"#,
    ),
    (
        "norms",
        r#"%0 = input {name = "x"} : tensor<1x3x4x4x4xbf16, nthwc>
           %1 = input {name = "latents"} : tensor<1x2x2x2x4xbf16, nthwc>
           %2 = parameter {name = "norm.weight"} : tensor<4xf32> @ norm
           %3 = parameter {name = "norm.bias"} : tensor<4xf32> @ norm
           %4 = group_statistics %0 {groups = 2, epsilon = 1e-6} : tensor<1x2x2xf32> @ norm
           %5 = normalize %0, %4, %2, %3, gain: %1, shift: %1 {first_frame = apart, activation = silu} : tensor<1x3x4x4x4xbf16, nthwc> @ norm
           %6 = group_norm %5, %2, %3 {groups = 2, epsilon = 1e-6} : tensor<1x3x4x4x4xbf16, nthwc>
           return result "y" = %6"#,
    ),
    (
        "resampling",
        r#"%0 = input {name = "x"} : tensor<1x3x4x4x2xf32, nthwc>
           %1 = resize_nearest %0 {size = [5, 8, 6], first_frame = apart} : tensor<1x5x8x6x2xf32, nthwc> @ up
           %2 = average_pool %1 {window = [2, 1, 1], first_frame = apart} : tensor<1x3x8x6x2xf32, nthwc> @ down
           %3 = average_pool %1 {window = [2, 2, 4], first_frame = joined} : tensor<1x2x4x1x2xf32, nthwc> @ down
           return result "y" = %2
           return result "z" = %3"#,
    ),
    (
        "shapes",
        r#"%0 = input {name = "x"} : tensor<1x2x3x3x2xf32, nthwc>
           %1 = pad %0 {low = [0, 2, 1, 0, 0], high = [0, 0, 1, 0, 0], mode = edge} : tensor<1x4x5x3x2xf32, nthwc>
           %2 = pad %1 {low = [0, 0, 0, 1, 0], high = [0, 0, 0, 1, 0], mode = zero} : tensor<1x4x5x5x2xf32, nthwc>
           %3 = slice %2 {start = [0, 1, 0, 0, 0], limit = [1, 3, 5, 5, 2]} : tensor<1x2x5x5x2xf32, nthwc>
           %4 = concatenate [%3, %3] {axis = 1} : tensor<1x4x5x5x2xf32, nthwc>
           %5 = transpose %4 {permutation = [0, 4, 1, 2, 3]} : tensor<1x2x4x5x5xf32, ncthw>
           %6 = reshape %5 : tensor<2x100xf32>
           return result "y" = %6"#,
    ),
];

#[test]
fn every_op_has_a_form() {
    let mut seen = BTreeSet::new();
    for (name, program) in PROGRAMS {
        seen.extend(graph(program).nodes().map(|(_, node)| node.op.mnemonic()));
        insta::assert_snapshot!(name, module(program).text);
    }
    let missing: Vec<_> = op::TABLE.iter().map(|row| row.mnemonic).filter(|name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "no program has {missing:?}");
}

/// A norm and an enlarged video, each read by a convolution alone.
const LARGE: &str = r#"%0 = input {name = "x"} : tensor<1x3x8x4x4xbf16, nthwc>
    %1 = parameter {name = "norm.weight"} : tensor<4xf32> @ norm
    %2 = parameter {name = "norm.bias"} : tensor<4xf32> @ norm
    %3 = group_statistics %0 {groups = 2, epsilon = 1e-6} : tensor<1x2x2xf32> @ norm
    %4 = normalize %0, %3, %1, %2 {first_frame = joined, activation = silu} : tensor<1x3x8x4x4xbf16, nthwc> @ norm
    %5 = state {name = "conv"} : tensor<1x2x8x4x4xbf16, nthwc> @ conv
    %6 = slice %4 {start = [0, 1, 0, 0, 0], limit = [1, 3, 8, 4, 4]} : tensor<1x2x8x4x4xbf16, nthwc> @ conv
    %7 = parameter {name = "conv.weight"} : tensor<3x3x3x4x4xbf16, dhwio> @ conv
    %8 = convolution %4, %7, residual: %0, cache: %5 {strides = [1, 1, 1], padding = [[0, 0], [1, 1], [1, 1]], repeat_first = 0} : tensor<1x3x8x4x4xbf16, nthwc> @ conv
    %9 = resize_nearest %8 {size = [3, 16, 8], first_frame = joined} : tensor<1x3x16x8x4xbf16, nthwc> @ up
    %10 = parameter {name = "up.weight"} : tensor<1x3x3x4x4xbf16, dhwio> @ up
    %11 = convolution %9, %10 {strides = [1, 1, 1], padding = [[0, 0], [1, 1], [1, 1]], repeat_first = 0} : tensor<1x3x16x8x4xbf16, nthwc> @ up
    return result "y" = %11
    return state "conv" = %6"#;

#[test]
fn large_videos_are_made_in_strips() {
    let graph = graph(LARGE);
    let loops = |strip_bytes| {
        let text =
            emit(&graph, &EmitOptions { strip_bytes, ..EmitOptions::default() }).expect("every op has a form").text;
        (text.matches("stablehlo.while").count(), text)
    };
    // A row of the norm takes 96 bytes, one of the enlarged video 192.
    assert_eq!(loops(1 << 20).0, 0);
    assert_eq!(loops(1500).0, 1);
    let (count, text) = loops(300);
    assert_eq!(count, 2);
    insta::assert_snapshot!("strips", text);
}

#[test]
fn what_something_else_reads_is_made_whole() {
    let tapped = graph(&format!("{LARGE}\nreturn tap \"norm\" = %4\nreturn tap \"up\" = %9"));
    let text =
        emit(&tapped, &EmitOptions { strip_bytes: 300, ..EmitOptions::default() }).expect("every op has a form").text;
    assert!(!text.contains("stablehlo.while"), "{text}");
}

#[test]
fn the_signature_says_what_each_argument_is() {
    let module = module(PROGRAMS[1].1);
    let arguments: Vec<_> = module
        .arguments
        .iter()
        .map(|argument| {
            let role = match &argument.role {
                ArgumentRole::Input => "input",
                ArgumentRole::State => "state",
                ArgumentRole::Weight(recipe) => {
                    assert_eq!(*recipe.ty(), argument.ty);
                    "weight"
                }
            };
            (role, argument.name.as_str(), argument.ty.to_string(), argument.donated_to)
        })
        .collect();
    let ty = str::to_owned;
    assert_eq!(
        arguments,
        [
            ("input", "x", ty("tensor<1x3x4x4x2xf32, nthwc>"), None),
            ("state", "conv", ty("tensor<1x2x4x4x2xbf16, nthwc>"), Some(0)),
            ("weight", "conv.weight", ty("tensor<3x3x3x2x2xbf16, dhwio>"), None),
            ("weight", "conv.bias", ty("tensor<2xf32>"), None),
        ]
    );
    let results: Vec<_> = module.results.iter().map(|r| (r.role.word(), r.name.as_str(), r.ty.to_string())).collect();
    assert_eq!(
        results,
        [("state", "conv", ty("tensor<1x2x4x4x2xbf16, nthwc>")), ("result", "y", ty("tensor<1x3x2x2x2xf32, nthwc>")),]
    );
}

#[test]
fn a_state_that_is_not_read_has_nothing_to_donate() {
    let module = module(
        r#"%0 = state {name = "s"} : tensor<1x2x1x1x4xf32, nthwc>
           %1 = slice %0 {start = [0, 0, 0, 0, 0], limit = [1, 1, 1, 1, 4]} : tensor<1x1x1x1x4xf32, nthwc>
           return state "t" = %1"#,
    );
    assert_eq!(module.arguments[0].donated_to, None);
    assert!(!module.text.contains("tf.aliasing_output"), "{}", module.text);
}

#[test]
fn equal_weights_are_one_argument_and_equal_names_are_told_apart() {
    let module = module(
        r#"%0 = input {name = "x y"} : tensor<2x3xf32>
           %1 = parameter {name = "w"} : tensor<2x3xf32>
           %2 = silu %1 : tensor<2x3xf32>
           %3 = silu %1 : tensor<2x3xf32>
           %4 = add %0, %2 : tensor<2x3xf32>
           %5 = add %4, %3 : tensor<2x3xf32>
           %6 = add %5, %1 : tensor<2x3xf32>
           return result "y" = %6"#,
    );
    let lines = module.text.lines().filter_map(|line| line.trim().split_once(": tensor"));
    let names: Vec<_> = lines.map(|(name, _)| name).take(3).collect();
    assert_eq!(names, ["%input.x_y", "%weight.w", "%weight.w.2"]);
    assert_eq!(module.arguments.len(), 3);
}

#[test]
fn arithmetic_on_integers_is_refused() {
    let graph = graph(
        r#"%0 = input {name = "x"} : tensor<2xi8>
           %1 = add %0, %0 : tensor<2xi8> @ some.module
           return result "y" = %1"#,
    );
    let error = emit(&graph, &EmitOptions::default()).unwrap_err().to_string();
    assert_eq!(error, "add of `some.module`: StableHLO text is written for floating-point numbers, found tensor<2xi8>");
}
