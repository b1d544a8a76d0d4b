"""Which pairs are in memory: loaded when they are asked for, gone when they have been idle, never more than fit."""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from edge_wsd.errors import Cancelled, ClosedError, StoreError, WorkerError
from edge_wsd.models.pairs.named_pair import NamedPair
from edge_wsd.pair import Pair
from edge_wsd.serve import served_models
from edge_wsd.serve.errors import RequestError
from edge_wsd.serve.served_models import ServedModels
from tests.live_servers import CPU, demo_models


def played(models, play):
    """Runs `play(models)` in a loop of its own, and frees the pairs."""

    async def whole():
        await models.start()
        try:
            return await play(models)
        finally:
            await models.aclose()

    return asyncio.run(whole())


async def use_once(models):
    async with models.use("demo"):
        pass


async def eventually(holds):
    for _ in range(1200):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came to that")


def test_a_name_means_a_pair_and_who_of_it_writes():
    async def play(models):
        found = {}
        for name in (None, "", "demo", "demo:latest", "demo:base", "demo:drafter"):
            async with models.use(name) as served:
                found[name] = (served.pair.name, served.mode)
        return found

    assert played(demo_models(), play) == {
        None: ("demo", "wsd"),
        "": ("demo", "wsd"),
        "demo": ("demo", "wsd"),
        "demo:latest": ("demo", "wsd"),
        "demo:base": ("demo", "base"),
        "demo:drafter": ("demo", "drafter"),
    }


def test_a_pair_is_loaded_once_for_all_who_ask():
    async def play(models):
        async def ask():
            async with models.use("demo") as served:
                await asyncio.sleep(0)
                return served.pair

        return await asyncio.gather(*(ask() for _ in range(10)))

    pairs = played(demo_models(), play)
    assert len(set(map(id, pairs))) == 1
    assert pairs[0].closed


def test_a_second_pair_is_loaded_when_it_is_asked_for_with_its_own_options(tmp_path, monkeypatch):
    path = tmp_path / "pairs.toml"
    demo = demo_models().pairs()["demo"]
    path.write_text(f'[pairs.mine]\ndrafter = "{demo.drafter}"\nbase = "{demo.base}"\nthreshold = 0.5\nwindow = 4\n')
    monkeypatch.setenv("EDGE_WSD_PAIRS", str(path))

    async def play(models):
        assert "mine" not in models.loaded()
        async with models.use("mine") as mine, models.use("demo") as first:
            assert set(models.loaded()) == {"mine", "demo"}
            assert first.pair.options.threshold == 0.8
            return mine.pair.options

    models = demo_models(changes={"window": 3})
    assert "mine:base" in models.names()
    options = played(models, play)
    assert (options.threshold, options.window) == (0.5, 3)  # what the server was started with comes last


def test_templates_of_the_default_pair_are_not_those_of_others():
    async def play(models):
        async with models.use("demo") as first, models.use("demo-other") as other:
            return first.pair.drafter.template.name, other.pair.drafter.template.name

    assert played(demo_models(loading={"drafter_template": "plain"}), play) == ("plain", "chat template of the drafter")


def test_an_idle_pair_leaves_and_comes_back():
    async def play(models):
        async with models.use("demo") as served:
            pair = served.pair
            await asyncio.sleep(0.2)
            assert not pair.closed  # however long it is used
        await eventually(lambda: pair.closed)
        assert not models.loaded()
        async with models.use("demo") as served:
            assert not served.pair.closed

    played(demo_models(keep_alive_s=0.1), play)


def test_a_pair_that_is_asked_just_as_its_time_is_over_stays(monkeypatch):
    loading, is_loaded, load = threading.Event(), threading.Event(), Pair.load

    def slow(*files, **settings):
        loading.set()
        assert is_loaded.wait(60)
        return load(*files, **settings)

    async def play(models):
        async with models.use("demo") as served:
            pair = served.pair
        monkeypatch.setattr(Pair, "load", slow)
        other = asyncio.ensure_future(models.use("demo-other").__aenter__())
        await eventually(loading.is_set)
        await asyncio.sleep(0.2)  # its time is over, but nothing can leave while another pair is loaded
        async with models.use("demo") as served:
            is_loaded.set()
            await other
            await asyncio.sleep(0.1)
            assert served.pair is pair and not pair.closed

    played(demo_models(keep_alive_s=0.05), play)


def test_a_pair_that_nobody_ever_asks_leaves_too():
    async def play(models):
        await eventually(lambda: not models.loaded())

    models = demo_models(keep_alive_s=0.1)
    models.put(pair := Pair.demo(drafter_settings=CPU, base_settings=CPU))
    played(models, play)
    assert pair.closed


def test_a_request_may_say_how_long_its_pair_stays():
    async def play(models):
        async with models.use("demo", None):
            pass
        assert models.loaded() == {"demo": None}  # for ever
        async with models.use("demo", 500.0):
            assert models.loaded() == {"demo": None}  # in use
        assert 400 < models.loaded()["demo"] <= 500
        async with models.use("demo", 0.0):
            pass
        await eventually(lambda: not models.loaded())

    played(demo_models(keep_alive_s=1000.0), play)


class Plan:
    """What the plan of another pair says while so many pairs are in memory."""

    def __init__(self, fits, gives_way=()):
        self.fits, self.gives_way = fits, gives_way
        self.complaint = "the pair does not fit: the host is 3.0 GiB short of memory"


@pytest.fixture
def room_for(monkeypatch):
    """Plays a machine that has room for so many pairs."""

    def play(models, n_pairs):
        def plan(*_):
            return Plan(fits=len(models.loaded()) < n_pairs)

        monkeypatch.setattr(served_models, "plan_pair", plan)

    return play


def test_the_longest_unused_pair_makes_room(room_for):
    async def play(models):
        for name in ("demo", "demo-other", "demo"):
            async with models.use(name):
                pass
        async with models.use("third"):
            assert set(models.loaded()) == {"demo", "third"}

    models = demo_models()
    room_for(models, 2)
    parse = models.parse
    models.parse = lambda name: (replace(parse("demo")[0], name="third"), None) if name == "third" else parse(name)
    played(models, play)


def test_a_pair_in_use_does_not_make_room_and_is_named(room_for):
    async def play(models):
        async with models.use("demo") as served:
            with pytest.raises(RequestError, match=r"short of memory; it is in use by demo: try again later") as caught:
                async with models.use("demo-other"):
                    pass
            assert (caught.value.status, caught.value.code) == (503, "out_of_memory")
            assert caught.value.retry_after > 0
            assert not served.pair.closed
        async with models.use("demo-other"):  # now it may have the room
            assert set(models.loaded()) == {"demo-other"}

    models = demo_models()
    room_for(models, 1)
    played(models, play)


def test_the_settings_of_a_pair_are_part_of_its_plan(monkeypatch):
    planned = []

    async def play(models):
        async with models.use("demo"), models.use("demo-other"):
            pass

    models = demo_models()
    monkeypatch.setattr(served_models, "plan_pair", lambda *given: planned.append(given) or Plan(fits=True))
    played(models, play)
    assert [each[2:] for each in planned] == [(CPU, CPU)]  # nothing need be planned for the first


@pytest.mark.parametrize("error", [WorkerError, ClosedError])
def test_a_pair_that_has_failed_is_loaded_again(error):
    async def play(models):
        async with models.use("demo") as other_user:
            with pytest.raises(error):
                async with models.use("demo") as served:
                    failed = served.pair
                    raise error("gone")
            assert not failed.closed  # somebody still reads from it
            async with models.use("demo") as served:
                assert served.pair is not failed
            assert other_user.pair is failed
        await eventually(lambda: failed.closed)
        assert set(models.loaded()) == {"demo"}

    played(demo_models(), play)


def test_who_leaves_while_a_pair_is_loaded_stops_nobody_else():
    async def play(models):
        async def ask():
            async with models.use("demo") as served:
                return served.name

        first, second = (asyncio.ensure_future(ask()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == "demo"

    played(demo_models(), play)


def test_a_pair_that_cannot_be_loaded_says_why_each_time():
    async def play(models):
        for _ in range(2):
            with pytest.raises(StoreError, match="edge-wsd pull songff/Pilot-3B"):
                async with models.use("pilot-llama-8b"):
                    pass

    played(demo_models(), play)


def test_nothing_is_loaded_once_the_server_stops():
    async def play(models):
        async with AsyncExitStack() as held:
            served = await held.enter_async_context(models.use("demo"))
            await models.aclose()
            assert served.pair.closed
        with pytest.raises(ClosedError):
            async with models.use("demo"):
                pass
        assert not models.loaded()

    played(demo_models(), play)


def test_loading_ends_with_the_server(monkeypatch):
    stages = []

    def load(*_, progress, cancel, **__):
        while not cancel.is_set:
            stages.append(progress("base", 0.5))
            time.sleep(0.01)
        raise Cancelled("loading was cancelled")

    async def play(models):
        asking = asyncio.ensure_future(use_once(models))
        await eventually(lambda: stages)
        await models.aclose()
        with pytest.raises(ClosedError, match="the server is stopping"):
            await asking

    monkeypatch.setattr(Pair, "load", load)
    played(demo_models(), play)


def test_two_models_without_a_name_are_served_under_their_own():
    demo = demo_models().pairs()["demo"]
    models = ServedModels(NamedPair("", demo.drafter, "owner/Some-Base:Q4_K_M"))
    assert models.default_name == "drafter+Some-Base-Q4_K_M"
    assert models.parse(None)[0].base == "owner/Some-Base:Q4_K_M"


def test_loading_that_stalls_ends_once_all_have_left(monkeypatch):
    """Whoever comes meanwhile hears of it; as long as it goes on, or somebody has waited from the beginning, it may."""
    loading, clock = threading.Event(), time.monotonic

    def load(*_, progress, cancel, **__):
        progress("base", 0.5)
        loading.set()
        while not cancel.is_set:
            time.sleep(0.01)
        raise Cancelled("loading was cancelled")

    async def play(models):
        first, second = (asyncio.ensure_future(use_once(models)) for _ in range(2))
        await eventually(loading.is_set)
        first.cancel()
        monkeypatch.setattr(served_models, "_STALLED_S", 0.3)
        later = clock() + 1.0
        await eventually(lambda: clock() > later)
        assert not second.done()
        second.cancel()
        third = asyncio.ensure_future(use_once(models))
        with pytest.raises(RequestError, match="nothing was heard of it for 0") as caught:
            await third
        assert caught.value.status == 503
        monkeypatch.undo()
        await use_once(models)

    monkeypatch.setattr(Pair, "load", load)
    played(demo_models(), play)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_death_of_isolated_models_is_an_error_of_one_answer(server_with):
    server = server_with(demo_models(loading={"isolate": True}))
    asked = {"messages": [{"role": "user", "content": "hello"}], "edge_wsd": {"logit_bias": {"a": 1000}}}
    endless = {**asked, "stream": True, "max_tokens": 400, "edge_wsd": {"logit_bias": {"a": 1000}, "stop_loops": False}}
    with server.client() as client:
        with client.stream("POST", "/v1/chat/completions", json=endless) as live:
            lines = live.iter_lines()
            next(lines)
            os.kill(server.call(server.serve.models.in_memory)["demo"].process_id, signal.SIGKILL)
            told = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        assert told[-1]["error"]["code"] == "pair_died"
        answer = client.post("/v1/chat/completions", json={**asked, "max_tokens": 3})
        assert answer.status_code == 200
        assert client.get("/health").status_code == 200
