//! Single ops through emitted code, on each instruction set and one thread.
//!
//! Throughput of convolutions and attentions is in floating-point operations (criterion's
//! "elements": 2 for each tap and input channel of an output); that of all others, which memory
//! bounds, in bytes of operands and results.

use std::borrow::Cow;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;

use backend_cpu::buffer::AlignedBuffer;
use backend_cpu::isa::Isa;
use backend_cpu::program::{States, Workspace, compile};
use backend_cpu::weights::{ParameterSource, Weights};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ir::analysis::{Cost, total_cost};
use ir::{Graph, TensorType};

/// Small numbers for every parameter.
struct Synthetic;

impl ParameterSource for Synthetic {
    fn parameter(
        &self,
        _name: &str,
        ty: &TensorType,
    ) -> Result<Cow<'_, [f32]>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Cow::Owned((0..ty.elements()).map(|i| (i % 23) as f32 * 1e-3 - 0.01).collect()))
    }
}

/// Benches a program of this body under `name`, its throughput counted by `throughput`.
fn bench(criterion: &mut Criterion, group: &str, name: &str, body: &str, throughput: fn(&Cost) -> Throughput) {
    let graph: Graph = ir::text::parse(&format!("graph @bench {{\n{body}\n}}\n")).expect("a program");
    let mut group = criterion.benchmark_group(group);
    group.sample_size(10);
    group.throughput(throughput(&total_cost(&graph)));
    for isa in Isa::supported() {
        let program = Arc::new(compile(&graph, isa).expect("the backend takes it"));
        let executable = program.bind(&Weights::new(Arc::new(Synthetic))).expect("weights are made");
        let mut workspace = Workspace::new(1).expect("a thread");
        let inputs: Vec<Vec<f32>> = program.inputs().map(|port| vec![0.5; port.ty.elements()]).collect();
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        group.bench_function(format!("{name}/{isa}"), |b| {
            b.iter(|| {
                let state = |ty: &TensorType| AlignedBuffer::zeroed(ty.bytes()).expect("memory");
                let states: States = program.states().map(|port| (port.name.clone(), state(&port.ty))).collect();
                executable.run(&mut workspace, black_box(&inputs), states, &mut |_, _| ControlFlow::Continue(()))
            });
        });
    }
    group.finish();
}

fn flops(cost: &Cost) -> Throughput {
    Throughput::Elements(cost.flops)
}

fn bytes(cost: &Cost) -> Throughput {
    Throughput::Bytes(cost.bytes_read + cost.bytes_written)
}

/// 3x3x3 with two cached frames in front.
fn convolution(criterion: &mut Criterion) {
    for (frames, height, width, inputs, outputs) in [(4, 48, 64, 128, 128), (2, 12, 16, 512, 512), (4, 48, 64, 128, 3)]
    {
        let body = format!(
            "%0 = input {{name = \"x\"}} : tensor<1x{frames}x{height}x{width}x{inputs}xf32, nthwc>\n\
             %1 = state {{name = \"c\"}} : tensor<1x2x{height}x{width}x{inputs}xf32, nthwc>\n\
             %2 = parameter {{name = \"w\"}} : tensor<3x3x3x{inputs}x{outputs}xf32, dhwio>\n\
             %3 = convolution %0, %2, cache: %1 \
             {{strides = [1, 1, 1], padding = [[0, 0], [1, 1], [1, 1]], repeat_first = 0}} \
             : tensor<1x{frames}x{height}x{width}x{outputs}xf32, nthwc>\n\
             return result \"y\" = %3"
        );
        bench(criterion, "convolution", &format!("{frames}x{height}x{width}_{inputs}_{outputs}"), &body, flops);
    }
}

/// Statistics, and the fused normalisation of the decoder's spatial norms.
fn normalization(criterion: &mut Criterion) {
    const STATISTICS: &str = "%0 = input {name = \"x\"} : tensor<1x8x48x64x256xf32, nthwc>\n\
         %1 = group_statistics %0 {groups = 32, epsilon = 1e-6} : tensor<1x32x2xf32>\n";
    let alone = format!("{STATISTICS}return result \"y\" = %1");
    bench(criterion, "normalization", "statistics", &alone, bytes);
    let fused = format!(
        "{STATISTICS}%2 = input {{name = \"gain\"}} : tensor<1x2x12x16x256xf32, nthwc>\n\
         %3 = parameter {{name = \"w\"}} : tensor<256xf32>\n\
         %4 = normalize %0, %1, %3, %3, gain: %2, shift: %2 {{first_frame = joined, activation = silu}} \
         : tensor<1x8x48x64x256xf32, nthwc>\n\
         return result \"y\" = %4"
    );
    bench(criterion, "normalization", "modulated_silu", &fused, bytes);
    let of_channels = "%0 = input {name = \"x\"} : tensor<1x8x48x64x256xf32, nthwc>\n\
         %1 = parameter {name = \"w\"} : tensor<256xf32>\n\
         %2 = channel_norm %0, scale: %1 {kind = l2, epsilon = 1e-12, activation = silu} \
         : tensor<1x8x48x64x256xf32, nthwc>\n\
         return result \"y\" = %2";
    bench(criterion, "normalization", "of_channels_silu", of_channels, bytes);
}

/// Convolutions that normalise what they read: by statistics of groups, and over the channels of
/// each pixel.
fn prologues(criterion: &mut Criterion) {
    let video = "tensor<1x2x60x90x96xf32, nthwc>";
    let norms = [
        ("none", String::new()),
        (
            "group_norm",
            format!("%4 = normalize %0, %2, %3, %3 {{first_frame = joined, activation = silu}} : {video}\n"),
        ),
        (
            "channel_norm",
            format!("%4 = channel_norm %0, scale: %3 {{kind = l2, epsilon = 1e-12, activation = silu}} : {video}\n"),
        ),
    ];
    for (name, norm) in norms {
        let read = if norm.is_empty() { "%0" } else { "%4" };
        let body = format!(
            "%0 = input {{name = \"x\"}} : {video}\n%1 = parameter {{name = \"w\"}} : tensor<3x3x3x96x96xf32, dhwio>\n\
             %2 = input {{name = \"statistics\"}} : tensor<1x32x2xf32>\n\
             %3 = parameter {{name = \"a\"}} : tensor<96xf32>\n{norm}\
             %5 = convolution {read}, %1 {{strides = [1, 1, 1], padding = [[2, 0], [1, 1], [1, 1]], repeat_first = 0}} \
             : {video}\n\
             return result \"y\" = %5"
        );
        let body = if norm.is_empty() { body.replace("%5", "%4") } else { body };
        bench(criterion, "prologues", name, &body, flops);
    }
}

/// One head over the pixels of a frame, and over those of frames that see earlier ones.
fn attention(criterion: &mut Criterion) {
    for (tokens, channels, mask) in [(1560, 512, "none"), (5400, 384, "none"), (4680, 512, "[causal, 1560]")] {
        let ty = format!("tensor<{tokens}x{channels}xf32>");
        let body = format!(
            "%0 = input {{name = \"q\"}} : {ty}\n%1 = input {{name = \"k\"}} : {ty}\n\
             %2 = input {{name = \"v\"}} : {ty}\n\
             %3 = attention %0, %1, %2 {{heads = 1, scale = 0.05, mask = {mask}}} : {ty}\nreturn result \"y\" = %3"
        );
        let masked = if mask == "none" { "" } else { "_causal" };
        bench(criterion, "attention", &format!("{tokens}_{channels}{masked}"), &body, flops);
    }
}

/// What is left unfused: elementwise ops, means, and moving elements.
fn others(criterion: &mut Criterion) {
    const INPUT: &str = "%0 = input {name = \"x\"} : tensor<1x8x48x64x128xf32, nthwc>\n";
    let ops = [
        ("silu", "silu %0", "1x8x48x64x128"),
        ("add", "add %0, %0", "1x8x48x64x128"),
        ("average_pool", "average_pool %0 {window = [2, 1, 1], first_frame = joined}", "1x4x48x64x128"),
        ("resize", "resize_nearest %0 {size = [8, 96, 128], first_frame = joined}", "1x8x96x128x128"),
    ];
    for (name, op, result) in ops {
        let body = format!("{INPUT}%1 = {op} : tensor<{result}xf32, nthwc>\nreturn result \"y\" = %1");
        bench(criterion, "others", name, &body, bytes);
    }
}

criterion_group!(benches, convolution, attention, normalization, prologues, others);
criterion_main!(benches);
