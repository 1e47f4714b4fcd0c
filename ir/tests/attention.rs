//! Attention: the evaluator against a formula written anew here, its masks, what is counted of it,
//! how it reads as text.

use ir::analysis::total_cost;
use ir::eval::{Real, Tensor, evaluate_op};
use ir::text::{parse, print};
use ir::types::{ElementType, TensorType};
use ir::{AttentionMask, Builder, Op, Role, Value};

/// Tokens with numbers in -1..1 that look random and differ by `seed`.
fn random(shape: [usize; 4], seed: u64) -> Tensor<f64> {
    let ty = TensorType::plain(ElementType::F32, shape);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from((state >> 40) as f32 / (1 << 23) as f32 - 1.0)
    };
    let data = std::iter::repeat_with(next).take(ty.elements()).collect();
    Tensor::new(ty, data).unwrap()
}

/// The op over values that a builder would give these numbers.
fn op(heads: usize, scale: f64, mask: AttentionMask) -> Op {
    let mut values = ["q", "k", "v"].map(|_| None);
    let mut builder = Builder::new("g");
    for (i, value) in values.iter_mut().enumerate() {
        *value = builder.input(i.to_string(), TensorType::plain(ElementType::F32, [1, 1])).ok();
    }
    let [query, key, value] = values.map(|value: Option<Value>| value.unwrap());
    Op::Attention { query, key, value, heads, scale, mask }
}

/// What the op is, from the whole matrix of weights.
fn expected(operands: &[Tensor<f64>; 3], heads: usize, scale: f64, sees: impl Fn(usize, usize) -> bool) -> Vec<f64> {
    let [query, key, value] = operands;
    let [[a, b, queries, channels], [_, _, keys, outputs]] =
        [query, value].map(|tensor| <[usize; 4]>::try_from(tensor.ty.shape.as_slice()).unwrap());
    let at = |tensor: &Tensor<f64>, apart: usize, token: usize, channel: usize| {
        let [.., tokens, channels] = tensor.ty.shape[..] else { unreachable!() };
        tensor.data[(apart * tokens + token) * channels + channel]
    };
    let mut result = vec![0.0; a * b * queries * outputs];
    for apart in 0..a * b {
        for (channel, q) in (0..outputs).flat_map(|channel| (0..queries).map(move |q| (channel, q))) {
            let head = channel / (outputs / heads);
            let of_head = head * (channels / heads)..(head + 1) * (channels / heads);
            let weight = |k: usize| {
                let score: f64 = of_head.clone().map(|c| at(query, apart, q, c) * at(key, apart, k, c)).sum();
                if sees(q, k) { (scale * score).exp() } else { 0.0 }
            };
            let whole: f64 = (0..keys).map(weight).sum();
            let sum: f64 = (0..keys).map(|k| weight(k) * at(value, apart, k, channel)).sum();
            result[(apart * queries + q) * outputs + channel] = sum / whole;
        }
    }
    result
}

fn evaluated<T: Real>(op: &Op, operands: &[Tensor<f64>; 3]) -> Vec<f64> {
    let operands = operands.each_ref().map(|tensor| Tensor {
        ty: tensor.ty.clone(),
        data: tensor.data.iter().map(|&x| T::from_f64(x)).collect::<Vec<T>>(),
    });
    let result = evaluate_op(op, &operands.each_ref()).unwrap();
    result.data.into_iter().map(Real::to_f64).collect()
}

fn check(sizes: [usize; 4], heads: usize, mask: AttentionMask, sees: impl Fn(usize, usize) -> bool) {
    let [queries, keys, channels, outputs] = sizes;
    let operands =
        [random([2, 3, queries, channels], 1), random([2, 3, keys, channels], 2), random([2, 3, keys, outputs], 3)];
    let scale = 1.25;
    let op = op(heads, scale, mask);
    let expected = expected(&operands, heads, scale, sees);
    for (found, tolerance) in [(evaluated::<f64>(&op, &operands), 1e-14), (evaluated::<f32>(&op, &operands), 1e-6)] {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= tolerance, "{sizes:?}, {mask:?}: {found}, expected {expected}");
        }
    }
}

#[test]
fn attention_is_the_mean_of_values_by_the_softmax_of_scores() {
    check([4, 4, 6, 6], 1, AttentionMask::None, |_, _| true);
    check([5, 3, 6, 9], 3, AttentionMask::None, |_, _| true);
    check([1, 7, 4, 2], 2, AttentionMask::None, |_, _| true);
}

/// From the other order of sums: the sums over keys first, which is why it is called linear.
#[test]
fn linear_attention_is_the_mean_of_values_by_the_scores() {
    let (heads, epsilon) = (2, 0.25);
    let operands = [random([1, 2, 5, 6], 1), random([1, 2, 7, 6], 2), random([1, 2, 7, 4], 3)];
    let Op::Attention { query, key, value, .. } = op(heads, 1.0, AttentionMask::None) else { unreachable!() };
    let found = evaluated::<f64>(&Op::LinearAttention { query, key, value, heads, epsilon }, &operands);
    let at = |i: usize, apart: usize, token: usize, channel: usize| {
        let [.., tokens, channels] = operands[i].ty.shape[..] else { unreachable!() };
        operands[i].data[(apart * tokens + token) * channels + channel]
    };
    for (place, found) in found.into_iter().enumerate() {
        let (output, token, apart) = (place % 4, place / 4 % 5, place / 20);
        let of_head = output / 2 * 3..output / 2 * 3 + 3;
        let sum_over_keys =
            |c: usize, by: &dyn Fn(usize) -> f64| (0..7).map(|k| at(1, apart, k, c) * by(k)).sum::<f64>();
        let sum_over_channels = |by: &dyn Fn(usize) -> f64| {
            of_head.clone().map(|c| at(0, apart, token, c) * sum_over_keys(c, by)).sum::<f64>()
        };
        let expected = sum_over_channels(&|k| at(2, apart, k, output)) / (sum_over_channels(&|_| 1.0) + epsilon);
        assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{place}: {found}, expected {expected}");
    }
}

#[test]
fn a_causal_mask_hides_what_comes_later() {
    check([5, 5, 4, 4], 2, AttentionMask::Causal(1), |q, k| k <= q);
    // Two keys stand in front of all queries.
    check([5, 7, 4, 4], 1, AttentionMask::Causal(1), |q, k| k <= q + 2);
    check([6, 6, 4, 6], 2, AttentionMask::Causal(3), |q, k| k / 3 <= q / 3);
    check([6, 9, 4, 4], 1, AttentionMask::Causal(3), |q, k| k / 3 <= q / 3 + 1);
}

#[test]
fn large_scores_overflow_nowhere() {
    let operands = [random([1, 1, 3, 4], 1), random([1, 1, 5, 4], 2), random([1, 1, 5, 2], 3)];
    let found = evaluated::<f32>(&op(1, 1e4, AttentionMask::None), &operands);
    assert!(found.iter().all(|x| x.abs() <= 1.0), "{found:?}");
}

#[test]
fn pairs_are_those_that_see_each_other() {
    for (queries, keys) in [(6, 6), (6, 12), (12, 18)] {
        for mask in [AttentionMask::None, AttentionMask::Causal(1), AttentionMask::Causal(3), AttentionMask::Causal(6)]
        {
            let seen: usize = (0..queries).map(|query| mask.seen(query, queries, keys)).sum();
            assert_eq!(mask.pairs(queries, keys), seen as u64, "{mask:?}");
            assert_eq!(mask.seen(queries - 1, queries, keys), keys, "the last query sees all keys");
        }
    }
}

#[test]
fn arithmetic_counts_pairs_that_see_each_other() {
    let flops = |mask| {
        let mut builder = Builder::new("g");
        let mut input = |name: &str, shape: [usize; 4]| {
            builder.input(name.to_owned(), TensorType::plain(ElementType::F32, shape)).unwrap()
        };
        let (q, k, v) = (input("q", [2, 3, 4, 8]), input("k", [2, 3, 6, 8]), input("v", [2, 3, 6, 10]));
        let y = builder.attention(q, k, v, 2, 1.0, mask).unwrap();
        builder.output(Role::Result, "y", y);
        total_cost(&builder.finish()).flops
    };
    let of_a_pair = 2 * (8 + 10) + 4 * 2;
    assert_eq!(flops(AttentionMask::None), 6 * 4 * 6 * of_a_pair);
    assert_eq!(flops(AttentionMask::Causal(2)), 6 * 2 * (4 + 6) * of_a_pair);
}

#[test]
fn masks_read_as_they_print() {
    for mask in ["none", "causal", "[causal, 3]"] {
        let text = format!(
            "graph @g {{\n  %0 = input {{name = \"x\"}} : tensor<6x4xf32>\n  \
             %1 = attention %0, %0, %0 {{heads = 2, scale = 0.5, mask = {mask}}} : tensor<6x4xf32>\n  \
             return result \"y\" = %1\n}}\n"
        );
        assert_eq!(print(&parse(&text).unwrap()), text);
    }
    for mask in ["all", "[causal]", "[none, 3]", "3", "[causal, 1.5]"] {
        let text = format!(
            "graph @g {{\n%0 = input {{name = \"x\"}} : tensor<6x4xf32>\n\
             %1 = attention %0, %0, %0 {{heads = 2, scale = 0.5, mask = {mask}}} : tensor<6x4xf32>\n}}"
        );
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains("one of: none causal, or [causal, tokens of a frame]"), "{error}");
    }
}
