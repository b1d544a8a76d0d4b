"""A converted file against its checkpoint: what is right passes, and each kind of damage is found and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from edge_wsd._native import CancelFlag  # noqa: E402
from edge_wsd.converters import convert  # noqa: E402
from edge_wsd.converters.verification.checkpoint_logits import CheckpointLogits  # noqa: E402
from edge_wsd.converters.verification.comparison import Tally  # noqa: E402
from edge_wsd.converters.verification.logits import GgufLogits, measure  # noqa: E402
from edge_wsd.converters.verification.quant_comparison import compare_quants  # noqa: E402
from edge_wsd.converters.verification.text_windows import cut_windows  # noqa: E402
from edge_wsd.converters.verification.verify import Verification, verify  # noqa: E402
from edge_wsd.demo.files import base_path  # noqa: E402
from edge_wsd.errors import (  # noqa: E402
    Cancelled,
    ConversionError,
    LogitsError,
    ModelFileError,
    VerificationError,
)
from edge_wsd.models.probe import trial as probe  # noqa: E402
from tests.checkpoints import make_checkpoint  # noqa: E402
from tests.devices import rounds_alike  # noqa: E402
from tests.oracle.float_gguf import write_float_gguf  # noqa: E402
from tests.tiny_models import TinyModel  # noqa: E402

TEXT = "How do I list files by size? Use `ls -lS`, or du -sh * | sort -h. Größe, 漢字 and 1234.\n" * 3


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint and its F32 conversion."""
    folder = tmp_path_factory.mktemp("right")
    make_checkpoint(folder / "model", "llama")
    convert(folder / "model", folder / "model.gguf", type="F32")
    return folder / "model", folder / "model.gguf"


def checked(checkpoint: Path, file: Path, **how: object) -> Verification:
    return verify(checkpoint, file, texts=[TEXT], threads=1, **how)


def converted_with(right: tuple[Path, Path], tmp_path: Path, change: Callable[[Path], None]) -> Path:
    """The conversion of a copy of the checkpoint that `change` has changed."""
    shutil.copytree(right[0], tmp_path / "changed")
    change(tmp_path / "changed")
    convert(tmp_path / "changed", tmp_path / "changed.gguf", type="F32")
    return tmp_path / "changed.gguf"


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_a_right_conversion_passes(family: str, right: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint, file = right
    if family != "llama":
        checkpoint, file = make_checkpoint(tmp_path / "m", family), tmp_path / "m.gguf"
        convert(checkpoint, file, type="F32")
    result = checked(checkpoint, file)
    assert result.holds and result.failures == []
    assert result.logits_limit == (1e-3 if family == "llama" else 1e-2)
    assert result.logits.max_delta < (1e-4 if family == "llama" else 1e-2)
    assert result.logits.top1_agreement == 1.0
    assert result.tokenizer_share >= 0.999 and result.tokenizer.n_texts >= 1000
    assert result.template.n_equal == result.template.n_conversations > 5


@rounds_alike
def test_what_rounding_makes_of_a_deep_model_passes(tmp_path: Path) -> None:
    deep = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 12}
    checkpoint, file = make_checkpoint(tmp_path / "m", "llama", **deep), tmp_path / "m.gguf"
    convert(checkpoint, file, type="F32")
    result = verify(checkpoint, file, threads=1, max_tokens=1000)
    assert result.failures == [] and result.logits.mean_kl < 1e-8


def test_chats_are_rendered_also_for_a_checkpoint_with_tokenizer_model_alone(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "m", "mistral")
    assert not (checkpoint / "tokenizer.json").exists()
    (checkpoint / "chat_template.jinja").write_text("{{ bos_token }}{{ messages[-1].content }}{{ eos_token }}")
    convert(checkpoint, tmp_path / "m.gguf", type="F32")
    result = checked(checkpoint, tmp_path / "m.gguf")
    assert result.template_holds and result.template.missing is None and result.logits.max_delta < 1e-4


def test_a_type_that_is_not_exact_has_no_limit_for_logits(right: tuple[Path, Path], tmp_path: Path) -> None:
    convert(right[0], tmp_path / "q.gguf", type="Q8_0")
    result = checked(right[0], tmp_path / "q.gguf")
    assert result.holds and result.logits_limit is None and result.type == "Q8_0"
    assert result.logits.max_delta > 1e-3


def test_one_tensor_changed_by_a_little_fails_the_logits_alone(right: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copy(right[1], tmp_path / "changed.gguf")
    reader = gguf.GGUFReader(tmp_path / "changed.gguf", "r+")
    tensor = next(tensor for tensor in reader.tensors if tensor.name == "blk.1.attn_k.weight")
    tensor.data[3, 5] += 0.05
    reader.data.flush()
    result = checked(right[0], tmp_path / "changed.gguf")
    assert [failure.split(":")[0] for failure in result.failures] == ["logits"]
    assert result.tokenizer_holds and result.template_holds


def test_a_swapped_token_fails_the_tokenizer_alone(right: tuple[Path, Path], tmp_path: Path) -> None:
    def swap(folder: Path) -> None:
        content = json.loads((folder / "tokenizer.json").read_text())
        ids = content["model"]["vocab"]
        ids["a"], ids["e"] = ids["e"], ids["a"]
        (folder / "tokenizer.json").write_text(json.dumps(content))

    result = checked(right[0], converted_with(right, tmp_path, swap))
    assert [failure.split(":")[0] for failure in result.failures] == ["tokenizer"]
    assert result.tokenizer.first_difference is not None


def test_a_changed_template_fails_the_template_alone_and_the_place_is_shown(
    right: tuple[Path, Path], tmp_path: Path
) -> None:
    def change(folder: Path) -> None:
        path = folder / "chat_template.jinja"
        path.write_text(path.read_text() + "{% if messages | length > 2 %}!{% endif %}")

    result = checked(right[0], converted_with(right, tmp_path, change))
    assert [failure.split(":")[0] for failure in result.failures] == ["chat template"]
    difference = result.template.first_difference
    assert difference is not None and difference.conversation == "several turns"
    assert difference.expected == "nothing more" and difference.found == "'!'"


@pytest.mark.parametrize(("side", "missing"), [("gguf", "gguf"), ("checkpoint", "checkpoint"), ("both", "both")])
def test_a_template_on_one_side_alone_fails(side: str, missing: str, right: tuple[Path, Path], tmp_path: Path) -> None:
    bare = converted_with(right, tmp_path, lambda folder: (folder / "chat_template.jinja").unlink())
    without = tmp_path / "changed"
    checkpoint, file = {
        "gguf": (right[0], bare), "checkpoint": (without, right[1]), "both": (without, bare),
    }[side]  # fmt: skip
    result = checked(checkpoint, file)
    assert result.template.missing == missing
    assert result.holds is (side == "both")


def test_a_role_refused_by_both_counts_as_equal(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "m", "llama")
    template = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ m.content }}"
    (checkpoint / "chat_template.jinja").write_text(template + "{% endfor %}")
    convert(checkpoint, tmp_path / "m.gguf", type="F32")
    result = checked(checkpoint, tmp_path / "m.gguf")
    assert result.template_holds and result.template.n_refused == 2


def test_what_cannot_be_compared_is_said_before_weights_are_loaded(
    right: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("edge_wsd.converters.verification.verify.GgufLogits", refuse)
    monkeypatch.setattr("edge_wsd.converters.verification.verify.CheckpointLogits", refuse)
    other = TinyModel().write(tmp_path / "other.gguf")
    with pytest.raises(VerificationError, match=r"has 3\d\d tokens, .* has 800"):
        verify(right[0], other)
    qwen = make_checkpoint(tmp_path / "qwen", "qwen2")
    with pytest.raises(VerificationError, match=r"is a llama model, .* a qwen2 model"):
        verify(qwen, right[1])
    with pytest.raises(ConversionError, match="not a folder"):
        verify(right[1], right[1])
    with pytest.raises(ModelFileError, match="safetensors"):
        verify(right[0], right[0] / "model.safetensors")
    with pytest.raises(VerificationError, match="a window must have 2 to 512"):
        verify(right[0], right[1], context_length=513)
    with pytest.raises(VerificationError, match="no two tokens"):
        verify(right[0], right[1], texts=[""])


@pytest.mark.parametrize("value", [None, {"quant_method": "bitsandbytes", "load_in_4bit": True}])
def test_a_quantization_config_beside_plain_weights_is_left_out(
    value: object, right: tuple[Path, Path], tmp_path: Path
) -> None:
    """Transformers would quantize what it loads, or ask for a package that does."""

    def leave(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "quantization_config": value}))

    file = converted_with(right, tmp_path, leave)
    assert checked(tmp_path / "changed", file).holds


def test_a_config_that_transformers_refuses_is_one_line(right: tuple[Path, Path], tmp_path: Path) -> None:
    """Its own kinds of errors went through as internal ones."""

    def empty(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "attention_bias": None}))

    file = converted_with(right, tmp_path, empty)
    with pytest.raises(VerificationError, match=r"cannot load it: .*attention_bias") as caught:
        checked(tmp_path / "changed", file)
    assert "\n" not in str(caught.value)


def test_damaged_weights_are_named_by_side(
    right: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(right[1], tmp_path / "nan.gguf")
    reader = gguf.GGUFReader(tmp_path / "nan.gguf", "r+")
    next(tensor for tensor in reader.tensors if tensor.name == "output_norm.weight").data[0] = np.nan
    reader.data.flush()
    with pytest.raises(LogitsError, match=r"nan\.gguf: .* logits are NaN"):
        checked(right[0], tmp_path / "nan.gguf")
    monkeypatch.setattr(probe, "SMALL_BYTES", 0)  # large files are not used beforehand
    with pytest.raises(VerificationError, match=r"nan\.gguf: the prediction at position 1 holds NaN"):
        checked(right[0], tmp_path / "nan.gguf")


def test_a_long_text_is_read_in_windows_and_cut_at_max_tokens(right: tuple[Path, Path]) -> None:
    whole, short = checked(*right, context_length=16), checked(*right, context_length=16, max_tokens=40)
    assert whole.holds and short.holds and short.logits.n_tokens == 40 < whole.logits.n_tokens


def test_a_cancelled_verification_ends_at_once(right: tuple[Path, Path]) -> None:
    flag = CancelFlag()

    def stop(what: str, _done: int, _total: int) -> None:
        if what == "loading":
            flag.set()

    with pytest.raises(Cancelled):
        checked(*right, cancel=flag, progress=stop)


def test_a_model_is_not_loaded_to_its_end_once_nobody_waits_for_it() -> None:
    flag = CancelFlag()
    flag.set()
    with pytest.raises(Cancelled):
        GgufLogits(base_path(), cancel=flag)


def test_windows_hold_every_token_once_behind_a_bos_of_their_own() -> None:
    windows = [window.tolist() for window in cut_windows([[5, 6, 7, 8, 9], [4]], length=3, bos=1)]
    assert windows == [[1, 5, 6], [1, 7, 8], [1, 9], [1, 4]]
    assert [window.tolist() for window in cut_windows([[5, 6, 7]], length=2)] == [[5, 6]]
    assert [w.tolist() for w in cut_windows([[5, 6, 7, 8, 9]], length=3, bos=1, most=3)] == [[1, 5, 6], [1, 7]]


def expected_figures(reference: np.ndarray, model: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """From the definitions, by torch's own functions."""
    p, q = (torch.log_softmax(torch.from_numpy(rows).double(), -1) for rows in (reference, model))
    kl = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1)
    loss_p, loss_q = (torch.nn.functional.nll_loss(x, torch.from_numpy(targets), reduction="none") for x in (p, q))
    n = len(targets)
    return {
        "max_delta": (p - q).abs().max().item(),
        "mean_kl": kl.mean().item(),
        "max_kl": kl.max().item(),
        "kl_99": torch.quantile(kl, 0.99).item(),
        "top1_agreement": (p.argmax(-1) == q.argmax(-1)).double().mean().item(),
        "reference_perplexity": loss_p.mean().exp().item(),
        "perplexity": loss_q.mean().exp().item(),
        "perplexity_error": (loss_q.mean().exp() * loss_q.std() / n**0.5).item(),
        "ratio": (loss_q.mean().exp() / loss_p.mean().exp()).item(),
        "ratio_error": ((loss_q - loss_p).mean().exp() * (loss_q - loss_p).std() / n**0.5).item(),
    }


def test_the_figures_are_those_of_their_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_wsd.converters.verification.comparison._BLOCK_VALUES", 500)
    draw = np.random.default_rng(0)
    reference = draw.normal(0, 3, (150, 60)).astype(np.float32)
    model = reference + draw.normal(0, 0.5, reference.shape).astype(np.float32)
    targets = draw.integers(0, 60, 150)
    tally = Tally()
    for part in (slice(0, 64), slice(64, 128), slice(128, 150)):
        tally.add(reference[part], model[part], targets[part])
    result = tally.result()
    assert result.n_tokens == 150
    for name, value in expected_figures(reference, model, targets).items():
        assert getattr(result, name) == pytest.approx(value, rel=1e-9), name


def test_equal_rows_have_no_distance() -> None:
    rows = np.random.default_rng(1).normal(0, 9, (10, 30)).astype(np.float32)
    tally = Tally()
    tally.add(rows, rows + 5, np.zeros(10, np.int64))  # a constant changes no probability
    result = tally.result()
    assert result.max_delta < 1e-5 and result.max_kl < 1e-9 and result.top1_agreement == 1
    assert result.ratio == pytest.approx(1)


def test_the_rows_compared_are_those_of_whole_passes(right: tuple[Path, Path]) -> None:
    """Chunks of a pass in llama.cpp must line up with a single pass in transformers, over window borders too."""
    tokens = np.random.default_rng(2).integers(4, 700, 200)
    windows = [tokens[:130], tokens[130:]]
    with CheckpointLogits(right[0]) as reference, GgufLogits(right[1], threads=1) as model:
        found = measure(reference, model, windows)
        pairs = [np.concatenate([rows.copy() for rows in reference.rows(window)]) for window in windows]
    assert [len(rows) for rows in pairs] == [129, 69] and found.n_tokens == 198
    losses = expected_figures(np.concatenate(pairs), np.concatenate(pairs), np.concatenate([w[1:] for w in windows]))
    assert found.perplexity == pytest.approx(losses["perplexity"], rel=1e-4)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo pair's base in 32-bit floats: a small model that has learned something."""
    return write_float_gguf(base_path(), tmp_path_factory.mktemp("parent") / "parent.gguf")


def test_a_smaller_type_is_further_from_its_parent(parent: Path) -> None:
    table = compare_quants(parent, ["F16", base_path(), "q4_k_m", "Q2_K"], max_tokens=400, threads=1)
    assert [row.type for row in table.rows] == ["F16", "Q8_0", "Q4_K_M", "Q2_K"]
    for name, sign in (("mean_kl", 1), ("kl_99", 1), ("max_delta", 1), ("top1_agreement", -1)):
        values = [sign * getattr(row.comparison, name) for row in table.rows]
        assert values == sorted(values) and len(set(values)) == 4, name
    assert [row.n_bytes for row in table.rows] == sorted((row.n_bytes for row in table.rows), reverse=True)
    assert table.bits_per_weight == 32 and 8 < table.rows[1].bits_per_weight < 9
    assert table.n_tokens == 400
    assert [path.name for path in parent.parent.iterdir()] == ["parent.gguf"]  # nothing is left behind


def test_a_file_is_no_distance_from_itself(parent: Path) -> None:
    table = compare_quants(parent, [parent], max_tokens=100, threads=1)
    assert table.rows[0].comparison.max_delta == 0 and table.rows[0].comparison.ratio == 1


def test_quants_that_cannot_be_compared_are_one_line_errors(parent: Path, tmp_path: Path) -> None:
    other = TinyModel().write(tmp_path / "other.gguf")
    for how, error in (
        ((base_path(), ["Q4_0"]), "itself quantized; give the F16"),
        ((parent, [other]), "another vocabulary .* token 0 is .* in the parent"),
        ((parent, ["Q4_K_X"]), "Q4_K_X: no such file, and as a type"),
        ((parent, ["typo-Q4_0.gguf"]), "typo-Q4_0.gguf: no such file; check the name"),
        ((parent, []), "nothing to compare"),
    ):
        with pytest.raises(VerificationError, match=error):
            compare_quants(*how, max_tokens=50)


def test_predictions_that_do_not_fit_on_the_disk_are_refused(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(parent)._replace(free=1000)
    monkeypatch.setattr("edge_wsd.converters.writing.target.shutil.disk_usage", lambda _folder: usage)
    with pytest.raises(VerificationError, match="--max-tokens"):
        compare_quants(parent, [base_path()], max_tokens=50)
    assert [path.name for path in parent.parent.iterdir()] == ["parent.gguf"]
