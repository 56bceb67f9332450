"""The domain of trust: a hull of the strains a network was trained on, and how far outside it a strain lies."""

from __future__ import annotations

import torch
from torch import Tensor

_FLAT = 1e-3  # least width of a hull relative to its largest: the distance to a flat hull is large, not 1/0


class Domain(torch.nn.Module):
    r"""A hull of training strains and the reference state: a polytope and an ellipsoid around them, intersected.

    distance(e) = max(max_k (d_k . e - h_k) / w_k, |A (e - c)| - 1, 0), with h_k the largest d_k . e in the data along
    fixed directions d_k, w_k half the width of the data along d_k, and |A (e - c)| <= 1 the ellipsoid of their
    covariance that holds all of them. The polytope is sharp for few components and any shape, the ellipsoid for many
    and a round one. The distance is 0 inside and 0.25 for 1.25 times a strain on the rim of a hull that is symmetric
    about the reference. Before `fit` the domain is the whole space.

    Args:
        n: number of strain components.
    """

    lower: Tensor
    upper: Tensor
    directions: Tensor
    offsets: Tensor
    widths: Tensor
    centre: Tensor
    ellipsoid: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        directions = _directions(n)
        everywhere = torch.full((len(directions),), torch.inf, dtype=torch.float64)
        self.register_buffer("directions", directions)
        self.register_buffer("offsets", everywhere)
        self.register_buffer("widths", torch.ones_like(everywhere))
        self.register_buffer("lower", -everywhere[:n])
        self.register_buffer("upper", everywhere[:n].clone())
        self.register_buffer("centre", torch.zeros(n, dtype=torch.float64))
        self.register_buffer("ellipsoid", torch.zeros(n, n, dtype=torch.float64))

    def fit(self, points: Tensor) -> None:
        """Enclose ``points`` (N, n) and the reference state, zero."""
        points = torch.cat([torch.zeros_like(points[:1]), points]).to(self.offsets)
        self.lower.copy_(points.amin(0))
        self.upper.copy_(points.amax(0))
        spans = self.upper - self.lower
        spans = spans.clamp(min=_FLAT * float(spans.max()))
        # Directions uniform on the sphere once each component is measured by its own range.
        self.directions.copy_(_directions(points.shape[1]).to(spans) / spans)
        supports = [(chunk @ self.directions.T).amax(0) for chunk in points.split(4096)]
        self.offsets.copy_(torch.stack(supports).amax(0))
        opposite = self.offsets.roll(len(self.offsets) // 2)
        widths = 0.5 * (self.offsets + opposite)
        self.widths.copy_(widths.clamp(min=_FLAT * float(widths.max())))

        self.centre.copy_(points.mean(0))
        scaled = (points - self.centre) / spans
        variances, axes = torch.linalg.eigh(scaled.T @ scaled / len(scaled))
        axes = axes / variances.clamp(min=_FLAT**2 * float(variances.max())).sqrt() / spans[:, None]
        self.ellipsoid.copy_(axes / ((points - self.centre) @ axes).norm(dim=-1).max())

    def distance(self, e: Tensor) -> Tensor:
        """How far (*b, n) lies outside, (*b,), relative to the hull's half width; 0 inside."""
        planes = ((e @ self.directions.T - self.offsets) / self.widths).amax(-1)
        return torch.maximum(planes, ((e - self.centre) @ self.ellipsoid).norm(dim=-1) - 1.0).clamp(min=0.0)


def _directions(n: int) -> Tensor:
    """Unit vectors (2k, n): the axes and random ones from a fixed seed, then all their opposites."""
    random = {1: 0, 2: 32, 3: 96}.get(n, 512)
    d = torch.randn(random, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    d = torch.cat([torch.eye(n, dtype=torch.float64), d / d.norm(dim=-1, keepdim=True)])
    return torch.cat([d, -d])
