//! The names that others have for the tensors of the golden checkpoints: tables that know nothing of
//! the code that reads such files. Numbers of levels and blocks are the golden checkpoints'.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::goldens;

/// Writes the weights of a golden checkpoint to a file, each tensor renamed and its shape changed, with
/// these metadata.
///
/// # Panics
/// If the checkpoint cannot be read, or the file not written.
pub fn write_renamed(
    model: &str,
    file: &Path,
    metadata: Option<HashMap<String, String>>,
    rename: impl Fn(&str, &mut Vec<usize>) -> String,
) {
    let golden = goldens().join("models").join(model);
    let bytes = fs::read(golden.join("diffusion_pytorch_model.safetensors")).expect("the weights");
    let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let views = tensors.iter().map(|(name, view)| {
        let mut shape = view.shape().to_vec();
        let name = rename(name, &mut shape);
        (name, TensorView::new(view.dtype(), shape, view.data()).expect("as many values"))
    });
    safetensors::serialize_to_file(views, metadata, file).expect("a file");
}

/// A name of `AutoencoderKL` with three levels as latent diffusion's code has it.
pub fn in_ldm(name: &str, shape: &mut Vec<usize>) -> String {
    let attention = name.contains(".attentions.");
    if attention && shape.len() == 2 {
        shape.extend([1, 1]);
    }
    let mut name = name.to_owned();
    for (own, other) in [
        (".mid_block.resnets.0.", ".mid.block_1."),
        (".mid_block.resnets.1.", ".mid.block_2."),
        (".mid_block.attentions.0.", ".mid.attn_1."),
        (".group_norm.", ".norm."),
        (".to_q.", ".q."),
        (".to_k.", ".k."),
        (".to_v.", ".v."),
        (".to_out.0.", ".proj_out."),
        (".conv_norm_out.", ".norm_out."),
        (".down_blocks.", ".down."),
        (".up_blocks.0.", ".up.2."),
        (".up_blocks.1.", ".up.1."),
        (".up_blocks.2.", ".up.0."),
        (".resnets.", ".block."),
        (".downsamplers.0.", ".downsample."),
        (".upsamplers.0.", ".upsample."),
        (".conv_shortcut.", ".nin_shortcut."),
    ] {
        name = name.replace(own, other);
    }
    name
}

/// A name of `AutoencoderTiny` as its authors' two lists of layers have it.
pub fn in_taesd(name: &str, _shape: &mut Vec<usize>) -> String {
    if let Some(rest) = name.strip_prefix("encoder.layers.") {
        return format!("taesd_encoder.{rest}");
    }
    let (layer, rest) = name.strip_prefix("decoder.layers.").and_then(|rest| rest.split_once('.')).expect("a layer");
    format!("taesd_decoder.{}.{rest}", layer.parse::<usize>().expect("a number") + 1)
}

/// A name of LTX-Video as its authors have it, by the places that blocks have in their lists. The
/// first that is in the name counts.
pub fn in_lists(name: &str, blocks: &[(&str, &str)]) -> String {
    let found = blocks.iter().find(|(own, _)| name.contains(own));
    let mut name = found.map_or_else(|| name.to_owned(), |(own, other)| name.replace(own, other));
    for (own, other) in [
        (".resnets.", ".res_blocks."),
        (".norm3.", ".norm3.norm."),
        (".conv_shortcut.conv.", ".conv_shortcut."),
        ("decoder.time_embedder.", "decoder.last_time_embedder."),
        ("decoder.scale_shift_table", "decoder.last_scale_shift_table"),
        ("latents_mean", "per_channel_statistics.mean-of-means"),
        ("latents_std", "per_channel_statistics.std-of-means"),
    ] {
        name = name.replace(own, other);
    }
    name
}

/// The places of modules in the lists of the authors of a golden LTX, for [`in_lists`].
///
/// # Panics
/// If it is none.
pub fn blocks_of_ltx(model: &str) -> Vec<(&'static str, &'static str)> {
    let oldest: &[(&str, &str)] = &[
        ("encoder.mid_block.", "encoder.down_blocks.7."),
        ("encoder.down_blocks.0.downsamplers.0.", "encoder.down_blocks.1."),
        ("encoder.down_blocks.0.conv_out.", "encoder.down_blocks.2."),
        ("encoder.down_blocks.1.downsamplers.0.", "encoder.down_blocks.4."),
        ("encoder.down_blocks.1.conv_out.", "encoder.down_blocks.5."),
        ("encoder.down_blocks.1.", "encoder.down_blocks.3."),
        ("encoder.down_blocks.2.", "encoder.down_blocks.6."),
        ("decoder.mid_block.", "decoder.up_blocks.0."),
        ("decoder.up_blocks.0.", "decoder.up_blocks.1."),
        ("decoder.up_blocks.1.conv_in.", "decoder.up_blocks.2."),
        ("decoder.up_blocks.1.upsamplers.0.", "decoder.up_blocks.3."),
        ("decoder.up_blocks.1.", "decoder.up_blocks.4."),
        ("decoder.up_blocks.2.conv_in.", "decoder.up_blocks.5."),
        ("decoder.up_blocks.2.upsamplers.0.", "decoder.up_blocks.6."),
        ("decoder.up_blocks.2.", "decoder.up_blocks.7."),
    ];
    let two_levels = [
        ("decoder.mid_block.", "decoder.up_blocks.0."),
        ("decoder.up_blocks.0.upsamplers.0.", "decoder.up_blocks.1."),
        ("decoder.up_blocks.0.", "decoder.up_blocks.2."),
        ("decoder.up_blocks.1.upsamplers.0.", "decoder.up_blocks.3."),
        ("decoder.up_blocks.1.", "decoder.up_blocks.4."),
    ];
    let shuffled = [
        ("encoder.mid_block.", "encoder.down_blocks.6."),
        ("encoder.down_blocks.0.downsamplers.0.", "encoder.down_blocks.1."),
        ("encoder.down_blocks.1.downsamplers.0.", "encoder.down_blocks.3."),
        ("encoder.down_blocks.1.", "encoder.down_blocks.2."),
        ("encoder.down_blocks.2.downsamplers.0.", "encoder.down_blocks.5."),
        ("encoder.down_blocks.2.", "encoder.down_blocks.4."),
    ];
    let three_levels = [
        ("decoder.mid_block.", "decoder.up_blocks.0."),
        ("decoder.up_blocks.0.upsamplers.0.", "decoder.up_blocks.1."),
        ("decoder.up_blocks.0.", "decoder.up_blocks.2."),
        ("decoder.up_blocks.1.upsamplers.0.", "decoder.up_blocks.3."),
        ("decoder.up_blocks.1.", "decoder.up_blocks.4."),
        ("decoder.up_blocks.2.upsamplers.0.", "decoder.up_blocks.5."),
        ("decoder.up_blocks.2.", "decoder.up_blocks.6."),
    ];
    match model {
        "ltx-0.9.0" => oldest.to_vec(),
        "ltx-0.9.1" => [&oldest[..7], &two_levels].concat(),
        "ltx-0.9.5" | "ltx-2.0" => [&shuffled[..], &two_levels].concat(),
        "ltx-2.3" => [&shuffled[..], &three_levels].concat(),
        _ => panic!("{model} is no LTX"),
    }
}

/// A name of `AutoencoderKLHunyuanVideo` with four levels as ComfyUI's files have it, whose
/// attention is of 1x1x1 convolutions.
pub fn in_ldm_of_videos(name: &str, shape: &mut Vec<usize>) -> String {
    if name.contains(".attentions.") && shape.len() == 2 {
        shape.extend([1, 1, 1]);
    }
    let levels = (0..4).map(|level| (format!(".up_blocks.{level}."), format!(".up.{}.", 3 - level)));
    let name = levels.fold(name.to_owned(), |name, (own, other)| name.replace(&own, &other));
    in_ldm(&name, &mut vec![])
}

/// A name of `AutoencoderKLHunyuanVideo15` as its authors have it.
pub fn in_original_hunyuan_video15(name: &str, _shape: &mut Vec<usize>) -> String {
    let mut name = name.to_owned();
    for (own, other) in [
        (".mid_block.resnets.0.", ".mid.block_1."),
        (".mid_block.resnets.1.", ".mid.block_2."),
        (".mid_block.attentions.0.to_", ".mid.attn_1."),
        (".mid_block.attentions.0.", ".mid.attn_1."),
        (".down_blocks.", ".down."),
        (".up_blocks.", ".up."),
        (".resnets.", ".block."),
        (".downsamplers.0.", ".downsample."),
        (".upsamplers.0.", ".upsample."),
    ] {
        name = name.replace(own, other);
    }
    name
}

/// A name of the decoder of `AutoencoderKLMochi` with three levels as its authors have it, with
/// this in front; the encoder's are left as they are.
pub fn in_stacks(prefix: &str, name: &str) -> String {
    let Some(path) = name.strip_prefix("decoder.") else { return name.to_owned() };
    let mut path = path.to_owned();
    for (own, other) in [
        ("conv_in.", "blocks.0.0."),
        ("block_in.resnets.0.", "blocks.0.1."),
        ("up_blocks.0.", "blocks.1."),
        ("up_blocks.1.", "blocks.2."),
        ("block_out.resnets.", "blocks.3."),
        ("proj_out.", "output_proj."),
        (".resnets.", ".blocks."),
        (".norm1.norm_layer.", ".stack.0."),
        (".conv1.conv.", ".stack.2."),
        (".norm2.norm_layer.", ".stack.3."),
        (".conv2.conv.", ".stack.5."),
    ] {
        path = path.replace(own, other);
    }
    format!("{prefix}{path}")
}

/// A name of `AutoencoderKLTemporalDecoder` with two levels as latent diffusion's code has it.
pub fn in_ldm_over_time(name: &str, shape: &mut Vec<usize>) -> String {
    if let Some(parameter) = name.strip_prefix("decoder.time_conv_out.") {
        return format!("decoder.conv_out.time_mix_conv.{parameter}");
    }
    let mut name = in_ldm(&name.replace(".spatial_res_block.", "."), shape);
    for (own, other) in [
        // Two levels, not three.
        ("decoder.up.2.", "decoder.up.one."),
        ("decoder.up.1.", "decoder.up.0."),
        ("decoder.up.one.", "decoder.up.1."),
        (".time_mixer.", "."),
        (".temporal_res_block.norm1.", ".time_stack.in_layers.0."),
        (".temporal_res_block.conv1.", ".time_stack.in_layers.2."),
        (".temporal_res_block.norm2.", ".time_stack.out_layers.0."),
        (".temporal_res_block.conv2.", ".time_stack.out_layers.3."),
    ] {
        name = name.replace(own, other);
    }
    name
}

/// A name of `AutoencoderKLCosmos` with three blocks a half as its authors have it.
pub fn in_factors(name: &str) -> String {
    let is_convolution = !name.contains("norm");
    let mut name = in_ldm(name, &mut vec![])
        .replace(".mid.attn_1.", ".mid.attn_1.0.")
        .replace(".mid_block.temp_attentions.0.", ".mid.attn_1.1.")
        .replace(".temp_attentions.0.", ".attn.0.1.")
        .replace(".temp_attentions.1.", ".attn.1.1.")
        .replace(".attentions.0.", ".attn.0.0.")
        .replace(".attentions.1.", ".attn.1.0.")
        .replace(".conv_s.", ".0.")
        .replace(".conv_t.", ".1.");
    if is_convolution {
        let (module, parameter) = name.rsplit_once('.').expect("a module");
        name = format!("{module}.conv3d.{parameter}");
    }
    name
}

/// The authors' name of a module of a residual block, or of its attention or sampler.
fn leaf(name: &str) -> String {
    for (own, original) in [
        ("norm1", "residual.0"),
        ("conv1", "residual.2"),
        ("norm2", "residual.3"),
        ("conv2", "residual.6"),
        ("conv_shortcut", "shortcut"),
    ] {
        if let Some(rest) = name.strip_prefix(own) {
            return format!("{original}{rest}");
        }
    }
    name.to_owned()
}

/// The authors' name of a tensor of a Wan with so many residual blocks a level of the encoder; with
/// a list of layers for each level if it `is_residual`, of all levels else.
pub fn wan(name: &str, blocks: usize, is_residual: bool) -> String {
    if let Some(rest) = name.strip_prefix("quant_conv") {
        return format!("conv1{rest}");
    }
    if let Some(rest) = name.strip_prefix("post_quant_conv") {
        return format!("conv2{rest}");
    }
    let (half, path) = name.split_once('.').expect("a half");
    let parts: Vec<&str> = path.split('.').collect();
    let rest = |from: usize| leaf(&parts[from..].join("."));
    let number = |place: usize| parts[place].parse::<usize>().expect("a number");
    let renamed = match (parts[0], parts.get(2).copied()) {
        ("conv_in", _) => format!("conv1.{}", rest(1)),
        ("norm_out", _) => format!("head.0.{}", rest(1)),
        ("conv_out", _) => format!("head.2.{}", rest(1)),
        ("mid_block", _) if parts[1] == "attentions" => format!("middle.1.{}", rest(3)),
        ("mid_block", _) => format!("middle.{}.{}", 2 * number(2), rest(3)),
        ("down_blocks", Some("resnets")) => format!("downsamples.{}.downsamples.{}.{}", number(1), number(3), rest(4)),
        ("down_blocks", Some("downsampler")) => format!("downsamples.{}.downsamples.{blocks}.{}", number(1), rest(3)),
        ("down_blocks", _) => format!("downsamples.{}.{}", number(1), rest(2)),
        ("up_blocks", Some("resnets")) if is_residual => {
            format!("upsamples.{}.upsamples.{}.{}", number(1), number(3), rest(4))
        }
        ("up_blocks", Some("upsampler")) => format!("upsamples.{}.upsamples.{}.{}", number(1), blocks + 1, rest(3)),
        ("up_blocks", Some("resnets")) => format!("upsamples.{}.{}", number(1) * (blocks + 2) + number(3), rest(4)),
        ("up_blocks", _) => format!("upsamples.{}.{}", number(1) * (blocks + 2) + blocks + 1, rest(4)),
        _ => panic!("{name} has no name of the authors'"),
    };
    format!("{half}.{renamed}")
}
