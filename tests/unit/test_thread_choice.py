"""Threads give way to other programs and come back, and a quiet machine is left alone."""

from __future__ import annotations

from collections.abc import Callable

from edge_wsd.llama.thread_choice import ThreadChoice

Machine = Callable[[int], tuple[float, float]]
"""Threads of a pass -> (seconds, seconds of processor time)."""


def quiet(n: int) -> tuple[float, float]:
    return 0.001 + 0.008 / n, n * (0.001 + 0.008 / n)


def busy(n: int) -> tuple[float, float]:
    """Two cores, one taken by another program: two threads sleep through most of a pass."""
    return (0.010, 0.010) if n == 1 else (0.020, 0.012)


def crowded(n: int) -> tuple[float, float]:
    """Everything is in the way: threads sleep, and fewer of them are slower still."""
    return 0.020 / n, 0.010


def run(choice: ThreadChoice, machine: Machine, n_passes: int) -> list[int]:
    """The threads of each pass."""
    used = []
    for _ in range(n_passes):
        used.append(choice.n)
        choice.took(*machine(choice.n))
    return used


def test_a_quiet_machine_is_never_tried_with_fewer_threads() -> None:
    assert set(run(ThreadChoice(8), quiet, 5000)) == {8}


def test_threads_that_sleep_give_way_within_a_few_passes() -> None:
    """Two threads beside a busy program wrote 28 tokens/s where one wrote 56."""
    used = run(ThreadChoice(2), busy, 1000)
    assert set(used[8:64]) == {1}
    assert used.count(2) < 0.12 * len(used)


def test_trials_that_gain_nothing_become_rare() -> None:
    used = run(ThreadChoice(2), crowded, 10_000)
    assert used.count(1) < 0.02 * len(used)
    assert used[8:16] == [1] * 8


def test_all_threads_come_back_when_the_others_have_gone() -> None:
    choice = ThreadChoice(2)
    run(choice, busy, 10_000)
    assert choice.n == 1 or run(choice, busy, 8)[-1] == 1
    used = run(choice, quiet, 3000)
    assert set(used[2100:]) == {2}


def test_many_threads_are_given_up_one_step_at_a_time() -> None:
    """A program that keeps one of eight cores costs a thread or two, not seven."""

    def one_core_taken(n: int) -> tuple[float, float]:
        seconds = 0.016 / n if n < 8 else 0.016 / 4
        return seconds, seconds * n * (1.0 if n < 8 else 0.6)

    used = run(ThreadChoice(8), one_core_taken, 2000)
    assert used[8:72] == [6] * 64
    assert sum(used) / len(used) > 5.5
    assert min(used) >= 6


def test_there_is_always_a_thread() -> None:
    assert set(run(ThreadChoice(1), lambda n: (1.0, 0.1), 500)) == {1}
