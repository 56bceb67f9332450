"""The root of a falling function, point by point, for the one scalar equation that an implicit update comes down to."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ITERATIONS = 40


def falling_root(
    function: Callable[[Tensor], tuple[Tensor, Tensor]], start: Tensor, tolerance: Tensor, done: Tensor
) -> Tensor:
    """Root in [0, 1] of a falling function with f(0) >= 0 >= f(1), (*b,).

    Newton's method, with a bisection where its step would leave the bracket or is not half the one before. The count
    is fixed and points are frozen once they have arrived, so that a point answers in a batch as it does alone; on a
    CPU the loop ends when all have. Not differentiable: take one more Newton step on the root to make it so.

    Args:
        function: value and slope (*b,) at the points (*b,); values of other points must not matter to a point.
        start: where to start (*b,), in [0, 1].
        tolerance: |f| at which a point has arrived, (*b,); it also has when its step is within rounding.
        done: points that need no root (*b,); they stay at ``start``.
    """
    t, low, high = start, torch.zeros_like(start), torch.ones_like(start)
    last = torch.ones_like(start)
    for k in range(ITERATIONS):
        value, slope = function(t)
        done = done | (value.abs() <= tolerance)
        if k % 2 and _all(done):
            break
        low, high = torch.where(value > 0, t, low), torch.where(value < 0, t, high)
        step = -value / slope
        done = done | (step.abs() <= 2 * torch.finfo(t.dtype).eps * t)  # a step within rounding, whatever the bracket
        newton = (t + step >= low) & (t + step <= high) & (2 * step.abs() <= last)
        step = torch.where(newton, step, 0.5 * (low + high) - t)
        last = torch.where(newton, step.abs(), high - low)
        t = torch.where(done, t, t + step)
    return t


def _all(done: Tensor) -> bool:
    """Whether all have arrived, where that can be asked and costs nothing: on a CPU, and not inside a trace."""
    if done.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    try:
        return bool(done.all())
    except RuntimeError:  # under vmap or a tracer a tensor has no one truth
        return False
