"""Laminates, for which the cell problem has a closed form."""

import numpy as np
import pytest
import torch

from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.neo_hooke import NeoHooke
from datagen.microstructures.laminate import laminate
from datagen.rve.homogenised import HomogenisedCell

DISCRETISATIONS = ["hex8", "hex8r", "fourier"]


def grid(discretisation: str, normal: int) -> list[int]:
    if discretisation == "fourier":  # odd grids
        return [9 if a == normal else 3 for a in range(3)]
    return [8 if a == normal else 4 for a in range(3)]


def exact_stiffness(normal: int, f: float) -> np.ndarray:
    """Layers of E = 1 and 10 (fraction f), nu = 0.3.

    Formulas of ../shared/reference/rve_golden.json, closed_forms.laminate_exact (Backus 1962, doi:10.1029/
    JZ067i011p04427), rotated to the normal; in Mandel notation.
    """
    E = np.array([1.0, 10.0])
    lmbda, G = E * 0.3 / (1.3 * 0.4), E / 2.6
    m = lmbda + 2 * G
    w = np.array([1 - f, f])
    C11 = 1 / (w @ (1 / m))
    C12 = C11 * (w @ (lmbda / m))
    C22 = w @ (m - lmbda**2 / m) + C11 * (w @ (lmbda / m)) ** 2
    C23 = w @ (lmbda - lmbda**2 / m) + C11 * (w @ (lmbda / m)) ** 2
    t, s = (a for a in range(3) if a != normal)
    C = np.zeros((6, 6))
    C[normal, normal] = C11
    C[normal, [t, s]] = C[[t, s], normal] = C12
    C[[t, s], [t, s]] = C22
    C[t, s] = C[s, t] = C23
    shear = {frozenset((1, 2)): 3, frozenset((0, 2)): 4, frozenset((0, 1)): 5}
    i = shear[frozenset((t, s))]
    C[i, i] = 2 * (w @ G)
    for a in (t, s):
        i = shear[frozenset((normal, a))]
        C[i, i] = 2 / (w @ (1 / G))
    return C


@pytest.mark.parametrize("normal", [0, 1, 2])
@pytest.mark.parametrize("discretisation", DISCRETISATIONS)
def test_laminate_has_its_exact_stiffness(discretisation: str, normal: int) -> None:
    cells = laminate(grid(discretisation, normal), fraction=0.5, normal="xyz"[normal])
    f = float(cells.volume_fractions[0, 1])
    cell = HomogenisedCell(
        cells, [LinearElastic(E=1.0, nu=0.3), LinearElastic(E=10.0, nu=0.3)], discretisation, tolerance=1e-13
    )
    C = cell.tangent(torch.zeros(6, dtype=torch.float64), cell.initial_state(), 1.0).numpy()
    exact = exact_stiffness(normal, f)
    assert np.abs(C - exact).max() <= 1e-10 * np.abs(exact).max()
    eps = torch.tensor([0.01, 0.02, -0.01, 0.03, 0.01, 0.02], dtype=torch.float64)
    step = cell(eps, cell.initial_state(), 1.0)
    assert np.abs(step.stress.numpy() - exact @ eps.numpy()).max() <= 1e-10 * np.abs(step.stress.numpy()).max()
    assert float(step.psi) == pytest.approx(0.5 * eps.numpy() @ exact @ eps.numpy(), rel=1e-10)


def rank_one(laws: list[NeoHooke], w: np.ndarray, F: np.ndarray, normal: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Stress (9,), tangent (9, 9) and energy of a rank-one laminate: F_k = F + a_k x N, sum w_k a_k = 0.

    Three equations, (P_1 - P_2) N = 0, for the jump; its derivative gives the condensed tangent.
    """
    N = np.eye(3)[normal]
    lift = np.einsum("ia,J->iJa", np.eye(3), N).reshape(9, 3)  # d F / d a
    share = [w[1], -w[0]]  # a_1 = w_2 jump, a_2 = -w_1 jump
    jump = np.zeros(3)
    for _ in range(30):
        answers = []
        for law, s in zip(laws, share, strict=True):
            f = torch.tensor(F.reshape(9) + s * lift @ jump)
            step, saved = law.linearise(f, law.initial_state(), 1.0)
            answers.append((step.stress.numpy(), law.dense(saved).numpy(), float(step.psi)))
        (P1, C1, psi1), (P2, C2, psi2) = answers
        traction = lift.T @ (P1 - P2)
        slope = lift.T @ (share[0] * C1 - share[1] * C2) @ lift
        jump = jump - np.linalg.solve(slope, traction)
        if np.abs(traction).max() < 1e-15:
            break
    d_jump = -np.linalg.solve(slope, lift.T @ (C1 - C2))
    tangent = sum(w[k] * C @ (np.eye(9) + share[k] * lift @ d_jump) for k, C in enumerate((C1, C2)))
    return w[0] * P1 + w[1] * P2, tangent, w[0] * psi1 + w[1] * psi2


DEFORMATIONS = {
    "undeformed": np.eye(3),
    "sheared and stretched": np.array([[1.10, 0.25, -0.05], [0.02, 0.92, 0.15], [0.10, -0.03, 1.05]]),
}


@pytest.mark.parametrize("deformation", DEFORMATIONS)
@pytest.mark.parametrize("normal", [0, 1, 2])
@pytest.mark.parametrize("discretisation", DISCRETISATIONS)
def test_finite_strain_laminate_obeys_the_rank_one_equations(
    discretisation: str, normal: int, deformation: str
) -> None:
    laws = [NeoHooke(mu=1.0, lmbda=4.0), NeoHooke(mu=10.0, lmbda=15.0)]
    F = DEFORMATIONS[deformation]
    cells = laminate(grid(discretisation, normal), fraction=0.5, normal="xyz"[normal])
    cell = HomogenisedCell(cells, laws, discretisation, tolerance=1e-12)
    step, saved = cell.linearise(torch.tensor(F.reshape(9)), cell.initial_state(), 1.0)
    P, C, psi = rank_one(laws, cells.volume_fractions[0].numpy(), F, normal)
    assert int(step.verdict) == 0
    assert np.abs(step.stress.numpy() - P).max() <= 1e-9 * max(np.abs(P).max(), 1.0)
    assert np.abs(cell.dense(saved).numpy() - C).max() <= 1e-9 * np.abs(C).max()
    assert float(step.psi) == pytest.approx(psi, rel=1e-9, abs=1e-12)
