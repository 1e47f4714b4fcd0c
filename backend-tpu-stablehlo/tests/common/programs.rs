//! Programs for tests of the emitter.

use ir::Graph;

/// A graph of these lines.
pub(crate) fn graph(body: &str) -> Graph {
    ir::text::parse(&format!("graph @test {{\n{body}\n}}")).expect("a program")
}

/// Programs that have every op between them.
pub(crate) const PROGRAMS: [(&str, &str); 11] = [
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
        "borders",
        r#"%0 = input {name = "x"} : tensor<1x3x4x5x2xf32, nthwc>
           %1 = state {name = "conv"} : tensor<1x2x4x5x2xf32, nthwc> @ conv
           %2 = parameter {name = "conv.weight"} : tensor<3x3x3x2x2xf32, dhwio> @ conv
           %3 = convolution %0, %2, cache: %1 {strides = [1, 1, 1], padding = [[0, 1], [1, 1], [1, 1]], repeat_first = 0, border = [edge, reflect, zero]} : tensor<1x4x4x5x2xf32, nthwc> @ conv
           %4 = convolution %0, %2 {strides = [1, 2, 2], padding = [[0, 0], [1, 2], [3, 1]], repeat_first = 2, border = [zero, edge, reflect]} : tensor<1x3x3x4x2xf32, nthwc> @ conv
           %5 = pad %0 {low = [0, 2, 1, 0, 0], high = [0, 0, 3, 4, 0], mode = reflect} : tensor<1x5x8x9x2xf32, nthwc>
           return result "cached" = %3
           return result "repeated" = %4
           return result "pad" = %5"#,
    ),
    (
        "groups",
        r#"%0 = input {name = "x"} : tensor<1x3x4x5x6xf32, nthwc>
           %1 = parameter {name = "depthwise.weight"} : tensor<1x3x3x1x6xf32, dhwio> @ depthwise
           %2 = parameter {name = "depthwise.bias"} : tensor<6xf32> @ depthwise
           %3 = grouped_convolution %0, %1, bias: %2 {groups = 6, strides = [1, 1, 1], padding = [[0, 0], [1, 1], [1, 1]]} : tensor<1x3x4x5x6xf32, nthwc> @ depthwise
           %4 = parameter {name = "grouped.weight"} : tensor<1x1x1x2x9xf32, dhwio> @ grouped
           %5 = grouped_convolution %3, %4 {groups = 3, strides = [1, 2, 2], padding = [[0, 0], [0, 0], [0, 0]]} : tensor<1x3x2x3x9xf32, nthwc> @ grouped
           return result "y" = %5"#,
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
        "functions",
        r#"%0 = input {name = "x"} : tensor<2x3x4xf32>
           %1 = unary %0 {function = tanh} : tensor<2x3x4xf32> @ act
           %2 = unary %0 {function = sigmoid} : tensor<2x3x4xf32> @ act
           %3 = constant {value = 500.0} : tensor<2x3x4xf32>
           %4 = multiply %0, %3 : tensor<2x3x4xf32>
           %5 = unary %4 {function = sine} : tensor<2x3x4xf32>
           %6 = unary %4 {function = cosine} : tensor<2x3x4xf32>
           %7 = clamp %0 {low = -0.25, high = 0.5} : tensor<2x3x4xf32>
           %8 = convert %4 {element = bf16} : tensor<2x3x4xbf16>
           %9 = clamp %8 {low = 0.0, high = inf} : tensor<2x3x4xbf16>
           %10 = unary %9 {function = tanh} : tensor<2x3x4xbf16>
           %11 = convert %10 {element = f32} : tensor<2x3x4xf32>
           return result "tanh" = %1
           return result "sigmoid" = %2
           return result "sine" = %5
           return result "cosine" = %6
           return result "clamp" = %7
           return result "narrow" = %11"#,
    ),
    (
        "channel_norms",
        r#"%0 = input {name = "x"} : tensor<1x3x4x4x6xf32, nthwc>
           %1 = parameter {name = "norm.gamma"} : tensor<6xf32> @ norm
           %2 = parameter {name = "norm.bias"} : tensor<6xf32> @ norm
           %3 = channel_norm %0 {kind = rms, epsilon = 1e-8, activation = none} : tensor<1x3x4x4x6xf32, nthwc> @ norm
           %4 = channel_norm %3, scale: %1 {kind = l2, epsilon = 1e-12, activation = silu} : tensor<1x3x4x4x6xf32, nthwc> @ norm
           %5 = channel_norm %4, scale: %1, offset: %2 {kind = layer, epsilon = 1e-6, activation = none} : tensor<1x3x4x4x6xf32, nthwc> @ norm
           %6 = convert %0 {element = bf16} : tensor<1x3x4x4x6xbf16, nthwc>
           %7 = channel_norm %6, offset: %2 {kind = layer, epsilon = 1e-2, activation = silu} : tensor<1x3x4x4x6xbf16, nthwc>
           %8 = convert %7 {element = f32} : tensor<1x3x4x4x6xf32, nthwc>
           %9 = input {name = "tokens"} : tensor<2x5x3xf32, nct>
           %10 = channel_norm %9 {kind = l2, epsilon = 1.0, activation = none} : tensor<2x5x3xf32, nct>
           return result "y" = %5
           return result "narrow" = %8
           return result "tokens" = %10"#,
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
    (
        "attention",
        r#"%0 = input {name = "q"} : tensor<2x6x8xf32>
           %1 = input {name = "k"} : tensor<2x9x8xf32>
           %2 = input {name = "v"} : tensor<2x9x4xf32>
           %3 = attention %0, %1, %2 {heads = 2, scale = 1.5, mask = [causal, 3]} : tensor<2x6x4xf32> @ attn
           %4 = convert %0 {element = bf16} : tensor<2x6x8xbf16>
           %5 = attention %4, %4, %4 {heads = 1, scale = 0.5, mask = none} : tensor<2x6x8xbf16> @ attn
           %6 = convert %5 {element = f32} : tensor<2x6x8xf32>
           return result "y" = %3
           return result "z" = %6"#,
    ),
    (
        "linear_attention",
        r#"%0 = input {name = "q"} : tensor<2x6x8xf32>
           %1 = input {name = "k"} : tensor<2x9x8xf32>
           %2 = input {name = "v"} : tensor<2x9x4xf32>
           %3 = clamp %0 {low = 0.0, high = inf} : tensor<2x6x8xf32>
           %4 = clamp %1 {low = 0.0, high = inf} : tensor<2x9x8xf32>
           %5 = linear_attention %3, %4, %2 {heads = 2, epsilon = 1e-15} : tensor<2x6x4xf32> @ attn
           %6 = convert %4 {element = bf16} : tensor<2x9x8xbf16>
           %7 = linear_attention %6, %6, %6 {heads = 1, epsilon = 0.5} : tensor<2x9x8xbf16> @ attn
           %8 = convert %7 {element = f32} : tensor<2x9x8xf32>
           return result "y" = %5
           return result "z" = %8"#,
    ),
];

/// A norm and an enlarged video, each read by a convolution alone.
pub(crate) const LARGE: &str = r#"%0 = input {name = "x"} : tensor<1x3x8x4x4xbf16, nthwc>
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

/// A norm over channels that a convolution alone reads, and of which two frames are left to the
/// next step.
pub(crate) const LARGE_CHANNEL_NORM: &str = r#"%0 = input {name = "x"} : tensor<1x3x8x4x4xbf16, nthwc>
    %1 = parameter {name = "norm.gamma"} : tensor<4xf32> @ norm
    %2 = channel_norm %0, scale: %1 {kind = l2, epsilon = 1e-12, activation = silu} : tensor<1x3x8x4x4xbf16, nthwc> @ norm
    %3 = state {name = "conv"} : tensor<1x2x8x4x4xbf16, nthwc> @ conv
    %4 = slice %2 {start = [0, 1, 0, 0, 0], limit = [1, 3, 8, 4, 4]} : tensor<1x2x8x4x4xbf16, nthwc> @ conv
    %5 = parameter {name = "conv.weight"} : tensor<3x3x3x4x4xbf16, dhwio> @ conv
    %6 = convolution %2, %5, residual: %0, cache: %3 {strides = [1, 1, 1], padding = [[0, 0], [1, 1], [1, 1]], repeat_first = 0} : tensor<1x3x8x4x4xbf16, nthwc> @ conv
    return result "y" = %6
    return state "conv" = %4"#;
