//! What a declared network says of itself: the tensors that a checkpoint must hold, and the modules
//! that can be tapped.
//!
//! Both are read off a declared graph, so that there is no second list to keep in step.

use ir::{Dims, Graph, Op, Role};

use crate::autoencoder::Autoencoder;
use crate::declaration::{DeclareError, Taps, declare};
use crate::frame_steps::FrameSteps;
use crate::step::{Half, Position, Step, StepKind};

/// Names and shapes of the tensors of one half in the checkpoint, in the order in which the network
/// reads them.
///
/// # Errors
/// When the configuration cannot be honoured; see [`DeclareError`].
pub fn parameters(model: &dyn Autoencoder, half: Half) -> Result<Vec<(String, Dims)>, DeclareError> {
    let graph = smallest(model, half, &Taps::None)?;
    let parameter = |op: &Op| match op {
        Op::Parameter { name, ty } => Some((name.clone(), ty.shape.clone())),
        _ => None,
    };
    Ok(graph.nodes().filter_map(|(_, node)| parameter(&node.op)).collect())
}

/// Paths of the modules of one half whose output can be tapped, in the order in which they return.
///
/// # Errors
/// When the configuration cannot be honoured; see [`DeclareError`].
pub fn tap_names(model: &dyn Autoencoder, half: Half) -> Result<Vec<String>, DeclareError> {
    let graph = smallest(model, half, &Taps::All)?;
    Ok(graph.outputs().iter().filter(|output| output.role == Role::Tap).map(|output| output.name.clone()).collect())
}

/// The step that runs every module, over the smallest input: parameters and paths do not depend on
/// sizes, but a first step may leave modules over time alone.
fn smallest(model: &dyn Autoencoder, half: Half, taps: &Taps) -> Result<Graph, DeclareError> {
    let size = model.least_size(half);
    let (position, frames) = match model.frame_steps(half) {
        FrameSteps::Fixed { .. } => (Position::Next, 1),
        FrameSteps::Free { unit, .. } | FrameSteps::Chunks { unit, .. } | FrameSteps::Ragged { unit, .. } => {
            (Position::Next, unit)
        }
        FrameSteps::Units { unit } => (Position::Whole, unit),
        FrameSteps::Parts { .. } | FrameSteps::Whole | FrameSteps::WholeUnits { .. } => (Position::Whole, 1),
    };
    let kind = StepKind::new(half, position);
    declare(model, &Step { kind, batch: 1, frames, height: size, width: size }, taps)
}
