//! What each call of a program is and what it moves and computes, so that its time can be judged.
//!
//! Arithmetic and bytes are those of the op, as [`ir::analysis::cost`] counts them: what the model
//! asks for, not what the kernel does. A convolution by Winograd's algorithm is counted as if it
//! were direct, and what it does to its input as it reads it is not counted at all. How long calls
//! take is told by [`crate::program::Executable::run_inspected`].

use ir::analysis::{Cost, cost};
use ir::{Graph, Path};
use passes::BufferPlan;

use crate::attention::Attention;
use crate::blocking::Algorithm;
use crate::instruction_selection::{Call, Place, Schedule};
use crate::kernel::{Kernel, LinearAttention, Prologue};

/// One call of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct CallSummary {
    /// The module whose op it computes.
    pub path: Path,
    /// The kernel's name in listings.
    pub kernel: String,
    /// The kernel without its sizes, such as `normalize` or `convolution 3x3x3 of normalize`.
    pub kind: String,
    /// Of a convolution.
    pub algorithm: Option<Algorithm>,
    /// Its share of its op's cost. What a reshape moves is nothing if the plan made it a view.
    pub cost: Cost,
}

/// The calls of a schedule, in order.
pub(crate) fn summaries(graph: &Graph, schedule: &Schedule, plan: &BufferPlan) -> Vec<CallSummary> {
    let summary = |call: &Call| {
        let kernel = &schedule.kernels[call.kernel];
        CallSummary {
            path: graph.node(call.value).path.clone(),
            kernel: kernel.to_string(),
            kind: kind(kernel),
            algorithm: match kernel {
                Kernel::Convolution(convolution) => Some(convolution.algorithm),
                _ => None,
            },
            cost: share(graph, kernel, call, plan),
        }
    };
    schedule.calls.iter().map(summary).collect()
}

fn kind(kernel: &Kernel) -> String {
    match kernel {
        Kernel::Gather(_) => "gather".into(),
        Kernel::Pointwise(pointwise) => pointwise.function.name().into(),
        Kernel::Convert { .. } => "convert".into(),
        Kernel::AddBias { .. } => "add_bias".into(),
        Kernel::AveragePool(_) => "average_pool".into(),
        Kernel::ChannelSums { .. } => "channel_sums".into(),
        Kernel::GroupStatistics { .. } => "group_statistics".into(),
        Kernel::Normalize(_) => "normalize".into(),
        Kernel::ChannelNorm(_) => "channel_norm".into(),
        Kernel::GroupedConvolution(_) => "grouped_convolution".into(),
        Kernel::Convolution(convolution) => {
            let [time, height, width] = convolution.problem.kernel;
            let of = match convolution.prologue {
                Prologue::None => "",
                Prologue::Resize(..) => " of resize",
                Prologue::Normalize(_) => " of normalize",
                Prologue::ChannelNorm(_) => " of channel_norm",
            };
            format!("convolution {time}x{height}x{width}{of}")
        }
        Kernel::PackKeys(_) => "pack_keys".into(),
        Kernel::PackValues(_) => "pack_values".into(),
        Kernel::Attention(_) => "attention".into(),
        Kernel::LinearAttentionSums(_) => "linear_attention_sums".into(),
        Kernel::LinearAttention(_) => "linear_attention".into(),
    }
}

/// What a call has of its op's cost: an op of several calls is a concatenation, of which each moves
/// its part, a reduction, which does all that is to speak of in the first, an attention, whose last
/// call does all arithmetic, or a linear one, which is half and half.
fn share(graph: &Graph, kernel: &Kernel, call: &Call, plan: &BufferPlan) -> Cost {
    match kernel {
        Kernel::Gather(_) if is_view(call, plan) => Cost::default(),
        Kernel::Gather(gather) => {
            let elements: usize = gather.shape.iter().product();
            let bytes = (elements * graph.ty(call.value).element.bytes()) as u64;
            Cost { flops: 0, bytes_read: bytes, bytes_written: bytes }
        }
        Kernel::GroupStatistics { sums, .. } => {
            Cost { flops: 0, bytes_read: sums.bytes() as u64, bytes_written: graph.ty(call.value).bytes() as u64 }
        }
        Kernel::PackKeys(a) => packing(a, a.channels, a.packed()[0]),
        Kernel::PackValues(a) => packing(a, a.outputs, a.packed()[1]),
        Kernel::LinearAttentionSums(a) => of_sums(a),
        Kernel::LinearAttention(a) => {
            let (all, sums) = (cost(graph, call.value), of_sums(a));
            let bytes_read = all.bytes_read.saturating_sub(sums.bytes_read) + sums.bytes_written;
            Cost { flops: all.flops.saturating_sub(sums.flops), bytes_read, ..all }
        }
        _ => cost(graph, call.value),
    }
}

/// What it takes to pack the tokens of an attention, of so many channels a head, into so many words
/// a head.
fn packing(a: &Attention, channels: usize, words: usize) -> Cost {
    let read = a.matrices() * a.keys * channels * a.element.bytes();
    Cost { flops: 0, bytes_read: read as u64, bytes_written: (a.matrices() * words * size_of::<f32>()) as u64 }
}

/// What it takes to sum over the keys of a linear attention.
fn of_sums(a: &LinearAttention) -> Cost {
    let tokens = a.matrices() * a.keys;
    Cost {
        flops: 2 * (tokens as u64).saturating_mul(a.sums() as u64),
        bytes_read: (tokens * (a.channels + a.outputs) * a.element.bytes()) as u64,
        bytes_written: a.sums_bytes() as u64,
    }
}

/// Whether the result stands where the source is.
fn is_view(call: &Call, plan: &BufferPlan) -> bool {
    let offset = |place: Place| match place {
        Place::Value(value) => plan.placement(value).map(|placement| placement.offset),
        _ => None,
    };
    matches!(call.arguments[..], [result, source] if offset(result).is_some() && offset(result) == offset(source))
}
