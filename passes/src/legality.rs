//! Which ops and layouts may exist at which stage: the table that the pipeline checks after every pass in debug builds.

use std::fmt;

use ir::analysis::weight_only;
use ir::{Graph, Layout, Op, Role, Value};

/// How far a graph has come on its way to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// As the frontend declares it: channel-first, one op for each thing the model says.
    Declared,
    /// Videos and weights are channel-last; transposes stand at the borders alone.
    ChannelLast,
    /// Every normalisation is taken apart into statistics and the fused op: what a backend lowers.
    Fused,
}

/// What may exist at a stage.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The stage.
    pub stage: Stage,
    /// Ops that may not exist.
    pub absent: &'static [&'static str],
    /// Layouts of activations. At the borders (inputs, results, taps, and the transposes next to them) and in what is
    /// computed of parameters alone, any layout may stand.
    pub layouts: &'static [Layout],
}

/// What may exist, for every stage.
pub const TABLE: &[Rules] = &[
    Rules {
        stage: Stage::Declared,
        absent: &["group_statistics", "normalize"],
        layouts: &[Layout::Plain, Layout::Ncthw],
    },
    Rules { stage: Stage::ChannelLast, absent: &[], layouts: &[Layout::Plain, Layout::Nthwc] },
    Rules { stage: Stage::Fused, absent: &["group_norm"], layouts: &[Layout::Plain, Layout::Nthwc] },
];

/// Ops that may not exist at a stage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct LegalityError {
    /// The stage.
    pub stage: Stage,
    /// Each op, printed, and why it may not exist.
    pub faults: Vec<String>,
}

impl fmt::Display for LegalityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ops that may not exist at stage {:?}:", self.stage)?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

/// Checks a graph against the table.
///
/// # Errors
/// All ops that may not exist, each with the reason.
pub fn check(graph: &Graph, stage: Stage) -> Result<(), LegalityError> {
    let rules = TABLE.iter().find(|rules| rules.stage == stage).expect("the table has every stage");
    let weights = weight_only(graph);
    let leaves_only = only_left(graph);
    let mut faults = Vec::new();
    for (value, node) in graph.nodes() {
        let mut fault = |reason: String| faults.push(format!("{}\n    ^ {reason}", ir::text::print_node(graph, value)));
        if rules.absent.contains(&node.op.mnemonic()) {
            fault(format!("{} may not exist here", node.op.mnemonic()));
        }
        if weights[value.index()] || matches!(node.op, Op::Input { .. }) {
            continue;
        }
        if let Op::Transpose { input, .. } = &node.op {
            let behind_input = matches!(graph.op(*input), Op::Input { .. });
            if !behind_input && !leaves_only[value.index()] {
                fault("a transpose may stand behind an input or in front of a result or tap alone".to_owned());
            }
            if leaves_only[value.index()] {
                continue;
            }
        }
        if !rules.layouts.contains(&node.ty.layout) {
            fault(format!("an activation may not be {} here", node.ty.layout.name()));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(LegalityError { stage, faults }) }
}

/// By value: whether it is a result or tap and nothing else reads it.
fn only_left(graph: &Graph) -> Vec<bool> {
    let mut left = vec![false; graph.len()];
    for output in graph.outputs() {
        left[output.value.index()] |= output.role != Role::State;
    }
    let mut forbid = |value: Value| left[value.index()] = false;
    for (_, node) in graph.nodes() {
        node.op.operands().into_iter().for_each(&mut forbid);
    }
    graph.outputs().iter().filter(|o| o.role == Role::State).for_each(|o| forbid(o.value));
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(stage: Stage, body: &str) -> usize {
        let graph = ir::text::parse(&format!("graph @g {{\n{body}\n}}")).unwrap();
        check(&graph, stage).map_or_else(|error| error.faults.len(), |()| 0)
    }

    #[test]
    fn transposes_stand_at_the_borders() {
        let border = r#"%0 = input {name = "x"} : tensor<1x2x3x4x5xf32, ncthw>
            %1 = transpose %0 {permutation = [0, 2, 3, 4, 1]} : tensor<1x3x4x5x2xf32, nthwc>
            %2 = silu %1 : tensor<1x3x4x5x2xf32, nthwc>
            %3 = transpose %2 {permutation = [0, 4, 1, 2, 3]} : tensor<1x2x3x4x5xf32, ncthw>
            return result "y" = %3"#;
        assert_eq!(faults(Stage::ChannelLast, border), 0);
        let inside = format!("{border}\n%4 = silu %3 : tensor<1x2x3x4x5xf32, ncthw>");
        assert_eq!(faults(Stage::ChannelLast, &inside), 3);
    }

    #[test]
    fn ops_belong_to_stages() {
        let norm = r#"%0 = input {name = "x"} : tensor<1x3x4x5x2xf32, nthwc>
            %1 = parameter {name = "w"} : tensor<2xf32>
            %2 = group_norm %0, %1, %1 {groups = 2, epsilon = 1e-6} : tensor<1x3x4x5x2xf32, nthwc>
            return result "y" = %2"#;
        assert_eq!(faults(Stage::ChannelLast, norm), 0);
        assert_eq!(faults(Stage::Fused, norm), 1);
        assert_eq!(faults(Stage::Declared, norm), 1);
    }
}
