//! Convolutions within groups of channels, on every instruction set that this machine runs.

mod common;

/// A convolution with a bias of two videos of three frames; sizes are time, height, width.
fn check(space: &str, [channels, outputs, groups]: [usize; 3], kernel: [usize; 3], strides: [usize; 3], result: &str) {
    for element in ["f32", "bf16"] {
        let (leaf, role) = if element == "f32" { ("input", "result") } else { ("state", "state") };
        let [depth, height, width] = kernel;
        let of_group = channels / groups;
        let weight = format!("{depth}x{height}x{width}x{of_group}x{outputs}x");
        let text = format!(
            "graph @test {{\n%0 = {leaf} {{name = \"x\"}} : tensor<2x{space}x{channels}x{element}, nthwc>\n\
             %1 = parameter {{name = \"w\"}} : tensor<{weight}f32, dhwio>\n\
             %2 = parameter {{name = \"b\"}} : tensor<{outputs}xf32>\n\
             %3 = convert %1 {{element = {element}}} : tensor<{weight}{element}, dhwio>\n\
             %4 = grouped_convolution %0, %3, bias: %2 {{groups = {groups}, strides = {strides:?}, \
             padding = [[{}, 0], [{}, {}], [{}, 1]]}} : tensor<2x{result}x{outputs}x{element}, nthwc>\n\
             %5 = grouped_convolution %0, %3 {{groups = {groups}, strides = {strides:?}, \
             padding = [[{}, 0], [{}, {}], [{}, 1]]}} : tensor<2x{result}x{outputs}x{element}, nthwc>\n\
             return {role} \"y\" = %4\nreturn {role} \"without\" = %5\n}}\n",
            depth - 1,
            height / 2,
            height / 2,
            width - 1,
            depth - 1,
            height / 2,
            height / 2,
            width - 1,
        );
        common::check(&ir::text::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}")));
    }
}

#[test]
fn groups_of_all_sizes() {
    // Depthwise, with vectors and a rest; several outputs a channel; groups of a few channels; all
    // channels.
    for counts in [[1, 1, 1], [19, 19, 19], [32, 32, 32], [5, 10, 5], [12, 28, 4], [64, 64, 2], [7, 6, 1]] {
        check("3x5x6", counts, [1, 3, 3], [1, 1, 1], "3x5x7");
        check("3x5x6", counts, [3, 5, 2], [1, 2, 3], "3x3x3");
    }
    check("2x1x1", [20, 20, 20], [1, 7, 9], [1, 1, 1], "2x1x2");
    check("1x40x33", [48, 48, 48], [1, 5, 5], [1, 1, 1], "1x40x34");
}
