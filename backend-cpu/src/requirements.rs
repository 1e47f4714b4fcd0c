//! What running a step takes of memory, told without making code for it.
//!
//! The plan is the one that [`crate::program`] runs by.

use std::collections::BTreeMap;

use ir::{Graph, Op, Role, TensorType};

use crate::instruction_selection::{UnsupportedOp, schedule};
use crate::kernel::Kernel;
use crate::options::CompileOptions;
use crate::packing::Packing;
use crate::panel::PanelFamily;
use crate::program::plan;
use crate::weights::WeightFormat;

/// Bytes that a program and a run of it take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Intermediate values and temporaries: [`crate::program::Program::arena_bytes`].
    pub arena: usize,
    /// Scratch of each thread.
    pub scratch: usize,
    /// All inputs.
    pub inputs: usize,
    /// All results.
    pub results: usize,
    /// All taps.
    pub taps: usize,
    /// What is left to the next step. A next step reads as much.
    pub states: usize,
    /// Each weight in the form in which kernels read it, by a name that two programs have in common
    /// if they share it.
    pub weights: BTreeMap<String, usize>,
}

/// What the final graph of a CPU pipeline takes, compiled with `options`. Sums beyond the address
/// space are its end.
///
/// # Errors
/// When an op has no kernel.
pub fn requirements(graph: &Graph, options: CompileOptions<'_>) -> Result<Requirements, UnsupportedOp> {
    let isa = options.target.isa;
    let schedule = schedule(graph, options)?;
    let sum = |sizes: &mut dyn Iterator<Item = usize>| sizes.fold(0, usize::saturating_add);
    let outputs = |role| {
        let of_role = graph.outputs().iter().filter(|output| output.role == role);
        sum(&mut of_role.map(|output| graph.ty(output.value).bytes()))
    };
    let inputs = graph.nodes().filter_map(|(_, node)| match &node.op {
        Op::Input { ty, .. } => Some(ty.bytes()),
        _ => None,
    });
    let weight = |ty: &TensorType, format: &WeightFormat| match format {
        WeightFormat::Dense => ty.bytes(),
        // Channel-last: output channels are the last axis, and panels are padded to their full
        // width.
        WeightFormat::Packed(Packing { algorithm, taps: [_, packed_taps], .. }) => {
            let columns = ty.shape.last().copied().unwrap_or(1).max(1);
            let nr = PanelFamily::for_columns(isa, algorithm.factors(), columns).nr;
            let padded = (ty.elements() / columns).saturating_mul(columns.next_multiple_of(nr));
            // `dhwio`: the kernel is in front.
            let kernel: [usize; 3] = std::array::from_fn(|axis| ty.shape.get(axis).copied().unwrap_or(1));
            let taps: usize = kernel.iter().product();
            let element = algorithm.factors().bytes();
            (padded / taps.max(1))
                .saturating_mul(element * algorithm.planes() * algorithm.taps([*packed_taps, kernel[1], kernel[2]]))
        }
    };
    let weights = schedule.weights.iter();
    let weights = weights.map(|(recipe, format)| (format!("{} {format:?}", recipe.key()), weight(recipe.ty(), format)));
    Ok(Requirements {
        arena: plan(graph).0.arena_bytes.saturating_add(schedule.temporary_bytes),
        scratch: schedule.kernels.iter().map(Kernel::scratch_bytes).max().unwrap_or(0),
        inputs: sum(&mut { inputs }),
        results: outputs(Role::Result),
        taps: outputs(Role::Tap),
        states: outputs(Role::State),
        weights: weights.collect(),
    })
}
