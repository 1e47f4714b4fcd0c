//! The names of the model's authors, as ComfyUI's file has them: latent diffusion's (LDM), with
//! convolutions in modules of their own, and two attentions where there is one.

/// The declaration's name of the tensor that the authors call `name`, if they have one of that
/// name, of a decoder with so many blocks, which are numbered from the highest resolution down
/// there.
pub(super) fn of_authors(up_blocks: usize, name: &str) -> Option<String> {
    let (module, parameter) = name.rsplit_once('.')?;
    let module = module.strip_suffix(".conv3d").unwrap_or(module);
    let path: Vec<&str> = module.split('.').collect();
    let own = match path[..] {
        ["quant_conv" | "post_quant_conv"] => module.to_owned(),
        ["encoder", "down", block, ref path @ ..] => format!("encoder.down_blocks.{block}.{}", of_block(path)?),
        ["decoder", "up", block, ref path @ ..] => {
            let block = up_blocks.checked_sub(1)?.checked_sub(block.parse().ok()?)?;
            format!("decoder.up_blocks.{block}.{}", of_block(path)?)
        }
        [half @ ("encoder" | "decoder"), ref path @ ..] => format!("{half}.{}", of_half(path)?),
        _ => return None,
    };
    Some(format!("{own}.{parameter}"))
}

/// A module that both halves have.
fn of_half(path: &[&str]) -> Option<String> {
    Some(match *path {
        [convolution @ ("conv_in" | "conv_out"), part] => format!("{convolution}.{}", of_projection(part)?),
        ["norm_out", "norm"] => "norm_out.norm".to_owned(),
        ["mid", "block_1", ref path @ ..] => format!("mid_block.resnets.0.{}", of_residual_block(path)?),
        ["mid", "attn_1", "0", ref path @ ..] => format!("mid_block.attentions.0.{}", of_attention(path)?),
        ["mid", "attn_1", "1", ref path @ ..] => format!("mid_block.temp_attentions.0.{}", of_attention(path)?),
        ["mid", "block_2", ref path @ ..] => format!("mid_block.resnets.1.{}", of_residual_block(path)?),
        _ => return None,
    })
}

fn of_block(path: &[&str]) -> Option<String> {
    Some(match *path {
        ["block", layer, ref path @ ..] => format!("resnets.{layer}.{}", of_residual_block(path)?),
        ["attn", layer, "0", ref path @ ..] => format!("attentions.{layer}.{}", of_attention(path)?),
        ["attn", layer, "1", ref path @ ..] => format!("temp_attentions.{layer}.{}", of_attention(path)?),
        ["downsample", convolution @ ("conv1" | "conv2" | "conv3")] => format!("downsamplers.0.{convolution}"),
        ["upsample", convolution @ ("conv1" | "conv2" | "conv3")] => format!("upsamplers.0.{convolution}"),
        _ => return None,
    })
}

fn of_residual_block(path: &[&str]) -> Option<String> {
    Some(match *path {
        [norm @ ("norm1" | "norm2"), "norm"] => format!("{norm}.norm"),
        [convolution @ ("conv1" | "conv2"), part] => format!("{convolution}.{}", of_projection(part)?),
        ["nin_shortcut"] => "conv_shortcut".to_owned(),
        _ => return None,
    })
}

fn of_projection(part: &str) -> Option<&'static str> {
    match part {
        "0" => Some("conv_s"),
        "1" => Some("conv_t"),
        _ => None,
    }
}

fn of_attention(path: &[&str]) -> Option<&'static str> {
    Some(match path {
        ["norm", "norm"] => "norm.norm",
        ["q"] => "to_q",
        ["k"] => "to_k",
        ["v"] => "to_v",
        ["proj_out"] => "to_out.0",
        _ => return None,
    })
}
