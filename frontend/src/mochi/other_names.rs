//! The names of the decoder's tensors in the code of the model's authors, which their
//! `decoder.safetensors` and ComfyUI's file have.
//!
//! Modules are numbered in lists: `blocks` of the first blocks, the levels and the last blocks, and
//! `stack` of norm, activation and convolution, twice. The encoder's are not here: its queries, keys
//! and values are one tensor there.

/// The declaration's name of the tensor that the authors call `name`, if they have one of that
/// name, of a decoder with so many levels.
pub(super) fn of_authors(levels: usize, name: &str) -> Option<String> {
    let (module, parameter) = name.rsplit_once('.')?;
    let path: Vec<&str> = module.strip_prefix("decoder.").unwrap_or(module).split('.').collect();
    let own = match path[..] {
        ["output_proj"] => "proj_out".to_owned(),
        ["blocks", "0", "0"] => "conv_in".to_owned(),
        ["blocks", "0", layer, ref path @ ..] => {
            let layer = layer.parse::<usize>().ok()?.checked_sub(1)?;
            format!("block_in.resnets.{layer}.{}", of_residual_block(path)?)
        }
        ["blocks", block, ref path @ ..] => {
            let block = block.parse::<usize>().ok()?.checked_sub(1)?;
            match *path {
                ["proj"] if block + 1 < levels => format!("up_blocks.{block}.proj"),
                ["blocks", layer, ref path @ ..] if block + 1 < levels => {
                    format!("up_blocks.{block}.resnets.{layer}.{}", of_residual_block(path)?)
                }
                [layer, ref path @ ..] if block + 1 == levels => {
                    format!("block_out.resnets.{layer}.{}", of_residual_block(path)?)
                }
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(format!("decoder.{own}.{parameter}"))
}

fn of_residual_block(path: &[&str]) -> Option<&'static str> {
    match path {
        ["stack", "0"] => Some("norm1.norm_layer"),
        ["stack", "2"] => Some("conv1.conv"),
        ["stack", "3"] => Some("norm2.norm_layer"),
        ["stack", "5"] => Some("conv2.conv"),
        _ => None,
    }
}
