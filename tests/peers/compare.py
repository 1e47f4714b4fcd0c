"""Time Tessera against PyTorch (diffusers), OpenVINO and XLA on the same checkpoint and input, and keep the documents' tables.

usage: compare.py --tessera PATH --data FOLDER [--rows ROW,...] [--engines NAME,...] [--repeats N] [--output FILE.json]
                  [--add] [--documents]
       compare.py --tables FILE.json [--documents]
needs: pip install -r requirements.txt; FOLDER is what make_model.py writes

A row is TASK-DTYPE-THREADS[-avx2], such as decode-f32-2 or encode-bf16-1-avx2. Tasks: decode (latents.safetensors), encode
(clip.npy), tile (decodes tile.safetensors, a default tile) and frame (decodes frame.safetensors, untiled: the memory it takes).
Within a row the engines run in alternation, so that a machine that slows down slows all of them; medians are compared. The first
run of a process is not counted: PyTorch and OpenVINO run once before the turns, Tessera's step once in each turn, since it is a
new process every time. "Tessera, once" is what a user sees who decodes a single clip: a new process, and its first run. So is
XLA: Tessera's StableHLO on the PJRT plugin for CPUs that TESSERA_PJRT_PLUGIN names, on all cores and with all instruction sets.

Differences of decode and encode are from PyTorch in f64, so PyTorch's own f32 has one too; those of tile and frame are from
PyTorch in the row.

--documents rewrites what stands between `<!-- peers -->` and `<!-- /peers -->` in README.md and BENCHMARKS.md.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from documents import markdown, replace

HERE = Path(__file__).resolve().parent
DOCUMENTS = {"BENCHMARKS.md": False, "README.md": True}
ROWS = [
    *(f"{task}-{dtype}-{threads}" for task in ("decode", "encode") for dtype in ("f32", "bf16") for threads in (2, 1)),
    "decode-f32-2-avx2",
    "encode-f32-2-avx2",
    "tile-f32-2",
]
SOURCES = {
    "decode": "latents.safetensors", "encode": "clip.npy", "tile": "tile.safetensors", "frame": "frame.safetensors"
}
# What a first step takes without a cache: OpenVINO runs one half as one graph, and `tessera bench` one step.
ONE_STEP = {"decode": 3, "encode": 15, "tile": 3, "frame": 3}
# Between PyTorch and Tessera alone: the memory of the others is several times theirs.
LARGE = ("tile", "frame")
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "TESSERA_ISA": "avx2"}
NAMES = {"torch": "PyTorch", "openvino": "OpenVINO", "xla": "XLA", "tessera": "Tessera", "once": "Tessera, once"}
PLUGIN = "TESSERA_PJRT_PLUGIN"
USAGE_ERROR = 2


class Skipped(Exception):
    """An engine cannot run a row."""


@dataclass(frozen=True)
class Row:
    name: str
    task: str
    dtype: str
    threads: int
    avx2: bool

    @staticmethod
    def parse(name: str) -> "Row":
        found = re.fullmatch(rf"({'|'.join(SOURCES)})-(f64|f32|bf16)-(\d+)(-avx2)?", name)
        if not found:
            raise argparse.ArgumentTypeError(f"`{name}` is not TASK-DTYPE-THREADS[-avx2], such as decode-f32-2")
        return Row(name, found[1], found[2], int(found[3]), bool(found[4]))

    @property
    def half(self) -> str:
        return "encode" if self.task == "encode" else "decode"

    def source(self, data: Path) -> Path:
        return data / SOURCES[self.task]

    def environment(self) -> dict[str, str]:
        threads = {"OMP_NUM_THREADS": str(self.threads)}
        return {**os.environ, **threads, **(AVX2 if self.avx2 else {})}


class Peer:
    """PyTorch or OpenVINO, in a process that waits between runs."""

    def __init__(self, engine: str, row: Row, data: Path, scratch: Path):
        self.output = scratch / f"{engine}.npy"
        command = [sys.executable, HERE / "worker.py", engine, row.half, row.dtype, row.threads, data / "model"]
        command += [row.source(data), self.output]
        self.complaints = scratch / f"{engine}.log"
        with self.complaints.open("w") as log:
            pipe, parts = subprocess.PIPE, [str(part) for part in command]
            self.process = subprocess.Popen(
                parts, env=row.environment(), stdin=pipe, stdout=pipe, stderr=log, text=True
            )
        self.ready = self.answer()["ready"]

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        while line and not line.startswith("{"):
            line = self.process.stdout.readline()
        if not line:
            lines = self.complaints.read_text().strip().splitlines()
            telling = [line for line in lines if "Error" in line] or lines or ["it ended without a word"]
            raise Skipped(telling[-1].strip())
        return json.loads(line)

    def run(self) -> dict:
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        return self.answer()

    def finish(self) -> tuple[np.ndarray, int]:
        self.process.stdin.close()
        peak = self.answer()["peak_rss_bytes"]
        self.process.wait()
        return np.load(self.output), peak

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def tessera(command: list, row: Row) -> dict:
    """What Tessera's `--json` says."""
    command = [*command, "--threads", row.threads, "--json"] + ([] if row.dtype == "f32" else ["--dtype", row.dtype])
    ended = subprocess.run([str(part) for part in command], env=row.environment(), capture_output=True, text=True)
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.startswith("error")]
        reason = lines[0] if lines else f"exit code {ended.returncode}"
        raise Skipped(f"not yet in this binary: {reason}" if ended.returncode == USAGE_ERROR else reason)
    return json.loads(ended.stdout)


class Once:
    """Tessera on a clip: a new process for every run, and its first."""

    def __init__(self, name: str, binary: Path, row: Row, data: Path, scratch: Path, options: tuple[str | Path, ...] = ()):
        self.row = row
        self.output = scratch / f"{name}.{'npy' if row.half == 'decode' else 'safetensors'}"
        task = {
            "decode": ["--latents", row.source(data), "--unscaled"],
            "encode": ["--video", row.source(data), "--moments"],
        }[row.half]
        self.command = [binary, row.half, "--model", data / "model", *task, "--output", self.output, "--tiling", "off"]
        self.command += options
        self.peak = 0
        self.ready = None

    def run(self) -> dict:
        report = tessera(self.command, self.row)
        self.peak = max(self.peak, report["peak_rss_bytes"] or 0)
        seconds = report["seconds"]
        self.ready = seconds["load"] + seconds["compile"]
        return {"seconds": seconds["run"], "load": seconds["load"], "compile": seconds["compile"]}

    def finish(self) -> tuple[np.ndarray, int]:
        if self.output.suffix == ".npy":
            return np.load(self.output), self.peak
        from safetensors.numpy import load_file

        return load_file(self.output)["parameters"], self.peak

    def stop(self) -> None:
        pass


class Step:
    """Tessera's step for the same input, a second time in its process, as the peers' runs are."""

    def __init__(self, binary: Path, row: Row, data: Path, scratch: Path):
        frames, height, width = size(row, data)
        step = ["--step", f"{row.half}-whole", "--frames", frames, "--height", height, "--width", width]
        self.command = [binary, "bench", "--model", data / "model", *step, "--repeats", 1]
        self.row = row
        self.peak = 0
        self.ready = None

    def run(self) -> dict:
        report = tessera(self.command, self.row)
        self.peak = max(self.peak, report["peak_rss_bytes"] or 0)
        seconds = report["seconds"]
        self.ready = sum(seconds[stage] for stage in ("load", "declare", "passes", "codegen", "pack"))
        return {"seconds": seconds["run"]}

    def finish(self) -> tuple[None, int]:
        return None, self.peak

    def stop(self) -> None:
        pass


def size(row: Row, data: Path) -> tuple[int, int, int]:
    """Frames, height and width of a row's input."""
    path = row.source(data)
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r").shape[2:]
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        return tuple(file.get_slice("latents").get_shape()[2:])


def engines(row: Row, binary: Path, data: Path, scratch: Path):
    """Names and makers of the engines that can run a row."""
    one_step = size(row, data)[0] <= ONE_STEP[row.task]
    yield "torch", lambda: Peer("torch", row, data, scratch)
    if one_step:
        yield "tessera", lambda: Step(binary, row, data, scratch)
    yield "once", lambda: Once("once", binary, row, data, scratch)
    if row.task in LARGE:
        return
    if os.environ.get(PLUGIN) and row.threads == os.cpu_count() and not row.avx2:
        # Compiled by the first run, which is not counted; read from the cache by the others.
        backend = ("--backend", "pjrt", "--cache-dir", scratch / "programs")
        yield "xla", lambda: Once("xla", binary, row, data, scratch, backend)
    if one_step:
        yield "openvino", lambda: Peer("openvino", row, data, scratch)


def reference(task: str, data: Path, scratch: Path) -> np.ndarray:
    """What PyTorch makes of the input in f64."""
    peer = Peer("torch", Row("reference", task, "f64", os.cpu_count() or 1, False), data, scratch)
    peer.run()
    return peer.finish()[0]


def measure(row: Row, arguments: argparse.Namespace, expected: np.ndarray | None, makers=engines) -> dict:
    """One row: every engine of `makers` started, then run in turn, `repeats` times after one run that is not counted. Without
    something `expected`, differences are from PyTorch."""
    binary, data, repeats = arguments.tessera.resolve(), arguments.data.resolve(), arguments.repeats
    results, running = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        try:
            for name, make in makers(row, binary, data, Path(scratch)):
                if name not in arguments.engines:
                    continue
                try:
                    running[name] = make()
                except Skipped as reason:
                    skip(row, name, reason, results)
            times = {name: [] for name in running}
            for _ in range(repeats + 1):
                for name, engine in list(running.items()):
                    try:
                        times[name].append(engine.run())
                    except Skipped as reason:
                        skip(row, name, reason, results)
                        running.pop(name).stop()
            for name, engine in running.items():
                found, peak = engine.finish()
                expected = found if expected is None else expected
                seconds = [run["seconds"] for run in times[name][1:]]
                results[name] = {
                    "seconds": statistics.median(seconds),
                    "runs": seconds,
                    "first": times[name][0]["seconds"],
                    "ready": engine.ready,
                    "last": times[name][-1],
                    "peak_rss_bytes": peak,
                    **({} if found is None else differences(found, expected)),
                }
        finally:
            for engine in running.values():
                engine.stop()
    return {"row": row.name, "task": row.task, "dtype": row.dtype, "threads": row.threads, "avx2": row.avx2, "engines": results}


def differences(found: np.ndarray, expected: np.ndarray) -> dict:
    difference = np.abs(found.astype(np.float64) - expected)
    return {"mean_difference": float(difference.mean()), "max_difference": float(difference.max())}


def skip(row: Row, engine: str, reason: Skipped, results: dict) -> None:
    print(f"{row.name}: {engine} skipped: {reason}", file=sys.stderr)
    results[engine] = {"skipped": str(reason)}


def machine(binary: Path) -> dict:
    """What the figures depend on."""
    def installed(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    tessera = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    packages = {package: installed(package) for package in ("torch", "diffusers", "openvino")}
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else None,
        "system": platform.release(),
        "python": platform.python_version(),
        "versions": {"tessera": tessera, **packages},
    }


def workload(data: Path) -> dict:
    config = json.loads((data / "model" / "config.json").read_text())
    clip = np.load(data / "clip.npy", mmap_mode="r").shape if (data / "clip.npy").exists() else None
    from safetensors import safe_open

    with safe_open(data / "latents.safetensors", "np") as file:
        latents = file.get_slice("latents").get_shape()
    channels = config["block_out_channels"]
    return {"block_out_channels": channels, "layers_per_block": config["layers_per_block"], "latents": latents, "clip": clip}


def table(report: dict, short: bool) -> str:
    """The figures in Markdown: the short form has the rows on most threads with every instruction set."""
    return short_table(report) if short else long_table(report)


def measured(row: dict) -> dict:
    """The engines of a row that ran, by name."""
    return {name: engine for name, engine in row["engines"].items() if "skipped" not in engine}


def ratio(row: dict, engine: dict) -> str:
    """How many times as fast as PyTorch."""
    torch = measured(row).get("torch")
    return f"{torch['seconds'] / engine['seconds']:.2f}" if torch else "-"


def short_table(report: dict) -> str:
    most = max(row["threads"] for row in report["rows"])
    names = [name for name in NAMES if any(name in measured(row) for row in report["rows"])]
    rows = []
    for row in report["rows"]:
        found = measured(row)
        if row["threads"] == most and not row["avx2"]:
            seconds = [f"{found[name]['seconds']:.2f} s" if name in found else "-" for name in names]
            times = f"{ratio(row, found['tessera'])} times as fast" if "tessera" in found else "-"
            threads = f"{most} thread{'s' if most > 1 else ''}"
            rows.append([f"{row['task']}, {row['dtype']}, {threads}", *seconds, times])
    return markdown(["", *(NAMES[name] for name in names), "against PyTorch"], rows)


def long_table(report: dict) -> str:
    head = ["row", "engine", "seconds (from, to)", "PyTorch / it", "ready after", "peak memory", "mean and max difference"]
    rows = []
    for row in report["rows"]:
        for name, engine in measured(row).items():
            span = f"{engine['seconds']:.3f} ({min(engine['runs']):.3f}, {max(engine['runs']):.3f})"
            memory = f"{engine['peak_rss_bytes'] / 2**30:.2f} GiB" if engine["peak_rss_bytes"] else "-"
            found = "mean_difference" in engine
            difference = f"{engine['mean_difference']:.1e}, {engine['max_difference']:.1e}" if found else "-"
            rows.append([row["row"], NAMES[name], span, ratio(row, engine), f"{engine['ready']:.2f} s", memory, difference])
    return markdown(head, rows)


def caption(report: dict) -> str:
    machine, work = report["machine"], report["workload"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items() if number)
    x = lambda shape: "x".join(str(size) for size in shape)
    clip = f", a clip of {x(work['clip'])}" if work["clip"] else ""
    return (
        f"Block channels {', '.join(map(str, work['block_out_channels']))}, {work['layers_per_block']} layers a block, random "
        f"weights; latents {x(work['latents'])}{clip}. {machine['cores']} cores of {machine['cpu']}, "
        f"{machine['memory_gib']} GiB; {versions}. Medians of {report['repeats']}."
    )


def rewrite(report: dict) -> None:
    """Puts the tables between the documents' markers."""
    for name, short in DOCUMENTS.items():
        replace(name, "peers", f"{caption(report)}\n\n{table(report, short)}")


def run(arguments: argparse.Namespace) -> dict:
    data, binary = arguments.data.resolve(), arguments.tessera.resolve()
    report = {"machine": machine(binary), "workload": workload(data), "repeats": arguments.repeats, "rows": []}
    if arguments.add:
        measured_now = {row.name for row in arguments.rows}
        before = json.loads(arguments.output.read_text())["rows"]
        report["rows"] = [row for row in before if row["row"] not in measured_now]
    expected = {}
    for row in arguments.rows:
        if row.task not in expected and row.task in ("decode", "encode"):
            with tempfile.TemporaryDirectory() as scratch:
                expected[row.task] = reference(row.task, data, Path(scratch))
        report["rows"].append(measure(row, arguments, expected.get(row.task)))
        # After every row, so that what was measured is not lost.
        arguments.output.write_text(json.dumps(report, indent=2) + "\n")
        print(f"{row.name}: done", file=sys.stderr)
    return report


def known_engine(name: str) -> str:
    if name not in NAMES:
        raise argparse.ArgumentTypeError(f"`{name}` is none of {', '.join(NAMES)}")
    return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tessera", type=Path, metavar="PATH", help="the release binary")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="what make_model.py wrote")
    parser.add_argument(
        "--rows",
        type=lambda text: [Row.parse(name) for name in text.split(",")],
        default=[Row.parse(name) for name in ROWS],
        metavar="ROW,...",
        help=f"default: {','.join(ROWS)}",
    )
    parser.add_argument(
        "--engines",
        type=lambda text: [known_engine(name) for name in text.split(",")],
        default=list(NAMES),
        metavar="NAME,...",
        help=f"which to run where they can; default: {','.join(NAMES)}",
    )
    parser.add_argument("--add", action="store_true", help="keep the other rows that the output file has already")
    parser.add_argument("--repeats", type=int, default=5, help="counted runs of each engine in each row")
    parser.add_argument("--output", type=Path, default=HERE / "results.json", metavar="FILE.json")
    parser.add_argument("--tables", type=Path, metavar="FILE.json", help="measure nothing, take what was measured before")
    parser.add_argument("--documents", action="store_true", help="rewrite the tables of README.md and BENCHMARKS.md")
    arguments = parser.parse_args()
    if arguments.tables:
        report = json.loads(arguments.tables.read_text())
    elif arguments.tessera and arguments.data and arguments.repeats > 0:
        report = run(arguments)
    else:
        parser.error("give --tessera and --data, with --repeats of at least 1, or --tables")
    if arguments.documents:
        rewrite(report)
    print(f"{caption(report)}\n\n{table(report, short=False)}")


if __name__ == "__main__":
    main()
