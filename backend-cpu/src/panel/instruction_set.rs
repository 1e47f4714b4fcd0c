//! [`InstructionSet`]: all that is known of an instruction set, one value for each, in the file of
//! its kernels.

use super::PanelFamily;
use super::channel_norm;
use super::normalize::{NormalizeFn, NormalizeVariant};
use super::softmax::SoftmaxFn;
use super::transform::Transforms;

/// An instruction set: when it can be had, and the kernels written for it.
#[derive(Debug)]
pub(crate) struct InstructionSet {
    /// Whether this CPU, under this operating system, can run it.
    pub is_supported: fn() -> bool,
    /// What emitted code may use of it: settings of Cranelift's target, to be set to true.
    pub cranelift_features: &'static [&'static str],
    /// Contraction panels of f32: the wide family, then the narrow one.
    pub panels: [&'static PanelFamily; 2],
    /// What is written for its dot products of bf16, if it has any.
    pub dot_products: Option<DotProductPanels>,
    /// Winograd's transforms.
    pub transforms: &'static Transforms,
    /// The forms of the normalisation kernel.
    pub normalizations: &'static [(NormalizeVariant, NormalizeFn)],
    /// The forms of the normalisation over channels.
    pub channel_norms: &'static [(channel_norm::ChannelNormVariant, channel_norm::ChannelNormFn)],
    /// The softmax kernel.
    pub softmax: SoftmaxFn,
}

/// Contraction panels of pairs of bf16, of the sizes that those of f32 have.
#[derive(Debug)]
pub(crate) struct DotProductPanels {
    /// Whether this CPU has the instructions beside the instruction set's own.
    pub is_supported: fn() -> bool,
    /// The wide family, then the narrow one.
    pub panels: [&'static PanelFamily; 2],
}
