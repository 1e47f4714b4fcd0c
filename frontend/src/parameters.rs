//! What a declared network says of itself: the tensors that a checkpoint must hold, and the modules that can be tapped.
//!
//! Both are read off a declared graph, so that there is no second list to keep in step.

use ir::{Dims, Graph, Op, Role};

use crate::autoencoder::Autoencoder;
use crate::declaration::{DeclareError, Taps, declare};
use crate::step::{Half, Position, Step, StepKind};

/// Names and shapes of the tensors of one half in the checkpoint, in the order in which the network reads them.
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

/// The first step over the smallest input: parameters and paths do not depend on sizes.
fn smallest(model: &dyn Autoencoder, half: Half, taps: &Taps) -> Result<Graph, DeclareError> {
    let size = model.least_size(half);
    let kind = StepKind::new(half, Position::First);
    declare(model, &Step { kind, batch: 1, frames: 1, height: size, width: size }, taps)
}
