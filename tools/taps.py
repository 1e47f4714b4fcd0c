"""Write the activations of a VAE of diffusers as PyTorch computes them, for `tessera verify` to compare with.

    python tools/taps.py MODEL TAPS.safetensors --latents z.safetensors      what vae.decode() takes, [B, C, T, H, W]
    python tools/taps.py MODEL TAPS.safetensors --clip clip.safetensors      what vae.encode() takes, in [-1, 1]
    python tools/taps.py MODEL TAPS.safetensors --random decode:1,16,3,12,16
    tessera verify --model MODEL --against TAPS.safetensors

MODEL is a folder with config.json and weights that from_pretrained() of its class reads; images are [B, C, H, W]. TAPS.safetensors gets
`input`, `output` and, for every module with a result of its own and every run of it, `tap.STEP.PATH`: what it returned, in f32. STEP
counts the runs of encoder or decoder from 0: the steps of a clip, and with tiles those of the first tile, then those of the second.
`temb` is the timestep of a decoder that is told one (`--timestep`), `noise.N` the N-th draw of one that adds noise. Metadata says what
was run, each value in JSON.

Frames of AutoencoderKLTemporalDecoder, which has them as a batch, are one clip here, [1, C, T, H, W]. AutoencoderKLAllegro runs in tiles
alone: without `--tile` its encoder and decoder are called directly.

Needs torch, diffusers and safetensors (tests/peers/requirements.txt), and memory for all activations at once.
"""

import argparse
import inspect
import json
import os

import diffusers
import torch
from safetensors import safe_open
from safetensors.torch import save_file

# Kinds of modules whose outputs say nothing of their own.
SILENT = {
    "Dropout",
    "Identity",
    "ModuleList",
    "ReLU",
    "SiLU",
    "Timesteps",
    "ZeroPad2d",
}
# Kinds whose own modules run once for a part of what they are given.
IN_PARTS = {"MochiChunkedGroupNorm3D"}


def record(model, taps):
    """Lets every module put what it returns into `taps`, those of encoder and decoder by the run of these."""
    steps, calls = {"encoder": -1, "decoder": -1}, {}

    def begin_of(half):
        def begin(_module, _inputs):
            steps[half] += 1

        return begin

    def hook_of(path):
        half = path.partition(".")[0]

        def hook(_module, _inputs, output):
            tensor = output[0] if isinstance(output, tuple) else output
            if not torch.is_tensor(tensor):
                return
            calls[path] = calls.get(path, -1) + 1
            step = steps.get(half, calls[path])
            taps[f"tap.{step}.{path}"] = tensor.detach().float().clone().contiguous()

        return hook

    for half in steps:
        if hasattr(model, half):
            getattr(model, half).register_forward_pre_hook(begin_of(half))
    apart = None
    for path, module in model.named_modules():
        kind = type(module).__name__
        if not path or kind in SILENT or apart and path.startswith(apart):
            continue
        apart = f"{path}." if kind in IN_PARTS else None
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
        raise SystemExit(f"--random {text}: expected decode:B,C,T,H,W or encode:B,C,T,H,W, without T for images")
    noise = torch.randn(*map(int, shape.split(",")), generator=torch.Generator().manual_seed(seed))
    return op, noise if op == "decode" else noise.clamp(-3, 3) / 3


def opened(folder, dtype):
    """The model in a folder, of the class that its config.json names."""
    with open(os.path.join(folder, "config.json")) as file:
        name = json.load(file).get("_class_name")
    model = getattr(diffusers, str(name), None)
    if model is None:
        raise SystemExit(f"{folder}: config.json names the class {name}, which diffusers {diffusers.__version__} does not have")
    return model.from_pretrained(folder, torch_dtype=dtype).eval()


def tile(vae, size, overlap):
    """Turns on tiles of this size, or the model's own; what metadata say of them."""
    if size == "default":
        vae.enable_tiling()
        return {}
    height, width = map(int, size.split("x"))
    overlap_height, overlap_width = map(float, overlap.split(","))
    takes = inspect.signature(vae.enable_tiling).parameters
    sizes = {"tile_sample_min_height": height, "tile_sample_min_width": width}
    if "tile_overlap_factor_height" in takes:
        vae.enable_tiling(**sizes, tile_overlap_factor_height=overlap_height, tile_overlap_factor_width=overlap_width)
    elif "tile_sample_stride_height" in takes:
        strides = round(height * (1 - overlap_height)), round(width * (1 - overlap_width))
        vae.enable_tiling(**sizes, tile_sample_stride_height=strides[0], tile_sample_stride_width=strides[1])
    else:
        raise SystemExit(f"--tile {size}: {type(vae).__name__} takes no sizes by themselves; use --tile default")
    return {
        "sample_height": height,
        "sample_width": width,
        "overlap_height": overlap_height,
        "overlap_width": overlap_width,
    }


def as_images(video):
    """[B, C, T, H, W] as [B * T, C, H, W]."""
    return video.permute(0, 2, 1, 3, 4).flatten(0, 1)


def as_video(images, batch):
    return images.unflatten(0, (batch, -1)).permute(0, 2, 1, 3, 4)


def encoded(vae, sample):
    """Mean and log-variance, or the latents where there is nothing else."""
    result = vae.encode(sample)
    for field in ("latent_dist", "latent", "latents"):
        result = getattr(result, field, result)
    return getattr(result, "parameters", result)


def run(vae, op, given, arguments, is_tiled):
    """What the model makes of its input, in the axes of that."""
    kind = type(vae).__name__
    if kind == "AutoencoderKLTemporalDecoder":
        if given.shape[0] != 1:
            raise SystemExit(f"{kind} has frames as a batch: one clip at a time, [1, C, T, H, W]")
        if op == "decode":
            return as_video(vae.decode(as_images(given), num_frames=given.shape[2]).sample, 1)
        return torch.stack([encoded(vae, frame) for frame in given.unbind(2)], 2)
    if kind == "AutoencoderKLAllegro" and not is_tiled:
        batch = given.shape[0]
        if op == "decode":
            return vae.decoder(as_video(vae.post_quant_conv(as_images(given)), batch))
        return as_video(vae.quant_conv(as_images(vae.encoder(given))), batch)
    if op == "encode":
        return encoded(vae, given)
    sample = vae.decode(given, **arguments).sample
    return sample.permute(0, 2, 1, 3, 4) if kind == "AutoencoderKLAllegro" else sample


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("output", metavar="TAPS.safetensors")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--latents", metavar="FILE[#TENSOR]", help="unscaled latents [B, C, T, H, W] to decode")
    given.add_argument("--clip", metavar="FILE[#TENSOR]", help="a video [B, C, T, H, W] in [-1, 1] to encode")
    given.add_argument("--random", metavar="OP:B,C,T,H,W", help="noise to decode or encode")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--tile", metavar="HxW", help="tiles of this size in pixels, or `default`, the model's own")
    parser.add_argument("--overlap", metavar="H,W", default="0.16666666666666666,0.2", help="of tiles")
    parser.add_argument("--timestep", metavar="T[,T]", help="of decoders that are told one; one number a sample")
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
    vae = opened(arguments.model, dtype).to(arguments.device)
    tiling = tile(vae, arguments.tile, arguments.overlap) if arguments.tile else None
    metadata = {"op": op, "shape": list(tensor.shape), "tiling": tiling, "dtype": arguments.dtype, "taps": True}
    tensors, conditions, drawn = {"input": tensor.contiguous()}, {}, []
    if arguments.timestep:
        tensors["temb"] = torch.tensor([float(number) for number in arguments.timestep.split(",")])
        conditions["temb"] = tensors["temb"].to(arguments.device, dtype)
    if type(vae).__name__ == "AutoencoderKLAllegro" and not tiling:
        metadata["tile_frames"] = None

    record(vae, tensors)
    randn = torch.randn

    def recorded(*sizes, **kinds):
        drawn.append(randn(*sizes, **kinds))
        return drawn[-1].clone()

    torch.randn = recorded
    try:
        with torch.inference_mode():
            output = run(vae, op, tensor.to(arguments.device, dtype), conditions, tiling is not None)
    finally:
        torch.randn = randn
    tensors["output"] = output.float().contiguous()
    tensors |= {f"noise.{number}": noise.float() for number, noise in enumerate(drawn)}
    taps = sum(name.startswith("tap.") for name in tensors)
    tensors = {name: tensor.cpu().clone() for name, tensor in tensors.items()}
    # Under its name when it is whole.
    unfinished = f"{arguments.output}.unfinished"
    save_file(tensors, unfinished, metadata={key: json.dumps(value) for key, value in metadata.items()})
    os.replace(unfinished, arguments.output)
    print(f"{arguments.output}: {taps} activations of {op}, {list(tensor.shape)} to {list(output.shape)}")


main()
