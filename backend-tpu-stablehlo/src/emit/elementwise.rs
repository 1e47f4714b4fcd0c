//! Ops that make each element of one element of each operand, and constants.

use ir::{ElementType, Elements, TensorType, UnaryFunction};

use super::body::{Body, Tensor, number, type_text};

pub(super) fn constant(body: &mut Body, value: &Elements, ty: &TensorType) -> Tensor {
    match value {
        Elements::Splat(x) => body.splat("", *x, ty.element, &ty.shape),
        Elements::Dense(values) => {
            // As a vector: what is nested otherwise need not be.
            let numbers: Vec<String> = values.iter().map(|&x| number(x, ty.element)).collect();
            let flat =
                Tensor { name: body.fresh("flat"), element: ty.element, dims: [values.len()].into_iter().collect() };
            body.line(&format!("{} = stablehlo.constant dense<[{}]> : {}", flat.name, numbers.join(", "), flat.ty()));
            body.reshape("", &flat, &ty.shape)
        }
    }
}

/// `x * sigmoid(x)` in f32.
pub(super) fn silu_of_f32(body: &mut Body, x: &Tensor) -> Tensor {
    let sigmoid = body.elementwise("sigmoid", "logistic", &[x]);
    body.elementwise("silu", "multiply", &[x, &sigmoid])
}

/// Computed in f32, rounded once.
pub(super) fn silu(body: &mut Body, input: &Tensor) -> Tensor {
    let x = body.to("f32", input, ElementType::F32);
    let y = silu_of_f32(body, &x);
    body.to("", &y, input.element)
}

/// Computed in f32, rounded once.
pub(super) fn unary(body: &mut Body, input: &Tensor, function: UnaryFunction) -> Tensor {
    let mnemonic = match function {
        UnaryFunction::Tanh => "tanh",
        UnaryFunction::Sigmoid => "logistic",
        UnaryFunction::Sine => "sine",
        UnaryFunction::Cosine => "cosine",
    };
    let x = body.to("f32", input, ElementType::F32);
    let y = body.elementwise(mnemonic, mnemonic, &[&x]);
    body.to("", &y, input.element)
}

/// In f32, rounded once; NaN stays, as StableHLO has it of minimum and maximum.
pub(super) fn clamp(body: &mut Body, input: &Tensor, low: f64, high: f64) -> Tensor {
    let x = body.to("f32", input, ElementType::F32);
    let low = body.splat("low", low, ElementType::F32, &[]);
    let high = body.splat("high", high, ElementType::F32, &[]);
    let y = clamped(body, &low, &x, &high);
    body.to("", &y, input.element)
}

/// Adds `bias`, one f32 number along the axis `channel`, in f32.
pub(super) fn add_bias(body: &mut Body, input: &Tensor, bias: &Tensor, channel: usize) -> Tensor {
    let x = body.to("f32", input, ElementType::F32);
    let bias = body.broadcast("bias", bias, &[channel], &input.dims);
    let sum = body.elementwise("sum", "add", &[&x, &bias]);
    body.to("", &sum, input.element)
}

/// To a floating-point type StableHLO rounds as we do. To an integer it leaves open what NaN and
/// numbers beyond become: there, NaN is made 0 and the others are clamped first.
pub(super) fn convert(body: &mut Body, input: &Tensor, element: ElementType) -> Tensor {
    let (low, high) = match element {
        ElementType::I8 => (f64::from(i8::MIN), f64::from(i8::MAX)),
        // The largest number of f32 below 2^31.
        ElementType::I32 => (f64::from(i32::MIN), 2_147_483_520.0),
        ElementType::F32 | ElementType::Bf16 | ElementType::F16 => {
            return body.op("", &format!("convert {}", input.name), &[input], element, &input.dims);
        }
    };
    if !input.element.is_float() {
        let (low, high) = (body.splat("low", low, input.element, &[]), body.splat("high", high, input.element, &[]));
        let narrow = element == ElementType::I8 && input.element == ElementType::I32;
        let clamped = if narrow { clamped(body, &low, input, &high) } else { input.clone() };
        return body.op("", &format!("convert {}", clamped.name), &[&clamped], element, &input.dims);
    }
    let x = body.to("f32", input, ElementType::F32);
    let is_number = body.fresh("is_number");
    body.line(&format!(
        "{is_number} = stablehlo.compare EQ, {0}, {0}, FLOAT : ({1}, {1}) -> {2}",
        x.name,
        x.ty(),
        type_text("i1", &x.dims)
    ));
    let zero = body.splat("zero", 0.0, ElementType::F32, &x.dims);
    let without_nan = Tensor { name: body.fresh("without_nan"), ..x.clone() };
    body.line(&format!(
        "{} = stablehlo.select {is_number}, {}, {} : {}, {}",
        without_nan.name,
        x.name,
        zero.name,
        type_text("i1", &x.dims),
        x.ty()
    ));
    let low = body.splat("low", low, ElementType::F32, &[]);
    let top = body.splat("high", high, ElementType::F32, &[]);
    let clamped = clamped(body, &low, &without_nan, &top);
    body.op("", &format!("convert {}", clamped.name), &[&clamped], element, &input.dims)
}

fn clamped(body: &mut Body, low: &Tensor, x: &Tensor, high: &Tensor) -> Tensor {
    let head = format!("clamp {}, {}, {}", low.name, x.name, high.name);
    body.op("clamped", &head, &[low, x, high], x.element, &x.dims)
}
