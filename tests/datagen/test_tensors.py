from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from datagen.tensors import (
    MANDEL,
    ROW_MAJOR,
    cofactor,
    det,
    det_minus_one,
    double_dot,
    from_mandel,
    inv,
    isotropic_stiffness,
    lame_constants,
    mandel_rotation,
    matmul,
    matrix,
    polar_rotation,
    random_rotation,
    stack,
    to_mandel,
)

BATCHES = [(), (1,), (2, 3)]


def random_matrices(*batch: int, seed: int = 0, around: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(*batch, 3, 3, generator=generator, dtype=torch.float64)
    return around * torch.eye(3, dtype=torch.float64) + random


def close(got: Tensor, wanted: Tensor, tolerance: float = 1e-13) -> None:
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_determinant_inverse_and_cofactor_are_those_of_numpy(batch):
    A = random_matrices(*batch, around=2.0)
    close(det(A), torch.as_tensor(np.linalg.det(A.numpy())))
    close(inv(A), torch.as_tensor(np.linalg.inv(A.numpy())), 1e-11)
    close(cofactor(A), det(A)[..., None, None] * inv(A).transpose(-1, -2), 1e-11)
    assert inv(A).shape == cofactor(A).shape == (*batch, 3, 3)


@pytest.mark.parametrize("shift", [0.0, 1e-9, 1e-3])
def test_second_derivative_of_the_volume_is_right_at_and_near_the_undeformed_state(shift):
    # d2 ln det F / dF dF = -F^-T_il F^-T_kj; torch.linalg gives nan or worse here, under vmap only.
    F = torch.eye(3, dtype=torch.float64) + shift * random_matrices(4)

    def ln_J(x: Tensor) -> Tensor:
        return det(x).log()

    hessian = torch.vmap(torch.func.jacfwd(torch.func.grad(ln_J)))(F)
    inverse = torch.as_tensor(np.linalg.inv(F.numpy()))
    close(hessian, -torch.einsum("bjk,bli->bijkl", inverse, inverse), 1e-12)


@pytest.mark.parametrize("size", [1e-14, 1e-9, 1e-3, 1.0])
def test_change_of_volume_has_all_its_digits(size):
    H = size * random_matrices(seed=2)
    a = [[Fraction(H[i, j].item()) + (i == j) for j in range(3)] for i in range(3)]
    exact = sum(
        a[0][i] * (a[1][(i + 1) % 3] * a[2][(i + 2) % 3] - a[1][(i + 2) % 3] * a[2][(i + 1) % 3]) for i in range(3)
    )
    assert det_minus_one(H).item() == pytest.approx(float(exact - 1), rel=1e-14)


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_products_are_those_of_torch(batch):
    A, B = random_matrices(*batch), random_matrices(*batch, seed=1)
    close(matmul(A, B), A @ B)
    close(double_dot(A, B), (A * B).sum((-1, -2)))


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_mandel_vectors_keep_the_scalar_product_and_come_back(batch):
    A, B = (X + X.transpose(-1, -2) for X in (random_matrices(*batch), random_matrices(*batch, seed=1)))
    close(from_mandel(to_mandel(A)), A)
    close((to_mandel(A) * to_mandel(B)).sum(-1), double_dot(A, B))
    assert to_mandel(A).shape == (*batch, 6)


def test_mandel_order_is_11_22_33_23_13_12_with_root_two_on_the_shears():
    A = torch.tensor([[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]], dtype=torch.float64)
    r = math.sqrt(2.0)
    close(to_mandel(A), torch.tensor([1, 2, 3, 4 * r, 5 * r, 6 * r], dtype=torch.float64))
    assert MANDEL == ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
    assert tuple((i, j) for i in range(3) for j in range(3)) == ROW_MAJOR


def test_mandel_vector_is_of_the_symmetric_part():
    A = random_matrices(2)
    close(from_mandel(to_mandel(A)), 0.5 * (A + A.transpose(-1, -2)))


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_mandel_rotation_turns_vectors_as_the_rotation_turns_tensors(batch):
    Q = random_rotation(*batch, generator=torch.Generator().manual_seed(3))
    A = from_mandel(to_mandel(random_matrices(*batch)))
    R = mandel_rotation(Q)
    close((R @ to_mandel(A)[..., None])[..., 0], to_mandel(Q @ A @ Q.transpose(-1, -2)))
    close(R @ R.transpose(-1, -2), torch.eye(6, dtype=torch.float64).expand(*batch, 6, 6))


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_polar_rotation_leaves_a_symmetric_positive_stretch(batch):
    R = random_rotation(*batch, generator=torch.Generator().manual_seed(3))
    G = random_matrices(*batch)
    stretch = torch.eye(3, dtype=torch.float64) + 0.5 * G.transpose(-1, -2) @ G
    close(polar_rotation(R @ stretch), R, 1e-12)
    close(polar_rotation(10.0 * R @ stretch), R, 1e-12)


def test_random_rotations_are_rotations_without_a_preferred_direction():
    Q = random_rotation(4000, generator=torch.Generator().manual_seed(0))
    close(Q @ Q.transpose(-1, -2), torch.eye(3, dtype=torch.float64).expand(4000, 3, 3))
    close(det(Q), torch.ones(4000, dtype=torch.float64))
    # Uniform on SO(3): <Q_ij> = 0, <Q_ij Q_kl> = delta_ik delta_jl / 3; six standard errors of 4000 samples.
    flat = Q.flatten(1)
    assert float(flat.mean(0).abs().max()) < 6 * math.sqrt(1 / 3 / 4000)
    covariance = flat.T @ flat / 4000
    assert float((covariance - torch.eye(9, dtype=torch.float64) / 3).abs().max()) < 6 * 0.3 / math.sqrt(4000)
    assert torch.equal(Q, random_rotation(4000, generator=torch.Generator().manual_seed(0)))


def test_components_of_a_batch_are_contiguous():
    parts = [torch.full((5, 4), float(k)) for k in range(9)]
    assert stack(parts).shape == (5, 4, 9)
    assert stack(parts)[..., 3].is_contiguous()
    assert matrix(parts)[..., 1, 0].is_contiguous()
    assert matrix(parts)[0, 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_lame_constants_give_back_the_young_modulus_and_poisson_ratio():
    lmbda, mu = lame_constants(210000.0, 0.3)
    assert mu * (3 * lmbda + 2 * mu) / (lmbda + mu) == pytest.approx(210000.0, rel=1e-14)
    assert lmbda / (2 * (lmbda + mu)) == pytest.approx(0.3, rel=1e-14)


@pytest.mark.parametrize(
    ("E", "nu", "message"),
    [
        (-1.0, 0.3, "E: got -1.0, wanted a Young's modulus > 0"),
        (0.0, 0.3, "E: got 0.0"),
        (math.nan, 0.3, "E: got nan"),
        (1.0, 0.5, r"nu: got 0.5, wanted a Poisson's ratio in \(-1, 0.5\)"),
        (1.0, -1.0, "nu: got -1.0"),
    ],
)
def test_moduli_of_no_stable_solid_are_refused(E, nu, message):
    with pytest.raises(ValueError, match=message):
        lame_constants(E, nu)


def test_isotropic_stiffness_is_unchanged_by_rotation_and_has_its_eigenvalues():
    lmbda, mu = torch.tensor([3.0, 2.0], dtype=torch.float64)
    C = isotropic_stiffness(lmbda, mu)
    R = mandel_rotation(random_rotation(generator=torch.Generator().manual_seed(1)))
    close(R @ C @ R.T, C)
    close(torch.linalg.eigvalsh(C), torch.tensor([4.0] * 5 + [3 * 3.0 + 2 * 2.0], dtype=torch.float64))
