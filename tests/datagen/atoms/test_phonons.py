"""Phonons: closed forms, folded zones, the sum rule, long waves as sound."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from datagen.atoms.cauchy_born import CauchyBorn
from datagen.atoms.crystal import Crystal
from datagen.atoms.crystals import b2, diamond, fcc, stress_free
from datagen.atoms.homogeneous import Homogeneous
from datagen.atoms.lennard_jones import LennardJones
from datagen.atoms.phonons import ForceConstants, Vibrations, commensurate
from datagen.atoms.stillinger_weber import StillingerWeber
from datagen.atoms.units import DALTON, MPA
from datagen.tensors import inv


def lennard_jones() -> LennardJones:
    return LennardJones(0.0104, 3.405, 8.5125, truncation="smooth", inner=6.81)


def stillinger_weber() -> StillingerWeber:
    return StillingerWeber(
        epsilon=2.1683, sigma=2.0951, a=1.8, lmbda=21.0, gamma=1.2, costheta0=-0.333333333333, A=7.049556277,
        B=0.6022245584, p=4, q=0,
    )  # fmt: skip


def argon() -> CauchyBorn:
    return CauchyBorn(lennard_jones(), fcc(5.27, "Ar"))


def silicon() -> CauchyBorn:
    return CauchyBorn(stillinger_weber(), diamond(5.43, "Si"))


def constants(law: CauchyBorn, F: Tensor) -> ForceConstants:
    """Of one deformation (3, 3)."""
    lattice = Homogeneous(law.potential, law.crystal)
    found = lattice.relaxed(F[None])
    return Vibrations(lattice).force_constants(F[None], found.shift)


def sheared(seed: int = 0, amplitude: float = 0.03) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.eye(3).double() + amplitude * (2 * torch.rand(3, 3, generator=generator).double() - 1)


def test_nearest_neighbours_of_fcc_vibrate_as_a_chain_along_100():
    # N. W. Ashcroft, N. D. Mermin, Solid State Physics, 1976, chapter 22, problem 1: with a spring k between nearest
    # neighbours at rest, m w^2 = 8 k sin^2(qa/4) for the longitudinal wave along [100], 4 k sin^2(qa/4) for the others.
    epsilon, sigma = 0.0104, 3.405
    potential = LennardJones(epsilon, sigma, 1.4 * sigma, truncation="smooth", inner=1.3 * sigma)
    law = CauchyBorn(potential, fcc(math.sqrt(2) * 2 ** (1 / 6) * sigma, "Ar"))
    k, m = 72 * epsilon / (2 ** (1 / 3) * sigma**2), 39.948 * DALTON
    t = torch.tensor([0.5, 0.31, 0.1, 0.003], dtype=torch.float64)  # q = 2 pi/a (2 t, 0, 0)
    squared = constants(law, torch.eye(3).double()).squared(torch.stack([0 * t, t, t], -1)[None])[0]
    sine = torch.sin(math.pi * t) ** 2
    wanted = torch.stack([4 * k * sine, 4 * k * sine, 8 * k * sine], -1) / m
    torch.testing.assert_close(squared, wanted, rtol=1e-11, atol=0)


@pytest.mark.parametrize("make", [argon, silicon])
def test_a_dynamical_matrix_is_the_sum_over_site_hessians(make):
    law, F = make(), sheared()
    lattice = Homogeneous(law.potential, law.crystal)
    shift = lattice.relaxed(F[None]).shift
    n = law.crystal.n
    q = torch.tensor([0.23, -0.41, 0.17], dtype=torch.float64)
    ((_, bonds, near),) = list(lattice.pieces(F[None], shift, 24, 2**30))
    H = law.potential.hessian(bonds)[0].to(torch.complex128)  # (n, 3 K, 3 K)
    # A wave u_j exp(i q.R) with R the place of the atom's cell; the other gauge differs by a phase of each atom.
    inverse = inv(law.crystal.lattice)
    place = law.crystal.positions @ inverse
    cell = near.vector @ inverse - place[near.other] + place[:, None]
    K = near.other.shape[1]
    T = torch.zeros(n, K, 3, n, 3, dtype=torch.complex128)
    for i in range(n):
        for k in range(K):
            phase = torch.exp(2j * math.pi * (q @ cell[i, k].round()))
            for c in range(3):
                T[i, k, c, near.other[i, k], c] += phase
                T[i, k, c, i, c] -= 1
    T = T.flatten(3).flatten(1, 2)
    D = (T.mH @ H @ T).sum(0) / (law.potential.masses[0] * DALTON)
    wanted = torch.linalg.eigvalsh(D)
    got = constants(law, F).squared(q[None, None])[0, 0]
    torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-11 * float(wanted.abs().max()))


def test_a_larger_cell_folds_the_zone():
    # Four atoms at wave vector 0 vibrate as one at Gamma and at the three points X.
    law, F = argon(), sheared(seed=3)
    a = float(2 * law.crystal.lattice[0, 1])
    large = CauchyBorn(law.potential, fcc(a, "Ar", conventional=True), clamped=True)
    X = torch.tensor([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], dtype=torch.float64)
    one = constants(law, F).squared(X[None])[0].flatten().sort().values
    lattice = Homogeneous(large.potential, large.crystal, clamped=True)
    many = Vibrations(lattice).force_constants(F[None], torch.zeros(1, 3, 0).double()).squared(0 * X[None, :1])[0, 0]
    torch.testing.assert_close(many, one, rtol=1e-10, atol=1e-12 * float(one.max()))


def test_a_soft_wave_lowers_the_energy_of_the_cell_that_holds_it():
    # Eight atoms in a row of cells along the third lattice vector hold q = (1/4, 1/8, 1/8).
    law = argon()
    h, F = law.crystal.lattice, torch.diag(torch.tensor([1.16, 1.0, 1.0], dtype=torch.float64))
    q = torch.tensor([0.25, 0.125, 0.125], dtype=torch.float64)
    big = torch.tensor([[1.0, -1, -1], [0, 1, -1], [0, 0, 8]], dtype=torch.float64) @ h
    row = Homogeneous(law.potential, Crystal(big, torch.stack([k * h[2] for k in range(8)]), ["Ar"] * 8))
    for stretch in (1.05, 1.1, 1.2, 1.3):
        F[0, 0] = stretch
        curvature = row.curvature(F[None], torch.zeros(1, 3, 7).double())[0][:, 3:, :, 3:].flatten(2).flatten(0, 1)
        waves = q * torch.arange(1, 8).double()[:, None]
        softest = float(constants(law, F).squared(waves[None])[0].min())
        assert (float(torch.linalg.eigvalsh(curvature).min()) > 0) == (softest > 0)


@pytest.mark.parametrize("make", [argon, silicon])
def test_a_uniform_displacement_makes_no_force(make):
    found = constants(make(), sheared(seed=1))
    squared = found.squared(torch.zeros(1, 1, 3).double())[0, 0]
    assert float(squared[:3].abs().max()) <= 1e-14 * max(float(squared.max()), 1.0)
    n = len(found.mass)
    moved = found.uniform[0] @ torch.eye(3).double().repeat(n, 1)
    assert float(moved.abs().max()) <= 1e-14 * max(float(found.uniform.abs().max()), 1e-300)


@pytest.mark.parametrize("make", [argon, silicon])
def test_long_waves_travel_as_the_acoustic_tensor_says(make):
    # Density w^2 = eigenvalues of A_iJkL K_J K_L for K = 2 pi B q, with the inner atoms following.
    law, F = make(), sheared(seed=2)
    A = law.tangent(F.flatten(), law.initial_state(), 1.0).reshape(3, 3, 3, 3) / MPA
    found = constants(law, F)
    generator = torch.Generator().manual_seed(5)
    N = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    q = 1e-3 * (N / N.norm(dim=1, keepdim=True)) @ law.crystal.lattice.T  # K = 2e-3 pi N
    acoustic = torch.einsum("ijkl,mj,ml->mik", A, N, N) / (N * N).sum(1)[:, None, None]
    wanted = torch.linalg.eigvalsh(acoustic) * (2e-3 * math.pi) ** 2 / law.density
    torch.testing.assert_close(found.squared(q[None])[0, :, :3], wanted, rtol=2e-4, atol=0)


def test_optical_phonons_at_gamma_are_the_sublattices_against_each_other():
    # Two equal masses: w^2 = 2 c/m with c = d2E/du2 of the cell by the shift.
    law = silicon()
    lattice, one = Homogeneous(law.potential, law.crystal), torch.eye(3).double()
    c = lattice.curvature(one[None], torch.zeros(1, 3, 1).double())[0, :, 3, :, 3]
    squared = constants(law, one).squared(torch.zeros(1, 1, 3).double())[0, 0]
    wanted = 2 * float(c.diagonal().mean()) / (28.085 * DALTON)
    assert squared[3:].tolist() == pytest.approx([wanted] * 3, rel=1e-11)


def test_a_light_and_a_heavy_atom_vibrate_with_their_reduced_mass():
    potential = LennardJones(
        [[0.0104, 0.0156], [0.0156, 0.0052]], [[3.405, 2.9], [2.9, 3.2]], 8.5, elements=["A", "B"], masses=[40.0, 10.0]
    )
    law = CauchyBorn(potential, b2(3.5, "A", "B"))
    lattice, F = Homogeneous(potential, law.crystal), torch.eye(3).double()
    c = lattice.curvature(F[None], torch.zeros(1, 3, 1).double())[0, :, 3, :, 3]
    squared = constants(law, F).squared(torch.zeros(1, 1, 3).double())[0, 0].sort().values
    optical = torch.linalg.eigvalsh(c) * (1 / 40.0 + 1 / 10.0) / DALTON
    wanted = torch.cat([torch.zeros(3).double(), optical]).sort().values
    torch.testing.assert_close(squared, wanted, rtol=1e-11, atol=1e-11 * float(wanted.abs().max()))


def test_the_commensurate_grid_holds_one_of_each_pair():
    for n in (2, 3, 4, 8):
        q = commensurate(n)
        own = int((2 * torch.cartesian_prod(*3 * [torch.arange(n)]) % n == 0).all(1).sum())  # q and -q are one
        assert len(q) == (n**3 - own) // 2 + own - 1
        assert float(q.max()) <= 0.5
        assert float(q.min()) > -0.5
        assert bool((q != 0).any(1).all())


def test_the_softest_phonon_of_a_batch_is_that_of_its_members():
    law = argon()
    lattice = Homogeneous(law.potential, law.crystal)
    F = torch.stack([sheared(seed=s, amplitude=0.06) for s in range(4)])
    empty = torch.zeros(4, 3, 0).double()
    for refine in (False, True):
        vibrations = Vibrations(lattice, 4, refine)
        squared, wave = vibrations.softest(F, empty)
        for k in range(4):
            one, at = vibrations.softest(F[k : k + 1], empty[:1])
            assert float(one) == pytest.approx(float(squared[k]), rel=1e-9)
            torch.testing.assert_close(at[0], wave[k], rtol=1e-9, atol=1e-9)
        at = [
            vibrations.force_constants(F[k : k + 1], empty[:1]).squared(wave[k][None, None])[0, 0, 0] for k in range(4)
        ]
        torch.testing.assert_close(torch.stack(at), squared, rtol=1e-9, atol=1e-12)


def test_a_grid_of_one_point_is_refused():
    with pytest.raises(ValueError, match=r"grid: got 1, wanted"):
        Vibrations(Homogeneous(lennard_jones(), stress_free(fcc(5.27, "Ar"), lennard_jones())), 1)
