"""Isotropic functions against LAPACK and scipy, above all where eigenvalues coincide."""

from __future__ import annotations

import math

import pytest
import scipy.linalg
import torch
from torch import Tensor

from datagen.spectral import derivative, eigen, exponential, log_differences, logarithm, sinhc, square_root
from datagen.tensors import random_rotation

SPECTRA = {
    "apart": [0.4, -0.1, 0.7],
    "opposite": [0.4, 0.0, -0.4],  # det of the deviator is 0: two eigenvalues are equally distinct
    "two equal above": [0.5, 0.5, -0.2],
    "two equal below": [0.5, -0.2, -0.2],
    "two close": [0.5, 0.5 + 1e-9, -0.2],
    "two within rounding": [0.5, 0.5 + 1e-16, -0.2],
    "three equal": [0.3, 0.3, 0.3],
    "three close": [0.3, 0.3 + 1e-9, 0.3 - 2e-9],
    "none": [0.0, 0.0, 0.0],
    "large and small": [3.0, -0.9, 1e-3],
    "tiny": [1e-200, -2e-200, 3e-201],
}
FUNCTIONS = {
    "log(1 + x)": (logarithm, lambda A: scipy.linalg.logm(A + torch.eye(len(A)).numpy())),
    "exp(x) - 1": (exponential, lambda A: scipy.linalg.expm(A) - torch.eye(len(A)).numpy()),
    "sqrt(1 + x) - 1": (
        square_root,
        lambda A: scipy.linalg.sqrtm(A + torch.eye(len(A)).numpy()) - torch.eye(len(A)).numpy(),
    ),
}


def turned(values: list[float], n: int = 20) -> Tensor:
    """Symmetric tensors (n + 1, 3, 3) with these eigenvalues, in random frames and along the axes."""
    Q = random_rotation(n, generator=torch.Generator().manual_seed(3))
    Q = torch.cat([Q, torch.eye(3, dtype=torch.float64)[None]])
    A = Q @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ Q.mT
    return 0.5 * (A + A.mT)


@pytest.mark.parametrize("values", SPECTRA.values(), ids=SPECTRA.keys())
def test_an_eigenframe_is_orthonormal_and_makes_the_tensor_diagonal(values):
    A = turned(values)
    size = max(map(abs, values)) or 1.0
    frame = eigen(A)
    assert float((frame.Q.mT @ frame.Q - torch.eye(3)).abs().max()) < 2e-15
    assert float((frame.Q.mT @ (A / size) @ frame.Q - torch.diag_embed(frame.values / size)).abs().max()) < 3e-15
    assert float(frame.off.abs().max()) <= 3e-15 * size
    wanted = torch.tensor(sorted(values), dtype=torch.float64).expand(len(A), 3)
    assert float((frame.values.sort().values - wanted).abs().max()) <= 3e-15 * size


def test_eigenvalues_are_those_of_lapack():
    A = torch.randn(2000, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    A = A + A.mT
    torch.testing.assert_close(eigen(A).values.sort().values, torch.linalg.eigvalsh(A), rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("values", SPECTRA.values(), ids=SPECTRA.keys())
def test_a_function_of_a_tensor_is_that_of_scipy(name, values):
    function, oracle = FUNCTIONS[name]
    A = turned(values, n=3)
    wanted = torch.stack([torch.from_numpy(oracle(x.numpy())) for x in A])
    torch.testing.assert_close(function(A), wanted, rtol=0, atol=1e-13 * (1 + float(wanted.abs().max())))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("values", [v for k, v in SPECTRA.items() if k != "tiny"])
def test_its_derivative_is_the_corner_of_the_function_of_a_block_tensor(name, values):
    # N. J. Higham, Functions of Matrices, 2008, theorem 3.6: it is the corner of f([[A, B], [0, A]]).
    function, oracle = FUNCTIONS[name]
    A = turned(values, n=3)
    B = torch.randn(A.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    B = B + B.mT
    block = torch.cat([torch.cat([A, B], -1), torch.cat([torch.zeros_like(A), A], -1)], -2)
    wanted = torch.stack([torch.from_numpy(oracle(x.numpy()).real.copy())[:3, 3:] for x in block])
    forward = torch.func.jvp(function, (A,), (B,))[1]
    # scipy loses half the digits of a block that is not normal where eigenvalues meet; the digits are tested below.
    torch.testing.assert_close(forward, wanted, rtol=0, atol=3e-8 * float(wanted.abs().max()))


@pytest.mark.parametrize("values", SPECTRA.values(), ids=SPECTRA.keys())
def test_the_written_out_derivative_is_that_of_both_modes_of_differentiation(values):
    A = turned(values, n=4)
    B, G = torch.randn(2, *A.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    B, G = B + B.mT, G + G.mT
    frame = eigen(A)
    written = derivative(frame.Q, 1 / (1 + frame.values), log_differences(frame.values.log1p()), B)
    forward = torch.func.jvp(logarithm, (A,), (B,))[1]
    torch.testing.assert_close(forward, written, rtol=0, atol=1e-13 * float(written.abs().max()))
    backward = torch.func.vjp(logarithm, A)[1](G)[0]
    torch.testing.assert_close((backward * B).sum((-2, -1)), (G * written).sum((-2, -1)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("values", SPECTRA.values(), ids=SPECTRA.keys())
def test_exponential_undoes_logarithm_and_the_root_squares_to_its_argument(values):
    A = turned(values)
    size = max(map(abs, values)) or 1.0
    assert float((exponential(logarithm(A)) - A).abs().max()) <= 2e-14 * size
    U = square_root(A)
    assert float((2 * U + U @ U - A).abs().max()) <= 2e-14 * size


def test_the_derivative_of_the_exponential_is_that_of_scipy_and_undoes_that_of_the_logarithm():
    A = torch.cat([turned(values, n=3) for values in SPECTRA.values()])
    B = torch.randn(A.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    B = B + B.mT
    L, dL = torch.func.jvp(logarithm, (A,), (B,))
    torch.testing.assert_close(torch.func.jvp(exponential, (L,), (dL,))[1], B, rtol=0, atol=1e-12)
    wanted = [scipy.linalg.expm_frechet(x.numpy(), b.numpy(), compute_expm=False) for x, b in zip(A, B, strict=True)]
    got = torch.func.jvp(exponential, (A,), (B,))[1]
    for one, other in zip(got, map(torch.from_numpy, wanted), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13 * float(other.abs().max()))


def test_a_small_tensor_keeps_its_digits():
    A = 1e-7 * turned([0.4, -0.1, 0.7])
    torch.testing.assert_close(logarithm(A), A - A @ A / 2 + A @ A @ A / 3, rtol=1e-13, atol=1e-22)


def test_a_batch_is_its_members_and_any_shape_will_do():
    A = turned([0.4, -0.1, 0.7], n=5).reshape(2, 3, 3, 3)
    for function, _ in FUNCTIONS.values():
        assert torch.equal(function(A)[1, 2], function(A[1, 2]))
        assert torch.equal(torch.func.vmap(function)(A), function(A))


def test_a_logarithm_that_does_not_exist_is_nan_for_that_member_alone():
    A = torch.stack([turned([0.4, -0.1, -1.5], n=0)[0], turned([0.4, -0.1, 0.7], n=0)[0]])
    assert logarithm(A).isfinite().all((-2, -1)).tolist() == [False, True]
    assert square_root(A).isfinite().all((-2, -1)).tolist() == [False, True]


def test_the_hyperbolic_sine_over_its_argument_joins_its_series():
    x = torch.tensor([0.0, 1e-300, 1e-9, 0.0999999, 0.1000001, -0.1, 3.0], dtype=torch.float64)
    wanted = [math.sinh(v) / v if v else 1.0 for v in x.tolist()]
    torch.testing.assert_close(sinhc(x), torch.tensor(wanted, dtype=torch.float64), rtol=4e-16, atol=0)
    slope = torch.func.vmap(torch.func.grad(sinhc))(x)
    wanted = [(v * math.cosh(v) - math.sinh(v)) / v**2 if abs(v) > 0.05 else v / 3 for v in x.tolist()]
    torch.testing.assert_close(slope, torch.tensor(wanted, dtype=torch.float64), rtol=1e-12, atol=1e-15)
