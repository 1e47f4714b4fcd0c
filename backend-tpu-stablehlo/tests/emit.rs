//! What the emitter writes: every op, the signature, and what it refuses.
//!
//! That the text means what the graph means is tested in `execute.rs`, where a plugin runs it.

mod common;

use std::collections::BTreeSet;

use backend_tpu_stablehlo::{ArgumentRole, EmitOptions, Module, emit};
use common::programs::{LARGE, LARGE_CHANNEL_NORM, PROGRAMS, graph};
use ir::op;

fn module(body: &str) -> Module {
    emit(&graph(body), &EmitOptions::default()).expect("every op has a form")
}

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

#[test]
fn large_videos_are_made_in_strips() {
    let graph = graph(LARGE);
    let loops = |strip_bytes| {
        let text =
            emit(&graph, &EmitOptions::default().with_strip_bytes(strip_bytes)).expect("every op has a form").text;
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
fn a_norm_over_channels_is_made_in_strips_with_the_state_behind() {
    let loops = |body: &str| {
        let options = EmitOptions::default().with_strip_bytes(300);
        emit(&graph(body), &options).expect("every op has a form").text.matches("stablehlo.while").count()
    };
    assert_eq!(loops(LARGE_CHANNEL_NORM), 1);
    // A border of anything but zeros is made first, so that the norm is, too.
    let border = LARGE_CHANNEL_NORM.replace("repeat_first = 0}", "repeat_first = 0, border = [zero, edge, edge]}");
    assert_eq!(loops(&border), 0);
}

#[test]
fn scores_of_an_attention_are_made_for_some_queries_at_a_time() {
    let graph = graph(PROGRAMS.iter().find(|(name, _)| *name == "attention").expect("a program").1);
    let emitted = |strip_bytes| {
        let options = EmitOptions::default().with_strip_bytes(strip_bytes);
        emit(&graph, &options).expect("every op has a form").text
    };
    // Scores of a query take 144 bytes in the first attention, 48 in the second.
    assert_eq!(emitted(6 * 144).matches("stablehlo.while").count(), 0);
    assert_eq!(emitted(1).matches("stablehlo.while").count(), 2);
    let text = emitted(600);
    assert_eq!(text.matches("stablehlo.while").count(), 1);
    assert!(text.contains("tensor<2x2x4x9xf32>") && !text.contains("tensor<2x2x6x9xf32>"), "{text}");
    insta::assert_snapshot!("attention_in_strips", text);
}

#[test]
fn what_something_else_reads_is_made_whole() {
    let tapped = graph(&format!("{LARGE}\nreturn tap \"norm\" = %4\nreturn tap \"up\" = %9"));
    let text = emit(&tapped, &EmitOptions::default().with_strip_bytes(300)).expect("every op has a form").text;
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
fn a_program_may_return_nothing_and_names_stay_on_their_line() {
    let nothing = module("%0 = input {name = \"x\"} : tensor<2xf32>");
    assert!(nothing.results.is_empty() && nothing.text.ends_with("    return \n  }\n}\n"), "{}", nothing.text);
    let lines = module("%0 = input {name = \"x\"} : tensor<2xf32>\nreturn result \"a\\nb\" = %0");
    assert!(lines.text.contains("tensor<2xf32> // result a\\nb\n"), "{}", lines.text);
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
