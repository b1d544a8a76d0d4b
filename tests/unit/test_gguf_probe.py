"""Loading a model in a child process, and remembering that it loads."""

import json
import sys
from pathlib import Path

import pytest

from edge_wsd.demo.files import drafter_path
from edge_wsd.errors import KernelError, ModelFileError, OptionError
from edge_wsd.llama import kernels, library
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.models.gguf.check import check_gguf
from edge_wsd.models.gguf.header import read_header
from edge_wsd.models.probe import trial as probe
from edge_wsd.models.probe.cache import ProbeCache
from edge_wsd.models.probe.trial import Candidate, probe_command, probe_model, probe_models
from tests.tiny_models import TinyModel, string, u32


@pytest.fixture
def cache(tmp_path: Path) -> ProbeCache:
    return ProbeCache(tmp_path / "cache" / "probed.json")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return TinyModel().write(tmp_path / "tiny.gguf")


def python(source: str) -> list[str]:
    """A child that runs `source` instead of llama.cpp."""
    return [sys.executable, "-c", source]


BEGIN = (
    "import json, os, sys, time; paths = [json.loads(each)['path'] for each in sys.argv[1:]]; "
    "print(json.dumps({'begin': paths[0]}), flush=True); "
)
LOADS = BEGIN + "[print(json.dumps({'end': path, 'loads': True})) for path in paths]"
CRASHES = BEGIN + "print('last words', file=sys.stderr, flush=True); os.abort()"


def test_a_model_that_loads_is_probed_once(model: Path, cache: ProbeCache) -> None:
    probe_model(model, cache=cache)
    probe_model(model, cache=cache, command=python(CRASHES))  # remembered: no child is started


def test_a_model_that_was_written_to_is_probed_again(model: Path, cache: ProbeCache) -> None:
    probe_model(model, cache=cache, command=python(LOADS))
    TinyModel(n_ctx=128, n_layers=1).write(model)
    with pytest.raises(ModelFileError, match="crashes on it"):
        probe_model(model, cache=cache, command=python(CRASHES))


def test_a_model_that_replaced_another_of_its_size_is_probed_again(model: Path, cache: ProbeCache) -> None:
    probe_model(model, cache=cache, command=python(LOADS))
    TinyModel(seed=1).write(model.with_name("new.gguf")).replace(model)
    with pytest.raises(ModelFileError, match="crashes on it"):
        probe_model(model, cache=cache, command=python(CRASHES))


def test_another_llama_cpp_probes_again(model: Path, cache: ProbeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    probe_model(model, cache=cache, command=python(LOADS))
    monkeypatch.setattr("edge_wsd.models.probe.trial.version", lambda name: "0.0.0")
    with pytest.raises(ModelFileError, match="crashes on it"):
        probe_model(model, cache=cache, command=python(CRASHES))


def test_llama_cpps_own_reason_is_told(tmp_path: Path, cache: ProbeCache) -> None:
    model = TinyModel()
    model.metadata["tokenizer.ggml.pre"] = string("nobody-knows")
    path = model.write(tmp_path / "odd.gguf")
    check_gguf(path)
    with pytest.raises(ModelFileError, match=r"cannot load it: .*unknown pre-tokenizer type: 'nobody-knows'"):
        probe_model(path, cache=cache)
    assert not cache.path.exists()


def test_an_assertion_in_llama_cpp_kills_the_child_only(tmp_path: Path, cache: ProbeCache) -> None:
    model = TinyModel()
    model.metadata["llama.block_count"] = u32(0)  # the static check would have refused it
    with pytest.raises(ModelFileError, match=r"crashes on it .*GGML_ASSERT.*n_layer") as caught:
        probe_model(model.write(tmp_path / "dead.gguf"), cache=cache)
    assert "\n" not in str(caught.value)


def test_one_file_may_be_both_models_of_a_pair(model: Path, cache: ProbeCache) -> None:
    """It was tried twice, ended twice, counted once, and called damaged."""
    probe_models([Candidate(model, read_header(model))] * 2, cache=cache)


def test_a_file_is_not_blamed_where_llama_cpp_runs_nothing(
    tmp_path: Path, cache: ProbeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build for another processor ended the child, and the file was called damaged."""

    def nothing_holds() -> None:
        raise KernelError("llama.cpp does not work on this processor")

    model = TinyModel()
    model.metadata["llama.block_count"] = u32(0)
    path = model.write(tmp_path / "dead.gguf")
    monkeypatch.setattr(kernels, "verdict", nothing_holds)
    with pytest.raises(KernelError):
        probe_model(path, cache=cache)
    with pytest.raises(ModelFileError):  # another program's child says nothing of ours
        probe_model(path, cache=cache, command=python(CRASHES))


def test_a_crash_is_told_with_the_childs_last_words(model: Path, cache: ProbeCache) -> None:
    with pytest.raises(ModelFileError, match="last words"):
        probe_model(model, cache=cache, command=python(CRASHES))


def test_a_crash_after_the_verdict_is_a_crash(model: Path, cache: ProbeCache) -> None:
    with pytest.raises(ModelFileError, match=r"crashes on it \(exit code 3\)"):
        probe_model(model, cache=cache, command=python(LOADS + "; sys.exit(3)"))


def test_a_child_that_hangs_is_ended(model: Path, cache: ProbeCache) -> None:
    with pytest.raises(ModelFileError, match="did not load it within"):
        probe_model(model, cache=cache, command=python(BEGIN + "time.sleep(600)"), timeout_s=0.5)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process allocates")
def test_a_child_that_takes_gigabytes_is_refused_them(model: Path, cache: ProbeCache) -> None:
    # nothing bounded it: one file could take all memory of the machine
    greedy = BEGIN + (
        "from edge_wsd.child_process import limit_memory; limit_memory(json.loads(sys.argv[1])['memory_bytes']); "
        "taken = bytearray(64 << 30)"
    )
    with pytest.raises(ModelFileError, match=r"tiny\.gguf: llama\.cpp wants more memory .* than the \d.* GiB"):
        probe_model(model, cache=cache, command=python(greedy))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process allocates")
@pytest.mark.parametrize("settings", [None, ModelSettings(context_length=64, batch=32)])
def test_the_child_obeys_its_limit(
    settings: ModelSettings | None, model: Path, cache: ProbeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library.supports_offload():
        pytest.skip("with a GPU there is no limit: its driver maps far more than it takes")
    for name in ("MEMORY_BYTES", "MEMORY_BYTES_PER_THREAD", "MEMORY_PER_HEADER_BYTE"):
        monkeypatch.setattr(probe, name, 1)
    with pytest.raises(ModelFileError, match=r"tiny\.gguf: llama\.cpp wants more memory for it than the \d+ MiB"):
        probe_model(model, settings=settings, cache=cache)
    assert not cache.path.exists()


def test_a_child_that_does_not_start_is_not_blamed_on_the_file(model: Path, cache: ProbeCache) -> None:
    with pytest.raises(ModelFileError, match=r"could not be tried.*No module named 'nowhere'"):
        probe_model(model, cache=cache, command=python("import nowhere"))
    with pytest.raises(ModelFileError, match="does not start"):
        probe_model(model, cache=cache, command=["/nowhere/python"])


def test_a_frozen_application_must_say_how_to_start_the_child(
    model: Path, cache: ProbeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(OptionError, match="a frozen application must say"):
        probe_command()
    with pytest.raises(OptionError):
        probe_model(model, cache=cache)
    probe_model(model, cache=cache, command=python(LOADS))


def test_models_inside_the_package_are_not_probed(cache: ProbeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    probe_model(drafter_path(), cache=cache, command=python(CRASHES))


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"\xff\xfe", b'{"format": 1, "models": 7}', b"[" * 100_000])
def test_a_damaged_cache_costs_a_probe_and_is_mended(model: Path, cache: ProbeCache, damage: bytes) -> None:
    cache.path.parent.mkdir()
    cache.path.write_bytes(damage)
    probe_model(model, cache=cache, command=python(LOADS))
    probe_model(model, cache=cache, command=python(CRASHES))
    assert list(json.loads(cache.path.read_text())["models"]) == [str(model)]


def test_a_cache_that_cannot_be_written_is_a_warning(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    probe_model(model, cache=ProbeCache(tmp_path / "file" / "probed.json"), command=python(LOADS))
    assert "models will be probed again" in caplog.text


def test_writing_the_cache_leaves_no_temporary_files_and_forgets_the_oldest(cache: ProbeCache) -> None:
    for number in range(503):
        cache.add(f"/models/{number}", "stamp")
    assert [path.name for path in cache.path.parent.iterdir()] == ["probed.json"]
    assert not cache.holds("/models/2", "stamp")
    assert cache.holds("/models/3", "stamp")
    assert not cache.holds("/models/3", "another")


def test_the_cache_lies_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_WSD_CACHE", str(tmp_path))
    assert ProbeCache().path.parent == tmp_path


def test_a_missing_model_is_a_typed_error(tmp_path: Path, cache: ProbeCache) -> None:
    with pytest.raises(ModelFileError, match="cannot be read"):
        probe_model(tmp_path / "none.gguf", cache=cache)
