//! Which of the published models of this family a file may hold, by the modules that its halves
//! have, in diffusers' names or their authors'. What there is of each size is the class's affair:
//! see [`crate::recognition`].

use crate::recognition::TensorShapes;

/// What the modules of a file tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// LTX-Video 0.9.0: residual blocks by themselves change the number of channels.
    First,
    /// LTX-Video 0.9.1: a timestep, and noise.
    WithNoise,
    /// LTX-Video 0.9.5 and later: a timestep.
    WithTimestep,
    /// LTX-2: neither.
    Second,
    /// LTX-2.3: a level more.
    Deeper,
}

/// What a file with these tensors may hold, if it looks like a model of this family.
pub(crate) fn release(tensors: &TensorShapes<'_>) -> Option<Release> {
    let has = |names: &[&str]| names.iter().any(|name| tensors.has(name));
    let blocks = [
        "encoder.mid_block.resnets.0.conv1.conv.weight",
        "decoder.mid_block.resnets.0.conv1.conv.weight",
        "encoder.down_blocks.0.res_blocks.0.conv1.conv.weight",
        "decoder.up_blocks.0.res_blocks.0.conv1.conv.weight",
    ];
    // Other families have weights in their norms.
    let norms = ["weight", "gamma"].map(|name| format!("mid_block.resnets.0.norm1.{name}"));
    if !has(&blocks) || norms.iter().any(|name| tensors.has(name)) {
        return None;
    }
    let embedder = ["time_embedder", "last_time_embedder"];
    let embedder = embedder.map(|name| format!("decoder.{name}.timestep_embedder.linear_1.weight"));
    if embedder.iter().any(|name| tensors.has(name)) {
        let noise =
            ["decoder.up_blocks.0.resnets.0.per_channel_scale1", "decoder.up_blocks.2.res_blocks.0.per_channel_scale1"];
        return Some(if has(&noise) { Release::WithNoise } else { Release::WithTimestep });
    }
    let widening = [
        "decoder.up_blocks.2.conv_in.conv1.conv.weight",
        "decoder.up_blocks.4.conv1.conv.weight",
        "encoder.down_blocks.0.conv_out.conv1.conv.weight",
        "encoder.down_blocks.2.conv1.conv.weight",
    ];
    if has(&widening) {
        return Some(Release::First);
    }
    let last = ["decoder.up_blocks.3.upsamplers.0.conv.conv.weight", "decoder.up_blocks.7.conv.conv.weight"];
    Some(if has(&last) { Release::Deeper } else { Release::Second })
}
