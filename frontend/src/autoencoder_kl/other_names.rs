//! Other names of the model's tensors: those of its authors' code, latent diffusion (LDM), which
//! most single files have, FLUX's `ae.safetensors` and FLUX.2's among them; and those that diffusers gave to the
//! layers of attention before it had one class for all.
//!
//! A name is its modules and, last, its parameter, which is called the same.

/// The declaration's name of the tensor that LDM calls `name`, if it has one of that name. The
/// decoder's levels are numbered from the highest resolution down there.
pub(crate) fn of_ldm(levels: usize, name: &str) -> Option<String> {
    let (module, parameter) = name.rsplit_once('.')?;
    let path: Vec<&str> = module.split('.').collect();
    let own = match path[..] {
        ["quant_conv" | "post_quant_conv" | "bn"] => module.to_owned(),
        // Where they are the halves' own, as in FLUX.2's code.
        ["encoder", own @ "quant_conv"] | ["decoder", own @ "post_quant_conv"] => own.to_owned(),
        ["encoder", "down", level, ref path @ ..] => format!("encoder.down_blocks.{level}.{}", of_level(path)?),
        ["decoder", "up", level, ref path @ ..] => {
            let level = (levels - 1).checked_sub(level.parse().ok()?)?;
            format!("decoder.up_blocks.{level}.{}", of_level(path)?)
        }
        [half @ ("encoder" | "decoder"), ref path @ ..] => format!("{half}.{}", of_half(path)?),
        _ => return None,
    };
    Some(format!("{own}.{parameter}"))
}

/// A module that both halves have.
fn of_half(path: &[&str]) -> Option<String> {
    Some(match *path {
        [convolution @ ("conv_in" | "conv_out")] => convolution.to_owned(),
        ["norm_out"] => "conv_norm_out".to_owned(),
        ["mid", "block_1", layer] => format!("mid_block.resnets.0.{}", of_residual_block(layer)?),
        ["mid", "attn_1", layer] => format!("mid_block.attentions.0.{}", of_attention(layer)?),
        ["mid", "block_2", layer] => format!("mid_block.resnets.1.{}", of_residual_block(layer)?),
        _ => return None,
    })
}

fn of_level(path: &[&str]) -> Option<String> {
    Some(match *path {
        ["block", block, layer] => format!("resnets.{block}.{}", of_residual_block(layer)?),
        ["downsample", "conv"] => "downsamplers.0.conv".to_owned(),
        ["upsample", "conv"] => "upsamplers.0.conv".to_owned(),
        _ => return None,
    })
}

fn of_residual_block(layer: &str) -> Option<&str> {
    match layer {
        "norm1" | "conv1" | "norm2" | "conv2" => Some(layer),
        "nin_shortcut" => Some("conv_shortcut"),
        _ => None,
    }
}

fn of_attention(layer: &str) -> Option<&'static str> {
    Some(match layer {
        "norm" => "group_norm",
        "q" => "to_q",
        "k" => "to_k",
        "v" => "to_v",
        "proj_out" => "to_out.0",
        _ => return None,
    })
}

/// The declaration's name of the tensor that older versions of diffusers call `name`.
pub(super) fn of_older_diffusers(name: &str) -> Option<String> {
    let (first, _) = name.split_once('.')?;
    if !["encoder", "decoder", "quant_conv", "post_quant_conv"].contains(&first) {
        return None;
    }
    let (module, parameter) = name.rsplit_once('.')?;
    let own = module.rsplit_once('.').and_then(|(attention, layer)| {
        let layer = match layer {
            "query" => "to_q",
            "key" => "to_k",
            "value" => "to_v",
            "proj_attn" => "to_out.0",
            _ => return None,
        };
        Some(format!("{attention}.{layer}.{parameter}"))
    });
    Some(own.unwrap_or_else(|| name.to_owned()))
}
