//! What is decided about a graph before its text is written: where frames go in front of others,
//! and which convolutions go strip by strip.

use std::collections::HashMap;

use ir::{Border, Graph, Op, Role, Value};

use super::EmitOptions;
use super::strips::rows_of_strip;

/// The frames in front of a convolution's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LeadingFrames {
    /// Those of a cache.
    Cache(Value),
    /// The first one so many times.
    First(usize),
}

/// By value that a convolution reads behind other frames: which, where they are there before it.
///
/// The slices of such a value that leave as states, the next step's caches, are read from the
/// frames with those in front as well: then the value itself has one reader, and is never made by
/// itself. They are made before the convolution: later, they would keep all frames alive.
pub(super) fn leading_frames(
    graph: &Graph,
    strips: &HashMap<Value, Strip>,
) -> HashMap<Value, (LeadingFrames, Vec<Value>)> {
    let mut all: HashMap<Value, (LeadingFrames, Vec<Value>)> = HashMap::new();
    for (_, node) in graph.nodes().filter(|(value, _)| !strips.contains_key(value)) {
        if let Op::Convolution { input, cache, repeat_first, .. } = node.op {
            let leading = match cache {
                Some(cache) if matches!(graph.op(cache), Op::State { .. }) => LeadingFrames::Cache(cache),
                None if repeat_first > 0 => LeadingFrames::First(repeat_first),
                _ => continue,
            };
            all.entry(input).or_insert((leading, Vec::new()));
        }
    }
    for (value, node) in graph.nodes() {
        if let Op::Slice { input, .. } = node.op
            && let Some((_, slices)) = all.get_mut(&input)
            && graph.outputs().iter().any(|output| output.role == Role::State && output.value == value)
        {
            slices.push(value);
        }
    }
    all
}

/// A convolution that goes strip by strip.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strip {
    /// What it reads, which nothing else reads but slices of frames that are states.
    pub made: Value,
    pub rows: usize,
}

/// The convolutions that go strip by strip: with a kernel of three rows, stride 1 and a row of
/// zeros above and below, over a large video that is normalised or enlarged for them alone. None
/// where several devices share the rows: a strip would be one device's work.
pub(super) fn in_strips(graph: &Graph, options: &EmitOptions) -> HashMap<Value, Strip> {
    let mut strips = HashMap::new();
    if options.mesh.height > 1 {
        return strips;
    }
    let users = ir::analysis::users(graph);
    let is_output = |value: Value, role: Option<Role>| {
        graph.outputs().iter().any(|output| output.value == value && role.is_none_or(|role| output.role == role))
    };
    for (value, node) in graph.nodes() {
        let Op::Convolution {
            input, weight, strides: [_, 1, 1], padding: [_, [1, 1], _], border: Border::ZERO, ..
        } = node.op
        else {
            continue;
        };
        let (ty, weight) = (graph.ty(input), graph.ty(weight));
        let (Some(axes), Some(kernel)) = (ty.layout.video(), weight.layout.kernel()) else { continue };
        let [time, height, _] = axes.space;
        let frame = |slice: Value| match graph.op(slice) {
            Op::Slice { start, limit, .. } => {
                (0..5).all(|axis| axis == time || start[axis] == 0 && limit[axis] == ty.shape[axis])
                    && is_output(slice, Some(Role::State))
                    && users[slice.index()].is_empty()
            }
            _ => false,
        };
        let (factor, slices) = match graph.op(input) {
            Op::Normalize { .. } | Op::ChannelNorm { .. } => (1, true),
            Op::ResizeNearest { input: small, .. } => {
                let rows = graph.ty(*small).shape[height];
                if !ty.shape[height].is_multiple_of(rows) {
                    continue;
                }
                (ty.shape[height] / rows, false)
            }
            _ => continue,
        };
        let alone = users[input.index()].iter().all(|user| *user == value || slices && frame(*user));
        let reads_once = node.op.operands().iter().filter(|operand| **operand == input).count() == 1;
        if !alone || !reads_once || is_output(input, None) || weight.shape[kernel.space[1]] != 3 {
            continue;
        }
        let rows = rows_of_strip(ty.shape[height], ty.bytes() / ty.shape[height], options.strip_bytes, factor);
        if let Some(rows) = rows {
            strips.insert(value, Strip { made: input, rows });
        }
    }
    strips
}
