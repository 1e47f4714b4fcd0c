"""ComfyUI's services: its progress bar, its button that interrupts, its manager of memory.

ComfyUI's modules are looked for when they are needed, so that this package is importable without.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from tessera import Progress

# Parts of the bar.
_PARTS = 1000


def management() -> Any:
    """ComfyUI's module of devices, types and memory."""
    import comfy.model_management

    return comfy.model_management


def watched() -> Callable[[Progress], None]:
    """Return what a call tells its progress to: it moves a new bar, and raises what interrupts.

    A call that was interrupted before it began raises here.
    """
    import comfy.utils

    interrupted = management().throw_exception_if_processing_interrupted
    interrupted()
    bar = comfy.utils.ProgressBar(_PARTS)

    def tell(progress: Progress) -> None:
        interrupted()
        bar.update_absolute(round(progress.share * _PARTS), _PARTS)

    return tell


def computing_type() -> torch.dtype:
    """The type that ComfyUI was told to run VAEs in: float32, or bfloat16 by `--bf16-vae`."""
    chosen = management().vae_dtype(torch.device("cpu"), [torch.float32])
    # There is no float16 here; float32 holds all that it does.
    return chosen if chosen == torch.bfloat16 else torch.float32


def placed(tensor: torch.Tensor) -> torch.Tensor:
    """A result on the device, and in the type, that ComfyUI keeps what nodes hand on."""
    manager = management()
    # Older ones keep float32 alone.
    dtype = manager.intermediate_dtype() if hasattr(manager, "intermediate_dtype") else torch.float32
    return tensor.to(manager.intermediate_device(), dtype)


def new_patcher(model: torch.nn.Module, size: int) -> Any:
    """Return what ComfyUI's manager knows a model by, which says that it has `size` bytes.

    When the manager unloads it, the model's session gives back its memory.
    """
    cpu = torch.device("cpu")
    return _patchers()(model, load_device=cpu, offload_device=cpu, size=size)


@functools.cache
def _patchers() -> Any:
    import comfy.model_patcher

    class Patcher(comfy.model_patcher.ModelPatcher):
        """A model that holds its memory outside of torch, on the CPU."""

        def detach(self, *arguments: Any, **named: Any) -> Any:
            self.model.session.free()
            return super().detach(*arguments, **named)

    return Patcher


def make_room(patcher: Any, needed: int) -> None:
    """Tell the manager that a call needs so many bytes: models that lie in the way on the CPU go."""
    manager = management()
    manager.load_models_gpu([patcher], memory_required=needed)
    itself = [loaded for loaded in manager.current_loaded_models if loaded.model is patcher]
    manager.free_memory(needed, patcher.load_device, keep_loaded=itself)
