//! A declared step on its way to native code, with errors in this package's words. What each stage
//! does is in `passes` and the backends.

use std::collections::HashMap;
use std::sync::Arc;

use backend_cpu::options::{Choices, CompileOptions};
use backend_cpu::program::{self, Program};
use backend_cpu::requirements::{Requirements, requirements};
use backend_cpu::target::Target;
use backend_tpu_stablehlo::{EmitOptions, Module, emit};
use frontend::Step;
use ir::Graph;
use passes::{Pass, pipeline};

use crate::error::{Error, Result};

/// Where a fault of code generation is.
const BACKEND: &str = "the CPU backend";

/// The code of one kernel of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelCode {
    /// Its name, which no other kernel of the step has.
    pub name: String,
    /// How often the step calls it.
    pub calls: usize,
    /// Cranelift's intermediate form.
    pub clif: String,
    /// Assembly.
    pub assembly: String,
}

/// What planning has found of the steps of a clip, for native code.
pub(crate) struct NativeSteps {
    /// The step whose algorithms the others take.
    pub(crate) leading: Step,
    /// The algorithms of all steps: where they differed, so would the form of weights, and each
    /// would be kept.
    pub(crate) choices: Choices,
    /// Final graphs, of steps without other taps than the options ask for.
    pub(crate) graphs: HashMap<Step, Arc<Graph>>,
}

/// Runs `pipeline`, or a part of one, over the graph of `step`.
///
/// # Errors
/// [`Error::Internal`]: a pass failed.
pub fn optimize(step: &Step, graph: &Graph, pipeline: &[Pass]) -> Result<Graph> {
    pipeline::run(pipeline, graph, &mut |_, _, _| {}).map_err(|cause| Error::internal("the passes", step, &cause))
}

/// Compiles the final graph of `step`.
///
/// # Errors
/// [`Error::Internal`]: the graph has an op without a kernel, or code generation failed.
pub fn compile<'a>(step: &Step, graph: &Graph, options: impl Into<CompileOptions<'a>>) -> Result<Program> {
    program::compile(graph, options).map_err(|cause| Error::internal(BACKEND, step, &cause))
}

/// The algorithms that the final graph of `step` gets for its convolutions.
///
/// # Errors
/// [`Error::Internal`]: the graph has an op without a kernel.
pub fn choices<'a>(step: &Step, graph: &Graph, options: impl Into<CompileOptions<'a>>) -> Result<Choices> {
    program::choices(graph, options.into()).map_err(|cause| Error::internal(BACKEND, step, &cause))
}

/// The StableHLO module of the final graph of `step`.
///
/// # Errors
/// [`Error::Internal`]: the graph has an op that cannot be written.
pub fn stablehlo(step: &Step, graph: &Graph, options: &EmitOptions) -> Result<Module> {
    emit(graph, options).map_err(|cause| Error::internal("the StableHLO backend", step, &cause))
}

/// What the final graph of `step` takes of memory.
///
/// # Errors
/// [`Error::Internal`]: the graph has an op without a kernel.
pub fn memory<'a>(step: &Step, graph: &Graph, options: impl Into<CompileOptions<'a>>) -> Result<Requirements> {
    requirements(graph, options.into()).map_err(|cause| Error::internal(BACKEND, step, &cause))
}

/// The code of every distinct kernel of `step`, from its final graph, in the order of their first
/// calls.
///
/// # Errors
/// As [`compile`].
pub fn kernels(step: &Step, graph: &Graph, target: Target) -> Result<Vec<KernelCode>> {
    let listings = program::listings(graph, target).map_err(|cause| Error::internal(BACKEND, step, &cause))?;
    let calls = compile(step, graph, target)?.kernels();
    let code = listings.into_iter().zip(calls);
    Ok(code.map(|(l, (_, calls))| KernelCode { name: l.name, calls, clif: l.clif, assembly: l.assembly }).collect())
}
