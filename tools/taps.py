"""Write the activations of a CogVideoX VAE as PyTorch computes them, for `tessera verify` to compare with.

    python tools/taps.py MODEL TAPS.safetensors --latents z.safetensors      what vae.decode() takes, [B, C, T, H, W]
    python tools/taps.py MODEL TAPS.safetensors --clip clip.safetensors      what vae.encode() takes, in [-1, 1]
    python tools/taps.py MODEL TAPS.safetensors --random decode:1,16,3,12,16
    tessera verify --model MODEL --against TAPS.safetensors

MODEL is a folder that AutoencoderKLCogVideoX.from_pretrained() reads. TAPS.safetensors gets `input`, `output` and, for every module
of the kinds below and every call of it, `tap.STEP.PATH`: what it returned, in f32. STEP counts a module's calls from 0: the batches
of frames, and with tiles those of the first tile, then those of the second. Metadata says what was run, each value in JSON.

Needs torch, diffusers and safetensors (tests/peers/requirements.txt), and memory for all activations at once.
"""

import argparse
import json
import os

import torch
from diffusers import AutoencoderKLCogVideoX
from safetensors import safe_open
from safetensors.torch import save_file

# The kinds of modules whose outputs are written: those that Tessera knows by name.
KINDS = {
    "CogVideoXCausalConv3d",
    "CogVideoXDownBlock3D",
    "CogVideoXDownsample3D",
    "CogVideoXMidBlock3D",
    "CogVideoXResnetBlock3D",
    "CogVideoXSpatialNorm3D",
    "CogVideoXUpBlock3D",
    "CogVideoXUpsample3D",
    "GroupNorm",
}


def record(model, taps):
    """Lets every module of those kinds put what it returns into `taps`."""
    calls = {}

    def hook_of(path):
        def hook(_module, _inputs, output):
            tensor = output[0] if isinstance(output, tuple) else output
            step = calls[path] = calls.get(path, -1) + 1
            taps[f"tap.{step}.{path}"] = tensor.detach().float().clone().contiguous()

        return hook

    for path, module in model.named_modules():
        if type(module).__name__ in KINDS:
            module.register_forward_hook(hook_of(path))


def read(source):
    """The tensor `source` names, FILE or FILE#TENSOR."""
    path, _, name = source.partition("#")
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        usual = [usual for usual in ("latents", "input") if usual in names]
        name = name or (names[0] if len(names) == 1 else usual[0] if usual else "")
        if name not in names:
            raise SystemExit(f"{path}: which tensor? Append #NAME; the file has {', '.join(names[:12])}")
        return file.get_tensor(name).float()


def made_up(text, seed):
    """`decode:1,16,3,12,16`: what to run, and noise of this shape."""
    op, _, shape = text.partition(":")
    if op not in ("decode", "encode") or not shape:
        raise SystemExit(f"--random {text}: expected decode:B,C,T,H,W or encode:B,C,T,H,W")
    noise = torch.randn(*map(int, shape.split(",")), generator=torch.Generator().manual_seed(seed))
    return op, noise if op == "decode" else noise.clamp(-3, 3) / 3


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("output", metavar="TAPS.safetensors")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--latents", metavar="FILE[#TENSOR]", help="unscaled latents [B, C, T, H, W] to decode")
    given.add_argument("--clip", metavar="FILE[#TENSOR]", help="a video [B, C, T, H, W] in [-1, 1] to encode")
    given.add_argument("--random", metavar="OP:B,C,T,H,W", help="noise to decode or encode")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--tile", metavar="HxW", help="decode or encode in tiles of this size in pixels")
    parser.add_argument("--overlap", metavar="H,W", default="0.16666666666666666,0.2", help="of tiles")
    parser.add_argument("--dtype", choices=["f32", "bf16", "f16"], default="f32", help="what PyTorch computes in")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.random:
        op, tensor = made_up(arguments.random, arguments.seed)
    else:
        op, tensor = ("decode", read(arguments.latents)) if arguments.latents else ("encode", read(arguments.clip))
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[arguments.dtype]
    vae = AutoencoderKLCogVideoX.from_pretrained(arguments.model, torch_dtype=dtype).to(arguments.device).eval()
    tiling = None
    if arguments.tile:
        height, width = map(int, arguments.tile.split("x"))
        overlap_height, overlap_width = map(float, arguments.overlap.split(","))
        vae.enable_tiling(height, width, overlap_height, overlap_width)
        tiling = {
            "sample_height": height,
            "sample_width": width,
            "overlap_height": overlap_height,
            "overlap_width": overlap_width,
        }

    tensors = {"input": tensor.contiguous()}
    record(vae, tensors)
    with torch.inference_mode():
        given = tensor.to(arguments.device, dtype)
        output = vae.decode(given).sample if op == "decode" else vae.encode(given).latent_dist.parameters
    tensors["output"] = output.float().contiguous()
    metadata = {"op": op, "shape": list(tensor.shape), "tiling": tiling, "dtype": arguments.dtype, "taps": True}
    tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
    # Under its name when it is whole.
    unfinished = f"{arguments.output}.unfinished"
    save_file(tensors, unfinished, metadata={key: json.dumps(value) for key, value in metadata.items()})
    os.replace(unfinished, arguments.output)
    print(f"{arguments.output}: {len(tensors) - 2} activations of {op}, {list(tensor.shape)} to {list(output.shape)}")


main()
