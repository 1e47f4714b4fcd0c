//! Convolutions.
//!
//! Sums of products in f32, then bias and residual in f32, then one rounding: the compiler fuses
//! what follows the products into the convolution.

use ir::{Axis, ElementType, Layout};

use super::body::{Body, Tensor};

/// The operands beside the input, and the attributes.
#[derive(Clone, Copy)]
pub(super) struct Convolution<'a> {
    pub weight: &'a Tensor,
    pub weight_layout: Layout,
    pub bias: Option<&'a Tensor>,
    pub residual: Option<&'a Tensor>,
    pub strides: [usize; 3],
    pub padding: [[usize; 2]; 3],
    /// Groups of channels, each by itself.
    pub groups: usize,
}

/// `layout`'s axes as a convolution's dimension numbers: `[b, 0, 1, 2, f]`, `[0, 1, 2, i, o]`.
fn dimension_numbers(layout: Layout) -> String {
    let names: Vec<&str> = layout
        .axes()
        .map(|axis| match axis {
            Axis::Batch => "b",
            Axis::Channel => "f",
            Axis::Time | Axis::Depth => "0",
            Axis::Height => "1",
            Axis::Width => "2",
            Axis::Input => "i",
            Axis::Output => "o",
        })
        .collect();
    format!("[{}]", names.join(", "))
}

/// The convolution of a video that has its frames in front. `dims` are the result's sizes.
pub(super) fn convolution(
    body: &mut Body,
    input: &Tensor,
    layout: Layout,
    by: &Convolution<'_>,
    dims: &[usize],
) -> Tensor {
    let video = dimension_numbers(layout);
    let kernel = dimension_numbers(by.weight_layout);
    // Else f32 is multiplied in bf16 on a TPU.
    let precision = match input.element {
        ElementType::F32 => ", precision_config = [#stablehlo<precision HIGHEST>, #stablehlo<precision HIGHEST>]",
        ElementType::Bf16 | ElementType::F16 | ElementType::I8 | ElementType::I32 => "",
    };
    let head = format!(
        "convolution({}, {}) dim_numbers = {video}x{kernel}->{video}, window = {{stride = {:?}, pad = {:?}}} \
         {{batch_group_count = 1 : i64, feature_group_count = {} : i64{precision}}}",
        input.name, by.weight.name, by.strides, by.padding, by.groups,
    );
    let mut y = body.op("products", &head, &[input, by.weight], ElementType::F32, dims);
    if let Some(bias) = by.bias {
        let channel = layout.video().map_or(0, |axes| axes.channel);
        let bias = body.broadcast("bias", bias, &[channel], dims);
        y = body.elementwise("biased", "add", &[&y, &bias]);
    }
    if let Some(residual) = by.residual {
        let residual = body.to("residual", residual, ElementType::F32);
        y = body.elementwise("sum", "add", &[&y, &residual]);
    }
    body.to("", &y, input.element)
}
