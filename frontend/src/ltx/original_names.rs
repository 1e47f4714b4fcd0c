//! The names that the model's authors gave to its tensors, as the files have them that hold
//! transformer and autoencoder (`vae.` in front): modules of all levels are numbered in one list a
//! half. (diffusers' `convert_ltx_vae_checkpoint_to_diffusers`, `convert_ltx2_vae_to_diffusers`.)

use super::network::{Generation, Network};

/// A module of the list.
enum Listed {
    /// Residual blocks in a row, `res_blocks.J`, with what they have in common.
    Blocks(String),
    /// A sampler, or a residual block by itself.
    One(String),
}

/// The declaration's name of the tensor that the authors call `name`, if they have one of that
/// name.
pub(super) fn own_name(network: &Network, name: &str) -> Option<String> {
    let path: Vec<&str> = name.split('.').collect();
    let (half, list) = match path[..] {
        ["per_channel_statistics", "mean-of-means"] => return Some("latents_mean".to_owned()),
        ["per_channel_statistics", "std-of-means"] => return Some("latents_std".to_owned()),
        ["decoder", "last_time_embedder", ..] | ["decoder", "last_scale_shift_table"] => {
            return Some(name.replacen("last_", "", 1));
        }
        ["encoder" | "decoder", "conv_in" | "conv_out", ..] | ["decoder", "timestep_scale_multiplier"] => {
            return Some(name.to_owned());
        }
        ["encoder", "down_blocks", ..] => ("encoder", encoder_list(network)),
        ["decoder", "up_blocks", ..] => ("decoder", decoder_list(network)),
        _ => return None,
    };
    let number: usize = path.get(2)?.parse().ok()?;
    let (module, within) = match (list.into_iter().nth(number)?, path.get(3..)?) {
        (Listed::Blocks(module), ["res_blocks", block, within @ ..]) => (format!("{module}.resnets.{block}"), within),
        (Listed::Blocks(module), within @ ["time_embedder", ..]) | (Listed::One(module), within) => (module, within),
        (Listed::Blocks(_), _) => return None,
    };
    Some(format!("{half}.{module}.{}", of_module(network, within)?))
}

/// A parameter within a residual block or a sampler.
fn of_module(network: &Network, path: &[&str]) -> Option<String> {
    match path {
        [] => None,
        ["norm3", "norm", parameter] => Some(format!("norm3.{parameter}")),
        ["conv_shortcut", parameter] if network.generation == Generation::First => {
            Some(format!("conv_shortcut.conv.{parameter}"))
        }
        _ => Some(path.join(".")),
    }
}

/// The encoder's list: of each level its blocks, its sampler, and the block that changes the number
/// of channels; then the blocks behind all levels.
fn encoder_list(network: &Network) -> Vec<Listed> {
    let mut list = vec![];
    let mut inputs = network.encoder.first;
    for (number, level) in network.encoder.levels.iter().enumerate() {
        let module = format!("down_blocks.{number}");
        list.push(Listed::Blocks(module.clone()));
        list.extend(level.sampler.map(|_| Listed::One(format!("{module}.downsamplers.0"))));
        if level.widens && inputs != level.outputs {
            list.push(Listed::One(format!("{module}.conv_out")));
        }
        inputs = level.outputs;
    }
    list.push(Listed::Blocks("mid_block".to_owned()));
    list
}

/// The decoder's list: the blocks in front of all levels; then of each level the block that changes
/// the number of channels, its sampler and its blocks.
fn decoder_list(network: &Network) -> Vec<Listed> {
    let mut list = vec![Listed::Blocks("mid_block".to_owned())];
    for (number, level) in network.decoder.levels.iter().enumerate() {
        let module = format!("up_blocks.{number}");
        if level.inputs != level.outputs {
            list.push(Listed::One(format!("{module}.conv_in")));
        }
        list.extend(level.factors.map(|_| Listed::One(format!("{module}.upsamplers.0"))));
        list.push(Listed::Blocks(module));
    }
    list
}
