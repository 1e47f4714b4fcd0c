"""Tessera in the pipelines of diffusers.

    import tessera.diffusers

    pipe = DiffusionPipeline.from_pretrained("CogVideoX-2b")
    pipe.vae = tessera.diffusers.load("CogVideoX-2b")      # or, of whatever the pipeline holds:
    tessera.diffusers.accelerate(pipe)

What `load` returns is an instance of diffusers' own class, for every class that Tessera knows: its
configuration, `encode`, `decode`, `enable_tiling`, `enable_slicing` are that class's, and only its
layers are Tessera's. These run on the CPU, wherever latents are; `to` says in which type they come
and go. There is no backward pass.
"""

from __future__ import annotations

import inspect
import itertools
import json
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusers
import torch
from diffusers.models.autoencoders.vae import DecoderOutput
from torch import nn

from ._arrays import stored_tensor
from ._errors import InputError, ModelError
from ._session import Model, Session
from ._session import open as open_session

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import Options

__all__ = ["accelerate", "load"]

# Children of diffusers' classes that are layers; what else they have, such as statistics, pipelines read.
_LAYERS = ("encoder", "decoder", "quant_conv", "post_quant_conv")

_bridges: weakref.WeakValueDictionary[int, _Bridge] = weakref.WeakValueDictionary()
_numbers = itertools.count()


def load(
    model: Model | Session,
    *,
    subfolder: str | None = None,
    torch_dtype: torch.dtype | None = None,
    config: Model | None = None,
    **options: Unpack[Options],
) -> Any:
    """Open a model as an instance of diffusers' class.

    Args:
        model: As `tessera.open` takes it, or a session.
        subfolder: A folder below `model`; a pipeline's `vae/` is found without it.
        torch_dtype: The type in which tensors come and go, by default float32.
        config: A configuration to use in place of the one beside the weights.
        **options: Options of all calls: threads, memory, precision ...

    Raises:
        ModelError: diffusers has no class of the model's name, or the weights lack a tensor that
            the class keeps beside its layers.

    """
    if isinstance(model, Session):
        session = model.with_options(**options) if options else model
    else:
        path = Path(model) / subfolder if subfolder else model
        session = open_session(path, config=config, **options)
    vae = _without_layers(session)
    bridge = _Bridge(session, vae)
    stands_for = {"encoder": _Encoder(bridge), "decoder": _Decoder(bridge)}
    for name in _LAYERS:
        if vae._modules.get(name) is not None:
            vae._modules[name] = stands_for.get(name, _Passed())
    _fill(vae, session)
    # Where the class has them, all goes through these; `encode` and `decode` stay its own.
    for name in ("_encode", "_decode"):
        if hasattr(type(vae), name):
            object.__setattr__(vae, name, getattr(bridge, name))
    object.__setattr__(vae, "save_pretrained", bridge.save_pretrained)
    vae.eval()
    return vae.to(torch_dtype) if torch_dtype else vae


def accelerate(pipe: Any, **options: Unpack[Options]) -> Any:
    """Swap the VAE of a pipeline for Tessera's, in place, and return the pipeline.

    The weights are those that the pipeline holds, whatever file they came from: they are written to
    a temporary file, which goes with the VAE. Device, type, tiling and slicing stay as they are.
    """
    old = pipe.vae
    folder = tempfile.TemporaryDirectory(prefix="tessera-")
    old.save_pretrained(folder.name)
    vae = load(folder.name, **options)
    weakref.finalize(vae, folder.cleanup)
    vae.to(old.device, old.dtype)
    for name, value in vars(old).items():
        if name.startswith(("use_", "tile_", "drop_")) and isinstance(value, int | float):
            setattr(vae, name, value)
    pipe.vae = vae
    return pipe


def _without_layers(session: Session) -> Any:
    """An instance of diffusers' class whose tensors take no memory."""
    kind = getattr(diffusers, session.class_name, None)
    if kind is None:
        raise ModelError(f"diffusers {diffusers.__version__} has no class {session.class_name}")
    path = session.config_path
    fields = session.config if path is None else json.loads(path.read_text())
    known = inspect.signature(kind.__init__).parameters
    with torch.device("meta"):
        vae = kind.from_config({name: value for name, value in fields.items() if name in known})
    vae.register_to_config(_name_or_path=session._name)
    return vae


def _fill(vae: Any, session: Session) -> None:
    """Give the tensors that the class keeps beside its layers their values."""
    for name, tensor in itertools.chain(vae.named_parameters(), vae.named_buffers()):
        if not tensor.is_meta:
            continue
        stored = session._native.tensor(name)
        if stored is None and not tensor.is_floating_point():
            values = torch.zeros(tensor.shape, dtype=tensor.dtype)
        elif stored is None:
            raise ModelError(f"the weights of {session!r} have no `{name}`, which its pipeline reads")
        else:
            values = stored_tensor(*stored).reshape(tensor.shape).to(tensor.dtype)
        owner, _, attribute = name.rpartition(".")
        module = vae.get_submodule(owner)
        if attribute in module._buffers:
            module._buffers[attribute] = values
        else:
            module._parameters[attribute] = nn.Parameter(values, requires_grad=False)


class _Placed(nn.Module):
    """A module with one empty parameter, which has the device and the type that `to` gave it."""

    def __init__(self) -> None:
        super().__init__()
        self.placement = nn.Parameter(torch.empty(0), requires_grad=False)


class _Passed(_Placed):
    """In place of a convolution that belongs to a half, and is run with it."""

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor


class _Encoder(_Placed):
    """In place of the encoder, of classes that call it themselves."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()
        object.__setattr__(self, "bridge", bridge)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.bridge._encode(frames)


class _Decoder(_Placed):
    """In place of the decoder, of classes that call it themselves."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__()
        object.__setattr__(self, "bridge", bridge)

    def forward(self, latents: torch.Tensor, num_frames: int = 1, **_: Any) -> torch.Tensor:
        return self.bridge.run("decoder", latents, num_frames, None)


class _Bridge:
    """From an instance of diffusers' class to a session: its tiles and attributes as options."""

    def __init__(self, session: Session, vae: Any) -> None:
        self.session = session
        self.vae = vae
        # Classes whose `_decode` knows of `return_dict` expect an output of it, others a tensor.
        method = getattr(type(vae), "_decode", None)
        self.gives_output = method is not None and "return_dict" in inspect.signature(method).parameters
        self._register()

    def _register(self) -> None:
        self.number = next(_numbers)
        _bridges[self.number] = self

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "number"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._register()

    def _encode(self, x: torch.Tensor, causal: bool | None = None, return_dict: bool = True) -> torch.Tensor:
        """Encode frames to moments, in place of the class's own method."""
        self._check_causal(causal, "encoder_causal")
        return self.run("encoder", x, 1, None)

    def _decode(
        self,
        z: torch.Tensor,
        temb: torch.Tensor | None = None,
        causal: bool | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Decode latents, in place of the class's own method."""
        self._check_causal(causal, "decoder_causal")
        frames = self.run("decoder", z, 1, temb)
        if not self.gives_output:
            return frames
        return DecoderOutput(sample=frames) if return_dict else (frames,)

    def _check_causal(self, causal: bool | None, field: str) -> None:
        if causal is not None and causal != self.vae.config.get(field, causal):
            raise InputError(f"causal: the model's own is {self.vae.config[field]}, and no other is run")

    def run(
        self, half: str, tensor: torch.Tensor, num_frames: int, timestep: torch.Tensor | None
    ) -> torch.Tensor:
        """Run a half, as one operator of torch."""
        if torch.is_grad_enabled() and tensor.requires_grad:
            raise InputError(
                "Tessera has no backward pass: call it under torch.no_grad(), or detach its input"
            )
        result: torch.Tensor = torch.ops.tessera.run(tensor, self.number, half, num_frames, timestep)
        return result

    def options(self, half: str, shape: tuple[int, ...], timestep: torch.Tensor | None) -> dict[str, Any]:
        """What the instance's attributes say, as options of the session."""
        options: dict[str, Any] = {}
        usual = self.session._native.usual_tiles(half)
        vae = self.vae
        if getattr(vae, "use_tiling", False):
            # Where the class counts in patches when it encodes, its tiles are larger than it says.
            scale = usual["size"][0] // self.session._native.usual_tiles("decoder")["size"][0]
            options["tiling"] = [int(size) * scale for size in _both(vae, "tile_sample_min")]
            if hasattr(vae, "tile_sample_stride_height"):
                options["tile_stride"] = [int(size) * scale for size in _both(vae, "tile_sample_stride")]
            else:
                options["tile_overlap"] = _both(vae, "tile_overlap_factor")
        if usual["frames"] is not None:
            # Encoding too goes by this one, in diffusers' classes.
            framewise = getattr(vae, "use_framewise_decoding", usual["cuts_frames"])
            names = "tile_sample_min_num_frames", "tile_sample_stride_num_frames"
            options["tile_frames"] = tuple(getattr(vae, name) for name in names) if framewise else "off"
        if half == "decoder":
            if not getattr(vae, "drop_last_temporal_frames", True):
                options["keep_all_frames"] = True
            if timestep is not None:
                options["timestep"] = timestep.detach().flatten().tolist()
            *_, height, width = shape
            # Drawn in the order in which the class draws, of torch's own generator.
            noise = {
                name: torch.randn(height * scale, width * scale).numpy()
                for name, scale in self.session._native.conditions(half)
                if scale is not None
            }
            options["noise"] = noise or None
        return options

    def save_pretrained(self, save_directory: Model, **_: Any) -> None:
        """Write configuration and weights as the class writes them, for `from_pretrained` of either."""
        from safetensors.torch import save_file

        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.vae.save_config(folder)
        tensors = self.session.state_dict()
        save_file(tensors, folder / "diffusion_pytorch_model.safetensors", {"format": "pt"})


def _both(vae: Any, name: str) -> tuple[Any, Any]:
    """An attribute of height and of width, or the one that stands for both."""
    for pair in ((f"{name}_height", f"{name}_width"), (name, name), (f"{name}_size", f"{name}_size")):
        if hasattr(vae, pair[0]):
            return getattr(vae, pair[0]), getattr(vae, pair[1])
    raise InputError(f"{type(vae).__name__} has no {name}: it has no tiles")


def _shape(session: Session, half: str, shape: Any, num_frames: int, options: dict[str, Any]) -> list[int]:
    """[B, C, T, H, W] of what a half makes of a tensor of this shape, or [B, C, H, W]."""
    sizes = [int(size) for size in shape]
    if len(sizes) == 5:
        return list(session._native.result_shape(half, sizes, options))
    batch, channels, height, width = sizes
    clip = [batch // num_frames, channels, num_frames, height, width]
    samples, channels, frames, height, width = session._native.result_shape(half, clip, options)
    return [samples * frames, channels, height, width]


@torch.library.custom_op(
    "tessera::run",
    mutates_args=(),
    schema="(Tensor tensor, int bridge, str half, int num_frames, Tensor? timestep) -> Tensor",
)
def _run(
    tensor: torch.Tensor, bridge: int, half: str, num_frames: int, timestep: torch.Tensor | None
) -> torch.Tensor:
    found = _bridges[bridge]
    session = found.session
    options = found.options(half, tuple(tensor.shape), timestep)
    # Images of a model of videos are its clips' frames.
    are_frames = tensor.ndim == 4 and not session.is_of_images
    given = tensor.detach()
    if are_frames:
        given = given.unflatten(0, (-1, num_frames)).swapaxes(1, 2)
    if half == "decoder":
        result = session.decode(given, **options)
    else:
        result = session.encode(given, moments=True, **options)
    if are_frames:
        result = result.swapaxes(1, 2).flatten(0, 1)
    return result if result.dtype == tensor.dtype else result.to(tensor.dtype)


@_run.register_fake
def _(
    tensor: torch.Tensor, bridge: int, half: str, num_frames: int, timestep: torch.Tensor | None
) -> torch.Tensor:
    found = _bridges[bridge]
    keeps = half == "decoder" and not getattr(found.vae, "drop_last_temporal_frames", True)
    options = {**found.session._options, "progress": None, "keep_all_frames": keeps or None}
    return tensor.new_empty(_shape(found.session, half, tensor.shape, num_frames, options))
