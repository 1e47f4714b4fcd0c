//! One convolution through emitted code, on each instruction set: 3x3x3 with two cached frames in front.
//!
//! Throughput is in floating-point operations (criterion's "elements"): 2 for each tap and input channel of an output.

use std::borrow::Cow;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;

use backend_cpu::buffer::AlignedBuffer;
use backend_cpu::isa::Isa;
use backend_cpu::program::{States, Workspace, compile};
use backend_cpu::weights::{ParameterSource, Weights};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ir::TensorType;

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

fn convolution(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("convolution");
    group.sample_size(10);
    for (frames, height, width, inputs, outputs) in [(4, 48, 64, 128, 128), (2, 12, 16, 512, 512), (4, 48, 64, 128, 3)]
    {
        let text = format!(
            "graph @convolution {{\n\
             %0 = input {{name = \"x\"}} : tensor<1x{frames}x{height}x{width}x{inputs}xf32, nthwc>\n\
             %1 = state {{name = \"c\"}} : tensor<1x2x{height}x{width}x{inputs}xf32, nthwc>\n\
             %2 = parameter {{name = \"w\"}} : tensor<3x3x3x{inputs}x{outputs}xf32, dhwio>\n\
             %3 = convolution %0, %2, cache: %1 \
             {{strides = [1, 1, 1], padding = [[0, 0], [1, 1], [1, 1]], repeat_first = 0}} \
             : tensor<1x{frames}x{height}x{width}x{outputs}xf32, nthwc>\n\
             return result \"y\" = %3\n}}\n"
        );
        let graph = ir::text::parse(&text).expect("a program");
        group.throughput(Throughput::Elements(ir::analysis::total_cost(&graph).flops));
        for isa in Isa::supported() {
            let program = Arc::new(compile(&graph, isa).expect("the backend takes it"));
            let executable = program.bind(&Weights::new(Arc::new(Synthetic))).expect("weights are made");
            let mut workspace = Workspace::new(1).expect("a thread");
            let x = vec![0.5; frames * height * width * inputs];
            group.bench_function(format!("{frames}x{height}x{width}_{inputs}_{outputs}/{isa}"), |b| {
                b.iter(|| {
                    let cache = AlignedBuffer::zeroed(4 * 2 * height * width * inputs).expect("memory");
                    let states = States::from([("c".to_owned(), cache)]);
                    executable.run(&mut workspace, &[black_box(&x)], states, &mut |_, _| ControlFlow::Continue(()))
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, convolution);
criterion_main!(benches);
