"""Muon for the matrices of a model and AdamW for the rest: fewer tokens until the same loss.

Muon (Keller Jordan, 2024) replaces the momentum of each matrix by the nearest half-orthogonal one, found by a
Newton-Schulz iteration. Written here because the iteration has to run in float32: bfloat16 is slow on most CPUs.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch

_ITERATION = (3.4445, -4.7750, 2.0315)
_STEPS = 5


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """`matrices` [n, rows, columns] with all singular values pulled to about 1."""
    a, b, c = _ITERATION
    x = matrices.transpose(1, 2) if matrices.shape[1] > matrices.shape[2] else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(_STEPS):
        square = x @ x.transpose(1, 2)
        x = a * x + (b * square + c * square @ square) @ x
    return x.transpose(1, 2) if matrices.shape[1] > matrices.shape[2] else x


class Muon(torch.optim.Optimizer):
    """For two-dimensional parameters only. `lr` is on the scale of AdamW's."""

    def __init__(self, params: Any, lr: float, momentum: float = 0.95, weight_decay: float = 0.1) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for shape, parameters in by_shape.items():
                self._step_alike(parameters, shape, group)

    def _step_alike(self, parameters: list[torch.Tensor], shape: torch.Size, group: dict[str, Any]) -> None:
        """Matrices of one shape are iterated as one batch."""
        updates = []
        for parameter in parameters:
            state = self.state[parameter]
            momentum = state.setdefault("momentum", torch.zeros_like(parameter))
            momentum.lerp_(parameter.grad, 1 - group["momentum"])
            updates.append(parameter.grad.lerp(momentum, group["momentum"]))
        scale = 0.2 * max(shape) ** 0.5 * group["lr"]
        for parameter, update in zip(parameters, orthogonal(torch.stack(updates)), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-scale)
