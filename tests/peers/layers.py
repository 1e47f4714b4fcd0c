"""Run `tessera bench` and keep BENCHMARKS.md's tables of layers and of what passes and algorithms are worth.

usage: layers.py --tessera PATH [--top N] [-- ARGUMENT ...]

Arguments behind `--` go to `tessera bench`; without any: --random-weights --frames 2 --height 12 --width 16. It needs Python
alone. What it rewrites stands between the markers `layers`, `ablation` and `ablation-bf16`.
"""

import argparse
import json
import subprocess
from pathlib import Path

from documents import markdown, replace

DEFAULT = ["--random-weights", "--frames", "2", "--height", "12", "--width", "16"]


def bench(binary: Path, arguments: list[str]) -> dict:
    ended = subprocess.run([binary, "bench", "--json", *arguments], capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(ended.stderr.strip())
    return json.loads(ended.stdout)


def what(report: dict) -> str:
    step = report["step"]
    sizes = "x".join(str(step[size]) for size in ("batch", "frames", "height", "width"))
    return (
        f"{report['model'][0].upper()}{report['model'][1:]}; {step['kind']} of {sizes}, {report['element']}, {report['isa']}, "
        f"{report['threads']} threads of {report['cpu']}; median of {report['repeats']}"
    )


def speed(report: dict, flops: float, moved: float, seconds: float) -> list[str]:
    """GFLOP/s, share of the peak, share of the roof."""
    ceilings = report["ceilings"]
    least = max(flops / ceilings["gflops"], moved / ceilings["gbytes_per_second"]) / 1e9
    gflops = [f"{flops / seconds / 1e9:.0f}", f"{flops / seconds / 1e7 / ceilings['gflops']:.0f} %"] if flops else ["-", "-"]
    return [*gflops, f"{100 * least / seconds:.0f} %"]


def layers(report: dict, top: int) -> str:
    run, ceilings = report["seconds"]["run"], report["ceilings"]
    row = lambda name, kind, flops, moved, seconds: [
        name, kind, f"{1e3 * seconds:.2f}", f"{100 * seconds / run:.1f} %", *speed(report, flops, moved, seconds)
    ]
    kinds = [row(f"{k['calls']} calls", k["kind"], k["flops"], k["bytes"], k["seconds"]) for k in report["kinds"]]
    slowest = sorted(report["calls"], key=lambda call: -call["seconds"])[:top]
    calls = [
        row(
            f"`{call['module']}`",
            " ".join(filter(None, [call["kind"], call["algorithm"]])),
            call["flops"],
            call["bytes_read"] + call["bytes_written"],
            call["seconds"],
        )
        for call in slowest
    ]
    head = ["ms", "share", "GFLOP/s", "of peak", "of roof"]
    before = report["seconds"]
    stages = ", ".join(f"{stage} {before[stage]:.2f} s" for stage in ("load", "declare", "passes", "codegen", "pack"))
    return (
        f"{what(report)}: {run:.3f} s, {report['gflops_per_second']:.0f} GFLOP/s. Measured: {ceilings['gflops']:.0f} GFLOP/s, "
        f"{ceilings['gbytes_per_second']:.1f} GB/s. Before the first run: {stages}.\n\n"
        f"{markdown(['calls', 'kernel', *head], kinds)}\n\nThe {len(calls)} slowest of {len(report['calls'])} calls:\n\n"
        f"{markdown(['module', 'kernel', *head], calls)}"
    )


def ablation(report: dict) -> str:
    rows = [
        [v["variant"], f"{v['seconds']:.3f}", f"{v['ratio']:.2f}", str(v["calls"]), f"{v['bytes'] / 2**20:.0f}"]
        for v in report["variants"]
    ]
    table = markdown(["variant", "seconds", "times as long", "calls", "MiB moved"], rows)
    return f"{what(report)}, all variants in alternation.\n\n{table}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tessera", type=Path, required=True, metavar="PATH", help="the release binary")
    parser.add_argument("--top", type=int, default=12, help="how many calls to list")
    parser.add_argument("arguments", nargs="*", help="for `tessera bench`")
    given = parser.parse_args()
    arguments = given.arguments or DEFAULT
    replace("BENCHMARKS.md", "layers", layers(bench(given.tessera, arguments), given.top))
    replace("BENCHMARKS.md", "ablation", ablation(bench(given.tessera, [*arguments, "--ablation"])))
    in_bf16 = bench(given.tessera, [*arguments, "--ablation", "--dtype", "bf16"])
    replace("BENCHMARKS.md", "ablation-bf16", ablation(in_bf16))


if __name__ == "__main__":
    main()
