"""How relaxed atoms answer a small change: H u = f by conjugate gradients, and the tangent of the stress.

The second derivative H of the energy by the positions is known through its products only. Translations of all atoms
cost nothing: where no atom is held they are projected out, and u has no mean.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from datagen.atoms.neighbours import Neighbours
from datagen.atoms.potential import Potential
from datagen.atoms.statics import Linearised


class Solved(NamedTuple):
    """A solution of H u = f."""

    u: Tensor  # (C, B, n, 3)
    residual: Tensor  # (C, B) |H u - f| / |f|
    negative: Tensor  # (C, B) bool, whether a direction of negative curvature was met; u stops before it


def mobile(fixed: Tensor | None, positions: Tensor) -> Tensor:
    """1 where an atom's coordinate may change, else 0, (B, n, 3); ``fixed`` is bool (n,), (B, n) or (B, n, 3)."""
    if fixed is None:
        return torch.ones_like(positions)
    B, n, _ = positions.shape
    if fixed.dtype != torch.bool or tuple(fixed.shape) not in ((n,), (B, n), (B, n, 3)):
        raise ValueError(
            f"fixed: got {fixed.dtype} of shape {tuple(fixed.shape)}, wanted bool of ({n},), ({B}, {n}) or "
            f"({B}, {n}, 3)"
        )
    free = (~fixed).to(positions.dtype)
    return free.expand(B, n, 3).clone() if free.dim() == 3 else free.expand(B, n)[..., None].expand(B, n, 3).clone()


def projected(vector: Tensor, free: Tensor) -> Tensor:
    """What of a vector (*c, B, n, 3) moves no held coordinate, and is no translation along an axis none is held."""
    kept = vector * free
    loose = (free.sum(-2, keepdim=True) == free.shape[-2]).to(free.dtype)
    return kept - loose * kept.mean(-2, keepdim=True)


def solve(at: Linearised, f: Tensor, free: Tensor, tolerance: Tensor | float = 1e-10, steps: int = 500) -> Solved:
    """H u = f by conjugate gradients for C right-hand sides of B members (C, B, n, 3), each stopped on its own.

    Args:
        at: the state.
        f: right-hand sides [eV/A].
        free: of `mobile` (B, n, 3).
        tolerance: on |H u - f| / |f|, a number or (C, B).
        steps: at most; a residual left tells.

    Where the first direction has negative curvature the answer is f over the size of that curvature: downhill.
    """
    r = projected(f, free)
    u = torch.zeros_like(r)
    d = r
    square = _dot(r, r)
    start = square
    goal = start * torch.as_tensor(tolerance, dtype=f.dtype, device=f.device) ** 2
    negative = torch.zeros_like(square, dtype=torch.bool)
    active = square > 0
    every = 1 if f.device.type == "cpu" else 8  # asking a GPU stops it
    for step in range(steps):
        if step % every == 0 and not active.any():
            break
        Hd = projected(at.product(d), free)
        curvature = _dot(d, Hd)
        bad = active & ~(curvature > 0)
        if step == 0:
            u = torch.where(_wide(bad), f * _wide(square / curvature.abs().clamp(min=1e-12 * square)), u)
        negative |= bad
        active = active & ~bad
        length = torch.where(active, square / curvature, 0.0)
        u = u + _wide(length) * d
        r = r - _wide(length) * Hd
        new = _dot(r, r)
        active = active & (new > goal)
        d = torch.where(_wide(active), r + _wide(torch.where(active, new / square, 0.0)) * d, d)
        square = torch.where(active | (length > 0), new, square)
    return Solved(u, (square / start.clamp(min=1e-300)).sqrt(), negative)


def strain_response(
    potential: Potential,
    positions: Tensor,
    cell: Tensor,
    species: Tensor,
    found: Neighbours,
    strain: Tensor,
    free: Tensor | None = None,
    tolerance: float = 1e-10,
) -> tuple[Tensor, Solved]:
    """Change of the virial [eV] of relaxed atoms when their cell is strained, dh = h e^T, the atoms relaxing along.

    Args:
        potential: of the atoms.
        positions: in equilibrium (B, n, 3) [A].
        cell: (B, 3, 3) [A].
        species: (n,).
        found: a list for these positions.
        strain: C directions e (C, B, 3, 3) or (C, 1, 3, 3); with F, e = dF F^-1.
        free: of `mobile`; without, all are.
        tolerance: of the conjugate gradients.

    Returns:
        dS (C, B, 3, 3), and the displacements u beyond the strain with how well they were found: dx = e x + u.
    """
    at = Linearised(potential, positions, cell, species, found)
    free = mobile(None, positions) if free is None else free
    strain = strain.expand(-1, len(positions), 3, 3)
    relaxed = solve(at, at.strained(strain), free, tolerance)
    return at.virial_change(strain, relaxed.u), relaxed


def smallest_curvature(at: Linearised, free: Tensor, steps: int = 30) -> tuple[Tensor, Tensor]:
    """The lowest and highest Ritz value (B,) [eV/A^2] of H after some steps of Lanczos' method from a fixed start.

    The lowest lies above the lowest eigenvalue: a negative one proves an instability, a positive one proves nothing.
    """
    _, n, _ = at.shape
    start = torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(free)
    v = projected(start.expand(free.shape), free)[None]
    v = v / _wide(_dot(v, v).sqrt().clamp(min=1e-300))
    basis, diagonal, beside = [v], [], []
    for _ in range(min(steps, 3 * n)):
        w = at.product(basis[-1])
        diagonal.append(_dot(w, basis[-1]))
        for _ in range(2):  # twice is enough to keep the basis orthogonal
            for q in basis:
                w = w - _wide(_dot(w, q)) * q
            w = projected(w, free)  # last, or what rounding leaves of the translations grows with every step
        size = _dot(w, w).sqrt()
        # An invariant subspace is complete: the next vector is zero, and adds the value of the last one.
        ended = size < 1e-9 * diagonal[0].abs().clamp(min=1e-300)
        beside.append(torch.where(ended, 0.0, size))
        basis.append(torch.where(_wide(ended), 0.0, w / _wide(size.clamp(min=1e-300))))
    first = diagonal[0]
    length = torch.stack([_dot(q, q) for q in basis[:-1]])
    filled = torch.where(length > 0.5, torch.stack(diagonal), first)
    T = torch.diag_embed(filled[:, 0].T)
    off = torch.stack(beside[:-1])[:, 0].T if len(beside) > 1 else T.new_zeros(len(T), 0)
    T = T + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
    values = torch.linalg.eigvalsh(T)
    return values[:, 0], values[:, -1]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((-2, -1))


def _wide(a: Tensor) -> Tensor:
    return a[..., None, None]
