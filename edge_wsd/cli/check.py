"""`edge-wsd check drafter.gguf base.gguf`: can token ids be handed over, or does the hand-over go through text?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edge_wsd.llama.vocab import Vocab, VocabularyVerdict

_MEANING = {
    "identical": "token ids are handed over as they are",
    "padded": "token ids are handed over as they are; the extra ones are never handed over",
    "different": "the pair works, and the draft is handed over as text",
}


@click.command()
@click.argument("drafter")
@click.argument("base")
@click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")
def command(*, drafter: str, base: str, as_object: bool) -> None:
    """Compare the vocabularies of the model files DRAFTER and BASE.

    The verdict is identical, padded (one has extra tokens at its end) or different, with the first difference named.
    All three are usable, and the exit code is 0. Only the vocabularies are loaded.
    """
    from edge_wsd.llama.model import Model
    from edge_wsd.llama.vocab import compare_vocabularies

    for path in (drafter, base):
        _try(path)
    with Model.load(drafter, vocab_only=True) as small, Model.load(base, vocab_only=True) as large:
        verdict = compare_vocabularies(small.vocab, large.vocab)
        about = {"drafter": _about(drafter, small.vocab), "base": _about(base, large.vocab)}
    if as_object:
        found = {"verdict": verdict.verdict, "reason": verdict.reason, "notes": list(verdict.notes), **about}
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        _print(verdict, about)


def _try(path: str) -> None:
    """Refuses what llama.cpp cannot load. A file with a vocabulary alone has nothing that could be probed."""
    from edge_wsd.models.gguf_check import check_gguf, n_parts
    from edge_wsd.models.probe import probe_model

    header = check_gguf(path, need_weights=False)
    if header.tensors or n_parts(header) > 1:
        probe_model(path, header=header)


def _about(path: str, vocab: Vocab) -> dict[str, object]:
    return {
        "file": path,
        "type": vocab.type,
        "n_tokens": vocab.n_tokens,
        "adds_bos": vocab.add_bos,
        "bos": _token(vocab, vocab.bos),
        "eos": _token(vocab, vocab.eos),
        "eot": _token(vocab, vocab.eot),
    }


def _token(vocab: Vocab, token: int | None) -> dict[str, object] | None:
    return None if token is None else {"id": token, "text": vocab.text(token)}


def _print(verdict: VocabularyVerdict, about: dict[str, dict[str, object]]) -> None:
    from edge_wsd.cli.terminal import neutralise

    click.echo(f"{verdict.verdict}: {neutralise(verdict.reason)}")
    click.echo(f"  {_MEANING[verdict.verdict]}")
    for role, facts in about.items():
        ends = ", ".join(f"{name.upper()} {_named(facts[name])}" for name in ("bos", "eos", "eot") if facts[name])
        line = f"  {role:8}{facts['n_tokens']} tokens ({facts['type']}), {ends or 'no special tokens'}"
        click.echo(neutralise(line + ("" if facts["adds_bos"] else "; prompts begin without BOS")))
    for note in verdict.notes:
        click.echo(f"  note: {neutralise(note)}")


def _named(token: object) -> str:
    assert isinstance(token, dict)
    return f"{token['text']} ({token['id']})"
