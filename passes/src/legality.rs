//! Which ops and layouts may exist at which stage: the table that the pipeline checks after every
//! pass in debug builds.

use std::fmt;

use ir::analysis::{of_settings, users, weight_only};
use ir::{Axis, Class, ElementType, Graph, Layout, Node, Op, Role, Value};

/// How far a graph has come on its way to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// As the frontend declares it: channel-first, one op for each thing the model says.
    Declared,
    /// Videos and weights are channel-last; transposes between layouts stand at the borders and
    /// beside reshapes alone.
    ChannelLast,
    /// Every normalisation is taken apart into statistics and the fused op: what a backend lowers.
    Fused,
    /// Fused, and no activation is f32 but the statistics of a norm.
    Bf16,
}

/// What may exist at a stage.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The stage.
    pub stage: Stage,
    /// Ops that may not exist.
    pub absent: &'static [&'static str],
    /// Layouts of activations. At the borders (inputs, results, taps, and the transposes and
    /// converts next to them), around reshapes and in what is computed of parameters alone, any
    /// layout and element type may stand.
    pub layouts: fn(Layout) -> bool,
    /// Element types of activations, but for statistics of a norm, numbers a channel and what is
    /// computed of numbers that the caller gives, which are always f32.
    pub elements: &'static [ElementType],
}

/// What may exist, for every stage.
pub const TABLE: &[Rules] = &[
    Rules {
        stage: Stage::Declared,
        absent: &["group_statistics", "normalize"],
        layouts: is_channel_first,
        elements: &ElementType::ALL,
    },
    Rules { stage: Stage::ChannelLast, absent: &[], layouts: is_channel_last, elements: &ElementType::ALL },
    Rules { stage: Stage::Fused, absent: &["group_norm"], layouts: is_channel_last, elements: &ElementType::ALL },
    Rules {
        stage: Stage::Bf16,
        absent: &["group_norm"],
        layouts: is_channel_last,
        elements: &[ElementType::Bf16, ElementType::F16, ElementType::I8, ElementType::I32],
    },
];

/// Whether an activation in this layout has its channels in front, if it has any.
fn is_channel_first(layout: Layout) -> bool {
    let in_front = layout.axes().position(|axis| axis != Axis::Batch);
    !layout.is_weight() && layout.place(Axis::Channel).is_none_or(|place| in_front == Some(place))
}

/// Whether an activation in this layout has its channels last, if it has any.
fn is_channel_last(layout: Layout) -> bool {
    !layout.is_weight() && layout == layout.channel_last()
}

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
    let (weights, settings) = (weight_only(graph), of_settings(graph));
    let (follows_input, leaves_only) = (follow_inputs(graph), only_left(graph));
    let at_reshape = at_reshapes(graph, &leaves_only);
    let per_channel = read_in_f32(graph);
    let mut faults = Vec::new();
    for (value, node) in graph.nodes() {
        let mut fault = |reason: String| faults.push(format!("{}\n    ^ {reason}", ir::text::print_node(graph, value)));
        if rules.absent.contains(&node.op.mnemonic()) {
            fault(format!("{} may not exist here", node.op.mnemonic()));
        }
        if weights[value.index()] {
            continue;
        }
        if follows_input[value.index()] || leaves_only[value.index()] && border_operand(&node.op).is_some() {
            continue;
        }
        let beside_reshape = at_reshape[value.index()] || node.op.operands().iter().any(|o| is_reshape(graph.op(*o)));
        if matches!(node.op, Op::Transpose { .. }) && !node.ty.layout.is_plain() && !beside_reshape {
            fault(
                "a transpose between layouts may stand behind an input, in front of a result or tap, or beside a \
                 reshape alone"
                    .to_owned(),
            );
        }
        if !(rules.layouts)(node.ty.layout) && !at_reshape[value.index()] {
            fault(format!("an activation may not be {} here", node.ty.layout));
        }
        let stays_f32 = node.op.class() == Class::Summarizes || per_channel[value.index()] || settings[value.index()];
        if !rules.elements.contains(&node.ty.element) && !stays_f32 {
            fault(format!("an activation may not be {} here", node.ty.element));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(LegalityError { stage, faults }) }
}

/// The operand of an op that may stand at a border: a transpose or a convert.
const fn border_operand(op: &Op) -> Option<Value> {
    match op {
        Op::Transpose { input, .. } | Op::Convert { input, .. } => Some(*input),
        _ => None,
    }
}

const fn is_reshape(op: &Op) -> bool {
    matches!(op, Op::Reshape { .. })
}

/// By value: whether it is a reshape, which keeps the declared order of axes, or a transpose for
/// reshapes alone, and for what leaves.
fn at_reshapes(graph: &Graph, leaves_only: &[bool]) -> Vec<bool> {
    let users = users(graph);
    let is_for_reshapes = |value: Value| {
        let is_state = graph.outputs().iter().any(|output| output.role == Role::State && output.value == value);
        let mut users = users[value.index()].iter();
        !is_state && users.all(|user| is_reshape(graph.op(*user)) || leaves_only[user.index()])
    };
    let is_at = |(value, node): (Value, &Node)| {
        is_reshape(&node.op) || matches!(node.op, Op::Transpose { .. }) && is_for_reshapes(value)
    };
    graph.nodes().map(is_at).collect()
}

/// By value: whether every op that reads it does so in f32, as a number a channel.
fn read_in_f32(graph: &Graph) -> Vec<bool> {
    let (mut in_f32, mut read) = (vec![true; graph.len()], vec![false; graph.len()]);
    for (role, operand) in graph.nodes().flat_map(|(_, node)| node.op.roles()) {
        in_f32[operand.index()] &= role.stays_f32();
        read[operand.index()] = true;
    }
    in_f32.iter().zip(&read).map(|(in_f32, read)| *in_f32 && *read).collect()
}

/// By value: whether it is an input, or one behind transposes and converts.
fn follow_inputs(graph: &Graph) -> Vec<bool> {
    let mut follows: Vec<bool> = Vec::with_capacity(graph.len());
    for (_, node) in graph.nodes() {
        let behind = border_operand(&node.op).is_some_and(|operand| follows[operand.index()]);
        follows.push(behind || matches!(node.op, Op::Input { .. }));
    }
    follows
}

/// By value: whether it is a result or tap, or on the way there through transposes and converts,
/// and nothing else reads it.
fn only_left(graph: &Graph) -> Vec<bool> {
    let (mut left, mut read) = (vec![false; graph.len()], vec![false; graph.len()]);
    for output in graph.outputs() {
        let to = if output.role == Role::State { &mut read } else { &mut left };
        to[output.value.index()] = true;
    }
    for (value, node) in graph.nodes().rev() {
        let goes_on = border_operand(&node.op).is_some() && left[value.index()] && !read[value.index()];
        let to = if goes_on { &mut left } else { &mut read };
        node.op.operands().iter().for_each(|operand| to[operand.index()] = true);
    }
    left.iter().zip(&read).map(|(left, read)| *left && !read).collect()
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
        let state = border.replace("return result \"y\"", "return state \"s\"");
        assert_eq!(faults(Stage::ChannelLast, &state), 2);
    }

    #[test]
    fn transposes_stand_around_reshapes() {
        let around = r#"%0 = input {name = "x"} : tensor<1x3x4x5x2xf32, nthwc>
            %1 = silu %0 : tensor<1x3x4x5x2xf32, nthwc>
            %2 = transpose %1 {permutation = [0, 4, 1, 2, 3]} : tensor<1x2x3x4x5xf32, ncthw>
            %3 = reshape %2 : tensor<1x2x3x5x4xf32, ncthw>
            %4 = transpose %3 {permutation = [0, 2, 3, 4, 1]} : tensor<1x3x5x4x2xf32, nthwc>
            %5 = silu %4 : tensor<1x3x5x4x2xf32, nthwc>
            return result "y" = %5
            return tap "before" = %2"#;
        assert_eq!(faults(Stage::ChannelLast, around), 0);
        let inside = format!("{around}\n%6 = silu %2 : tensor<1x2x3x4x5xf32, ncthw>");
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

    #[test]
    fn in_bf16_nothing_but_statistics_is_f32() {
        let norm = r#"%0 = input {name = "x"} : tensor<1x2x3x4x5xf32, ncthw>
            %1 = convert %0 {element = bf16} : tensor<1x2x3x4x5xbf16, ncthw>
            %2 = transpose %1 {permutation = [0, 2, 3, 4, 1]} : tensor<1x3x4x5x2xbf16, nthwc>
            %3 = parameter {name = "w"} : tensor<2xf32>
            %4 = group_statistics %2 {groups = 2, epsilon = 1e-6} : tensor<1x2x2xf32>
            %5 = normalize %2, %4, %3, %3 {first_frame = joined, activation = none} : tensor<1x3x4x5x2xbf16, nthwc>
            %6 = transpose %5 {permutation = [0, 4, 1, 2, 3]} : tensor<1x2x3x4x5xbf16, ncthw>
            %7 = convert %6 {element = f32} : tensor<1x2x3x4x5xf32, ncthw>
            return result "y" = %7"#;
        assert_eq!(faults(Stage::Bf16, norm), 0);
        let inside = format!(
            "{norm}\n%8 = convert %5 {{element = f32}} : tensor<1x3x4x5x2xf32, nthwc>\n\
             %9 = silu %8 : tensor<1x3x4x5x2xf32, nthwc>"
        );
        assert_eq!((faults(Stage::Fused, &inside), faults(Stage::Bf16, &inside)), (0, 2));
    }
}
