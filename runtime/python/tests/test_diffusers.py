"""`tessera.diffusers.load`: instances of diffusers' classes, against those with layers of their own."""

import pytest
from conftest import GOLDENS, read_case

import tessera

torch = pytest.importorskip("torch", reason="torch is not installed")
diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")

import tessera.diffusers  # noqa: E402

# What pipelines show differs by no more than this.
BOUND = 1e-4

# Of Allegro diffusers has tiles alone, which are larger than these models' videos: `test_goldens` has it.
FOLDERS = sorted(path.parent for path in GOLDENS.glob("models/*/config.json"))
MODELS = [*(folder for folder in FOLDERS if folder.name != "allegro"), GOLDENS / "four-level"]


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
    shapes = (
        [1, channels["latents"], counts[0], 4, 6],
        [1, channels["input"], counts[1], 4 * space, 6 * space],
    )
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


def test_what_is_saved_opens_again(tmp_path):
    """Statistics that are no layers too, by diffusers and by Tessera."""
    ours = tessera.diffusers.load(GOLDENS / "models" / "flux2")
    ours.save_pretrained(tmp_path)
    latents = tensor((1, 6, 4, 6))
    with torch.no_grad():
        expected = ours.decode(latents).sample
        for again in (type(ours).from_pretrained(tmp_path), tessera.diffusers.load(tmp_path)):
            assert (again.decode(latents).sample - expected).abs().max() < BOUND
            assert torch.equal(again.bn.running_var, ours.bn.running_var)


def test_classes_that_diffusers_has_not_are_refused(monkeypatch):
    monkeypatch.setattr(tessera.Session, "class_name", "AutoencoderOfNobody")
    with pytest.raises(tessera.ModelError, match=r"diffusers .* has no class AutoencoderOfNobody"):
        tessera.diffusers.load(GOLDENS / "four-level")
