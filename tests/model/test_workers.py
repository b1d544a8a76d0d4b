"""Layers on other machines: the same text, and every way in which a worker can fail is an error in bounded time.

llama.cpp's RPC client ends the process where a worker goes away or answers nonsense, and waits for ever for one that
hangs.
"""

from __future__ import annotations

import itertools
import logging
import re
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace

import pytest

from edge_wsd import ModelSettings, Options, Pair, WorkerError
from edge_wsd.decoding.events import Token
from edge_wsd.demo.files import base_path, drafter_path
from edge_wsd.llama import rpc_protocol as rpc
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from tests.rpc_workers import Peer, Worker, no_such_worker, require_backend, running
from tests.tiny_models import Chanting, TinyModel

QUESTION = "How do I list files by size?"
ALONE = ModelSettings(threads=1)
PLAIN = {"drafter_template": "plain", "base_template": "plain"}


@pytest.fixture(autouse=True)
def _backend():
    require_backend()


@pytest.fixture(scope="module")
def two():
    with running(2) as found:
        yield [worker.address for worker in found]


def with_workers(*addresses: str, timeout: float = 30.0) -> ModelSettings:
    return ModelSettings(threads=1, gpu_layers=-1, workers=addresses, worker_timeout=timeout)


def load(settings: ModelSettings, **more) -> Pair:
    return Pair.load(drafter_path(), base_path(), drafter_settings=ALONE, base_settings=settings, **more)


@pytest.mark.parametrize("speculation", [True, False])
def test_two_workers_write_the_text_of_one_machine(two, speculation):
    with load(ALONE) as pair:
        alone = pair.generate(QUESTION, speculation=speculation, max_tokens=60)
    with load(with_workers(*two)) as pair:
        places = pair.plan.base.memory.placement
        assert set(places) == {0, 1}, "both workers have layers, and this machine has none"
        spread = pair.generate(QUESTION, speculation=speculation, max_tokens=60)
    assert spread.text == alone.text
    assert spread.stats.n_tokens == alone.stats.n_tokens


def test_the_plan_counts_the_memory_of_workers(two):
    with load(ModelSettings(threads=1), workers=two) as pair:
        by_name = {one.device.name: one for one in pair.plan.devices}
        assert all(by_name[address].used > 0 and by_name[address].device.free_bytes > 0 for address in two)
        assert not pair.plan.drafter.memory.gpu_layers, "the drafter stays here"


@pytest.mark.parametrize(
    "more", [{}, {"batch": 256, "flash_attention": "on"}, {"parallel": 3}, {"n_workers": 1}, {"gpu_layers": 4}], ids=str
)
def test_the_plan_counts_what_llama_cpp_takes_of_workers(two, tmp_path, caplog, more):
    """Inputs of which several devices have four copies, for passes that overlap, were once counted once."""
    words = tuple(f"w{i}" for i in range(4000))
    path = TinyModel(words=words, n_embd=256, n_heads=8, n_heads_kv=2, n_ff=512, n_layers=6, n_ctx=2048).write(
        tmp_path / "model.gguf"
    )
    addresses = two[: more.pop("n_workers", 2)]
    settings = replace(with_workers(*addresses), context_length=2048, **more)
    caplog.set_level(logging.DEBUG, "edge_wsd.llama")
    with Pair.load(path, path, drafter_settings=ALONE, base_settings=settings, **PLAIN) as pair:
        memory, names = pair.plan.base.memory, [one.device.name for one in pair.plan.devices[1:]]
        endpoints = {str(relay.address): relay.endpoint for relay in pair.base.model.relays}
    log = caplog.text[caplog.text.index("RPC") :]  # what is before it is of the drafter

    def taken(device: str, kind: str) -> float:
        return sum(map(float, re.findall(rf"{re.escape(device)} {kind} buffer size = +([0-9.]+) MiB", log)))

    for name, planned in zip(names, memory.gpus, strict=True):
        device = f"RPC0[{endpoints[name]}]"
        assert planned.weights / 2**20 == pytest.approx(taken(device, "model"), abs=0.02)
        assert planned.kv_cache / 2**20 == pytest.approx(taken(device, "KV"), abs=0.02)
        assert planned.compute / 2**20 == pytest.approx(taken(device, "compute"), rel=0.1)
    if not more.get("gpu_layers"):
        assert memory.host.compute / 2**20 == pytest.approx(taken(" CPU", "compute"), rel=0.02)


def test_a_drafter_has_workers_where_they_are_named(two):
    settings = with_workers(two[0])
    with Pair.load(drafter_path(), base_path(), drafter_settings=settings, base_settings=settings) as pair:
        assert pair.plan.drafter.memory.gpu_layers and pair.plan.base.memory.gpu_layers
        assert pair.generate(QUESTION, max_tokens=8).text


def test_a_worker_that_is_not_there_is_named():
    address = no_such_worker()
    with pytest.raises(WorkerError, match=f"worker {address} cannot be reached .*edge-wsd worker"):
        load(with_workers(address))


@pytest.fixture(scope="module")
def chanting(tmp_path_factory):
    """Two models that never come to an end."""
    folder = tmp_path_factory.mktemp("chanting")
    drafter = Chanting(n_embd=64).write(folder / "drafter.gguf")
    return drafter, Chanting(chat_template=None, n_embd=64).write(folder / "base.gguf")


def before(monkeypatch, context: Context, method: str, call: int, do: Callable[[], None]) -> None:
    """`do` in the engine's thread before this call. These answers take a tenth of a second: tests that read a token and
    then ended the worker once found the answer complete, on a machine so busy that nothing of theirs ran meanwhile."""
    original, n_calls = getattr(context, method), itertools.count(1)

    def called(*arguments):
        if next(n_calls) == call:
            do()
        return original(*arguments)

    monkeypatch.setattr(context, method, called)


@pytest.mark.parametrize("how", [Worker.end, Worker.stop])
def test_a_worker_that_dies_or_hangs_in_an_answer_is_an_error(chanting, how, monkeypatch):
    options = Options(max_tokens=900, stop_loops=False, switch_at=4)
    with running(2) as found:
        settings = with_workers(*(one.address for one in found), timeout=4.0)
        with Pair.load(*chanting, drafter_settings=ALONE, base_settings=settings) as pair:
            before(monkeypatch, pair.base.context, "run", 6, lambda: how(found[1]))
            written = []
            with pytest.raises(WorkerError, match=found[1].address):
                for event in pair.session(options=options).stream("hello"):
                    written += [event.id] if isinstance(event, Token) else []
            with pytest.raises(WorkerError, match="load it again"):
                pair.generate("hello")
        with Pair.load(*chanting, drafter_settings=ALONE, base_settings=ALONE) as alone:
            whole = alone.session(options=options).stream("hello")
            ids = [event.id for event in whole if isinstance(event, Token)]
        assert 0 < len(written) < len(ids)
        assert written == ids[: len(written)], "no token is made of what did not come"


def test_all_replies_at_once_end_when_a_worker_dies(chanting, monkeypatch):
    options = Options(max_tokens=600, stop_loops=False, switch_at=4)
    with running() as found:
        settings = with_workers(found[0].address)
        with Pair.load(*chanting, drafter_settings=ALONE, base_settings=settings, parallel=3) as pair:
            before(monkeypatch, pair.base.context, "run", 6, found[0].end)
            with pair.base.context.lock:  # until all are asked for
                streams = [pair.session(options=options).stream(f"hello {number}") for number in range(3)]
            for stream in streams:
                with pytest.raises(WorkerError):
                    list(stream)


def test_a_drafter_whose_worker_dies_is_an_error(chanting, monkeypatch):
    """In the middle of its proposals, whose steps are taken in native code, where no error of Python is raised."""
    options = Options(max_tokens=900, stop_loops=False, switch_at=4)
    with running() as found:
        settings = with_workers(found[0].address)
        with Pair.load(*chanting, drafter_settings=settings, base_settings=ALONE) as pair:
            before(monkeypatch, pair.drafter.context, "go_on", 2, found[0].end)
            with pytest.raises(WorkerError):
                list(pair.session(options=options).stream("hello"))


def test_main_gpu_chooses_among_workers(two):
    with load(replace(with_workers(*two), main_gpu=1)) as pair:
        assert set(pair.plan.base.memory.placement) == {1}
        assert pair.generate(QUESTION, max_tokens=8).text


def test_layers_go_where_the_plan_says_whatever_the_drafter_uses(two):
    """The plan numbers devices of both models together; each model lists its own workers in its own order."""
    first, second = with_workers(two[1]), with_workers(*two)
    with Pair.load(drafter_path(), base_path(), drafter_settings=first, base_settings=second) as pair:
        names = [one.device.name for one in pair.plan.devices[1:]]
        assert [names[number] for number in dict.fromkeys(pair.plan.base.memory.placement)] == two


def test_a_busy_worker_is_an_error(monkeypatch):
    with running() as found:
        held = rpc.Wire(rpc.parse_address(found[0].address), 5.0)
        with pytest.raises(WorkerError, match="serves one process at a time"), monkeypatch.context() as patch:
            patch.setattr(rpc, "CONNECT_TIMEOUT_S", 3.0)
            load(with_workers(found[0].address))
        held.close()
        load(with_workers(found[0].address)).close()


@pytest.mark.parametrize("how", [Worker.end, Worker.stop])
def test_a_worker_that_dies_or_hangs_while_weights_are_sent_is_an_error(how):
    with running() as found:
        done = []

        def disturb(_share: float) -> None:
            if not done:
                done.append(how(found[0]))

        settings = with_workers(found[0].address, timeout=4.0)
        with pytest.raises(WorkerError), Model.load(base_path(), settings, progress=disturb) as model:
            Context(model, ALONE)
        assert done


def test_a_worker_that_was_started_again_is_used_again():
    """llama.cpp keeps what it knew of an address; each load after a failure has a relay, and so an address, of its
    own."""
    with running() as found, load(with_workers(found[0].address)) as pair:
        found[0].end()
        with pytest.raises(WorkerError):
            pair.generate(QUESTION)
        pair.close()
        address, found[0] = found[0].address, Worker(found[0].address)
        with load(with_workers(address)) as again:
            assert again.generate(QUESTION, max_tokens=8).text


def test_several_models_share_a_worker(two):
    """It listens to one connection alone."""
    with load(with_workers(two[0])) as first, load(with_workers(two[0])) as second:
        texts = [pair.generate(QUESTION, max_tokens=12).text for pair in (first, second, first)]
    assert len(set(texts)) == 1


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (rpc.ALLOC_BUFFER, struct.pack("<QQ", 1, 1)),  # smaller than asked for
        (rpc.ALLOC_BUFFER, b"short"),
        (rpc.GET_ALIGNMENT, bytes(8)),
        (rpc.GET_ALIGNMENT, struct.pack("<Q", 48)),
        (rpc.GET_MAX_SIZE, bytes(8)),
        (rpc.BUFFER_GET_BASE, bytes(8)),
        (rpc.GET_TENSOR, b"no tensor"),
        (rpc.DEVICE_COUNT, struct.pack("<I", 0)),
        (rpc.DEVICE_COUNT, struct.pack("<I", 2**32 - 1)),
        (rpc.GET_DEVICE_MEMORY, struct.pack("<QQ", 2, 1)),
    ],
)
def test_a_hostile_answer_is_an_error(two, command, answer):
    peer = Peer(two[0], lambda asked, sound: answer if asked == command else sound)
    try:
        nonsense = pytest.raises(WorkerError, match="answers what no worker of this version does")
        with nonsense, load(with_workers(peer.address, timeout=5.0)) as pair:
            pair.generate(QUESTION, max_tokens=8)
    finally:
        peer.close()


def test_a_worker_that_changes_its_devices_is_an_error(two):
    """llama.cpp ends the process at a device beyond those that it was told of."""
    counts = iter([struct.pack("<I", 1)])
    peer = Peer(two[0], lambda asked, sound: next(counts, struct.pack("<I", 2)) if asked == rpc.DEVICE_COUNT else sound)
    with pytest.raises(WorkerError, match="has other devices than before"):
        Model.load(base_path(), with_workers(peer.address, timeout=5.0))
    peer.close()


def test_attempts_in_vain_leave_nothing_behind():
    address = no_such_worker()
    for _ in range(3):
        with pytest.raises(WorkerError):
            load(with_workers(address))
    assert not [thread.name for thread in threading.enumerate() if address in thread.name]


@pytest.mark.parametrize("version", [(6, 0, 0), (8, 0, 0), (7, 1, 0)])
def test_another_version_of_the_protocol_is_named(version):
    with running_peer_of(version) as address, pytest.raises(WorkerError, match=r"speaks version \d\.\d\.0"):
        load(with_workers(address, timeout=5.0))


@contextmanager
def running_peer_of(version: tuple[int, int, int]):
    """A peer that says which version it has, and nothing else."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            client.recv(1024)
            client.sendall(struct.pack("<QBBBx24s", 28, *version, bytes(24)))
            client.recv(1024)

    threading.Thread(target=serve, daemon=True).start()
    with listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
