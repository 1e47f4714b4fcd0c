//! The names that the model's authors gave to its tensors (`taesd_encoder.pth`, `taesd_decoder.pth`
//! and their like), as other programs have them too: each half is a file, or a prefix, of its own.
//!
//! A half is one list of layers there, in which the decoder's first is what bounds the latents.

use crate::step::Half;

/// The declaration's name of the tensor that the authors' `half` calls `name`, if it has one of that
/// name.
pub(super) fn own_name(half: Half, name: &str) -> Option<String> {
    let (layer, rest) = name.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    match half {
        Half::Encoder => Some(format!("encoder.layers.{layer}.{rest}")),
        Half::Decoder => Some(format!("decoder.layers.{}.{rest}", layer.checked_sub(1)?)),
    }
}
