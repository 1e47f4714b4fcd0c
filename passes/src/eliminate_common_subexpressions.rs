//! Computes once what is computed twice: ops with the same operands, attributes and type become the
//! first of them.
//!
//! Leaves that callers bind by name (inputs, states, parameters) are unique already; equal
//! constants become one. Of two modules that compute the same, the first gives its path. Operands
//! of commutative ops are put in order by [`crate::canonicalize`], not here.
//!
//! ```text
//! %1 = group_statistics %0 {..} : tensor<1x32x2xf32> @ norm1      %1 = group_statistics %0 {..} : .. @ norm1
//! %2 = group_statistics %0 {..} : tensor<1x32x2xf32> @ norm2  ->  // every use of %2 reads %1
//! ```

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ir::{Graph, Op};

use crate::pass::{Pass, PassError};
use crate::rewriter::rewrite;

/// The pass.
pub const PASS: Pass = Pass {
    name: "eliminate-common-subexpressions",
    doc: "Makes one op of ops with the same operands, attributes and type.",
    run,
    establishes: None,
};

fn run(graph: &Graph) -> Result<Graph, PassError> {
    let mut seen = HashMap::new();
    rewrite(graph, |rewriter, op| {
        if matches!(op, Op::Input { .. } | Op::State { .. } | Op::Parameter { .. }) {
            return Ok(None);
        }
        match seen.entry(op.clone()) {
            Entry::Occupied(first) => Ok(Some(*first.get())),
            Entry::Vacant(place) => {
                let value = rewriter.emit(op.clone())?;
                Ok(Some(*place.insert(value)))
            }
        }
    })
}
