"""Time `tessera.open(...).decode` against `tessera decode` on the same checkpoint and latents, and compare peaks of memory.

usage: overhead.py --tessera PATH --data FOLDER [--task tile|decode|frame] [--threads N] [--repeats N] [--output FILE.json]
needs: the wheel of runtime/python, built for release of the same commit as PATH; FOLDER is what make_model.py writes

Each turn starts a process for either, one after the other, and the other one first in the next turn. What is compared is a
first run: of the command line `run` of its `--json`, of Python the time that `decode` takes less that of loading weights and
compiling, which the command line does before its run. Python's second call is told beside it. Least times are compared, since
everything else only adds.

Python holds what the command line does not: an interpreter, and all frames, which the command line writes as they are done.
What is left of its peak without these is told; if anything large were held twice, it would be more than the command line's.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compare import Once, Row

TASKS = ("decode", "tile", "frame")


def peak() -> int:
    """The peak of this process' resident memory, in bytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def child(model: str, source: str, threads: int) -> None:
    """Decode twice, as a program in Python does, and print what that took."""
    from safetensors.numpy import load_file

    import tessera

    (latents,) = load_file(source).values()
    interpreter = peak()
    vae = tessera.open(model, threads=threads, tiling="off")
    calls, frames = [], None
    for _ in range(2):
        del frames
        started = time.perf_counter()
        frames = vae.decode(latents)
        wall = time.perf_counter() - started
        calls.append({"wall": wall, **vae.report["seconds"], "peak": peak()})
    told = {"interpreter": interpreter, "frames": frames.nbytes, "calls": calls}
    print(json.dumps(told))


def from_python(row: Row, data: Path) -> dict:
    command = [sys.executable, __file__, "--child", data / "model", row.source(data), str(row.threads)]
    done = subprocess.run([str(part) for part in command], env=row.environment(), capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    told = json.loads(done.stdout)
    first, second = told["calls"]
    prepared = first["load"] + first["compile"]
    return {
        "run": first["wall"] - prepared,
        "inside": first["run"],
        "second": second["wall"],
        "peak": first["peak"],
        "own": first["peak"] - told["interpreter"] - told["frames"],
        "peak of two": second["peak"],
        "interpreter": told["interpreter"],
        "frames": told["frames"],
    }


def from_command_line(engine: Once) -> dict:
    seconds = engine.run()
    return {"run": seconds["seconds"], "peak": engine.peak}


def measure(arguments: argparse.Namespace) -> dict:
    row = Row.parse(f"{arguments.task}-f32-{arguments.threads}")
    data = arguments.data.resolve()
    turns = {"command line": [], "python": []}
    with tempfile.TemporaryDirectory() as scratch:
        engine = Once("once", arguments.tessera.resolve(), row, data, Path(scratch))
        runs = {"command line": lambda: from_command_line(engine), "python": lambda: from_python(row, data)}
        for turn in range(arguments.repeats):
            for name in sorted(runs, reverse=turn % 2 == 1):
                turns[name].append(runs[name]())
                print(f"turn {turn}: {name}: {turns[name][-1]}", file=sys.stderr, flush=True)
    return {"row": row.name, "turns": turns}


def table(report: dict) -> str:
    ours, theirs = report["turns"]["python"], report["turns"]["command line"]
    lines = [f"{report['row']}, {len(ours)} turns"]

    def compared(name: str, key: str) -> None:
        least = min(turn[key] for turn in ours), min(turn["run"] for turn in theirs)
        middle = statistics.median(turn[key] / other["run"] for turn, other in zip(ours, theirs, strict=True))
        share = 100 * (least[0] / least[1] - 1)
        lines.append(
            f"{name}: least {least[0]:.3f} s, the command line's run {least[1]:.3f} s: {share:+.2f} %; "
            f"median of the turns' ratios {100 * (middle - 1):+.2f} %"
        )

    compared("decode, first call", "run")
    compared("decode, second call", "second")
    mebibytes = {key: max(turn[key] for turn in ours) >> 20 for key in ("peak", "interpreter", "frames", "own", "peak of two")}
    lines.append(
        "peak: {peak} MiB, of which the interpreter {interpreter} and the frames {frames}: {own} without them; "
        "after two calls {peak of two}".format(**mebibytes)
    )
    lines.append(f"the command line's peak: {max(turn['peak'] for turn in theirs) >> 20} MiB")
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        model, source, threads = sys.argv[2:]
        child(model, source, int(threads))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tessera", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--task", choices=TASKS, default="tile")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    report = measure(arguments)
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    print(table(report))


if __name__ == "__main__":
    main()
