//! Every way to compute a program, each compared with the evaluator on the program as it was
//! declared.

use std::cell::OnceCell;
use std::fmt;

use backend_cpu::blocking::Algorithm;
use backend_cpu::isa::Isa;
use backend_cpu::options::CompileOptions;
use backend_cpu::target::Target;
use backend_tpu_stablehlo::EmitOptions;
use backend_tpu_stablehlo::pjrt::Client;
use ir::eval::{Bindings, Leaf, LeafKind, Tensor, Tensors, evaluate};
use ir::{ElementType, Graph, Op};
use passes::pipeline::{self, removable, without};
use passes::{Precision, cpu_pipeline, tpu_pipeline};
use tests::evaluation::{RandomLeaves, as_declared};
use tests::rounding::{Reference, Rounding};
use tests::targets;

use crate::{native, plugin};

/// How much more exact f64 is than the f32 that bounds are made for, with some room.
const F64_IN_F32: f64 = (1_u64 << 28) as f64;

/// One way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Way {
    /// What the passes make of activations.
    pub precision: Precision,
    /// The pass that is left out of the pipeline.
    pub without: Option<&'static str>,
    /// What computes the program that the passes leave.
    pub computed: Computed,
}

/// What computes a program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Computed {
    /// The evaluator, in f64.
    Evaluator,
    /// Native code: with which algorithm for convolutions (else the one of least cost), on how many
    /// threads.
    Native(Target, Option<Algorithm>, usize),
    /// StableHLO on a plugin.
    Plugin,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.computed {
            Computed::Evaluator => write!(f, "the evaluator behind the passes, in {}", self.precision)?,
            Computed::Native(target, algorithm, threads) => {
                write!(f, "native code for {target} in {} on {threads} threads", self.precision)?;
                algorithm.iter().try_for_each(|algorithm| write!(f, ", convolutions by {algorithm:?}"))?;
            }
            Computed::Plugin => write!(f, "StableHLO on the plugin, in {}", self.precision)?,
        }
        self.without.iter().try_for_each(|pass| write!(f, ", without {pass}"))
    }
}

/// The ways of a program through the evaluator and native code. Which algorithms are forced and on
/// how many threads depends on `seed`, where not `every` one is wanted.
pub(crate) fn ways(graph: &Graph, seed: u64, every: bool) -> Vec<Way> {
    let seed = seed as usize;
    let convolves = graph.nodes().any(|(_, node)| matches!(node.op, Op::Convolution { .. }));
    let mut algorithms: Vec<Option<Algorithm>> = Algorithm::ALL.into_iter().map(Some).collect();
    if !every {
        algorithms = vec![algorithms[seed % algorithms.len()]];
    }
    if !convolves {
        algorithms.clear();
    }
    algorithms.push(None);
    let mut all = vec![];
    for precision in Precision::ALL {
        let whole = |computed| Way { precision, without: None, computed };
        all.push(whole(Computed::Evaluator));
        for (place, isa) in Isa::supported().into_iter().enumerate() {
            let threads = 1 + (seed + place) % 2;
            all.extend(algorithms.iter().map(|algorithm| whole(Computed::Native(isa.into(), *algorithm, threads))));
            let others = targets(precision).into_iter().filter(|other| other.isa == isa && *other != isa.into());
            all.extend(others.map(|other| whole(Computed::Native(other, None, threads))));
        }
        let mut left_out = removable(cpu_pipeline(precision));
        if !every {
            left_out = vec![left_out[seed % left_out.len()]];
        }
        for (place, pass) in left_out.into_iter().enumerate() {
            let isas = Isa::supported();
            let native = Computed::Native(isas[(seed + place) % isas.len()].into(), None, 2);
            all.extend([Computed::Evaluator, native].map(|computed| Way { without: Some(pass), ..whole(computed) }));
        }
    }
    all
}

/// The ways of a program through the plugin.
pub(crate) fn plugin_ways() -> Vec<Way> {
    Precision::ALL.map(|precision| Way { precision, without: None, computed: Computed::Plugin }).to_vec()
}

/// A program, with what it computes when nothing is done to it.
pub(crate) struct Declared<'a> {
    graph: &'a Graph,
    seed: u64,
    in_f32: OnceCell<Option<Reference>>,
    in_bf16: OnceCell<Option<Reference>>,
}

impl<'a> Declared<'a> {
    pub(crate) fn new(graph: &'a Graph, seed: u64) -> Self {
        Self { graph, seed, in_f32: OnceCell::new(), in_bf16: OnceCell::new() }
    }

    fn reference(&self, precision: Precision) -> Result<Option<&Reference>, String> {
        let (cell, rounding) = match precision {
            Precision::F32 => (&self.in_f32, Rounding::AsDeclared),
            Precision::Bf16 => (&self.in_bf16, Rounding::ToBf16),
        };
        if cell.get().is_none() {
            let made = Reference::of(self.graph, self.seed, rounding)?;
            // Nobody else has filled it meanwhile.
            let _ = cell.set(made);
        }
        Ok(cell.get().and_then(Option::as_ref))
    }

    /// Computes the program one way. Whether there was something to compare: numbers may be too
    /// large for f32.
    ///
    /// # Errors
    /// It cannot be computed, or something else comes out.
    pub(crate) fn check(&self, way: &Way, client: Option<&Client>) -> Result<bool, String> {
        let Some(expected) = self.reference(way.precision)? else { return Ok(false) };
        let leaves = RandomLeaves { seed: self.seed };
        let list = match way.computed {
            Computed::Plugin => tpu_pipeline(way.precision),
            _ => cpu_pipeline(way.precision),
        };
        let left_out: Vec<&str> = way.without.into_iter().collect();
        let list = without(list, &left_out).map_err(|error| error.to_string())?;
        let lowered = pipeline::run(&list, self.graph, &mut |_, _, _| {}).map_err(|error| error.to_string())?;
        let found: Vec<Vec<f64>> = match way.computed {
            Computed::Evaluator => {
                let outputs = evaluate::<f64>(&lowered, &leaves).map_err(|error| error.to_string())?;
                outputs.into_iter().map(|(_, tensor)| tensor.data).collect()
            }
            Computed::Native(target, algorithm, threads) => {
                let options = CompileOptions::from(target).with_algorithm(algorithm);
                wide(native::run(&lowered, options, threads, &tensors(&lowered, leaves)?))
            }
            Computed::Plugin => {
                let client = client.ok_or("no plugin")?;
                wide(plugin::run(client, &lowered, &EmitOptions::default(), &leaves))
            }
        };
        // Where nothing is rounded to bf16, the evaluator has all the digits of f64.
        let exact =
            way.computed == Computed::Evaluator && lowered.nodes().all(|(_, node)| node.ty.element == ElementType::F32);
        let outputs = lowered.outputs().iter().zip(found).zip(expected.outputs());
        let found = outputs.map(|((output, data), (_, declared))| {
            let tensor = Tensor { ty: lowered.ty(output.value).clone(), data };
            as_declared(output, &declared.ty, tensor)
        });
        expected.compare(&found.collect::<Result<Vec<_>, _>>()?, if exact { F64_IN_F32 } else { 1.0 })?;
        Ok(true)
    }
}

fn wide(outputs: Vec<Vec<f32>>) -> Vec<Vec<f64>> {
    outputs.into_iter().map(|data| data.into_iter().map(f64::from).collect()).collect()
}

/// The leaves of a program by name.
fn tensors(graph: &Graph, leaves: RandomLeaves) -> Result<Tensors<f32>, String> {
    let mut all = Tensors::default();
    for leaf in graph.nodes().filter_map(|(_, node)| Leaf::of(&node.op)) {
        let tensor: Tensor<f32> = leaves.tensor(leaf).ok_or("no such leaf")?.into_owned();
        let of_kind = match leaf.kind {
            LeafKind::Input => &mut all.inputs,
            LeafKind::State => &mut all.states,
            LeafKind::Parameter => &mut all.parameters,
        };
        of_kind.insert(leaf.name.to_owned(), tensor);
    }
    Ok(all)
}
