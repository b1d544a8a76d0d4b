"""What a finished answer tells about itself: the status line, rows of `/stats`, the object of `--json`."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from edge_wsd.decoding.events import Reply, Statistics, Token
from edge_wsd.decoding.options import Options
from edge_wsd.decoding.proposal import ProposerName
from edge_wsd.units import counted

REASONS = {
    "confident": "confident",
    "draft_limit": "draft limit",
    "draft_ended": "the draft had ended",
    "forced": "forced",
}
PROPOSER_LABELS: dict[ProposerName, str] = {"drafter": "drafter", "ngram": "lookup"}
_ENDINGS = {"length": "cut at max-tokens", "cancelled": "stopped"}


def status_parts(reply: Reply, options: Options) -> list[str]:
    """The status line, part by part, the most telling first."""
    stats = reply.stats
    if not reply.tokens:
        return ["nothing was written", *([_ENDINGS[reply.finish_reason]] if reply.finish_reason in _ENDINGS else [])]
    parts = [_switch_part(reply, options)]
    if options.mode == "wsd":
        parts.append(f"{stats.draft_share:.0%} of {counted(stats.n_tokens, 'tokens')} drafted")
    else:
        parts.append(counted(stats.n_tokens, "tokens"))
    parts.append(f"first after {seconds(stats.ttft_s)}")
    rates = [_rate(stats.draft_tps), _rate(stats.base_tps)]
    known = [rate for rate in rates if rate]
    if known:
        parts.append(" \u2192 ".join(known) + " tokens/s")
    n_proposed, n_accepted = sum(stats.n_proposed.values()), sum(stats.n_proposed_accepted.values())
    if n_proposed:
        parts.append(f"{n_accepted} of {counted(n_proposed, 'guessed tokens')} right")
    reused = stats.drafter_reused_tokens + stats.base_reused_tokens
    if reused:
        prompt = stats.drafter_prompt_tokens + stats.base_prompt_tokens
        parts.append(f"{reused} of {counted(prompt, 'prompt tokens')} reused")
    if reply.seed is not None:
        parts.append(f"seed {reply.seed}")
    if reply.finish_reason in _ENDINGS:
        parts.append(_ENDINGS[reply.finish_reason])
    return parts


def dropped_note(n_messages: int) -> str:
    """What to say where the conversation has outgrown a context."""
    if n_messages == 1:
        return "the oldest message no longer fits and was left out"
    return f"the {n_messages} oldest messages no longer fit and were left out"


def status_lines(reply: Reply, options: Options, width: int) -> list[str]:
    """The status parts in as few lines of at most `width` characters as they fit into."""
    lines: list[str] = []
    for part in status_parts(reply, options):
        if lines and len(lines[-1]) + 3 + len(part) <= width:
            lines[-1] += f" \u00b7 {part}"
        else:
            lines.append(part)
    return lines


def _switch_part(reply: Reply, options: Options) -> str:
    if options.mode != "wsd":
        return f"{options.mode} alone"
    switch = reply.switch
    if options.rule == "nudge":
        return f"nudged {counted(reply.stats.n_hand_overs, 'times')}"
    if switch is None or options.rule == "never":
        return "no switch: the drafter wrote it all"
    place = f"switch after {counted(switch.index + 1, 'tokens')}"
    figure = "" if switch.confidence is None else f" {switch.confidence:.2f}"
    if switch.reason == "confident":
        return f"{place} (confidence{figure})"
    return f"{place} ({REASONS[switch.reason]}{', confidence' + figure if figure else ''})"


def seconds(value: float) -> str:
    """A time as a person says it."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _rate(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def statistics_rows(reply: Reply) -> list[tuple[str, str]]:
    """All figures of an answer, as `/stats` shows them."""
    stats = reply.stats
    switch = reply.switch
    confidence = "" if switch is None or switch.confidence is None else f", confidence {switch.confidence:.3f}"
    where = "none" if switch is None else f"after {counted(switch.index + 1, 'tokens')}, {switch.reason}{confidence}"
    ending = reply.finish_reason if reply.stop is None else f"{reply.finish_reason} at {reply.stop!r}"
    return [
        ("switch", where),
        ("ended", ending if reply.note is None else f"{ending}: {reply.note}"),
        ("seed", "none: greedy" if reply.seed is None else str(reply.seed)),
        ("tokens", f"{stats.n_tokens}, of which the drafter wrote {stats.n_draft} ({stats.draft_share:.0%})"),
        ("turns of the drafter", str(stats.n_hand_overs)),
        *_repeated_row(reply),
        ("proposed by the drafter", f"{stats.n_drafted}, kept {stats.n_accepted}"),
        *_guessed_row(stats),
        ("passes of the base", str(stats.base_passes)),
        ("time", f"{seconds(stats.total_s)}, first token after {seconds(stats.ttft_s)}"),
        ("until the switch", f"{_rate(stats.draft_tps) or '-'} tokens/s"),
        ("after the switch", f"{_rate(stats.base_tps) or '-'} tokens/s"),
        ("drafter's prompt", _prompt(stats.drafter_prompt_tokens, stats.drafter_reused_tokens)),
        ("base's prompt", _prompt(stats.base_prompt_tokens, stats.base_reused_tokens)),
    ]


def _repeated_row(reply: Reply) -> list[tuple[str, str]]:
    judged = [token.repeated for token in reply.tokens if token.repeated is not None]
    return (
        [("repeated, so not counted", f"{sum(judged)} of {counted(len(judged), 'drafted tokens')}")] if judged else []
    )


def _guessed_row(stats: Statistics) -> list[tuple[str, str]]:
    """What was proposed to the model that finishes the answer, by each proposer that did."""
    guessed = [
        f"{PROPOSER_LABELS[name]}: {n}, right {stats.n_proposed_accepted[name]}"
        for name, n in stats.n_proposed.items()
        if n
    ]
    return [("guessed ahead", "; ".join(guessed))] if guessed else []


def _prompt(n_tokens: int, n_reused: int) -> str:
    return f"{counted(n_tokens, 'tokens')}, {n_reused} of them reused"


def reply_object(reply: Reply) -> dict[str, Any]:
    """The object of `run --json`: what the reply holds, as plain values."""
    switch = reply.switch
    return {
        "text": reply.text,
        "finish_reason": reply.finish_reason,
        "stop": reply.stop,
        "note": reply.note,
        "seed": reply.seed,
        "switch": None
        if switch is None
        else {"index": switch.index, "reason": switch.reason, "confidence": finite(switch.confidence)},
        "tokens": [
            _token_as_json(token, confidence) for token, confidence in zip(reply.tokens, reply.confidences, strict=True)
        ],
        "stats": {
            **{name: finite(value) for name, value in asdict(reply.stats).items()},
            "draft_share": reply.stats.draft_share,
        },
    }


def _token_as_json(token: Token, confidence: float | None) -> dict[str, Any]:
    shown = {
        "id": token.id,
        "text": token.text,
        "source": token.source,
        "logprob": finite(token.logprob),
        "confidence": finite(confidence),
    }
    if token.repeated is not None:
        shown["repeated"] = token.repeated
    if token.top:
        shown["top"] = [{"id": one.id, "text": one.text, "logprob": finite(one.logprob)} for one in token.top]
    return shown


def finite(value: Any) -> Any:
    """JSON knows no infinity: null instead."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
