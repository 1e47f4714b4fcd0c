"""Arrays in and out: kinds, types, layouts, and what is copied."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import GOLDENS

import tessera

torch = pytest.importorskip("torch", reason="torch is not installed")


def test_numpy_comes_back_as_it_went(vae, latents):
    frames = vae.decode(latents)
    assert (frames.dtype, frames.shape) == (np.float32, (1, 3, 9, 32, 48))
    halves = vae.decode(latents.astype(np.float16))
    assert halves.dtype == np.float16
    assert np.abs(halves.astype(np.float32) - frames).max() < 1e-2
    assert vae.decode(latents.astype(np.float64)).dtype == np.float32


def test_torch_comes_back_as_it_went(vae, latents):
    frames = vae.decode(latents)
    tensor = torch.from_numpy(latents)
    found = vae.decode(tensor)
    assert (found.dtype, found.device.type) == (torch.float32, "cpu")
    assert (found.numpy() == frames).all()
    for dtype in (torch.float16, torch.bfloat16):
        found = vae.decode(tensor.to(dtype))
        assert found.dtype == dtype
        # Computed in f32 of the rounded latents, and rounded once.
        exact = vae.decode(tensor.to(dtype).float())
        assert (found == exact.to(dtype)).all()


def test_halves_round_as_torch_does(vae):
    values = torch.tensor([1.0, 1e-8, 65504.0, 1e9, -3.14159, 1 + 2**-9, 1 + 3 * 2**-9]).reshape(
        1, 1, 1, 1, -1
    )
    for dtype, element in ((torch.float16, "f16"), (torch.bfloat16, "bf16")):
        to = torch.empty(values.shape, dtype=dtype)
        view = to.view(torch.int16).numpy().view(np.uint16)
        tessera._tessera.convert((values.numpy(), "f32"), (view, element))
        assert (to == values.to(dtype)).all()


def test_strides_do_not_matter(vae, latents):
    frames = vae.decode(latents)
    pipeline = np.ascontiguousarray(latents.transpose(0, 2, 1, 3, 4))
    assert (vae.decode(pipeline.transpose(0, 2, 1, 3, 4)) == frames).all()
    moments = vae.encode(frames, moments=True)
    channels_last = np.ascontiguousarray(frames.transpose(0, 2, 3, 4, 1)).transpose(0, 4, 1, 2, 3)
    assert (vae.encode(channels_last, moments=True) == moments).all()
    assert (vae.encode(frames[..., ::-1, :][..., ::-1, :], moments=True) == moments).all()
    halves = torch.from_numpy(channels_last).half()
    exact = vae.encode(halves.float().contiguous(), moments=True)
    assert (vae.encode(halves, moments=True) == exact.half()).all()


def test_bytes_that_lie_otherwise(vae, latents):
    frames = vae.decode(latents)
    buffer = np.zeros(latents.nbytes + 1, np.uint8)
    unaligned = buffer[1:].view(np.float32).reshape(latents.shape)
    unaligned[...] = latents
    assert not unaligned.flags.aligned
    assert (vae.decode(unaligned) == frames).all()
    assert (vae.decode(latents.astype(">f4")) == frames).all()


def test_read_only_and_dlpack(vae, latents):
    frames = vae.decode(latents)
    locked = latents.copy()
    locked.flags.writeable = False
    assert (vae.decode(locked) == frames).all()

    class Exported:
        def __dlpack__(self, **_):
            return latents.__dlpack__()

        def __dlpack_device__(self):
            return latents.__dlpack_device__()

    assert (vae.decode(Exported()) == frames).all()


def test_images_have_four_axes_or_five(images):
    latents = np.random.default_rng(0).standard_normal((2, 4, 3, 5), dtype=np.float32)
    pictures = images.decode(latents)
    assert pictures.shape == (2, 3, 12, 20)
    assert (images.decode(latents[:, :, None]) == pictures[:, :, None]).all()
    assert images.encode(pictures).shape == latents.shape
    assert images.plan(latents.shape)["result"] == [2, 3, 12, 20]


def test_what_is_no_array_is_refused(vae, latents):
    def complaint(given):
        with pytest.raises(tessera.InputError) as refused:
            vae.decode(given)
        return str(refused.value)

    assert "expected [B, C, T, H, W]" in complaint(latents[0])
    assert "the model takes 16 channels" in complaint(latents[:, :3])
    assert "expected floats, found int64" in complaint(latents.astype(np.int64))
    assert "expected an array of NumPy, a tensor of torch" in complaint([[1.0]])
    assert "no backward pass" in complaint(torch.from_numpy(latents).requires_grad_())
    with torch.no_grad():
        assert vae.decode(torch.from_numpy(latents).requires_grad_()).shape[2] == 9


MEMORY = """
import resource, sys
import numpy as np
import tessera

vae = tessera.open(sys.argv[1], threads=2, tiling="off")
vae.decode(np.zeros((1, 16, 2, 8, 8), np.float32))
latents = np.zeros((1, 16, 25, 32, 32), np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
frames = vae.decode(latents)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
needed = vae.report["tiling"]["memory"]
parts = sum(needed[part] for part in ("arena", "states", "frames", "weights", "code"))
print((after - before) * 1024, frames.nbytes, parts)
"""


def test_frames_are_held_once():
    """A decode holds its result, and what the library says it needs, and no second result."""
    program = [sys.executable, "-c", MEMORY, str(GOLDENS / "four-level")]
    told = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    grown, frames, parts = map(int, told.split())
    assert frames > 70e6
    assert grown < frames + parts + 16e6
