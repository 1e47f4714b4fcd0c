"""Folders of clips on many machines, by Ray.

    import tessera.ray

    tessera.ray.decode_folder("CogVideoX-2b", "latents/", "clips/", progress=True)

Files are where all machines see them by the same path. An actor holds the model and has the threads
and the memory that Ray gives it; what a machine that fails had begun, another makes. For pipelines
of Ray Data there are classes that `map_batches` takes.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from . import _session
from ._errors import OptionError, TesseraError
from ._folder import Decoding, Encoding, Layout, Location, Sources, Work, prepare, result
from ._progress import ClipProgress, shown_clips

if TYPE_CHECKING:
    import numpy.typing as npt
    from typing_extensions import Unpack

    from ._options import FolderOptions, MachineOptions

    Batch = dict[str, npt.NDArray[Any]]

__all__ = ["Decoder", "Encoder", "FileDecoder", "FileEncoder", "decode_folder", "encode_folder"]

_logger = logging.getLogger("tessera.ray")

# How often it is said that no machine has room.
_PATIENCE_SECONDS = 30.0
# The share of a machine's memory that its actors take together where Ray has given none.
_SHARE_OF_MEMORY = 70


def decode_folder(
    model: _session.Model,
    latents: Sources,
    output: Location,
    *,
    suffix: str = ".mp4",
    fps: float = 8.0,
    layout: Layout = "auto",
    scaled: bool | None = None,
    config: _session.Model | None = None,
    num_cpus: int | None = None,
    memory: int | None = None,
    actors: int | None = None,
    resources: dict[str, float] | None = None,
    retries: int = 3,
    progress: ClipProgress = None,
    **options: Unpack[MachineOptions],
) -> list[Path]:
    """Decode every file of latents in a folder, on all machines of the cluster.

    It is `tessera.decode_folder`: what is there already is left as it is, outputs appear whole or
    not at all, and a clip that fails does not stop the others. A clip whose actor, worker or machine
    is lost is made by another. Without `ray.init` before it, `RAY_ADDRESS` names the cluster, or one
    is started on this machine.

    Args:
        model: As `tessera.open` takes it, on every machine.
        latents: As for `tessera.decode_folder`, on a file system that all machines have.
        output: The folder that clips go to, on such a file system.
        suffix: As for `tessera.decode_folder`.
        fps: Frames a second.
        layout: As for `Session.read_latents`.
        scaled: As for `Session.read_latents`.
        config: As for `tessera.open`.
        num_cpus: CPUs, and so threads, of an actor; by default those of the smallest machine, so that
            a machine holds the model once.
        memory: Bytes that Ray sets aside for an actor, which is its memory budget; by default its
            share of what the machine has available. The same tiles on all machines, and so the same
            bits, come of the same budget, or of `tiling`.
        actors: At most so many; by default as many as the cluster has room for now.
        resources: Other resources of Ray that an actor needs.
        retries: How often a clip is made again whose actor is lost, before it counts as failed.
        progress: True for a bar of tqdm, or a function that is told how many clips are there, and of
            how many.
        **options: Options of the sessions.

    Returns:
        The paths of all outputs.

    Raises:
        FolderError: Clips failed; it says which, and why.
        InputError: There are no clips, or two would have the same output.
        ModelError: The model cannot be opened.

    """
    work = _everywhere(model, config, Decoding(fps, layout, scaled), output, suffix, options)
    needs = _needs(num_cpus, memory, resources)
    return _make_all(work, latents, needs, actors, retries, progress)


def encode_folder(
    model: _session.Model,
    clips: Sources,
    output: Location,
    *,
    size: tuple[int, int] | None = None,
    frames: int | None = None,
    moments: bool = False,
    sample: int | None = None,
    scaled: bool = False,
    config: _session.Model | None = None,
    num_cpus: int | None = None,
    memory: int | None = None,
    actors: int | None = None,
    resources: dict[str, float] | None = None,
    retries: int = 3,
    progress: ClipProgress = None,
    **options: Unpack[MachineOptions],
) -> list[Path]:
    """Encode every clip in a folder, on all machines of the cluster: `tessera.encode_folder`.

    Args:
        model: As `tessera.open` takes it, on every machine.
        clips: As for `tessera.encode_folder`, on a file system that all machines have.
        output: The folder that latents go to, on such a file system.
        size: As for `Session.read_frames`.
        frames: As for `Session.read_frames`.
        moments: As for `Session.encode_to`.
        sample: As for `Session.encode_to`.
        scaled: As for `Session.encode_to`.
        config: As for `tessera.open`.
        num_cpus: As for `decode_folder`.
        memory: As for `decode_folder`.
        actors: As for `decode_folder`.
        resources: As for `decode_folder`.
        retries: As for `decode_folder`.
        progress: As for `decode_folder`.
        **options: Options of the sessions.

    """
    task = Encoding(size, frames, moments, sample, scaled)
    work = _everywhere(model, config, task, output, ".safetensors", options)
    needs = _needs(num_cpus, memory, resources)
    return _make_all(work, clips, needs, actors, retries, progress)


class _Mapped:
    """A session in an actor of Ray Data, with what Ray gave the actor, that makes one column of another."""

    def __init__(
        self,
        model: _session.Model,
        columns: tuple[str, str],
        scaled: bool,
        config: _session.Model | None,
        options: dict[str, Any],
    ) -> None:
        self.session = _session.open(model, config=config, **{**_given(), **options})
        self.columns = columns
        self.scaled = scaled

    def _replaced(self, batch: Batch, make: Callable[..., Any]) -> Batch:
        """A batch with what is made of the first column in its place, as the second."""
        source, made = self.columns
        rest = {name: column for name, column in batch.items() if name != source}
        return {**rest, made: make(batch[source], scaled=self.scaled)}


class Decoder(_Mapped):
    """For `map_batches`: a column of latents becomes one of frames.

        dataset.map_batches(tessera.ray.Decoder, fn_constructor_args=("CogVideoX-2b",), num_cpus=8)

    Both are [C, T, H, W] in a row, or [C, H, W] with a model of images, all of one shape in a batch.
    """

    def __init__(
        self,
        model: _session.Model,
        *,
        latents: str = "latents",
        frames: str = "frames",
        scaled: bool = False,
        config: _session.Model | None = None,
        **options: Unpack[FolderOptions],
    ) -> None:
        super().__init__(model, (latents, frames), scaled, config, dict(options))

    def __call__(self, batch: Batch) -> Batch:
        """Decode a batch, in place of its latents."""
        return self._replaced(batch, self.session.decode)


class Encoder(_Mapped):
    """For `map_batches`: a column of frames, from -1 to 1, becomes one of latents, as `Decoder`'s."""

    def __init__(
        self,
        model: _session.Model,
        *,
        frames: str = "frames",
        latents: str = "latents",
        scaled: bool = False,
        config: _session.Model | None = None,
        **options: Unpack[FolderOptions],
    ) -> None:
        super().__init__(model, (frames, latents), scaled, config, dict(options))

    def __call__(self, batch: Batch) -> Batch:
        """Encode a batch, in place of its frames."""
        return self._replaced(batch, self.session.encode)


class _Files:
    """Files of a column `path` made to files in a folder, in an actor of Ray Data.

    Columns `output` and `error` come beside it: where the clip is, and what was wrong with it, which
    is empty where nothing was.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.session = work.open(**_given())
        prepare(work.output)

    def __call__(self, batch: Batch) -> Batch:
        """Make what is not there yet."""
        import numpy as np

        outputs, errors = [], []
        for path in batch["path"]:
            source, error = Path(str(path)), ""
            try:
                self.work.make(self.session, source)
            except Exception as caught:
                error = f"{type(caught).__name__}: {caught}"
            outputs.append(str(self.work.target(source)))
            errors.append(error)
        return {**batch, "output": np.array(outputs), "error": np.array(errors)}


class FileDecoder(_Files):
    """For `map_batches`: files of latents in a column `path` become clips in a folder.

        ray.data.from_items([{"path": "latents/1.safetensors"}, ...]).map_batches(
            tessera.ray.FileDecoder, fn_constructor_args=("CogVideoX-2b", "clips/"), batch_size=1, num_cpus=8)

    Columns `output` and `error` are added: where the clip is, which is left as it is if it is there
    already, and what was wrong, which is empty where nothing was.
    """

    def __init__(
        self,
        model: _session.Model,
        output: Location,
        *,
        suffix: str = ".mp4",
        fps: float = 8.0,
        layout: Layout = "auto",
        scaled: bool | None = None,
        config: _session.Model | None = None,
        **options: Unpack[FolderOptions],
    ) -> None:
        super().__init__(
            Work(model, config, Decoding(fps, layout, scaled), Path(output), suffix, dict(options))
        )


class FileEncoder(_Files):
    """For `map_batches`: clips in a column `path` become files of latents in a folder, as `FileDecoder`'s."""

    def __init__(
        self,
        model: _session.Model,
        output: Location,
        *,
        size: tuple[int, int] | None = None,
        frames: int | None = None,
        moments: bool = False,
        sample: int | None = None,
        scaled: bool = False,
        config: _session.Model | None = None,
        **options: Unpack[FolderOptions],
    ) -> None:
        task = Encoding(size, frames, moments, sample, scaled)
        super().__init__(Work(model, config, task, Path(output), ".safetensors", dict(options)))


class _Maker:
    """An actor of a folder's run."""

    def __init__(self, work: Work, staging: Path) -> None:
        self.work = work
        self.staging = staging
        self.session: _session.Session

    def open(self) -> None:
        """Open the model: what is wrong with it is an error of a call and not of the actor."""
        self.session = self.work.open(**_given())

    def make(self, source: Path) -> list[Path]:
        """Make a clip, unless it is there."""
        return self.work.make(self.session, source, self.staging)


class _Crew:
    """The actors of a run: those that open the model, have nothing to do, or make a clip."""

    def __init__(self, work: Work, staging: Path, needs: dict[str, Any], retries: int) -> None:
        self.actor = ray.remote(**needs)(_Maker)
        self.arguments = work, staging
        self.needs = needs
        self.retries = retries
        self.opening: dict[Any, Any] = {}
        self.idle: list[Any] = []
        self.making: dict[Any, tuple[Any, Path]] = {}
        self.lost_in_a_row = 0

    def hire(self, count: int) -> None:
        """Have so many actors, but no more than are at work."""
        while len(self.opening) + len(self.idle) + len(self.making) < count:
            # Not restarted by Ray: one that is lost must not hold a clip until there is room for it.
            actor = self.actor.remote(*self.arguments)
            self.opening[actor.open.remote()] = actor

    def finished(self) -> Iterator[tuple[Path, list[Path] | Exception]]:
        """Wait for something to happen; tell what became of clips: a RayError of those that were lost."""
        calls = [*self.opening, *self.making]
        done, _ = ray.wait(calls, num_returns=1, timeout=_PATIENCE_SECONDS)
        if not done and not self.making:
            _logger.warning("no machine of the cluster has room for an actor that needs %s", self.needs)
        for call in done:
            if call in self.opening:
                self._opened(call, self.opening.pop(call))
                continue
            actor, source = self.making.pop(call)
            found: list[Path] | Exception
            try:
                found = ray.get(call)
                self.idle.append(actor)
            except RayTaskError as error:
                found = _cause(error)
                self.idle.append(actor)
            except RayError as error:
                _logger.warning("%s: the actor that made it was lost: %s", source, error)
                found = error
            yield source, found

    def _opened(self, call: Any, actor: Any) -> None:
        try:
            ray.get(call)
        except RayTaskError as error:
            raise _cause(error) from error
        except RayError as error:
            self.lost_in_a_row += 1
            if self.lost_in_a_row > self.retries:
                raise TesseraError(f"{self.lost_in_a_row} actors in a row were lost: {error}") from error
            _logger.warning("an actor was lost before it began: %s", error)
        else:
            self.lost_in_a_row = 0
            self.idle.append(actor)

    def assign(self, waiting: deque[Path]) -> None:
        """Give those who have nothing to do something."""
        while self.idle and waiting:
            actor, source = self.idle.pop(), waiting.popleft()
            self.making[actor.make.remote(source)] = actor, source

    def dismiss(self) -> None:
        """End all."""
        for actor in [*self.opening.values(), *self.idle, *(actor for actor, _ in self.making.values())]:
            ray.kill(actor)


def _everywhere(
    model: _session.Model,
    config: _session.Model | None,
    task: Decoding | Encoding,
    output: Location,
    suffix: str,
    options: MachineOptions,
) -> Work:
    """The work with paths that do not depend on where a process runs."""

    def located(name: _session.Model) -> str:
        path, mark, prefix = os.fspath(name).partition("#")
        # What is not here is an id on the hub, or is elsewhere.
        return (os.fspath(Path(path).absolute()) if Path(path).exists() else path) + mark + prefix

    config = None if config is None else located(config)
    return Work(located(model), config, task, Path(output).absolute(), suffix, dict(options))


def _make_all(
    work: Work,
    given: Sources,
    needs: dict[str, Any],
    actors: int | None,
    retries: int,
    progress: ClipProgress,
) -> list[Path]:
    sources = [path.absolute() for path in work.sources(given)]
    prepare(work.output)
    made = {source: [target] for source in sources if (target := work.target(source)).exists()}
    waiting = deque(source for source in sources if source not in made)
    failed: dict[Path, Exception] = {}
    lost: Counter[Path] = Counter()
    with shown_clips(progress, work.task.doing) as tell, _staging(work.output) as staging:
        tell(len(made), len(sources))
        if waiting and not ray.is_initialized():
            ray.init()
        if waiting and "num_cpus" not in needs:
            needs = {**needs, "num_cpus": _smallest_machine()}
        crew = _Crew(work, staging, needs, retries) if waiting else None
        try:
            while crew and (waiting or crew.making):
                most = actors or _room(needs)
                crew.hire(min(most, len(waiting) + len(crew.making)))
                crew.assign(waiting)
                for source, found in crew.finished():
                    if isinstance(found, list):
                        made[source] = found
                    elif isinstance(found, RayError) and lost[source] < retries:
                        lost[source] += 1
                        waiting.append(source)
                        continue
                    else:
                        failed[source] = found
                    tell(len(made) + len(failed), len(sources))
        finally:
            if crew:
                crew.dismiss()
    return result(sources, made, failed)


@contextmanager
def _staging(output: Path) -> Iterator[Path]:
    """A folder for outputs that are not whole yet, which goes with what lost actors have left in it.

    Its name and its lock are those of the library's own temporary outputs: should this process be
    killed, the next one that writes into `output` removes it.
    """
    folder = output / f".tessera-ray{secrets.token_hex(8)}"
    folder.mkdir()
    held = os.open(folder, os.O_RDONLY)
    try:
        # Where the file system has no locks, nobody removes anything by them.
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            _logger.debug("%s: cannot be locked: %s", folder, error)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _needs(num_cpus: int | None, memory: int | None, resources: dict[str, float] | None) -> dict[str, Any]:
    """What an actor is given, as Ray's own options."""
    for name, value in ("num_cpus", num_cpus), ("memory", memory):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise OptionError(f"{name}: expected a whole number of at least 1, found {value!r}")
    asked = {"num_cpus": num_cpus, "memory": memory, "resources": resources}
    return {name: value for name, value in asked.items() if value is not None}


def _machines() -> list[dict[str, float]]:
    """The resources of every machine that is there and computes."""
    machines = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return [machine for machine in machines if machine.get("CPU", 0) >= 1]


def _smallest_machine() -> int:
    return int(min((machine["CPU"] for machine in _machines()), default=1))


def _room(needs: dict[str, Any]) -> int:
    """How many actors the machines have room for, at least one: another machine may come."""
    asked = {"CPU": needs["num_cpus"], "memory": needs.get("memory", 0), **needs.get("resources", {})}
    rooms = (
        min(int(machine.get(name, 0) // amount) for name, amount in asked.items() if amount)
        for machine in _machines()
    )
    return max(1, sum(rooms))


def _given() -> dict[str, Any]:
    """The threads and the memory that Ray gave this actor, as options of a session."""
    context = ray.get_runtime_context()
    assigned = context.get_assigned_resources()
    cpus = assigned.get("CPU", 0)
    given: dict[str, Any] = {"threads": max(1, int(cpus))}
    if memory := assigned.get("memory"):
        given["memory"] = int(memory)
    else:
        node = context.get_node_id()
        of_machine = [
            machine["Resources"].get("CPU", 0) for machine in ray.nodes() if machine["NodeID"] == node
        ]
        share = min(1.0, cpus / max(of_machine[0], 1)) if cpus and of_machine else 1.0
        given["memory"] = f"{max(1, round(_SHARE_OF_MEMORY * share))}%"
    return given


def _cause(error: Any) -> Exception:
    """What a call raised, as it was raised."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error
