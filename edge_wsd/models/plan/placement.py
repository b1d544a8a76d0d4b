"""Where each layer of a model is computed, by llama.cpp's own rule.

>>> place(n_layers=4, gpu_layers=3, free=[8, 8])   # the last number is the output's place
(-1, -1, 0, 0, 1)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

HOST = -1
Placement = tuple[int, ...]
"""For each repeating layer, and last for the output: the number of its GPU, or `HOST`."""


def place(n_layers: int, gpu_layers: int, free: Sequence[int], numbers: Sequence[int] | None = None) -> Placement:
    """The last `gpu_layers` layers, with the output (-1 for all), go to the GPUs, in proportion to their free memory.

    `free` has one entry for each GPU that takes part, `numbers` their numbers if they are not 0, 1, ...
    """
    n_all = n_layers + 1
    numbers = range(len(free)) if numbers is None else numbers
    on_gpu = n_all if gpu_layers < 0 else min(gpu_layers, n_all)
    if not free or on_gpu == 0:
        return (HOST,) * n_all
    ends = list(accumulate(max(share, 0) for share in free))
    if not ends[-1]:
        ends = list(range(1, len(free) + 1))
    shares = [end / ends[-1] for end in ends]
    first = n_all - on_gpu
    places = [numbers[min(bisect_right(shares, index / on_gpu), len(free) - 1)] for index in range(on_gpu)]
    return (HOST,) * first + tuple(places)
