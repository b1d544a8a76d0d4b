"""Load and unload a pair again and again: does memory that belongs to it stay behind?

    python scripts/bench_reload.py                                # the demonstration pair, 20 times
    python scripts/bench_reload.py DRAFTER.gguf BASE.gguf -n 20 --base-template plain
    python scripts/bench_reload.py --isolate                      # the application's memory, models in a process

Each time a question is answered and another one is left unread. The first rounds are not counted: they load libraries,
start threads and fill caches that stay for good. Growth is measured from the median of the first quarter of the counted
rounds to that of the last quarter.
"""

from __future__ import annotations

import argparse
import gc
from statistics import median

import psutil

from edge_wsd import Options, Pair

QUESTION = "How do I list files by size?"
OPTIONS = Options(max_tokens=40)


def resident_bytes() -> tuple[int, int]:
    """What of this process lies in RAM, and how much of that no file lends it, as far as the system tells."""
    memory = psutil.Process().memory_info()
    return int(memory.rss), int(memory.rss - getattr(memory, "shared", 0))


def rounds(n: int, **arguments: object) -> list[tuple[int, int]]:
    """Resident memory after each of `n` rounds; `arguments` as for `Pair.load`, none for the demonstration pair."""
    load = Pair.load if "drafter" in arguments else Pair.demo
    found = []
    for _ in range(n):
        with load(**arguments) as pair:  # type: ignore[operator]
            chat = pair.session(options=OPTIONS)
            chat.ask(QUESTION)
            chat.stream(QUESTION)
        del pair, chat
        gc.collect()
        found.append(resident_bytes())
    return found


def growth(found: list[tuple[int, int]]) -> float:
    """Of all resident memory, from the first quarter to the last, as a share."""
    quarter = max(1, len(found) // 4)
    return median(all_ for all_, _ in found[-quarter:]) / median(all_ for all_, _ in found[:quarter]) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL.gguf", help="a drafter and a base")
    parser.add_argument("-n", type=int, default=20, help="counted rounds")
    parser.add_argument("--warm-up", type=int, default=3, help="rounds that are not counted")
    parser.add_argument("--isolate", action="store_true")
    parser.add_argument("--drafter-template", default="chat")
    parser.add_argument("--base-template", default="plain")
    given = parser.parse_args()
    arguments: dict[str, object] = {"isolate": given.isolate}
    if given.models:
        drafter, base = given.models
        templates = {"drafter_template": given.drafter_template, "base_template": given.base_template}
        arguments = {**arguments, "drafter": drafter, "base": base, **templates}
    found = rounds(given.warm_up + given.n, **arguments)
    print("load   resident   of that private, MiB")
    for number, (all_, private) in enumerate(found, start=1 - given.warm_up):
        print(f"{number:4} {all_ / 2**20:10.2f} {private / 2**20:10.2f}" + ("   not counted" if number < 1 else ""))
    print(f"grows by {growth(found[given.warm_up :]):+.2%} over {given.n} loads")


if __name__ == "__main__":
    main()
