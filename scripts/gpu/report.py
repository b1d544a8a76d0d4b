"""Step `report`: what the other steps found, in one JSON file and as a section of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from scripts.gpu.workplace import Workplace, write_whole

HEADER = (
    "pair, agreement, answers at once",
    "base alone, s",
    "WSD without speculation, s",
    "WSD, s",
    "÷ base",
    "first token, s",
    "÷ drafter's",
    "decoding, tokens/s",
    "÷ llama-speculative-simple",
)


class Goal(NamedTuple):
    text: str
    bound: float
    at_most: bool
    found: float | None

    @property
    def met(self) -> bool | None:
        """None if it was not measured."""
        if self.found is None:
            return None
        return self.found <= self.bound if self.at_most else self.found >= self.bound


def report(place: Workplace, card: str) -> None:
    """Write all.json and section.md beside the results of the steps, and print the section."""
    cells = (place.read("bench") or {}).values()
    goals = [goal for cell in cells for goal in goals_of(cell)]
    found = {name: place.read(name) for name in ("build", "tests", "bench", "signal", "overlap")}
    found |= {"card": card, "goals": [{**goal._asdict(), "met": goal.met} for goal in goals]}
    place.write("all", found)
    text = "\n".join(section(found, goals)) + "\n"
    write_whole(place.folder / "results" / "section.md", text)
    print(text, end="")


def goals_of(cell: dict[str, Any]) -> Iterator[Goal]:
    """Those that this cell of the bench decides."""
    if cell["at_once"] != 1:
        return
    where = f"{cell['pair']} at {100 * cell['agreement']:.0f} %"
    if cell["pair"] == "3B+70B" and cell["agreement"] == 0.8:
        yield Goal(f"{where}: answer ÷ base alone", 0.5, True, cell["answer_to_base"])
    yield Goal(f"{where}: first token ÷ drafter alone's", 1.1, True, cell["first_to_drafter"])
    yield Goal(f"{where}: tokens/s ÷ llama-speculative-simple's", 1.0, False, to_peer(cell))


def to_peer(cell: dict[str, Any]) -> float | None:
    """Tokens per second behind the first, over the peer's behind its prompt."""
    rate: float | None = cell.get("peer_tokens_per_s")
    return cell["wsd_tokens_per_s"] / rate if rate else None


def section(found: dict[str, Any], goals: list[Goal]) -> Iterator[str]:
    yield f"### {found['card']}\n"
    yield from _tests(found["tests"] or {})
    if found["bench"]:
        yield _row(HEADER)
        yield _row(["---"] * len(HEADER))
        for cell in found["bench"].values():
            yield _row(_numbers(cell))
        yield ""
    for goal in goals:
        sign = "≤" if goal.at_most else "≥"
        verdict = {True: "met", False: "missed", None: "not measured"}[goal.met]
        yield f"- {goal.text} {sign} {goal.bound:g}: {_number(goal.found)}, **{verdict}**"
    for pair, seconds in (found["overlap"] or {}).items():
        off, on = (_number(seconds[how]) for how in ("off", "on"))
        yield f"\n{pair}, drafter on the processor: {off} s in turns, {on} s overlapped."
    if found["signal"]:
        yield f"\nScores on the device, off and on:\n\n```\n{found['signal'].strip()}\n```"


def _tests(tests: dict[str, Any]) -> Iterator[str]:
    if tests:
        passed, skipped = (sum(one[key] for one in tests.values()) for key in ("passed", "skipped"))
        failed = {path: one["failed"] or [f"status {one['status']}"] for path, one in tests.items() if one["status"]}
        yield f"Tests: {passed} passed, {skipped} skipped; {len(failed)} of {len(tests)} files failed.\n"
        yield from (f"- {path}: {', '.join(names)}" for path, names in failed.items())
        yield from [""] * bool(failed)


def _numbers(cell: dict[str, Any]) -> list[str]:
    keys = ("base_s", "plain_s", "wsd_s", "answer_to_base", "wsd_first_s", "first_to_drafter", "wsd_tokens_per_s")
    return [
        f"{cell['pair']}, {100 * cell['agreement']:.0f} % ({100 * cell['measured_agreement']:.1f}), {cell['at_once']}",
        *(_number(cell[key]) for key in keys),
        _number(to_peer(cell)),
    ]


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
