//! Placeholder.
use ir::Graph;
use crate::pass::{Pass, PassError};
/// The pass.
pub const PASS: Pass = Pass { name: "fold-constants", doc: "", run, establishes: None };
fn run(graph: &Graph) -> Result<Graph, PassError> { Ok(graph.clone()) }
