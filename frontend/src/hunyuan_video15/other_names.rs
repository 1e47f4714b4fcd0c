//! The names that the model's authors gave to its tensors, which ComfyUI's files have too. Levels
//! are numbered as each half runs them.

/// The declaration's name of the tensor that the authors call `name`, if it has one of that name.
pub(super) fn of_original(name: &str) -> Option<String> {
    let (module, parameter) = name.rsplit_once('.')?;
    let path: Vec<&str> = module.split('.').collect();
    let own = match path[..] {
        ["encoder", "down", level, ref path @ ..] => format!("encoder.down_blocks.{level}.{}", of_level(path)?),
        ["decoder", "up", level, ref path @ ..] => format!("decoder.up_blocks.{level}.{}", of_level(path)?),
        [half @ ("encoder" | "decoder"), "mid", block, ref path @ ..] => {
            format!("{half}.mid_block.{}", of_mid_block(block, path)?)
        }
        ["encoder" | "decoder", "conv_in" | "conv_out", "conv"] | ["encoder" | "decoder", "norm_out"] => {
            module.to_owned()
        }
        _ => return None,
    };
    Some(format!("{own}.{parameter}"))
}

fn of_level(path: &[&str]) -> Option<String> {
    Some(match *path {
        ["block", block, ref path @ ..] => format!("resnets.{block}.{}", of_residual_block(path)?),
        ["downsample", "conv", "conv"] => "downsamplers.0.conv.conv".to_owned(),
        ["upsample", "conv", "conv"] => "upsamplers.0.conv.conv".to_owned(),
        _ => return None,
    })
}

fn of_mid_block(block: &str, path: &[&str]) -> Option<String> {
    Some(match (block, path) {
        ("block_1", path) => format!("resnets.0.{}", of_residual_block(path)?),
        ("block_2", path) => format!("resnets.1.{}", of_residual_block(path)?),
        ("attn_1", [layer @ ("norm" | "proj_out")]) => format!("attentions.0.{layer}"),
        ("attn_1", [layer @ ("q" | "k" | "v")]) => format!("attentions.0.to_{layer}"),
        _ => return None,
    })
}

fn of_residual_block(path: &[&str]) -> Option<String> {
    Some(match *path {
        [norm @ ("norm1" | "norm2")] => norm.to_owned(),
        [conv @ ("conv1" | "conv2"), "conv"] => format!("{conv}.conv"),
        ["nin_shortcut"] | ["nin_shortcut", "conv"] => "conv_shortcut".to_owned(),
        _ => return None,
    })
}
