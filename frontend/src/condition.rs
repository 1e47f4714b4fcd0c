//! What a half is conditioned on: inputs of its steps beside the video, whoever runs it gives them.
//!
//! A model lists its conditions ([`crate::Autoencoder::conditions`]); each is an input of every
//! step of that half, behind the video's and in their order, and a module asks for it by name while
//! it is declared. What their values are is the caller's affair.

use ir::{ElementType, Layout, TensorType};

use crate::step::Step;

/// The name of the condition that is a point of a diffusion's time, from 0 (no noise is left) to 1.
pub const TIMESTEP: &str = "timestep";

/// An input of a half's steps beside the video.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// What it is called.
    pub name: String,
    /// What is put there.
    pub kind: ConditionKind,
}

/// What is put into an input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ConditionKind {
    /// One number, the same for all that a step runs over.
    Number {
        /// What pipelines give where they are not told otherwise; `None` where there is no such
        /// number.
        usual: Option<f64>,
    },
    /// Numbers of a normal distribution of mean 0 and deviation 1, the same for all frames: one for
    /// each row and column of a finer grid than that of the step's input.
    Noise {
        /// Rows for a row of the input, and columns for a column.
        scale: usize,
    },
}

impl Condition {
    /// The type of the input in a step: `[1]` of a number, `[batch, 1, 1, height, width]` of noise.
    pub fn ty(&self, step: &Step) -> TensorType {
        match self.kind {
            ConditionKind::Number { .. } => TensorType::plain(ElementType::F32, [1]),
            ConditionKind::Noise { scale } => {
                let [height, width] = [step.height, step.width].map(|size| size.saturating_mul(scale));
                TensorType::with_layout(ElementType::F32, Layout::NCTHW, [step.batch, 1, 1, height, width])
            }
        }
    }
}
