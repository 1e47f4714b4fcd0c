//! Running a program on every instruction set and comparing it with the reference evaluator.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use backend_cpu::blocking::Algorithm;
use backend_cpu::buffer::AlignedBuffer;
use backend_cpu::isa::Isa;
use backend_cpu::options::CompileOptions;
use backend_cpu::program::{States, Workspace, compile};
use backend_cpu::weights::{ParameterSource, Weights};
use half::bf16;
use ir::analysis::weight_only;
use ir::eval::{Tensor, Tensors, evaluate};
use ir::{ElementType, Graph, Op, Role, TensorType, Value};

/// The distance of neighbours in bf16, relative to them, at most.
const BF16_STEP: f64 = 1.0 / 128.0;

/// Parameters out of a map.
struct Map(BTreeMap<String, Tensor<f32>>);

impl ParameterSource for Map {
    fn parameter(
        &self,
        name: &str,
        _ty: &TensorType,
    ) -> Result<Cow<'_, [f32]>, Box<dyn std::error::Error + Send + Sync>> {
        self.0.get(name).map(|t| Cow::Borrowed(t.data.as_slice())).ok_or_else(|| format!("no {name}").into())
    }
}

/// Numbers between -1.5 and 1.5 that repeat in no pattern of the shapes.
fn noise(seed: &mut u64, elements: usize) -> Vec<f32> {
    (0..elements)
        .map(|_| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((*seed >> 40) as f32 / (1 << 24) as f32 - 0.5) * 3.0
        })
        .collect()
}

/// Numbers for every leaf of `graph`, those of bf16 leaves rounded: the same in f64 and in f32.
pub(crate) fn leaves(graph: &Graph) -> (Tensors<f64>, Tensors<f32>) {
    let mut seed = 7;
    let (mut wide, mut narrow) = (Tensors::<f64>::default(), Tensors::<f32>::default());
    for (_, node) in graph.nodes() {
        let mut data = noise(&mut seed, node.ty.elements());
        if node.ty.element == ElementType::Bf16 {
            data.iter_mut().for_each(|x| *x = bf16::from_f32(*x).to_f32());
        }
        let f64s = Tensor { ty: node.ty.clone(), data: data.iter().map(|&x| f64::from(x)).collect() };
        let f32s = Tensor { ty: node.ty.clone(), data };
        match &node.op {
            Op::Input { name, .. } => {
                wide.inputs.insert(name.clone(), f64s);
                narrow.inputs.insert(name.clone(), f32s);
            }
            Op::State { name, .. } => {
                wide.states.insert(name.clone(), f64s);
                narrow.states.insert(name.clone(), f32s);
            }
            Op::Parameter { name, .. } => {
                wide.parameters.insert(name.clone(), f64s);
                narrow.parameters.insert(name.clone(), f32s);
            }
            _ => {}
        }
    }
    (wide, narrow)
}

/// Runs `graph` on every instruction set, with each algorithm if it has convolutions, and compares
/// each output with the evaluator in f64. Where a result is rounded to bf16, a few may fall to the
/// other side; where more is computed with what was rounded, all may be a little apart.
pub(crate) fn check(graph: &Graph) {
    let (wide, narrow) = leaves(graph);
    let expected = evaluate(graph, &wide).expect("the evaluator runs it");
    // Weights are rounded before anything is computed with them.
    let weights = weight_only(graph);
    let rounds = |value: Value| !weights[value.index()] && !graph.op(value).is_leaf();
    let narrow_values = graph.nodes().filter(|(_, node)| node.ty.element == ElementType::Bf16);
    let roundings = narrow_values.filter(|(value, _)| rounds(*value)).count();
    let mut algorithms = vec![None];
    if graph.nodes().any(|(_, node)| matches!(node.op, Op::Convolution { .. })) {
        algorithms.extend(Algorithm::ALL.map(Some));
    }
    for (isa, &algorithm) in Isa::supported().into_iter().flat_map(|isa| algorithms.iter().map(move |a| (isa, a))) {
        for threads in [1, 2] {
            let found = run(graph, CompileOptions::from(isa).with_algorithm(algorithm), threads, &narrow);
            for ((output, expected), found) in expected.iter().zip(&found) {
                let largest = expected.data.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
                let bound = 4e-6 * (2.0 + largest);
                let mut other_side = 0;
                for (i, (e, f)) in expected.data.iter().zip(found.iter()).enumerate() {
                    let difference = (e - f64::from(*f)).abs();
                    let rounding = match roundings {
                        0 => 0.0,
                        1 => BF16_STEP * e.abs(),
                        _ => 2.0 * BF16_STEP * (1.0 + largest),
                    };
                    other_side += usize::from(difference > bound);
                    assert!(
                        difference <= bound + rounding,
                        "{isa}, {algorithm:?}, {threads} threads, {} {:?} at {i}: expected {e}, found {f}\n{}",
                        output.role.word(),
                        output.name,
                        ir::text::print(graph)
                    );
                }
                assert!(
                    roundings > 1 || other_side <= 2 + expected.data.len() / 50,
                    "{isa}, {algorithm:?}: {other_side} of {} round to another bf16\n{}",
                    expected.data.len(),
                    ir::text::print(graph)
                );
            }
        }
    }
}

/// Every output in the graph's order.
pub(crate) fn run(graph: &Graph, options: CompileOptions<'_>, threads: usize, tensors: &Tensors<f32>) -> Vec<Vec<f32>> {
    let program = Arc::new(compile(graph, options).unwrap_or_else(|e| panic!("{e}\n{}", ir::text::print(graph))));
    let weights = Weights::new(Arc::new(Map(tensors.parameters.clone())));
    let executable = program.bind(&weights).expect("weights are there");
    let inputs: Vec<&[f32]> = program.inputs().map(|port| tensors.inputs[&port.name].data.as_slice()).collect();
    let mut states = States::new();
    for port in program.states() {
        states.insert(port.name.clone(), bytes(&tensors.states[&port.name].data, port.ty.element));
    }
    let mut workspace = Workspace::new(threads).unwrap();
    let outputs =
        executable.run(&mut workspace, &inputs, states, &mut |_, _| ControlFlow::Continue(())).expect("it runs");
    let (mut results, mut taps) = (outputs.results.into_iter(), outputs.taps.into_iter());
    graph
        .outputs()
        .iter()
        .map(|output| match output.role {
            Role::Result => results.next().unwrap().to_vec(),
            Role::Tap => taps.next().unwrap().to_vec(),
            Role::State => numbers(&outputs.states[&output.name], graph.ty(output.value).element),
        })
        .collect()
}

/// The numbers in memory, as elements of this type.
fn bytes(numbers: &[f32], element: ElementType) -> AlignedBuffer<u8> {
    let mut buffer = AlignedBuffer::zeroed(numbers.len() * element.bytes()).unwrap();
    for (to, number) in buffer.chunks_exact_mut(element.bytes()).zip(numbers) {
        match element {
            ElementType::Bf16 => to.copy_from_slice(&bf16::from_f32(*number).to_ne_bytes()),
            _ => to.copy_from_slice(&number.to_ne_bytes()),
        }
    }
    buffer
}

/// The reverse of [`bytes`].
fn numbers(bytes: &[u8], element: ElementType) -> Vec<f32> {
    let number = |bytes: &[u8]| match *bytes {
        [a, b] => bf16::from_ne_bytes([a, b]).to_f32(),
        [a, b, c, d] => f32::from_ne_bytes([a, b, c, d]),
        _ => unreachable!("elements of two or four bytes"),
    };
    bytes.chunks_exact(element.bytes()).map(number).collect()
}
