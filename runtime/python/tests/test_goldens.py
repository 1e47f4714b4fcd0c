"""Every golden case of every model, as people run it: `tessera.open(...).decode` and `.encode`."""

import numpy as np
import pytest
from conftest import GOLDENS, WORKSPACE, assert_near, opened, read_case

import tessera

CASES = sorted(GOLDENS.glob("**/cases/*.safetensors"))
assert CASES, f"no goldens in {GOLDENS}"


def options_of(case, vae, half):
    """The arguments of the reference as Tessera's options."""
    tiling = case.metadata.get("tiling")
    attributes = case.metadata.get("attributes") or {}
    usual = vae.usual_tiles(half)
    # Where the reference counts in patches when it encodes, its tiles are larger than it says.
    scale = usual["size"][0] // vae.usual_tiles("decoder")["size"][0]
    options = {"tiling": "off"}
    # Tiles in time, height and width at once.
    cubes = [attributes.get(name) for name in ("kernel", "stride")] if tiling is not None else [None]
    if all(cubes):
        options["tiling"], options["tile_stride"] = (sizes[1:] for sizes in cubes)
    elif tiling is not None and not tiling:
        options["tiling"] = "default"
    elif tiling and "sample_height" in tiling:
        options["tiling"] = tiling["sample_height"], tiling["sample_width"]
        options["tile_overlap"] = tiling["overlap_height"], tiling["overlap_width"]
    elif tiling:
        axes = "height", "width"
        options["tiling"] = [tiling[f"tile_sample_min_{axis}"] * scale for axis in axes]
        if "tile_overlap_factor" in tiling:
            options["tile_overlap"] = [tiling["tile_overlap_factor"]] * 2
        else:
            options["tile_stride"] = [tiling[f"tile_sample_stride_{axis}"] * scale for axis in axes]
    framewise = attributes.get("use_framewise_decoding", usual["cuts_frames"])
    if all(cubes):
        options["tile_frames"] = tuple(sizes[0] for sizes in cubes)
    elif not framewise:
        options["tile_frames"] = "off"
    elif tiling and "tile_sample_min_num_frames" in tiling:
        options["tile_frames"] = (
            tiling["tile_sample_min_num_frames"],
            tiling["tile_sample_stride_num_frames"],
        )
    options["keep_all_frames"] = attributes.get("drop_last_temporal_frames") is False
    if half == "decoder" and "temb" in case.tensors:
        options["timestep"] = case.tensors["temb"].tolist()
    noise = {name: plane for name, plane in case.tensors.items() if name.startswith("noise.")}
    options["noise"] = noise or None
    return options


def as_clips(images, frames):
    """[B * T, C, H, W] as [B, C, T, H, W]."""
    return images.reshape(-1, frames, *images.shape[1:]).swapaxes(1, 2)


def as_images(clips):
    return clips.swapaxes(1, 2).reshape(-1, clips.shape[1], *clips.shape[3:])


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_golden(path):
    case = read_case(path)
    model = path.parent.parent
    if model.name == "trained":
        vae = opened(WORKSPACE / "runtime" / "demo")
    else:
        vae = opened(model.relative_to(GOLDENS))
    half = "decoder" if case.metadata["op"] == "decode" else "encoder"
    options = options_of(case, vae, half)
    if model.name == "trained" and half == "encoder":
        frames = case.tensors["frames"].astype(np.float32) / 127.5 - 1
        given = frames.transpose(3, 0, 1, 2)[None]
    else:
        given = case.tensors["input"]
    clip_frames = case.metadata.get("num_frames")
    if given.ndim == 4 and not vae.is_of_images:
        given = as_clips(given, clip_frames or 1)
    if half == "decoder":
        found = vae.decode(given, **options)
    else:
        found = vae.encode(given, moments=True, **options)
    expected = case.tensors["output"]
    if expected.ndim == 4 and found.ndim == 5:
        found = as_images(found)
    if "frames" in case.metadata:
        found = found[:, :, case.metadata["frames"]]
    assert_near(expected, found)
    if half == "encoder":
        latents = vae.encode(given, **options)
        moments = vae.encode(given, moments=True, **options)
        assert (latents == moments[:, : latents.shape[1]]).all()


def test_every_class_of_the_goldens_opens():
    classes = {
        opened(path.parent.relative_to(GOLDENS)).class_name for path in GOLDENS.glob("models/*/config.json")
    }
    assert len(classes) >= 12


def test_a_file_of_weights_alone_is_recognised(tmp_path):
    weights = GOLDENS / "models" / "autoencoder-tiny" / "diffusion_pytorch_model.safetensors"
    alone = tmp_path / "taesd.safetensors"
    alone.write_bytes(weights.read_bytes())
    vae = tessera.open(alone)
    assert vae.class_name == "AutoencoderTiny"
    assert vae.config_path is None
    assert vae.info()["weights"]["account"]
