"""Run a pipeline of diffusers with Tessera's VAE.

    python diffusers_pipeline.py CogVideoXPipeline MODEL --prompt "A panda plays" --output clip.gif
    python diffusers_pipeline.py WanImageToVideoPipeline MODEL --prompt "A wave" --image 1.png --output 1.gif
    python diffusers_pipeline.py FluxPipeline MODEL --prompt "A panda" --output panda.png

MODEL is what the pipeline's `from_pretrained` takes. The VAE runs on the CPU, and all else where there
is room for it.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.utils import export_to_gif, load_image

import tessera.diffusers

# The type that each model was published in, and the arguments that its authors use. `image` and `video`
# stand for what --image names.
PIPELINES: dict[str, tuple[torch.dtype, dict[str, Any]]] = {
    "CogVideoXPipeline": (torch.float16, {"num_frames": 49, "guidance_scale": 6.0}),
    "CogVideoXImageToVideoPipeline": (torch.bfloat16, {"image": 1, "num_frames": 49, "guidance_scale": 6.0}),
    "CogVideoXVideoToVideoPipeline": (torch.bfloat16, {"video": 49, "strength": 0.8, "guidance_scale": 6.0}),
    "WanPipeline": (torch.bfloat16, {"height": 480, "width": 832, "num_frames": 81, "guidance_scale": 5.0}),
    "WanImageToVideoPipeline": (torch.bfloat16, {"image": 1, "height": 480, "width": 832, "num_frames": 81}),
    "WanVideoToVideoPipeline": (torch.bfloat16, {"video": 81, "height": 480, "width": 832, "strength": 0.7}),
    "HunyuanVideoPipeline": (torch.bfloat16, {"height": 320, "width": 512, "num_frames": 61}),
    "LTXPipeline": (torch.bfloat16, {"height": 480, "width": 704, "num_frames": 161}),
    "LTXImageToVideoPipeline": (torch.bfloat16, {"image": 1, "height": 480, "width": 704, "num_frames": 161}),
    "QwenImagePipeline": (torch.bfloat16, {"height": 928, "width": 1664, "true_cfg_scale": 4.0}),
    "QwenImageImg2ImgPipeline": (torch.bfloat16, {"image": 1, "strength": 0.95, "true_cfg_scale": 4.0}),
    "FluxPipeline": (torch.bfloat16, {"height": 1024, "width": 1024, "guidance_scale": 3.5}),
    "FluxImg2ImgPipeline": (torch.bfloat16, {"image": 1, "strength": 0.95, "guidance_scale": 3.5}),
    "StableDiffusionXLPipeline": (torch.float16, {"height": 1024, "width": 1024}),
    "StableDiffusionXLImg2ImgPipeline": (torch.float16, {"image": 1, "strength": 0.8}),
}


def make(pipe: Any, output: Path, **arguments: Any) -> None:
    """Write what a pipeline makes: a picture, or frames as a GIF."""
    tessera.diffusers.accelerate(pipe)
    made = pipe(output_type="pil", **arguments)
    if hasattr(made, "images"):
        made.images[0].save(output)
    else:
        export_to_gif(made.frames[0], str(output), fps=8)


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pipeline", choices=PIPELINES)
    parser.add_argument("model")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parsed = parser.parse_args()
    dtype, arguments = PIPELINES[parsed.pipeline]
    needed = next((name for name in ("image", "video") if name in arguments), None)
    if needed and parsed.image is None:
        sys.exit(f"{parsed.pipeline} begins with a picture: --image FILE")
    if needed:
        picture = load_image(str(parsed.image))
        # A video, here, that stands still.
        arguments = {**arguments, needed: picture if needed == "image" else [picture] * arguments[needed]}
    pipe = getattr(diffusers, parsed.pipeline).from_pretrained(parsed.model, torch_dtype=dtype)
    if torch.cuda.is_available():
        pipe.enable_model_cpu_offload()
    make(pipe, parsed.output, prompt=parsed.prompt, **arguments)


if __name__ == "__main__":
    main()
