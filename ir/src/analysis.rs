//! What can be said of a graph without running it: who uses what, what is needed, how long values
//! live, how deep the graph is, what it costs.
//!
//! Results are vectors with one entry a value, indexed by [`Value::index`]. The graph must verify.

use petgraph::graph::DiGraph;
use smallvec::SmallVec;

use crate::graph::{Graph, Value};
use crate::op::{Op, OperandRole};
use crate::operand::Sizes;

/// The dependence graph: values as nodes, with node `i` for value `%i`, and an edge from each
/// operand to each op that reads it, weighted with the operand's name.
pub fn dependences(graph: &Graph) -> DiGraph<Value, &'static str> {
    let mut dependences = DiGraph::with_capacity(graph.len(), 2 * graph.len());
    let indices: Vec<_> = graph.nodes().map(|(value, _)| dependences.add_node(value)).collect();
    for (value, node) in graph.nodes() {
        node.op.visit_operands(&mut |info, operands| {
            for operand in operands {
                dependences.add_edge(indices[operand.index()], indices[value.index()], info.name);
            }
        });
    }
    dependences
}

/// The ops that read each value, in order, each once.
pub fn users(graph: &Graph) -> Vec<SmallVec<[Value; 4]>> {
    let mut users = vec![SmallVec::<[Value; 4]>::new(); graph.len()];
    for (value, node) in graph.nodes() {
        for operand in node.op.operands() {
            let of_operand = &mut users[operand.index()];
            if of_operand.last() != Some(&value) {
                of_operand.push(value);
            }
        }
    }
    users
}

/// Whether an output needs each value. What no output needs is dead.
pub fn reachable(graph: &Graph) -> Vec<bool> {
    let mut needed = vec![false; graph.len()];
    for output in graph.outputs() {
        needed[output.value.index()] = true;
    }
    for (value, node) in graph.nodes().rev() {
        if needed[value.index()] {
            node.op.operands().iter().for_each(|operand| needed[operand.index()] = true);
        }
    }
    needed
}

/// From where to where a value lives, as places in the graph's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interval {
    /// The op that makes the value.
    pub start: usize,
    /// The last op that reads it; `start` if none does, the number of ops for an output.
    pub end: usize,
}

/// When each value lives.
pub fn liveness(graph: &Graph) -> Vec<Interval> {
    let mut intervals: Vec<_> = (0..graph.len()).map(|start| Interval { start, end: start }).collect();
    for (value, node) in graph.nodes() {
        node.op.operands().iter().for_each(|operand| intervals[operand.index()].end = value.index());
    }
    for output in graph.outputs() {
        intervals[output.value.index()].end = graph.len();
    }
    intervals
}

/// The longest chain of ops that ends in each value, leaves not counted.
pub fn depths(graph: &Graph) -> Vec<usize> {
    let mut depths: Vec<usize> = Vec::with_capacity(graph.len());
    for (_, node) in graph.nodes() {
        let deepest = node.op.operands().iter().map(|operand| depths[operand.index()]).max().unwrap_or(0);
        depths.push(deepest + usize::from(!node.op.is_leaf()));
    }
    depths
}

/// The longest chain of ops in the graph: no machine, however wide, has fewer steps.
pub fn critical_path(graph: &Graph) -> usize {
    depths(graph).into_iter().max().unwrap_or(0)
}

/// Whether each value is made of parameters and constants alone, and so can be computed once, when
/// weights are bound.
pub fn weight_only(graph: &Graph) -> Vec<bool> {
    let mut fixed: Vec<bool> = Vec::with_capacity(graph.len());
    for (_, node) in graph.nodes() {
        fixed.push(match node.op {
            Op::Parameter { .. } | Op::Constant { .. } => true,
            Op::Input { .. } | Op::State { .. } => false,
            _ => node.op.operands().iter().all(|operand| fixed[operand.index()]),
        });
    }
    fixed
}

/// Whether each value is made of numbers and vectors that the caller gives, and of parameters and
/// constants: a setting, such as the timestep of a diffusion, and what is computed of it, as many
/// numbers however large the videos are.
pub fn of_settings(graph: &Graph) -> Vec<bool> {
    let weights = weight_only(graph);
    let mut settings: Vec<bool> = Vec::with_capacity(graph.len());
    for (value, node) in graph.nodes() {
        let operand = |operand: &Value| settings[operand.index()] || weights[operand.index()];
        settings.push(match &node.op {
            Op::Input { ty, .. } => ty.layout.is_plain() && ty.rank() <= 1,
            op => !op.is_leaf() && !weights[value.index()] && op.operands().iter().all(operand),
        });
    }
    settings
}

/// Arithmetic and memory traffic of ops, each run by itself: every operand is read once and every
/// result written once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations; a multiply-add is two, any function such as `exp` one.
    pub flops: u64,
    /// Bytes of operands read.
    pub bytes_read: u64,
    /// Bytes of results written.
    pub bytes_written: u64,
}

impl std::ops::Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            flops: self.flops.saturating_add(other.flops),
            bytes_read: self.bytes_read.saturating_add(other.bytes_read),
            bytes_written: self.bytes_written.saturating_add(other.bytes_written),
        }
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), |sum, cost| sum + cost)
    }
}

/// What the op of `value` costs; nothing for a leaf.
///
/// Arithmetic is what the op's row of the table says. A slice reads what it keeps, any other op all
/// of its operands.
pub fn cost(graph: &Graph, value: Value) -> Cost {
    let node = graph.node(value);
    if node.op.is_leaf() {
        return Cost::default();
    }
    let bytes_written = node.ty.bytes() as u64;
    let read = |(role, operand)| match role {
        OperandRole::Part => bytes_written,
        _ => graph.ty(operand).bytes() as u64,
    };
    let bytes_read = node.op.roles().into_iter().map(read).fold(0, u64::saturating_add);
    let flops = node.op.flops(&Sizes { result: &node.ty, operand: &|operand| graph.ty(operand) });
    Cost { flops, bytes_read, bytes_written }
}

/// The cost of all ops of the graph.
pub fn total_cost(graph: &Graph) -> Cost {
    graph.nodes().map(|(value, _)| cost(graph, value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;

    fn graph() -> Graph {
        parse(
            r#"graph @g {
  %0 = input {name = "x"} : tensor<1x4x3x8x8xf32, ncthw>
  %1 = parameter {name = "w"} : tensor<8x4x3x3x3xf32, oidhw>
  %2 = parameter {name = "b"} : tensor<8xf32>
  %3 = add %2, %2 : tensor<8xf32>
  %4 = convolution %0, %1, bias: %3 {strides = [1, 1, 1], padding = [[2, 0], [1, 1], [1, 1]], repeat_first = 0} : tensor<1x8x3x8x8xf32, ncthw>
  %5 = silu %4 : tensor<1x8x3x8x8xf32, ncthw>
  %6 = silu %5 : tensor<1x8x3x8x8xf32, ncthw>
  %7 = average_pool %5 {window = [2, 2, 2], first_frame = apart} : tensor<1x8x2x4x4xf32, ncthw>
  %8 = slice %7 {start = [0, 0, 1, 0, 0], limit = [1, 8, 2, 4, 4]} : tensor<1x8x1x4x4xf32, ncthw>
  return result "y" = %8
  return tap "conv" = %4
}
"#,
        )
        .unwrap()
    }

    fn indices(values: &[Value]) -> Vec<usize> {
        values.iter().map(|v| v.index()).collect()
    }

    #[test]
    fn uses_and_dependences_agree() {
        let graph = graph();
        let users = users(&graph);
        assert_eq!(indices(&users[5]), [6, 7]);
        assert_eq!(indices(&users[2]), [3], "an op that reads a value twice is one user");
        let dependences = dependences(&graph);
        assert_eq!(dependences.node_count(), graph.len());
        assert_eq!(dependences.edge_count(), 9);
        assert!(!petgraph::algo::is_cyclic_directed(&dependences));
        let edge = dependences.find_edge(3.into(), 4.into()).unwrap();
        assert_eq!(dependences[edge], "bias");
    }

    #[test]
    fn what_no_output_needs_is_unreachable() {
        let needed = reachable(&graph());
        assert!(!needed[6]);
        assert!(needed.iter().enumerate().all(|(i, &n)| n || i == 6));
    }

    #[test]
    fn values_live_to_their_last_use() {
        let intervals = liveness(&graph());
        assert_eq!(intervals[2], Interval { start: 2, end: 3 });
        assert_eq!(intervals[5], Interval { start: 5, end: 7 });
        assert_eq!(intervals[6], Interval { start: 6, end: 6 });
        assert_eq!(intervals[4].end, 9, "outputs live to the end");
    }

    #[test]
    fn depth_counts_ops_from_the_leaves() {
        let graph = graph();
        assert_eq!(depths(&graph), [0, 0, 0, 1, 2, 3, 4, 4, 5]);
        assert_eq!(critical_path(&graph), 5);
    }

    #[test]
    fn weight_only_values_do_not_depend_on_inputs() {
        let fixed = weight_only(&graph());
        assert_eq!(fixed, [false, true, true, true, false, false, false, false, false]);
    }

    #[test]
    fn settings_are_numbers_and_what_is_made_of_them() {
        let graph = parse(
            r#"graph @g {
  %0 = input {name = "video"} : tensor<1x4x3x8x8xf32, ncthw>
  %1 = input {name = "timestep"} : tensor<1xf32>
  %2 = parameter {name = "scale"} : tensor<1xf32>
  %3 = multiply %1, %2 : tensor<1xf32>
  %4 = add %2, %2 : tensor<1xf32>
  %5 = reshape %3 : tensor<1x1x1x1x1xf32, ncthw>
  %6 = resize_nearest %5 {size = [3, 8, 8], first_frame = joined} : tensor<1x1x3x8x8xf32, ncthw>
  %7 = concatenate [%0, %6] {axis = 1} : tensor<1x5x3x8x8xf32, ncthw>
  %8 = input {name = "tokens"} : tensor<2x3xf32>
  return result "y" = %7
}
"#,
        )
        .unwrap();
        assert_eq!(of_settings(&graph), [false, true, false, true, false, true, true, false, false]);
    }

    #[test]
    fn costs_follow_their_definition() {
        let graph = graph();
        let costs: Vec<Cost> = graph.nodes().map(|(v, _)| cost(&graph, v)).collect();
        let video = 8 * 3 * 8 * 8;
        assert_eq!(costs[0], Cost::default());
        assert_eq!(costs[4].flops, video * (2 * 4 * 27 + 1));
        assert_eq!(costs[4].bytes_read, 4 * (4 * 3 * 8 * 8 + 8 * 4 * 27 + 8));
        assert_eq!(costs[4].bytes_written, 4 * video);
        assert_eq!(costs[5].flops, 4 * video);
        assert_eq!(costs[7].flops, video, "a pool that drops nothing reads each element once");
        assert_eq!(costs[8], Cost { flops: 0, bytes_read: 512, bytes_written: 512 });
        assert_eq!(total_cost(&graph).flops, costs.iter().map(|c| c.flops).sum::<u64>());
    }
}
