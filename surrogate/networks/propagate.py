r"""Value, gradient and Hessian of a feed-forward network, carried through its layers in closed form.

Written out, because functorch transforms take ten times as long at a material point and do not pass `torch.export`;
every line is a plain tensor operation, so a loss on stress or tangent differentiates with respect to the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Layer(NamedTuple):
    """z = a inner + x outer + bias: from the layer before, a (*b, w), and from the arguments, x (*b, p)."""

    inner: Tensor | None  # (w, width), None in the first layer
    outer: Tensor | None  # (p, width), None where the arguments do not enter
    bias: Tensor | None  # (width,)

    def __call__(self, a: Tensor | None, x: Tensor) -> Tensor:
        """The layer's z (*b, width)."""
        terms = [y @ w for y, w in ((a, self.inner), (x, self.outer)) if y is not None and w is not None]
        z = terms[0] if len(terms) == 1 else terms[0] + terms[1]
        return z if self.bias is None else z + self.bias


def softplus(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ln(1 + exp z), convex and increasing, with its first and second derivative.

    Written out: `torch.nn.functional.softplus` drops e^-20 beyond z = 20, which float64 sees.
    """
    size = z.abs()
    first = torch.sigmoid(z)
    return 0.5 * (z + size) + torch.log1p(torch.exp(-size)), first, first * (1 - first)


def propagate(x: Tensor, layers: Sequence[Layer], curvature: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    r"""Output of a softplus network and its derivatives with respect to its arguments.

    With a_l = t(z_l), t the softplus, T_l = d z_l / d x and g_l = d N / d a_l,
    N' = sum_l outer_l (g_l t'_l),  N'' = sum_l T_l diag(g_l t''_l) T_l^T:
    values and T run forward, g runs backward.

    Args:
        x: arguments, (*b, p).
        layers: one hidden layer or more, then a linear layer of width 1.
        curvature: whether to give the Hessian.

    Returns:
        Value (*b,), gradient (*b, p), Hessian (*b, p, p) or None.
    """
    *hidden, last = layers
    a: Tensor | None = None
    slopes, bends = [], []
    for layer in hidden:
        a, slope, bend = softplus(layer(a, x))
        slopes.append(slope)
        bends.append(bend)
    value = last(a, x)[..., 0]

    g = _present(last.inner)[:, 0]
    gradient = torch.zeros_like(x) if last.outer is None else last.outer[:, 0].expand_as(x)
    for k in reversed(range(len(hidden))):
        layer, delta = hidden[k], g * slopes[k]
        bends[k] = g * bends[k]
        if layer.outer is not None:
            gradient = gradient + delta @ layer.outer.T
        if layer.inner is not None:
            g = delta @ layer.inner.T
    return value, gradient, _hessian(hidden, slopes, bends) if curvature else None


def _hessian(hidden: Sequence[Layer], slopes: Sequence[Tensor], bends: Sequence[Tensor]) -> Tensor:
    """Sum over the layers of T diag(bend) T^T, with T (*b, p, width) carried forward."""
    T = _present(hidden[0].outer)
    pairs = T[:, None] * T  # the first T is the same at all points: one matrix product, not one a point
    hessian = (bends[0] @ pairs.flatten(0, 1).T).unflatten(-1, pairs.shape[:2])
    for layer, slope, bend in zip(hidden[1:], slopes, bends[1:], strict=False):
        T = (T * slope[..., None, :]) @ _present(layer.inner)
        if layer.outer is not None:
            T = T + layer.outer
        hessian = hessian + (T * bend[..., None, :]) @ T.transpose(-1, -2)
    return hessian


def _present(weights: Tensor | None) -> Tensor:
    if weights is None:
        raise ValueError("layers: got a layer without weights, wanted outer in the first and inner in the others")
    return weights
