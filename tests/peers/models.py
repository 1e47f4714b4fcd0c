"""Time Tessera's decoders against PyTorch's (diffusers) in the sizes that are published, on random weights, and keep the table of
BENCHMARKS.md.

usage: models.py --tessera PATH --data FOLDER [--models NAME,...] [--dtypes f32,bf16] [--repeats N] [--output FILE.json] [--add]
                 [--documents]
       models.py --tables FILE.json [--documents]
needs: pip install -r requirements.txt; of LTX, 15 GiB of disk and of memory

Each model is made in FOLDER, measured and removed. Turns, medians and what is timed are those of compare.py: PyTorch's second run
in its process and later ones, against the steps of the same clip, each a second time in its process (`tessera bench`), and against
`tessera decode`, which is a new process for every run. Differences are from PyTorch in f64, memory is that of `tessera decode`.

--documents rewrites what stands between `<!-- models -->` and `<!-- /models -->` in BENCHMARKS.md.
"""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import compare
import diffusers
import torch
from documents import ROOT, markdown, replace
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
FRONTEND = ROOT / "frontend" / "src"
STABLE_DIFFUSION = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
FLUX = {**STABLE_DIFFUSION, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False, "sample_size": 1024}


@dataclass(frozen=True)
class Model:
    """A class of diffusers, the fields in which the published configuration differs from the class's defaults, or the file that has
    them, and what is decoded."""

    cls: str
    latents: tuple[int, ...]
    fields: dict | str = field(default_factory=dict)
    options: tuple[str, ...] = ()
    # The steps of the clip, each a kind and its latent frames.
    steps: tuple[tuple[str, int], ...] = ()

    def make(self) -> torch.nn.Module:
        fields = self.fields
        if isinstance(fields, str):
            fields = json.loads((FRONTEND / fields).read_text())
        fields = {name: value for name, value in fields.items() if not name.startswith("_")}
        return getattr(diffusers, self.cls)(**fields)

    def clip_steps(self) -> tuple[tuple[str, int], ...]:
        return self.steps or (("decode-whole", self.latents[2] if len(self.latents) == 5 else 1),)


# Timesteps are the worker's, see there.
TIMESTEP = ("--timestep", "0.05")
FIRST_THEN_TWO = (("decode-first", 1), ("decode-next", 2))
MODELS = {
    "Wan-2.1": Model("AutoencoderKLWan", (1, 16, 3, 16, 24), steps=FIRST_THEN_TWO),
    "Wan-2.2": Model("AutoencoderKLWan", (1, 48, 3, 8, 12), "wan/wan-2.2.json", steps=FIRST_THEN_TWO),
    "Qwen-Image": Model("AutoencoderKLQwenImage", (1, 16, 1, 48, 48)),
    "FLUX.1": Model("AutoencoderKL", (1, 16, 64, 64), FLUX),
    "SDXL": Model("AutoencoderKL", (1, 4, 64, 64), {**STABLE_DIFFUSION, "sample_size": 1024}),
    "FLUX.2": Model("AutoencoderKLFlux2", (1, 32, 64, 64)),
    "HunyuanVideo": Model("AutoencoderKLHunyuanVideo", (1, 16, 3, 12, 16)),
    "HunyuanVideo-1.5": Model("AutoencoderKLHunyuanVideo15", (1, 32, 3, 6, 8)),
    "LTX-2.3": Model("AutoencoderKLLTX2Video", (1, 128, 2, 8, 12), "ltx2/ltx-2.3.json"),
    "LTX-Video-0.9.5": Model("AutoencoderKLLTXVideo", (1, 128, 2, 10, 16), "ltx/ltx-video-0.9.5.json", TIMESTEP),
    "Mochi": Model("AutoencoderKLMochi", (1, 12, 2, 12, 16), steps=(("decode-first", 1), ("decode-next", 1))),
    "TAESD": Model("AutoencoderTiny", (1, 4, 128, 128)),
    "Sana": Model("AutoencoderDC", (1, 32, 16, 16), "autoencoder_dc/sana.json"),
}


def write(name: str, folder: Path) -> None:
    """The checkpoint with random weights, and latents."""
    torch.manual_seed(0)
    model = MODELS[name]
    model.make().save_pretrained(folder / "model")
    save_file({"latents": torch.randn(model.latents)}, folder / "latents.safetensors")


class Steps:
    """Every step of a clip, each a second time in a process of its own."""

    def __init__(self, model: Model, binary: Path, row: compare.Row, data: Path):
        size = ["--height", model.latents[-2], "--width", model.latents[-1], "--repeats", 1]
        steps = [["--step", kind, "--frames", frames] for kind, frames in model.clip_steps()]
        self.commands = [[binary, "bench", "--model", data / "model", *step, *size] for step in steps]
        self.row = row
        self.ready = None

    def run(self) -> dict:
        return {"seconds": sum(compare.tessera(command, self.row)["seconds"]["run"] for command in self.commands)}

    def finish(self) -> tuple[None, None]:
        return None, None

    def stop(self) -> None:
        pass


def engines(name: str):
    """As compare.engines, of those that run every model."""

    def of(row: compare.Row, binary: Path, data: Path, scratch: Path):
        yield "torch", lambda: compare.Peer("torch", row, data, scratch)
        yield "tessera", lambda: Steps(MODELS[name], binary, row, data)
        yield "once", lambda: compare.Once("once", binary, row, data, scratch, MODELS[name].options)

    return of


def measure(name: str, dtypes: list[str], arguments: argparse.Namespace) -> list[dict]:
    folder = arguments.data.resolve() / name
    write(name, folder)
    try:
        of_model = argparse.Namespace(**{**vars(arguments), "data": folder, "engines": ["torch", "tessera", "once"]})
        with tempfile.TemporaryDirectory() as scratch:
            expected = compare.reference("decode", folder, Path(scratch))
        rows = [compare.Row("decode", "decode", dtype, arguments.threads, False) for dtype in dtypes]
        found = [compare.measure(row, of_model, expected, engines(name)) for row in rows]
        return [{"model": name, "latents": MODELS[name].latents, **row} for row in found]
    finally:
        shutil.rmtree(folder)


def table(report: dict) -> str:
    head = ["model", "latents", "", "PyTorch", "Tessera", "once", "PyTorch / Tessera", "peak memory", "mean difference"]
    rows = []
    for row in report["rows"]:
        found = compare.measured(row)
        torch_row, again, ours = (found.get(name) for name in ("torch", "tessera", "once"))
        if not (torch_row and again and ours):
            continue
        gib = " / ".join(f"{engine['peak_rss_bytes'] / 2**30:.2f}" for engine in (torch_row, ours))
        errors = " / ".join(f"{engine['mean_difference']:.1e}" for engine in (torch_row, ours))
        latents = "x".join(map(str, row["latents"]))
        seconds = [f"{engine['seconds']:.2f} s" for engine in (torch_row, again, ours)]
        ratio = f"{torch_row['seconds'] / again['seconds']:.2f}"
        rows.append([row["model"], latents, row["dtype"], *seconds, ratio, f"{gib} GiB", errors])
    return markdown(head, rows)


def caption(report: dict) -> str:
    machine = report["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items() if number)
    return (
        f"Published sizes, random weights, {report['threads']} threads; {machine['cores']} cores of {machine['cpu']}, "
        f"{machine['memory_gib']} GiB; {versions}. Medians of {report['repeats']}."
    )


def run(arguments: argparse.Namespace) -> dict:
    report = {
        "machine": compare.machine(arguments.tessera.resolve()),
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        "rows": [],
    }
    if arguments.add:
        now = {(name, dtype) for name in arguments.models for dtype in arguments.dtypes}
        before = json.loads(arguments.output.read_text())["rows"]
        report["rows"] = [row for row in before if (row["model"], row["dtype"]) not in now]
    for name in arguments.models:
        report["rows"] += measure(name, arguments.dtypes, arguments)
        report["rows"].sort(key=lambda row: list(MODELS).index(row["model"]))
        # After every model, so that what was measured is not lost.
        arguments.output.write_text(json.dumps(report, indent=2) + "\n")
        print(f"{name}: done", file=sys.stderr)
    return report


def known(name: str) -> str:
    if name not in MODELS:
        raise argparse.ArgumentTypeError(f"`{name}` is none of {', '.join(MODELS)}")
    return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tessera", type=Path, metavar="PATH", help="the release binary")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="where checkpoints are made")
    parser.add_argument("--models", type=lambda text: [known(name) for name in text.split(",")], default=list(MODELS))
    parser.add_argument("--dtypes", type=lambda text: text.split(","), default=["f32", "bf16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="counted runs of each engine")
    parser.add_argument("--output", type=Path, default=HERE / "models.json", metavar="FILE.json")
    parser.add_argument("--add", action="store_true", help="keep the other rows that the output file has already")
    parser.add_argument("--tables", type=Path, metavar="FILE.json", help="measure nothing, take what was measured before")
    parser.add_argument("--documents", action="store_true", help="rewrite the table of BENCHMARKS.md")
    arguments = parser.parse_args()
    if arguments.tables:
        report = json.loads(arguments.tables.read_text())
    elif arguments.tessera and arguments.data and arguments.repeats > 0:
        report = run(arguments)
    else:
        parser.error("give --tessera and --data, with --repeats of at least 1, or --tables")
    text = f"{caption(report)}\n\n{table(report)}"
    if arguments.documents:
        replace("BENCHMARKS.md", "models", text)
    print(text)


if __name__ == "__main__":
    main()
