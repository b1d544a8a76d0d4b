"""The command line over a pair that is played: `python fake_program.py run hello`.

What the pair does is asked for by a word of the prompt: `slow` writes a word every 50 ms, `reads` takes its time over
the prompt, `pauses` does so after the first words, `deaf` before them and cannot be stopped, `escape` writes control
sequences, `full` and `broken` fail, `long` writes much, `logs` logs a warning, `prints` prints as a library might,
`loops` is stopped in a loop, `redrafts` takes its time over a draft that is only scored,
`empty` has no such draft.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import types
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edge_wsd.authorship import Authorship
from edge_wsd.cli.main import main
from edge_wsd.conversation_file import SavedConversation
from edge_wsd.decoding.events import (
    Alternative,
    Event,
    Finished,
    Reading,
    Reply,
    Scored,
    Source,
    Statistics,
    Switched,
    SwitchReason,
    Token,
)
from edge_wsd.decoding.loop_watch import Loop
from edge_wsd.decoding.options import Options
from edge_wsd.errors import ContextFullError, TemplateError
from edge_wsd.prompts.messages import Message

DRAFTED = 3
SCORED, CONFIDENCES = (-0.5, -float("inf"), -0.1), (None, None, 0.9)
REPEATED = (False, True, False)


class Session:
    def __init__(self, system: str | None, options: Options, messages: list[dict[str, str]]) -> None:
        self.system, self.options = system, options
        self.messages = tuple(Message(**entry) for entry in messages)
        self.last: Reply | None = None
        self.name = "played"
        self._written: dict[int, Authorship] = {}
        self._cancelled = threading.Event()

    @property
    def written(self) -> tuple[Authorship | None, ...]:
        return tuple(self._written.get(i) for i in range(len(self.messages)))

    def saved(self) -> SavedConversation:
        return SavedConversation(self.system, self.messages, self.options, self.written, {"name": "played"})

    def undo(self) -> tuple[Message, ...]:
        if not self.messages:
            raise TemplateError("nothing has been said that could be taken back")
        n = max(i for i, message in enumerate(self.messages) if message.role == "user")
        taken, self.messages = self.messages[n:], self.messages[:n]
        return taken

    def fork(self, pair: Pair | None = None) -> Session:
        child = Session(self.system, self.options, [])
        child.messages, child._written = self.messages, dict(self._written)
        child.name = self.name if pair is None else pair.name
        return child

    def stream(self, prompt: str | None = None) -> Iterator[Event]:
        self._cancelled.clear()
        before = self.messages
        if prompt is not None:
            self.messages += (Message(role="user", content=prompt),)
        try:
            yield from self._write(self.messages[-1].content)
        except Exception:
            self.messages = before
            raise

    def _write(self, prompt: str) -> Iterator[Event]:
        if "full" in prompt:
            raise ContextFullError("the prompt has 900 tokens,\nthe context 512; use --ctx", needed=900, available=512)
        if "broken" in prompt:
            raise ZeroDivisionError("a mistake of ours\x1b[2J\x9b2J\nedge-wsd: error: forged")
        if "prints" in prompt:
            print("odd\x1b[2J\x9b2J\x7f", file=sys.stderr)
            sys.stdout.writelines(["odd\x1b[2J\x9b2J\n"])
        if "logs" in prompt:
            logging.getLogger("some.library").warning("%s", "odd\x1b[2J\x9b2J\nedge-wsd: error: forged")
        if "deaf" in prompt:
            time.sleep(20)
        if "reads" in prompt or ("redrafts" in prompt and self.options.rule == "never"):
            yield from self._read("drafter", 20)
        texts = self._texts(prompt)
        if self.options.rule == "never":
            texts = [] if "empty" in prompt else texts[:DRAFTED]
        tokens: list[Token] = []
        for position, text in enumerate(texts):
            if self._cancelled.is_set() or position >= self.options.max_tokens:
                break
            drafted = position < DRAFTED
            logprob = None if drafted else -0.25
            token = Token(position, 100 + position, text, "drafter" if drafted else "base", logprob)
            tokens.append(token)
            yield token
            if position == DRAFTED - 1:
                yield Scored(0, SCORED, CONFIDENCES, REPEATED if self.options.ignore_repeated else ())
                yield Switched(DRAFTED - 1, self._reason, 0.9)
            if "slow" in prompt:
                time.sleep(0.05)
            if "pauses" in prompt and position == DRAFTED - 1:
                yield from self._read("base", 2)
        yield self._finish(tokens, str(Loop(4, 30)) if "loops" in prompt and self.options.stop_loops else None)

    @property
    def _reason(self) -> SwitchReason:
        return "draft_ended" if self.options.rule == "never" else "confident"

    def _read(self, model: Source, seconds: float) -> Iterator[Event]:
        yield Reading(model, 512, 2476)
        self._cancelled.wait(seconds)

    def _texts(self, prompt: str) -> list[str]:
        if "escape" in prompt:
            return ["\x1b]0;title\x07", "\x1b[2J", "a\rb", " c\x9bd"]
        words = ["Sure,", " you", " said", *(f" {word}" for word in prompt.split())]
        return words * 40 if "slow" in prompt else words * 4000 if "long" in prompt else words

    def _finish(self, tokens: list[Token], note: str | None) -> Finished:
        text = "".join(token.text for token in tokens)
        stats = Statistics(
            ttft_s=0.041,
            total_s=1.5,
            draft_tps=310.0,
            base_tps=9.5,
            n_tokens=len(tokens),
            n_draft=min(DRAFTED, len(tokens)),
            n_hand_overs=1,
            n_drafted=9,
            n_accepted=7,
            base_passes=4,
            drafter_prompt_tokens=20,
            drafter_reused_tokens=12,
            base_prompt_tokens=24,
            base_reused_tokens=13,
        )
        switch = Switched(DRAFTED - 1, self._reason, 0.9) if len(tokens) >= DRAFTED else None
        is_full = len(tokens) >= self.options.max_tokens
        reason = "cancelled" if self._cancelled.is_set() else "length" if is_full else "stop"
        repeated = REPEATED if self.options.ignore_repeated else [None] * DRAFTED
        top = (Alternative(100, "Sure,", b"Sure,", -0.5),) if self.options.top_logprobs else ()
        kept = [
            replace(token, logprob=SCORED[i], repeated=repeated[i], top=top) if i < DRAFTED else token
            for i, token in enumerate(tokens)
        ]
        confidences = (*CONFIDENCES, *[None] * len(tokens))[: len(tokens)]
        seed = None if self.options.temperature == 0 else 7 if self.options.seed is None else self.options.seed
        stop = "[User]" if reason == "stop" and note is None else None
        self.last = Reply(text, tuple(kept), confidences, reason, switch, stats, stop, seed, note)
        if tokens:
            self._written[len(self.messages)] = Authorship.of(self.last, pair=self.name)
            self.messages += (Message(role="assistant", content=text),)
        else:  # cancelled before the first word: the turn did not happen
            self.messages = self.messages[:-1]
        return Finished(self.last)

    def regenerate(self) -> Iterator[Event]:
        self.messages = self.messages[:-1]
        return self.stream(None)

    def cancel(self) -> None:
        self._cancelled.set()

    def clear(self) -> None:
        self.messages = ()

    def save(self, path: Path) -> None:
        self.saved().write(path)

    @classmethod
    def of(cls, saved: SavedConversation, pair: Pair, _path: Path) -> Session:
        session = cls(saved.system, saved.options, [asdict(message) for message in saved.messages])
        session._written = {i: one for i, one in enumerate(saved.written) if one is not None}
        session.name = pair.name
        return session


class Pair:
    def __init__(self, files: tuple[str, str], arguments: dict[str, Any]) -> None:
        if "show-settings" in files[0]:
            print(arguments["drafter_settings"], arguments["base_settings"], file=sys.stderr)
        self.name = "played"
        sizes = {"n_params": 3e5, "size_bytes": 2**20, "n_ctx": 512, "n_ctx_train": 512}
        drafter, base = (types.SimpleNamespace(path=Path(name), **sizes) for name in files)
        self.about = {"drafter": drafter, "base": base}.get
        self.plan = None
        self.vocabulary = types.SimpleNamespace(verdict="identical", same=True, reason="all 512 tokens are the same")

    @classmethod
    def demo(cls, *, other_vocabulary: bool = False, **arguments: Any) -> Pair:
        return cls(("demo-other" if other_vocabulary else "demo", "base"), arguments)

    @classmethod
    def load(cls, drafter: Path, base: Path, *, name: str | None = None, **arguments: Any) -> Pair:
        pair = cls((str(drafter), str(base)), arguments)
        pair.name = name or f"{drafter.stem} + {base.stem}"
        return pair

    def session(self, system: str | None = None, options: Options | None = None, messages: Any = ()) -> Session:
        return Session(system, options or Options(), list(messages))

    def close(self) -> None:
        pass

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def play() -> None:
    """Put the played pair in the place of the real one, which is not imported."""
    for name, members in (("pair", {"Pair": Pair}), ("session", {"Session": Session})):
        module = types.ModuleType(f"edge_wsd.{name}")
        vars(module).update(members)
        sys.modules[f"edge_wsd.{name}"] = module


if __name__ == "__main__":
    play()
    main()
