"""Tessera's VAE in real pipelines, against diffusers' own in the same pipeline and mode: frames to 1e-4.

`docs/PYTHON.md` has a table of what is compared here. TESSERA_BLESS=1 writes it.
"""

import copy
import inspect
import os
import pickle

import pytest
from conftest import WORKSPACE

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("diffusers", reason="diffusers is not installed")
pytest.importorskip("transformers", reason="transformers, which diffusers' pipelines need, is not installed")
accelerate = pytest.importorskip("accelerate", reason="accelerate, which offloading needs, is not installed")

from tiny_pipelines import FAMILIES, PIPELINES, call, pipeline, vae_of  # noqa: E402

import tessera  # noqa: E402
import tessera.diffusers  # noqa: E402

BOUND = 1e-4
CPU = torch.device("cpu")


def plain(pipe, run, _):
    return run(pipe)


def tiled(pipe, run, _):
    """Tiles of 32 pixels, or those nearest that divide, in frames of twice that."""
    names = inspect.signature(type(pipe.vae).enable_tiling).parameters
    sizes = (
        {"min_height": 48, "min_width": 40}
        if type(pipe).__name__.startswith("CogVideoX")
        else {
            "min_height": 32,
            "min_width": 32,
            "stride_height": 16,
            "stride_width": 16,
        }
    )
    pipe.vae.enable_tiling(
        **{f"tile_sample_{name}": size for name, size in sizes.items() if f"tile_sample_{name}" in names}
    )
    if hasattr(pipe.vae, "tile_sample_min_size"):
        pipe.vae.tile_sample_min_size, pipe.vae.tile_latent_min_size = 32, 16
    frames = run(pipe, height=64, width=96)
    bridge = getattr(getattr(pipe.vae, "_decode", None), "__self__", None)
    if isinstance(bridge, tessera.diffusers._Bridge):
        assert bridge.session.report["tiling"]["tile"] is not None
    return frames


def sliced(pipe, run, _):
    pipe.vae.enable_slicing()
    return run(pipe)


def model_offload(pipe, run, _):
    pipe.enable_model_cpu_offload(device="cpu")
    return run(pipe)


def group_offload(pipe, run, _):
    pipe.enable_group_offload(onload_device=CPU, offload_device=CPU, offload_type="leaf_level")
    return run(pipe)


def copied(pipe, run, _):
    return run(copy.deepcopy(pipe))


def pickled(pipe, run, _):
    return run(pickle.loads(pickle.dumps(pipe)))


def from_pipe(pipe, run, _):
    return run(type(pipe).from_pipe(pipe))


def saved(pipe, run, folder):
    pipe.save_pretrained(folder)
    missing = {name: None for name, part in pipe.components.items() if part is None}
    again = type(pipe).from_pretrained(folder, **missing)
    again.set_progress_bar_config(disable=True)
    return run(again)


def passed_in(pipe, run, folder):
    pipe.save_pretrained(folder)
    missing = {name: None for name, part in pipe.components.items() if part is None}
    again = type(pipe).from_pretrained(folder, **(missing | {"vae": pipe.vae}))
    again.set_progress_bar_config(disable=True)
    return run(again)


def compiled(pipe, run, _):
    torch._dynamo.reset()
    pipe.vae.decode = torch.compile(pipe.vae.decode, fullgraph=True, backend="aot_eager")
    return run(pipe)


MODES = {
    "as it is": plain,
    "tiling": tiled,
    "slicing": sliced,
    "model offload": model_offload,
    "group offload": group_offload,
    "deepcopy": copied,
    "pickle": pickled,
    "from_pipe": from_pipe,
    "save, load": saved,
    "from_pretrained(vae=)": passed_in,
    "compile(fullgraph)": compiled,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The folder of a family's VAE."""
    folders = {}

    def of(family, kind):
        if family not in folders:
            folders[family] = tmp_path_factory.mktemp("vae")
            vae_of(family, kind).save_pretrained(folders[family])
        return folders[family]

    return of


def both(family, kind, folder, mode, tmp_path):
    """What comes of a mode with diffusers' VAE, and with Tessera's."""

    def run(pipe, **more):
        return call(family, kind, pipe, **more)

    vaes = vae_of(family, kind), tessera.diffusers.load(folder, threads=2)
    return [
        mode(pipeline(family, kind, vae), run, tmp_path / str(number)).float()
        for number, vae in enumerate(vaes)
    ]


def cases():
    """Every pipeline as it is, and the first of each family in all modes."""
    first = {family: next(iter(made.pipelines)) for family, made in FAMILIES.items()}
    for family, kind in PIPELINES:
        for mode in MODES if kind == first[family] else ["as it is"]:
            yield family, kind, mode


@pytest.mark.parametrize(("family", "kind", "mode"), list(cases()))
def test_frames_are_those_of_diffusers(family, kind, mode, weights, tmp_path):
    expected, found = both(family, kind, weights(family, kind), MODES[mode], tmp_path)
    assert found.shape == expected.shape
    assert expected.std() > 1e-2
    assert (found - expected).abs().max() < BOUND


@pytest.mark.parametrize("family", FAMILIES)
def test_half_a_pipeline_in_bf16(family, weights):
    """Rounding is all that differs: our layers compute in f32 between a bf16 tensor and the next."""
    kind = next(iter(FAMILIES[family].pipelines))
    found = {}
    for name, vae in (
        ("theirs", vae_of(family, kind)),
        ("ours", tessera.diffusers.load(weights(family, kind), torch_dtype=torch.bfloat16)),
    ):
        pipe = pipeline(family, kind, vae).to(torch.bfloat16)
        assert pipe.vae.dtype == torch.bfloat16
        arguments = FAMILIES[family].arguments(kind).items()
        halves = {
            name: value.bfloat16()
            for name, value in arguments
            if torch.is_tensor(value) and value.is_floating_point()
        }
        found[name] = call(family, kind, pipe, **halves).float()
    difference = (found["ours"] - found["theirs"]).abs()
    assert difference.mean() < 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_accelerate_swaps_the_vae_in_place(family):
    kind = next(iter(FAMILIES[family].pipelines))
    pipe = pipeline(family, kind, vae_of(family, kind))
    expected = call(family, kind, pipe)
    own = pipe.vae
    assert tessera.diffusers.accelerate(pipe, threads=2) is pipe
    assert type(pipe.vae) is type(own)
    assert pipe.vae is not own
    assert (call(family, kind, pipe) - expected).abs().max() < BOUND
    for output_type in ("np", "pil", "latent"):
        call(family, kind, pipe, output_type)


def test_gradients_are_refused_in_words(weights):
    vae = tessera.diffusers.load(weights("SDXL", "t2i"))
    latents = torch.zeros(1, 4, 4, 4, requires_grad=True)
    with pytest.raises(tessera.InputError, match="no backward pass"):
        vae.decode(latents)
    with torch.no_grad():
        assert vae.decode(latents).sample.shape == (1, 3, 8, 8)


def test_the_documents_have_the_table():
    first = {family: next(iter(made.pipelines)) for family, made in FAMILIES.items()}
    rows = ["| pipeline | in which modes |", "|---|---|"]
    for family, kind in PIPELINES:
        modes = "all" if kind == first[family] else "as it is"
        rows.append(f"| `{FAMILIES[family].pipelines[kind]}` | {modes} |")
    rows += ["", f"All modes are: {'; '.join(MODES)}."]
    table = "\n".join(rows)
    path = WORKSPACE / "docs" / "PYTHON.md"
    text = path.read_text()
    begin, end = "<!-- pipelines -->\n", "\n<!-- /pipelines -->"
    head, _, rest = text.partition(begin)
    old, _, tail = rest.partition(end)
    if os.environ.get("TESSERA_BLESS"):
        path.write_text(head + begin + table + end + tail)
    else:
        assert old == table, "run this test with TESSERA_BLESS=1, and read the difference"
