"""Functions of tensors compiled for the shapes they meet, where the machine can."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

Function = Callable[..., Sequence[Tensor]]


class _Machine:
    """What this process has learned about its compiler."""

    fails = False


class Compiled:
    """Functions of tensors alone, traced and compiled at their first call with tensors of new shapes.

    The trace holds what the function does for these shapes. A function that asks for values of tensors cannot be
    traced, and without a C++ compiler nothing can be compiled: then it is said once in a process, and from there on
    functions are called as they are. A copy begins with nothing compiled.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, Function] = {}

    def __reduce__(self) -> tuple[type[Compiled], tuple[()]]:
        return Compiled, ()

    def __call__(self, name: Hashable, function: Function, *inputs: Tensor) -> Sequence[Tensor]:
        """``function(*inputs)``; a ``name`` stands for one function, whose only inputs are these."""
        if _Machine.fails:
            return function(*inputs)
        key = (name, *((t.shape, t.stride(), t.dtype, t.device) for t in inputs))
        if key not in self._known:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the compiler's own, about itself
                    self._known[key] = _compile(function, inputs)
                    return self._known[key](*inputs)
            except Exception as error:  # whatever the reason, the answer is the same without
                _Machine.fails = True
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                warnings.warn(f"the cell solver runs uncompiled: {reason}", RuntimeWarning, stacklevel=2)
                return function(*inputs)
        return self._known[key](*inputs)


def _compile(function: Function, inputs: Sequence[Tensor]) -> Function:
    graph = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
    compiled: Any = torch.compile(graph, dynamic=False, fullgraph=True)
    return compiled
