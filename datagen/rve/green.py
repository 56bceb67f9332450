"""The discrete Green operator of a homogeneous reference medium: the preconditioner of the cell solver."""

from __future__ import annotations

import torch
from torch import Tensor

from datagen.laws.law import Law, Measure
from datagen.rve.discretisation import Discretisation
from datagen.tensors import MANDEL, ROW_MAJOR, inv


class Green(torch.nn.Module):
    r"""z = K_0^+ r, the pseudo-inverse of the stiffness of a homogeneous isotropic cell on the same discretisation.

    In Fourier space K_0 is block-diagonal, K_0,ik = lmbda M_ik + mu (delta_ik tr M + M_ki) with M the symbol of the
    discretisation; zero on the mean and on modes without a gradient (rigid motion, hourglasses).

    Args:
        discretisation: the cell's discretisation.
        d: displacement components, 2 (in-plane) or 3.
        lmbda, mu: Lame constants of the reference medium [MPa], ().

    Reference:
        S. Leuschner, F. Fritzen, Comput. Mech. 62 (2018) 359, doi:10.1007/s00466-017-1501-5;
        M. Ladecky et al., Appl. Math. Comput. 446 (2023) 127835, doi:10.1016/j.amc.2023.127835.
    """

    blocks: Tensor  # (d, d, *half grid)
    mu: Tensor

    def __init__(self, discretisation: Discretisation, d: int, lmbda: Tensor, mu: Tensor) -> None:
        super().__init__()
        self.axes = discretisation.axes
        self.sizes = discretisation.grid[: discretisation.n_dim]
        symbol = discretisation.symbol(mu)
        M = symbol.new_zeros(3, 3, *symbol.shape[2:])
        M[: discretisation.n_dim, : discretisation.n_dim] = symbol
        trace = M.diagonal(dim1=0, dim2=1).sum(-1)
        null = trace <= 1e-14 * trace.max()
        K = lmbda * M + mu * M.transpose(0, 1)
        K.diagonal(dim1=0, dim2=1).add_((mu * trace)[..., None])
        # An in-plane problem leaves the third row decoupled; it is inverted with the rest and dropped.
        K.diagonal(dim1=0, dim2=1)[null] = 1.0
        K.masked_fill_(null & ~torch.eye(3, dtype=torch.bool, device=mu.device).reshape(3, 3, 1, 1, 1), 0.0)
        blocks = inv(K.movedim((0, 1), (-2, -1))).movedim((-2, -1), (0, 1))
        blocks = blocks.masked_fill(null, 0.0)[:d, :d] * discretisation.n_voxels  # forces are per cell, not per voxel
        self.register_buffer("blocks", blocks.contiguous())
        self.register_buffer("mu", mu.clone())

    def forward(self, r: Tensor) -> Tensor:
        """Nodal forces (d, B, nx, ny, nz) to displacements of the same shape."""
        spectrum = torch.view_as_real(torch.fft.rfftn(r, dim=self.axes))
        blocks = self.blocks[:, :, None, ..., None]
        d = r.shape[0]
        parts = []
        for i in range(d):
            part = blocks[i, 0] * spectrum[0]
            for k in range(1, d):
                part.addcmul_(blocks[i, k], spectrum[k])
            parts.append(part)
        return torch.fft.irfftn(torch.view_as_complex(torch.stack(parts)), s=self.sizes, dim=self.axes)


@torch.no_grad()
def isotropic_part(law: Law) -> tuple[Tensor, Tensor]:
    """Lame constants nearest to a law's tangent at the reference, over the components it was made for."""
    tangent = law.tangent(law.reference_strain(), law.initial_state(), 1.0)
    table = MANDEL if law.measure is Measure.SMALL else ROW_MAJOR
    own = {table[c]: c for c in law.measure.columns(law.components)}
    shear = [
        tangent[c, c] / 2 if law.measure is Measure.SMALL else (tangent[c, c] + tangent[c, own[(j, i)]]) / 2
        for (i, j), c in own.items()
        if i != j and (law.measure is Measure.SMALL or (j, i) in own)
    ]
    normal = [c for (i, j), c in own.items() if i == j]
    cross = [tangent[a, b] for a in normal for b in normal if a != b]
    return torch.stack(cross).mean(), torch.stack(shear).mean()
