"""Folders of clips on a cluster of two machines, on this one: what is lost on the way is made again."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import GOLDENS, MACHINE

ray = pytest.importorskip("ray", reason="ray is not installed")
pytest.importorskip("ray.data", reason="ray[data] is not installed")

import tessera  # noqa: E402
import tessera.ray  # noqa: E402

MODEL = GOLDENS / "four-level"
CLIPS = 40


def latents_of(number):
    """Latents that take a third of a second or so to decode."""
    return np.random.default_rng(number).standard_normal((1, 16, 5, 12, 16), dtype=np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents")
    for number in range(CLIPS):
        np.save(folder / f"{number:02}.npy", latents_of(number))
    return folder


@pytest.fixture(scope="module")
def expected():
    vae = tessera.open(MODEL, threads=1)
    return [vae.decode(latents_of(number)) for number in range(CLIPS)]


def decode(folder, output, **more):
    arguments = {"suffix": ".npy", "layout": "bcthw", "scaled": False, **more}
    return tessera.ray.decode_folder(MODEL, folder, output, **arguments)


def processes(name):
    """Processes that Ray calls so: of those that this test's own cluster started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            title = (entry / "cmdline").read_text()
        except OSError:
            continue
        if title.startswith(name):
            found.append(int(entry.name))
    return found


def kill_a_worker():
    """Kill the process of an actor that is making a clip, and wait until it is gone."""
    while not (found := processes("ray::_Maker.make")):
        time.sleep(0.001)
    os.kill(found[0], signal.SIGKILL)
    while Path(f"/proc/{found[0]}").exists():
        time.sleep(0.01)


def test_a_worker_and_then_a_machine_are_lost(cluster, folder, expected, tmp_path):
    output, events = tmp_path / "clips", []
    killer = threading.Thread(target=kill_a_worker)

    def told(done, total):
        assert total == CLIPS
        if done == 8:
            events.append("worker")
            killer.start()
        elif done == 20:
            events.append("machine")
            cluster.remove_node(cluster.machines.pop(0), allow_graceful=False)
        elif done == 28:
            events.append("a new one")
            cluster.machines.append(cluster.add_node(**MACHINE))

    made = decode(folder, output, progress=told)
    killer.join()
    assert events == ["worker", "machine", "a new one"]
    assert made == [output / f"{number:02}.npy" for number in range(CLIPS)]
    # Nothing else, and nothing temporary.
    assert sorted(output.iterdir()) == made
    for path, frames in zip(made, expected, strict=True):
        assert (np.load(path) == frames).all()
    written = [path.stat().st_mtime_ns for path in made]
    assert decode(folder, output) == made
    assert [path.stat().st_mtime_ns for path in made] == written


def test_an_actor_has_what_ray_gave_it(cluster, folder, tmp_path):
    @ray.remote(num_cpus=1, memory=1 << 30)
    def asked():
        return tessera.ray._given()

    assert ray.get(asked.remote()) == {"threads": 1, "memory": 1 << 30}
    asked = ray.remote(num_cpus=1)(tessera.ray._given)
    assert ray.get(asked.remote()) == {"threads": 1, "memory": "70%"}
    (made,) = decode([folder / "00.npy"], tmp_path, memory=1 << 30, tiling="off")
    assert np.load(made).shape == (1, 3, 17, 96, 128)
    with pytest.raises(tessera.FolderError, match="the memory budget is"):
        decode([folder / "01.npy"], tmp_path, memory=60 << 20)
    with pytest.raises(tessera.OptionError, match="^memory: "):
        decode(folder, tmp_path, memory="lots")


def test_what_fails_is_told_and_stops_nothing(cluster, folder, tmp_path):
    bad = tmp_path / "bad.npy"
    bad.write_bytes(b"no array")
    output = tmp_path / "clips"
    with pytest.raises(tessera.FolderError, match="1 clip of 3 failed") as error:
        decode([folder / "00.npy", bad, folder / "01.npy"], output)
    assert isinstance(error.value.failed[bad], tessera.FileError)
    assert sorted(output.iterdir()) == error.value.done
    with pytest.raises(tessera.ModelError, match="no such file or folder"):
        tessera.ray.decode_folder(tmp_path / "nothing", folder, output, suffix=".npy")
    assert sorted(output.iterdir()) == error.value.done


def test_a_clip_that_kills_its_actors_is_given_up(cluster, folder, tmp_path):
    killer = threading.Thread(target=lambda: [kill_a_worker() for _ in range(2)])
    killer.start()
    with pytest.raises(tessera.FolderError, match="1 clip of 1 failed"):
        decode([folder / "00.npy"], tmp_path / "clips", retries=1)
    killer.join()
    assert not list((tmp_path / "clips").iterdir())


def test_folders_are_encoded(cluster, folder, tmp_path, vae):
    clips = decode([folder / "00.npy", folder / "01.npy"], tmp_path / "clips")
    made = tessera.ray.encode_folder(MODEL, tmp_path / "clips", tmp_path / "latents")
    assert [path.name for path in made] == ["00.safetensors", "01.safetensors"]
    vae = tessera.open(MODEL, threads=1)
    assert (vae.read_latents(made[0]) == vae.encode(np.load(clips[0]))).all()


def test_map_batches_takes_arrays_and_files(cluster, folder, expected, tmp_path):
    files = sorted(folder.iterdir())[:3]
    rows = ray.data.from_items([{"latents": np.load(path)[0], "name": path.stem} for path in files])
    options = {"batch_size": 2, "num_cpus": 1, "concurrency": 1}
    decoded = rows.map_batches(tessera.ray.Decoder, fn_constructor_args=(str(MODEL),), **options)
    encoded = decoded.map_batches(tessera.ray.Encoder, fn_constructor_args=(str(MODEL),), **options)
    found = {row["name"]: row for row in decoded.take_all()}
    vae = tessera.open(MODEL, threads=1)
    for number, name in enumerate(sorted(found)):
        assert set(found[name]) == {"name", "frames"}
        assert (found[name]["frames"] == expected[number][0]).all()
    for row in encoded.take_all():
        assert (row["latents"] == vae.encode(found[row["name"]]["frames"][None])[0]).all()
    bad = tmp_path / "bad.npy"
    bad.write_bytes(b"no array")
    arguments = {"suffix": ".npy", "layout": "bcthw", "scaled": False}
    clips = ray.data.from_items([{"path": str(path)} for path in [*files, bad]]).map_batches(
        tessera.ray.FileDecoder,
        fn_constructor_args=(str(MODEL), str(tmp_path / "clips")),
        fn_constructor_kwargs=arguments,
        **{**options, "batch_size": 1},
    )
    for row in clips.take_all():
        number = Path(row["path"]).stem
        assert row["output"] == str(tmp_path / "clips" / f"{number}.npy")
        if number == "bad":
            assert row["error"].startswith("FileError: ")
        else:
            assert row["error"] == ""
            assert (np.load(row["output"]) == expected[int(number)]).all()


PROGRAM = """
import sys, ray, tessera.ray
ray.init(address=sys.argv[4], log_to_driver=False)
tessera.ray.decode_folder(sys.argv[1], sys.argv[2], sys.argv[3], suffix=".npy", layout="bcthw", scaled=False)
"""


def test_what_a_killed_driver_left_is_removed(cluster, folder, tmp_path):
    output = tmp_path / "clips"
    driver = subprocess.Popen([sys.executable, "-c", PROGRAM, MODEL, folder, output, cluster.address])
    while len(list(output.glob("*.npy"))) < 2:
        time.sleep(0.01)
        assert driver.poll() is None
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    # Ray ends its actors.
    while processes("ray::_Maker"):
        time.sleep(0.01)
    (left,) = output.glob(".tessera-*")
    os.utime(left, (0, 0))
    made = decode(sorted(folder.iterdir())[:4], output)
    assert not list(output.glob(".tessera-*"))
    assert all(np.load(path).shape == (1, 3, 17, 96, 128) for path in made)
