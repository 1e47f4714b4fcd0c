//! The names that ComfyUI's single files have: those of latent diffusion (LDM), with causal
//! convolutions as modules around a convolution of their own. The authors' own files have
//! diffusers' names.

use crate::autoencoder_kl::of_ldm as of_planar_ldm;

/// What a causal convolution calls the convolution in it.
const INNER: &str = "conv";

/// The declaration's name of the tensor that such a file calls `name`, if it has one of that name.
pub(super) fn of_ldm(levels: usize, name: &str) -> Option<String> {
    let (module, parameter) = name.rsplit_once('.')?;
    match module.rsplit_once('.') {
        Some((causal, INNER)) => {
            let own = of_planar_ldm(levels, &format!("{causal}.{parameter}"))?;
            let (own, _) = own.rsplit_once('.')?;
            Some(format!("{own}.{INNER}.{parameter}"))
        }
        _ => of_planar_ldm(levels, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_latent_diffusion_are_understood() {
        for (name, own) in [
            ("decoder.conv_in.conv.weight", "decoder.conv_in.conv.weight"),
            ("decoder.up.0.block.2.conv1.conv.bias", "decoder.up_blocks.3.resnets.2.conv1.conv.bias"),
            ("decoder.up.3.upsample.conv.conv.weight", "decoder.up_blocks.0.upsamplers.0.conv.conv.weight"),
            (
                "encoder.down.1.block.0.nin_shortcut.conv.weight",
                "encoder.down_blocks.1.resnets.0.conv_shortcut.conv.weight",
            ),
            ("encoder.mid.attn_1.proj_out.weight", "encoder.mid_block.attentions.0.to_out.0.weight"),
            ("encoder.mid.block_2.norm1.weight", "encoder.mid_block.resnets.1.norm1.weight"),
            ("encoder.norm_out.bias", "encoder.conv_norm_out.bias"),
            ("post_quant_conv.weight", "post_quant_conv.weight"),
        ] {
            assert_eq!(of_ldm(4, name).as_deref(), Some(own));
        }
        assert_eq!(of_ldm(4, "decoder.up_blocks.0.resnets.0.norm1.weight"), None);
    }
}
