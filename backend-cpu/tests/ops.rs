//! Every op against the reference evaluator, on every instruction set that this machine runs.

mod common;

use std::borrow::Cow;
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;

use backend_cpu::buffer::AlignedBuffer;
use backend_cpu::isa::Isa;
use backend_cpu::program::{Workspace, compile, listings};
use backend_cpu::weights::{ParameterSource, Weights};
use ir::{TensorType, UnaryFunction};

/// Runs `text` every way and compares.
fn check(text: &str) {
    common::check(&ir::text::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}")));
}

/// A program of one op (the last line) over inputs of the given types; and the same in bf16, over
/// states.
fn op(inputs: &[&str], line: &str) {
    program(inputs, line, "input", "result");
    // What is one number a channel or group stays f32: what has no layout.
    let small = |ty: &str| {
        !ty.contains(", ") && ["add_bias", "normalize", "channel_norm"].iter().any(|op| line.starts_with(op))
    };
    let narrow = |ty: &str| ty.replace("f32", "bf16");
    let inputs: Vec<String> = inputs.iter().map(|ty| if small(ty) { (*ty).to_owned() } else { narrow(ty) }).collect();
    let line = if line.starts_with("group_statistics") { line.to_owned() } else { narrow(line) };
    program(&inputs, &line, "state", "state");
}

fn program(inputs: &[impl AsRef<str>], line: &str, leaf: &str, role: &str) {
    let mut text = String::from("graph @test {\n");
    for (i, ty) in inputs.iter().enumerate() {
        text += &format!("  %{i} = {leaf} {{name = \"{i}\"}} : {}\n", ty.as_ref());
    }
    text += &format!("  %{} = {line}\n  return {role} \"r\" = %{}\n}}\n", inputs.len(), inputs.len());
    check(&text);
}

#[test]
fn conversion_is_to_the_nearest_and_to_even() {
    let text = "graph @test {\n  %0 = input {name = \"x\"} : tensor<70001xf32>\n  \
         %1 = convert %0 {element = bf16} : tensor<70001xbf16>\n  \
         %2 = convert %1 {element = f32} : tensor<70001xf32>\n  \
         return state \"narrow\" = %1\n  return result \"wide\" = %2\n}\n";
    let graph = ir::text::parse(text).unwrap();
    // Ties, what is just beside them, infinities, the largest, subnormals, and NaNs of all kinds.
    let special = [0, 1, 0x7f7f_ffff, 0x7f7f_7fff, 0x7f80_0000, 0x7f80_0001, 0x7fc0_1234, 0x7fff_ffff, 0x0000_8000];
    let ties = (0..30_000_u32).flat_map(|i| [0x3f80_7fff, 0x3f80_8000, 0x3f80_8001].map(|bits: u32| bits + (i << 13)));
    let bits = special.into_iter().flat_map(|bits: u32| [bits, bits | 1 << 31]).chain(ties);
    let data: Vec<f32> = bits.map(f32::from_bits).take(70_001).collect();
    let ty = graph.nodes().next().unwrap().1.ty.clone();
    let mut tensors = ir::eval::Tensors::default();
    tensors.inputs.insert("x".to_owned(), ir::eval::Tensor::new(ty, data.clone()).unwrap());
    for isa in Isa::supported() {
        for output in common::run(&graph, isa.into(), 2, &tensors) {
            for (x, found) in data.iter().zip(output) {
                let nearest = half::bf16::from_f32(*x).to_f32();
                assert_eq!(found.to_bits(), nearest.to_bits(), "{isa}: {x} ({:#x}) became {found}", x.to_bits());
            }
        }
    }
}

#[test]
fn callers_give_and_get_f32() {
    for text in [
        "%0 = input {name = \"x\"} : tensor<2xbf16>\n%1 = convert %0 {element = f32} : tensor<2xf32>\n\
         return result \"r\" = %1",
        "%0 = input {name = \"x\"} : tensor<2xf32>\n%1 = convert %0 {element = bf16} : tensor<2xbf16>\n\
         return tap \"t\" = %1",
    ] {
        let graph = ir::text::parse(&format!("graph @test {{\n{text}\n}}")).unwrap();
        let error = compile(&graph, Isa::Portable).map(drop).unwrap_err().to_string();
        assert!(error.contains("must be f32, found tensor<2xbf16>"), "{error}");
    }
}

#[test]
fn arguments_that_do_not_fit_are_refused() {
    let graph = ir::text::parse(
        "graph @test {\n%0 = input {name = \"x\"} : tensor<6xf32>\n%1 = state {name = \"s\"} : tensor<6xbf16>\n\
         %2 = silu %0 : tensor<6xf32>\nreturn result \"y\" = %2\nreturn state \"s\" = %1\n}",
    );
    let program = Arc::new(compile(&graph.unwrap(), Isa::Portable).unwrap());
    let executable = program.bind(&Weights::new(Arc::new(NoParameters))).unwrap();
    let mut workspace = Workspace::new(1).unwrap();
    let mut run = |inputs: &[&[f32]], states: &[(&str, usize)]| {
        let buffer = |bytes: usize| AlignedBuffer::zeroed(bytes).unwrap();
        let states = states.iter().map(|&(name, bytes)| (name.to_owned(), buffer(bytes))).collect();
        let ran = executable.run(&mut workspace, inputs, states, &mut |_, _| ControlFlow::Continue(()));
        ran.map(drop).map_err(|error| error.to_string())
    };
    let (x, s) = ([0.5_f32; 7], ("s", 12));
    assert_eq!(run(&[&x[..6]], &[s]), Ok(()));
    // A slice of f32 that is aligned to nothing more.
    assert_eq!(run(&[&x[1..]], &[s]), Ok(()));
    let mut refused = |inputs: &[&[f32]], states: &[(&str, usize)], message: &str| {
        assert_eq!(run(inputs, states), Err(message.to_owned()));
    };
    refused(&[], &[s], "input \"x\": missing; expected tensor<6xf32>");
    refused(&[&x], &[s], "input \"x\": expected tensor<6xf32> (24 bytes), found 28");
    refused(&[&x[..5]], &[s], "input \"x\": expected tensor<6xf32> (24 bytes), found 20");
    refused(&[&x[..6], &x[..6]], &[s], "input \"1\": the program takes 1, found 2");
    refused(&[&x[..6]], &[], "state \"s\": missing; expected tensor<6xbf16>");
    // A step in f32 left it.
    refused(&[&x[..6]], &[("s", 24)], "state \"s\": expected tensor<6xbf16> (12 bytes), found 24");
    refused(&[&x[..6]], &[s, ("t", 4)], "state \"t\": the program reads no such state");
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let graph = ir::text::parse(
        "graph @test {\n%0 = parameter {name = \"p\"} : tensor<6xf32>\n%1 = input {name = \"x\"} : tensor<6xf32>\n\
         %2 = add %0, %1 : tensor<6xf32>\nreturn result \"y\" = %2\n}",
    );
    let program = Arc::new(compile(&graph.unwrap(), Isa::Portable).unwrap());
    let error =
        |source: Arc<dyn ParameterSource>| program.bind(&Weights::new(source)).map(drop).unwrap_err().to_string();
    assert!(error(Arc::new(NoParameters)).contains("no parameters here"), "{}", error(Arc::new(NoParameters)));
    let five = error(Arc::new(FiveNumbers));
    assert!(five.contains("`p`") && five.contains("tensor<6xf32>") && five.contains('5'), "{five}");
}

struct NoParameters;

impl ParameterSource for NoParameters {
    fn parameter(&self, _: &str, _: &TensorType) -> Result<Cow<'_, [f32]>, Box<dyn Error + Send + Sync>> {
        Err("no parameters here".into())
    }
}

struct FiveNumbers;

impl ParameterSource for FiveNumbers {
    fn parameter(&self, _: &str, _: &TensorType) -> Result<Cow<'_, [f32]>, Box<dyn Error + Send + Sync>> {
        Ok(Cow::Borrowed(&[0.5; 5]))
    }
}

#[test]
fn pointwise() {
    for ty in ["tensor<f32>", "tensor<7xf32>", "tensor<1x3x5x7x9xf32, nthwc>", "tensor<16385xf32>", "tensor<40000xf32>"]
    {
        op(&[ty, ty], &format!("add %0, %1 : {ty}"));
        op(&[ty, ty], &format!("multiply %0, %1 : {ty}"));
        op(&[ty], &format!("silu %0 : {ty}"));
    }
}

#[test]
fn add_bias() {
    for channels in [1, 3, 4, 21, 128] {
        let ty = format!("tensor<2x3x5x7x{channels}xf32, nthwc>");
        op(&[&ty, &format!("tensor<{channels}xf32>")], &format!("add_bias %0, %1 : {ty}"));
    }
}

#[test]
fn shape_ops() {
    let x = "tensor<2x3x4x5x6xf32, nthwc>";
    op(&[x], "transpose %0 {permutation = [0, 4, 1, 2, 3]} : tensor<2x6x3x4x5xf32, ncthw>");
    op(&["tensor<2x6x3x4x5xf32, ncthw>"], &format!("transpose %0 {{permutation = [0, 2, 3, 4, 1]}} : {x}"));
    op(&["tensor<3x4x5xf32>"], "transpose %0 {permutation = [2, 0, 1]} : tensor<5x3x4xf32>");
    op(&[x], "reshape %0 : tensor<720xf32>");
    op(&[x], "slice %0 {start = [0, 1, 0, 2, 1], limit = [2, 3, 4, 5, 6]} : tensor<2x2x4x3x5xf32, nthwc>");
    op(&[x], "slice %0 {start = [1, 0, 0, 0, 0], limit = [2, 3, 4, 5, 6]} : tensor<1x3x4x5x6xf32, nthwc>");
    op(&[x, x], "concatenate [%0, %1, %0] {axis = 1} : tensor<2x9x4x5x6xf32, nthwc>");
    op(&[x, x], "concatenate [%0, %1] {axis = 4} : tensor<2x3x4x5x12xf32, nthwc>");
    op(&[x], "pad %0 {low = [1, 2, 0, 3, 5], high = [0, 0, 3, 4, 1], mode = reflect} : tensor<3x5x7x12x12xf32, nthwc>");
    for mode in ["zero", "edge"] {
        op(
            &[x],
            &format!(
                "pad %0 {{low = [0, 2, 0, 1, 3], high = [0, 0, 1, 1, 2], mode = {mode}}} \
                 : tensor<2x5x5x7x11xf32, nthwc>"
            ),
        );
        op(
            &[x],
            &format!(
                "pad %0 {{low = [1, 2, 0, 0, 0], high = [0, 1, 0, 0, 0], mode = {mode}}} : tensor<3x6x4x5x6xf32, nthwc>"
            ),
        );
    }
}

#[test]
fn resize_and_pool() {
    for (from, to, frame) in [
        ([3, 4, 5], [5, 8, 10], "apart"),
        ([2, 3, 2], [8, 24, 16], "joined"),
        ([1, 1, 1], [1, 7, 3], "apart"),
        ([5, 4, 3], [3, 3, 2], "joined"),
        ([3, 2, 2], [3, 2, 2], "apart"),
    ] {
        let ty = |s: [usize; 3]| format!("tensor<2x{}x{}x{}x5xf32, nthwc>", s[0], s[1], s[2]);
        op(&[&ty(from)], &format!("resize_nearest %0 {{size = {to:?}, first_frame = {frame}}} : {}", ty(to)));
    }
    let x = "tensor<2x7x5x6x5xf32, nthwc>";
    op(&[x], "average_pool %0 {window = [2, 1, 1], first_frame = apart} : tensor<2x4x5x6x5xf32, nthwc>");
    op(&[x], "average_pool %0 {window = [2, 2, 3], first_frame = joined} : tensor<2x3x2x2x5xf32, nthwc>");
    op(&[x], "average_pool %0 {window = [3, 2, 2], first_frame = apart} : tensor<2x3x2x3x5xf32, nthwc>");
}

#[test]
fn functions() {
    for shape in ["1", "7", "3x5", "2x70000"] {
        let ty = format!("tensor<{shape}xf32>");
        for function in UnaryFunction::ALL {
            op(&[&ty], &format!("unary %0 {{function = {}}} : {ty}", function.word()));
        }
        for bounds in ["low = 0.0, high = inf", "low = -1.0, high = 0.75", "low = -inf, high = -0.25"] {
            op(&[&ty], &format!("clamp %0 {{{bounds}}} : {ty}"));
        }
    }
}

/// Numbers that are none, and the borders of bounds, in vectors and behind them.
#[test]
fn functions_of_what_is_not_finite() {
    let numbers = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, 1.0, -1.0, 1e30, -1e30, 1e-40, f32::NAN, 0.5];
    let functions = UnaryFunction::ALL.iter().map(|function| format!("unary %0 {{function = {}}}", function.word()));
    for function in functions.chain(["clamp %0 {low = -1.0, high = 0.5}".to_owned()]) {
        let text = format!(
            "graph @test {{\n%0 = input {{name = \"x\"}} : tensor<11xf32>\n%1 = {function} : tensor<11xf32>\n\
             return result \"y\" = %1\n}}\n"
        );
        let graph = ir::text::parse(&text).unwrap();
        let (_, mut tensors) = common::leaves(&graph);
        tensors.inputs.get_mut("x").unwrap().data = numbers.to_vec();
        let expected = ir::eval::evaluate(&graph, &tensors).unwrap().remove(0).1;
        for isa in Isa::supported() {
            let found = common::run(&graph, isa.into(), 1, &tensors).remove(0);
            for ((x, e), f) in numbers.iter().zip(&expected.data).zip(found) {
                let alike = e.is_nan() && f.is_nan() || *e == f || (e - f).abs() <= 1e-6 * e.abs();
                assert!(alike, "{isa}: {function} of {x} is {f}, expected {e}");
            }
        }
    }
}

#[test]
fn normalization() {
    for (channels, groups) in [(6, 3), (8, 2), (32, 32), (20, 1), (64, 16)] {
        let ty = format!("tensor<2x5x6x7x{channels}xf32, nthwc>");
        let statistics = format!("tensor<2x{groups}x2xf32>");
        op(&[&ty], &format!("group_statistics %0 {{groups = {groups}, epsilon = 1e-6}} : {statistics}"));
        let vector = format!("tensor<{channels}xf32>");
        for activation in ["none", "silu"] {
            op(
                &[&ty, &statistics, &vector, &vector],
                &format!("normalize %0, %1, %2, %3 {{first_frame = joined, activation = {activation}}} : {ty}"),
            );
            for (space, frame) in [("3x3x7", "apart"), ("5x6x7", "joined"), ("2x2x2", "joined")] {
                let low = format!("tensor<2x{space}x{channels}xf32, nthwc>");
                op(
                    &[&ty, &statistics, &vector, &vector, &low, &low],
                    &format!(
                        "normalize %0, %1, %2, %3, gain: %4, shift: %5 \
                         {{first_frame = {frame}, activation = {activation}}} : {ty}"
                    ),
                );
            }
        }
    }
}

/// The system maps code and tables where it likes: beside a large file they are gigabytes apart.
#[test]
fn code_calls_and_reads_nothing_by_a_short_distance() {
    let graph = ir::text::parse(
        "graph @test {\n%0 = input {name = \"x\"} : tensor<1x2x8x8x6xf32, nthwc>\n\
         %1 = parameter {name = \"w\"} : tensor<3x3x3x6x8xf32, dhwio>\n\
         %2 = convolution %0, %1 {strides = [1, 1, 1], padding = [[0, 0], [1, 1], [1, 1]], repeat_first = 2} \
         : tensor<1x2x8x8x8xf32, nthwc>\nreturn result \"y\" = %2\n}\n",
    );
    for isa in Isa::supported() {
        for listing in listings(graph.as_ref().unwrap(), isa.into()).unwrap() {
            assert!(listing.clif.contains("symbol_value") && !listing.clif.contains("colocated"), "{}", listing.clif);
        }
    }
}

#[test]
fn outputs_of_leaves_and_twice() {
    check(
        "graph @test {\n  %0 = input {name = \"x\"} : tensor<5xf32>\n  %1 = parameter {name = \"p\"} \
         : tensor<5xf32>\n  \
         %2 = constant {value = [1.0, 2.0, 3.0, 4.0, 5.5]} : tensor<5xf32>\n  %3 = add %0, %2 : tensor<5xf32>\n  \
         %4 = multiply %1, %2 : tensor<5xf32>\n  %5 = multiply %3, %4 : tensor<5xf32>\n  \
         return result \"x\" = %0\n  return result \"p\" = %1\n  return tap \"a\" = %3\n  return state \"s\" = %3\n  \
         return result \"w\" = %4\n  return result \"y\" = %5\n}\n",
    );
}
