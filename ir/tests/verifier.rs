//! The verifier gathers all errors and prints each under its op.

use ir::text::parse;
use ir::verify::verify;
use ir::{Graph, Node, Op, Output, Role};

fn parts(text: &str) -> (Vec<Node>, Vec<Output>) {
    let graph = parse(text).unwrap();
    (graph.nodes().map(|(_, node)| node.clone()).collect(), graph.outputs().to_vec())
}

#[test]
fn all_faults_are_gathered_and_each_stands_under_its_op() {
    let (mut nodes, mut outputs) = parts(
        r#"graph @g {
  %0 = input {name = "x"} : tensor<2xf32>
  %1 = input {name = "x"} : tensor<2xf32>
  %2 = state {name = ""} : tensor<2xf32>
  %3 = state {name = "cache"} : tensor<2xf32>
  %4 = silu %0 : tensor<2xf32> @ a.act
  %5 = add %0, %1 : tensor<2xf32> @ b
  %6 = convert %5 {element = i8} : tensor<2xi8>
  return state "cache" = %6
  return tap "t" = %4
  return tap "t" = %5
}"#,
    );
    nodes[4].ty.shape[0] = 3;
    nodes[5].path = "b c".into();
    let Op::Add { rhs, .. } = &mut nodes[5].op else { panic!("%5 adds") };
    *rhs = outputs[0].value;
    outputs.push(Output { role: Role::Result, name: "y".to_owned(), value: far_value() });
    let error = verify(&Graph::from_parts("g {".to_owned(), nodes, outputs)).unwrap_err();
    let expected = r#"graph @g { breaks 8 rules:
  graph @"g {"
    ^ the name "g {" holds white space or a brace, which the text format cannot carry
  %1 = input {name = "x"} : tensor<2xf32>
    ^ input "x" is declared before, as %0
  %2 = state {name = ""} : tensor<2xf32>
    ^ the name is empty
  %4 = silu %0 : tensor<3xf32> @ a.act
    ^ recorded as tensor<3xf32>, inferred as tensor<2xf32>
  %5 = add %0, %6 : tensor<2xf32> @ b c
    ^ operand %6 is not defined before %5
  return state "cache" = %6
    ^ state "cache" is read as tensor<2xf32> and left as tensor<2xi8>
  return tap "t" = %5
    ^ tap "t" is output twice
  return result "y" = %9
    ^ result "y" is %9, which is not in the graph"#;
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.faults.len(), 8);
}

/// `%9`, out of a graph that has it.
fn far_value() -> ir::Value {
    let mut builder = ir::Builder::new("far");
    let ty = || "tensor<f32>".parse().unwrap();
    (0..10).map(|i| builder.input(i.to_string(), ty()).unwrap()).last().unwrap()
}

#[test]
fn a_broken_constraint_and_a_path_that_does_not_print_are_two_faults_of_one_op() {
    let (mut nodes, outputs) = parts(
        r#"graph @g {
  %0 = input {name = "x"} : tensor<2xf32>
  %1 = input {name = "y"} : tensor<2xf32>
  %2 = add %0, %1 : tensor<2xf32>
}"#,
    );
    nodes[1].ty.shape[0] = 4;
    nodes[1].op = Op::Input { name: "y".to_owned(), ty: nodes[1].ty.clone() };
    nodes[2].path = "a\nb".into();
    let faults = verify(&Graph::from_parts("g".to_owned(), nodes, outputs)).unwrap_err().faults;
    let found: Vec<_> = faults.iter().map(|fault| (fault.value.unwrap().index(), fault.message.as_str())).collect();
    assert_eq!(
        found,
        [
            (2, "add_c1: operands differ: tensor<2xf32> and tensor<4xf32>"),
            (2, "the path \"a\\nb\" holds white space or a brace, which the text format cannot carry"),
        ]
    );
}

#[test]
fn types_that_lie_do_not_panic() {
    let text = r#"graph @g {
  %0 = input {name = "x"} : tensor<1x4x2x2x2xf32, ncthw>
  %1 = parameter {name = "w"} : tensor<4x4x1x1x1xf32, oidhw>
  %2 = convolution %0, %1, cache: %0 {strides = [1, 1, 1], padding = [[0, 0], [0, 0], [0, 0]], repeat_first = 0} : tensor<1x4x4x2x2xf32, ncthw>
  %3 = transpose %0 {permutation = [0, 2, 3, 4, 1]} : tensor<1x2x2x2x4xf32, nthwc>
  %4 = reshape %0 : tensor<32xf32>
}"#;
    for shape in [&[][..], &[2], &[1, 4, 2, 2, 2, 2], &[0, 4, 2, 2, 2], &[usize::MAX, usize::MAX, 2, 2, 2]] {
        for lying in 0..5 {
            let (mut nodes, outputs) = parts(text);
            nodes[lying].ty.shape = shape.iter().copied().collect();
            assert!(verify(&Graph::from_parts("g".to_owned(), nodes, outputs)).is_err(), "%{lying} as {shape:?}");
        }
    }
}
