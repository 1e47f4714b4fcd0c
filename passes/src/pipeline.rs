//! The lists of passes, and running them.
//!
//! After every pass the graph's contract is checked ([`crate::contract`]); in debug builds the
//! verifier and the legality table ([`crate::legality`]) are asked as well. An error names the
//! pass.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ir::Graph;
use ir::verify::VerifyError;

use crate::legality::{self, LegalityError, Stage};
use crate::pass::{Pass, PassError};
use crate::{
    assign_precision, canonicalize, channel_last, commute_resize, contract, eliminate_common_subexpressions,
    eliminate_dead_code, fold_constants, fuse_bias, fuse_normalization, fuse_padding, fuse_residual,
};

/// Every pass, in the order of the alphabet.
pub const ALL: &[Pass] = &[
    assign_precision::PASS,
    canonicalize::PASS,
    channel_last::PASS,
    commute_resize::PASS,
    eliminate_common_subexpressions::PASS,
    eliminate_dead_code::PASS,
    fold_constants::PASS,
    fuse_bias::PASS,
    fuse_normalization::PASS,
    fuse_padding::PASS,
    fuse_residual::PASS,
];

/// What elements a step is computed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// f32 throughout.
    #[default]
    F32,
    /// Activations, states and convolution weights in bf16, sums and statistics in f32: see
    /// [`crate::assign_precision`].
    Bf16,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// The name, as it prints.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no precision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a precision: use f32 or bf16")]
pub struct ParsePrecisionError(pub String);

impl FromStr for Precision {
    type Err = ParsePrecisionError;

    fn from_str(text: &str) -> Result<Self, ParsePrecisionError> {
        Self::ALL.into_iter().find(|p| p.name() == text).ok_or_else(|| ParsePrecisionError(text.to_owned()))
    }
}

/// From the declared graph to fused ops.
const OPTIMIZE: &[Pass] = &[
    // What the model says, simply said.
    canonicalize::PASS,
    eliminate_common_subexpressions::PASS,
    // The layout of the kernels.
    channel_last::PASS,
    fold_constants::PASS,
    canonicalize::PASS,
    // Less work.
    commute_resize::PASS,
    // Fewer passes over memory.
    fuse_padding::PASS,
    fuse_bias::PASS,
    fuse_normalization::PASS,
    fuse_residual::PASS,
];

/// What the rewrites left.
const CLEAN_UP: &[Pass] = &[canonicalize::PASS, eliminate_common_subexpressions::PASS, eliminate_dead_code::PASS];

const CPU_F32: &[Pass] = &joined::<{ OPTIMIZE.len() + CLEAN_UP.len() }>(&[OPTIMIZE, CLEAN_UP]);
const CPU_BF16: &[Pass] =
    &joined::<{ OPTIMIZE.len() + 1 + CLEAN_UP.len() }>(&[OPTIMIZE, &[assign_precision::PASS], CLEAN_UP]);

/// The passes from the declared graph to what the CPU backend lowers, in order.
pub const fn cpu_pipeline(precision: Precision) -> &'static [Pass] {
    match precision {
        Precision::F32 => CPU_F32,
        Precision::Bf16 => CPU_BF16,
    }
}

/// The passes from the declared graph to what the StableHLO backend emits, in order: those of the
/// CPU. What differs is how ops are lowered.
pub const fn tpu_pipeline(precision: Precision) -> &'static [Pass] {
    cpu_pipeline(precision)
}

/// The lists one behind the other; `N` is the length of all.
const fn joined<const N: usize>(lists: &[&[Pass]]) -> [Pass; N] {
    let mut all = [eliminate_dead_code::PASS; N];
    let (mut count, mut list) = (0, 0);
    while list < lists.len() {
        let mut i = 0;
        while i < lists[list].len() {
            all[count] = lists[list][i];
            (count, i) = (count + 1, i + 1);
        }
        list += 1;
    }
    assert!(count == N);
    all
}

/// The pass called `name`.
pub fn find(name: &str) -> Option<&'static Pass> {
    ALL.iter().find(|pass| pass.name == name)
}

/// The part of `pipeline` up to and with the last pass called `name`; `None` when it has no such
/// pass. To stop after `n` passes, take `&pipeline[..n]`.
pub fn up_to<'a>(pipeline: &'a [Pass], name: &str) -> Option<&'a [Pass]> {
    pipeline.iter().rposition(|pass| pass.name == name).map(|last| &pipeline[..=last])
}

/// Why a pass cannot be left out of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaveOutError {
    /// The pipeline has no pass of this name.
    #[error("`{name}` is not a pass of this pipeline; those that can be left out are {}", removable.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// The names there are, but those of passes that are needed.
        removable: Vec<&'static str>,
    },
    /// What follows could not work on the graph.
    #[error(
        "`{name}` cannot be left out: it brings the graph to the stage {stage:?}, which what follows it is made for"
    )]
    Needed {
        /// The pass.
        name: &'static str,
        /// The stage that it establishes.
        stage: Stage,
    },
}

/// The names of the passes that `pipeline` can do without, each once, in order.
pub fn removable(pipeline: &[Pass]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for pass in pipeline.iter().filter(|pass| pass.establishes.is_none()) {
        if !names.contains(&pass.name) {
            names.push(pass.name);
        }
    }
    names
}

/// `pipeline` without every run of the passes called `names`.
///
/// # Errors
/// When there is no such pass, or no graph would reach its stage without it.
pub fn without(pipeline: &[Pass], names: &[impl AsRef<str>]) -> Result<Vec<Pass>, LeaveOutError> {
    for name in names.iter().map(AsRef::as_ref) {
        let stage = pipeline.iter().find(|pass| pass.name == name).map(|pass| (pass.name, pass.establishes));
        match stage {
            None => return Err(LeaveOutError::Unknown { name: name.to_owned(), removable: removable(pipeline) }),
            Some((name, Some(stage))) => return Err(LeaveOutError::Needed { name, stage }),
            Some((_, None)) => {}
        }
    }
    Ok(pipeline.iter().filter(|pass| names.iter().all(|name| name.as_ref() != pass.name)).copied().collect())
}

/// What went wrong, and in which pass.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("pass {name} (number {number} of the pipeline): {fault}")]
pub struct PipelineError {
    /// The pass.
    pub name: &'static str,
    /// Its place in the pipeline, from 1.
    pub number: usize,
    /// What went wrong.
    pub fault: PipelineFault,
}

/// What can go wrong in a pipeline.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PipelineFault {
    /// The pass failed.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// The pass changed what callers rely on.
    #[error("the graph's contract is broken: {0}")]
    Contract(String),
    /// The pass left a graph that is none.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The pass left an op that may not exist at this stage.
    #[error(transparent)]
    Legality(#[from] LegalityError),
}

/// Runs `pipeline` over `graph`; `observe` sees the graph behind each pass, with the pass and its
/// number from 1.
///
/// # Errors
/// What the first failing pass reports, or what is wrong with the graph it leaves.
pub fn run(
    pipeline: &[Pass],
    graph: &Graph,
    observe: &mut dyn FnMut(usize, &Pass, &Graph),
) -> Result<Graph, PipelineError> {
    let mut current = graph.clone();
    let mut stage = None;
    for (index, pass) in pipeline.iter().enumerate() {
        let number = index + 1;
        let fail = |fault| PipelineError { name: pass.name, number, fault };
        let next = (pass.run)(&current).map_err(|error| fail(error.into()))?;
        contract::check(&current, &next).map_err(|message| fail(PipelineFault::Contract(message)))?;
        stage = pass.establishes.or(stage);
        if cfg!(debug_assertions) {
            ir::verify::verify(&next).map_err(|error| fail(error.into()))?;
            if let Some(stage) = stage {
                legality::check(&next, stage).map_err(|error| fail(error.into()))?;
            }
        }
        log::debug!("{number}. {}: {} ops, then {}: {}", pass.name, current.len(), next.len(), op_counts(&next));
        observe(number, pass, &next);
        current = next;
    }
    Ok(current)
}

/// How many ops of each kind there are, such as `add 3, convolution 12`.
fn op_counts(graph: &Graph) -> String {
    let mut counts = BTreeMap::new();
    for (_, node) in graph.nodes() {
        *counts.entry(node.op.mnemonic()).or_insert(0usize) += 1;
    }
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::Builder;

    fn empty(_: &Graph) -> Result<Graph, PassError> {
        Ok(Builder::new("empty").finish())
    }

    #[test]
    fn an_error_names_the_pass() {
        let graph =
            ir::text::parse("graph @g {\n%0 = input {name = \"x\"} : tensor<2xf32>\nreturn result \"y\" = %0\n}");
        let broken = Pass { name: "broken", doc: "Drops everything.", run: empty, establishes: None };
        let error = run(&[canonicalize::PASS, broken], &graph.unwrap(), &mut |_, _, _| {}).unwrap_err();
        assert!(
            error.to_string().starts_with("pass broken (number 2 of the pipeline): the graph's contract"),
            "{error}"
        );
    }

    #[test]
    fn passes_and_precisions_are_found_by_name() {
        assert!(Precision::ALL.iter().all(|p| p.to_string().parse() == Ok(*p)));
        assert!(ALL.is_sorted_by_key(|pass| pass.name));
        assert!(ALL.iter().all(|pass| find(pass.name).is_some_and(|found| found.doc == pass.doc)));
        for pipeline in Precision::ALL.map(cpu_pipeline) {
            let last = pipeline.iter().rposition(|pass| pass.name == "canonicalize").unwrap();
            assert_eq!(up_to(pipeline, "canonicalize").unwrap().len(), last + 1);
            assert!(up_to(pipeline, "no-such-pass").is_none());
            assert!(pipeline.iter().all(|pass| find(pass.name).is_some()));
        }
    }

    #[test]
    fn what_a_stage_needs_stays() {
        let shorter = without(CPU_F32, &["canonicalize", "fuse-bias"]).unwrap();
        assert_eq!(shorter.len(), CPU_F32.len() - 4);
        assert!(without(CPU_F32, &["fuse-all"]).unwrap_err().to_string().contains("canonicalize, eliminate-common"));
        let needed = without(CPU_F32, &["channel-last"]).unwrap_err().to_string();
        assert!(needed.starts_with("`channel-last` cannot be left out") && needed.contains("ChannelLast"), "{needed}");
        assert!(removable(CPU_F32).iter().all(|name| without(CPU_F32, &[name]).is_ok()));
    }
}
