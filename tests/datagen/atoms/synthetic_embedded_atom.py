"""An embedded-atom alloy of smooth functions and the setfl files of its tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

CUTOFF = 5.0  # A
DENSEST = 60.0  # end of the tables over density


@dataclass(frozen=True)
class Analytic:
    """F_a = -A_a sqrt(1 + rho) + B_a rho^2; rho and phi exponentials that fade as (1 - r^2/rc^2)^4 to the cutoff.

    In "alloy" the density is of the neighbour alone, in "fs" of both.
    """

    kind: str = "alloy"
    elements: tuple[str, ...] = ("Ni", "Al")
    masses: tuple[float, ...] = (58.7, 26.98)

    def embedding(self, own: int, density: Tensor) -> Tensor:
        return -(1.3 + 0.4 * own) * (1 + density).sqrt() + (2e-4 - 1e-4 * own) * density**2

    def density(self, own: int, other: int, r: Tensor) -> Tensor:
        both = 0.3 * own - 0.7 * other if self.kind == "fs" else 0.0
        return (4.0 + 3.0 * other + both) * torch.exp(-(0.9 + 0.2 * other) * (r - 2.5)) * _fade(r)

    def pair(self, own: int, other: int, r: Tensor) -> Tensor:
        stretch = torch.exp(-(1.4 + 0.2 * (own + other)) * (r - 2.6 - 0.1 * own * other))
        return (0.5 - 0.1 * (own + other)) * stretch * (stretch - 2) * _fade(r)

    def energy(self, vector: Tensor, own: Tensor, other: Tensor) -> Tensor:
        """E_i (*b, n) of bonds (*b, n, K, 3) without any table."""
        r, sites = vector.norm(dim=-1), []
        for i, a in enumerate(own.tolist()):
            density = sum(self.density(a, b, r[..., i, k]) for k, b in enumerate(other[i].tolist()))
            pairs = sum(self.pair(a, b, r[..., i, k]) for k, b in enumerate(other[i].tolist()))
            sites.append(self.embedding(a, torch.as_tensor(density)) + pairs / 2)
        return torch.stack(sites, -1)


def write(folder: Path, analytic: Analytic | None = None, n: int = 2000, per_line: int = 5) -> Path:
    """The tables as a file of the setfl format, n points each."""
    analytic = analytic or Analytic()
    m = len(analytic.elements)
    r = torch.linspace(0, CUTOFF, n, dtype=torch.float64)
    density = torch.linspace(0, DENSEST, n, dtype=torch.float64)
    steps = f"{n} {DENSEST / (n - 1)!r} {n} {CUTOFF / (n - 1)!r} {CUTOFF!r}"
    lines = ["smooth functions", "for", "tests", f"{m} {' '.join(analytic.elements)}", steps]
    for source in range(m):
        lines += [
            f"{28 - 15 * source} {analytic.masses[source]} 3.52 fcc",
            *_table(analytic.embedding(source, density), per_line),
        ]
        for site in range(m if analytic.kind == "fs" else 1):
            lines += _table(analytic.density(site, source, r), per_line)
    for i in range(m):
        for j in range(i + 1):
            lines += _table(r * analytic.pair(i, j, r), per_line)
    file = folder / f"smooth_{n}.eam.{analytic.kind}"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def _fade(r: Tensor) -> Tensor:
    return (1 - (r / CUTOFF) ** 2).clamp(min=0) ** 4


def _table(values: Tensor, per_line: int) -> list[str]:
    words = [repr(value) for value in values.tolist()]
    return [" ".join(words[k : k + per_line]) for k in range(0, len(words), per_line)]
