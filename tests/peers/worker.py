"""One peer in a process of its own, so that its memory and its instruction set are its own. Started by compare.py.

usage: worker.py ENGINE TASK DTYPE THREADS MODEL INPUT OUTPUT

ENGINE is torch or openvino, TASK decode or encode, DTYPE f64 (torch alone), f32 or bf16. INPUT holds what the task takes, unscaled: latents
(.safetensors) or a clip (.npy). Prints a line of JSON when it is ready, and one for each line that it reads: it runs once and
tells the seconds. The result of the last run is written to OUTPUT (.npy) when its input ends, followed by one more line with
the peak of resident memory.
"""

import json
import resource
import sys
import time
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX
from safetensors.torch import load_file

# What decoders are told that ask how much noise is left.
TIMESTEP = 0.05
TORCH_DTYPES = {"f64": torch.float64, "f32": torch.float32, "bf16": torch.bfloat16}


def say(**fields) -> None:
    print(json.dumps(fields), flush=True)


def read(path: str) -> torch.Tensor:
    if path.endswith(".npy"):
        return torch.from_numpy(np.load(path))
    tensors = load_file(path)
    return tensors.get("latents", next(iter(tensors.values())))


def torch_runner(task: str, dtype: str, model: str, tensor: torch.Tensor):
    """A function that runs the task once; its result is f64 for f64, else f32."""
    result = torch.float64 if dtype == "f64" else torch.float32
    config = json.loads((Path(model) / "config.json").read_text())
    vae = getattr(diffusers, config["_class_name"]).from_pretrained(model, torch_dtype=TORCH_DTYPES[dtype]).eval()
    tensor = tensor.to(TORCH_DTYPES[dtype])
    if task == "decode":
        is_told = config.get("timestep_conditioning")
        told = {"temb": torch.full(tensor.shape[:1], TIMESTEP, dtype=tensor.dtype)} if is_told else {}
        return lambda: vae.decode(tensor, **told).sample.to(result)
    return lambda: vae.encode(tensor).latent_dist.parameters.to(result)


def openvino_runner(task: str, dtype: str, threads: int, model: str, tensor: torch.Tensor):
    """As torch_runner. One half as one graph: right only if the whole input is one step, without a cache."""
    import openvino

    vae = AutoencoderKLCogVideoX.from_pretrained(model, torch_dtype=torch.float32).eval()

    class Half(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.part = vae.decoder if task == "decode" else vae.encoder

        def forward(self, tensor):
            return self.part(tensor)[0]

    settings = {"INFERENCE_PRECISION_HINT": dtype, "INFERENCE_NUM_THREADS": threads}
    converted = openvino.convert_model(Half(), example_input=tensor)
    compiled = openvino.Core().compile_model(converted, "CPU", settings)
    values = tensor.numpy()
    return lambda: torch.from_numpy(compiled(values)[0])


def main() -> None:
    engine, task, dtype, threads, model, source, output = sys.argv[1:]
    torch.set_num_threads(int(threads))
    tensor = read(source)
    started = time.perf_counter()
    if engine == "torch":
        run = torch_runner(task, dtype, model, tensor)
    else:
        # Traces the model, which inference mode forbids.
        run = openvino_runner(task, dtype, int(threads), model, tensor)
    say(ready=time.perf_counter() - started, isa=torch.backends.cpu.get_cpu_capability())
    result = None
    with torch.inference_mode():
        for _ in sys.stdin:
            started = time.perf_counter()
            result = run()
            say(seconds=time.perf_counter() - started)
    np.save(output, result.numpy())
    # Linux counts in KiB. What the process that started this one held counts too, so that must be small.
    say(peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main()
