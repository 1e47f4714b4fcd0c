"""Folders of clips on one machine, and files read as arrays."""

import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import GOLDENS, WORKSPACE, assert_near
from safetensors.numpy import load_file, save_file

import tessera

MODEL = GOLDENS / "four-level"


def clip(seed, frames=1, batch=1):
    """Latents [B, C, T, H, W]."""
    return np.random.default_rng(seed).standard_normal((batch, 16, frames, 4, 6), dtype=np.float32)


@pytest.fixture
def folder(tmp_path):
    """Four clips of unscaled latents."""
    folder = tmp_path / "latents"
    folder.mkdir()
    for seed in range(4):
        label = {"layout": "bcthw", "scaled": "false"}
        save_file({"latents": clip(seed)}, folder / f"clip-{seed}.safetensors", label)
    return folder


def decode(folder, output, **options):
    return tessera.decode_folder(MODEL, folder, output, **{"suffix": ".npy", "threads": 1, **options})


def test_only_what_is_missing_is_made(folder, tmp_path, vae):
    output, told = tmp_path / "deep" / "clips", []
    (output).mkdir(parents=True)
    (output / "clip-2.npy").write_bytes(b"is there")
    made = decode(folder, output, progress=lambda done, total: told.append((done, total)))
    assert made == [output / f"clip-{seed}.npy" for seed in range(4)]
    assert told == [(done, 4) for done in (1, 2, 3, 4)]
    assert made[2].read_bytes() == b"is there"
    for seed in (0, 1, 3):
        assert (np.load(made[seed]) == vae.decode(clip(seed))).all()
    written = [path.stat().st_mtime_ns for path in made]
    assert decode(folder, output) == made
    assert [path.stat().st_mtime_ns for path in made] == written


def test_shares_make_all_of_it_once(folder, tmp_path):
    output = tmp_path / "clips"
    shares = [decode(folder, output, share=(index, 3)) for index in range(3)]
    assert [len(share) for share in shares] == [2, 1, 1]
    assert sorted(path for share in shares for path in share) == sorted(output.iterdir())
    with pytest.raises(tessera.OptionError, match="^share: "):
        decode(folder, output, share=(3, 3))
    # A share that has nothing to do does not even open the model.
    assert tessera.decode_folder("no-such-model", folder, output, suffix=".npy", share=(5, 6)) == []


def test_a_clip_that_fails_does_not_stop_the_others(folder, tmp_path):
    (folder / "clip-1.safetensors").write_bytes(b"no tensors")
    save_file({"latents": clip(0)[:, :3]}, folder / "clip-5.safetensors")
    with pytest.raises(tessera.FolderError, match="2 clips of 5 failed") as error:
        decode(folder, tmp_path / "clips")
    error = pickle.loads(pickle.dumps(error.value))
    assert sorted(error.failed) == [folder / "clip-1.safetensors", folder / "clip-5.safetensors"]
    assert str(folder / "clip-1.safetensors") in str(error)
    assert isinstance(error.failed[folder / "clip-1.safetensors"], tessera.FileError)
    assert [path.stem for path in error.done] == ["clip-0", "clip-2", "clip-3"]
    assert sorted((tmp_path / "clips").iterdir()) == error.done


def test_what_cannot_be_right_is_refused_before_any_work(folder, tmp_path):
    output = tmp_path / "clips"
    with pytest.raises(tessera.FileError, match="is not an output format"):
        decode(folder, output, suffix=".xyz")
    with pytest.raises(tessera.InputError, match="expected a folder"):
        decode(tmp_path / "nothing", output)
    with pytest.raises(tessera.InputError, match="nothing in it ends in"):
        decode(tmp_path, output)
    with pytest.raises(TypeError, match="no option `treads`"):
        decode(folder, output, treads=1)
    with pytest.raises(tessera.ModelError):
        tessera.decode_folder(tmp_path / "nothing", folder, output, suffix=".npy")
    np.save(folder / "clip-0.npy", clip(0))
    with pytest.raises(tessera.InputError, match="would both become"):
        decode(folder, output)
    decode([folder / "clip-0.npy"], output, scaled=False, layout="bcthw")


def test_a_batch_becomes_a_clip_for_each_sample(folder, tmp_path, vae):
    np.save(folder / "two.npy", clip(7, 2, batch=2))
    source = folder / "two.npy"
    arguments = {"suffix": ".y4m", "scaled": False}
    made = decode([source], tmp_path / "clips", **arguments)
    assert [path.name for path in made] == ["two-0.y4m", "two-1.y4m"]
    made[1].unlink()
    assert decode([source], tmp_path / "clips", **arguments) == made
    assert made[1].exists()


def test_folders_of_clips_are_encoded(folder, tmp_path, vae):
    clips = tmp_path / "clips"
    decode(folder, clips, suffix="")
    decode([folder / "clip-0.safetensors"], clips, suffix=".y4m")
    (clips / "clip-0.y4m").rename(clips / "other.y4m")
    made = tessera.encode_folder(MODEL, clips, tmp_path / "latents-again", scaled=True, threads=2)
    assert [path.name for path in made] == [f"clip-{seed}.safetensors" for seed in range(4)] + [
        "other.safetensors"
    ]
    frames = vae.read_frames(clips / "clip-0")
    assert_near(vae.encode(frames), vae.read_latents(made[0]))
    assert load_file(made[0])["latents"].shape == (1, 1, 16, 4, 6)
    decode(made, tmp_path / "clips-again")


def test_files_are_read_as_arrays(folder, tmp_path, vae, images, latents):
    assert (vae.read_latents(folder / "clip-0.safetensors") == clip(0)).all()
    with pytest.raises(tessera.OptionError, match="^scaled: .* says that they are not"):
        vae.read_latents(folder / "clip-0.safetensors", scaled=True)
    with pytest.raises(tessera.OptionError, match='^layout: expected one of "auto"'):
        vae.read_latents(folder / "clip-0.safetensors", layout="tbchw")
    with pytest.raises(tessera.MissingFileError):
        vae.read_latents(folder / "none.safetensors")
    factor = np.float32(vae.config["scaling_factor"])
    np.save(tmp_path / "pipeline.npy", (latents * factor).swapaxes(1, 2))
    assert_near(vae.read_latents(tmp_path / "pipeline.npy"), latents)
    frames = vae.decode(latents)
    for half, name in (frames, "f32"), (frames.astype(np.float16), "f16"):
        (path,) = vae.encode_to(half, tmp_path / f"{name}.safetensors", scaled=True)
        assert_near(vae.read_latents(path), vae.encode(half.astype(np.float32)))
        assert vae.report["frames"] > 0
    (path,) = vae.encode_to(frames, tmp_path / "moments.safetensors", moments=True)
    assert_near(vae.read_latents(path), vae.encode(frames))
    with pytest.raises(tessera.OptionError, match="neither drawn nor scaled"):
        vae.encode_to(frames, path, moments=True, sample=1)
    vae.decode_to(latents, tmp_path / "clip.npy")
    assert (vae.read_frames(tmp_path / "clip.npy") == frames).all()
    assert vae.read_frames(tmp_path / "clip.npy", frames=2).shape == (1, 3, 2, 32, 48)
    vae.decode_to(latents, tmp_path / "clip.mp4")
    assert vae.read_frames(tmp_path / "clip.mp4", size=(16, 16)).shape == (1, 3, 9, 16, 16)
    picture = next((WORKSPACE / "docs").glob("demo.png"))
    assert images.read_frames(picture, size=(32, 48)).shape == (1, 3, 32, 48)


PROGRAM = """
import sys, tessera
tessera.decode_folder(sys.argv[1], sys.argv[2], sys.argv[3], suffix=".npy", threads=1)
"""


def test_what_a_killed_process_left_is_no_clip(tmp_path):
    folder, output = tmp_path / "latents", tmp_path / "clips"
    folder.mkdir()
    for seed in range(6):
        np.save(folder / f"{seed}.npy", np.repeat(clip(seed, 9), 3, axis=3).swapaxes(1, 2))
    program = [sys.executable, "-c", PROGRAM, MODEL, folder, output]
    killed = subprocess.Popen(program)
    while not list(output.glob("1.npy")):
        time.sleep(0.01)
        assert killed.poll() is None
    while not (left := list(output.glob(".tessera-*"))):
        time.sleep(0.001)
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    whole = {path: path.read_bytes() for path in output.glob("*.npy")}
    assert 2 <= len(whole) < 6
    # What is younger than a minute may still be somebody's.
    for path in left:
        os.utime(path, (0, 0))
    subprocess.run(program, check=True)
    assert sorted(path.name for path in output.iterdir()) == [f"{seed}.npy" for seed in range(6)]
    assert all(path.read_bytes() == before for path, before in whole.items())
