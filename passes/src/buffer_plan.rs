//! The buffer plan: where in one arena each intermediate lies, and how large the arena is.
//!
//! Values that are never needed at once share memory. A *buffer* is what one or several values
//! occupy one after the other:
//! - what holds the same elements in the same order, a `reshape`, is a view of its operand, where
//!   that is planned;
//! - the result is written over an operand that the op reads element by element
//!   (`OperandRole::Elementwise`: those of an `add`, the input of a `normalize`, the residual of a
//!   `convolution`), where the operand's buffer is planned, has the same bytes, is needed for the
//!   last time there, and nothing that is read at other places lies in it (a convolution's input
//!   and cache, also through a prologue; a norm's gain and shift).
//!
//! A buffer lives from the op that first writes it to the op that last reads it, both included.
//! Buffers are placed greedily, each into the smallest gap that fits among the buffers placed
//! before that live at the same time: once from the largest down, once by bytes times lifetime,
//! once in program order; the smallest arena of the three is taken. That is near the optimum in
//! practice (Pisarchyk and Lee 2020, arXiv:2001.03288); [`BufferPlan::peak_live_bytes`] is the
//! bound that no plan of these buffers beats.
//!
//! What is in the arena is the backend's choice: inputs, states, parameters, what is computed of
//! them once, and outputs usually are not.

use std::fmt;

use ir::analysis::Interval;
use ir::{Graph, Op, OperandRole, Path, Value, Values};

use crate::inline::{liveness, stored};

/// Where a value lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Bytes from the start of the arena; a multiple of the plan's alignment.
    pub offset: usize,
    /// Bytes of the value.
    pub bytes: usize,
    /// Where in the program the value is written and where it is last read, both as places of ops;
    /// an output is read behind the last op.
    pub live: Interval,
    /// Whose memory it takes over, if it is not its own.
    pub reuse: Option<Reuse>,
    /// The op, for printing.
    pub mnemonic: &'static str,
    /// The op's module, for printing.
    pub path: Path,
}

/// How a value takes over the memory of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It is the same elements under another shape.
    View(Value),
    /// It is written over that operand of its op, which nothing reads later.
    InPlace(Value),
}

/// One arena and every planned value's place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferPlan {
    placements: Vec<Option<Placement>>,
    /// What each offset is a multiple of, in bytes.
    pub alignment: usize,
    /// Bytes of the arena.
    pub arena_bytes: usize,
    /// The most bytes, each buffer rounded up to the alignment, that live at once.
    pub peak_live_bytes: usize,
}

impl BufferPlan {
    /// Where `value` lies; `None` when it is not in the arena.
    pub fn placement(&self, value: Value) -> Option<&Placement> {
        self.placements.get(value.index())?.as_ref()
    }

    /// Every planned value's place in the program with its place in the arena, in program order.
    pub fn placements(&self) -> impl Iterator<Item = (usize, &Placement)> {
        self.placements.iter().enumerate().filter_map(|(i, p)| Some((i, p.as_ref()?)))
    }
}

/// Plans the values of `graph` for which `in_arena` holds, at offsets that are multiples of
/// `alignment` bytes (at least 1). Those that are `inlined` ([`crate::inline`]) may not be among
/// them.
pub fn plan(graph: &Graph, in_arena: &dyn Fn(Value) -> bool, inlined: &[bool], alignment: usize) -> BufferPlan {
    let alignment = alignment.max(1);
    let live = liveness(graph, inlined);
    let (mut buffers, members) = buffers(graph, in_arena, inlined, &live, alignment);
    let arena_bytes = place(&mut buffers);
    let placements = graph
        .nodes()
        .map(|(value, node)| {
            members[value.index()].map(|(buffer, reuse)| Placement {
                offset: buffers[buffer].offset,
                bytes: node.ty.bytes(),
                live: live[value.index()],
                reuse,
                mnemonic: node.op.mnemonic(),
                path: node.path.clone(),
            })
        })
        .collect();
    BufferPlan { placements, alignment, arena_bytes, peak_live_bytes: peak(&buffers) }
}

/// Memory that one or several values occupy one after the other.
#[derive(Clone, Copy, Debug)]
struct Buffer {
    /// A multiple of the alignment.
    bytes: usize,
    live: Interval,
    offset: usize,
}

impl Buffer {
    const fn lives_with(&self, other: &Self) -> bool {
        self.live.start <= other.live.end && other.live.start <= self.live.end
    }
}

/// By value: its buffer's number, and how it came to lie there; `None` for a value that is not
/// planned.
type Members = Vec<Option<(usize, Option<Reuse>)>>;

/// Groups planned values into buffers.
fn buffers(
    graph: &Graph,
    in_arena: &dyn Fn(Value) -> bool,
    inlined: &[bool],
    live: &[Interval],
    alignment: usize,
) -> (Vec<Buffer>, Members) {
    let mut buffers: Vec<Buffer> = Vec::new();
    let mut members: Members = vec![None; graph.len()];
    for (value, node) in graph.nodes().filter(|(value, _)| in_arena(*value)) {
        let own = live[value.index()];
        let buffer_of = |operand: Value| members[operand.index()].map(|(buffer, _)| buffer);
        let taken = node.op.roles().into_iter().find_map(|(role, operand)| {
            let buffer = buffer_of(operand)?;
            match role {
                OperandRole::View => Some((buffer, Reuse::View(operand))),
                OperandRole::Elementwise => {
                    let dies_here = buffers[buffer].live.end == value.index();
                    let fits = graph.ty(operand).bytes() == node.ty.bytes();
                    let elsewhere = reads_at_other_places(graph, inlined, &node.op);
                    let read_elsewhere = elsewhere.iter().any(|o| buffer_of(*o) == Some(buffer));
                    (dies_here && fits && !read_elsewhere).then_some((buffer, Reuse::InPlace(operand)))
                }
                OperandRole::Activation
                | OperandRole::Part
                | OperandRole::Weight
                | OperandRole::PerChannel
                | OperandRole::Statistics => None,
            }
        });
        members[value.index()] = Some(match taken {
            Some((buffer, reuse)) => {
                let end = &mut buffers[buffer].live.end;
                *end = own.end.max(*end);
                (buffer, Some(reuse))
            }
            None => {
                let bytes = node.ty.bytes().div_ceil(alignment) * alignment;
                buffers.push(Buffer { bytes, live: own, offset: 0 });
                (buffers.len() - 1, None)
            }
        });
    }
    (buffers, members)
}

/// The stored values that `op` reads at other places than the element it writes.
fn reads_at_other_places(graph: &Graph, inlined: &[bool], op: &Op) -> Values {
    let roles = op.roles().into_iter().filter(|(role, _)| *role != OperandRole::Elementwise);
    roles.flat_map(|(_, operand)| stored(graph, inlined, operand)).collect()
}

/// Gives every buffer an offset; returns the bytes of the arena.
fn place(buffers: &mut [Buffer]) -> usize {
    let duration = |b: &Buffer| b.live.end - b.live.start + 1;
    let keys: [&dyn Fn(&Buffer) -> usize; 3] = [&|b| b.bytes, &|b| b.bytes.saturating_mul(duration(b)), &|_| 0];
    let attempts = keys.map(|key| {
        let mut order: Vec<usize> = (0..buffers.len()).collect();
        // Stable, so equals stay in program order.
        order.sort_by_key(|&i| std::cmp::Reverse(key(&buffers[i])));
        place_in_order(buffers, &order)
    });
    let best = attempts.into_iter().min_by_key(|(arena, _)| *arena);
    let Some((arena, offsets)) = best else { return 0 };
    for (buffer, offset) in buffers.iter_mut().zip(offsets) {
        buffer.offset = offset;
    }
    arena
}

/// Each buffer, in `order`, into the smallest gap that fits, or behind all that live with it;
/// returns the arena's bytes and the offsets.
fn place_in_order(buffers: &[Buffer], order: &[usize]) -> (usize, Vec<usize>) {
    let mut offsets: Vec<usize> = vec![0; buffers.len()];
    // Placed buffers by offset.
    let mut placed: Vec<usize> = Vec::with_capacity(buffers.len());
    let mut arena = 0;
    for &index in order {
        let buffer = &buffers[index];
        let mut best: Option<(usize, usize)> = None;
        let mut free_from = 0;
        for &other in placed.iter().filter(|&&other| buffers[other].lives_with(buffer)) {
            let gap = offsets[other].saturating_sub(free_from);
            if gap >= buffer.bytes && best.is_none_or(|(smallest, _)| gap < smallest) {
                best = Some((gap, free_from));
            }
            free_from = free_from.max(offsets[other] + buffers[other].bytes);
        }
        let offset = best.map_or(free_from, |(_, offset)| offset);
        offsets[index] = offset;
        arena = arena.max(offset + buffer.bytes);
        let at = placed.partition_point(|&other| offsets[other] <= offset);
        placed.insert(at, index);
    }
    (arena, offsets)
}

/// The most bytes of buffers that live at one op.
fn peak(buffers: &[Buffer]) -> usize {
    // The peak is reached where some buffer begins.
    let at = |place: usize| -> usize {
        buffers.iter().filter(|b| b.live.start <= place && place <= b.live.end).map(|b| b.bytes).sum()
    };
    buffers.iter().map(|b| at(b.live.start)).max().unwrap_or(0)
}

impl fmt::Display for BufferPlan {
    /// A table of the planned values, one a line, with the arena and the peak below.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>6}  {:>12}  {:>12}  {:>11}  {:<17} op", "value", "offset", "bytes", "live", "memory of")?;
        for (index, placement) in self.placements() {
            let Placement { offset, bytes, live, reuse, mnemonic, path } = placement;
            let reuse = match reuse {
                None => "its own".to_owned(),
                Some(Reuse::View(of)) => format!("{of}, a view"),
                Some(Reuse::InPlace(of)) => format!("{of}, in place"),
            };
            let (value, live) = (format!("%{index}"), format!("{}..={}", live.start, live.end));
            let at = if path.is_empty() { String::new() } else { format!(" @ {path}") };
            writeln!(f, "{value:>6}  {offset:>12}  {bytes:>12}  {live:>11}  {reuse:<17} {mnemonic}{at}")?;
        }
        let (arena, peak) = (self.arena_bytes, self.peak_live_bytes);
        writeln!(f, "arena {arena} bytes, {peak} of them live at the peak; offsets are multiples of {}", self.alignment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plan of all that is neither a leaf nor an output, as a table.
    fn table(body: &str) -> String {
        let graph = ir::text::parse(&format!("graph @g {{\n{body}\n}}")).unwrap();
        let left = |value| graph.outputs().iter().any(|o| o.value == value);
        let none = vec![false; graph.len()];
        plan(&graph, &|value| !graph.op(value).is_leaf() && !left(value), &none, 64).to_string()
    }

    /// A convolution that keeps the shape of its 64-byte video.
    fn convolution(operands: &str) -> String {
        format!(
            "convolution {operands} {{strides = [1, 1, 1], padding = [[0, 0], [0, 0], [0, 0]], repeat_first = 0}} \
             : tensor<1x2x2x2x2xf32, nthwc>"
        )
    }

    const LEAVES: &str = r#"%0 = input {name = "x"} : tensor<1x2x2x2x2xf32, nthwc>
        %1 = parameter {name = "w"} : tensor<1x1x1x2x2xf32, dhwio>"#;

    #[test]
    fn a_chain_of_elementwise_ops_is_one_buffer() {
        let table = table(
            r#"%0 = input {name = "x"} : tensor<2x3xf32>
               %1 = silu %0 : tensor<2x3xf32> @ act
               %2 = reshape %1 : tensor<6xf32>
               %3 = add %2, %2 : tensor<6xf32>
               %4 = silu %3 : tensor<6xf32>
               return result "y" = %4"#,
        );
        assert_eq!(
            table,
            " value        offset         bytes         live  memory of         op
    %1             0            24        1..=2  its own           silu @ act
    %2             0            24        2..=3  %1, a view        reshape
    %3             0            24        3..=4  %2, in place      add
arena 64 bytes, 64 of them live at the peak; offsets are multiples of 64
"
        );
    }

    #[test]
    fn a_convolution_is_written_over_its_residual() {
        let table = table(&format!(
            "{LEAVES}
            %2 = silu %0 : tensor<1x2x2x2x2xf32, nthwc>
            %3 = {}
            %4 = {}
            %5 = silu %4 : tensor<1x2x2x2x2xf32, nthwc>
            return result \"y\" = %5",
            convolution("%2, %1"),
            convolution("%3, %1, residual: %2")
        ));
        assert!(table.contains("%2, in place"), "{table}");
        assert!(table.contains("arena 128 bytes, 128 of them"), "{table}");
    }

    #[test]
    fn a_convolution_is_not_written_over_what_it_reads_elsewhere() {
        // With a cache of two frames, a kernel of three frames keeps the shape.
        let long = r#"%2 = parameter {name = "long"} : tensor<3x1x1x2x2xf32, dhwio>"#;
        for operands in ["%3, %1, residual: %3", "%0, %2, residual: %3, cache: %3"] {
            let table = table(&format!(
                "{LEAVES}
                {long}
                %3 = silu %0 : tensor<1x2x2x2x2xf32, nthwc>
                %4 = {}
                %5 = silu %4 : tensor<1x2x2x2x2xf32, nthwc>
                return result \"y\" = %5",
                convolution(operands)
            ));
            assert!(!table.contains("%3, in place"), "{table}");
            assert!(table.contains("arena 128 bytes"), "{table}");
        }
    }

    #[test]
    fn what_is_read_later_is_not_overwritten() {
        let table = table(
            r#"%0 = input {name = "x"} : tensor<16xf32>
               %1 = silu %0 : tensor<16xf32>
               %2 = silu %1 : tensor<16xf32>
               %3 = add %2, %1 : tensor<16xf32>
               %4 = silu %3 : tensor<16xf32>
               return result "y" = %4"#,
        );
        assert!(!table.contains("%1, in place"), "{table}");
        assert!(table.contains("%2, in place"), "{table}");
        assert!(table.contains("arena 128 bytes, 128 of them"), "{table}");
    }
}
