//! The names that the model's authors gave to its tensors (`Wan2.1_VAE.pth`, `Wan2.2_VAE.pth`), as
//! other programs have them too.
//!
//! A name is its modules and, last, its parameter, which is called the same. Modules are numbered
//! in lists: of a residual block (norm, activation, convolution, norm, activation, dropout,
//! convolution), of the layers of all levels, or, with shortcuts, of the levels and then of the
//! layers of each.

use super::network::Network;

/// The declaration's name of the tensor that the authors call `name`, if they have one of that
/// name.
pub(super) fn own_name(network: &Network, name: &str) -> Option<String> {
    let (module, parameter) = name.rsplit_once('.')?;
    let path: Vec<&str> = module.split('.').collect();
    let own = match path[..] {
        ["conv1"] => "quant_conv".to_owned(),
        ["conv2"] => "post_quant_conv".to_owned(),
        ["encoder", ref path @ ..] => format!("encoder.{}", of_half(path).or_else(|| of_encoder(network, path))?),
        ["decoder", ref path @ ..] => format!("decoder.{}", of_half(path).or_else(|| of_decoder(network, path))?),
        _ => return None,
    };
    Some(format!("{own}.{parameter}"))
}

/// A module that both halves have.
fn of_half(path: &[&str]) -> Option<String> {
    Some(match path {
        ["conv1"] => "conv_in".to_owned(),
        ["head", "0"] => "norm_out".to_owned(),
        ["head", "2"] => "conv_out".to_owned(),
        ["middle", "0", path @ ..] => format!("mid_block.resnets.0.{}", of_residual_block(path)?),
        ["middle", "1", path @ ..] => format!("mid_block.attentions.0.{}", of_attention(path)?),
        ["middle", "2", path @ ..] => format!("mid_block.resnets.1.{}", of_residual_block(path)?),
        _ => return None,
    })
}

fn of_encoder(network: &Network, path: &[&str]) -> Option<String> {
    match path {
        ["downsamples", level, "downsamples", layer, path @ ..] if network.is_residual => {
            let layer: usize = layer.parse().ok()?;
            let layer = of_level(layer, network.layers, "downsampler", path)?;
            Some(format!("down_blocks.{level}.{layer}"))
        }
        ["downsamples", layer, path @ ..] if !network.is_residual => {
            let module = of_residual_block(path).or_else(|| of_attention(path)).or_else(|| of_sampler(path))?;
            Some(format!("down_blocks.{layer}.{module}"))
        }
        _ => None,
    }
}

fn of_decoder(network: &Network, path: &[&str]) -> Option<String> {
    let blocks = network.layers + 1;
    match path {
        ["upsamples", level, "upsamples", layer, path @ ..] if network.is_residual => {
            let layer = of_level(layer.parse().ok()?, blocks, "upsampler", path)?;
            Some(format!("up_blocks.{level}.{layer}"))
        }
        ["upsamples", layer, path @ ..] if !network.is_residual => {
            let layer: usize = layer.parse().ok()?;
            let (level, layer) = (layer / (blocks + 1), layer % (blocks + 1));
            Some(format!("up_blocks.{level}.{}", of_level(layer, blocks, "upsamplers.0", path)?))
        }
        _ => None,
    }
}

/// A module of a layer of a level: so many residual blocks, and then a sampler of this name.
fn of_level(layer: usize, blocks: usize, sampler: &str, path: &[&str]) -> Option<String> {
    if layer < blocks {
        return Some(format!("resnets.{layer}.{}", of_residual_block(path)?));
    }
    (layer == blocks).then(|| of_sampler(path)).flatten().map(|module| format!("{sampler}.{module}"))
}

fn of_residual_block(path: &[&str]) -> Option<&'static str> {
    match path {
        ["residual", "0"] => Some("norm1"),
        ["residual", "2"] => Some("conv1"),
        ["residual", "3"] => Some("norm2"),
        ["residual", "6"] => Some("conv2"),
        ["shortcut"] => Some("conv_shortcut"),
        _ => None,
    }
}

fn of_attention(path: &[&str]) -> Option<&'static str> {
    match path {
        ["norm"] => Some("norm"),
        ["to_qkv"] => Some("to_qkv"),
        ["proj"] => Some("proj"),
        _ => None,
    }
}

fn of_sampler(path: &[&str]) -> Option<&'static str> {
    match path {
        ["resample", "1"] => Some("resample.1"),
        ["time_conv"] => Some("time_conv"),
        _ => None,
    }
}
