"""Which latents the nodes for ComfyUI take: statistics in the VAE, noise, models that stand in for others."""

import json
import logging
import os
import re

import numpy as np
import pytest
from comfyui_models import (
    MODELS,
    by_channel,
    load_package,
    node,
    small_video_model,
    stored,
    submodule,
    vae_of,
)
from conftest import GOLDENS, WORKSPACE, assert_near, opened

import tessera

DOCUMENT = WORKSPACE / "docs" / "PYTHON.md"


def test_small_models_are_known_by_their_names():
    small = submodule("small_models")
    assert small.model_of("lighttaew2_1.safetensors") == small.AS_THEY_ARE
    assert small.model_of("sub/TAESDXL_decoder.pth") == "SDXL"
    assert small.model_of("taesd_decoder.pth") == "SD-1.5"
    assert small.model_of("ae.safetensors") is None
    files = [
        "taesd_decoder.pth",
        "taesd_encoder.safetensors",
        "taef1_decoder.pth",
        "x_decoder.pt",
        "x_encoder.pt",
    ]
    assert small.pairs(files) == {"taesd": ("taesd_encoder.safetensors", "taesd_decoder.pth")}
    for name in small.CHOICES:
        if name not in (small.BY_NAME, small.AS_THEY_ARE):
            assert tessera.published_scaling(name)["scaling_factor"] > 0
    with pytest.raises(tessera.OptionError, match="expected one of .*SDXL.*, found .SDXXL."):
        tessera.published_scaling("SDXXL")


def test_decoders_that_take_a_timestep_get_comfyuis(comfy):
    """The noise that ComfyUI mixes into latents is the same in each run here."""
    import torch

    model = GOLDENS / "models" / "ltx-0.9.5"
    vae = vae_of(comfy, model)
    latents = torch.randn(1, 6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images = vae.decode(latents)
    assert torch.equal(vae.decode(latents), images)
    mean, deviation = (
        torch.from_numpy(by_channel(table, 5)) for table in stored(model, "latents_mean", "latents_std")
    )

    def expected(timestep, noise_scale):
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
        mixed = noise * noise_scale + (1 - noise_scale) * latents
        unscaled = (mixed * deviation + mean).float()
        frames = opened("models/ltx-0.9.5").decode(
            unscaled, timestep=timestep, tiling="off", tile_frames="off"
        )
        return ((frames + 1) / 2).clamp(0, 1).movedim(1, -1)

    assert_near(expected(0.05, 0.025), images)
    other = vae.decode(latents, vae_options={"timestep": 0.2, "noise_scale": 0.0})
    assert_near(expected(0.2, 0.0), other)
    assert (other - images).abs().max() > 1e-3


def test_nodes_have_statistics_where_the_vae_keeps_them(comfy):
    """ComfyUI's latent upsampler calls them."""
    import torch

    model = GOLDENS / "models" / "ltx-2.0"
    statistics = vae_of(comfy, model).first_stage_model.per_channel_statistics
    mean, deviation = (
        torch.from_numpy(by_channel(table, 5)) for table in stored(model, "latents_mean", "latents_std")
    )
    latents = torch.randn(1, 8, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    assert_near((latents * deviation + mean).float(), statistics.un_normalize(latents))
    assert_near(latents, statistics.normalize(statistics.un_normalize(latents)))
    assert statistics.normalize(latents.bfloat16()).dtype == torch.bfloat16
    assert vae_of(comfy, GOLDENS / "models" / "flux2").first_stage_model.per_channel_statistics is None


def test_statistics_of_frames_begin_anew_behind_them(comfy, tmp_path):
    """As ComfyUI has it of clips longer than the frames that they are of."""
    import torch

    model = tmp_path / "vae" / "cosmos"
    model.mkdir(parents=True)
    source = GOLDENS / "models" / "cosmos"
    (model / "diffusion_pytorch_model.safetensors").symlink_to(source / "diffusion_pytorch_model.safetensors")
    generator = np.random.default_rng(0)
    mean, deviation = generator.standard_normal((5, 2)), generator.uniform(0.5, 2, (5, 2))
    fields = json.loads((source / "config.json").read_text())
    fields |= {"latents_mean": mean.flatten().tolist(), "latents_std": deviation.flatten().tolist()}
    (model / "config.json").write_text(json.dumps(fields))
    vae = node(comfy, "cosmos/diffusion_pytorch_model.safetensors")
    latents = torch.randn(1, 5, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    places = [0, 1, 0, 1, 0]
    shape = (1, 5, 5, 1, 1)
    unscaled = latents / 0.5 * torch.from_numpy(deviation[:, places].reshape(shape)).float()
    unscaled = unscaled + torch.from_numpy(mean[:, places].reshape(shape)).float()
    frames = opened("models/cosmos").decode(unscaled, tiling="off")
    assert_near(((frames + 1) / 2).clamp(0, 1).movedim(1, -1), vae.decode(latents))
    pixels = torch.rand(17, 32, 32, 3, generator=torch.Generator().manual_seed(1))
    found = vae.encode(pixels)
    plain = opened("models/cosmos").encode((2 * pixels - 1).movedim(-1, 0)[None].contiguous())
    numbers = [torch.from_numpy(table[:, places].reshape(shape)).float() for table in (mean, deviation)]
    assert_near((plain - numbers[0]) / numbers[1] * 0.5, found)


# Wan 2.1's, as its authors and ComfyUI have them.
WAN_MEAN = (
    "-0.7571 -0.7089 -0.9113 0.1075 -0.1745 0.9653 -0.1517 1.5508 "
    "0.4134 -0.0715 0.5517 -0.3632 -0.1922 -0.9497 0.2503 -0.2921"
)
WAN_STD = (
    "2.8184 1.4541 2.3275 2.6558 1.2196 1.7708 2.6052 2.0743 "
    "3.2687 2.1526 2.8652 1.5579 1.6382 1.1253 2.8251 1.9160"
)


@pytest.mark.parametrize(
    ("name", "channels", "whose"),
    [
        ("taehv.safetensors", 16, 0.476986),
        ("taehv1_5.safetensors", 32, 1.03682),
        ("lighttaehy1_5.safetensors", 32, 1.03682),
        ("taew2_1.safetensors", 16, "Wan"),
        ("lighttaew2_1.safetensors", 16, 1),
        ("lighttaew2_2.safetensors", 48, 1),
        ("taeltx_2.safetensors", 128, 1),
        # Names that say nothing: as ComfyUI tells by channels and type.
        ("mine.safetensors", 16, 0.476986),
        ("mine-f32.safetensors", 16, 1),
        ("mine.safetensors", 32, 1.03682),
    ],
)
def test_small_models_of_videos_take_latents_of_those_they_stand_for(comfy, name, channels, whose, caplog):
    import torch

    dtype = torch.float32 if "f32" in name else torch.float16
    folder = small_video_model(comfy.folder / "models", channels, dtype)
    file = comfy.folder / "vae_approx" / name
    (comfy.folder / "vae" / name).symlink_to(folder / "diffusion_pytorch_model.safetensors")
    (comfy.folder / "vae" / "config.json").write_text((folder / "config.json").read_text())
    assert not file.exists()
    with caplog.at_level(logging.WARNING):
        vae = node(comfy, name)
    assert ("latents_of says others" in caplog.text) == name.startswith("mine")
    latents = torch.randn(1, channels, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    if whose == "Wan":
        mean, deviation = (
            torch.tensor([float(number) for number in numbers.split()]).view(1, 16, 1, 1, 1)
            for numbers in (WAN_MEAN, WAN_STD)
        )
        scaled = (latents - mean) / deviation
    else:
        scaled = latents * whose
    own = tessera.open(folder, threads=2)
    frames = own.decode(scaled)
    assert frames.std() > 1e-3
    assert_near(((frames + 1) / 2).clamp(0, 1).movedim(1, -1), vae.decode(latents))
    pixels = torch.rand(5, 16, 16, 3, generator=torch.Generator().manual_seed(1))
    encoded = own.encode((2 * pixels - 1).movedim(-1, 0)[None].contiguous())
    encoded = encoded * deviation + mean if whose == "Wan" else encoded / whose
    assert_near(encoded, vae.encode(pixels))


@pytest.mark.parametrize(("name", "factor", "shift"), [("taesd", 0.18215, 0), ("taesdxl", 0.13025, 0)])
def test_small_models_of_images_come_in_two_files(comfy, name, factor, shift):
    import torch
    from safetensors.torch import load_file, save_file

    source = GOLDENS / "models" / "autoencoder-tiny"
    tensors = load_file(source / "diffusion_pytorch_model.safetensors")
    for half, later in (("encoder", 0), ("decoder", 1)):
        beginning = f"{half}.layers."
        found = {
            key.removeprefix(beginning): tensor
            for key, tensor in tensors.items()
            if key.startswith(beginning)
        }
        layers = ((*key.partition("."), tensor) for key, tensor in found.items())
        renamed = {f"{int(layer) + later}.{rest}": tensor for layer, _, rest, tensor in layers}
        save_file(renamed, comfy.folder / "vae_approx" / f"{name}_{half}.safetensors")
    names, _ = load_package().NODE_CLASS_MAPPINGS["TesseraLoadVAE"].INPUT_TYPES()["required"]["vae_name"]
    assert names == [name]
    vae = node(comfy, name)
    own = opened("models/autoencoder-tiny")
    latents = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    frames = own.decode((latents - shift) * factor)
    assert_near(((frames + 1) / 2).clamp(0, 1).movedim(1, -1), vae.decode(latents))
    pixels = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(1))
    encoded = own.encode((2 * pixels - 1).movedim(-1, 1).contiguous())
    assert_near(encoded / factor + shift, vae.encode(pixels))


# Of `comfy/latent_formats.py`; of classes that are not here ComfyUI has no VAE.
FORMATS = {
    "AutoencoderKL": "`SD15`, `SDXL`, `SD3`, `Flux`",
    "AutoencoderKLCogVideoX": "`CogVideoX`, `CogVideoX1_5`",
    "AutoencoderKLCosmos": "in the VAE's file, and 0.5",
    "AutoencoderKLFlux2": "in the VAE's file (`bn`)",
    "AutoencoderKLHunyuanVideo": "`HunyuanVideo`",
    "AutoencoderKLHunyuanVideo15": "`HunyuanVideo15`",
    "AutoencoderKLLTX2Video": "in the VAE's file",
    "AutoencoderKLLTXVideo": "in the VAE's file",
    "AutoencoderKLMochi": "`Mochi`",
    "AutoencoderKLQwenImage": "`Wan21`",
    "AutoencoderKLQwenImage21": "`QwenImage21`",
    "AutoencoderKLTemporalDecoder": "`SD15`",
    "AutoencoderKLWan": "`Wan21`, `Wan22`",
    "AutoencoderTiny": "of the model that it stands in for",
    "TAEHV": "of the model that it stands in for",
}


def convention(model):
    """The row of a class: what it is given in ComfyUI."""
    vae = tessera.open(model)
    info = vae.info()
    patch = vae.latent_scaling()["patch"]
    axes = "[B, C, H, W]"
    if info["latents"]["frames_in_batch"]:
        axes = "[T, C, H, W]"
    elif not vae.is_of_images:
        axes = "[B, C, T, H, W]"
    if info["latents"]["unscaling"] == "inside" and patch > 1:
        axes = "[B, 4 C, H/2, W/2]"
    undone = {
        "outside": "whoever calls the VAE",
        "inside": "the VAE",
        "nowhere": "whoever calls the VAE, which scales again",
    }
    unscaling = info["latents"]["unscaling"]
    numbers = FORMATS.get(vae.class_name, "none: ComfyUI has no such VAE")
    assert ("in the VAE's file" in numbers) == (unscaling == "inside")
    return f"| `{vae.class_name}` | {axes} | {undone[unscaling]} | {numbers} |"


def test_the_table_of_conventions(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    models = [*MODELS, small_video_model(tmp_path / "taehv", 16, torch.float32)]
    head = ["| class | latents | who undoes their scaling | by which numbers |", "|---|---|---|---|"]
    table = "\n".join([*head, *sorted({convention(model) for model in models}), ""])
    text = DOCUMENT.read_text()
    found = re.search(r"(?<=<!-- comfyui -->\n).*?(?=<!-- /comfyui -->)", text, re.DOTALL)
    if os.environ.get("TESSERA_BLESS"):
        DOCUMENT.write_text(text[: found.start()] + table + text[found.end() :])
    else:
        assert found.group() == table
