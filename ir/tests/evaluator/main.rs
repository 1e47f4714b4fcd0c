//! The evaluator against values worked out by hand and formulas written anew here; each op on
//! videos in both layouts, in f64 and f32. Here are what all tests check with, and most ops; others
//! have files of their own.

mod borders;
mod channel_norm;
mod functions;
mod grouped_convolution;

use std::borrow::Cow;

use ir::eval::{Bindings, EvalError, Leaf, Real, Tensor, Tensors, evaluate, evaluate_op};
use ir::text::parse;
use ir::types::{ElementType, Layout, TensorType};
use ir::{Activation, BuildError, Builder, FirstFrame, Graph, Op, Role, Value};

/// A tensor of this type with numbers in -1..1 that look random and differ by `seed`.
fn random(ty: &str, seed: u64) -> Tensor<f64> {
    let ty: TensorType = format!("tensor<{ty}>").parse().unwrap();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from((state >> 40) as f32 / (1 << 23) as f32 - 1.0)
    };
    let data = std::iter::repeat_with(next).take(ty.elements()).collect();
    Tensor::new(ty, data).unwrap()
}

/// The element of a channel-first video; 0 outside its height and width.
fn at(video: &Tensor<f64>, [b, c, t, y, x]: [usize; 5]) -> f64 {
    let s = &video.ty.shape;
    assert!(b < s[0] && c < s[1] && t < s[2]);
    if y < s[3] && x < s[4] { video.data[(((b * s[1] + c) * s[2] + t) * s[3] + y) * s[4] + x] } else { 0.0 }
}

/// A channel-first video type with `f` at each place.
fn video(ty: &TensorType, f: impl Fn([usize; 5]) -> f64) -> Tensor<f64> {
    let s = &ty.shape;
    let place = |i: usize| {
        [
            i / s[4] / s[3] / s[2] / s[1],
            i / s[4] / s[3] / s[2] % s[1],
            i / s[4] / s[3] % s[2],
            i / s[4] % s[3],
            i % s[4],
        ]
    };
    Tensor::new(ty.clone(), (0..ty.elements()).map(|i| f(place(i))).collect()).unwrap()
}

type Build<'a> = &'a dyn Fn(&mut Builder, &[Value]) -> Result<Value, BuildError>;

/// The result of one op over inputs, as a graph and by itself.
fn run<T: Real>(operands: &[Tensor<T>], build: Build<'_>) -> Tensor<T> {
    let mut builder = Builder::new("one_op");
    let mut bindings = Tensors::default();
    let mut values = Vec::new();
    for (i, operand) in operands.iter().enumerate() {
        values.push(builder.input(i.to_string(), operand.ty.clone()).unwrap());
        bindings.inputs.insert(i.to_string(), operand.clone());
    }
    let value = build(&mut builder, &values).unwrap();
    builder.output(Role::Result, "y", value);
    let graph = builder.finish();
    let result = evaluate(&graph, &bindings).unwrap().remove(0).1;
    let op = graph.op(value);
    let given: Vec<_> = op.operands().iter().map(|v| &operands[v.index()]).collect();
    assert_eq!(evaluate_op(op, &given).unwrap(), result, "an op by itself and in a graph");
    result
}

fn transposed(tensor: &Tensor<f64>, permutation: [usize; 5]) -> Tensor<f64> {
    run(std::slice::from_ref(tensor), &|b, v| b.transpose(v[0], permutation.into_iter().collect()))
}

#[track_caller]
fn assert_close(found: &Tensor<f64>, expected: &Tensor<f64>, tolerance: f64) {
    assert_eq!(found.ty, expected.ty);
    for (i, (x, y)) in found.data.iter().zip(&expected.data).enumerate() {
        assert!((x - y).abs() <= tolerance * (1.0 + y.abs()), "element {i}: {x}, expected {y}");
    }
}

/// Checks that an op over channel-first operands gives `expected`, the same channel-last, and
/// nearly the same in f32.
#[track_caller]
fn check(operands: &[Tensor<f64>], build: Build<'_>, expected: &Tensor<f64>) {
    assert_close(&run(operands, build), expected, 1e-12);
    let last: Vec<_> = operands
        .iter()
        .map(|operand| match operand.ty.layout {
            Layout::NCTHW => transposed(operand, [0, 2, 3, 4, 1]),
            Layout::OIDHW => transposed(operand, [2, 3, 4, 1, 0]),
            _ => operand.clone(),
        })
        .collect();
    let result = run(&last, build);
    let result = if result.ty.layout == Layout::NTHWC { transposed(&result, [0, 4, 1, 2, 3]) } else { result };
    assert_close(&result, expected, 1e-12);
    let single = |t: &Tensor<f64>| Tensor::new(t.ty.clone(), t.data.iter().map(|&x| x as f32).collect()).unwrap();
    let result = run(&operands.iter().map(single).collect::<Vec<_>>(), build);
    let result = Tensor::new(result.ty, result.data.iter().map(|&x| f64::from(x)).collect()).unwrap();
    assert_close(&result, expected, 1e-5);
}

/// What one convolution test varies beside its operands' types.
struct Case {
    input: &'static str,
    weight: &'static str,
    cache: Option<&'static str>,
    epilogue: bool,
    strides: [usize; 3],
    padding: [[usize; 2]; 3],
    repeat_first: usize,
    result: &'static str,
}

#[track_caller]
fn check_convolution(case: &Case) {
    let Case { strides, padding, repeat_first, .. } = *case;
    let result: TensorType = format!("tensor<{}>", case.result).parse().unwrap();
    let mut operands = vec![random(case.input, 1), random(case.weight, 2)];
    operands.extend(case.cache.map(|ty| random(ty, 3)));
    let cached = operands.get(2).map_or(0, |cache| cache.ty.shape[2]);
    operands.push(random(&format!("{}xf32", result.shape[1]), 4));
    operands.push(random(case.result, 5));
    let (bias, residual) = (operands.len() - 2, operands.len() - 1);
    let build = |b: &mut Builder, v: &[Value]| {
        let epilogue = |i: usize| case.epilogue.then(|| v[i]);
        let cache = case.cache.map(|_| v[2]);
        b.convolution(v[0], v[1], epilogue(bias), epilogue(residual), cache, strides, padding, repeat_first)
    };
    let (input, weight) = (&operands[0], &operands[1]);
    let front = cached + repeat_first;
    // The padded input, frame by frame.
    let x = |b: usize, c: usize, t: usize, y: usize, x: usize| -> f64 {
        let (Some(t), Some(y), Some(x)) =
            (t.checked_sub(padding[0][0]), y.checked_sub(padding[1][0]), x.checked_sub(padding[2][0]))
        else {
            return 0.0;
        };
        match t.checked_sub(front) {
            Some(t) if t >= input.ty.shape[2] => 0.0,
            Some(t) => at(input, [b, c, t, y, x]),
            None if cached > 0 => at(&operands[2], [b, c, t, y, x]),
            None => at(input, [b, c, 0, y, x]),
        }
    };
    let w = &weight.ty.shape;
    let expected = video(&result, |[b, o, t, y, x0]| {
        let mut sum = 0.0;
        for (i, kd) in (0..w[1]).flat_map(|i| (0..w[2]).map(move |kd| (i, kd))) {
            for (kh, kw) in (0..w[3]).flat_map(|kh| (0..w[4]).map(move |kw| (kh, kw))) {
                sum += at(weight, [o, i, kd, kh, kw])
                    * x(b, i, t * strides[0] + kd, y * strides[1] + kh, x0 * strides[2] + kw);
            }
        }
        if case.epilogue { sum + operands[bias].data[o] + at(&operands[residual], [b, o, t, y, x0]) } else { sum }
    });
    check(&operands, &build, &expected);
}

const SAME: Case = Case {
    input: "2x3x2x5x11xf32, ncthw",
    weight: "4x3x3x3x3xf32, oidhw",
    cache: None,
    epilogue: false,
    strides: [1, 1, 1],
    padding: [[0, 0], [1, 1], [1, 1]],
    repeat_first: 2,
    result: "2x4x2x5x11xf32, ncthw",
};

#[test]
fn convolution_repeats_its_first_frame() {
    check_convolution(&SAME);
}

#[test]
fn convolution_reads_its_cache() {
    check_convolution(&Case { cache: Some("2x3x2x5x11xf32, ncthw"), repeat_first: 0, epilogue: true, ..SAME });
}

#[test]
fn convolution_pads_time_on_both_sides() {
    check_convolution(&Case { padding: [[1, 1], [1, 1], [1, 1]], repeat_first: 0, ..SAME });
}

#[test]
fn convolution_strides_over_uneven_padding() {
    check_convolution(&Case {
        weight: "4x3x1x3x3xf32, oidhw",
        strides: [1, 2, 2],
        padding: [[0, 0], [0, 1], [0, 1]],
        repeat_first: 0,
        result: "2x4x2x2x5xf32, ncthw",
        epilogue: true,
        ..SAME
    });
}

#[test]
fn convolution_may_see_padding_alone() {
    check_convolution(&Case {
        input: "1x1x1x1x1xf32, ncthw",
        weight: "2x1x2x2x2xf32, oidhw",
        strides: [2, 3, 2],
        padding: [[3, 4], [5, 2], [4, 5]],
        repeat_first: 0,
        result: "1x2x4x3x5xf32, ncthw",
        ..SAME
    });
}

#[test]
fn convolution_by_hand() {
    let graph = parse(
        r#"graph @g {
  %0 = constant {value = [1.0, 2.0, 3.0]} : tensor<1x1x1x1x3xf32, ncthw>
  %1 = constant {value = [10.0, 1.0]} : tensor<1x1x1x1x2xf32, oidhw>
  %2 = convolution %0, %1 {strides = [1, 1, 1], padding = [[0, 0], [0, 0], [1, 0]], repeat_first = 0} : tensor<1x1x1x1x3xf32, ncthw>
  return result "y" = %2
}"#,
    )
    .unwrap();
    assert_eq!(evaluate(&graph, &Tensors::<f32>::default()).unwrap()[0].1.data, [1.0, 12.0, 23.0]);
}

#[test]
fn convolution_over_absurd_padding_does_not_overflow() {
    for (low, high, stride, expected) in
        [(usize::MAX - 2, 0, 1 << 63, [0.0, 0.0]), ((1 << 63) - 1, (1 << 63) - 2, (1 << 63) - 1, [0.0, 6.0])]
    {
        for (input, weight) in [(Layout::NCTHW, Layout::OIDHW), (Layout::NTHWC, Layout::DHWIO)] {
            let one =
                |layout, x| Tensor::new(TensorType::with_layout(ElementType::F32, layout, [1; 5]), vec![x]).unwrap();
            let result = run(&[one(input, 2.0), one(weight, 3.0)], &|b, v| {
                let padding = [[0, 0], [0, 0], [low, high]];
                b.convolution(v[0], v[1], None, None, None, [1, 1, stride], padding, 0)
            });
            assert_eq!(result.data, expected);
        }
    }
}

/// Mean and reciprocal standard deviation of a group, from the textbook.
fn statistics(input: &Tensor<f64>, batch: usize, group: usize, groups: usize, epsilon: f64) -> [f64; 2] {
    let size = input.data.len() / input.ty.shape[0] / groups;
    let group = &input.data[(batch * groups + group) * size..][..size];
    let mean = group.iter().sum::<f64>() / size as f64;
    let square = group.iter().map(|x| x * x).sum::<f64>() / size as f64;
    [mean, 1.0 / (square - mean * mean + epsilon).sqrt()]
}

#[test]
fn group_statistics_and_group_norm() {
    let (groups, epsilon) = (3, 1e-3);
    let operands = [random("2x6x2x3x4xf32, ncthw", 1), random("6xf32", 2), random("6xf32", 3)];
    let x = &operands[0];
    let expected = (0..6).flat_map(|i| statistics(x, i / groups, i % groups, groups, epsilon)).collect();
    let expected = Tensor::new("tensor<2x3x2xf32>".parse().unwrap(), expected).unwrap();
    check(&operands[..1], &|b, v| b.group_statistics(v[0], groups, epsilon), &expected);
    let expected = video(&x.ty, |place| {
        let [mean, rstd] = statistics(x, place[0], place[1] / 2, groups, epsilon);
        (at(x, place) - mean) * rstd * operands[1].data[place[1]] + operands[2].data[place[1]]
    });
    check(&operands, &|b, v| b.group_norm(v[0], v[1], v[2], groups, epsilon), &expected);
}

#[test]
fn statistics_of_numbers_far_from_zero_are_exact_in_f32() {
    let ty: TensorType = "tensor<1x1x1x1x1024xf32, ncthw>".parse().unwrap();
    let data = (0..1024).map(|i| 10_000.0 + if i % 2 == 0 { 0.5 } else { -0.5 }).collect();
    let result = run(&[Tensor::<f32>::new(ty, data).unwrap()], &|b, v| b.group_statistics(v[0], 1, 0.0));
    assert_eq!(result.data, [10_000.0, 2.0]);
}

/// The nearest element of `size` to element `i` of `resized`, as exact fractions.
fn nearest(i: usize, size: usize, resized: usize) -> usize {
    (0..size).rev().find(|source| source * resized <= i * size).unwrap()
}

fn nearest_frame(i: usize, size: usize, resized: usize, first_frame: FirstFrame) -> usize {
    match (first_frame, i) {
        (FirstFrame::Joined, _) => nearest(i, size, resized),
        (FirstFrame::Apart, 0) => 0,
        (FirstFrame::Apart, _) => 1 + nearest(i - 1, size - 1, resized - 1),
    }
}

#[test]
fn normalize_modulates_with_a_smaller_video() {
    for (first_frame, frames, activation) in [
        (FirstFrame::Joined, 2, Activation::Silu),
        (FirstFrame::Apart, 3, Activation::None),
        (FirstFrame::Apart, 2, Activation::Silu),
    ] {
        let small = format!("2x4x{frames}x2x3xf32, ncthw");
        let operands = [
            random("2x4x5x5x6xf32, ncthw", 1),
            random("2x2x2xf32", 2),
            random("4xf32", 3),
            random("4xf32", 4),
            random(&small, 5),
            random(&small, 6),
        ];
        let expected = video(&operands[0].ty, |place| {
            let [b, c, t, y, x] = place;
            let (mean, rstd) = (operands[1].data[(b * 2 + c / 2) * 2], operands[1].data[(b * 2 + c / 2) * 2 + 1]);
            let source = [b, c, nearest_frame(t, frames, 5, first_frame), nearest(y, 2, 5), nearest(x, 3, 6)];
            let normal = (at(&operands[0], place) - mean) * rstd * operands[2].data[c] + operands[3].data[c];
            let modulated = normal * at(&operands[4], source) + at(&operands[5], source);
            if activation == Activation::Silu { modulated / (1.0 + (-modulated).exp()) } else { modulated }
        });
        let build = |b: &mut Builder, v: &[Value]| {
            b.normalize(v[0], v[1], v[2], v[3], Some(v[4]), Some(v[5]), first_frame, activation)
        };
        check(&operands, &build, &expected);
    }
}

#[test]
fn group_norm_is_statistics_then_normalize() {
    let operands = [random("1x4x2x3x3xbf16, ncthw", 1), random("4xf32", 2), random("4xf32", 3)];
    let whole = run(&operands, &|b, v| b.group_norm(v[0], v[1], v[2], 2, 1e-6));
    let statistics = run(&operands, &|b, v| b.group_statistics(v[0], 2, 1e-6));
    let [x, scale, offset] = operands;
    let halves = run(&[x, statistics, scale, offset], &|b, v| {
        b.normalize(v[0], v[1], v[2], v[3], None, None, FirstFrame::Joined, Activation::None)
    });
    assert_eq!(whole, halves);
}

#[test]
fn resize_nearest_up_and_down() {
    for (frames, size, first_frame) in [
        (2, [4, 6, 10], FirstFrame::Joined),
        (3, [5, 7, 3], FirstFrame::Apart),
        (1, [1, 6, 5], FirstFrame::Apart),
        (4, [2, 1, 1], FirstFrame::Joined),
    ] {
        let x = random(&format!("2x3x{frames}x3x5xf32, ncthw"), 1);
        let ty = x.ty.video_like(2, 3, size);
        let expected = video(&ty, |[b, c, t, y, x0]| {
            let t = nearest_frame(t, frames, size[0], first_frame);
            at(&x, [b, c, t, nearest(y, 3, size[1]), nearest(x0, 5, size[2])])
        });
        check(std::slice::from_ref(&x), &|b, v| b.resize_nearest(v[0], size, first_frame), &expected);
    }
}

#[test]
fn average_pool_drops_the_rest() {
    for (frames, first_frame) in [(5, FirstFrame::Joined), (5, FirstFrame::Apart), (1, FirstFrame::Apart)] {
        let x = random(&format!("2x3x{frames}x5x7xf32, ncthw"), 1);
        let apart = usize::from(first_frame == FirstFrame::Apart);
        let ty = x.ty.video_like(2, 3, [apart + (frames - apart) / 2, 2, 2]);
        let expected = video(&ty, |[b, c, t, y, x0]| {
            let frames = match (first_frame, t) {
                (FirstFrame::Joined, t) => vec![2 * t, 2 * t + 1],
                (FirstFrame::Apart, 0) => vec![0],
                (FirstFrame::Apart, t) => vec![2 * t - 1, 2 * t],
            };
            let (mut sum, mut count) = (0.0, 0.0);
            for t in frames {
                for (y, x0) in (0..2).flat_map(|dy| (0..3).map(move |dx| (2 * y + dy, 3 * x0 + dx))) {
                    sum += at(&x, [b, c, t, y, x0]);
                    count += 1.0;
                }
            }
            sum / count
        });
        check(std::slice::from_ref(&x), &|b, v| b.average_pool(v[0], [2, 2, 3], first_frame), &expected);
    }
}

#[test]
fn elementwise_ops() {
    let [a, b] = [1, 2].map(|seed| random("2x3x2x3x4xf32, ncthw", seed));
    let operands = [a.clone(), b.clone(), random("3xf32", 3)];
    let bias = &operands[2].data;
    let expected = |f: &dyn Fn(f64, f64, f64) -> f64| video(&a.ty, |p| f(at(&a, p), at(&b, p), bias[p[1]]));
    check(&operands, &|g, v| g.add(v[0], v[1]), &expected(&|a, b, _| a + b));
    check(&operands, &|g, v| g.multiply(v[0], v[1]), &expected(&|a, b, _| a * b));
    check(&operands, &|g, v| g.silu(v[0]), &expected(&|a, _, _| a * (1.0 / (1.0 + (-a).exp()))));
    check(&operands, &|g, v| g.add_bias(v[0], v[2]), &expected(&|a, _, bias| a + bias));
}

/// The result of the last op of `body`, over constants.
fn of_text(body: &str) -> Vec<f64> {
    let value = body.lines().filter(|line| line.trim().starts_with('%')).count() - 1;
    let graph = parse(&format!("graph @g {{ {body}\n return result \"y\" = %{value}\n}}")).unwrap();
    evaluate(&graph, &Tensors::<f64>::default()).unwrap().remove(0).1.data
}

#[test]
fn shape_ops_by_hand() {
    let x = "%0 = constant {value = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]} : tensor<2x3xf32>\n";
    let last = |line: &str| of_text(&format!("\n{x}{line}"));
    let pad = last("%1 = pad %0 {low = [1, 0], high = [0, 2], mode = zero} : tensor<3x5xf32>");
    assert_eq!(pad, [0., 0., 0., 0., 0., 1., 2., 3., 0., 0., 4., 5., 6., 0., 0.]);
    let pad = last("%1 = pad %0 {low = [1, 0], high = [0, 2], mode = edge} : tensor<3x5xf32>");
    assert_eq!(pad, [1., 2., 3., 3., 3., 1., 2., 3., 3., 3., 4., 5., 6., 6., 6.]);
    assert_eq!(last("%1 = slice %0 {start = [0, 1], limit = [2, 3]} : tensor<2x2xf32>"), [2., 3., 5., 6.]);
    assert_eq!(last("%1 = transpose %0 {permutation = [1, 0]} : tensor<3x2xf32>"), [1., 4., 2., 5., 3., 6.]);
    assert_eq!(last("%1 = reshape %0 : tensor<3x2xf32>"), [1., 2., 3., 4., 5., 6.]);
    let joined = "%1 = slice %0 {start = [0, 0], limit = [2, 1]} : tensor<2x1xf32>\n\
                  %2 = concatenate [%1, %0] {axis = 1} : tensor<2x4xf32>";
    assert_eq!(last(joined), [1., 1., 2., 3., 4., 4., 5., 6.]);
    let joined = "%1 = concatenate [%0, %0] {axis = 0} : tensor<4x3xf32>";
    assert_eq!(last(joined), [1., 2., 3., 4., 5., 6., 1., 2., 3., 4., 5., 6.]);
}

#[test]
fn scalars_have_no_axes() {
    let x = "\n%0 = constant {value = 2.5} : tensor<f32>\n";
    for line in ["slice %0 {start = [], limit = []}", "transpose %0 {permutation = []}", "convert %0 {element = f32}"] {
        assert_eq!(of_text(&format!("{x}%1 = {line} : tensor<f32>")), [2.5], "{line}");
    }
}

#[test]
fn results_are_rounded_to_their_element_type() {
    let convert = |to: &str, value: &str| {
        of_text(&format!(
            "\n%0 = constant {{value = {value}}} : tensor<f32>\n%1 = convert %0 {{element = {to}}} : tensor<{to}>"
        ))[0]
    };
    assert_eq!(convert("bf16", "1.00390625"), 1.0, "a tie goes to even");
    assert_eq!(convert("bf16", "1.01171875"), 1.015625, "a tie goes to even");
    assert_eq!(convert("f16", "65520.0"), f64::INFINITY);
    assert_eq!(convert("i8", "-200.7"), -128.0);
    assert_eq!(convert("i8", "2.9"), 2.0);
    assert_eq!(convert("i32", "-2.9"), -2.0);
    let sum = "\n%0 = constant {value = 256.0} : tensor<bf16>\n%1 = constant {value = 1.1} : tensor<bf16>\n\
               %2 = add %0, %1 : tensor<bf16>";
    assert_eq!(of_text(sum), [258.0], "1.1 is 1.1015625 in bf16, and the sum rounds up");
    let square = "\n%0 = constant {value = 100} : tensor<i8>\n%1 = multiply %0, %0 : tensor<i8>";
    assert_eq!(of_text(square), [127.0]);
}

fn step() -> Graph {
    parse(
        r#"graph @step {
  %0 = input {name = "x"} : tensor<2xf32> @ model
  %1 = state {name = "x"} : tensor<2xf32>
  %2 = parameter {name = "w"} : tensor<2xf32> @ model.norm
  %3 = input {name = "unused"} : tensor<2xf32>
  %4 = silu %3 : tensor<2xf32>
  %5 = add %0, %1 : tensor<2xf32>
  %6 = multiply %5, %2 : tensor<2xf32>
  return tap "sum" = %5
  return result "y" = %6
  return state "x" = %0
  return tap "again" = %6
}"#,
    )
    .unwrap()
}

fn pair(data: [f32; 2]) -> Tensor<f32> {
    Tensor::new("tensor<2xf32>".parse().unwrap(), data.to_vec()).unwrap()
}

fn step_bindings() -> Tensors<f32> {
    Tensors {
        inputs: [("x".to_owned(), pair([1.0, 2.0]))].into(),
        states: [("x".to_owned(), pair([10.0, 20.0]))].into(),
        parameters: [("w".to_owned(), pair([2.0, 3.0]))].into(),
    }
}

#[test]
fn outputs_come_in_the_graphs_order_and_dead_inputs_need_no_tensor() {
    let outputs = evaluate(&step(), &step_bindings()).unwrap();
    let found: Vec<_> = outputs.iter().map(|(o, t)| (o.role, o.name.as_str(), t.data.as_slice())).collect();
    let expected: [(_, _, &[f32]); 4] = [
        (Role::Tap, "sum", &[11.0, 22.0]),
        (Role::Result, "y", &[22.0, 66.0]),
        (Role::State, "x", &[1.0, 2.0]),
        (Role::Tap, "again", &[22.0, 66.0]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn errors_name_the_leaf_and_its_module() {
    let fails = |change: &dyn Fn(&mut Tensors<f32>)| {
        let mut bindings = step_bindings();
        change(&mut bindings);
        evaluate(&step(), &bindings).unwrap_err().to_string()
    };
    assert_eq!(
        fails(&|b| b.parameters.clear()),
        "parameter \"w\" of `model.norm`: no tensor is bound; expected tensor<2xf32>"
    );
    assert_eq!(fails(&|b| b.states.clear()), "state \"x\": no tensor is bound; expected tensor<2xf32>");
    let other = Tensor::new("tensor<3xf32>".parse().unwrap(), vec![0.0; 3]).unwrap();
    assert_eq!(
        fails(&|b| drop(b.inputs.insert("x".to_owned(), other.clone()))),
        "input \"x\" of `model`: expected tensor<2xf32>, the bound tensor is tensor<3xf32>"
    );
    assert_eq!(
        fails(&|b| b.inputs.get_mut("x").unwrap().data.truncate(1)),
        "input \"x\" of `model`: tensor<2xf32> has 2 elements, its data are 1 numbers"
    );
}

#[test]
fn an_op_by_itself_checks_its_operands() {
    let graph = step();
    let add = graph.nodes().map(|(_, node)| &node.op).find(|op| matches!(op, Op::Add { .. })).unwrap();
    let x = pair([1.0, 2.0]);
    let error = evaluate_op(add, &[&x]).unwrap_err();
    assert_eq!(error, EvalError::OperandCount { mnemonic: "add", expected: 2, found: 1 });
    let other = Tensor::new(TensorType::plain(ElementType::F32, [1]), vec![0.0]).unwrap();
    let error = evaluate_op(add, &[&x, &other]).unwrap_err().to_string();
    assert_eq!(error, "add: add_c1: operands differ: tensor<2xf32> and tensor<1xf32>");
    let short = Tensor { data: vec![1.0], ..x.clone() };
    let error = evaluate_op(add, &[&x, &short]).unwrap_err().to_string();
    assert_eq!(error, "add: operand 1: tensor<2xf32> has 2 elements, its data are 1 numbers");
}

#[test]
fn a_result_that_no_memory_holds_is_an_error() {
    let error = |op: &str| {
        let text = format!(
            "graph @g {{\n %0 = constant {{value = 0.0}} : tensor<1xi8>\n \
             %1 = {op} : tensor<4611686018427387904xi8> @ big\n return result \"y\" = %1\n}}"
        );
        evaluate(&parse(&text).unwrap(), &Tensors::<f64>::default()).unwrap_err().to_string()
    };
    let expected =
        |mnemonic: &str| format!("{mnemonic} of `big`: no memory for its result, tensor<4611686018427387904xi8>");
    assert_eq!(error("constant {value = 0.0}"), expected("constant"));
    assert_eq!(error("pad %0 {low = [0], high = [4611686018427387903], mode = edge}"), expected("pad"));
}

/// Gives tensors of zeros and counts how many are asked for.
struct Counting(std::cell::Cell<usize>);

impl Bindings<f32> for Counting {
    fn tensor(&self, leaf: Leaf<'_>) -> Option<Cow<'_, Tensor<f32>>> {
        self.0.set(self.0.get() + 1);
        Some(Cow::Owned(Tensor::new(leaf.ty.clone(), vec![0.0; leaf.ty.elements()]).unwrap()))
    }
}

#[test]
fn a_leaf_is_asked_for_once_and_only_if_an_output_needs_it() {
    let counting = Counting(0.into());
    evaluate(&step(), &counting).unwrap();
    assert_eq!(counting.0.get(), 3);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let operands = [random("1x8x3x9x20xf32, ncthw", 1), random("16x8x3x3x3xf32, oidhw", 2), random("16xf32", 3)];
    let operands = operands.map(|t| Tensor::new(t.ty, t.data.iter().map(|&x| x as f32).collect::<Vec<_>>()).unwrap());
    let build = |b: &mut Builder, v: &[Value]| {
        let y = b.convolution(v[0], v[1], Some(v[2]), None, None, [1, 1, 1], [[2, 0], [1, 1], [1, 1]], 0)?;
        b.group_norm(y, v[2], v[2], 4, 1e-6)
    };
    let mut graph = Builder::new("g");
    let values: Vec<_> =
        operands.iter().enumerate().map(|(i, t)| graph.input(i.to_string(), t.ty.clone()).unwrap()).collect();
    let y = build(&mut graph, &values).unwrap();
    graph.output(Role::Result, "y", y);
    let mut bindings = Tensors::default();
    bindings.inputs.extend(operands.into_iter().enumerate().map(|(i, t)| (i.to_string(), t)));
    let graph = graph.finish();
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| evaluate(&graph, &bindings).unwrap())
    };
    assert_eq!(with(1), with(3));
}
