"""Texts that llama.cpp's pre-tokenizers recurse over, once per character, come out right or are refused in a line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge_wsd import ModelSettings, Pair
from edge_wsd.converters.tokenizers.pre_tokenizer_names import LLAMA_CPP_NAMES
from edge_wsd.errors import ContextFullError, VocabularyError
from edge_wsd.llama import vocab as vocab_module
from edge_wsd.llama.deep_stack import call_with_stack
from edge_wsd.llama.digit_runs import cut_runs
from edge_wsd.llama.model import Model
from edge_wsd.llama.pre_tokenizers import ITERATIVE, longest_match
from tests.tiny_models import DEFAULT_WORDS, SPECIAL_TOKENS, TinyModel, string

ROOT = Path(__file__).parents[2]
# Asserts that no space is left in the text, which only the tokenizer it was made for sees to.
WITHOUT_SPACES = "whitespace"
RECURSIVE = sorted(set(LLAMA_CPP_NAMES) - ITERATIVE - {WITHOUT_SPACES})
SETTINGS = ModelSettings(context_length=256, threads=1)


def tokenized(folder: Path, stack_kib: int, length: int, names: list[str]) -> list[str]:
    """The pre-tokenizers that a child process came through, before it ended by a signal if it did."""
    command = [sys.executable, "-m", "tests.model.tokenize_long_runs", str(folder), str(stack_kib), str(length), *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and not done.stderr, (done.stdout.split()[-1:], done.stderr[-500:])
    return done.stdout.split()


def test_long_runs_of_one_kind_of_character_do_not_end_the_process(tmp_path: Path) -> None:
    """From about 25,000 characters on they ended it with exit code 139, on a main thread of 8 MiB."""
    names = ["tekken", "gpt-4o", "deepseek-v3", "seed-coder", "bloom", "falcon", "default"]
    assert tokenized(tmp_path, 8192, 30_000, names) == names


def test_every_pre_tokenizer_comes_through_in_a_thread_with_a_small_stack(tmp_path: Path) -> None:
    assert len(RECURSIVE) > 20
    assert tokenized(tmp_path, 512, 6_000, RECURSIVE) == RECURSIVE


def test_the_pre_tokenizers_called_iterative_need_no_stack(tmp_path: Path) -> None:
    names = sorted(ITERATIVE)
    assert set(LLAMA_CPP_NAMES) >= ITERATIVE
    assert tokenized(tmp_path, 256, 6_000, names) == names


def test_a_deep_stack_changes_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["the list " * 60, "A" * 900, "x = 1234567890" * 40 + "\n\n  y", "é中A" * 200]
    for name in ("tekken", "deepseek-llm", "default"):
        with Model.load(written(tmp_path, name), vocab_only=True) as model:
            deep = [model.vocab.tokenize(text) for text in texts]
            with monkeypatch.context() as patch:
                patch.setattr(vocab_module, "SHALLOW_CHARACTERS", 10_000)
                patch.setattr(vocab_module, "call_with_stack", None)
                assert [model.vocab.tokenize(text) for text in texts] == deep


def test_long_runs_of_digits_are_cut_where_superbpe_cuts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp looked for the end of a run at each of its digits: 20,000 digits took minutes."""
    digits = "".join(str(i * i % 10) for i in range(70))
    texts = [f"{before}{digits[:n]}{behind}" for n in (11, 12, 13, 14, 30, 31, 32, 70) for before, behind in (
        ("", ""), (" ", " "), ("a", "Ⅷ"), ("٣", "٣123456789012"), ("<|im_end|>", "<|im_start|>9"), ("-", ".5e10"),
    )]  # fmt: skip
    twos_and_threes = tuple((digits * 2)[i : i + n] for i in range(10) for n in (2, 3))
    tiny = TinyModel(words=(*DEFAULT_WORDS, *twos_and_threes))
    tiny.metadata["tokenizer.ggml.pre"] = string("superbpe")
    with Model.load(tiny.write(tmp_path / "vocabulary.gguf"), vocab_only=True) as model:
        vocab = model.vocab
        assert vocab._cuts_runs and len(vocab.tokenize(digits * 600)) > 14_000
        monkeypatch.setattr("edge_wsd.llama.digit_runs._PIECE", 6)
        monkeypatch.setattr("edge_wsd.llama.digit_runs._LONG_RUN", re.compile(r"[0-9]{12,}"))
        for text in texts:
            assert vocab.tokenize(text, special=True) == vocab._whole(text, True)
            assert len(list(cut_runs(text))) > (digits[:12] in text)


@pytest.mark.parametrize("special", ["00", "<|" + "1" * 60 + "|>"])
def test_a_special_token_that_a_cut_could_split_keeps_runs_whole(tmp_path: Path, special: str) -> None:
    model = TinyModel(special_tokens=(*SPECIAL_TOKENS, special))
    model.metadata["tokenizer.ggml.pre"] = string("superbpe")
    with Model.load(model.write(tmp_path / "vocabulary.gguf"), vocab_only=True) as loaded:
        assert not loaded.vocab._cuts_runs
        expected = [model.special_ids["00"]] * 100 if special == "00" else loaded.vocab._whole("0" * 200, True)
        assert loaded.vocab.tokenize("0" * 200, special=True) == expected


def test_a_line_too_long_for_any_stack_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Model.load(written(tmp_path, "tekken"), vocab_only=True) as model:
        monkeypatch.setattr(vocab_module, "MAX_STACK_BYTES", 1 << 20)
        with pytest.raises(VocabularyError, match=r"line of about 2\d{3} characters .*vocabulary\.gguf.*shorter lines"):
            model.vocab.tokenize("A" * 2000)
        assert len(model.vocab.tokenize("A\n" * 2000)) == 4000  # as long, but no line of it is


def test_a_machine_without_memory_for_the_stack_says_so(tmp_path: Path) -> None:
    """In containers with a limit on their address space no such thread can be started."""
    program = (
        "import resource, sys; from edge_wsd.llama.model import Model\n"
        "from edge_wsd.errors import VocabularyError\n"
        "with Model.load(sys.argv[1], vocab_only=True) as model:\n"
        "    in_use = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (in_use + (100 << 20),) * 2)\n"
        "    try: model.vocab.tokenize('A' * 300_000)\n"
        "    except VocabularyError as error: print(error)\n"
        "    print(len(model.vocab.tokenize('A' * 3000)))\n"
    )
    if not Path("/proc/self/statm").exists():
        pytest.skip("the size of a process is read from /proc")
    command = [sys.executable, "-c", program, str(written(tmp_path, "tekken"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert re.fullmatch(r"a line of .*no thread with a stack of \d+ MiB.*\n3000\n", done.stdout)


def written(folder: Path, name: str) -> Path:
    model = TinyModel()
    model.metadata["tokenizer.ggml.pre"] = string(name)
    return model.write(folder / "vocabulary.gguf")


def test_what_fails_on_the_deep_stack_fails_where_it_was_asked_for() -> None:
    assert call_with_stack(1 << 20, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        call_with_stack(1 << 20, lambda: 1 / 0)


def test_a_match_is_no_longer_than_a_line_and_the_white_space_behind_it() -> None:
    assert longest_match("ab\n\n  cdefg\nh") == 5 + 1 + 2
    assert longest_match("ab\n\n    cd") == 2 + 2 + 4 + 2
    assert longest_match("") == 2


def test_a_conversation_outlives_a_text_longer_than_its_context(tmp_path: Path) -> None:
    """Such a text is refused before it is tokenised, and what was said before stays."""
    drafter, base = tmp_path / "drafter.gguf", tmp_path / "base.gguf"
    for seed, path in enumerate((drafter, base)):
        model = TinyModel(seed=seed)
        model.metadata["tokenizer.ggml.pre"] = string("tekken")
        model.write(path)
    with Pair.load(drafter, base, drafter_settings=SETTINGS, base_settings=SETTINGS) as pair:
        chat = pair.session()
        chat.ask("hello")
        before = chat.messages
        for text in ("A" * 40_000, "A " * 2_000_000, "A" + "\n" * 100_000 + "A"):
            with pytest.raises(ContextFullError):
                chat.ask(text)
            assert chat.messages == before
        chat.ask("hello")
        assert len(chat.messages) == 4


def test_a_text_that_no_context_could_hold_is_not_tokenised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = TinyModel().write(tmp_path / "model.gguf")
    with Pair.load(path, path, drafter_settings=SETTINGS, base_settings=SETTINGS) as pair:
        vocab = pair.base.model.vocab
        monkeypatch.setattr(type(vocab), "tokenize", lambda *_, **__: pytest.fail("it was tokenised"))
        with pytest.raises(ContextFullError, match=r"of \d+ characters has at least \d+ tokens.*holds 256.*shorten"):
            pair.base.encode([*pair.session(messages=[{"role": "user", "content": "list " * 10_000}]).messages])


@pytest.mark.parametrize("text", ["hello list", "A" * 999, "é中😀" * 50, "  \n\t" * 90, "<|im_end|><|im_start|>" * 9])
def test_the_bound_on_the_number_of_tokens_is_one(tmp_path: Path, text: str) -> None:
    with Model.load(TinyModel().write(tmp_path / "model.gguf"), vocab_only=True) as model:
        for special in (False, True):
            assert 0 < model.vocab.fewest_tokens(text) <= len(model.vocab.tokenize(text, special=special))
