//! Single steps, timed call by call: no clip and no tiles, with input and states made up.
//!
//! What is measured is what [`tessera::Vae::decode`] runs: the same passes, kernels and threads,
//! unless a [`Variant`] says otherwise. What the times mean is for the caller to say;
//! [`crate::roofline`] draws them.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use backend_cpu::blocking::Algorithm;
use backend_cpu::buffer::AlignedBuffer;
use backend_cpu::ceiling;
use backend_cpu::inspect::Inspection;
use backend_cpu::options::CompileOptions;
use backend_cpu::program::{Executable, Program, RunError, States, Workspace};
use backend_cpu::target::Target;
use backend_cpu::weights::Weights;
use frontend::{Autoencoder, Step, Taps, declare};
use half::{bf16, f16};
use ir::ElementType;
use passes::{Pass, Precision, cpu_pipeline};

use crate::loaded_weights::{LoadedWeights, uniform};
use tessera::amount::bytes;
use tessera::lowering;
use tessera::memory::available_bytes;
use tessera::options::RunOptions;
use tessera::{Error, Result};

/// What is done otherwise than by default.
#[derive(Debug, Clone)]
pub struct Variant {
    /// The passes, in order; see [`passes::pipeline::without`].
    pub passes: Vec<Pass>,
    /// The one algorithm for convolutions that it can compute.
    pub algorithm: Option<Algorithm>,
}

impl Default for Variant {
    /// Nothing.
    fn default() -> Self {
        Variant { passes: cpu_pipeline(Precision::F32).to_vec(), algorithm: None }
    }
}

/// What this machine reaches at most with as many threads, measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceilings {
    /// Floating-point operations a second of a contraction in the first-level cache.
    pub flops: f64,
    /// Bytes a second from and to memory.
    pub bandwidth: f64,
}

impl Ceilings {
    /// The least seconds for so much arithmetic and traffic: those of whichever takes longer (the
    /// roofline model of Williams, Waterman and Patterson, 2009).
    pub fn least_seconds(&self, flops: f64, bytes: f64) -> f64 {
        (flops / self.flops).max(bytes / self.bandwidth)
    }
}

/// Seconds from the declaration of a step to its first run, by stage.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PrepareSeconds {
    /// Declaring the graph.
    pub declare: f64,
    /// The passes.
    pub passes: f64,
    /// Scheduling and code generation.
    pub codegen: f64,
    /// Packing the weights that no step before has packed.
    pub pack: f64,
}

/// A step that is ready to run.
pub struct Prepared {
    step: Step,
    executable: Executable,
    inputs: Vec<Vec<f32>>,
    states: Vec<(String, Vec<u8>)>,
    /// What it cost.
    pub seconds: PrepareSeconds,
}

impl Prepared {
    /// The compiled step.
    pub fn program(&self) -> &Program {
        self.executable.program()
    }
}

/// How long one run of a step took.
#[derive(Debug, Clone, PartialEq)]
pub struct RunTimes {
    /// From the call to its return, in seconds.
    pub seconds: f64,
    /// Of each of [`Program::calls`].
    pub calls: Vec<f64>,
}

/// Steps of one model, and what runs them.
pub struct Bench<'a> {
    model: &'a dyn Autoencoder,
    weights: Weights,
    workspace: Workspace,
    target: Target,
    threads: usize,
}

impl<'a> Bench<'a> {
    /// No steps yet. Of `options`, threads and instruction set count.
    ///
    /// # Errors
    /// [`Error::Threads`], [`Error::Target`].
    pub fn new(model: &'a dyn Autoencoder, weights: LoadedWeights, options: &RunOptions) -> Result<Self> {
        let (threads, target) = (options.threads()?, options.target()?);
        let workspace =
            Workspace::new(threads).map_err(|cause| Error::Threads { threads, problem: cause.to_string() })?;
        Ok(Bench { model, weights: Weights::new(Arc::new(weights)), workspace, target, threads })
    }

    /// Threads.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The instruction set.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Bytes of all weights that were packed.
    pub fn weight_bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Measures what the machine reaches at most; takes about a second.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn ceilings(&self) -> Result<Ceilings> {
        let memory = |cause: backend_cpu::buffer::BufferError| Error::Memory {
            step: "measuring the machine".into(),
            problem: cause.to_string(),
        };
        let pool = self.workspace.pool();
        Ok(Ceilings {
            flops: ceiling::peak_flops(self.target.isa, pool).map_err(memory)?,
            bandwidth: ceiling::memory_bandwidth(pool).map_err(memory)?,
        })
    }

    /// Compiles `step` and packs its weights.
    ///
    /// # Errors
    /// [`Error::Declare`]; [`Error::Memory`] if it takes more than is available;
    /// [`Error::Internal`] if a variant's graph has no kernel.
    pub fn prepare(&self, step: &Step, variant: &Variant) -> Result<Prepared> {
        let mut last = Instant::now();
        let mut lap = || std::mem::replace(&mut last, Instant::now()).elapsed().as_secs_f64();
        let declared = declare(self.model, step, &Taps::None)?;
        let declare = lap();
        let graph = lowering::optimize(step, &declared, &variant.passes)?;
        let passes = lap();
        self.check_memory(step, &graph)?;
        lap();
        let options = CompileOptions::from(self.target).with_algorithm(variant.algorithm);
        let program = Arc::new(lowering::compile(step, &graph, options)?);
        let codegen = lap();
        let executable = self.workspace.pool().install(|| program.bind(&self.weights));
        let executable = executable.map_err(|cause| Error::binding(step, cause))?;
        let pack = lap();
        let inputs = program.inputs().map(|port| uniform(0, port.ty.elements()).collect()).collect();
        let states = program.states().enumerate();
        let states = states.map(|(number, port)| {
            let values = uniform(number as u64 + 1, port.ty.elements());
            let bytes = match port.ty.element {
                ElementType::Bf16 => values.flat_map(|value| bf16::from_f32(value).to_ne_bytes()).collect(),
                ElementType::F16 => values.flat_map(|value| f16::from_f32(value).to_ne_bytes()).collect(),
                ElementType::F32 => values.flat_map(f32::to_ne_bytes).collect(),
                ElementType::I8 => values.flat_map(|value| (value as i8).to_ne_bytes()).collect(),
                ElementType::I32 => values.flat_map(|value| (value as i32).to_ne_bytes()).collect(),
            };
            (port.name.clone(), bytes)
        });
        let states = states.collect();
        let seconds = PrepareSeconds { declare, passes, codegen, pack };
        Ok(Prepared { step: *step, executable, inputs, states, seconds })
    }

    /// Refuses a step for which there is not enough memory.
    fn check_memory(&self, step: &Step, graph: &ir::Graph) -> Result<()> {
        let needs = lowering::memory(step, graph, self.target)?;
        let weights = needs.weights.values().copied().fold(0, usize::saturating_add);
        let parts =
            [needs.arena, needs.scratch * self.threads, 2 * needs.inputs, needs.results, 3 * needs.states, weights];
        let needed = parts.into_iter().fold(0, usize::saturating_add).saturating_sub(self.weight_bytes()) as u64;
        match available_bytes() {
            Some(available) if needed > available => {
                let problem = format!("{} are needed, {} are available", bytes(needed), bytes(available));
                Err(Error::Memory { step: step.to_string(), problem })
            }
            _ => Ok(()),
        }
    }

    /// Runs a step; `observe` is told the share that is done, and may stop it.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if `observe` breaks; [`Error::Memory`].
    pub fn run(&mut self, prepared: &Prepared, observe: &mut dyn FnMut(f64) -> ControlFlow<()>) -> Result<RunTimes> {
        let Prepared { step, executable, inputs, states, .. } = prepared;
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let memory = |cause: &dyn std::fmt::Display| Error::memory(step, cause);
        let copy = |(name, values): &(String, Vec<u8>)| {
            let mut buffer = AlignedBuffer::<u8>::zeroed(values.len()).map_err(|cause| memory(&cause))?;
            buffer.copy_from_slice(values);
            Ok((name.clone(), buffer))
        };
        let states: States = states.iter().map(copy).collect::<Result<_>>()?;
        let mut calls = vec![0.0; executable.program().calls().len()];
        let started = Instant::now();
        let run = executable.run_inspected(
            &mut self.workspace,
            &inputs,
            states,
            &mut |share, _| observe(share),
            Inspection { timed: Some(&mut |call, time| calls[call] = time.as_secs_f64()), ..Inspection::default() },
        );
        let seconds = started.elapsed().as_secs_f64();
        run.map_err(|cause| match cause {
            RunError::Interrupted => Error::Interrupted,
            RunError::Memory(cause) => memory(&cause),
            cause => Error::internal("running", step, &cause),
        })?;
        Ok(RunTimes { seconds, calls })
    }
}

/// The middle of some numbers, or the mean of the two in the middle; 0 of none.
pub fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => (sorted[even / 2 - 1] + sorted[even / 2]) / 2.0,
    }
}

/// The median run of several: of the whole and of each call by itself.
pub fn median_run(runs: &[RunTimes]) -> RunTimes {
    let calls = runs.first().map_or(0, |run| run.calls.len());
    RunTimes {
        seconds: median(runs.iter().map(|run| run.seconds)),
        calls: (0..calls).map(|call| median(runs.iter().map(|run| run.calls[call]))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use frontend::StepKind;
    use passes::pipeline::{removable, without};

    use super::*;
    use tessera::demo;

    #[test]
    fn medians() {
        assert_eq!([median([]), median([3.0]), median([4.0, 1.0, 2.0]), median([1.0, 4.0])], [0.0, 3.0, 2.0, 2.5]);
        let run = |seconds| RunTimes { seconds, calls: vec![seconds / 2.0, 0.0] };
        assert_eq!(median_run(&[run(3.0), run(1.0), run(2.0)]), run(2.0));
    }

    #[test]
    fn the_slower_of_arithmetic_and_traffic_counts() {
        let ceilings = Ceilings { flops: 100.0, bandwidth: 10.0 };
        assert_eq!([ceilings.least_seconds(50.0, 1.0), ceilings.least_seconds(50.0, 20.0)], [0.5, 2.0]);
    }

    #[test]
    fn every_step_runs_without_any_pass_that_can_be_left_out() {
        let model = demo::model().unwrap();
        for kind in StepKind::ALL {
            let weights = LoadedWeights::random(&*model, kind.half).unwrap();
            let options = RunOptions::default().with_threads(2);
            let mut bench = Bench::new(&*model, weights, &options).unwrap();
            let [height, width] = if kind.half == frontend::Half::Decoder { [2, 3] } else { [16, 16] };
            let step = Step { kind, batch: 1, frames: 3, height, width };
            let pipeline = cpu_pipeline(Precision::F32);
            for name in [None].into_iter().chain(removable(pipeline).into_iter().map(Some)) {
                let passes = without(pipeline, name.as_slice()).unwrap();
                let variant = Variant { passes, algorithm: None };
                let prepared = match bench.prepare(&step, &variant) {
                    Ok(prepared) => prepared,
                    Err(error) => panic!("{kind} without {name:?}: {error}"),
                };
                let times = bench.run(&prepared, &mut |_| ControlFlow::Continue(())).unwrap();
                assert_eq!(times.calls.len(), prepared.program().calls().len());
                assert!(times.calls.iter().sum::<f64>() <= times.seconds);
            }
        }
    }
}
