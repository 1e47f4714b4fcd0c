//! Convolutions in all their forms against the reference evaluator, by every algorithm on every
//! instruction set that this machine runs: sizes, borders, what they make of their input on the
//! way, and what they leave for a norm behind them.

mod common;

use backend_cpu::blocking::Algorithm;
use backend_cpu::isa::Isa;
use backend_cpu::options::CompileOptions;
use backend_cpu::program::compile;

/// Runs `text` every way and compares.
fn check(text: &str) {
    common::check(&ir::text::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}")));
}

/// One convolution; sizes are time, height, width.
#[derive(Clone, Copy)]
struct Case {
    input: [usize; 3],
    channels: [usize; 2],
    kernel: [usize; 3],
    strides: [usize; 3],
    padding: [[usize; 2]; 3],
    repeat: usize,
    cache: usize,
    border: [&'static str; 3],
    bias: bool,
    residual: bool,
}

impl Case {
    const PLAIN: Self = Self {
        input: [3, 6, 7],
        channels: [5, 9],
        kernel: [3, 3, 3],
        strides: [1, 1, 1],
        padding: [[0, 0], [1, 1], [1, 1]],
        repeat: 2,
        cache: 0,
        border: ["zero"; 3],
        bias: true,
        residual: true,
    };

    fn check(self) {
        self.check_in("f32");
        self.check_in("bf16");
    }

    /// Activations are states in bf16, which callers do not give and get.
    fn check_in(self, element: &str) {
        let (leaf, role) = if element == "f32" { ("input", "result") } else { ("state", "state") };
        let [t, h, w] = self.input;
        let [inputs, outputs] = self.channels;
        let [kd, kh, kw] = self.kernel;
        let front = self.repeat + self.cache;
        let size = |axis: usize| {
            let n = self.input[axis] + if axis == 0 { front } else { 0 };
            (n + self.padding[axis][0] + self.padding[axis][1] - self.kernel[axis]) / self.strides[axis] + 1
        };
        let result = format!("tensor<2x{}x{}x{}x{outputs}x{element}, nthwc>", size(0), size(1), size(2));
        let mut text = format!(
            "graph @test {{\n  %0 = {leaf} {{name = \"x\"}} : tensor<2x{t}x{h}x{w}x{inputs}x{element}, nthwc>\n  \
             %1 = parameter {{name = \"w\"}} : tensor<{outputs}x{inputs}x{kd}x{kh}x{kw}xf32, oidhw>\n  \
             %2 = transpose %1 {{permutation = [2, 3, 4, 1, 0]}} \
             : tensor<{kd}x{kh}x{kw}x{inputs}x{outputs}xf32, dhwio>\n"
        );
        let mut operands = String::from("%0, %2");
        if element == "bf16" {
            text += &format!(
                "  %7 = convert %2 {{element = bf16}} : tensor<{kd}x{kh}x{kw}x{inputs}x{outputs}xbf16, dhwio>\n"
            );
            operands = String::from("%0, %7");
        }
        if self.bias {
            text += &format!("  %3 = parameter {{name = \"b\"}} : tensor<{outputs}xf32>\n");
            operands += ", bias: %3";
        }
        if self.residual {
            text += &format!("  %4 = {leaf} {{name = \"r\"}} : {result}\n");
            operands += ", residual: %4";
        }
        if self.cache > 0 {
            text += &format!(
                "  %5 = state {{name = \"c\"}} : tensor<2x{}x{h}x{w}x{inputs}x{element}, nthwc>\n",
                self.cache
            );
            operands += ", cache: %5";
        }
        text += &format!(
            "  %6 = convolution {operands} {{strides = {:?}, padding = {:?}, repeat_first = {}, border = [{}]}} : \
             {result}\n  \
             return {role} \"y\" = %6\n}}\n",
            self.strides,
            self.padding,
            self.repeat,
            self.border.join(", ")
        );
        check(&text);
    }
}

#[test]
fn convolutions() {
    let plain = Case::PLAIN;
    plain.check();
    Case { repeat: 0, cache: 2, ..plain }.check();
    Case { repeat: 0, cache: 1, input: [2, 1, 1], ..plain }.check();
    Case { repeat: 0, padding: [[1, 1], [2, 0], [0, 2]], bias: false, ..plain }.check();
    Case { kernel: [1, 1, 1], padding: [[0; 2]; 3], repeat: 0, residual: false, ..plain }.check();
    Case { kernel: [1, 3, 3], strides: [1, 2, 2], padding: [[0, 0], [0, 1], [0, 1]], repeat: 0, ..plain }.check();
    Case { kernel: [3, 1, 5], strides: [2, 1, 3], padding: [[0, 0], [0, 0], [4, 5]], ..plain }.check();
    Case { input: [1, 1, 1], ..plain }.check();
    // What Winograd's transforms compute, with squares that reach over each border.
    for (height, width) in [(1, 1), (2, 3), (4, 4), (5, 9), (8, 17)] {
        Case { input: [2, height, width], ..plain }.check();
        Case { input: [3, height, width], channels: [4, 33], kernel: [1, 3, 3], repeat: 0, ..plain }.check();
    }
    Case { input: [1, 7, 7], padding: [[1, 0], [0, 2], [3, 0]], residual: false, ..plain }.check();
    // Several blocks, slices and panels, with ragged ends.
    Case { input: [4, 11, 37], channels: [70, 75], ..plain }.check();
    Case { input: [2, 9, 50], channels: [3, 130], repeat: 0, cache: 2, ..plain }.check();
    Case { input: [1, 5, 33], channels: [512, 3], kernel: [1, 3, 3], repeat: 0, ..plain }.check();
}

/// Borders of each kind along each axis, by every algorithm: around few elements and many, with
/// frames in front, in ragged blocks.
#[test]
fn borders() {
    let plain = Case { padding: [[0, 1], [1, 1], [1, 1]], ..Case::PLAIN };
    for (i, border) in ["zero", "edge", "reflect"].into_iter().enumerate() {
        let border = [["edge", "reflect", "zero"][i], ["reflect", "edge", "edge"][i], border];
        Case { border, ..plain }.check();
        Case { border, repeat: 0, cache: 2, ..plain }.check();
        Case { border, repeat: 0, input: [2, 2, 2], padding: [[1, 1]; 3], bias: false, ..plain }.check();
        Case {
            border,
            input: [2, 5, 9],
            kernel: [1, 3, 3],
            channels: [4, 33],
            repeat: 0,
            padding: [[0, 0], [1, 1], [1, 1]],
            ..plain
        }
        .check();
        Case { border, strides: [1, 2, 3], padding: [[1, 0], [0, 3], [4, 2]], kernel: [2, 3, 5], ..plain }.check();
    }
    // Most of what a block sees is the border, and a block may see nothing else.
    let edges = Case { border: ["edge"; 3], residual: false, repeat: 0, ..plain };
    Case { input: [1, 1, 1], padding: [[3, 2], [4, 1], [40, 70]], ..edges }.check();
    Case { input: [4, 11, 37], channels: [70, 75], padding: [[1, 1]; 3], ..edges }.check();
    Case {
        input: [3, 11, 37],
        channels: [20, 36],
        border: ["edge", "reflect", "reflect"],
        padding: [[1, 1]; 3],
        ..edges
    }
    .check();
    Case { input: [3, 6, 9], border: ["reflect"; 3], padding: [[2, 2], [5, 5], [8, 8]], ..edges }.check();
}

/// The border is of what the prologue makes, and not of what that reads.
#[test]
fn borders_behind_prologues() {
    for (element, border) in
        [("f32", "[edge, edge, edge]"), ("bf16", "[zero, reflect, reflect]"), ("f32", "[edge, reflect, zero]")]
    {
        let (leaf, role) = if element == "f32" { ("input", "result") } else { ("state", "state") };
        let video = |space: &str| format!("tensor<2x{space}x6x{element}, nthwc>");
        let makers = [
            (video("3x9x10"), "channel_norm %0, scale: %1, offset: %2 {kind = rms, epsilon = 1e-3, activation = silu}"),
            (video("3x9x10"), "normalize %0, %3, %1, %2 {first_frame = joined, activation = silu}"),
            (video("3x5x5"), "resize_nearest %0 {size = [3, 9, 10], first_frame = joined}"),
        ];
        for (x, maker) in makers {
            let y = video("4x9x10");
            check(&format!(
                "graph @test {{\n%0 = {leaf} {{name = \"x\"}} : {x}\n\
                 %1 = parameter {{name = \"scale\"}} : tensor<6xf32>\n\
                 %2 = parameter {{name = \"offset\"}} : tensor<6xf32>\n\
                 %3 = input {{name = \"s\"}} : tensor<2x2x2xf32>\n\
                 %4 = parameter {{name = \"w\"}} : tensor<3x3x3x6x6xf32, dhwio>\n\
                 %5 = convert %4 {{element = {element}}} : tensor<3x3x3x6x6x{element}, dhwio>\n\
                 %6 = state {{name = \"cache\"}} : {}\n%7 = {maker} : {}\n\
                 %8 = convolution %7, %5, cache: %6 {{strides = [1, 1, 1], padding = [[0, 1], [1, 1], [1, 1]], \
                 repeat_first = 0, border = {border}}} : {y}\nreturn {role} \"y\" = %8\n}}\n",
                video("2x9x10"),
                video("3x9x10"),
            ));
        }
    }
}

#[test]
fn dot_products_are_used_where_the_cpu_has_them() {
    for (channels, element) in [(6, "bf16"), (7, "bf16"), (6, "f32")] {
        let video = format!("tensor<1x1x5x6x{channels}x{element}, nthwc>");
        let weight = format!("tensor<1x3x3x{channels}x{channels}x{element}, dhwio>");
        let (leaf, role) = if element == "f32" { ("input", "result") } else { ("state", "state") };
        let text = format!(
            "graph @test {{\n%0 = {leaf} {{name = \"x\"}} : {video}\n%1 = parameter {{name = \"w\"}} : {weight}\n\
             %2 = convolution %0, %1 {{strides = [1, 1, 1], padding = [[0, 0], [1, 1], [1, 1]], repeat_first = 0}} : \
             {video}\n\
             return {role} \"y\" = %2\n}}\n"
        );
        let graph = ir::text::parse(&text).unwrap();
        for isa in Isa::supported() {
            let options = CompileOptions::from(isa).with_algorithm(Algorithm::Dot);
            let program = compile(&graph, options).unwrap();
            let found = program.calls().iter().find_map(|call| call.algorithm).unwrap();
            let can = isa.has_dot_products() && (channels, element) == (6, "bf16");
            assert_eq!(
                found,
                if can { Algorithm::Dot } else { Algorithm::Direct },
                "{isa}, {channels} channels of {element}"
            );
        }
    }
}

/// Convolutions that read their input through a prologue, with frames of a normalised input sliced
/// off.
#[test]
fn prologues() {
    for element in ["f32", "bf16"] {
        let (leaf, role) = if element == "f32" { ("input", "result") } else { ("state", "state") };
        let video = |frames: usize, height: usize, width: usize, channels: usize| {
            format!("tensor<2x{frames}x{height}x{width}x{channels}x{element}, nthwc>")
        };
        for (channels, outputs, cached) in [(6, 7, false), (40, 33, true)] {
            let (x, y) = (video(5, 9, 10, channels), video(5, 9, 10, outputs));
            let (cache, weight) = (video(2, 9, 10, channels), format!("tensor<3x3x3x{channels}x{outputs}x"));
            let (operand, repeat) = if cached { (", cache: %7", 0) } else { ("", 2) };
            for (gain, shape) in [("", [1, 1, 1]), (", gain: %5, shift: %6", [3, 3, 5])] {
                let [t, h, w] = shape;
                let low = video(t, h, w, channels);
                check(&format!(
                    "graph @test {{\n%0 = {leaf} {{name = \"x\"}} : {x}\n\
                     %1 = input {{name = \"statistics\"}} : tensor<2x2x2xf32>\n\
                     %2 = parameter {{name = \"scale\"}} : tensor<{channels}xf32>\n\
                     %3 = parameter {{name = \"offset\"}} : tensor<{channels}xf32>\n\
                     %4 = parameter {{name = \"w\"}} : {weight}f32, dhwio>\n\
                     %5 = {leaf} {{name = \"gain\"}} : {low}\n%6 = {leaf} {{name = \"shift\"}} : {low}\n\
                     %7 = state {{name = \"cache\"}} : {cache}\n%8 = {leaf} {{name = \"residual\"}} : {y}\n\
                     %9 = convert %4 {{element = {element}}} : {weight}{element}, dhwio>\n\
                     %10 = normalize %0, %1, %2, %3{gain} {{first_frame = apart, activation = silu}} : {x}\n\
                     %11 = slice %10 {{start = [0, 3, 0, 0, 0], limit = [2, 5, 9, 10, {channels}]}} : {cache}\n\
                     %12 = convolution %10, %9, residual: %8{operand} {{strides = [1, 1, 1], \
                     padding = [[0, 0], [1, 1], [1, 1]], repeat_first = {repeat}}} : {y}\n\
                     return {role} \"y\" = %12\nreturn state \"cache\" = %11\n}}\n"
                ));
            }
        }
        let weight = "tensor<1x3x3x18x20x";
        for (frames, frame) in [([2, 4], "joined"), ([3, 5], "apart"), ([1, 1], "apart")] {
            let [from, to] = frames;
            let [x, resized, y] = [video(from, 3, 5, 18), video(to, 6, 10, 18), video(to, 6, 10, 20)];
            check(&format!(
                "graph @test {{\n%0 = {leaf} {{name = \"x\"}} : {x}\n\
                 %1 = parameter {{name = \"w\"}} : {weight}f32, dhwio>\n\
                 %2 = convert %1 {{element = {element}}} : {weight}{element}, dhwio>\n\
                 %3 = resize_nearest %0 {{size = [{to}, 6, 10], first_frame = {frame}}} : {resized}\n\
                 %4 = convolution %3, %2 {{strides = [1, 1, 1], padding = [[0, 0], [1, 1], [1, 1]], repeat_first = 0}} \
                 : {y}\n\
                 return {role} \"y\" = %4\n}}\n"
            ));
        }
    }
}

/// Normalisations of what a convolution writes: one takes the sums that the convolution makes,
/// another sums once more.
#[test]
fn statistics_of_convolutions() {
    for element in ["f32", "bf16"] {
        let (leaf, role) = if element == "f32" { ("input", "result") } else { ("state", "state") };
        for (frames, height, width, inputs, outputs) in
            [(3, 5, 9, 6, 20), (2, 8, 17, 5, 36), (4, 11, 37, 20, 132), (1, 1, 2, 4, 4)]
        {
            let video = |channels: usize| format!("tensor<2x{frames}x{height}x{width}x{channels}x{element}, nthwc>");
            let (x, y) = (video(inputs), video(outputs));
            let weight = format!("tensor<3x3x3x{inputs}x{outputs}x");
            check(&format!(
                "graph @test {{\n%0 = {leaf} {{name = \"x\"}} : {x}\n\
                 %1 = parameter {{name = \"w\"}} : {weight}f32, dhwio>\n\
                 %2 = convert %1 {{element = {element}}} : {weight}{element}, dhwio>\n\
                 %3 = parameter {{name = \"b\"}} : tensor<{outputs}xf32>\n%4 = {leaf} {{name = \"r\"}} : {y}\n\
                 %5 = parameter {{name = \"scale\"}} : tensor<{outputs}xf32>\n\
                 %6 = convolution %0, %2, bias: %3, residual: %4 \
                 {{strides = [1, 1, 1], padding = [[0, 0], [1, 1], [1, 1]], repeat_first = 2}} : {y}\n\
                 %7 = group_statistics %6 {{groups = 4, epsilon = 1e-2}} : tensor<2x4x2xf32>\n\
                 %8 = group_statistics %6 {{groups = 2, epsilon = 1e-2}} : tensor<2x2x2xf32>\n\
                 %9 = normalize %6, %7, %5, %5 {{first_frame = joined, activation = none}} : {y}\n\
                 %10 = normalize %6, %8, %5, %5 {{first_frame = joined, activation = none}} : {y}\n\
                 return {role} \"a\" = %9\nreturn {role} \"b\" = %10\n}}\n"
            ));
        }
    }
}

/// What is normalised is what was stored: sums of numbers before they were rounded are not theirs.
#[test]
fn statistics_are_of_what_is_stored() {
    let (video, weight) = ("tensor<1x2x5x6x8xbf16, nthwc>", "tensor<3x3x3x8x8xbf16, dhwio>");
    let graph = ir::text::parse(&format!(
        "graph @test {{\n%0 = state {{name = \"x\"}} : {video}\n%1 = parameter {{name = \"w\"}} : {weight}\n\
         %2 = parameter {{name = \"scale\"}} : tensor<8xf32>\n\
         %3 = convolution %0, %1 {{strides = [1, 1, 1], padding = [[0, 0], [1, 1], [1, 1]], repeat_first = 2}} : \
         {video}\n\
         %4 = group_statistics %3 {{groups = 8, epsilon = 1e-6}} : tensor<1x8x2xf32>\n\
         %5 = normalize %3, %4, %2, %2 {{first_frame = joined, activation = none}} : {video}\n\
         return result \"statistics\" = %4\nreturn state \"stored\" = %3\nreturn state \"y\" = %5\n}}\n"
    ))
    .unwrap();
    for isa in Isa::supported() {
        for algorithm in Algorithm::ALL {
            let options = CompileOptions::from(isa).with_algorithm(algorithm);
            let outputs = common::run(&graph, options, 2, &common::leaves(&graph).1);
            let [statistics, stored, _] = outputs.as_slice() else { panic!("three outputs") };
            for (channel, found) in statistics.chunks_exact(2).enumerate() {
                let values: Vec<f64> = stored.iter().skip(channel).step_by(8).map(|&x| f64::from(x)).collect();
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                let off = (mean - f64::from(found[0])).abs();
                assert!(off < 1e-6 * mean.abs().max(1.0), "{isa}, {algorithm:?}: mean {mean}, found {}", found[0]);
            }
        }
    }
}
