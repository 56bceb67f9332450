"""Isotropic linear elasticity."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datagen.laws.law import Law, Measure, Step, finite_verdict
from datagen.laws.material_axes import mandel_eigenstrain
from datagen.tensors import join, lame_constants


class LinearElastic(Law):
    r"""Isotropic linear elastic solid at small strain (Hooke's law), with a stress-free strain if there is one.

    sigma = lmbda tr(eps - eigenstrain) 1 + 2 mu (eps - eigenstrain),  psi = 1/2 sigma : (eps - eigenstrain)

    E = 0 is a void: no stress, no stiffness. With an eigenstrain (thermal expansion, shrinkage) other than 0 the
    reference configuration has the stress -C : eigenstrain. Differentiable with respect to its moduli.

    Args:
        E: Young's modulus [MPa], >= 0.
        nu: Poisson's ratio, in (-1, 1/2).
        eigenstrain: stress-free strain: a number (the same in all directions), or six Mandel components in the axes of
            the strain. There are no material axes here, so the orientations of a microstructure do not turn it; an
            `AnisotropicElastic` of isotropic stiffness has them.

    Raises:
        ValueError: a modulus outside its range, or no strain.

    Reference:
        J. C. Simo, T. J. R. Hughes, Computational Inelasticity, 1998, section 2.1; T. Mura, Micromechanics of Defects
        in Solids, 2nd ed., 1987, section 2 (eigenstrain).
    """

    measure = Measure.SMALL
    linear = True
    mirror_z = True

    lmbda: Tensor
    mu: Tensor
    eigenstrain: Tensor

    def __init__(self, E: float, nu: float, eigenstrain: Tensor | Sequence[float] | float = 0.0) -> None:
        super().__init__()
        if not E >= 0:
            raise ValueError(f"E: got {E}, wanted a Young's modulus >= 0 [MPa]; 0 is a void")
        lmbda, mu = (0.0 * modulus for modulus in lame_constants(1.0, nu)) if E == 0 else lame_constants(E, nu)
        self.register_buffer("lmbda", torch.tensor(lmbda, dtype=torch.float64))
        self.register_buffer("mu", torch.tensor(mu, dtype=torch.float64))
        self.register_buffer("eigenstrain", mandel_eigenstrain(eigenstrain))
        self.mirror_z = not bool(self.eigenstrain[3:5].any())

    def forward(self, strain: Tensor, state: Tensor, dt: Tensor | float, parameters: Tensor | None = None) -> Step:
        """See `Law.forward`."""
        self.check(strain, state)
        elastic = strain - self.eigenstrain
        stress = self._stress(elastic)
        psi = 0.5 * (stress * elastic).sum(-1)
        return self.answer(psi, stress, torch.zeros_like(psi), state, finite_verdict(strain))

    def linearise(
        self,
        strain: Tensor,
        state: Tensor,
        dt: Tensor | float,
        parameters: Tensor | None = None,
        components: Sequence[str] | None = None,
    ) -> tuple[Step, Tensor]:
        """See `Law.linearise`; the tangent is constant, so nothing is saved."""
        return self.forward(strain, state, dt, parameters), strain.new_empty(*strain.shape[:-1], 0)

    def apply_tangent(self, saved: Tensor, direction: Tensor) -> Tensor:
        """See `Law.apply_tangent`."""
        batch = torch.broadcast_shapes(saved.shape[:-1], direction.shape[:-1])
        return self._stress(direction.expand(*batch, 6))

    def _stress(self, eps: Tensor) -> Tensor:
        pressure = self.lmbda * (eps[..., 0] + eps[..., 1] + eps[..., 2])
        stress = 2 * self.mu[..., None] * eps
        return join([stress[..., :3] + pressure[..., None], stress[..., 3:]])
