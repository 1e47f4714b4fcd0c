//! What a pass is. The passes themselves are in modules of their own; the lists of them are in
//! [`crate::pipeline`].

use ir::builder::BuildError;
use ir::graph::of_module;
use ir::{Graph, Path, TensorType};

use crate::legality::Stage;

/// A named function from a graph to a graph of the same meaning.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// The name on the command line and in filetests, such as `fuse-bias`.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub doc: &'static str,
    /// The function. It leaves the old graph as it is.
    pub run: fn(&Graph) -> Result<Graph, PassError>,
    /// The stage that the graph has reached behind this pass, where it reaches one.
    pub establishes: Option<Stage>,
}

/// Why a pass could not do its work.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PassError {
    /// A rewrite made an op that breaks a constraint: the pass is wrong.
    #[error("a rewrite made an op that breaks a rule: {0}")]
    Build(#[from] BuildError),
    /// A rewrite put a value of another type in the place of a value: the pass is wrong.
    #[error("a rewrite of {op}{} changed its type from {} to {}", of_module(path), change[0], change[1])]
    TypeChanged {
        /// The op in the old graph.
        op: &'static str,
        /// Its module.
        path: Path,
        /// The type in the old graph and in the new one.
        change: Box<[TensorType; 2]>,
    },
}
