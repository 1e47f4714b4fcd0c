"""What tests of the nodes for ComfyUI have in common: the package, and models through it.

Latents of the goldens are brought to what ComfyUI hands to a VAE by numbers that are read here from
configurations and weights.
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
from conftest import GOLDENS, opened, read_case

PACKAGE = Path(__file__).resolve().parents[1] / "comfyui"
FOLDERS = sorted(path.parent for path in GOLDENS.glob("models/*/config.json"))
MODELS = [*FOLDERS, GOLDENS / "four-level"]


def load_package():
    """The package, as ComfyUI loads a folder of `custom_nodes`: by its path, under a name of its own."""
    name = "custom_nodes/tessera-vae"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, PACKAGE / "__init__.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def submodule(name):
    load_package()
    return importlib.import_module(f"custom_nodes/tessera-vae.{name}")


def node(comfy, file, **inputs):
    """The node's VAE of a file in `vae`."""
    loader = load_package().NODE_CLASS_MAPPINGS["TesseraLoadVAE"]()
    names, _ = loader.INPUT_TYPES()["required"]["vae_name"]
    assert file in names
    (vae,) = loader.load_vae(file, threads=2, **inputs)
    return vae


def vae_of(comfy, model, **inputs):
    """The node's VAE of a golden."""
    link = comfy.folder / "vae" / model.name
    if not link.exists():
        link.symlink_to(model)
    return node(comfy, f"{model.name}/diffusion_pytorch_model.safetensors", **inputs)


# What ComfyUI has undone


def stored(model, *names):
    from safetensors.torch import load_file

    tensors = load_file(model / "diffusion_pytorch_model.safetensors")
    found = (next(tensor for key, tensor in tensors.items() if key.endswith(name)) for name in names)
    return [tensor.float().numpy() for tensor in found]


def by_channel(numbers, axes):
    return np.asarray(numbers, np.float64).reshape(1, -1, *[1] * (axes - 2))


def unshuffled(latents):
    """Patches of 2x2 as channels, the channel slowest."""
    batch, channels, height, width = latents.shape
    split = latents.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return split.transpose(0, 1, 3, 5, 2, 4).reshape(batch, 4 * channels, height // 2, width // 2)


def in_comfyui(model, latents):
    """What a decoder takes as ComfyUI's VAE of the same model takes it."""
    name = json.loads((model / "config.json").read_text())["_class_name"]
    latents = latents.astype(np.float64)
    if name in ("AutoencoderKLLTXVideo", "AutoencoderKLLTX2Video"):
        mean, deviation = stored(model, "latents_mean", "latents_std")
        latents = (latents - by_channel(mean, 5)) / by_channel(deviation, 5)
    elif name == "AutoencoderKLFlux2":
        mean, variance = stored(model, "bn.running_mean", "bn.running_var")
        latents = unshuffled(latents) - by_channel(mean, 4)
        latents = latents / np.sqrt(by_channel(variance, 4) + 1e-4)
    elif name == "AutoencoderKLCosmos":
        latents = 0.5 * latents
    elif name == "AutoencoderTiny":
        latents = latents / 0.18215
    return latents.astype(np.float32)


def plain_cases(model, op):
    """Cases without tiles, of sizes that are not cut off."""
    usual = opened(model.relative_to(GOLDENS)).usual_tiles("decoder")
    for path in sorted(model.glob(f"cases/{op}*.safetensors")):
        case = read_case(path)
        attributes = case.metadata.get("attributes") or {}
        # By itself the reference cuts longer clips, and ComfyUI does not.
        count = case.tensors["input"].shape[2]
        cut = usual["cuts_frames"] and attributes.get("use_framewise_decoding", True)
        cut = (
            cut
            and case.tensors["input"].ndim == 5
            and count * (4 if op == "decode" else 1) > usual["frames"][0]
        )
        other = {name for name in case.tensors if name == "temb" or name.startswith("noise.")}
        otherwise = "kernel" in attributes or not attributes.get("drop_last_temporal_frames", True)
        if case.metadata.get("tiling") is None and not cut and not other and not otherwise:
            yield case


def small_video_model(folder, channels, dtype):
    """A TAEHV of random weights."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    widths = [6, 4, 4]
    fields = {
        "_class_name": "TAEHV",
        "latent_channels": channels,
        "encoder_time_downscale": [True, False],
        "decoder_time_upscale": [False, True],
        "encoder_channels": 4,
        "decoder_channels": widths,
        "num_blocks": 1,
    }
    tensors = {}

    def convolution(name, inputs, outputs, kernel=3, bias=True):
        tensors[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel, generator=generator) / 4
        if bias:
            tensors[f"{name}.bias"] = torch.randn(outputs, generator=generator) / 4

    def block(name, width):
        for place, inputs in ((0, 2 * width), (2, width), (4, width)):
            convolution(f"{name}.conv.{place}", inputs, width)

    convolution("encoder.0", 3, 4)
    layer = 2
    for halves in fields["encoder_time_downscale"]:
        convolution(f"encoder.{layer}.conv", 4 * (1 + halves), 4, 1, False)
        convolution(f"encoder.{layer + 1}", 4, 4, 3, False)
        block(f"encoder.{layer + 2}", 4)
        layer += 3
    convolution(f"encoder.{layer}", 4, channels)
    convolution("decoder.1", channels, widths[0])
    layer = 3
    for width, outputs, doubles in zip(widths, widths[1:], fields["decoder_time_upscale"], strict=False):
        block(f"decoder.{layer}", width)
        convolution(f"decoder.{layer + 2}.conv", width, width * (1 + doubles), 1, False)
        convolution(f"decoder.{layer + 3}", width, outputs, 3, False)
        layer += 4
    convolution(f"decoder.{layer + 1}", widths[-1], 3)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(fields))
    save_file(
        {name: tensor.to(dtype) for name, tensor in tensors.items()},
        folder / "diffusion_pytorch_model.safetensors",
    )
    return folder
