"""Models that are small or of an unknown build are used in the child process, as they will be used afterwards."""

import json
import struct
import sys
from pathlib import Path

import pytest

from edge_wsd.errors import LogitsError, ModelFileError
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.models.gguf.check import check_gguf
from edge_wsd.models.gguf.header import read_header
from edge_wsd.models.probe import trial as probe
from edge_wsd.models.probe.cache import ProbeCache
from edge_wsd.models.probe.trial import Candidate, probe_model, probe_models
from tests.other_architectures import gpt2, renamed
from tests.tiny_models import Tensor, TinyModel, u32

SETTINGS = ModelSettings(context_length=64, batch=32)
BF16 = 30
# A child that writes down what it is asked, and finds nothing wrong.
NOTES = (
    "import json, sys\n"
    "requests = [json.loads(each) for each in sys.argv[2:]]\n"
    "open(sys.argv[1], 'a').write(json.dumps(requests) + '\\n')\n"
    "for each in requests:\n"
    "    print(json.dumps({'begin': each['path']}))\n"
    "    print(json.dumps({'end': each['path'], 'loads': True, 'computes': True}))\n"
)


@pytest.fixture
def cache(tmp_path: Path) -> ProbeCache:
    return ProbeCache(tmp_path / "cache" / "probed.json")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def writing(notes: Path) -> list[str]:
    return [sys.executable, "-c", NOTES, str(notes)]


def asked(notes: Path) -> list[list[dict[str, object]]]:
    return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []


def deadly() -> TinyModel:
    """It loads; llama.cpp ends the process when it multiplies with the norm, which the static check refuses."""
    model = renamed(TinyModel(), "exaone")
    norm = model.tensor("blk.0.ffn_norm.weight")
    norm.type, norm.data = BF16, bytes(2 * norm.n_elements)
    return model


def test_what_dies_in_the_first_decode_is_refused_with_the_reason(tmp_path: Path, cache: ProbeCache) -> None:
    # it passed: nothing was decoded, and `run` died
    path = deadly().write(tmp_path / "dead.gguf")
    header = read_header(path)
    probe_model(path, header=header, cache=cache)  # it loads
    with pytest.raises(ModelFileError, match=r"crashes on it .*unsupported types: .*bf16") as caught:
        probe_model(path, header=header, settings=SETTINGS, cache=cache)
    assert "\n" not in str(caught.value) and "/ggml-cpu/" not in str(caught.value)


@pytest.mark.parametrize(
    "model", [TinyModel(n_ctx=16), TinyModel(n_ctx=300), gpt2(n_ctx=40), renamed(TinyModel(), "exaone")]
)
def test_sound_models_pass_with_every_kind_of_settings(model: TinyModel, tmp_path: Path, cache: ProbeCache) -> None:
    path = model.write(tmp_path / "model.gguf")
    for settings in (
        ModelSettings(),
        ModelSettings(context_length=16, batch=8, kv_type="f32", flash_attention="off"),
        ModelSettings(context_length=17, kv_type="q8_0"),  # heads of 8: no context can be had, which is told later
        ModelSettings(context_length=1000),  # more positions than the gpt2 has, which is told later
    ):
        probe_model(path, header=check_gguf(path), settings=settings, cache=cache)


def test_weights_of_nan_are_told_before_the_model_is_used(tmp_path: Path, cache: ProbeCache) -> None:
    model = TinyModel()
    norm = model.tensor("output_norm.weight")
    norm.data = struct.pack("<f", float("nan")) * norm.n_elements
    path = model.write(tmp_path / "nan.gguf")
    with pytest.raises(LogitsError, match=r"nan\.gguf: .*NaN.*check the file"):
        probe_model(path, settings=SETTINGS, cache=cache)
    assert not cache.path.exists()


def test_large_files_are_used_only_where_the_checker_does_not_know_their_tensors(
    tmp_path: Path, cache: ProbeCache, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = TinyModel().write(tmp_path / "known.gguf")
    unknown = gpt2().write(tmp_path / "unknown.gguf")
    candidates = [Candidate(path, check_gguf(path), SETTINGS) for path in (known, unknown)]
    monkeypatch.setattr(probe, "SMALL_BYTES", 1000)
    probe_models(candidates, cache=cache, command=writing(notes))
    monkeypatch.setattr(probe, "SMALL_BYTES", 1 << 30)
    probe_models(candidates, cache=cache, command=writing(notes))
    assert [[bool(each["settings"]) for each in requests] for requests in asked(notes)] == [[False, True], [True]]


def test_large_files_of_known_architectures_are_used_where_the_checker_does_not_know_all_of_them(
    tmp_path: Path, cache: ProbeCache, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the architecture's name was enough: what else llama.cpp reads under it was never tried
    monkeypatch.setattr(probe, "SMALL_BYTES", 1000)
    known, tensor, number = TinyModel(), TinyModel(), TinyModel()
    known.tensors.append(Tensor("blk.0.attn_q.bias", (known.n_embd,)))
    tensor.tensors.append(Tensor("blk.1.something_new.weight", (tensor.n_embd, 32)))
    number.metadata["llama.rope.dimension_count_swa"] = u32(17)
    models = {"known": known, "tensor": tensor, "number": number}
    paths = [model.write(tmp_path / f"{name}.gguf") for name, model in models.items()]
    probe_models([Candidate(path, check_gguf(path), SETTINGS) for path in paths], cache=cache, command=writing(notes))
    assert [bool(each["settings"]) for each in asked(notes)[0]] == [False, True, True]


def test_a_model_is_tried_again_with_settings_that_make_another_pass(
    tmp_path: Path, cache: ProbeCache, notes: Path
) -> None:
    path = TinyModel().write(tmp_path / "model.gguf")
    for settings in (SETTINGS, SETTINGS, ModelSettings(context_length=64, batch=32, threads=3), None, None):
        probe_model(path, settings=settings, cache=cache, command=writing(notes))
    assert len(asked(notes)) == 2  # threads change nothing
    for change in ({"kv_type": "f32"}, {"flash_attention": "off"}, {"batch": 16}, {"context_length": 65}):
        n_before = len(asked(notes))
        probe_model(path, settings=ModelSettings(**{"batch": 32, **change}), cache=cache, command=writing(notes))
        assert len(asked(notes)) == n_before + 1


def test_two_models_share_a_child_and_a_crash_belongs_to_one(tmp_path: Path, cache: ProbeCache, notes: Path) -> None:
    good, dead = TinyModel().write(tmp_path / "good.gguf"), deadly().write(tmp_path / "dead.gguf")
    pair = [Candidate(path, read_header(path), SETTINGS) for path in (good, dead)]
    for candidates in (pair, pair[::-1]):
        with pytest.raises(ModelFileError, match=r"dead\.gguf: llama\.cpp crashes on it"):
            probe_models(candidates, cache=cache)
    probe_models(pair, cache=cache, command=writing(notes))
    assert len(asked(notes)) == 1 and len(asked(notes)[0]) == 2


def test_what_a_child_may_allocate_grows_with_what_is_planned(tmp_path: Path, cache: ProbeCache, notes: Path) -> None:
    paths = [TinyModel(n_layers=n).write(tmp_path / f"{n}.gguf") for n in (1, 30)]
    for settings in (ModelSettings(context_length=256), ModelSettings(context_length=100_000)):
        candidates = [Candidate(path, check_gguf(path), settings) for path in paths]
        probe_models(candidates, cache=cache, command=writing(notes))
    small, deep, long, both = (int(str(each["memory_bytes"])) for requests in asked(notes) for each in requests)
    assert 1 << 30 < small < deep < both and small < long < both
    kv_cache_bytes = 30 * 2 * 16 * 100_000 * 2  # layers, keys and values, width, tokens, bytes of F16
    assert kv_cache_bytes < both - small < 4 * kv_cache_bytes + (1 << 28)


def test_progress_is_told_only_where_something_is_tried(tmp_path: Path, cache: ProbeCache, notes: Path) -> None:
    path = TinyModel().write(tmp_path / "model.gguf")
    told: list[float] = []
    for _ in range(2):
        candidate = Candidate(path, check_gguf(path), SETTINGS)
        probe_models([candidate], cache=cache, command=writing(notes), progress=told.append)
    assert told == [0.0, 1.0]
