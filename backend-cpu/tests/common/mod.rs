//! Running a program on every instruction set and comparing it with the reference evaluator.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use backend_cpu::buffer::AlignedBuffer;
use backend_cpu::isa::Isa;
use backend_cpu::program::{CompileOptions, States, Workspace, compile};
use backend_cpu::tile::Algorithm;
use backend_cpu::weights::{ParameterSource, Weights};
use ir::eval::{Tensor, Tensors, evaluate};
use ir::{Graph, Op, Role, TensorType};

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

/// Runs `graph` on every instruction set, with each algorithm if it has convolutions, and compares each output with the
/// evaluator in f64.
pub(crate) fn check(graph: &Graph) {
    let mut seed = 7;
    let (mut wide, mut narrow) = (Tensors::<f64>::default(), Tensors::<f32>::default());
    for (_, node) in graph.nodes() {
        let data = noise(&mut seed, node.ty.elements());
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
    let expected = evaluate(graph, &wide).expect("the evaluator runs it");
    let mut algorithms = vec![None];
    if graph.nodes().any(|(_, node)| matches!(node.op, Op::Convolution { .. })) {
        algorithms.extend(Algorithm::ALL.map(Some));
    }
    for (isa, &algorithm) in Isa::supported().into_iter().flat_map(|isa| algorithms.iter().map(move |a| (isa, a))) {
        for threads in [1, 2] {
            let found = run(graph, CompileOptions { isa, algorithm }, threads, &narrow);
            for ((output, expected), found) in expected.iter().zip(&found) {
                let largest = expected.data.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
                let bound = 4e-6 * (2.0 + largest);
                for (i, (e, f)) in expected.data.iter().zip(found.iter()).enumerate() {
                    assert!(
                        (e - f64::from(*f)).abs() <= bound,
                        "{isa}, {algorithm:?}, {threads} threads, {} {:?} at {i}: expected {e}, found {f}\n{}",
                        output.role.word(),
                        output.name,
                        ir::text::print(graph)
                    );
                }
            }
        }
    }
}

/// Every output in the graph's order.
fn run(graph: &Graph, options: CompileOptions, threads: usize, tensors: &Tensors<f32>) -> Vec<Vec<f32>> {
    let program = Arc::new(compile(graph, options).unwrap_or_else(|e| panic!("{e}\n{}", ir::text::print(graph))));
    let weights = Weights::new(Arc::new(Map(tensors.parameters.clone())));
    let executable = program.bind(&weights).expect("weights are there");
    let inputs: Vec<&[f32]> = program.inputs().map(|port| tensors.inputs[&port.name].data.as_slice()).collect();
    let mut states = States::new();
    for port in program.states() {
        let mut buffer = AlignedBuffer::zeroed(port.ty.elements()).unwrap();
        buffer.copy_from_slice(&tensors.states[&port.name].data);
        states.insert(port.name.clone(), buffer);
    }
    let mut workspace = Workspace::new(threads).unwrap();
    let mut outputs =
        executable.run(&mut workspace, &inputs, states, &mut |_, _| ControlFlow::Continue(())).expect("it runs");
    let (mut results, mut taps) = (outputs.results.into_iter(), outputs.taps.into_iter());
    graph
        .outputs()
        .iter()
        .map(|output| match output.role {
            Role::Result => results.next().unwrap().to_vec(),
            Role::Tap => taps.next().unwrap().to_vec(),
            Role::State => outputs.states.remove(&output.name).unwrap().to_vec(),
        })
        .collect()
}
