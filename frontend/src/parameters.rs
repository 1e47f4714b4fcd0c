//! What the declared network says of itself: the tensors that a checkpoint must hold, and the modules that can be tapped.
//!
//! Both are read off a declared graph, so that there is no second list to keep in step.

use std::fmt;

use ir::{Dims, Graph, Op, Role};

use crate::config::Config;
use crate::step::{DeclareError, Step, StepKind, Taps, declare};

/// A half of the autoencoder, with its 1x1x1 convolution at the latents, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Half {
    /// Video to latents.
    Encoder,
    /// Latents to video.
    Decoder,
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        })
    }
}

/// Names and shapes of the tensors of one half in the checkpoint, in the order in which the network reads them.
///
/// # Errors
/// When the configuration cannot be honoured; see [`DeclareError`].
pub fn parameters(config: &Config, half: Half) -> Result<Vec<(String, Dims)>, DeclareError> {
    let graph = smallest(config, half, &Taps::None)?;
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
pub fn tap_names(config: &Config, half: Half) -> Result<Vec<String>, DeclareError> {
    let graph = smallest(config, half, &Taps::All)?;
    Ok(graph.outputs().iter().filter(|output| output.role == Role::Tap).map(|output| output.name.clone()).collect())
}

/// The step over the smallest input: parameters and paths do not depend on sizes.
fn smallest(config: &Config, half: Half, taps: &Taps) -> Result<Graph, DeclareError> {
    let (kind, size) = match half {
        Half::Encoder => (StepKind::EncodeFirst, config.spatial_compression()),
        Half::Decoder => (StepKind::DecodeFirst, 1),
    };
    declare(config, &Step { kind, batch: 1, frames: 1, height: size, width: size }, taps)
}
