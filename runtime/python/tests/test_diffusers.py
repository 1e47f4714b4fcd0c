"""`tessera.diffusers.load`: instances of diffusers' own classes, against these classes with their own layers."""

import copy
import pickle
import warnings

import pytest
import tessera
from conftest import GOLDENS, read_case

torch = pytest.importorskip("torch", reason="torch is not installed")
diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")

import tessera.diffusers  # noqa: E402

# What pipelines show differs by no more than this.
BOUND = 1e-4

MODELS = sorted(path.parent for path in GOLDENS.glob("models/*/config.json")) + [GOLDENS / "four-level"]


def pair(folder):
    """A model by diffusers, and by Tessera."""
    theirs = tessera.open(folder).class_name
    own = getattr(diffusers, theirs).from_pretrained(folder).eval()
    return own, tessera.diffusers.load(folder, threads=2)


def tensor(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs(folder, session):
    """Latents and frames of a few steps, with the axes of the class."""
    channels, time = session.info()["channels"], session.info()["compression"]["time"]
    space = session.info()["compression"]["space"]
    counts = (1, 1) if session.is_of_images else (3, 2 * time + 1 if time > 1 else 1)
    shapes = [1, channels["latents"], counts[0], 4, 6], [1, channels["input"], counts[1], 4 * space, 6 * space]
    case = read_case(next(folder.glob("cases/decode*.safetensors")))
    if case.tensors["input"].ndim == 4:
        shapes = [[*shape[:2], *shape[3:]] for shape in shapes]
    return tensor(shapes[0]), tensor(shapes[1], 1).clamp(-1, 1)


def encoded(output):
    """What an output of `encode` holds."""
    for name in ("latent_dist", "latents", "latent"):
        if hasattr(output, name):
            found = getattr(output, name)
            return found.parameters if hasattr(found, "parameters") else found
    raise AssertionError(output)


def fields(vae):
    """The configuration without diffusers' notes."""
    return {name: value for name, value in vae.config.items() if not name.startswith("_")}


def calls(own, latents):
    """The arguments of `decode` that the class needs."""
    arguments = {}
    names = type(own).decode.__wrapped__.__code__.co_varnames
    if "num_frames" in names:
        arguments["num_frames"] = 1
    if "temb" in names and own.config.get("timestep_conditioning"):
        arguments["temb"] = torch.full((latents.shape[0],), 0.05)
    return arguments


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_every_class_is_what_it_is_in_diffusers(folder):
    own, ours = pair(folder)
    assert type(ours) is type(own)
    assert fields(ours) == fields(own)
    session = tessera.open(folder)
    latents, frames = inputs(folder, session)
    arguments = calls(own, latents)
    with torch.no_grad():
        torch.manual_seed(1)
        expected = own.decode(latents, **arguments).sample
        torch.manual_seed(1)
        found = ours.decode(latents, **arguments).sample
        assert (found - expected).abs().max() < BOUND * max(1, expected.abs().max())
        moments = encoded(own.encode(frames))
        difference = (encoded(ours.encode(frames)) - moments).abs().max()
        assert difference < BOUND * max(1, moments.abs().max())
        assert torch.equal(ours.decode(latents, **arguments, return_dict=False)[0], ours.decode(latents, **arguments).sample) or arguments.get("temb") is not None
