"""`edge-wsd check drafter.gguf base.gguf`: can token ids be handed over, or does the hand-over go through text?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_wsd.cli.pair_choice import complete_model
from edge_wsd.cli.ui.guard import print_json
from edge_wsd.cli.ui.rows import columns_of_stdout, hanging_lines
from edge_wsd.cli.ui.waiting import telling

if TYPE_CHECKING:
    from edge_wsd.llama.vocab import Vocab
    from edge_wsd.llama.vocabulary_verdict import VocabularyVerdict

_MEANING = {
    "identical": "token ids are handed over as they are",
    "padded": "token ids are handed over as they are; the extra ones are never handed over",
    "different": "the pair works, and the draft is handed over as text",
}


@click.command()
@click.argument("drafter", shell_complete=complete_model)
@click.argument("base", shell_complete=complete_model)
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
def command(*, drafter: str, base: str, as_object: bool) -> None:
    """Compare the vocabularies of the models DRAFTER and BASE: files, models of the store, or REPO:TYPE.

    The verdict is identical, padded (one has extra placeholders or control tokens at its end) or different, with the
    first difference named. All three are usable, and the exit code is 0. Only the vocabularies are loaded.
    """
    from edge_wsd.models.store.local import find_model

    with telling("looking at the models"):
        verdict, about = compare(find_model(drafter), find_model(base))
    if as_object:
        found = {"verdict": verdict.verdict, "reason": verdict.reason, "notes": list(verdict.notes), **about}
        print_json(found)
    else:
        for line in hanging_lines(verdict_lines(verdict, about), columns_of_stdout()):
            click.echo(line)


def compare(drafter: Path, base: Path) -> tuple[VocabularyVerdict, dict[str, dict[str, object]]]:
    """The verdict, and what is told about each of the two files."""
    from edge_wsd.llama.kernels import require_sound

    require_sound()
    from edge_wsd.llama.model import Model
    from edge_wsd.llama.vocabulary_verdict import compare_vocabularies

    for path in (drafter, base):
        _try(path)
    with Model.load(drafter, vocab_only=True) as small, Model.load(base, vocab_only=True) as large:
        verdict = compare_vocabularies(small.vocab, large.vocab)
        return verdict, {"drafter": _about(drafter, small.vocab), "base": _about(base, large.vocab)}


def _try(path: Path) -> None:
    """Refuses what llama.cpp cannot load. A file with a vocabulary alone has nothing that could be probed."""
    from edge_wsd.models.gguf.check import check_gguf, n_parts
    from edge_wsd.models.probe.trial import probe_model

    header = check_gguf(path, need_weights=False)
    if header.tensors or n_parts(header) > 1:
        probe_model(path, header=header)


def _about(path: Path, vocab: Vocab) -> dict[str, object]:
    return {
        "file": str(path),
        "type": vocab.type,
        "n_tokens": vocab.n_tokens,
        "adds_bos": vocab.add_bos,
        "bos": _token(vocab, vocab.bos),
        "eos": _token(vocab, vocab.eos),
        "eot": _token(vocab, vocab.eot),
    }


def _token(vocab: Vocab, token: int | None) -> dict[str, object] | None:
    return None if token is None else {"id": token, "text": vocab.text(token)}


def verdict_lines(verdict: VocabularyVerdict, about: dict[str, dict[str, object]]) -> list[str]:
    """What `compare` found, for a person: the verdict, what it means, and each vocabulary."""
    from edge_wsd.cli.ui.terminal import one_line

    lines = [f"{verdict.verdict}: {verdict.reason}", f"  {_MEANING[verdict.verdict]}"]
    for role, facts in about.items():
        ends = ", ".join(f"{name.upper()} {_named(facts[name])}" for name in ("bos", "eos", "eot") if facts[name])
        line = f"  {role:8}{facts['n_tokens']} tokens ({facts['type']}), {ends or 'no special tokens'}"
        lines.append(line + ("" if facts["adds_bos"] else "; prompts begin without BOS"))
    return [one_line(line) for line in (*lines, *(f"  note: {note}" for note in verdict.notes))]


def _named(token: object) -> str:
    assert isinstance(token, dict)
    return f"{token['text']} ({token['id']})"
