"""Tiny pipelines of diffusers with random weights, made here.

Prompts are given as embeddings: no text encoder is needed.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import diffusers as d
import numpy as np
import torch
from conftest import GOLDENS
from PIL import Image


@dataclass(frozen=True)
class Family:
    """What the pipelines of a family have in common."""

    vae: Any
    transformer: Any
    scheduler: Any
    pipelines: dict[str, str]
    arguments: Any
    main: str = "transformer"


def seeded(make):
    torch.manual_seed(0)
    return make().eval()


def embeddings(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def picture(height, width):
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def flow():
    return d.FlowMatchEulerDiscreteScheduler(shift=7.0)


def cogvideox_arguments(kind):
    arguments = {"height": 64, "width": 96, "prompt_embeds": embeddings(1, 16, 32), "guidance_scale": 1.0}
    arguments["max_sequence_length"] = 16
    if kind == "v2v":
        return arguments | {"video": [picture(64, 96)] * 9, "strength": 0.8}
    return arguments | {"num_frames": 9} | ({"image": picture(64, 96)} if kind == "i2v" else {})


def wan_arguments(kind):
    arguments = {"height": 32, "width": 32, "prompt_embeds": embeddings(1, 16, 32), "guidance_scale": 1.0}
    if kind == "v2v":
        return arguments | {"video": [picture(32, 32)] * 9, "strength": 0.8}
    return arguments | {"num_frames": 9} | ({"image": picture(32, 32)} if kind == "i2v" else {})


def hunyuan_arguments(_):
    return {
        "height": 32,
        "width": 32,
        "num_frames": 9,
        "prompt_embeds": embeddings(1, 8, 16),
        "pooled_prompt_embeds": embeddings(1, 8),
        "prompt_attention_mask": torch.ones(1, 8),
    }


def ltx_arguments(kind):
    arguments = {
        "height": 32,
        "width": 32,
        "num_frames": 9,
        "guidance_scale": 1.0,
        "prompt_embeds": embeddings(1, 8, 32),
        "prompt_attention_mask": torch.ones(1, 8),
    }
    return arguments | ({"image": picture(32, 32)} if kind == "i2v" else {})


def qwen_arguments(kind):
    arguments = {
        "prompt_embeds": embeddings(1, 7, 16),
        "prompt_embeds_mask": torch.ones(1, 7, dtype=torch.int64),
        "true_cfg_scale": 1.0,
        "height": 32,
        "width": 32,
    }
    return arguments | ({"image": picture(32, 32), "strength": 0.8} if kind == "i2i" else {})


def flux_arguments(kind):
    arguments = {
        "prompt_embeds": embeddings(1, 8, 32),
        "pooled_prompt_embeds": embeddings(1, 32),
        "guidance_scale": 5.0,
        "height": 32,
        "width": 32,
    }
    return arguments | ({"image": picture(32, 32), "strength": 0.8} if kind == "i2i" else {})


def sdxl_arguments(kind):
    arguments = {
        "prompt_embeds": embeddings(1, 8, 64),
        "pooled_prompt_embeds": embeddings(1, 32),
        "guidance_scale": 1.0,
    }
    if kind == "i2i":
        return arguments | {"image": picture(64, 64), "strength": 0.8}
    return arguments | {"height": 64, "width": 64}


def blocks(name, count):
    return (name,) * count


FAMILIES = {
    "CogVideoX": Family(
        vae=lambda _: d.AutoencoderKLCogVideoX.from_pretrained(GOLDENS / "four-level"),
        transformer=lambda kind: d.CogVideoXTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=32 if kind == "i2v" else 16,
            out_channels=16,
            time_embed_dim=2,
            text_embed_dim=32,
            num_layers=1,
            sample_width=12,
            sample_height=8,
            sample_frames=9,
            patch_size=2,
            temporal_compression_ratio=4,
            max_text_seq_length=16,
            use_rotary_positional_embeddings=True,
        ),
        scheduler=d.CogVideoXDDIMScheduler,
        pipelines={
            "t2v": "CogVideoXPipeline",
            "i2v": "CogVideoXImageToVideoPipeline",
            "v2v": "CogVideoXVideoToVideoPipeline",
        },
        arguments=cogvideox_arguments,
    ),
    "Wan": Family(
        vae=lambda _: d.AutoencoderKLWan(
            base_dim=4,
            z_dim=16,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
        ),
        transformer=lambda kind: d.WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=36 if kind == "i2v" else 16,
            out_channels=16,
            text_dim=32,
            freq_dim=256,
            ffn_dim=32,
            num_layers=1,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            rope_max_seq_len=32,
        ),
        scheduler=flow,
        pipelines={
            "t2v": "WanPipeline",
            "i2v": "WanImageToVideoPipeline",
            "v2v": "WanVideoToVideoPipeline",
        },
        arguments=wan_arguments,
    ),
    "HunyuanVideo": Family(
        vae=lambda _: d.AutoencoderKLHunyuanVideo(
            latent_channels=4,
            down_block_types=blocks("HunyuanVideoDownBlock3D", 4),
            up_block_types=blocks("HunyuanVideoUpBlock3D", 4),
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            norm_num_groups=4,
        ),
        transformer=lambda _: d.HunyuanVideoTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=10,
            num_layers=1,
            num_single_layers=1,
            num_refiner_layers=1,
            patch_size=1,
            patch_size_t=1,
            guidance_embeds=True,
            text_embed_dim=16,
            pooled_projection_dim=8,
            rope_axes_dim=(2, 4, 4),
        ),
        scheduler=flow,
        pipelines={"t2v": "HunyuanVideoPipeline"},
        arguments=hunyuan_arguments,
    ),
    "LTX-Video": Family(
        vae=lambda _: d.AutoencoderKLLTXVideo(
            latent_channels=8,
            block_out_channels=(8, 8, 8, 8),
            decoder_block_out_channels=(8, 8, 8, 8),
            layers_per_block=(1, 1, 1, 1, 1),
            decoder_layers_per_block=(1, 1, 1, 1, 1),
            spatio_temporal_scaling=(True, True, False, False),
            decoder_spatio_temporal_scaling=(True, True, False, False),
            decoder_inject_noise=(False,) * 5,
            upsample_residual=(False,) * 4,
            upsample_factor=(1,) * 4,
            patch_size=1,
            patch_size_t=1,
            encoder_causal=True,
            decoder_causal=False,
        ),
        transformer=lambda _: d.LTXVideoTransformer3DModel(
            in_channels=8,
            out_channels=8,
            patch_size=1,
            patch_size_t=1,
            num_attention_heads=4,
            attention_head_dim=8,
            cross_attention_dim=32,
            num_layers=1,
            caption_channels=32,
        ),
        scheduler=d.FlowMatchEulerDiscreteScheduler,
        pipelines={"t2v": "LTXPipeline", "i2v": "LTXImageToVideoPipeline"},
        arguments=ltx_arguments,
    ),
    "Qwen-Image": Family(
        vae=lambda _: d.AutoencoderKLQwenImage(
            base_dim=24,
            z_dim=4,
            dim_mult=[1, 2, 4],
            num_res_blocks=1,
            temperal_downsample=[False, True],
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
        ),
        transformer=lambda _: d.QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=16,
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=3,
            joint_attention_dim=16,
            guidance_embeds=False,
            axes_dims_rope=(8, 4, 4),
        ),
        scheduler=flow,
        pipelines={"t2i": "QwenImagePipeline", "i2i": "QwenImageImg2ImgPipeline"},
        arguments=qwen_arguments,
    ),
    "FLUX": Family(
        vae=lambda _: d.AutoencoderKL(
            block_out_channels=(4, 8),
            down_block_types=blocks("DownEncoderBlock2D", 2),
            up_block_types=blocks("UpDecoderBlock2D", 2),
            latent_channels=1,
            norm_num_groups=1,
            use_quant_conv=False,
            use_post_quant_conv=False,
            shift_factor=0.06,
            scaling_factor=1.5,
            sample_size=32,
        ),
        transformer=lambda _: d.FluxTransformer2DModel(
            patch_size=1,
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=[4, 4, 8],
        ),
        scheduler=d.FlowMatchEulerDiscreteScheduler,
        pipelines={"t2i": "FluxPipeline", "i2i": "FluxImg2ImgPipeline"},
        arguments=flux_arguments,
    ),
    "SDXL": Family(
        vae=lambda _: d.AutoencoderKL(
            block_out_channels=(32, 64),
            down_block_types=blocks("DownEncoderBlock2D", 2),
            up_block_types=blocks("UpDecoderBlock2D", 2),
            latent_channels=4,
            sample_size=128,
        ),
        transformer=lambda _: d.UNet2DConditionModel(
            block_out_channels=(2, 4),
            layers_per_block=2,
            sample_size=32,
            in_channels=4,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 2),
            projection_class_embeddings_input_dim=80,
            cross_attention_dim=64,
            norm_num_groups=1,
        ),
        scheduler=d.EulerDiscreteScheduler,
        pipelines={"t2i": "StableDiffusionXLPipeline", "i2i": "StableDiffusionXLImg2ImgPipeline"},
        arguments=sdxl_arguments,
        main="unet",
    ),
}

PIPELINES = [(family, kind) for family, made in FAMILIES.items() for kind in made.pipelines]


def vae_of(family, kind):
    return seeded(lambda: FAMILIES[family].vae(kind))


def pipeline(family, kind, vae):
    """A pipeline around a VAE; all else is the same each time."""
    made = FAMILIES[family]
    pipe_class = getattr(d, made.pipelines[kind])
    wanted = list(inspect.signature(pipe_class.__init__).parameters)[1:]
    parts = {
        name: None for name in wanted if name.startswith(("tokenizer", "text_encoder", "image_", "feature"))
    }
    parts |= {made.main: seeded(lambda: made.transformer(kind)), "vae": vae, "scheduler": made.scheduler()}
    pipe = pipe_class(**parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def call(family, kind, pipe, output_type="pt", **more):
    """The frames or images of a run of two steps."""
    arguments = FAMILIES[family].arguments(kind) | more
    generator = torch.Generator().manual_seed(0)
    output = pipe(num_inference_steps=2, generator=generator, output_type=output_type, **arguments)
    return output[0]
