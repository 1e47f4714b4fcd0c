//! The names of the model's authors (`svd.safetensors`), which are latent diffusion's (LDM), with
//! the modules over time among them.

use crate::autoencoder_kl;

/// The declaration's name of the tensor that LDM calls `name`, if it has one of that name.
pub(super) fn of_ldm(levels: usize, name: &str) -> Option<String> {
    if let Some(parameter) = name.strip_prefix("decoder.conv_out.time_mix_conv.") {
        return Some(format!("decoder.time_conv_out.{parameter}"));
    }
    if let Some((block, module)) = name.split_once(".time_stack.") {
        let (layer, parameter) = module.rsplit_once('.')?;
        let layer = match layer {
            "in_layers.0" => "norm1",
            "in_layers.2" => "conv1",
            "out_layers.0" => "norm2",
            "out_layers.3" => "conv2",
            _ => return None,
        };
        return Some(format!("{}.temporal_res_block.{layer}.{parameter}", block_of_ldm(levels, block)?));
    }
    if let Some(block) = name.strip_suffix(".mix_factor") {
        return Some(format!("{}.time_mixer.mix_factor", block_of_ldm(levels, block)?));
    }
    let own = autoencoder_kl::other_names::of_ldm(levels, name)?;
    // The decoder's residual blocks are those of single frames.
    match own.strip_prefix("decoder.").and_then(|path| path.split_once(".resnets.")) {
        Some((level, path)) => {
            let (block, layer) = path.split_once('.')?;
            Some(format!("decoder.{level}.resnets.{block}.spatial_res_block.{layer}"))
        }
        None => Some(own),
    }
}

/// The declaration's name of the residual block that LDM calls `block`.
fn block_of_ldm(levels: usize, block: &str) -> Option<String> {
    // As a module of it has it.
    let own = autoencoder_kl::other_names::of_ldm(levels, &format!("{block}.conv1.weight"))?;
    own.strip_suffix(".conv1.weight").map(str::to_owned)
}
