"""Arguments that laws with material axes or an eigenstrain share: read, checked, as float64 tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datagen.tensors import det

Nested = Sequence[Sequence[float]]


def rotation(orientation: Tensor | Nested | None) -> Tensor:
    """Rotation (3, 3) from the material axes to those of the strain, v = Q v_material; None is the identity.

    Its columns are the material axes.

    Raises:
        ValueError: not a proper rotation to 1e-9.
    """
    if orientation is None:
        return torch.eye(3, dtype=torch.float64)
    Q = torch.as_tensor(orientation, dtype=torch.float64)
    if tuple(Q.shape) != (3, 3):
        raise ValueError(f"orientation: got shape {tuple(Q.shape)}, wanted a rotation (3, 3), its columns the axes")
    defect = float((Q @ Q.T - torch.eye(3, dtype=torch.float64, device=Q.device)).abs().max())
    if not defect <= 1e-9 or not float(det(Q)) > 0:
        raise ValueError(
            f"orientation: got a matrix with |Q Q^T - 1| = {defect:.1e} and det {float(det(Q)):.3g}, wanted a proper "
            f"rotation to 1e-9; write its entries with all digits"
        )
    return Q.clone()


def mandel_eigenstrain(eigenstrain: Tensor | Sequence[float] | float) -> Tensor:
    """Eigenstrain (6,) in Mandel notation, in material axes; a number is the same strain in all directions.

    Raises:
        ValueError: neither one number nor six, or not finite.
    """
    strain = torch.as_tensor(eigenstrain, dtype=torch.float64)
    if strain.dim() == 0:
        strain = strain * torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0], dtype=torch.float64, device=strain.device)
    if tuple(strain.shape) != (6,) or not bool(strain.isfinite().all()):
        raise ValueError(
            f"eigenstrain: got {eigenstrain}, wanted a number, or six Mandel components 11 22 33 and sqrt(2) times "
            f"23 13 12"
        )
    return strain.clone()


def elastic_buffers(moduli: dict[str, float]) -> dict[str, Tensor]:
    """Moduli as float64 tensors () by name."""
    return {name: torch.tensor(float(value), dtype=torch.float64) for name, value in moduli.items()}


def require_positive(**moduli: float) -> None:
    """Raise ValueError naming the first modulus that is not > 0."""
    for name, value in moduli.items():
        if not value > 0:
            raise ValueError(f"{name}: got {value}, wanted a modulus > 0 [MPa]")
