"""Arrays as the extension module takes them: NumPy's, [B, C, T, H, W], nothing copied that need not be.

Elements of 16 bits go there as their bits. What comes back is of the kind that was given: a tensor
of torch on the same device and in the same type, or an array of NumPy.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ._errors import InputError

AXES = "[B, C, T, H, W]"
IMAGE_AXES = "[B, C, H, W]"

# What torch calls the types that safetensors names.
_STORED = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}

Pair = tuple[npt.NDArray[Any], str]


class Kind(Protocol):
    """What an array is made of, for results to be made of the same."""

    def empty(self, shape: Sequence[int]) -> tuple[Any, npt.NDArray[Any]]:
        """A new array on the CPU, and a view of it, of f32 or of 16 bits as whole numbers."""

    def placed(self, array: Any) -> Any:
        """The array where the input was."""

    @property
    def element(self) -> str:
        """`f32`, `f16` or `bf16`."""


@dataclass(frozen=True)
class NumpyKind:
    """An array of NumPy, or of what exports one."""

    dtype: np.dtype[Any]

    @property
    def element(self) -> str:
        """`f32`, `f16` or `bf16`."""
        return {"float16": "f16", "bfloat16": "bf16"}.get(self.dtype.name, "f32")

    def empty(self, shape: Sequence[int]) -> tuple[Any, npt.NDArray[Any]]:
        """A new array and a view of it."""
        array = np.empty(tuple(shape), self.dtype)
        return array, array if self.element == "f32" else array.view(np.uint16)

    def placed(self, array: Any) -> Any:
        """The array itself."""
        return array


@dataclass(frozen=True)
class TorchKind:
    """A tensor of torch."""

    dtype: Any
    device: Any

    @property
    def element(self) -> str:
        """`f32`, `f16` or `bf16`."""
        return {"torch.float16": "f16", "torch.bfloat16": "bf16"}.get(str(self.dtype), "f32")

    def empty(self, shape: Sequence[int]) -> tuple[Any, npt.NDArray[Any]]:
        """A new tensor on the CPU and a view of it."""
        import torch

        tensor = torch.empty(tuple(shape), dtype=self.dtype)
        return tensor, _torch_view(tensor, self.element)

    def placed(self, array: Any) -> Any:
        """The tensor on the device that the input was on."""
        return array.to(self.device)


@dataclass(frozen=True)
class Taken:
    """An input as the extension module takes it."""

    array: npt.NDArray[Any]
    kind: Kind
    is_image: bool

    @property
    def pair(self) -> Pair:
        """The array and what its elements are."""
        return self.array, self.kind.element

    @property
    def shape(self) -> tuple[int, ...]:
        """[B, C, T, H, W]."""
        return self.array.shape

    def result(self, array: Any) -> Any:
        """A result [B, C, T, H, W] with the axes that the input had, where that was."""
        return self.kind.placed(array[:, :, 0] if self.is_image else array)


def taken(given: Any, what: str, *, of_images: bool) -> Taken:
    """Takes latents or frames, `what` they are called in messages.

    A model of images takes [B, C, H, W] too.
    """
    array, kind = _numpy(given, what)
    if of_images and array.ndim == 4:
        return Taken(array[:, :, None], kind, True)
    if array.ndim != 5:
        axes = f"{IMAGE_AXES} or {AXES}" if of_images else AXES
        raise InputError(f"{what} of shape {list(array.shape)}: expected {axes}")
    return Taken(array, kind, False)


def _numpy(given: Any, what: str) -> tuple[npt.NDArray[Any], Kind]:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.Tensor):
        return _of_torch(torch, given, what)
    if not isinstance(given, np.ndarray):
        if not hasattr(given, "__dlpack__"):
            kind = type(given).__name__
            raise InputError(
                f"{what}: expected an array of NumPy, a tensor of torch, or what has __dlpack__, found {kind}"
            )
        try:
            given = np.from_dlpack(given)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"{what}: NumPy cannot take them by DLPack: {error}") from error
    if not given.flags.aligned:
        given = given.copy()
    name = given.dtype.name
    if name in ("float16", "bfloat16") and given.dtype.isnative:
        return given.view(np.uint16), NumpyKind(given.dtype)
    if given.dtype.kind != "f":
        raise InputError(f"{what}: expected floats, found {name}")
    # Without a copy where they are f32 already.
    return given.astype(np.float32, copy=False), NumpyKind(np.dtype(np.float32))


def _of_torch(torch: Any, tensor: Any, what: str) -> tuple[npt.NDArray[Any], Kind]:
    if tensor.requires_grad and torch.is_grad_enabled():
        raise InputError(
            f"{what} require a gradient, and Tessera has no backward pass: call it under torch.no_grad(), or "
            "detach them"
        )
    if not tensor.dtype.is_floating_point:
        raise InputError(f"{what}: expected floats, found {tensor.dtype}")
    halves = tensor.dtype in (torch.float16, torch.bfloat16)
    kind = TorchKind(tensor.dtype if halves else torch.float32, tensor.device)
    tensor = tensor.detach().to("cpu", kind.dtype)
    return _torch_view(tensor, kind.element), kind


def _torch_view(tensor: Any, element: str) -> npt.NDArray[Any]:
    if element == "f32":
        return tensor.numpy()  # type: ignore[no-any-return]
    import torch

    # NumPy knows whole numbers of 16 bits; float16 it has, bfloat16 it has not.
    return tensor.view(torch.int16).numpy().view(np.uint16)  # type: ignore[no-any-return]


def stored_tensor(dtype: str, shape: list[int], data: bytes) -> Any:
    """Return a tensor of torch of what a file has: its type by safetensors' name, shape and bytes."""
    import torch

    return torch.frombuffer(bytearray(data), dtype=getattr(torch, _STORED[dtype])).reshape(shape)
