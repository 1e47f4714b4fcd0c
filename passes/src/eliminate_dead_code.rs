//! Removes every op that no output depends on.
//!
//! Inputs and states stay, used or not: they are what callers bind ([`crate::contract`]).
//! Parameters and constants that nothing reads go.
//!
//! ```text
//! %0 = input {name = "x"} : tensor<2xf32>             %0 = input {name = "x"} : tensor<2xf32>
//! %1 = silu %0 : tensor<2xf32>                   ->   return result "y" = %0
//! return result "y" = %0
//! ```

use ir::analysis::reachable;
use ir::{Graph, Op};

use crate::pass::{Pass, PassError};
use crate::rewriter::Rewriter;

/// The pass.
pub const PASS: Pass = Pass {
    name: "eliminate-dead-code",
    doc: "Removes every op that no output depends on; inputs and states stay.",
    run,
    establishes: None,
};

fn run(graph: &Graph) -> Result<Graph, PassError> {
    let live = reachable(graph);
    let mut rewriter = Rewriter::new(graph);
    for (value, node) in graph.nodes() {
        if live[value.index()] || matches!(node.op, Op::Input { .. } | Op::State { .. }) {
            rewriter.at(&node.path);
            let new = rewriter.emit(rewriter.translate(&node.op))?;
            rewriter.map_next(new);
        } else {
            rewriter.drop_next();
        }
    }
    Ok(rewriter.finish())
}
