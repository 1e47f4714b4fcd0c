//! Functions of one number: known values, and what becomes of infinities and NaN.

use ir::UnaryFunction;

use super::{check, of_text, random, video};

/// What `function` makes of each number.
fn of(function: &str, numbers: &str) -> Vec<f64> {
    let count = numbers.split(',').count();
    of_text(&format!(
        "%0 = constant {{value = [{numbers}]}} : tensor<{count}xf32>\n%1 = {function} : tensor<{count}xf32>"
    ))
}

#[test]
fn values_by_hand() {
    let near = |function: &str, numbers: &str, expected: &[f64]| {
        let found = of(function, numbers);
        let off = |(x, e): (&f64, &f64)| (x - e).abs();
        assert!(
            found.iter().zip(expected).map(off).all(|off| off < 1e-12),
            "{function}: {found:?}, expected {expected:?}"
        );
    };
    // tanh(ln 2) = (2 - 1/2) / (2 + 1/2), sigmoid(ln 3) = 3/4.
    near("unary %0 {function = tanh}", "0.0, 0.6931471805599453, -inf, inf", &[0.0, 0.6, -1.0, 1.0]);
    near("unary %0 {function = sigmoid}", "0.0, 1.0986122886681098, -inf, inf, -800.0", &[0.5, 0.75, 0.0, 1.0, 0.0]);
    let half_pi = std::f64::consts::FRAC_PI_2;
    let angles = format!("0.0, {half_pi:?}, {:?}, {:?}", -half_pi, half_pi / 3.0);
    near("unary %0 {function = sine}", &angles, &[0.0, 1.0, -1.0, 0.5]);
    near("unary %0 {function = cosine}", &angles, &[1.0, 0.0, 0.0, 0.75_f64.sqrt()]);
    near("clamp %0 {low = -1.0, high = 0.5}", "-inf, -1.0, -0.25, 0.75, inf", &[-1.0, -1.0, -0.25, 0.5, 0.5]);
    near("clamp %0 {low = 0.0, high = inf}", "-2.0, 3.0", &[0.0, 3.0]);
}

#[test]
fn nan_stays_nan() {
    for function in UnaryFunction::ALL.iter().map(|f| format!("unary %0 {{function = {}}}", f.word())) {
        assert!(of(&function, "NaN, 1.0")[0].is_nan(), "{function}");
    }
    assert!(of("clamp %0 {low = 0.0, high = 1.0}", "NaN, 1.0")[0].is_nan());
    assert!(of("unary %0 {function = sine}", "inf, 1.0")[0].is_nan());
}

#[test]
fn in_each_layout_and_in_f32() {
    let operands = [random("2x3x2x3x4xf32, ncthw", 1)];
    let x = &operands[0];
    let expected = |f: fn(f64) -> f64| video(&x.ty, |place| f(super::at(x, place)));
    let functions: [fn(f64) -> f64; 4] = [f64::tanh, |x| 1.0 / (1.0 + (-x).exp()), f64::sin, f64::cos];
    for (&function, f) in UnaryFunction::ALL.iter().zip(functions) {
        check(&operands, &|b, v| b.unary(v[0], function), &expected(f));
    }
    check(&operands, &|b, v| b.clamp(v[0], -0.25, 0.5), &expected(|x| x.clamp(-0.25, 0.5)));
}
