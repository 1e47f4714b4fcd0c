//! Text: what is printed parses back to an equal graph; what is not a program is refused at its
//! place, and nothing panics.

use std::collections::BTreeSet;

use ir::op::TABLE;
use ir::text::{parse, print};
use ir::types::{ElementType, TensorType};
use ir::{Builder, Elements, Graph, PadMode, Role, Value};
use proptest::prelude::*;

/// Every op, with every form of its operands.
const PROGRAM: &str = r#"graph @every_op {
  %0 = input {name = "x"} : tensor<1x4x3x4x4xf32, ncthw> @ a.b
  %1 = state {name = "odd \"name\" \\ \n é\u{301}"} : tensor<1x4x2x4x4xf32, ncthw>
  %2 = parameter {name = "w"} : tensor<4x4x3x1x1xf32, oidhw>
  %3 = constant {value = 0.5} : tensor<4xf32>
  %4 = constant {value = [1.0, -2.5, 1e-300, inf, -inf, -0.0, 1e22]} : tensor<7xbf16>
  %5 = add %0, %0 : tensor<1x4x3x4x4xf32, ncthw> @ decoder.up_blocks.0
  %6 = multiply %0, %5 : tensor<1x4x3x4x4xf32, ncthw>
  %7 = silu %6 : tensor<1x4x3x4x4xf32, ncthw>
  %8 = add_bias %7, %3 : tensor<1x4x3x4x4xf32, ncthw>
  %9 = convolution %0, %2 {strides = [1, 1, 1], padding = [[1, 1], [0, 0], [0, 0]], repeat_first = 0} : tensor<1x4x3x4x4xf32, ncthw>
  %10 = convolution %0, %2, bias: %3, cache: %1 {strides = [1, 1, 1], padding = [[0, 0], [0, 0], [0, 0]], repeat_first = 0} : tensor<1x4x3x4x4xf32, ncthw>
  %11 = convolution %0, %2, bias: %3, residual: %10 {strides = [1, 1, 1], padding = [[0, 0], [0, 0], [0, 0]], repeat_first = 2} : tensor<1x4x3x4x4xf32, ncthw>
  %12 = group_norm %0, %3, %3 {groups = 2, epsilon = 1e-6} : tensor<1x4x3x4x4xf32, ncthw>
  %13 = group_statistics %0 {groups = 2, epsilon = 0.001} : tensor<1x2x2xf32>
  %14 = normalize %0, %13, %3, %3 {first_frame = joined, activation = none} : tensor<1x4x3x4x4xf32, ncthw>
  %15 = normalize %0, %13, %3, %3, gain: %0, shift: %5 {first_frame = apart, activation = silu} : tensor<1x4x3x4x4xf32, ncthw>
  %16 = resize_nearest %0 {size = [5, 8, 8], first_frame = apart} : tensor<1x4x5x8x8xf32, ncthw>
  %17 = average_pool %0 {window = [2, 2, 2], first_frame = joined} : tensor<1x4x1x2x2xf32, ncthw>
  %18 = pad %17 {low = [0, 0, 1, 0, 0], high = [0, 0, 0, 1, 1], mode = edge} : tensor<1x4x2x3x3xf32, ncthw>
  %19 = slice %18 {start = [0, 1, 0, 0, 0], limit = [1, 4, 1, 3, 3]} : tensor<1x3x1x3x3xf32, ncthw>
  %20 = concatenate [%0, %1] {axis = 2} : tensor<1x4x5x4x4xf32, ncthw>
  %21 = concatenate [%19] {axis = 0} : tensor<1x3x1x3x3xf32, ncthw>
  %22 = transpose %21 {permutation = [0, 2, 3, 4, 1]} : tensor<1x1x3x3x3xf32, nthwc>
  %23 = reshape %22 : tensor<27xf32>
  %24 = convert %23 {element = i8} : tensor<27xi8>
  %25 = unary %0 {function = sine} : tensor<1x4x3x4x4xf32, ncthw>
  %26 = clamp %0 {low = -inf, high = 0.5} : tensor<1x4x3x4x4xf32, ncthw>
  %27 = channel_norm %0 {kind = rms, epsilon = 1e-8, activation = none} : tensor<1x4x3x4x4xf32, ncthw>
  %28 = channel_norm %0, scale: %3, offset: %3 {kind = layer, epsilon = 1e-6, activation = silu} : tensor<1x4x3x4x4xf32, ncthw>
  %29 = channel_norm %0, offset: %3 {kind = l2, epsilon = 1e-12, activation = none} : tensor<1x4x3x4x4xf32, ncthw>
  %30 = convolution %0, %2 {strides = [1, 1, 1], padding = [[1, 0], [0, 0], [1, 2]], repeat_first = 0, border = [edge, zero, reflect]} : tensor<1x4x2x4x7xf32, ncthw>
  %31 = parameter {name = "grouped"} : tensor<2x2x1x3x3xf32, oidhw>
  %32 = grouped_convolution %0, %31 {groups = 2, strides = [1, 2, 2], padding = [[0, 0], [1, 1], [1, 1]]} : tensor<1x2x3x2x2xf32, ncthw>
  %33 = reshape %23 : tensor<9x3xf32>
  %34 = attention %33, %33, %33 {heads = 3, scale = 0.5, mask = [causal, 3]} : tensor<9x3xf32>
  %35 = linear_attention %33, %33, %33 {heads = 3, epsilon = 1e-15} : tensor<9x3xf32>
  return result "y" = %24
  return state "odd \"name\" \\ \n é\u{301}" = %1
  return tap "" = %0
}
"#;

#[test]
fn every_op_prints_as_it_was_parsed() {
    let graph = parse(PROGRAM).unwrap();
    assert_eq!(print(&graph), PROGRAM);
    assert_eq!(parse(&print(&graph)).unwrap(), graph);
    let covered: BTreeSet<&str> = graph.nodes().map(|(_, node)| node.op.mnemonic()).collect();
    assert_eq!(covered, TABLE.iter().map(|op| op.mnemonic).collect());
}

#[test]
fn numbering_and_layout_of_the_text_are_free() {
    let text =
        "// a comment\ngraph @ g{%7=constant{value=1}:tensor<2xf32> %3 = silu %7 : tensor< 2xf32 >@a.b // here\n}";
    let graph = parse(text).unwrap();
    let expected =
        "graph @g {\n  %0 = constant {value = 1.0} : tensor<2xf32>\n  %1 = silu %0 : tensor<2xf32> @ a.b\n}\n";
    assert_eq!(print(&graph), expected);
}

#[track_caller]
fn refused(body: &str, expected: &str) {
    let text = format!("graph @g {{\n  %0 = input {{name = \"x\"}} : tensor<2x3xf32>\n{body}");
    assert_eq!(parse(&text).expect_err(body).to_string(), expected);
}

#[test]
fn errors_name_line_and_column() {
    let e = |text: &str| parse(text).unwrap_err().to_string();
    assert_eq!(e(""), "line 1, column 1: expected `graph @name {`");
    assert_eq!(e("graf @g {}"), "line 1, column 1: expected `graph @name {`");
    assert_eq!(e("graph @g {\n} }"), "line 2, column 3: expected the end of the text after the graph");
    refused("  %1 = sigmoid %0 : tensor<2x3xf32>\n}", "line 3, column 3: there is no op `sigmoid`");
    refused("  %1 = silu %2 : tensor<2x3xf32>\n}", "line 3, column 13: %2 is not defined before this op");
    refused("  %0 = silu %0 : tensor<2x3xf32>\n}", "line 3, column 3: %0 is defined twice");
    refused(
        "  %1 = silu %0 : tensor<2x4xf32>\n}",
        "line 3, column 3: written as tensor<2x4xf32>, inferred as tensor<2x3xf32>",
    );
    refused(
        "  %1 = silu %0 : tensor<2x4xf64>\n}",
        "line 3, column 18: `f64` is not an element type: use f32, bf16, f16, i8 or i32",
    );
    refused("  %1 = silu %0, %0 : tensor<2x3xf32>\n}", "line 3, column 3: silu: one operand too many");
    refused("  %1 = silu %0, bias: %0 : tensor<2x3xf32>\n}", "line 3, column 3: silu: no operand `bias` to name");
    refused("  %1 = silu %0 {axis = 1} : tensor<2x3xf32>\n}", "line 3, column 3: silu: no attribute `axis`");
    refused(
        "  %1 = concatenate [%0] : tensor<2x3xf32>\n}",
        "line 3, column 3: concatenate: attribute `axis` is missing; expected a whole number",
    );
    refused(
        "  %1 = convert %0 {element = f64} : tensor<2x3xf32>\n}",
        "line 3, column 3: convert: attribute `element` must be one of: f32 bf16 f16 i8 i32, found f64",
    );
    refused(
        "  %1 = concatenate %0 {axis = 1} : tensor<2x3xf32>\n}",
        "line 3, column 3: concatenate: operand `inputs` must be a list such as [%1, %2]",
    );
    refused("  return result y = %0\n}", "line 3, column 17: expected the output's name in double quotes");
    refused("  return \"y\" = %0\n}", "line 3, column 10: expected `result`, `state` or `tap`");
    refused("  %1 = silu %0 : tensor<2x3xf32", "line 3, column 18: a type that starts here has no `>`");
    refused("  %1 = silu ? : tensor<2x3xf32>", "line 3, column 13: unexpected character `?`");
    refused("  return tap \"y", "line 3, column 14: a string that starts here does not end on its line");
}

#[test]
fn a_program_cut_anywhere_is_refused() {
    let end = PROGRAM.trim_end().len();
    for (at, _) in PROGRAM.char_indices().filter(|(at, _)| *at < end) {
        assert!(parse(&PROGRAM[..at]).is_err(), "cut at byte {at}");
    }
}

/// A graph of ops picked by `choices`: each picks an op, the operand to start from, and a name.
fn random_graph(choices: &[(u8, u16, String)]) -> Graph {
    let mut builder = Builder::new("random");
    let video: TensorType = "tensor<1x2x2x3x2xf32, ncthw>".parse().unwrap();
    let first = builder.input("x".to_owned(), video.clone()).unwrap();
    let mut values: Vec<Value> = vec![first];
    for (i, (op, pick, name)) in choices.iter().enumerate() {
        builder.set_path(format!("m.{op}").into());
        let x = values[usize::from(*pick) % values.len()];
        let ty = builder.ty(x).clone();
        let built = match op % 12 {
            0 => builder.parameter(format!("{name}{i}"), ty),
            1 => builder.constant(Elements::Splat(f64::from(*pick) / 7.0), ty),
            2 => builder.constant(Elements::Dense((0..ty.elements()).map(|n| n as f64 * -1e-9).collect()), ty),
            3 => builder.add(x, x),
            4 => builder.multiply(x, first),
            5 => builder.silu(x),
            6 => builder.convert(x, ElementType::ALL[usize::from(*pick) % 5]),
            7 => builder.pad(x, ty.shape.iter().map(|_| 1).collect(), ty.shape.clone(), PadMode::Edge),
            8 => builder.slice(x, ty.shape.iter().map(|n| n / 2).collect(), ty.shape.clone()),
            9 => builder.concatenate([x, x].into_iter().collect(), usize::from(*pick) % 6),
            10 => builder.transpose(x, [0, 2, 3, 4, 1].into_iter().collect()),
            _ => builder.reshape(x, TensorType::plain(ty.element, [ty.elements()])),
        };
        // Not every choice fits its operand: a refusal is no failure here.
        if let Ok(value) = built.map(|v| (v, builder.ty(v).elements() < 10_000)) {
            values.extend(value.1.then_some(value.0));
            builder.output(Role::ALL[usize::from(*pick) % 3], format!("{name}{i}"), value.0);
        }
    }
    builder.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs_round_trip(choices in prop::collection::vec(any::<(u8, u16, String)>(), 0..20)) {
        let graph = random_graph(&choices);
        ir::verify::verify(&graph).unwrap();
        let text = print(&graph);
        prop_assert_eq!(parse(&text).unwrap(), graph);
    }

    #[test]
    fn random_text_does_not_panic(text in any::<String>()) {
        let _ = parse(&text);
        let _ = parse(&format!("graph @g {{ {text}"));
        let _ = text.parse::<TensorType>();
        let _ = format!("tensor<{text}>").parse::<TensorType>();
    }

    #[test]
    fn random_tokens_do_not_panic(tokens in prop::collection::vec(prop::sample::select(TOKENS), 0..30)) {
        let _ = parse(&tokens.join(" "));
        let _ = parse(&format!("graph @g {{ %0 = input {{name = \"x\"}} : tensor<2xf32>\n {}", tokens.join(" ")));
    }

    #[test]
    fn mutated_programs_do_not_panic(edits in prop::collection::vec((any::<u16>(), 0..6_usize, any::<char>()), 1..6)) {
        let mut text: Vec<char> = PROGRAM.chars().collect();
        for (at, edit, c) in edits {
            let at = usize::from(at) % text.len();
            match edit {
                0 => text[at] = c,
                1 => text.insert(at, c),
                2 => drop(text.remove(at)),
                3 => text[at] = ['9', '0', '-', '"', '[', '}', '%', '@'][c as usize % 8],
                4 => { text.splice(at..at, "18446744073709551615".chars()); }
                _ => { let end = (at + 40).min(text.len()); text.splice(at..end, []); }
            }
        }
        if let Ok(graph) = parse(&text.into_iter().collect::<String>()) {
            let _ = ir::verify::verify(&graph);
            prop_assert_eq!(print(&parse(&print(&graph)).unwrap()), print(&graph));
        }
    }
}

const TOKENS: &[&str] = &[
    "graph",
    "@g",
    "@",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "=",
    "%0",
    "%1",
    "%4294967295",
    "%",
    "silu",
    "convolution",
    "input",
    "return",
    "result",
    "name",
    "\"x\"",
    "\"",
    "\\u{110000}",
    "1",
    "-1",
    "1e999",
    "-",
    "1.5",
    "18446744073709551616",
    "tensor<2xf32>",
    "tensor<",
    "tensor<18446744073709551615xi8>",
    "tensor<1x1x1x1x1xf32, ncthw>",
    "//",
    "\n",
    "é",
];
