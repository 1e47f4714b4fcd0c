"""The nodes for ComfyUI: every model through its stock nodes, with latents as ComfyUI has them.

ComfyUI is not on PyPI; what of it is touched stands in `comfyui_stand_in`.
"""

import copy
import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest
from comfyui_models import MODELS, PACKAGE, in_comfyui, load_package, node, plain_cases, vae_of
from conftest import GOLDENS, assert_near, opened

import tessera


def test_the_package_is_what_comfyui_expects():
    package = load_package()
    assert package.NODE_DISPLAY_NAME_MAPPINGS == {"TesseraLoadVAE": "Load VAE (Tessera)"}
    kind = package.NODE_CLASS_MAPPINGS["TesseraLoadVAE"]
    assert kind.RETURN_TYPES == ("VAE",)
    assert callable(getattr(kind, kind.FUNCTION))
    assert f'version = "{tessera.__version__}"' in (PACKAGE / "pyproject.toml").read_text()


def test_without_tessera_the_node_says_what_to_install(tmp_path):
    """Without torch and ComfyUI too, with whatever name the folder has."""
    code = (
        "import importlib.util as u, sys\n"
        "sys.path = [p for p in sys.path if 'site-packages' not in p]\n"
        f"s = u.spec_from_file_location('nodes', {str(PACKAGE / '__init__.py')!r})\n"
        "m = sys.modules['nodes'] = u.module_from_spec(s); s.loader.exec_module(m)\n"
        "m.NODE_CLASS_MAPPINGS['TesseraLoadVAE']().load_vae('a.safetensors')\n"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "Load VAE (Tessera): Tessera's package for Python is not installed" in done.stderr.splitlines()[0]
    assert "RuntimeError: Tessera's package for Python is not installed." in done.stderr.splitlines()[-1]
    assert "pip install ./runtime/python" in done.stderr


# Every model


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_stock_nodes_decode_the_goldens(comfy, model):
    import torch
    from comfyui_stand_in import vae_decode

    if model.name == "autoencoder-tiny":
        vae = vae_of(comfy, model, latents_of="SD-1.5")
    else:
        vae = vae_of(comfy, model)
    cases = list(plain_cases(model, "decode"))
    # Its decoders take a timestep, and mix noise into latents: a test of their own.
    assert cases or vae.first_stage_model.takes_timestep
    for case in cases:
        given = case.tensors["input"]
        clips = case.metadata.get("num_frames")
        if clips and given.shape[0] != clips:
            continue
        images = vae_decode(vae, torch.from_numpy(in_comfyui(model, given)))
        expected = (case.tensors["output"] + 1) / 2
        if "frames" in case.metadata:
            kept = case.metadata["frames"]
            images = images.unflatten(0, (given.shape[0], -1))[:, kept].flatten(0, 1)
        if expected.ndim == 5:
            expected = expected.swapaxes(1, 2).reshape(-1, expected.shape[1], *expected.shape[3:])
        assert images.dtype == torch.float32
        assert_near(np.clip(expected, 0, 1).transpose(0, 2, 3, 1), images)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_stock_nodes_encode_the_goldens(comfy, model):
    import torch
    from comfyui_stand_in import vae_encode

    vae = (
        vae_of(comfy, model, latents_of="SD-1.5")
        if model.name == "autoencoder-tiny"
        else vae_of(comfy, model)
    )
    space = vae.spacial_compression_encode()
    tried = 0
    for case in plain_cases(model, "encode"):
        given, moments = case.tensors["input"], case.tensors["output"]
        if any(size % space for size in given.shape[-2:]) or "frames" in case.metadata:
            continue
        if vae.first_stage_model.is_of_images and given.ndim == 5:
            given, moments = given[:, :, 0], moments[:, :, 0]
        pixels = torch.from_numpy(np.moveaxis((given + 1) / 2, 1, -1))
        if vae.latent_dim == 3 and pixels.shape[0] == 1:
            # One clip, as IMAGE has it.
            pixels = pixels[0]
        latents = vae_encode(vae, pixels)
        channels = opened(model.relative_to(GOLDENS)).info()["channels"]["latents"]
        expected = in_comfyui(model, moments[:, :channels])
        assert latents.shape[1] == vae.latent_channels
        assert_near(expected, latents)
        tried += 1
    assert tried or model.name in ("ltx-0.9.1", "four-level")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_stock_nodes_take_any_size(comfy, model):
    """Odd sizes, one frame and more, in tiles of sizes that do not divide, and for inpainting."""
    import comfyui_stand_in as nodes
    import torch

    vae = vae_of(comfy, model)
    space, time = vae.spacial_compression_decode(), vae.first_stage_model.time
    generator = torch.Generator().manual_seed(0)
    channels = vae.first_stage_model.input_channels
    count = 4 * time + 1 if vae.latent_dim == 3 else 2
    pixels = torch.rand(count, 6 * space - 1, 6 * space + 1, min(channels, 3), generator=generator)
    latents = nodes.vae_encode(vae, pixels)
    assert latents.shape[-2:] == (5, 6)
    tiled = nodes.vae_encode_tiled(
        vae, pixels, tile_size=3 * space + 1, overlap=space + 1, temporal_size=2 * time
    )
    assert tiled.shape == latents.shape
    assert torch.isfinite(tiled).all()
    if vae.latent_dim == 3:
        ragged = nodes.vae_encode(vae, pixels[: 3 * time + 2])
        assert ragged.shape[2] == vae.downscale_ratio[0](3 * time + 2)
        assert torch.isfinite(ragged).all()
    images = nodes.vae_decode(vae, latents)
    assert images.shape[1:] == (5 * space, 6 * space, vae.output_channels)
    assert (images.min() >= 0) & (images.max() <= 1)
    if vae.latent_dim == 3:
        assert latents.shape[2] == vae.downscale_ratio[0](count)
        assert images.shape[0] == vae.upscale_ratio[0](latents.shape[2])
    for size, overlap, frames in ((3 * space + 5, space, 64), (2 * space, 0, 2 * time), (64 * space, 64, 8)):
        tiled = nodes.vae_decode_tiled(vae, latents, size, overlap, frames, max(frames // 4, 1))
        assert tiled.shape == images.shape
    # The last one was a tile as large as all.
    usual = vae.first_stage_model.session.usual_tiles()["frames"]
    if usual is None:
        assert torch.equal(tiled, images)
    mask = (torch.rand(1, 5 * space, 6 * space, generator=generator) > 0.7).float()
    inpainted, grown = nodes.vae_encode_for_inpaint(vae, pixels, mask)
    assert inpainted.shape == latents.shape
    assert grown.shape[-2:] == (5 * space, 6 * space)
    assert not torch.equal(inpainted, latents)


def test_a_size_or_channels_that_do_not_fit_are_refused_in_words(comfy):
    import torch

    vae = vae_of(comfy, GOLDENS / "models" / "autoencoder-kl")
    with pytest.raises(ValueError, match=r"takes \[B, C, H, W\] with 4 channels; is it the VAE"):
        vae.decode(torch.zeros(1, 16, 4, 4))
    with pytest.raises(ValueError, match=r"images of 3x40 pixels .* made of 4x4; enlarge them"):
        vae.encode(torch.zeros(1, 40, 3, 3))
    with pytest.raises(ValueError, match="images of 1 channels: this VAE .* takes 3"):
        vae.encode(torch.zeros(1, 8, 8, 1))
    with pytest.raises(ValueError, match=r"is of images, and takes \[N, H, W, C\]"):
        vae.encode(torch.zeros(1, 2, 8, 8, 3))
    with pytest.raises(ValueError, match=r"this VAE \(AutoencoderKL\) is not told how much noise is left"):
        vae.decode(torch.zeros(1, 4, 4, 4), vae_options={"timestep": 0.1})
    with pytest.raises(tessera.InputError, match="is empty"):
        vae.decode(torch.zeros(0, 4, 4, 4))
    with pytest.raises(TypeError, match="num_chunks"):
        vae.decode(torch.zeros(1, 4, 4, 4), vae_options={"num_chunks": 8000})
    with pytest.raises(ValueError, match="latents_of: AutoencoderKL stands in for no other model"):
        vae_of(comfy, GOLDENS / "models" / "autoencoder-kl", latents_of="SDXL")


def test_latents_of_models_of_videos_go_into_those_of_images(comfy):
    """One frame each, as ComfyUI takes them; and images without an axis of time into those of videos."""
    import torch

    images = vae_of(comfy, GOLDENS / "models" / "autoencoder-kl")
    latents = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(images.decode(latents[:, :, None]), images.decode(latents))
    videos = vae_of(comfy, GOLDENS / "models" / "wan-2.1")
    latents = torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(videos.decode(latents[:, :, None])[:, 0], videos.decode(latents))
    pixels = torch.rand(5, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    assert videos.encode(pixels).shape == (1, 6, 2, 4, 4)
    assert videos.encode(pixels, not_video=True).shape == (5, 6, 1, 4, 4)


def test_images_without_transparency_are_opaque(comfy):
    import torch

    vae = vae_of(comfy, GOLDENS / "models" / "qwen-image-2.1")
    pixels = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    opaque = torch.cat([pixels, torch.ones(1, 32, 32, 1)], dim=-1)
    assert torch.equal(vae.encode(pixels), vae.encode(opaque))
    assert vae.decode(vae.encode(pixels)).shape == (1, 32, 32, 4)


# ComfyUI's services


@pytest.fixture
def slow(comfy):
    """A VAE, and latents that take a second or more."""
    import torch

    vae = vae_of(comfy, GOLDENS / "four-level")
    latents = torch.randn(1, 16, 21, 24, 32, generator=torch.Generator().manual_seed(0))
    return vae, latents


def test_the_bar_fills(comfy, slow):
    from comfyui_stand_in import ProgressBar

    vae, latents = slow
    vae.decode(latents)
    assert ProgressBar.shown == sorted(ProgressBar.shown)
    assert len(ProgressBar.shown) > 2
    assert ProgressBar.shown[-1] == 1


def test_the_button_interrupts(comfy, slow):
    from comfyui_stand_in import InterruptProcessingException, ProgressBar

    vae, latents = slow
    comfy.manager.interrupted_at = 0
    with pytest.raises(InterruptProcessingException):
        vae.decode(latents)
    assert ProgressBar.shown == []
    comfy.manager.interrupted_at = comfy.manager.looked + 3
    with pytest.raises(InterruptProcessingException):
        vae.decode(latents)
    assert len(ProgressBar.shown) > 0
    assert ProgressBar.shown[-1] < 1
    # The next one goes through.
    assert vae.decode(latents[:, :, :1]).shape == (1, 1, 192, 256, 3)


def test_the_manager_is_told(comfy, slow):
    import torch
    from comfyui_stand_in import ModelPatcher

    vae, latents = slow
    cpu = torch.device("cpu")
    in_the_way = ModelPatcher(torch.nn.Module(), cpu, cpu, 1000)
    comfy.manager.load_models_gpu([in_the_way])
    small = latents[:, :, :2, :8, :8]
    vae.decode(small)
    needed = vae.memory_used_decode(small.shape, torch.float32)
    assert [("load", needed), ("free", needed)] == comfy.manager.asked[1:]
    assert [loaded.model for loaded in comfy.manager.current_loaded_models] == [vae.patcher]
    assert vae.memory_used_decode(latents.shape) > needed > 0
    assert vae.patcher.model_size() == vae.model_size() > 0
    assert isinstance(vae.patcher, ModelPatcher)
    session = vae.first_stage_model.session
    vae.decode(small)
    assert session.report["programs_compiled"] == 0
    # Unloaded, it holds nothing any more.
    comfy.manager.free_memory(1 << 60, cpu)
    vae.decode(small)
    assert session.report["programs_compiled"] > 0


def test_nothing_holds_a_vae_but_what_the_node_gave(comfy):
    """ComfyUI takes for a leak what has to wait for the garbage collector."""
    vae = vae_of(comfy, GOLDENS / "models" / "wan-2.1")
    parts = [
        weakref.ref(part) for part in (vae, vae.patcher, vae.first_stage_model, vae.first_stage_model.session)
    ]
    gc.disable()
    try:
        del vae
        assert [part() for part in parts] == [None] * 4
    finally:
        gc.enable()


def test_what_does_not_fit_goes_in_tiles(comfy):
    import torch

    vae = vae_of(comfy, GOLDENS / "four-level", tiling="as memory requires")
    strict = vae_of(comfy, GOLDENS / "four-level", tiling="never")
    latents = torch.randn(1, 16, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    session = vae.first_stage_model.session
    whole = session.plan(latents.shape, tiling="off")["tiling"]["memory"]["total"]
    for one in (vae, strict):
        one.first_stage_model.session = session.with_options(memory=int(0.7 * whole))
    assert vae.decode(latents).shape == (1, 9, 512, 512, 3)
    tiling = vae.first_stage_model.session.report["tiling"]
    assert tiling["rows"] * tiling["columns"] > 1
    with pytest.raises(tessera.BudgetError):
        strict.decode(latents)
    own = vae_of(comfy, GOLDENS / "models" / "autoencoder-kl", tiling="the model's own")
    own.decode(torch.zeros(1, 4, 24, 24))
    assert own.first_stage_model.session.report["tiling"]["tile"] is not None


def test_results_are_where_and_what_comfyui_keeps(comfy):
    import torch

    vae = vae_of(comfy, GOLDENS / "models" / "wan-2.1")
    latents = torch.randn(1, 6, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    images = vae.decode(latents)
    comfy.manager.fp16_intermediates = True
    halves = vae.decode(latents)
    assert halves.dtype == vae.vae_output_dtype() == torch.float16
    assert (halves - images).abs().max() < 1e-3
    assert vae.encode(images[0]).dtype == torch.float16
    comfy.manager.fp16_intermediates = False
    assert (vae.decode(latents.half()) - images).abs().max() < 1e-2


def test_precision_is_comfyuis_unless_said(comfy):
    import torch

    model = GOLDENS / "models" / "wan-2.1"
    latents = torch.randn(1, 6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    plain = vae_of(comfy, model)
    comfy.manager.bf16_vae = True
    for vae, expected in ((vae_of(comfy, model), "bf16"), (vae_of(comfy, model, precision="f32"), "f32")):
        vae.decode(latents)
        assert vae.first_stage_model.session.report["precision"] == expected
        assert vae.vae_dtype == (torch.bfloat16 if expected == "bf16" else torch.float32)
    assert plain.vae_dtype == torch.float32


def test_copies_and_weights(comfy, tmp_path):
    """Nodes that change a VAE copy it first, and one saves it."""
    import torch
    from safetensors.torch import save_file

    vae = vae_of(comfy, GOLDENS / "models" / "flux2")
    latents = torch.randn(1, 24, 2, 2, generator=torch.Generator().manual_seed(0))
    images = vae.decode(latents)
    other = copy.deepcopy(vae)
    assert other.patcher is not vae.patcher
    assert torch.equal(other.decode(latents), images)
    folder = tmp_path / "vae" / "saved"
    folder.mkdir()
    save_file(vae.get_sd(), folder / "saved.safetensors")
    (folder / "config.json").write_text((GOLDENS / "models" / "flux2" / "config.json").read_text())
    assert torch.equal(node(comfy, "saved/saved.safetensors").decode(latents), images)


def test_a_file_that_is_not_there(comfy):
    loader = load_package().NODE_CLASS_MAPPINGS["TesseraLoadVAE"]()
    with pytest.raises(FileNotFoundError, match="no file 'gone.safetensors' in models/vae"):
        loader.load_vae("gone.safetensors")
