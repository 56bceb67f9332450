"""The discrete Green operator of a homogeneous reference medium: the preconditioner of the cell solver."""

from __future__ import annotations

import torch
from torch import Tensor

from datagen.laws.law import Law, Measure
from datagen.rve.discretisation import Discretisation
from datagen.tensors import MANDEL, ROW_MAJOR, inv

PLANES = 8  # of the half grid, inverted at once
PART = 2**15  # frequencies multiplied at once


class Green(torch.nn.Module):
    r"""z = K_0^+ r, the pseudo-inverse of the stiffness of a homogeneous isotropic cell on the same discretisation.

    In Fourier space K_0 is block-diagonal, K_0,ik = (lmbda + mu) M_ik + mu delta_ik tr M with M the (real, symmetric)
    symbol of the discretisation; zero on the mean and on modes without a gradient (rigid motion, hourglasses).

    Args:
        discretisation: the cell's discretisation.
        d: displacement components, 2 (in-plane) or 3.
        lmbda, mu: Lame constants of the reference medium [MPa], ().

    Reference:
        S. Leuschner, F. Fritzen, Comput. Mech. 62 (2018) 359, doi:10.1007/s00466-017-1501-5;
        M. Ladecky et al., Appl. Math. Comput. 446 (2023) 127835, doi:10.1016/j.amc.2023.127835.
    """

    blocks: Tensor  # (d (d + 1)/2, *half grid): real and symmetric
    mu: Tensor

    def __init__(self, discretisation: Discretisation, d: int, lmbda: Tensor, mu: Tensor) -> None:
        super().__init__()
        self.axes = discretisation.axes
        self.sizes = discretisation.grid[: discretisation.n_dim]
        symbol = discretisation.symbol(mu)
        n_dim, pairs = len(symbol), [(i, k) for i in range(d) for k in range(i, d)]
        trace = sum(symbol[j, j] for j in range(1, n_dim)) + symbol[0, 0]
        floor = 1e-14 * trace.max()
        blocks = symbol.new_empty(len(pairs), *trace.shape)
        for x in range(0, len(trace), PLANES):  # in parts: a 3 x 3 inverse takes many fields
            part = slice(x, x + PLANES)
            null = trace[part] <= floor
            K = symbol.new_zeros(*null.shape, 3, 3)
            K[..., :n_dim, :n_dim] = (lmbda + mu) * symbol[:, :, part].movedim((0, 1), (-2, -1))
            # An in-plane problem leaves the third row decoupled; it is inverted with the rest and dropped.
            K.diagonal(dim1=-2, dim2=-1).add_((mu * trace[part])[..., None])
            K[null] = torch.eye(3, dtype=K.dtype, device=K.device)
            inverse = inv(K).masked_fill(null[..., None, None], 0.0) * discretisation.n_voxels  # forces are per cell
            for m, (i, k) in enumerate(pairs):
                blocks[m, part] = inverse[..., i, k]
        self._row = [[pairs.index((min(i, k), max(i, k))) for k in range(d)] for i in range(d)]
        self.register_buffer("blocks", blocks)
        self.register_buffer("mu", mu.clone())

    def forward(self, r: Tensor) -> Tensor:
        """Nodal forces (d, B, nx, ny, nz) to displacements of the same shape."""
        half = [n // 2 + 1 if axis == self.axes[-1] else n for axis, n in zip((-3, -2, -1), r.shape[2:], strict=True)]
        spectrum = r.new_empty(*r.shape[:2], *half, 2)
        # One component at a time: the transforms need copies of what they transform.
        for i in range(len(r)):
            torch.fft.rfftn(r[i], dim=self.axes, out=torch.view_as_complex(spectrum[i]))
        planes = max(1, PART // (r.shape[1] * half[1] * half[2])) if r.device.type == "cpu" else half[0]
        for part, blocks in zip(spectrum.split(planes, 2), self.blocks.split(planes, 1), strict=True):
            product = torch.empty_like(part)
            blocks = torch.stack([blocks, blocks], -1)  # for the real and for the imaginary part
            for i, row in enumerate(self._row):
                torch.mul(blocks[row[0]], part[0], out=product[i])
                for k in range(1, len(r)):
                    product[i].addcmul_(blocks[row[k]], part[k])
            part.copy_(product)
        z = torch.empty_like(r)
        for i in range(len(r)):
            torch.fft.irfftn(torch.view_as_complex(spectrum[i]), s=self.sizes, dim=self.axes, out=z[i])
        return z


@torch.no_grad()
def isotropic_part(law: Law) -> tuple[Tensor, Tensor]:
    """Lame constants nearest to a law's tangent at the reference, over the components it was made for; 0 of a void.

    The projection on isotropic stiffnesses, of the symmetric strains: the same however the law's axes are turned.
    """
    tangent = law.tangent(law.reference_strain(), law.initial_state(), 1.0)
    table = MANDEL if law.measure is Measure.SMALL else ROW_MAJOR
    own = {table[c]: c for c in law.measure.columns(law.components)}
    normal = [c for (i, j), c in own.items() if i == j]
    trace = tangent[normal, normal].sum()
    n_modes = len(normal)
    for (i, j), c in own.items():
        if i != j and law.measure is Measure.SMALL:
            trace, n_modes = trace + tangent[c, c], n_modes + 1
        elif i < j and (j, i) in own:
            pair = [c, own[(j, i)]]
            trace, n_modes = trace + tangent[pair][:, pair].sum() / 2, n_modes + 1
    volume = tangent[normal][:, normal].sum() / len(normal)  # len lmbda + 2 mu
    mu = (trace - volume) / (2 * (n_modes - 1))
    return (volume - 2 * mu) / len(normal), mu
