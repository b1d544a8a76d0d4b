"""Names of models, and the store: what it finds, what it refuses, and what damage does to it."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest

from edge_wsd.errors import HubError, StoreError
from edge_wsd.models.store.hub import RemoteFile, Snapshot
from edge_wsd.models.store.local import STORE_VARIABLE, Store, find_model, folder_name, store_root
from edge_wsd.models.store.manifest import FILE_NAME, Manifest, StoredFile, is_safe_path
from edge_wsd.models.store.model_name import HubModel, LocalFile, StoreName, parse_model_name
from edge_wsd.models.store.repository import checkpoint_files, choose_files, gguf_candidates, type_of

CONTENT = b"GGUF and more"


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Store(tmp_path / "store")


def manifest_of(name: str, **changes: object) -> Manifest:
    repo, _, type_name = name.partition(":")
    file = StoredFile("abc/m.gguf", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "m.gguf")
    values = {
        "repo": repo, "type": type_name, "revision": "a" * 40, "asked": name, "asked_revision": None,
        "licence": "mit", "made": "ready GGUF", "files": (file,), "created": "2026-01-01T00:00:00Z",
        "endpoint": "https://huggingface.co", "edge_wsd": "0.1.0",
    }  # fmt: skip
    return Manifest(**{**values, **changes})


def put(store: Store, name: str, **changes: object) -> Path:
    about = manifest_of(name, **changes)
    folder = store.folder(about.repo, about.type)
    (folder / "abc").mkdir(parents=True)
    (folder / "abc" / "m.gguf").write_bytes(CONTENT)
    (folder / FILE_NAME).write_bytes(about.to_json())
    return folder


@pytest.mark.parametrize(
    "text, meant",
    [
        ("owner/repo", HubModel("owner/repo")),
        ("owner/repo:Q4_K_M", HubModel("owner/repo", "Q4_K_M")),
        ("owner/repo:one-Q8_0.gguf", HubModel("owner/repo", "one-Q8_0")),
        ("owner/one-Q8_0.gguf", LocalFile(Path("owner/one-Q8_0.gguf"))),
        ("owner/repo-1.5_x:UD-Q4_K_XL", HubModel("owner/repo-1.5_x", "UD-Q4_K_XL")),
        ("https://huggingface.co/owner/repo/", HubModel("owner/repo")),
        ("hf.co/owner/repo:F16", HubModel("owner/repo", "F16")),
        ("Pilot-3B", StoreName("Pilot-3B")),
        ("Pilot-3B:Q8_0", StoreName("Pilot-3B", "Q8_0")),
        ("model.gguf", LocalFile(Path("model.gguf"))),
        ("owner/repo.GGUF", LocalFile(Path("owner/repo.GGUF"))),
        ("./owner/repo", LocalFile(Path("owner/repo"))),
        ("../x", LocalFile(Path("../x"))),
        ("/x/y", LocalFile(Path("/x/y"))),
        ("C:\\models\\x", LocalFile(Path("C:\\models\\x"))),
        ("C:/models/x", LocalFile(Path("C:/models/x"))),
        (".\\x", LocalFile(Path(".\\x"))),
    ],
)
def test_a_name_means_one_thing(store, text, meant):
    assert parse_model_name(text) == meant


def test_what_exists_is_a_file_whatever_it_looks_like(store, tmp_path):
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "repo").write_bytes(b"x")
    assert parse_model_name("owner/repo") == LocalFile(Path("owner/repo"))
    assert parse_model_name("~/x.gguf") == LocalFile(Path.home() / "x.gguf")


@pytest.mark.parametrize(
    "text",
    ["", " ", "a/b/c", "a/b:", "a/b:c:d", "a--b/c", "a/b..", ".a/b", "a/b-", "x\0y", "a b", "~nobody-at-all/x"],
)
def test_what_can_be_no_name_is_told(store, text):
    with pytest.raises(StoreError):
        parse_model_name(text)


@pytest.mark.parametrize(
    "repo, type_name", [("../b", "x"), ("a/b", "../x"), ("a/b", "x\\y"), ("a/b", "x:y"), ("a/b", "x.")]
)
def test_no_name_leaves_the_store(repo, type_name):
    with pytest.raises(StoreError):
        folder_name(repo, type_name)


def test_names_are_found_in_any_case_and_without_the_owner(store):
    folder = put(store, "Owner/Model:Q4_K_M")
    for name in ("Owner/Model:Q4_K_M", "owner/model:q4_k_m", "Owner/Model", "Model", "model:Q4_K_M"):
        assert find_model(name, store) == folder / "abc" / "m.gguf", name
    assert store.find("Model:Q8_0") is None and store.find("Other") is None and store.find("./x.gguf") is None


def test_a_name_that_fits_several_is_refused_but_the_default_type_is_meant_without_one(store):
    put(store, "owner/model:Q8_0")
    put(store, "owner/model:F16")
    with pytest.raises(StoreError, match="owner/model:F16, owner/model:Q8_0; give the name in full"):
        find_model("owner/model", store)
    put(store, "owner/model:Q4_K_M")
    assert store.find("model").name == "owner/model:Q4_K_M"
    put(store, "another/model:Q4_K_M")
    with pytest.raises(StoreError, match="several models"):
        find_model("model", store)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("owner/modle:Q8_0", "fetch it with `edge-wsd pull owner/modle:Q8_0`; did you mean owner/model:Q8_0?"),
        ("owner/model:F16", "did you mean owner/model:Q8_0?"),
        ("modell", "did you mean owner/model:Q8_0?"),
        ("nothing-alike", "the store has owner/model:Q8_0, and `edge-wsd pull OWNER/REPO:Q4_K_M` fetches from"),
        ("new/one", "`edge-wsd pull new/one:Q4_K_M`"),
    ],
)
def test_a_missing_model_says_how_to_get_it(store, name, expected):
    put(store, "owner/model:Q8_0")
    with pytest.raises(StoreError, match=expected):
        find_model(name, store)


def test_an_empty_store_is_no_error_and_a_variable_names_another(store, monkeypatch):
    assert store.models() == [] and store.unfinished() == [] and not store.root.exists()
    monkeypatch.setenv(STORE_VARIABLE, "elsewhere")
    assert store_root() == Path.cwd() / "elsewhere"


DAMAGE = {
    "no JSON": b"{",
    "deep": b"[" * 100_000,
    "no JSON object": b"[]",
    "later format": b'{"format": 99}',
    "no files": None,
    "bytes": bytes(range(256)),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_manifest_is_one_line_and_hides_no_other_model(store, case):
    put(store, "a/good:Q8_0")
    folder = put(store, "b/bad:Q8_0")
    content = DAMAGE[case]
    if content is None:
        content = json.dumps({**json.loads((folder / FILE_NAME).read_text()), "files": []}).encode()
    (folder / FILE_NAME).write_bytes(content)
    models, problems = store.survey()
    assert [model.name for model in models] == ["a/good:Q8_0"]
    assert len(problems) == 1 and problems[0].startswith("b/bad:q8_0 in the store is damaged: ")
    assert "\n" not in problems[0] and "`edge-wsd pull b/bad:q8_0`" in problems[0]
    with pytest.raises(StoreError, match="damaged"):
        store.find("b/bad:Q8_0")
    assert store.remove("b/bad:Q8_0") > 0 and store.survey()[1] == []


@pytest.mark.parametrize("name", ["../m.gguf", "/etc/passwd", "C:/x", "a\\b", "a//b", "./a", ""])
def test_a_manifest_names_no_file_outside_its_folder(store, name):
    assert not is_safe_path(name)
    folder = put(store, "a/b:Q8_0")
    values = json.loads((folder / FILE_NAME).read_text())
    values["files"][0]["name"] = name
    (folder / FILE_NAME).write_text(json.dumps(values))
    assert "a file's name" in store.survey()[1][0]


def test_a_file_that_is_missing_or_short_is_damage(store):
    folder = put(store, "a/b:Q8_0")
    (folder / "abc" / "m.gguf").write_bytes(CONTENT[:-1])
    assert "missing or not 13 bytes" in store.survey()[1][0]
    (folder / "abc" / "m.gguf").unlink()
    assert "missing" in store.survey()[1][0]


def test_a_manifest_in_the_folder_of_another_model_is_damage(store):
    folder = put(store, "a/b:Q8_0")
    folder.rename(store.root / "a--c--q8_0")
    assert "that of a/b:Q8_0" in store.survey()[1][0]


def test_a_manifest_survives_writing_and_reading(store):
    put(store, "a/b:Q8_0", licence="ä\n", tokenizer_texts=10, tokenizer_equal=9)
    assert store.find("a/b:Q8_0").manifest == manifest_of(
        "a/b:Q8_0", licence="ä\n", tokenizer_texts=10, tokenizer_equal=9
    )


def test_what_cannot_be_removed_is_told_what_there_is(store):
    """`models rm nope` advised to pull OWNER/nope."""
    with pytest.raises(StoreError, match=r"no model 'nope' in the store to remove; the store is empty$"):
        store.removable("nope")
    for number in range(7):
        put(store, f"owner/model-{number}:Q8_0")
    with pytest.raises(StoreError, match=r"to remove; the store has owner/model-0:Q8_0, .* and 2 more$"):
        store.removable("some/thing:F16")
    with pytest.raises(StoreError, match=r"did you mean owner/model-1:Q8_0"):
        store.removable("model-1x")


def test_one_holder_of_a_lock_at_a_time_and_the_other_is_told_that_it_waits(store):
    name, order = HubModel("a/b", "Q8_0"), []
    held, waited = threading.Event(), threading.Event()

    def other():
        held.wait()
        with store.lock(HubModel("A/B", "q8_0"), waiting=waited.set):
            order.append("second")

    thread = threading.Thread(target=other)
    thread.start()
    with store.lock(name):
        held.set()
        assert waited.wait(20)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_lock_that_is_waited_for_can_be_given_up(store):
    def give_up():
        raise StoreError("enough")

    with store.lock(HubModel("a/b", "Q8_0")):
        with pytest.raises(StoreError, match="enough"), store.lock(HubModel("a/b", "Q8_0"), waiting=give_up):
            pass
        with store.lock(HubModel("a/b", "F16"), waiting=give_up):
            pass  # another model


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_cannot_be_written_is_one_line(store):
    store.root.mkdir()
    store.root.chmod(0o500)
    with pytest.raises(StoreError, match=f"cannot be written: .*{STORE_VARIABLE}"), store.lock(HubModel("a/b", "F16")):
        pass


def test_a_store_that_is_a_file_is_one_line(store):
    store.root.write_bytes(b"")
    assert store.models() == []
    with pytest.raises(StoreError, match="cannot be written"), store.lock(HubModel("a/b", "F16")):
        pass


def test_what_a_cut_deletion_left_goes_with_the_next(store):
    put(store, "a/b:Q8_0")
    left = store.root / ".trash-1" / "c--d--q8_0"
    left.mkdir(parents=True)
    (left / "m.gguf").write_bytes(CONTENT)
    assert [model.name for model in store.models()] == ["a/b:Q8_0"] and store.survey()[1] == []
    store.remove("a/b:Q8_0")
    assert not left.exists()


def test_removing_takes_what_a_stopped_pull_left_as_well(store):
    put(store, "a/b:Q8_0")
    staging = store.staging("a/b", "Q8_0")
    staging.mkdir(parents=True)
    (staging / "x.incomplete").write_bytes(bytes(100))
    assert [(one.name, one.n_bytes) for one in store.unfinished()] == [("a/b:q8_0", 100)]
    store.remove("b:Q8_0")
    assert store.models() == [] and store.unfinished() == []
    assert [path.name for path in store.root.rglob("*") if path.is_file()] == ["a--b--q8_0.lock"]
    for name in ("a/b:Q8_0", "b", "x.gguf"):
        with pytest.raises(StoreError):
            store.remove(name)


@pytest.mark.parametrize(
    "path, type_name",
    [
        ("Llama-3.1-8B-Instruct-Q4_K_M", "Q4_K_M"),
        ("llama-2-7b.Q5_K_S", "Q5_K_S"),
        ("Q6_K/Model-Q6_K", "Q6_K"),
        ("BF16/model", "BF16"),
        ("ggml-model-q4_0", "Q4_0"),
        ("Qwen2.5-7B-fp16", "F16"),
        ("Qwen3-UD-Q4_K_XL", "UD-Q4_K_XL"),
        ("gpt-mxfp4", "MXFP4"),
        ("Model.i1-IQ3_XXS", "IQ3_XXS"),
        ("BitNet-TQ1_0", "TQ1_0"),
        ("plain-model", "plain-model"),
    ],
)
def test_the_type_is_read_from_a_files_name(path, type_name):
    assert type_of(path) == type_name


def snapshot(*paths: str) -> Snapshot:
    return Snapshot("a/b", "c" * 40, None, tuple(RemoteFile(path, 1, None, None) for path in paths), None)


def test_projectors_matrices_and_adapters_are_no_models():
    files = snapshot("m-Q4_0.gguf", "mmproj-m-F16.gguf", "m.imatrix.gguf", "lora-F16.gguf", "m.txt").files
    assert [one.stem for one in gguf_candidates(files)] == ["m-Q4_0"]


@pytest.mark.parametrize("stem", ["m-imatrix-Q4_K_M", "m-lora-merged-Q8_0", "lora_m.Q5_0", "Q4_0/m-lora-Q4_0"])
def test_a_quantized_model_may_have_the_name_of_a_matrix_or_adapter(stem):
    """Such files were hidden, and the repository said to hold no model."""
    assert choose_files(snapshot(f"{stem}.gguf", "config.json"), None).files[0].path == f"{stem}.gguf"


@pytest.mark.parametrize("name", ["lora-F16", "m.imatrix", "mmproj-F16", "LORA-f16"])
def test_whatever_is_named_in_full_is_taken(name):
    """Files with `imatrix` or `lora` in their names were hidden even then."""
    files = snapshot("m-F16.gguf", "lora-F16.gguf", "m.imatrix.gguf", "mmproj-F16.gguf")
    assert choose_files(files, name).files[0].path.lower() == f"{name}.gguf".lower()
    assert choose_files(files, "F16").files[0].path == "m-F16.gguf"


def test_a_repository_with_nothing_but_adapters_says_how_to_take_one():
    with pytest.raises(HubError, match=r"lora-F16, m\.imatrix seem to be .* a/b:lora-F16"):
        choose_files(snapshot("lora-F16.gguf", "m.imatrix.gguf"), None)


def test_a_checkpoint_is_its_texts_and_one_copy_of_its_weights():
    extra = ("consolidated.safetensors", "pytorch_model.bin", "original/params.json", "onnx/model.onnx", "tf_model.h5")
    texts = ("config.json", "tokenizer.json", "tokenizer.model", "chat_template.jinja", "README.md")
    shards = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    found = {file.path for file in checkpoint_files(snapshot(*extra, *texts, *shards).files)}
    assert found == {*texts, *shards}
    found = {file.path for file in checkpoint_files(snapshot(*texts, *shards, "model.safetensors").files)}
    assert found == {*texts, "model.safetensors"}
