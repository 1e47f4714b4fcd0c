"""An open model: latents to frames and frames to latents."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from . import _tessera
from ._arrays import Pair, Taken, stored_tensor, taken
from ._errors import InputError, OptionError
from ._options import Options
from ._progress import shown

if TYPE_CHECKING:
    from typing import Literal

    import numpy.typing as npt
    from typing_extensions import Unpack

ArrayT = TypeVar("ArrayT")
Model = str | os.PathLike[str]

_logger = logging.getLogger("tessera")

_MOMENTS_ALONE = "moments: they are neither drawn nor scaled; leave out sample and scaled"


def open(  # noqa: A001
    model: Model,
    *,
    config: Model | None = None,
    offline: bool | None = None,
    on_download: Callable[[str, int, int], object] | None = None,
    **options: Unpack[Options],
) -> Session:
    """Open a model.

    Args:
        model: A folder with config.json and weights, a pipeline's folder with `vae/` in it, a file
            of weights, or an id on the hub, `OWNER/NAME` or `OWNER/NAME@REVISION`. `#PREFIX` behind
            it takes only weights whose names begin so.
        config: A configuration to use in place of the one beside the weights.
        offline: Whether the hub is left alone; by default as its own variables say.
        on_download: Told of files that are fetched: path, bytes that are here, bytes of all.
        **options: Options of all calls of the session, each of which may have others.

    Raises:
        ModelError: No model is there, or it cannot be used.
        MissingFileError: A file of it is not there.
        OptionError: An option has a value that it does not take.
        TypeError: There is no option of this name; the message lists those that there are.

    """
    _check(options)
    arguments = {"config": config, "offline": offline}
    native = _tessera.Model(model, config=config, offline=offline, on_download=on_download)
    for sentence in native.account:
        _logger.info("%s: %s", os.fspath(model), sentence)
    for warning in native.warnings:
        _logger.warning(warning)
    return Session(native, model, arguments, dict(options))


def _check(options: Options | dict[str, Any]) -> None:
    _tessera.check_options({**options, "progress": _function(options.get("progress"))})


def _function(progress: Any) -> Any:
    """What may be True or False, as the extension module has it."""
    return None if isinstance(progress, bool) else progress


class Session:
    """An open model, made by `tessera.open`.

    What a call makes is kept for later ones: packed weights, compiled steps, memory and threads.
    A second call with an input of the same shape compiles nothing. Threads may share a session;
    Python's lock is not held while it runs.

    Arrays are NumPy's, tensors of torch on any device, or whatever has `__dlpack__`; in float32,
    float16 or bfloat16. Results are of the same kind and type, on the same device. On the CPU
    nothing is copied that is float32 and row-major. Leave arrays alone while a call reads them.
    """

    def __init__(
        self,
        native: _tessera.Model,
        name: Model,
        arguments: dict[str, Any],
        options: dict[str, Any],
    ) -> None:
        self._native = native
        self._name = os.fspath(name)
        self._arguments = arguments
        self._options = options
        self._reports = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self._name, self._arguments, self._options)

    def __copy__(self) -> Session:
        return Session(self._native, self._name, self._arguments, self._options)

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        # Nothing in it changes but what calls leave, which copies share.
        return self.__copy__()

    def __repr__(self) -> str:
        return f"<tessera.Session of {self.class_name}: {self._name}>"

    @property
    def class_name(self) -> str:
        """The class that config.json names, or that the tensors were found to be."""
        return self._native.class_name

    @property
    def config(self) -> dict[str, Any]:
        """Every field of the configuration, as it is in force."""
        return self._native.config

    @property
    def config_path(self) -> Path | None:
        """The file of the configuration; None of a file of weights that has none."""
        path = self._native.config_path
        return None if path is None else Path(path)

    @property
    def is_of_images(self) -> bool:
        """Whether tensors are [B, C, H, W]; those of videos are [B, C, T, H, W]."""
        return self._native.is_of_images

    @property
    def warnings(self) -> list[str]:
        """What was passed over: fields and tensors that the model does not have."""
        return self._native.warnings

    @property
    def report(self) -> dict[str, Any] | None:
        """What the last call in this thread has cost; None before the first.

        Where its time went (`seconds`), how many programs it compiled (`programs_compiled`) and
        how many an earlier call had left (`programs_kept`), into which tiles frames were cut.
        """
        return getattr(self._reports, "last", None)

    def with_options(self, **options: Unpack[Options]) -> Session:
        """Return a session of the same open model with other options beside its own."""
        _check(options)
        return Session(self._native, self._name, self._arguments, {**self._options, **options})

    def info(self) -> dict[str, Any]:
        """Tell what the model is, what its weights are, and what this machine runs it with."""
        return self._native.info()

    def usual_tiles(self, half: Literal["decoder", "encoder"] = "decoder") -> dict[str, Any]:
        """Tell the tiles of the reference: what `tiling="default"` takes.

        Their `size` in pixels, height and width, and the `overlap` as shares of it; along time
        `frames`, of a tile and from one to the next, where the model has such tiles, and whether it
        takes them without being asked (`cuts_frames`).
        """
        return self._native.usual_tiles(half)

    def state_dict(self) -> dict[str, Any]:
        """Return all weights as tensors of torch, in the types that they are stored in.

        Names are the model's own where a tensor is the model's; floats of eight bits are float32, with
        their scale.
        """
        native = self._native
        stored = ((name, native.tensor(name)) for name in native.tensors())
        return {name: stored_tensor(*tensor) for name, tensor in stored if tensor is not None}

    def result_shape(
        self,
        shape: Sequence[int],
        *,
        half: Literal["decoder", "encoder"] = "decoder",
        **options: Unpack[Options],
    ) -> tuple[int, ...]:
        """Tell [B, C, T, H, W] of what a call over an input of this shape makes, without planning it.

        Of the encoder these are the moments.

        Raises:
            InputError: The model takes no input of this shape.

        """
        run = {**self._all(options), "progress": None}
        return tuple(self._native.result_shape(half, self._five(shape), run))

    def _five(self, shape: Sequence[int]) -> list[int]:
        axes = list(shape)
        if self.is_of_images and len(axes) == 4:
            axes.insert(2, 1)
        if len(axes) != 5:
            raise InputError(f"shape: expected [B, C, T, H, W], found {axes}")
        return axes

    def plan(
        self,
        shape: Sequence[int],
        *,
        half: Literal["decoder", "encoder"] = "decoder",
        **options: Unpack[Options],
    ) -> dict[str, Any]:
        """Tell how a call over an input of this shape would go, before it runs.

        The shape of its result, its steps and how often each runs, the tiles and why, and the
        memory that it will need, part by part (`tiling.memory`, in bytes).

        Raises:
            BudgetError: It does not fit the memory budget.
            InputError: The model takes no input of this shape.

        """
        with shown(self._all(options), "planning") as run:
            return self._native.plan(half, self._five(shape), run)

    def latent_scaling(self) -> dict[str, Any]:
        """Tell the numbers by which the model's pipeline scales latents.

        `latents_mean` and `latents_std`, where they are not None, are of each channel, or of each
        channel at each of the first `frames` latent frames, or of each channel, row and column of a
        patch of `patch` x `patch`. Those in the checkpoint are among them.
        """
        return self._native.latent_scaling()

    def unscale(self, latents: ArrayT) -> ArrayT:
        """Turn latents as the model's pipeline keeps them into those that its decoder takes.

        `decode(latents, scaled=True)` does that by itself.
        """
        return self._rescale(latents, self._native.unscaled)

    def scale(self, latents: ArrayT) -> ArrayT:
        """Turn latents as `encode` gives them into those that the model's pipeline keeps."""
        return self._rescale(latents, self._native.scaled)

    def _rescale(self, latents: ArrayT, rescale: Callable[[Pair], Any]) -> ArrayT:
        given = taken(latents, "latents", of_images=self.is_of_images)
        rescaled = rescale(given.pair).reshape(given.shape)
        found, view = given.kind.empty(given.shape)
        _tessera.convert((rescaled, "f32"), (view, given.kind.element))
        result: ArrayT = given.result(found)
        return result

    def decode(self, latents: ArrayT, *, scaled: bool = False, **options: Unpack[Options]) -> ArrayT:
        """Decode latents [B, C, T, H, W] to frames [B, C, T, H, W], nominally from -1 to 1.

        Of a model of images both may be [B, C, H, W].

        Args:
            latents: What the model's own `decode` takes. Those of a pipeline that keeps [B, T, C, H, W]
                are `latents.swapaxes(1, 2)`.
            scaled: Whether they are as its pipeline keeps them: then the scaling is undone first.
            **options: Options of this call, beside those of the session.

        """
        given = taken(latents, "latents", of_images=self.is_of_images)
        with shown(self._all(options), "decoding") as run:
            shape = self._native.result_shape("decoder", given.shape, run)
            frames, view = given.kind.empty(shape)
            pair = (view, given.kind.element)
            self._reports.last = self._native.decode(self._unscaled(given, scaled), pair, run)
        result: ArrayT = given.result(frames)
        return result

    def decode_frames(
        self, latents: ArrayT, *, scaled: bool = False, **options: Unpack[Options]
    ) -> Iterator[ArrayT]:
        """Decode latents to frames [C, H, W], each handed on once it is done.

        The frames of the first sample come first. A thread decodes ahead by two steps at most;
        it ends when the iterator is closed. `report` is there once the last frame was taken.
        """
        given = taken(latents, "latents", of_images=self.is_of_images)
        run = self._all(options)
        # What is wrong with the arguments is told now, and not when frames are asked for.
        shape = self._native.result_shape("decoder", given.shape, {**run, "progress": None})
        return self._frames(given, self._unscaled(given, scaled), shape, run)

    def _frames(
        self, given: Taken, latents: Pair, shape: tuple[int, ...], options: dict[str, Any]
    ) -> Iterator[Any]:
        _, channels, _, height, width = shape
        with shown(options, "decoding") as run:
            blocks = self._native.decode_blocks(latents, run)
            _decoding.add(blocks)
            try:
                for _, count, values in blocks:
                    block, view = given.kind.empty((count, channels, height, width))
                    _tessera.convert(
                        (values.reshape(channels, count, height, width).swapaxes(0, 1), "f32"),
                        (view, given.kind.element),
                    )
                    for frame in range(count):
                        yield given.kind.placed(block[frame])
            finally:
                blocks.close()
            self._reports.last = blocks.report

    def decode_to(
        self,
        latents: Any,
        path: str | os.PathLike[str],
        *,
        fps: float = 8.0,
        scaled: bool = False,
        **options: Unpack[Options],
    ) -> list[Path]:
        """Decode latents to a file, which appears whole or not at all.

        The ending of `path` chooses the format: .mp4, .gif, .y4m, .png, .jpg or .webp of one frame,
        .npy, .safetensors; a path without one is a folder of PNGs. Frames are written as they are
        done. Returns the paths that were written, several where each sample has one.
        """
        given = taken(latents, "latents", of_images=self.is_of_images)
        with shown(self._all(options), "decoding") as run:
            written = self._native.decode_to(self._unscaled(given, scaled), path, fps, run)
        paths, _, self._reports.last = written
        return [Path(path) for path in paths]

    def encode(
        self,
        frames: ArrayT,
        *,
        moments: bool = False,
        sample: int | None = None,
        scaled: bool = False,
        **options: Unpack[Options],
    ) -> ArrayT:
        """Encode frames [B, C, T, H, W], from -1 to 1, to latents [B, C, T, H, W].

        Of a model of images both may be [B, C, H, W].

        Args:
            frames: What the model's own `encode` takes.
            moments: Mean and log-variance of the latents, [B, 2 C, T, H, W], in place of the mean.
            sample: A draw in place of the mean, by this seed: the same on every machine.
            scaled: Latents as the model's pipeline keeps them, and not as `encode` gives them.
            **options: Options of this call, beside those of the session.

        """
        if moments and (sample is not None or scaled):
            raise OptionError(_MOMENTS_ALONE)
        given = taken(frames, "frames", of_images=self.is_of_images)
        with shown(self._all(options), "encoding") as run:
            shape = self._native.result_shape("encoder", given.shape, run)
            if moments:
                found, view = given.kind.empty(shape)
                self._encode(given, (view, given.kind.element), run)
                whole: ArrayT = given.result(found)
                return whole
            parameters = np.empty(shape, np.float32)
            self._encode(given, (parameters, "f32"), run)
        latents = self._native.drawn((parameters, "f32"), sample)
        batch, _, *rest = shape
        latents = latents.reshape(batch, -1, *rest)
        if scaled:
            latents = self._native.scaled((latents, "f32")).reshape(latents.shape)
        found, view = given.kind.empty(latents.shape)
        _tessera.convert((latents, "f32"), (view, given.kind.element))
        result: ArrayT = given.result(found)
        return result

    def encode_to(
        self,
        frames: Any,
        path: str | os.PathLike[str],
        *,
        moments: bool = False,
        sample: int | None = None,
        scaled: bool = False,
        **options: Unpack[Options],
    ) -> list[Path]:
        """Encode frames to a file of latents (.safetensors), which appears whole or not at all.

        What is written is what `encode` of the same arguments gives; the file says whether latents
        are scaled, and `read_latents` and the command line read it back by that. Scaled latents of
        videos are [B, T, C, H, W] in it, as pipelines keep them.
        """
        if moments and (sample is not None or scaled):
            raise OptionError(_MOMENTS_ALONE)
        given = taken(frames, "frames", of_images=self.is_of_images)
        with shown(self._all(options), "encoding") as run:
            written = self._native.encode_to(given.pair, path, (moments, sample, scaled), run)
        paths, self._reports.last = written
        return [Path(path) for path in paths]

    def read_latents(
        self,
        source: str | os.PathLike[str],
        *,
        layout: Literal["auto", "bcthw", "btchw", "bchw"] = "auto",
        scaled: bool | None = None,
        size: Sequence[int] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Read latents of a file as `decode` takes them: unscaled, [B, C, T, H, W], of images [B, C, H, W].

        Args:
            source: `FILE` or `FILE#TENSOR`: safetensors, what torch.save writes, .npy, .npz, or
                ComfyUI's .latent. Of moments it is the mean.
            layout: The order of the file's axes; by default what fits the model's channels.
            scaled: Whether they are as the model's pipeline keeps them. By default what the file says,
                and of one that does not say it, that they are.
            size: Height and width in pixels of an image whose latents are patches in a row.

        """
        values, shape = self._native.read_latents(source, layout, scaled, size)
        return self._shaped(values, shape)

    def read_frames(
        self,
        source: str | os.PathLike[str],
        *,
        size: Sequence[int] | None = None,
        frames: int | None = None,
    ) -> npt.NDArray[np.float32]:
        """Read a clip as `encode` takes it: [B, C, T, H, W] from -1 to 1, of images [B, C, H, W].

        Args:
            source: .mp4 and .mov (H.264), .gif, .y4m, a picture or a folder of them, .npy,
                .safetensors; any other clip if ffmpeg is on the PATH.
            size: Height and width to resize to: scaled until it covers that, and what juts out is
                cut off.
            frames: Only the first so many.

        """
        values, shape = self._native.read_frames(source, size, frames)
        return self._shaped(values, shape)

    def _shaped(self, values: npt.NDArray[np.float32], shape: Sequence[int]) -> npt.NDArray[np.float32]:
        batch, channels, frames, height, width = shape
        if self.is_of_images and frames == 1:
            return values.reshape(batch, channels, height, width)
        return values.reshape(shape)

    def _encode(self, given: Taken, moments: Pair, options: dict[str, Any]) -> None:
        self._reports.last = self._native.encode(given.pair, moments, options)

    def verify(
        self,
        input: Any = None,  # noqa: A002
        *,
        half: Literal["decoder", "encoder"] = "decoder",
        against: str | os.PathLike[str] = "interpret",
        threshold: float | None = None,
        **options: Unpack[Options],
    ) -> dict[str, Any]:
        """Run the model in two ways and compare what every module returns.

        Args:
            input: Latents for the decoder or frames for the encoder; by default the file's, or a
                small clip of noise.
            half: Which half, where `against` is no file that says it.
            against: A backend, or a file of activations as tools/taps.py writes them.
            threshold: The error that is too much; by default 1e-4, or 0.1 in bf16.
            **options: Options of the run that is judged.

        Returns:
            `passed`, `first_jump`, `first_above`, and `rows`, one for each module.

        """
        given = None if input is None else taken(input, "input", of_images=self.is_of_images).pair
        with shown(self._all(options), "comparing") as run:
            return self._native.verify(half, given, os.fspath(against), threshold, run)

    def compile(
        self,
        *,
        target: str,
        half: Literal["decoder", "encoder"] = "decoder",
        frames: int = 49,
        size: Sequence[int] | None = None,
        step: str | None = None,
        precision: Literal["f32", "bf16"] = "bf16",
        tiling: Literal["auto", "off", "default"] | Sequence[int] = "off",
        tile_stride: Sequence[int] | None = None,
        tile_overlap: Sequence[float] | None = None,
        tile_frames: tuple[int, int] | Literal["off"] | None = None,
        mesh: str | None = None,
        plugin: str | os.PathLike[str] = "tpu",
        optimization: Literal["O0", "O1", "O2", "O3"] | None = None,
        output: str | os.PathLike[str] | None = None,
    ) -> dict[str, Any]:
        """Compile the steps of a video ahead of time, for a device that need not be there.

        Args:
            target: Devices as the plugin names them, such as `v6e:1x1`.
            half: The half of the model.
            frames: Frames of the video.
            size: Height and width of the video in pixels; by default config.json's.
            step: Only this step, such as `decode-first`.
            precision: What is computed in.
            tiling: Whole frames, the largest tiles that fit, or (height, width) in pixels.
            tile_stride: Pixels from one tile to the next, down and to the right.
            tile_overlap: The shares of a tile that the next one covers too.
            tile_frames: Tiles along time: their frames and from one to the next.
            mesh: How several devices share the work, such as `height=8`.
            plugin: `tpu`, or the path of a shared library.
            optimization: How hard the plugin optimises.
            output: A new folder for the compiled programs.

        Returns:
            Memory, arithmetic and time of every step and of all together.

        """
        return self._native.compile(
            {
                "target": target,
                "half": half,
                "frames": frames,
                "size": size,
                "step": step,
                "precision": precision,
                "tiling": tiling,
                "tile_stride": tile_stride,
                "tile_overlap": tile_overlap,
                "tile_frames": tile_frames,
                "mesh": mesh,
                "plugin": plugin,
                "optimization": optimization,
                "output": output,
            }
        )

    def free(self) -> None:
        """Give back the memory of all that calls have left; the next one makes what it needs."""
        self._native.free()

    def _all(self, options: Options) -> dict[str, Any]:
        return {**self._options, **options}

    def _unscaled(self, given: Taken, scaled: bool) -> Pair:
        """Latents as the decoder takes them."""
        if not scaled:
            return given.pair
        return self._native.unscaled(given.pair).reshape(given.shape), "f32"


def published_scaling(name: str) -> dict[str, Any]:
    """Tell the numbers by which pipelines of a published model scale latents, without its weights.

    Of models that stand in for another one, which take its latents scaled, they are that one's
    business: `published_scaling("SDXL")` is what TAESDXL's latents come scaled by.

    Args:
        name: As `tessera bench --published` has it; the error for another one lists all.

    Returns:
        As `Session.latent_scaling`, without numbers that only the checkpoint has.

    Raises:
        OptionError: No published model has this name.

    """
    return _tessera.published_scaling(name)


# What still decodes when the interpreter ends: its threads would wait for Python, which is gone.
_decoding: weakref.WeakSet[_tessera.Blocks] = weakref.WeakSet()


@atexit.register
def _end_decoding() -> None:
    for blocks in list(_decoding):
        blocks.close()


def _reopened(name: str, arguments: dict[str, Any], options: dict[str, Any]) -> Session:
    return open(name, **arguments, **options)
