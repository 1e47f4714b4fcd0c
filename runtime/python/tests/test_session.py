"""What a session does beside numbers: reports, plans, files, iterators, options, errors, logs."""

import logging
import pickle

import numpy as np
import pytest
from conftest import GOLDENS, assert_near, read_case

import tessera
from tessera import _tessera


def fresh(**options):
    return tessera.open(GOLDENS / "four-level", **{"threads": 2, **options})


def test_a_second_call_of_the_same_shape_compiles_nothing(latents):
    vae = fresh(tiling="off")
    assert vae.report is None
    vae.decode(latents)
    first = vae.report
    assert first["programs_compiled"] > 0
    vae.decode(latents)
    second = vae.report
    assert (second["programs_compiled"], second["plan_kept"]) == (0, True)
    assert second["programs_kept"] == first["programs_compiled"]
    vae.free()
    vae.decode(latents)
    assert vae.report["programs_compiled"] > 0


def test_a_plan_is_what_happens(vae, latents):
    clip = latents.repeat(3, axis=2).repeat(3, axis=4)
    plan = vae.plan(clip.shape, tiling=(48, 40))
    frames = vae.decode(clip, tiling=(48, 40))
    assert plan["result"] == list(frames.shape)
    assert plan["runs"] == vae.report["program_runs"]
    assert plan["tiling"]["tile"] == vae.report["tiling"]["tile"]
    assert plan["tiling"]["memory"]["total"] > 0
    encoding = vae.plan(frames.shape, half="encoder")
    assert encoding["result"] == [1, 32, *clip.shape[2:]]


def test_what_does_not_fit_is_refused_before_any_work(vae):
    with pytest.raises(tessera.BudgetError, match="the memory budget is") as refused:
        vae.plan((1, 16, 13, 300, 400), memory="100 MiB")
    assert isinstance(refused.value, MemoryError)


def test_frames_come_as_they_are_done(vae, latents):
    batch = np.concatenate([latents, latents[:, :, ::-1]])
    clip = vae.decode(batch)
    frames = list(vae.decode_frames(batch))
    assert len(frames) == 18
    assert (np.stack(frames[:9], axis=1) == clip[0]).all()
    assert (np.stack(frames[9:], axis=1) == clip[1]).all()
    assert vae.report["frames"] == 18
    halves = batch.astype(np.float16)
    assert (next(vae.decode_frames(halves)) == vae.decode(halves)[0, :, 0]).all()


def test_an_iterator_that_is_closed_ends_its_thread(vae, long_latents):
    frames = vae.decode_frames(long_latents)
    assert next(frames).shape == (3, 192, 256)
    frames.close()
    with pytest.raises(StopIteration):
        next(frames)
    with pytest.raises(tessera.InputError):
        vae.decode_frames(long_latents[:, :3])


def test_files_are_what_the_command_line_writes(vae, latents, tmp_path):
    frames = vae.decode(latents)
    (array,) = vae.decode_to(latents, tmp_path / "clip.npy")
    assert (np.load(array) == frames).all()
    for name in ("clip.mp4", "clip.gif", "clip.y4m", "frames"):
        (path,) = vae.decode_to(latents, tmp_path / name, fps=12)
        assert path.exists()
    assert len(list((tmp_path / "frames").glob("*.png"))) == 9
    with pytest.raises(tessera.FileError, match="is not an output format"):
        vae.decode_to(latents, tmp_path / "clip.xyz")
    with pytest.raises(tessera.InputError, match="frames a second"):
        vae.decode_to(latents, tmp_path / "clip.mp4", fps=0)


def test_nothing_is_left_where_decoding_fails(vae, latents, tmp_path):
    def fail(_):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        vae.decode_to(latents, tmp_path / "clip.mp4", progress=fail)
    assert not list(tmp_path.iterdir())


def test_a_pipelines_latents_are_scaled(vae, latents):
    factor = np.float32(vae.config["scaling_factor"])
    assert_near(vae.decode(latents), vae.decode(latents * factor, scaled=True))
    frames = vae.decode(latents)
    assert_near(vae.encode(frames) * factor, vae.encode(frames, scaled=True))


def test_draws_are_reproducible(vae, latents):
    frames = vae.decode(latents)
    moments = vae.encode(frames, moments=True)
    mean, deviation = moments[:, :16], np.exp(0.5 * np.clip(moments[:, 16:], -30, 20))
    draws = [vae.encode(frames, sample=seed) for seed in (7, 7, 8)]
    assert (draws[0] == draws[1]).all()
    assert not (draws[0] == draws[2]).all()
    noise = (draws[0] - mean) / deviation
    assert 0.8 < noise.std() < 1.2
    with pytest.raises(tessera.OptionError, match="neither drawn nor scaled"):
        vae.encode(frames, moments=True, sample=1)


def test_progress_is_told_and_what_it_raises_ends_the_call(vae, latents):
    told = []
    vae.decode(latents, progress=told.append)
    assert told[-1].frames_done == told[-1].frames_total == 9
    assert told[-1].share == 1.0
    assert "frames_done=9" in repr(told[-1])

    class Enough(Exception):
        pass

    def enough(_):
        raise Enough

    with pytest.raises(Enough):
        vae.decode(latents, progress=enough)
    with pytest.raises(Enough):
        list(vae.decode_frames(latents, progress=enough))


def test_a_bar_is_shown_by_tqdm(vae, latents, capsys):
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    vae.decode(latents, progress=True)
    assert "decoding" in capsys.readouterr().err
    vae.decode(latents, progress=False)
    assert capsys.readouterr().err == ""


def test_options_have_names_and_values():
    with pytest.raises(TypeError, match="there is no option `treads`; known are backend, "):
        fresh(treads=2)
    vae = fresh()
    with pytest.raises(TypeError, match="there is no option `dtype`"):
        vae.decode(np.zeros((1, 16, 1, 4, 4), np.float32), dtype="bf16")
    refused = {
        "threads": [0, -1, "2", 1025],
        "memory": ["8", "lots", -1],
        "tiling": ["whole", (8,), (0, 8), 5],
        "tile_overlap": [(1.0, 0.0), 0.5],
        "tile_frames": ["on", (16,)],
        "precision": ["f16", 3],
        "backend": ["gpu"],
        "parallel": ["time"],
        "isa": ["mmx"],
        "progress": [3],
        "timestep": ["now"],
        "noise": [{"noise.0": "x"}],
        "seed": [-1],
        "cancellation": [True],
    }
    for name, values in refused.items():
        for value in values:
            with pytest.raises(tessera.OptionError, match=f"^{name}: ") as error:
                tessera.open(GOLDENS / "four-level", **{name: value})
            assert isinstance(error.value, ValueError)
    with pytest.raises(tessera.OptionError, match="it is of tiles of a size"):
        fresh(tile_stride=(8, 8))
    fresh(threads=None, tiling=None, memory="50%", seed=None)


def test_types_know_every_option():
    assert sorted(tessera.Options.__annotations__) == _tessera.OPTIONS


def test_options_of_a_call_go_before_those_of_the_session(latents):
    vae = fresh(tiling=(48, 40))
    clip = latents.repeat(3, axis=3)
    vae.decode(clip)
    assert vae.report["tiling"]["tile"] == [48, 40]
    vae.decode(clip, tiling="off")
    assert vae.report["tiling"]["tile"] is None
    other = vae.with_options(precision="bf16")
    other.decode(clip)
    assert other.report["precision"] == "bf16"


def test_messages_name_no_option_of_the_command_line(vae, latents):
    hunyuan = tessera.open(GOLDENS / "models" / "hunyuan-video")
    clip = np.zeros((1, 5, 9, 2, 2), np.float32)
    with pytest.raises(tessera.OptionError, match=r"tile_frames=\(\d+, \d+\) is the nearest") as error:
        hunyuan.decode(clip, tile_frames=(15, 12))
    assert "--" not in str(error.value)
    broken = latents.copy()
    broken[0, 0, 0, 0, 0] = np.nan
    with pytest.raises(tessera.NonFiniteError, match="check_finite=True names the module"):
        vae.decode(broken)
    with pytest.raises(tessera.NonFiniteError, match="it reads input"):
        vae.decode(broken, check_finite=True)
    with pytest.raises(tessera.OptionError, match="takes no timestep"):
        vae.decode(latents, timestep=0.5)


def test_models_that_are_none_are_refused(tmp_path):
    with pytest.raises(tessera.ModelError, match="no such file or folder"):
        tessera.open(tmp_path / "nothing")
    (tmp_path / "config.json").write_text('{"_class_name": "SomethingElse"}')
    with pytest.raises(tessera.TesseraError):
        tessera.open(tmp_path)
    with pytest.raises(tessera.ModelError, match="_class_name"):
        tessera.open(GOLDENS / "four-level", config=tmp_path / "config.json")


def test_info_and_configuration(vae):
    assert vae.config["block_out_channels"] == [16, 32, 32, 64]
    assert vae.config["norm_eps"] == 1e-6
    assert vae.config["shift_factor"] is None
    info = vae.info()
    assert info["class"] == vae.class_name == "AutoencoderKLCogVideoX"
    assert {total["part"] for total in info["weights"]["sums"]} == {"encoder", "decoder"}
    assert info["weights"]["missing"] == {}
    assert vae.config_path == GOLDENS / "four-level" / "config.json"
    assert "AutoencoderKLCogVideoX" in repr(vae)


def test_verify_judges_module_by_module(vae):
    found = vae.verify()
    assert found["passed"]
    assert found["rows"][0]["module"] == "decoder.conv_in"
    assert found["rows"][-1]["module"] == "output"
    strict = vae.verify(precision="bf16", threshold=1e-9)
    assert not strict["passed"]
    case = GOLDENS / "two-level" / "cases" / "decode-3-frames-taps.safetensors"
    two_levels = tessera.open(GOLDENS / "two-level")
    assert two_levels.verify(against=case)["passed"]
    frames = vae.decode(read_case(GOLDENS / "four-level/cases/decode-1-frame.safetensors").tensors["input"])
    assert vae.verify(frames, half="encoder", against="cpu")["passed"]
    with pytest.raises(tessera.OptionError, match="nothing to encode"):
        vae.verify(half="encoder")


def test_compiling_needs_a_plugin(vae, tmp_path):
    with pytest.raises(tessera.PluginError):
        vae.compile(target="v6e:1x1", plugin=tmp_path / "none.so")
    with pytest.raises(tessera.OptionError, match="^mesh: "):
        vae.compile(target="v6e:1x1", mesh="time=2")
    with pytest.raises(tessera.OptionError, match="it is of the other half"):
        vae.compile(target="v6e:1x1", step="encode-first")


def test_logs_go_to_logging(caplog, latents):
    with caplog.at_level(logging.INFO, logger="tessera"):
        fresh().decode(latents)
    assert any("whole frames" in record.getMessage() for record in caplog.records)
    assert all(record.name.split(".")[0] == "tessera" for record in caplog.records)
    caplog.clear()
    fresh().decode(latents)
    assert not caplog.records


def test_sessions_are_pickled_by_their_name(latents):
    vae = fresh(tiling="off")
    again = pickle.loads(pickle.dumps(vae))
    assert (again.decode(latents) == vae.decode(latents)).all()
    assert again.report["threads"] == 2


def test_latents_are_scaled_by_the_numbers_that_are_told(images):
    """Those of the configuration, and those of the checkpoint; none of it needs torch."""
    latents = np.random.default_rng(0).standard_normal((2, 4, 4, 4), dtype=np.float32)
    numbers = images.latent_scaling()
    assert (numbers["scaling_factor"], numbers["latents_mean"], numbers["patch"]) == (0.18215, None, 1)
    assert_near(latents / 0.18215, images.unscale(latents))
    assert_near(latents, images.scale(images.unscale(latents)))
    assert (images.decode(images.unscale(latents)) == images.decode(latents, scaled=True)).all()
    assert images.scale(latents.astype(np.float16)).dtype == np.float16
    flux = tessera.open(GOLDENS / "models" / "flux2")
    numbers = flux.latent_scaling()
    assert numbers["patch"] == 2
    assert (
        len(numbers["latents_mean"]) == len(numbers["latents_std"]) == 4 * flux.info()["channels"]["latents"]
    )


def test_scaling_of_published_models():
    numbers = tessera.published_scaling("SD-3")
    assert (numbers["scaling_factor"], numbers["shift_factor"]) == (1.5305, 0.0609)
    assert len(tessera.published_scaling("Wan-2.2")["latents_std"]) == 48
    with pytest.raises(tessera.OptionError, match="name: expected one of CogVideoX, .* found .SD4."):
        tessera.published_scaling("SD4")


def test_a_shape_without_a_plan(vae, images, latents):
    assert vae.result_shape(latents.shape) == (1, 3, 9, 32, 48)
    assert vae.result_shape((1, 3, 9, 32, 48), half="encoder") == (1, 32, 3, 4, 6)
    assert images.result_shape((2, 4, 4, 6)) == (2, 3, 1, 16, 24)
    with pytest.raises(tessera.InputError, match="the model takes 16 channels"):
        vae.result_shape((1, 4, 3, 4, 6))


def test_programs_that_show_what_is_logged_are_not_flooded(latents, caplog):
    """The code generator logs every function that it makes, in full."""
    with caplog.at_level("DEBUG"):
        fresh().decode(latents)
    names = {record.name for record in caplog.records}
    assert "tessera.tessera.steps" in names
    assert not [name for name in names if "cranelift" in name or "regalloc" in name]
