"""A thousand replies over eight places, of which many are cancelled, abandoned or broken: nobody is lost."""

import gc
import random
import threading
from pathlib import Path

import psutil
import pytest

import edge_wsd.demo
from edge_wsd import ModelSettings, Pair
from edge_wsd.decoding.protocols import Pass
from edge_wsd.errors import ContextFullError, QueueFullError
from tests.devices import GPU_LAYERS
from tests.oracle.float_gguf import write_float_gguf

# 32-bit floats throughout: what is computed beside a token rounds it by some millionths at most.
SETTINGS = ModelSettings(gpu_layers=GPU_LAYERS, threads=1, kv_type="f32", flash_attention="off", context_length=256)
N_REPLIES, N_READERS, N_PLACES = 1000, 12, 8
QUESTIONS = (
    "How do I list files by size?",
    "show the date",
    "How full is my disk?",
    "stop the process 4242",
    "How do I make a new folder called photos?",
    "漢字?",
    "What is listening on port 8080?",
    "count words in notes.txt",
)
OPTIONS = (
    {"max_tokens": 6, "chunk": 4},
    {"max_tokens": 10, "chunk": 8},
    {"max_tokens": 8, "chunk": 1, "speculation": False},
    {"max_tokens": 10, "mode": "base"},
    {"max_tokens": 5, "temperature": 1.0, "seed": 7},
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, demo = tmp_path_factory.mktemp("float"), Path(edge_wsd.demo.__file__).parent
    return [write_float_gguf(demo / name, folder / name) for name in ("drafter.gguf", "base.gguf")]


def load(files, **settings):
    return Pair.load(*files, drafter_settings=SETTINGS, base_settings=SETTINGS, **settings)


@pytest.fixture(scope="module")
def alone(files):
    """Each question's reply with each set of options, by a pair that writes one at a time."""
    with load(files) as pair:
        return {
            (question, i): [token.id for token in pair.generate(question, **options).tokens]
            for question in QUESTIONS
            for i, options in enumerate(OPTIONS)
        }


def broken(memories):
    """A writer that reads a little and then fails."""
    sequence = memories["base"].take([1, 2, 3])
    try:
        yield Pass(sequence, [1, 2, 3, 4], [5, 6])
        raise ValueError("broken on purpose")
    finally:
        memories["base"].give_back(sequence)


def too_long(memories):
    """One that never fits."""
    sequence = memories["base"].take([1] * 5000)
    try:
        yield Pass(sequence, [1] * 5000, [])
    finally:
        memories["base"].give_back(sequence)


class Crowd:
    """Readers that ask, one after the other, and treat their replies badly."""

    def __init__(self, pair, alone):
        self.pair, self.alone = pair, alone
        self.n_left, self.lock = N_REPLIES, threading.Lock()
        self.finished, self.wrong = 0, []

    def take_number(self):
        with self.lock:
            self.n_left -= 1
            return self.n_left

    def read(self, seed):
        rng = random.Random(seed)
        while self.take_number() >= 0:
            try:
                self.one(rng)
            except QueueFullError:
                pass
            except BaseException as error:
                self.wrong.append(repr(error))
                return

    def one(self, rng):
        question, i = rng.choice(QUESTIONS), rng.randrange(len(OPTIONS))
        options = self.pair.options.with_changes(**OPTIONS[i])
        fate = rng.random()
        if fate < 0.05:
            with pytest.raises(ValueError, match="broken on purpose"):
                self.pair.loaded.engine.submit(broken).result()
            return
        if fate < 0.08:
            with pytest.raises(ContextFullError):
                self.pair.loaded.engine.submit(too_long).result()
            return
        stream = self.pair.session(options=options).stream(question)
        for _ in range(rng.choice([0, 0, 1, 3])):
            next(stream, None)
        if fate < 0.2:
            stream.cancel()
            assert stream.result().finish_reason in ("cancelled", "stop", "length")
        elif fate < 0.3:
            stream.close()
        elif fate >= 0.4:  # others are dropped
            ids = [token.id for token in stream.result().tokens]
            with self.lock:
                self.finished += 1
                if ids != self.alone[question, i]:
                    self.wrong.append((question, i, ids, self.alone[question, i]))


def places(pair):
    """How many sequences each context has left, beside those that are idle."""
    found = []
    for memory in pair.loaded.engine._memories.values():
        assert not memory.used
        while memory.drop_idle():
            pass
        found.append(memory.context._sequences.count(None))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("overlap", ["off", "on"])
def test_a_thousand_replies_over_eight_places(files, alone, overlap):
    with load(files, parallel=N_PLACES, longest_queue=6, overlap=overlap) as pair:
        crowd = Crowd(pair, alone)
        readers = [threading.Thread(target=crowd.read, args=(seed,), daemon=True) for seed in range(N_READERS)]
        gc.collect()
        for reader in readers:
            reader.start()
        readers_done = threading.Event()
        threading.Thread(target=lambda: ([r.join() for r in readers], readers_done.set()), daemon=True).start()
        memory_early = None
        while not readers_done.wait(0.05):
            if memory_early is None and crowd.n_left < N_REPLIES // 2:
                memory_early = psutil.Process().memory_info().rss
        memory_late = psutil.Process().memory_info().rss
        assert not crowd.wrong, crowd.wrong[:3]
        assert crowd.finished > N_REPLIES // 3
        assert memory_late - memory_early < 32 << 20
        # Every place is free again, and the pair writes as before.
        ids = [token.id for token in pair.generate(QUESTIONS[0], **OPTIONS[0]).tokens]
        assert ids == alone[QUESTIONS[0], 0]
        pair.loaded.engine.close()
        assert places(pair) == [pair.drafter.context.n_sequences, pair.base.context.n_sequences]


@pytest.mark.parametrize("overlap", ["off", "on"])
def test_pairs_that_are_closed_while_eight_replies_are_written_end_them_all(files, overlap):
    for seed in range(3):
        rng = random.Random(seed)
        pair = load(files, parallel=N_PLACES, overlap=overlap)
        streams = [pair.session().stream(rng.choice(QUESTIONS)) for _ in range(12)]
        for stream in rng.sample(streams, 3):
            next(stream)
        pair.close()
        for stream in streams:
            assert stream.result().finish_reason in ("cancelled", "stop", "length")
