"""Langevin dynamics and the errors of its averages."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from datagen.atoms.blocks import block_means, standard_error
from datagen.atoms.crystal import Crystal
from datagen.atoms.crystals import diamond, fcc
from datagen.atoms.dynamics import Series, langevin, seed_of
from datagen.atoms.lennard_jones import LennardJones
from datagen.atoms.potential import Bonds, Potential, Sites
from datagen.atoms.stillinger_weber import StillingerWeber
from datagen.atoms.supercells import supercell
from datagen.atoms.units import BOLTZMANN, DALTON, MPA
from datagen.tensors import det
from tests.datagen.atoms.oracle import lammps_instance

ARGON = LennardJones(epsilon=0.0104, sigma=3.405, cutoff=8.5125)
SHORT = LennardJones(epsilon=0.0104, sigma=3.405, cutoff=6.81)


def argon(repeat: int, a: float = 5.4) -> Crystal:
    return supercell(fcc(a, "Ar", conventional=True), repeat)


def walk(potential: Potential, crystal: Crystal, F: Tensor, temperature: Tensor | float, **settings) -> Series:
    settings = {"seeds": range(len(F)), "timestep": 0.005, "friction": 1.0} | settings
    positions, cell = crystal.positions @ F.mT, crystal.lattice @ F.mT
    return langevin(potential, positions, cell, potential.species(crystal.elements), temperature, **settings)


def identity(members: int) -> Tensor:
    return torch.eye(3, dtype=torch.float64).repeat(members, 1, 1)


def autoregressive(phi: float, length: int, members: int) -> tuple[Tensor, float]:
    """Series x_t = phi x_(t-1) + noise (length, members), stationary, and the error of their means for long series.

    The spectral density at zero: error^2 = 1 / ((1 - phi)^2 length), noise of unit variance.
    """
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(length, members, generator=generator, dtype=torch.float64)
    x[0] /= math.sqrt(1 - phi**2)
    for t in range(1, length):
        x[t] += phi * x[t - 1]
    return x, 1 / ((1 - phi) * math.sqrt(length))


@pytest.mark.parametrize("phi", [0.0, 0.9, 0.98, -0.6])
def test_blocks_find_the_error_of_the_mean_of_a_correlated_series(phi):
    length = 8192
    x, error = autoregressive(phi, length, members=400)
    estimate = standard_error(x)
    assert estimate.shape == (400,)
    assert float(estimate.square().mean().sqrt()) == pytest.approx(error, rel=0.1)
    inside = (x.mean(0).abs() <= 3 * estimate).double().mean()
    assert float(inside) >= 0.98  # normal: 0.9973; the estimate itself is uncertain


def test_errors_of_several_series_are_those_of_each():
    x, _ = autoregressive(0.9, 1000, members=6)
    together = standard_error(x.reshape(1000, 2, 3))
    alone = torch.stack([standard_error(x[:, k : k + 1])[0] for k in range(6)]).reshape(2, 3)
    torch.testing.assert_close(together, alone, rtol=1e-13, atol=0)


def test_a_series_that_does_not_move_has_no_error_and_one_that_breaks_has_none_to_tell():
    x = torch.ones(100, 2, dtype=torch.float64)
    x[50, 1] = torch.nan
    error = standard_error(x)
    assert float(error[0]) == 0.0
    assert bool(error[1].isnan())


def test_too_short_a_series_is_refused():
    with pytest.raises(ValueError, match="series: got 31 entries, wanted at least 32"):
        standard_error(torch.zeros(31))
    with pytest.raises(ValueError, match="series: got 3 entries, wanted at least 4"):
        block_means(torch.zeros(3), 4)


def test_block_means_are_those_of_the_end_of_the_series():
    assert block_means(torch.arange(7.0), 3).tolist() == [1.5, 3.5, 5.5]


def test_seeds_derive_from_every_bit_and_zero_has_one_sign():
    F = torch.eye(3, dtype=torch.float64)
    nudged = F.clone()
    nudged[0, 1] = 5e-324
    assert seed_of(1, F, 40.0) == seed_of(1, F - 0.0 * F, 40.0)
    assert len({seed_of(1, F, 40.0), seed_of(2, F, 40.0), seed_of(1, nudged, 40.0), seed_of(1, F, 41.0)}) == 4
    assert seed_of(0, torch.tensor([0.0])) == seed_of(0, torch.tensor([-0.0]))


class Springs(Potential):
    """Springs along x between atoms L apart: E = 1/2 sum over pairs k |r - R|^2, R = (+-L, 0, 0)."""

    elements, masses, cutoff = ("Ar",), (39.948,), 4.1

    def __init__(self, k: float, length: float) -> None:
        super().__init__()
        self.k, self.length = k, length

    def forward(self, bonds: Bonds) -> Sites:
        real = bonds.vector[..., 0].abs() < 2 * self.cutoff
        rest = torch.zeros_like(bonds.vector)
        rest[..., 0] = self.length * bonds.vector[..., 0].sign()
        stretch = torch.where(real[..., None], bonds.vector - rest, 0.0)
        return Sites(0.25 * self.k * stretch.square().sum((-2, -1)), 0.5 * self.k * stretch)


def test_positions_of_an_oscillator_have_their_exact_variance_at_a_large_time_step():
    # Two atoms 4 A apart along x in a cell 8 A long: two springs k between them, the reduced mass m/2, so that the
    # variance of their distance is k_B T / 2k. omega = 2 sqrt(k/m); the step is omega dt = 1.2.
    crystal = Crystal([[8.0, 0, 0], [0, 40.0, 0], [0, 0, 40.0]], [[0.0, 0, 0], [4.0, 0, 0]], ["Ar", "Ar"])
    k, T, members = 0.05, 30.0, 32
    omega = 2 * math.sqrt(k / (39.948 * DALTON))
    springs = Springs(k, 4.0)

    def observe(at: Bonds, rows: slice) -> Tensor:
        x = at.vector[:, 0, :, 0]
        return x.gather(1, torch.where(x > 0, x, torch.inf).argmin(1, keepdim=True))

    run = langevin(
        springs, crystal.positions.expand(members, -1, -1).clone(), crystal.lattice.expand(members, 3, 3),
        torch.zeros(2, dtype=torch.int64), T, range(members), steps=4000, timestep=1.2 / omega, friction=omega,
        every=1, equilibration=100, skin=3.0, observe=observe,
    )  # fmt: skip
    assert bool(run.complete.all())
    spread = (run.observed[..., 0] - 4.0).square()
    exact = BOLTZMANN * T / (2 * k)
    error = float(standard_error(spread).square().sum().sqrt()) / members
    assert error < 0.01 * exact
    assert abs(float(spread.mean()) - exact) <= 3 * error  # velocity Verlet would be wrong by 1/(1 - 0.36) - 1 = 56 %
    # Velocities in the middle of the step are exact as well.
    along = run.kinetic[..., 0, 0]  # one degree of freedom, the centre of mass is at rest
    error = float(standard_error(along).square().sum().sqrt()) / members
    assert abs(float(along.mean()) - BOLTZMANN * T) <= 3 * error


def test_every_direction_of_every_atom_has_its_share_of_the_energy():
    crystal, T, members = argon(2), 40.0, 4
    freedoms = 3 * crystal.n - 3
    run = walk(SHORT, crystal, identity(members), T, steps=3000, friction=2.0, equilibration=500, every=5)
    assert bool(run.complete.all())
    temperature = run.temperature(freedoms)
    error = float(standard_error(temperature).square().sum().sqrt()) / members
    assert error < 1.0
    assert abs(float(temperature.mean()) - T) <= 3 * error
    directions = run.kinetic.diagonal(dim1=-2, dim2=-1) / ((crystal.n - 1) * BOLTZMANN)
    errors = standard_error(directions).square().sum(0).sqrt() / members
    assert bool(((directions.mean((0, 1)) - T).abs() <= 3 * errors).all())
    momentum = run.velocities.sum(1).abs().max() / run.velocities.abs().max()
    assert float(momentum) < 1e-12


def test_errors_of_stresses_cover_what_other_seeds_find():
    # 36 ps; the stress forgets within 0.3 ps. Of 12 ps errors come out a tenth too small.
    crystal, members = argon(2), 16
    run = walk(SHORT, crystal, identity(members), 40.0, steps=4500, timestep=0.008, equilibration=150, every=5)
    stress = MPA / crystal.volume * (run.virial - run.kinetic)
    means, errors = stress.mean(0), standard_error(stress)
    shears = [(0, 1), (0, 2), (1, 2)]
    inside = torch.stack([means[:, i, j].abs() <= 3 * errors[:, i, j] for i, j in shears])  # zero by symmetry
    assert float(inside.double().mean()) >= 0.97
    spread = torch.stack([means[:, i, j] for i, j in shears]).square().mean().sqrt()
    told = torch.stack([errors[:, i, j] for i, j in shears]).square().mean().sqrt()
    assert float(told / spread) == pytest.approx(1.0, abs=0.25)  # of 48 numbers: 10 %, and the errors' own errors


def test_energy_is_conserved_to_second_order_without_friction():
    crystal = argon(2)
    drifts = []
    for dt in (0.01, 0.005, 0.0025):
        run = walk(SHORT, crystal, identity(1), 40.0, steps=round(1 / dt), timestep=dt, friction=0.0, every=1)
        total = run.potential + 0.5 * run.kinetic.diagonal(dim1=-2, dim2=-1).sum(-1)
        drifts.append(float((total - total[0]).abs().max()))
    assert drifts[0] < 2e-3 * crystal.n * 1.5 * BOLTZMANN * 40.0
    for coarse, fine in itertools.pairwise(drifts):
        assert coarse / fine == pytest.approx(4.0, rel=0.15)


def test_a_member_walks_as_it_does_alone_to_the_last_bit():
    crystal = argon(2)
    F = identity(3)
    F[1, 0, 1], F[2] = 0.05, 1.04 * F[2]
    T = torch.tensor([20.0, 60.0, 40.0], dtype=torch.float64)
    settings = {"steps": 300, "equilibration": 20, "every": 10}
    together = walk(SHORT, crystal, F, T, seeds=[5, 6, 7], **settings)
    assert together.renewals > 3  # lists of different members, of different length, were renewed at different times
    for k in range(3):
        alone = walk(SHORT, crystal, F[k : k + 1], T[k : k + 1], seeds=[5 + k], **settings)
        assert torch.equal(alone.positions[0], together.positions[k])
        assert torch.equal(alone.velocities[0], together.velocities[k])
        torch.testing.assert_close(alone.virial[:, 0], together.virial[:, k], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(alone.potential[:, 0], together.potential[:, k], rtol=1e-13, atol=0)
    again = walk(SHORT, crystal, F, T, seeds=[5, 6, 7], **settings)
    assert all(torch.equal(a, b) for a, b in zip(again[:6], together[:6], strict=True))


def test_a_list_with_a_skin_misses_no_bond():
    crystal = argon(2, a=5.6)
    settings = {"steps": 200, "every": 10, "timestep": 0.002}
    thin, thick = (walk(SHORT, crystal, identity(1), 60.0, skin=skin, **settings) for skin in (0.5, 3.0))
    assert bool(thin.complete.all())
    assert thin.renewals > thick.renewals
    torch.testing.assert_close(thin.potential, thick.potential, rtol=1e-9, atol=0)


def test_atoms_that_fly_too_far_between_looks_are_reported_and_leave_the_others_alone():
    crystal, F = argon(2), identity(2)
    settings = {"steps": 64, "every": 2, "friction": 0.0}
    quiet = walk(SHORT, crystal, F[:1], 20.0, seeds=[1], **settings)
    velocities = torch.zeros(2, crystal.n, 3, dtype=torch.float64)
    velocities[0] = quiet.velocities[0]
    velocities[1, 0, 0] = 1e4
    positions = torch.stack([quiet.positions[0], crystal.positions])
    species = SHORT.species(crystal.elements)
    cell = crystal.lattice.expand(2, 3, 3)
    both = langevin(
        SHORT, positions, cell, species, 20.0, [1, 2], timestep=0.005, velocities=velocities, **settings
    )  # fmt: skip
    alone = langevin(
        SHORT, positions[:1], cell[:1], species, 20.0, [1], timestep=0.005, velocities=velocities[:1], **settings
    )  # fmt: skip
    assert both.complete.tolist() == [True, False]
    assert torch.equal(both.positions[0], alone.positions[0])


def test_energy_is_conserved_with_forces_that_are_not_pairwise():
    silicon = StillingerWeber(
        epsilon=2.1683, sigma=2.0951, a=1.8, lmbda=21.0, gamma=1.2, costheta0=-1 / 3, A=7.049556277, B=0.6022245584,
        p=4.0, q=0.0, elements="Si", masses=28.0855,
    )  # fmt: skip
    crystal = supercell(diamond(5.431, "Si", conventional=True), 2)
    drifts = []
    for dt in (0.001, 0.0005):
        run = walk(silicon, crystal, identity(1), 600.0, steps=round(0.1 / dt), timestep=dt, friction=0.0, every=1)
        total = run.potential + 0.5 * run.kinetic.diagonal(dim1=-2, dim2=-1).sum(-1)
        drifts.append(float((total - total[0]).abs().max()))
    assert drifts[0] < 2e-3 * crystal.n * 1.5 * BOLTZMANN * 600.0
    assert drifts[0] / drifts[1] == pytest.approx(4.0, rel=0.15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timestep": 0.0}, "timestep, friction: got 0.0"),
        ({"friction": -1.0}, "timestep, friction: got 0.005 and -1.0"),
        ({"steps": 0}, "temperature, steps, every: got 20.0, 0, 10"),
        ({"every": 11}, "every: got 11 for 10 steps, wanted at least one sample"),
        ({"seeds": [1, 2]}, "seeds: got 2, wanted 1, one a member"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        walk(SHORT, argon(2), identity(1), 20.0, **({"steps": 10} | change))


# LJ argon at 40 K, 108 atoms, a = 5.40 A, F12 = 0.03: Cauchy stress 11, 22, 33, 12 [MPa], potential energy [eV].
# LAMMPS 22 July 2025: lj/smooth/linear 8.5125, fix langevin 40 40 1.0 zero yes, fix nve, 5 fs, four seeds of
# 10^4 + 2 10^5 steps, a sample every 10, errors by blocks; as `lammps_argon` below does it.
GOLDEN = torch.tensor([-15.539, -17.616, -10.925, 44.101, -6.85211], dtype=torch.float64)
GOLDEN_ERROR = torch.tensor([0.140, 0.144, 0.153, 0.068, 0.00058], dtype=torch.float64)
PRESSURE, PRESSURE_ERROR = 14.694, 0.135
SHEAR = 0.03


def sheared_argon(steps: int, members: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means and errors of what GOLDEN holds, and of the pressure."""
    crystal, F = argon(3), identity(members)
    F[:, 0, 1] = SHEAR
    run = walk(ARGON, crystal, F, 40.0, steps=steps, equilibration=2000, every=10)
    assert bool(run.complete.all())
    volume = crystal.volume * float(det(F[0]))
    sigma = MPA * (run.virial - run.kinetic) / volume
    parts = [sigma[..., i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1))]
    series = torch.stack([*parts, run.potential, -(parts[0] + parts[1] + parts[2]) / 3], -1)
    means = series.mean((0, 1))
    errors = standard_error(series).square().sum(0).sqrt() / members
    return means[:5], errors[:5], means[5], errors[5]


def test_sheared_argon_at_40_k_bears_the_stress_that_lammps_finds():
    mean, error, pressure, pressure_error = sheared_argon(steps=5000, members=1)
    assert bool((error[:4] < 8.0).all())
    assert bool(((mean - GOLDEN).abs() <= 3 * (error.square() + GOLDEN_ERROR.square()).sqrt()).all())
    assert abs(float(pressure) - PRESSURE) <= 3 * math.hypot(float(pressure_error), PRESSURE_ERROR)


@pytest.mark.slow
@pytest.mark.oracle
def test_sheared_argon_at_40_k_bears_the_stress_that_lammps_finds_within_one_megapascal(tmp_path):
    lammps = lammps_argon(steps=100000, seed=505, file=tmp_path / "samples")
    wanted, wanted_error = lammps.mean(0), standard_error(lammps)
    mean, error, pressure, pressure_error = sheared_argon(steps=100000, members=2)
    got, got_error = torch.cat([mean, pressure[None]]), torch.cat([error, pressure_error[None]])
    deviation = (got - wanted).abs() / (got_error.square() + wanted_error.square()).sqrt()
    print("LAMMPS", wanted, wanted_error, "here", got, got_error, "in combined standard errors", deviation, sep="\n")
    for errors in (got_error, wanted_error):
        assert bool((errors[[3, 5]] <= 1.0).all())
    assert bool((deviation <= 3).all())


def lammps_argon(steps: int, seed: int, file: Path) -> Tensor:
    """What `sheared_argon` samples, (S, 6), by LAMMPS."""
    lmp, crystal = lammps_instance(), argon(3)
    L, n = float(crystal.lattice[0, 0]), crystal.n
    F = identity(1)[0]
    F[0, 1] = SHEAR
    for command in (
        "clear", "units metal", "atom_style atomic", "boundary p p p", "box tilt large",
        f"region cell prism 0 {L!r} 0 {L!r} 0 {L!r} {SHEAR * L!r} 0 0 units box", "create_box 1 cell",
    ):  # fmt: skip
        lmp.command(command)
    lmp.create_atoms(n, list(range(1, n + 1)), [1] * n, (crystal.positions @ F.T).flatten().tolist())
    for command in (
        "mass 1 39.948", "pair_style lj/smooth/linear 8.5125", "pair_coeff 1 1 0.0104 3.405", "neighbor 1.0 bin",
        "neigh_modify delay 0 every 5 check yes", f"velocity all create 80.0 {seed} mom yes dist gaussian",
        f"fix bath all langevin 40.0 40.0 1.0 {seed + 7} zero yes", "fix move all nve", "timestep 0.005",
        "compute p all pressure thermo_temp", "run 4000 post no",
    ):  # fmt: skip
        lmp.command(command)
    values = "c_p[1] c_p[2] c_p[3] c_p[4] c_thermo_pe"
    lmp.command(f"fix samples all ave/time 1 1 10 {values} file {file}")
    lmp.command(f"run {steps} post no")
    lmp.command("unfix samples")
    p, energy = np.loadtxt(file)[1:, 1:].T[:4], np.loadtxt(file)[1:, 5]  # bar, compression positive; not the start
    return torch.tensor(np.stack([*(-0.1 * p), energy, 0.1 * p[:3].mean(0)], -1))
