//! One test for each numbered constraint of the shape functions, by its name: a program that breaks
//! it does not parse, and the error carries the constraint and says what was found.

use ir::text::parse;
use ir::types::TensorType;
use ir::{Builder, Elements, Op, verify::verify};

/// Parses `line` over inputs of these types and checks the refusal.
fn refused(constraint: &str, operands: &[&str], line: &str, message: &str) {
    let mut program = String::from("graph @refused {\n");
    for (i, ty) in operands.iter().enumerate() {
        program += &format!("  %{i} = input {{name = \"{i}\"}} : tensor<{ty}>\n");
    }
    // An op whose type is an attribute brings it along.
    let ty = if line.contains(" : ") { "" } else { " : tensor<f32>" };
    program += &format!("  %99 = {line}{ty} @ some.module\n}}\n");
    let error = parse(&program).expect_err(&program);
    assert_eq!((error.line, error.column), (operands.len() + 2, 3), "{error}");
    let start = line.split(' ').next().unwrap();
    let expected = format!("{start} of `some.module`: {constraint}: ");
    assert!(error.message.starts_with(&expected), "expected `{expected}`, found `{}`", error.message);
    assert!(error.message.contains(message), "expected `{message}` in `{}`", error.message);
}

macro_rules! constraints {
    ($( $name:ident: [$($operand:literal),*], $line:literal, $message:literal; )+) => {
        $( #[test] fn $name() { refused(stringify!($name), &[$($operand),*], $line, $message) } )+
        const TABLE_DRIVEN: &[&str] = &[$(stringify!($name)),+];
    };
}

constraints! {
    constant_c1: [], "constant {value = [1.0, 2.0]} : tensor<3xf32>",
        "2 values for tensor<3xf32>, which has 3 elements";
    add_c1: ["2xf32", "3xf32"], "add %0, %1", "operands differ: tensor<2xf32> and tensor<3xf32>";
    multiply_c1: ["2xf32", "2xbf16"], "multiply %0, %1", "operands differ: tensor<2xf32> and tensor<2xbf16>";
    silu_c1: ["2xi8"], "silu %0", "tensor<2xi8> is not floating-point";
    unary_c1: ["2xi32"], "unary %0 {function = tanh}", "tensor<2xi32> is not floating-point";
    clamp_c1: ["2xi8"], "clamp %0 {low = 0.0, high = inf}", "tensor<2xi8> is not floating-point";
    clamp_c2: ["2xf32"], "clamp %0 {low = 1.0, high = NaN}", "low must be at most high, found 1 and NaN";
    add_bias_v1: ["2xf32", "2xf32"], "add_bias %0, %1", "expected a video (ncthw or nthwc), found tensor<2xf32>";
    add_bias_v2: ["1x4x1x2x2xf32, ncthw", "3xf32"], "add_bias %0, %1",
        "bias must be tensor<4xf32>, one element a channel, found tensor<3xf32>";
    convolution_v1: ["1x4x1x2x2xf32", "2x4x1x1x1xf32, oidhw"],
        "convolution %0, %1 {strides = [1, 1, 1], padding = [[0, 0], [0, 0], [0, 0]], repeat_first = 0}",
        "expected a video";
    convolution_v2: ["1x4x1x2x2xf32, ncthw", "2x4x1x1x1xf32, oidhw", "4xf32"],
        "convolution %0, %1, bias: %2 {strides = [1, 1, 1], padding = [[0, 0], [0, 0], [0, 0]], repeat_first = 0}",
        "bias must be tensor<2xf32>";
    convolution_c1: ["1x4x1x2x2xf32, ncthw", "2x4x1x1x1xf32"],
        "convolution %0, %1 {strides = [1, 1, 1], padding = [[0, 0], [0, 0], [0, 0]], repeat_first = 0}",
        "the weight must be oidhw or dhwio, found tensor<2x4x1x1x1xf32>";
    convolution_c2: ["1x4x1x2x2xf32, ncthw", "1x1x1x4x2xf32, dhwio"],
        "convolution %0, %1 {strides = [1, 1, 1], padding = [[0, 0], [0, 0], [0, 0]], repeat_first = 0}",
        "must both be channel-first";
    convolution_c3: ["1x4x1x2x2xf32, ncthw", "2x3x1x1x1xf32, oidhw"],
        "convolution %0, %1 {strides = [1, 1, 1], padding = [[0, 0], [0, 0], [0, 0]], repeat_first = 0}",
        "the input has 4 channels, the weight takes 3";
    convolution_c4: ["1x4x1x2x2xf32, ncthw", "2x4x1x1x1xbf16, oidhw"],
        "convolution %0, %1 {strides = [1, 1, 1], padding = [[0, 0], [0, 0], [0, 0]], repeat_first = 0}",
        "elements differ";
    convolution_c5: ["1x4x1x2x2xf32, ncthw", "2x4x1x1x1xf32, oidhw"],
        "convolution %0, %1 {strides = [1, 0, 1], padding = [[0, 0], [0, 0], [0, 0]], repeat_first = 0}",
        "strides must be at least 1, found [1, 0, 1]";
    convolution_c6: ["1x4x1x2x2xf32, ncthw", "2x4x1x1x1xf32, oidhw"],
        "convolution %0, %1, cache: %0 {strides = [1, 1, 1], padding = [[0, 0], [0, 0], [0, 0]], repeat_first = 2}",
        "not from both";
    convolution_c7: ["1x4x1x2x2xf32, ncthw", "2x4x1x1x1xf32, oidhw", "1x4x2x2x3xf32, ncthw"],
        "convolution %0, %1, cache: %2 {strides = [1, 1, 1], padding = [[0, 0], [0, 0], [0, 0]], repeat_first = 0}",
        "but for its frames, found tensor<1x4x2x2x3xf32, ncthw>";
    convolution_c8: ["1x4x1x2x2xf32, ncthw", "2x4x1x3x3xf32, oidhw"],
        "convolution %0, %1 {strides = [1, 1, 1], padding = [[0, 0], [1, 0], [0, 0]], repeat_first = 0}",
        "larger than the padded input along width: 3 > 2";
    convolution_c9: ["1x4x1x2x2xf32, ncthw", "2x4x1x1x1xf32, oidhw"],
        "convolution %0, %1, residual: %0 {strides = [1, 1, 1], padding = [[0, 0], [0, 0], [0, 0]], repeat_first = 0}",
        "the residual must be tensor<1x2x1x2x2xf32, ncthw>, found tensor<1x4x1x2x2xf32, ncthw>";
    convolution_c10: ["1x4x1x2x2xf32, ncthw", "2x4x1x1x1xf32, oidhw"],
        "convolution %0, %1 {strides = [9223372036854775807, 1, 1], padding = [[1, 0], [0, 0], [0, 0]], \
         repeat_first = 18446744073709551615}",
        "overflow";
    convolution_c11: ["1x4x1x2x2xf32, ncthw", "2x4x1x3x3xf32, oidhw"],
        "convolution %0, %1 {strides = [1, 1, 1], padding = [[0, 0], [1, 1], [1, 2]], \
         repeat_first = 0, border = [zero, reflect, reflect]}",
        "2 elements of width cannot be mirrored to 1 in front and 2 behind";
    grouped_convolution_v1: ["4xf32", "2x4x1x1x1xf32, oidhw"],
        "grouped_convolution %0, %1 {groups = 2, strides = [1, 1, 1], padding = [[0, 0], [0, 0], [0, 0]]}",
        "expected a video";
    grouped_convolution_c1: ["1x4x1x2x2xf32, ncthw", "3x2x1x1x1xf32, oidhw"],
        "grouped_convolution %0, %1 {groups = 2, strides = [1, 1, 1], padding = [[0, 0], [0, 0], [0, 0]]}",
        "4 and 3 channels do not divide into 2 groups";
    attention_c1: ["1x4x8xf32", "1x4x2x2x8xf32, nthwc"],
        "attention %0, %0, %1 {heads = 1, scale = 1.0, mask = none}",
        "[.., tokens, channels] without names of axes, found tensor<1x4x8xf32>, tensor<1x4x8xf32> and \
         tensor<1x4x2x2x8xf32, nthwc>";
    attention_c2: ["2x4x8xf32", "2x5x8xbf16"], "attention %0, %1, %1 {heads = 1, scale = 1.0, mask = none}",
        "the key must be tensor<2x4x8xf32> but for its tokens, found tensor<2x5x8xbf16>";
    attention_c3: ["2x4x8xf32", "2x5x8xf32", "2x4x6xf32"], "attention %0, %1, %2 {heads = 1, scale = 1.0, mask = none}",
        "the value must be tensor<2x5x8xf32> but for its channels, found tensor<2x4x6xf32>";
    attention_c4: ["4x8xf32", "4x6xf32"], "attention %0, %0, %1 {heads = 4, scale = 1.0, mask = none}",
        "8 and 6 channels do not divide into 4 heads";
    attention_c5: ["4x8xf32"], "attention %0, %0, %0 {heads = 1, scale = inf, mask = none}",
        "must be a finite number, found inf";
    attention_c6: ["4x8xf32", "2x8xf32"], "attention %0, %1, %1 {heads = 1, scale = 1.0, mask = causal}",
        "with a causal mask 4 queries cannot see 2 keys alone";
    attention_c7: ["4x8xf32", "6x8xf32"], "attention %0, %1, %1 {heads = 1, scale = 1.0, mask = [causal, 4]}",
        "4 queries and 6 keys do not divide into frames of 4 tokens";
    linear_attention_c1: ["8xf32"], "linear_attention %0, %0, %0 {heads = 1, epsilon = 0.0}",
        "[.., tokens, channels] without names of axes, found tensor<8xf32>";
    linear_attention_c2: ["2x4x8xf32", "2x5x6xf32"], "linear_attention %0, %1, %1 {heads = 1, epsilon = 0.0}",
        "the key must be tensor<2x4x8xf32> but for its tokens, found tensor<2x5x6xf32>";
    linear_attention_c3: ["2x4x8xf32", "2x5x8xf32"], "linear_attention %0, %1, %0 {heads = 1, epsilon = 0.0}",
        "the value must be tensor<2x5x8xf32> but for its channels, found tensor<2x4x8xf32>";
    linear_attention_c4: ["4x8xf32", "4x6xf32"], "linear_attention %0, %0, %1 {heads = 4, epsilon = 0.0}",
        "8 and 6 channels do not divide into 4 heads";
    linear_attention_c5: ["4x8xf32"], "linear_attention %0, %0, %0 {heads = 1, epsilon = -1.0}",
        "epsilon must be a finite number, 0 or more, found -1";
    group_norm_v1: ["4xf32", "4xf32"], "group_norm %0, %1, %1 {groups = 2, epsilon = 1e-6}", "expected a video";
    group_norm_v2: ["1x4x1x2x2xbf16, ncthw", "4xbf16"], "group_norm %0, %1, %1 {groups = 2, epsilon = 1e-6}",
        "scale must be tensor<4xf32>, one element a channel, found tensor<4xbf16>";
    group_norm_c1: ["1x4x1x2x2xi8, ncthw", "4xf32"], "group_norm %0, %1, %1 {groups = 2, epsilon = 1e-6}",
        "is not floating-point";
    group_norm_c2: ["1x4x1x2x2xf32, ncthw", "4xf32"], "group_norm %0, %1, %1 {groups = 3, epsilon = 1e-6}",
        "4 channels do not divide into 3 groups";
    group_norm_c3: ["1x4x1x2x2xf32, ncthw", "4xf32"], "group_norm %0, %1, %1 {groups = 2, epsilon = -1.0}",
        "epsilon must be a finite number of at least 0, found -1";
    group_statistics_v1: ["4xf32"], "group_statistics %0 {groups = 2, epsilon = 1e-6}", "expected a video";
    group_statistics_c1: ["1x4x1x2x2xi32, ncthw"], "group_statistics %0 {groups = 2, epsilon = 1e-6}",
        "is not floating-point";
    group_statistics_c2: ["1x4x1x2x2xf32, ncthw"], "group_statistics %0 {groups = 0, epsilon = 1e-6}",
        "4 channels do not divide into 0 groups";
    group_statistics_c3: ["1x4x1x2x2xf32, ncthw"], "group_statistics %0 {groups = 2, epsilon = inf}",
        "epsilon must be a finite number of at least 0, found inf";
    normalize_v1: ["4xf32", "1x2x2xf32"],
        "normalize %0, %1, %0, %0 {first_frame = joined, activation = none}", "expected a video";
    normalize_v2: ["1x4x1x2x2xf32, ncthw", "1x2x2xf32", "4xf32", "2xf32"],
        "normalize %0, %1, %2, %3 {first_frame = joined, activation = none}", "offset must be tensor<4xf32>";
    normalize_c1: ["1x4x1x2x2xf32, ncthw", "1x3x2xf32", "4xf32"],
        "normalize %0, %1, %2, %2 {first_frame = joined, activation = none}",
        "statistics must be [1, groups, 2] in f32 with groups that divide 4, found tensor<1x3x2xf32>";
    normalize_c2: ["1x4x1x2x2xf32, ncthw", "1x2x2xf32", "4xf32"],
        "normalize %0, %1, %2, %2, gain: %0 {first_frame = joined, activation = none}", "gain and shift come together";
    normalize_c3: ["1x4x1x2x2xf32, ncthw", "1x2x2xf32", "4xf32", "1x4x1x1x1xf32, ncthw"],
        "normalize %0, %1, %2, %2, gain: %0, shift: %3 {first_frame = joined, activation = none}",
        "gain and shift differ";
    normalize_c4: ["1x4x1x2x2xf32, ncthw", "1x2x2xf32", "4xf32", "1x3x1x1x1xf32, ncthw"],
        "normalize %0, %1, %2, %2, gain: %3, shift: %3 {first_frame = joined, activation = none}",
        "but for its size, found tensor<1x3x1x1x1xf32, ncthw>";
    normalize_c5: ["1x4x1x2x2xi8, ncthw", "1x2x2xf32", "4xf32"],
        "normalize %0, %1, %2, %2 {first_frame = joined, activation = none}", "is not floating-point";
    channel_norm_v2: ["1x4x1x2x2xbf16, ncthw", "4xbf16"],
        "channel_norm %0, offset: %1 {kind = layer, epsilon = 1e-6, activation = none}",
        "offset must be tensor<4xf32>, one element a channel, found tensor<4xbf16>";
    channel_norm_c1: ["1x4x1x2x2xi8, ncthw"], "channel_norm %0 {kind = rms, epsilon = 1e-6, activation = none}",
        "is not floating-point";
    channel_norm_c2: ["1x4xf32"], "channel_norm %0 {kind = rms, epsilon = 1e-6, activation = none}",
        "the layout must name the channels (c), found tensor<1x4xf32>";
    channel_norm_c3: ["1x4xf32, nc"], "channel_norm %0 {kind = l2, epsilon = -1e-6, activation = none}",
        "epsilon must be a finite number of at least 0, found -0.000001";
    resize_nearest_v1: ["4xf32"], "resize_nearest %0 {size = [1, 1, 1], first_frame = joined}", "expected a video";
    resize_nearest_c1: ["1x4x1x2x2xf32, ncthw"], "resize_nearest %0 {size = [1, 0, 1], first_frame = joined}",
        "sizes must be at least 1, found [1, 0, 1]";
    resize_nearest_c2: ["1x4x3x2x2xf32, ncthw"], "resize_nearest %0 {size = [1, 2, 2], first_frame = apart}",
        "with the first frame apart, the other 2 frames cannot become 0";
    average_pool_v1: ["4xf32"], "average_pool %0 {window = [1, 1, 1], first_frame = joined}", "expected a video";
    average_pool_c1: ["1x4x1x2x2xi8, ncthw"], "average_pool %0 {window = [1, 1, 1], first_frame = joined}",
        "is not floating-point";
    average_pool_c2: ["1x4x1x2x2xf32, ncthw"], "average_pool %0 {window = [0, 1, 1], first_frame = joined}",
        "windows must be at least 1, found [0, 1, 1]";
    average_pool_c3: ["1x4x1x2x2xf32, ncthw"], "average_pool %0 {window = [2, 1, 1], first_frame = joined}",
        "the window [2, 1, 1] is larger than tensor<1x4x1x2x2xf32, ncthw>";
    pad_c1: ["2x3xf32"], "pad %0 {low = [1], high = [1, 1], mode = zero}", "one number an axis of tensor<2x3xf32>";
    pad_c2: ["2x3xf32"], "pad %0 {low = [0, 18446744073709551615], high = [0, 0], mode = edge}",
        "axis 1 of tensor<2x3xf32> overflows";
    pad_c0: ["2x3xf32"], "pad %0 {low = [0, 9223372036854775807], high = [0, 0], mode = edge}", "is too large";
    pad_c3: ["2x3xf32"], "pad %0 {low = [1, 3], high = [0, 0], mode = reflect}",
        "3 elements of axis 1 cannot be mirrored to 3 in front and 0 behind";
    slice_c1: ["2x3xf32"], "slice %0 {start = [0, 0, 0], limit = [1, 1]}", "one number an axis";
    slice_c2: ["2x3xf32"], "slice %0 {start = [0, 2], limit = [2, 4]}", "2..4 is not a range within axis 1";
    concatenate_c1: [], "concatenate [] {axis = 0}", "at least one operand";
    concatenate_c2: ["2xf32"], "concatenate [%0, %0] {axis = 1}", "axis 1 is not one of tensor<2xf32>";
    concatenate_c3: ["2x3xf32", "3x2xf32"], "concatenate [%0, %1] {axis = 1}",
        "operands may differ along axis 1 alone, found tensor<2x3xf32> and tensor<3x2xf32>";
    concatenate_c4: ["9223372036854775807xi8"], "concatenate [%0, %0, %0] {axis = 0}", "axis 0 overflows";
    transpose_c1: ["2x3xf32"], "transpose %0 {permutation = [0, 0]}", "[0, 0] is not a permutation of the axes";
    reshape_c1: ["2x3xf32"], "reshape %0 : tensor<6xbf16>", "use convert for elements";
    reshape_c2: ["2x3xf32"], "reshape %0 : tensor<5xf32>", "have different element counts";
}

fn too_large() -> TensorType {
    TensorType::plain(ir::types::ElementType::F32, [usize::MAX, 2])
}

#[test]
fn constant_c0() {
    let value = Elements::Dense([1.0].into());
    let error = Builder::new("g").constant(value, too_large()).unwrap_err();
    assert_eq!(error.violation.constraint, "constant_c0");
}

#[test]
fn reshape_c0() {
    let mut builder = Builder::new("g");
    let x = builder.constant(Elements::Splat(1.0), TensorType::plain(ir::types::ElementType::F32, [2])).unwrap();
    assert_eq!(builder.reshape(x, too_large()).unwrap_err().violation.constraint, "reshape_c0");
}

#[test]
fn op_c1() {
    let mut other = Builder::new("other");
    let x = other.input("x".to_owned(), TensorType::plain(ir::types::ElementType::F32, [2])).unwrap();
    let error = Builder::new("g").silu(x).unwrap_err();
    assert_eq!(error.to_string(), "silu: op_c1: operand %0 is not defined before this op");
}

#[test]
fn op_c2() {
    let mut builder = Builder::new("g");
    let x = builder.input("x".to_owned(), TensorType::plain(ir::types::ElementType::F32, [2])).unwrap();
    builder.silu(x).unwrap();
    let mut nodes: Vec<ir::Node> = builder.graph().nodes().map(|(_, node)| node.clone()).collect();
    nodes[0].ty = too_large();
    nodes[0].op = Op::Input { name: "x".to_owned(), ty: too_large() };
    let error = verify(&ir::Graph::from_parts("g".to_owned(), nodes, vec![])).unwrap_err();
    assert!(error.faults[1].message.starts_with("op_c2: operand %0: tensor<"), "{error}");
}

/// Reads the numbers off the shape functions' source, so that no constraint comes without its test.
#[test]
fn every_constraint_has_a_test() {
    let by_hand = ["op_c1", "op_c2"];
    let source: String = include_str!("../src/shape.rs").split_whitespace().collect();
    let mut missing = Vec::new();
    for call in source.split("require!(\"").skip(1) {
        let mut parts = call.splitn(3, [',', '"']);
        let (op, rest) = (parts.next().unwrap(), parts.nth(1).unwrap());
        let number = rest.trim_start_matches(',').split(',').next().unwrap();
        let name = format!("{op}_c{number}");
        if !TABLE_DRIVEN.contains(&name.as_str()) && !by_hand.contains(&name.as_str()) {
            missing.push(name);
        }
    }
    assert!(missing.is_empty(), "no test is named {missing:?}");
}
