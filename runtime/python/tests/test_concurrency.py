"""Threads, asyncio, other processes, Ctrl-C: each as people run into it."""

import asyncio
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from conftest import GOLDENS

import tessera

MODEL = str(GOLDENS / "four-level")


def test_two_threads_share_a_session(vae, latents):
    expected = vae.decode(latents)
    found = {}

    def decode(number):
        found[number] = [vae.decode(latents) for _ in range(4)]
        found[number, "report"] = vae.report

    threads = [threading.Thread(target=decode, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        assert all((frames == expected).all() for frames in found[number])
        assert found[number, "report"]["programs_compiled"] == 0


def test_other_threads_run_meanwhile(vae, long_latents):
    ticks, done = [], threading.Event()

    def tick():
        while not done.wait(0.005):
            ticks.append(time.perf_counter())

    clock = threading.Thread(target=tick)
    clock.start()
    begin = time.perf_counter()
    vae.decode(long_latents)
    seconds = time.perf_counter() - begin
    done.set()
    clock.join()
    assert len(ticks) > 10 * seconds


def test_an_asyncio_server_answers_while_it_decodes(vae, latents, long_latents):
    async def serve():
        decoding = asyncio.create_task(asyncio.to_thread(vae.decode, long_latents))
        answers = 0
        while not decoding.done():
            await asyncio.sleep(0.01)
            answers += 1
        clips = await asyncio.gather(*(asyncio.to_thread(vae.decode, latents) for _ in range(4)))
        return answers, (await decoding).shape, clips

    answers, shape, clips = asyncio.run(serve())
    assert answers > 5
    assert shape == (1, 3, 81, 192, 256)
    assert all((clip == clips[0]).all() for clip in clips)


def test_a_call_is_cancelled_from_another_thread(vae, long_latents):
    cancellation = tessera.Cancellation()
    timer = threading.Timer(0.3, cancellation.cancel)
    timer.start()
    with pytest.raises(tessera.Cancelled):
        vae.decode(long_latents, cancellation=cancellation)
    assert cancellation.cancelled
    with pytest.raises(tessera.Cancelled):
        vae.encode(np.zeros((1, 3, 9, 64, 64), np.float32), cancellation=cancellation)


def run(program, **more):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), MODEL],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **more,
    )


# Where tests run in the background of a shell, interrupts are ignored, and Python leaves that as it is.
LOOP = """
    import signal, sys
    import numpy as np, tessera
    signal.signal(signal.SIGINT, signal.default_int_handler)
    vae = tessera.open(sys.argv[1], threads=2)
    latents = np.zeros((1, 16, 401, 24, 32), np.float32)
    vae.decode(latents[:, :, :3])
    print("begun", flush=True)
    try:
        {call}
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    print(vae.decode(latents[:, :, :3]).shape, flush=True)
"""


@pytest.mark.parametrize("call", ["vae.decode(latents)", "list(vae.decode_frames(latents))"])
def test_ctrl_c_ends_a_call_and_not_the_session(call):
    """As in a notebook: the cell ends, and the next one runs."""
    process = run(LOOP.format(call=call))
    assert process.stdout.readline() == "begun\n"
    time.sleep(2)
    begin = time.perf_counter()
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "interrupted\n"
    assert time.perf_counter() - begin < 5
    assert process.stdout.readline() == "(1, 3, 9, 192, 256)\n"
    assert process.wait(60) == 0


def spawned(vae, latents, answers):
    answers.put(vae.decode(latents))


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_processes_get_sessions(vae, latents, method):
    expected = vae.decode(latents)
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    processes = [context.Process(target=spawned, args=(vae, latents, answers)) for _ in range(2)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert all((frames == expected).all() for frames in found)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def in_a_fork(work):
    """What `work` returns, or what it raised, in a fork."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = work()
        except BaseException as error:
            answer = error
        with os.fdopen(write, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pickle.load(pipe)
    os.waitpid(child, 0)
    return answer


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_after_use_is_refused_in_words(vae, latents):
    vae.decode(latents)
    answer = in_a_fork(lambda: vae.decode(latents))
    assert isinstance(answer, tessera.ForkError)
    assert 'get_context("spawn")' in str(answer)
    answer = in_a_fork(lambda: tessera.open(MODEL).decode(latents))
    assert isinstance(answer, tessera.ForkError)


@needs_fork
def test_a_fork_before_use_works():
    process = run("""
        import os, sys
        import numpy as np, tessera
        vae = tessera.open(sys.argv[1], threads=2)
        child = os.fork()
        print(vae.decode(np.zeros((1, 16, 3, 4, 6), np.float32)).shape, flush=True)
        if child:
            print(os.waitpid(child, 0)[1], flush=True)
    """)
    assert process.communicate(timeout=120)[0].splitlines() == ["(1, 3, 9, 32, 48)"] * 2 + ["0"]


class Clips:
    """A data set that decodes, as a worker of a DataLoader does."""

    def __init__(self, vae):
        self.vae = vae

    def __len__(self):
        return 4

    def __getitem__(self, index):
        latents = np.random.default_rng(index).standard_normal((1, 16, 1, 4, 6), dtype=np.float32)
        return self.vae.decode(latents)[0]


def test_a_worker_of_a_data_loader_decodes(vae):
    pytest.importorskip("torch", reason="torch is not installed")
    from torch.utils.data import DataLoader

    clips = Clips(vae)
    expected = np.stack([clips[index] for index in range(len(clips))])
    loader = DataLoader(clips, batch_size=2, num_workers=2, multiprocessing_context="spawn")
    found = np.concatenate([batch.numpy() for batch in loader])
    assert (found == expected).all()


def test_it_ends_while_an_iterator_is_open():
    process = run("""
        import sys
        import numpy as np, tessera
        vae = tessera.open(sys.argv[1], threads=2)
        frames = vae.decode_frames(np.zeros((1, 16, 401, 24, 32), np.float32))
        print(next(frames).shape, flush=True)
    """)
    assert process.communicate(timeout=60)[0].splitlines() == ["(3, 192, 256)"]
    assert process.returncode == 0
