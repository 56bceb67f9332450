"""What single crystals and random polycrystals are known to do, against the law for face-centred cubic crystals."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import linprog, root
from torch import Tensor

from datagen.laws.crystal_plasticity import CrystalPlasticity
from datagen.laws.law import Law
from datagen.laws.verdict import FIRST_WITHOUT_ANSWER
from datagen.microstructures.microstructure import Microstructure
from datagen.rve.homogenised import HomogenisedCell
from datagen.tensors import det, polar_rotation, random_rotation

ONE = torch.eye(3, dtype=torch.float64)

# Slip planes and directions of face-centred cubic crystals, written out here a second time.
SLIPS = [
    (torch.tensor(m, dtype=torch.float64) / math.sqrt(3), torch.tensor(s, dtype=torch.float64) / math.sqrt(2))
    for m in ((1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1))
    for s in ((0, 1, -1), (1, 0, -1), (1, -1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0))
    if m[0] * s[0] + m[1] * s[1] + m[2] * s[2] == 0
]
SCHMID = torch.stack([torch.outer(s, m) for m, s in SLIPS])


def copper(
    resistance: float = 16.0, exponent: float = 50.0, gamma_dot_0: float = 1.0, **hardening
) -> CrystalPlasticity:
    return CrystalPlasticity(
        168.4e3, 121.4e3, 75.4e3, resistance, exponent=exponent, gamma_dot_0=gamma_dot_0, **hardening
    )


def follow(law: Law, path: list[Tensor], dt: float):
    state = law.initial_state(*path[0].shape[:-2])
    steps = []
    for F in path:
        steps.append(law(F.flatten(-2), state, dt))
        state = steps[-1].state
        assert bool((steps[-1].verdict < FIRST_WITHOUT_ANSWER).all())
    return steps


def cauchy(F: Tensor, P: Tensor) -> Tensor:
    return P.unflatten(-1, (3, 3)) @ F.mT / det(F)[..., None, None]


def plastic_part(state: Tensor) -> Tensor:
    inverse = ONE + state[..., :9].unflatten(-1, (3, 3))
    return torch.linalg.solve(inverse, ONE.expand_as(inverse))


@pytest.mark.parametrize("system", [0, 7])
def test_a_crystal_sheared_along_one_slip_system_obeys_the_law_of_schmid(system):
    # All slip is on the system, at the rate of the shear: tau = g (gamma_dot / gamma_dot_0)^(1/n).
    law, rate = copper(resistance=0.016, exponent=80.0, gamma_dot_0=2e-3), 0.05
    Q = random_rotation(generator=torch.Generator().manual_seed(1))
    law = law.with_buffers(orientation=Q)
    m, s = (Q @ x for x in SLIPS[system])
    path = [ONE + 0.02 * k * torch.outer(s, m) for k in range(1, 4)]
    steps = follow(law, path, 0.02 / rate)
    tau = s @ cauchy(path[-1], steps[-1].stress) @ m
    assert tau.item() == pytest.approx(0.016 * (rate / 2e-3) ** (1 / 80), rel=1e-6)
    slip = steps[-1].state[-1] - steps[-2].state[-1]
    assert slip.item() == pytest.approx(0.02, rel=1e-9)


def test_a_bar_of_one_crystal_slips_turns_and_bears_what_schmid_and_boas_say():
    # Free sides, ends that keep the axis: cos(phi) l and sin(lambda) l are constant while the bar slips on one system
    # (Schmid and Boas, Kristallplastizitaet, 1935), the slip is gamma = (sqrt((l/l0)^2 - sin^2 lambda0) - cos lambda0)
    # / cos(phi0), and the axial stress is tau / (cos(phi) cos(lambda)) with tau = g (gamma_dot/gamma_dot_0)^(1/n).
    g, n, dt = 0.016, 100.0, 0.5
    axis = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64) / math.sqrt(14.0)
    factors = [float((s @ axis) * (m @ axis)) for m, s in SLIPS]
    active = max(range(12), key=lambda a: abs(factors[a]))
    assert sorted(map(abs, factors))[-2] < 0.8 * abs(factors[active])
    across = torch.linalg.cross(axis, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    across = across / across.norm()
    Q = torch.stack([axis, across, torch.linalg.cross(axis, across)])  # the axis becomes direction 1
    law = copper(resistance=g, exponent=n).with_buffers(orientation=Q)
    m, s = (Q @ x for x in SLIPS[active])
    s = s * torch.sign(s[0] * m[0])
    cos_phi, cos_lambda = float(m[0].abs()), float(s[0].abs())
    sin_lambda = math.sqrt(1 - cos_lambda**2)

    def slip(stretch: float) -> float:
        return (math.sqrt(stretch**2 - sin_lambda**2) - cos_lambda) / cos_phi

    free = [1, 2, 4, 5, 8]  # F12 F13 F22 F23 F33; F21 = F31 = F32 = 0 hold the axis and the turn about it
    F, state, stretches = ONE.flatten(), law.initial_state(), [1.05, 1.1, 1.15]
    for before, stretch in itertools.pairwise([1.0, *stretches]):
        # From the rigid crystal, sheared by the slip and turned so that the axis and the plane 1-3 stay.
        ratio = slip(stretch)
        sheared = ONE + ratio * torch.outer(s, m)
        r = torch.linalg.qr(sheared).R
        F = (torch.diag(torch.sign(r.diagonal())) @ r).flatten()
        F[0] = stretch
        for _ in range(12):
            step, saved = law.linearise(F, state, dt)
            if float(step.stress[free].abs().max()) < 1e-8 * g:
                break
            K = law.dense(saved)
            F[free] = F[free] - torch.linalg.solve(K[free][:, free], step.stress[free])
        gamma = slip(stretch) - slip(before)
        tau = g * (gamma / dt) ** (1 / n)
        now_phi, now_lambda = cos_phi / stretch, math.sqrt(1 - (sin_lambda / stretch) ** 2)
        sigma = cauchy(F.reshape(3, 3), step.stress)
        wanted = torch.zeros(3, 3, dtype=torch.float64)
        wanted[0, 0] = tau / (now_phi * now_lambda)
        torch.testing.assert_close(sigma, wanted, rtol=1e-6 if before > 1 else 1e-5, atol=1e-7 * g)
        state = step.state
        lattice = law.lattice(F, state) @ Q.T
        assert (lattice @ s)[0].abs().item() == pytest.approx(now_lambda, rel=1e-6)
        assert (lattice @ m)[0].abs().item() == pytest.approx(now_phi, rel=1e-6)
        assert state[-1].item() == pytest.approx(slip(stretch), rel=1e-5)


def axisymmetric(strain: float) -> Tensor:
    return torch.diag(torch.tensor([1.0, -0.5, -0.5], dtype=torch.float64).mul(strain).exp())


def taylor_factors(n_grains: int, exponent: float, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of plastic grains: orientation, sum of slip rates over strain rate, axial deviator over shear stress."""
    Q = random_rotation(n_grains, generator=torch.Generator().manual_seed(seed))
    law = copper(resistance=1.6, exponent=exponent).with_buffers(orientation=Q)
    strains = (1e-3, 1.1e-3)
    path = [axisymmetric(e).expand(n_grains, 3, 3) for e in strains]
    state = law.initial_state(n_grains)
    first = law(path[0].flatten(1), state, strains[0])
    second = law(path[1].flatten(1), first.state, strains[1] - strains[0])
    assert bool((second.verdict < FIRST_WITHOUT_ANSWER).all())
    slips = (second.state[:, -1] - first.state[:, -1]) / (strains[1] - strains[0])
    sigma = cauchy(path[1], second.stress)
    return Q, slips, (sigma[:, 0, 0] - 0.5 * (sigma[:, 1, 1] + sigma[:, 2, 2])) / 1.6


def test_the_taylor_factor_of_a_random_face_centred_cubic_polycrystal_is_3_06():
    # G. I. Taylor, J. Inst. Metals 62 (1938) 307: 3.06; J. F. W. Bishop, R. Hill, Phil. Mag. 42 (1951) 1298, and
    # U. F. Kocks, Metall. Trans. 1 (1970) 1121, doi:10.1007/BF02900224: 3.067 for uniform orientations.
    _, slips, stress = taylor_factors(3000, exponent=100.0, seed=0)
    assert slips.mean().item() == pytest.approx(3.06, abs=0.02)
    assert stress.mean().item() == pytest.approx(3.06, abs=0.02)
    assert 3.6 < slips.max().item() < 3.69  # 3/2 sqrt(6) = 3.674 along <110> and <111>


@pytest.mark.slow
def test_the_taylor_factor_of_very_many_grains_is_that_of_bishop_and_hill():
    _, slips, stress = taylor_factors(40000, exponent=200.0, seed=1)
    assert slips.mean().item() == pytest.approx(3.067, abs=0.01)
    assert stress.mean().item() == pytest.approx(3.067, abs=0.01)


def test_each_grain_slips_the_least_that_its_deformation_needs():
    # Taylor's principle, as the linear programme: least sum |gamma| with sum gamma sym(P) = D. Rate sensitivity adds.
    Q, slips, stress = taylor_factors(12, exponent=300.0, seed=2)
    D = torch.diag(torch.tensor([1.0, -0.5, -0.5], dtype=torch.float64))
    parts = 0.5 * (SCHMID + SCHMID.mT).flatten(1).T.numpy()
    for rotation, slip, sigma in zip(Q, slips, stress, strict=True):
        least = linprog(
            np.ones(24), A_eq=np.hstack([parts, -parts]), b_eq=(rotation.T @ D @ rotation).flatten().numpy()
        ).fun
        assert slip.item() == pytest.approx(least, rel=1e-3)
        assert sigma.item() == pytest.approx(least, rel=4e-3)


def test_shear_along_a_slip_system_leaves_the_lattice_where_it_is():
    # F = 1 + gamma s x m is all plastic: the lattice stays, though the material turns by atan(gamma/2).
    law = copper(resistance=0.016)
    m, s = SLIPS[4]
    path = [ONE + 0.1 * k * torch.outer(s, m) for k in range(1, 11)]
    steps = follow(law, path, 1.0)
    torch.testing.assert_close(law.lattice(path[-1].flatten(), steps[-1].state), ONE, rtol=0, atol=1e-6)
    assert math.acos(float((polar_rotation(path[-1]).trace() - 1) / 2)) == pytest.approx(math.atan(0.5), rel=1e-12)


def test_shear_across_a_slip_system_turns_the_lattice_at_the_rate_of_the_shear():
    # F = 1 + gamma m x s has the stretching of slip by gamma on the system and the opposite spin, so the lattice turns
    # by W - W_p = gamma_dot (m x s - s x m); R. J. Asaro, Adv. Appl. Mech. 23 (1983) 1, section II.
    law = copper(resistance=0.016)
    m, s = SLIPS[4]
    angles = []
    for gamma in (2e-3, 1e-3):
        F = ONE + gamma * torch.outer(m, s)
        step = follow(law, [F], gamma)[0]
        turn = law.lattice(F.flatten(), step.state)
        angles.append(float(m @ turn @ s) / gamma)
    assert 2 * angles[1] - angles[0] == pytest.approx(1.0, abs=1e-4)


def rigid_plastic_lattice(Q: np.ndarray, L: np.ndarray, exponent: float) -> np.ndarray:
    """Lattice rotation of a rigid-plastic crystal under a constant velocity gradient for unit time: an ODE."""
    P = SCHMID.numpy()
    D, W = 0.5 * (L + L.T), 0.5 * (L - L.T)
    basis = [np.diag([1, -1, 0]) / np.sqrt(2), np.diag([1, 1, -2]) / np.sqrt(6)]
    basis += [np.array(b) / np.sqrt(2) for b in ([[0, 1, 0], [1, 0, 0], [0] * 3], [[0, 0, 1], [0] * 3, [1, 0, 0]])]
    basis += [np.array([[0] * 3, [0, 0, 1], [0, 1, 0]]) / np.sqrt(2)]
    share = np.einsum("aij,kij->ak", P, np.array(basis))
    stress = np.zeros(5)

    def slips(sigma: np.ndarray, n: float) -> np.ndarray:
        tau = share @ sigma
        return np.abs(tau) ** (n - 1) * tau

    def spin(_: float, q: np.ndarray) -> np.ndarray:
        nonlocal stress
        now = q.reshape(3, 3)
        wanted = np.einsum("kij,ij->k", np.array(basis), now.T @ D @ now)
        for n in (1.0, 2.0, 4.0, exponent) if not stress.any() else (exponent,):
            found = root(lambda sigma, n=n: share.T @ slips(sigma, n) - wanted, stress, tol=1e-12)
            assert found.success
            stress = found.x
        plastic = np.einsum("a,aij->ij", slips(stress, exponent), P)
        return ((W - now @ (0.5 * (plastic - plastic.T)) @ now.T) @ now).flatten()

    return solve_ivp(spin, (0, 1), Q.flatten(), rtol=1e-6, atol=1e-8).y[:, -1].reshape(3, 3)


def test_the_lattice_of_a_sheared_crystal_turns_as_the_rigid_plastic_rate_equations_say():
    # R. J. Asaro, A. Needleman, Acta Metall. 33 (1985) 923, doi:10.1016/0001-6160(85)90188-9: stretching is that of the
    # slips, lattice spin W - sum gamma_dot skew(P), integrated here by Runge and Kutta.
    exponent, Q = 5.0, random_rotation(generator=torch.Generator().manual_seed(4))
    L = np.zeros((3, 3))
    L[0, 1] = 0.4
    wanted = torch.from_numpy(rigid_plastic_lattice(Q.numpy(), L, exponent))
    law = copper(resistance=0.016, exponent=exponent).with_buffers(orientation=Q)
    path = [ONE + torch.from_numpy(L) * k / 16 for k in range(1, 17)]
    lattice = law.lattice(path[-1].flatten(), follow(law, path, 1 / 16)[-1].state)
    assert float((wanted - Q).abs().max()) > 0.1
    torch.testing.assert_close(lattice, wanted, rtol=0, atol=1e-4)


def test_slip_keeps_the_volume_to_the_last_digits():
    generator = torch.Generator().manual_seed(3)
    law = copper(theta_0=180.0, rise=130.0).with_buffers(orientation=random_rotation(4, generator=generator))
    shear = torch.zeros(3, 3, dtype=torch.float64)
    shear[0, 1] = 1.0
    path = [(ONE + 0.1 * k * shear).expand(4, 3, 3) for k in range(1, 16)]
    step = follow(law, path, 0.1)[-1]
    assert float((det(plastic_part(step.state)) - 1).abs().max()) < 1e-10
    assert float(step.state[:, -1].min()) > 1.5  # all four have slipped more than they were sheared


def test_one_system_hardens_along_the_curve_of_voce_and_the_others_by_their_latent_ratio():
    # C. Tome et al., Acta Metall. 32 (1984) 1637; D. Peirce, R. J. Asaro, A. Needleman, Acta Metall. 30 (1982) 1087.
    law = copper(rise=60.0, theta_0=150.0, theta_1=20.0, latent=1.4)
    m, s = SLIPS[10]
    for n_steps in (2, 8):
        path = [ONE + 0.6 * k / n_steps * torch.outer(s, m) for k in range(1, n_steps + 1)]
        state = follow(law, path, 1 / n_steps)[-1].state
        total = float(state[-1])
        rise = (60.0 + 20.0 * total) * (1 - math.exp(-total * 150.0 / 60.0))
        coplanar = [float((other @ m).abs()) > 0.99 for other, _ in SLIPS]
        wanted = [rise * (1.0 if same else 1.4) for same in coplanar]
        assert state[9:21].tolist() == pytest.approx(wanted, rel=1e-6)


def test_ten_times_the_rate_raises_the_flow_stress_by_the_root_of_ten():
    law = copper(exponent=20.0, gamma_dot_0=1e-3)
    m, s = SLIPS[2]
    path = [ONE + gamma * torch.outer(s, m) for gamma in (0.02, 0.04)]
    slow, fast = (follow(law, path, dt)[-1] for dt in (10.0, 1.0))
    ratio = (s @ cauchy(path[-1], fast.stress) @ m) / (s @ cauchy(path[-1], slow.stress) @ m)
    assert ratio.item() == pytest.approx(10 ** (1 / 20), rel=1e-5)


def test_a_crystal_too_slow_to_slip_is_the_elastic_crystal():
    # Nye 1985, chapter VIII: sigma_11 = C11 e along a cube axis, 2 C44 e in shear; no time, no slip.
    law = copper()
    F = ONE.clone()
    F[0, 0], F[1, 2], F[2, 1] = 1 + 1e-7, 2e-7, 2e-7
    step = law(F.flatten(), law.initial_state(), 0.0)
    sigma = cauchy(F, step.stress)
    assert [sigma[0, 0].item(), sigma[1, 1].item()] == pytest.approx([168.4e3 * 1e-7, 121.4e3 * 1e-7], rel=1e-6)
    assert sigma[1, 2].item() == pytest.approx(2 * 75.4e3 * 2e-7, rel=1e-6)
    assert torch.equal(step.state, law.initial_state())
    assert step.dissipation.item() == 0.0


def test_grains_that_need_not_deform_alike_bear_less_than_taylor_says():
    # Bishop and Hill 1951: uniform strain bounds the work rate from above; here of 27 grains, one a voxel.
    Q = random_rotation(27, generator=torch.Generator().manual_seed(6))
    law = copper(exponent=20.0)
    cells = Microstructure(torch.arange(27).reshape(3, 3, 3), orientations=Q)
    cell = HomogenisedCell(cells, [law], tolerance=1e-8)
    path = [axisymmetric(e) for e in (2e-3, 4e-3)]
    relaxed = follow(cell, path, 2e-3)[-1].stress.unflatten(-1, (3, 3))
    taylor = follow(law.with_buffers(orientation=Q), [F.expand(27, 3, 3) for F in path], 2e-3)[-1]
    bound = taylor.stress.mean(0).unflatten(-1, (3, 3))
    ratio = float((relaxed * (path[1] - path[0])).sum() / (bound * (path[1] - path[0])).sum())
    assert 0.8 < ratio < 1.0
