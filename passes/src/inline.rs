//! Which values are computed where they are read, and so never stored: the prologues of
//! convolutions.
//!
//! A convolution copies what it reads into cache anyhow. A `normalize`, `channel_norm` or
//! `resize_nearest` in front of it can be done on the way, which saves writing and reading a whole
//! activation, and the memory that it would lie in. It is no rewrite: the graph says what is
//! computed, and this says of which values a backend makes no tensor.
//!
//! A value is inlined if it is no output, exactly one convolution reads it, as its input, and
//! nothing else does but, for a `normalize` or `channel_norm`, slices along time: these are
//! normalised by themselves (the two frames that a causal convolution leaves to the next step).

use ir::analysis::{Interval, users};
use ir::{Graph, Layout, Op, Value, Values};

/// Of each value, whether it is computed where it is read.
pub fn inlined(graph: &Graph) -> Vec<bool> {
    let users = users(graph);
    graph.nodes().map(|(value, _)| is_inlined(graph, value, &users[value.index()])).collect()
}

fn is_inlined(graph: &Graph, value: Value, users: &[Value]) -> bool {
    let sliceable = match graph.op(value) {
        Op::Normalize { .. } | Op::ChannelNorm { .. } => true,
        Op::ResizeNearest { .. } => false,
        _ => return false,
    };
    let (convolutions, others): (Vec<Value>, Vec<Value>) =
        users.iter().partition(|user| reads_as_input(graph.op(**user), value));
    let slices = others.iter().all(|&user| sliceable && is_slice_of_frames(graph, user));
    let is_output = graph.outputs().iter().any(|output| output.value == value);
    convolutions.len() == 1 && slices && !is_output
}

/// Whether `op` is a convolution over `value`, which it reads as nothing else.
fn reads_as_input(op: &Op, value: Value) -> bool {
    let operands = op.operands();
    let only_first = operands.iter().enumerate().all(|(place, operand)| (place == 0) == (*operand == value));
    matches!(op, Op::Convolution { .. }) && only_first
}

/// Whether it slices a channel-last video along time alone.
fn is_slice_of_frames(graph: &Graph, value: Value) -> bool {
    let Op::Slice { input, .. } = graph.op(value) else { return false };
    let (from, to) = (graph.ty(*input), graph.ty(value));
    from.layout == Layout::NTHWC && (0..from.rank()).all(|axis| axis == 1 || from.shape[axis] == to.shape[axis])
}

/// The stored values that `op` reads: its operands, and for those that are inlined, theirs.
pub fn reads(graph: &Graph, inlined: &[bool], op: &Op) -> Values {
    op.operands().into_iter().flat_map(|operand| stored(graph, inlined, operand)).collect()
}

/// The stored values that whoever reads `value` reads: itself, or, where it is inlined, what its op
/// reads.
pub(crate) fn stored(graph: &Graph, inlined: &[bool], value: Value) -> Values {
    if inlined[value.index()] { reads(graph, inlined, graph.op(value)) } else { Values::from_elem(value, 1) }
}

/// When each value lives: one that an inlined value reads, until that is read.
pub fn liveness(graph: &Graph, inlined: &[bool]) -> Vec<Interval> {
    let mut live = ir::analysis::liveness(graph);
    for (value, node) in graph.nodes().rev().filter(|(value, _)| inlined[value.index()]) {
        let end = live[value.index()].end;
        node.op.operands().iter().for_each(|operand| {
            let operand = &mut live[operand.index()];
            operand.end = operand.end.max(end);
        });
    }
    live
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The inlined values of a graph over `%0`, a video, `%1`, its statistics, `%2` and `%3`, scale
    /// and offset, and `%4`, a kernel.
    fn inlined_of(body: &str) -> Vec<String> {
        let video = "tensor<1x3x4x4x8xf32, nthwc>";
        let graph = format!(
            "graph @g {{\n%0 = input {{name = \"x\"}} : {video}\n\
             %1 = group_statistics %0 {{groups = 2, epsilon = 0.1}} : tensor<1x2x2xf32>\n\
             %2 = parameter {{name = \"s\"}} : tensor<8xf32>\n%3 = parameter {{name = \"o\"}} : tensor<8xf32>\n\
             %4 = parameter {{name = \"w\"}} : tensor<1x3x3x8x8xf32, dhwio>\n{body}\n}}"
        );
        let graph = ir::text::parse(&graph.replace("$video", video)).unwrap_or_else(|e| panic!("{e}"));
        let inlined = inlined(&graph);
        graph.nodes().filter(|(value, _)| inlined[value.index()]).map(|(value, _)| value.to_string()).collect()
    }

    const NORMALIZE: &str = "%5 = normalize %0, %1, %2, %3 {first_frame = joined, activation = silu} : $video\n";
    const CONVOLUTION: &str = "%6 = convolution %5, %4 \
        {strides = [1, 1, 1], padding = [[0, 0], [1, 1], [1, 1]], repeat_first = 0} : $video\n";

    #[test]
    fn a_prologue_is_inlined() {
        assert_eq!(inlined_of(&format!("{NORMALIZE}{CONVOLUTION}return result \"y\" = %6")), ["%5"]);
    }

    #[test]
    fn frames_that_are_sliced_off_do_not_hinder_it() {
        let slice = "%7 = slice %5 {start = [0, 1, 0, 0, 0], limit = [1, 3, 4, 4, 8]} : tensor<1x2x4x4x8xf32, nthwc>\n";
        let outputs = "return result \"y\" = %6\nreturn state \"s\" = %7";
        assert_eq!(inlined_of(&format!("{NORMALIZE}{CONVOLUTION}{slice}{outputs}")), ["%5"]);
        let narrow =
            "%7 = slice %5 {start = [0, 1, 1, 0, 0], limit = [1, 3, 4, 4, 8]} : tensor<1x2x3x4x8xf32, nthwc>\n";
        assert!(inlined_of(&format!("{NORMALIZE}{CONVOLUTION}{narrow}{outputs}")).is_empty());
    }

    #[test]
    fn a_resize_that_is_sliced_is_stored() {
        let body = "%5 = resize_nearest %0 {size = [3, 4, 4], first_frame = joined} : $video\n\
            %6 = convolution %5, %4 {strides = [1, 1, 1], padding = [[0, 0], [1, 1], [1, 1]], repeat_first = 0} \
            : $video\n";
        assert_eq!(inlined_of(&format!("{body}return result \"y\" = %6")), ["%5"]);
        let slice = "%7 = slice %5 {start = [0, 1, 0, 0, 0], limit = [1, 3, 4, 4, 8]} : tensor<1x2x4x4x8xf32, nthwc>\n";
        let outputs = "return result \"y\" = %6\nreturn state \"s\" = %7";
        assert!(inlined_of(&format!("{body}{slice}{outputs}")).is_empty());
    }

    #[test]
    fn what_is_read_elsewhere_is_stored() {
        assert!(
            inlined_of(&format!("{NORMALIZE}{CONVOLUTION}return result \"y\" = %6\nreturn tap \"n\" = %5")).is_empty()
        );
        let add = "%7 = add %5, %6 : $video\n";
        assert!(inlined_of(&format!("{NORMALIZE}{CONVOLUTION}{add}return result \"y\" = %7")).is_empty());
        let twice = CONVOLUTION.replace("%6 =", "%7 =");
        let outputs = "return result \"y\" = %6\nreturn result \"z\" = %7";
        assert!(inlined_of(&format!("{NORMALIZE}{CONVOLUTION}{twice}{outputs}")).is_empty());
    }

    #[test]
    fn operands_live_until_they_are_read() {
        let text = "graph @g {\n%0 = input {name = \"x\"} : tensor<1x1x2x2x8xf32, nthwc>\n\
            %1 = parameter {name = \"w\"} : tensor<1x3x3x8x8xf32, dhwio>\n\
            %2 = silu %0 : tensor<1x1x2x2x8xf32, nthwc>\n\
            %3 = resize_nearest %2 {size = [1, 4, 4], first_frame = joined} : tensor<1x1x4x4x8xf32, nthwc>\n\
            %4 = silu %0 : tensor<1x1x2x2x8xf32, nthwc>\n\
            %5 = convolution %3, %1 {strides = [1, 1, 1], padding = [[0, 0], [1, 1], [1, 1]], repeat_first = 0} \
            : tensor<1x1x4x4x8xf32, nthwc>\n\
            return result \"y\" = %5\nreturn result \"z\" = %4\n}";
        let graph = ir::text::parse(text).unwrap();
        let inlined = inlined(&graph);
        assert_eq!(inlined, [false, false, false, true, false, false]);
        assert_eq!(liveness(&graph, &inlined)[2], Interval { start: 2, end: 5 });
        let reads = |index| {
            let (_, node) = graph.nodes().nth(index).unwrap();
            reads(&graph, &inlined, &node.op).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(reads(5), ["%2", "%1"]);
    }
}
