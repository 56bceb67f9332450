"""Polynomials, invariants, the layers' closed forms and the domain of trust, each against a plain formula."""

from __future__ import annotations

import math

import pytest
import torch

from datagen.laws.law import Measure
from datagen.tensors import cofactor, det, from_mandel, random_rotation, to_mandel
from surrogate.networks.domain import Domain
from surrogate.networks.features import (
    Symmetry,
    convex_arguments,
    det_minus_one,
    green_strain,
    strain_components,
    strain_invariants,
    volume_squared,
)
from surrogate.networks.polynomial import Polynomial, PolynomialMap, constant, variables
from surrogate.networks.propagate import Layer, propagate, softplus

QUARTER_TURN = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
THIRD_TURN = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
FULL = Measure.SMALL.components


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_polynomials_add_multiply_and_differentiate():
    x, y = variables(2)
    p = x * x * y - 3.0 * y + constant(2.0, 2)
    assert p.terms == {(2, 1): 1.0, (0, 1): -3.0, (0, 0): 2.0}
    assert p.derivative(0).terms == {(1, 1): 2.0}
    assert p.restricted([1]).terms == {(1,): -3.0, (0,): 2.0}
    assert (p - p).terms == {}
    assert p.degree == 3


def test_a_table_of_polynomials_has_the_derivatives_of_autograd():
    x, y, z = variables(3)
    polynomials = [x * x * y - z, x * y * z * z + constant(1.0, 3), Polynomial({})]
    table, v = PolynomialMap(polynomials, 3), randn(2, 5, 3)
    values, gradient, hessian = table(v, True)
    a, b, c = v.unbind(-1)
    assert torch.allclose(values, torch.stack([a * a * b - c, a * b * c * c + 1, 0 * a], -1))
    for k in (0, 1):
        exact = torch.func.hessian(lambda w, k=k: table(w)[0][k])(v[1, 2])
        assert torch.allclose(hessian[1, 2, k], exact)
    assert torch.allclose(gradient[1, 2], torch.func.jacrev(lambda w: table(w)[0])(v[1, 2]))


def test_green_strain_and_volume_are_those_of_the_textbook():
    H = 0.2 * randn(6, 3, 3)
    F = torch.eye(3, dtype=torch.float64) + H
    C = F.transpose(-1, -2) @ F
    table = PolynomialMap([*green_strain(), det_minus_one()], 9)
    values = table(H.flatten(1))[0]
    E = to_mandel((C - torch.eye(3, dtype=torch.float64)) / 2)
    assert torch.allclose(values[:, :6], E, atol=1e-15)
    assert torch.allclose(values[:, 6], det(F) - 1, atol=1e-15)
    assert torch.allclose(PolynomialMap([volume_squared()], 6)(E)[0][:, 0], det(C) - 1, atol=1e-15)


@pytest.mark.parametrize("symmetry", list(Symmetry))
def test_invariants_do_not_change_under_the_group_and_tell_strains_apart(symmetry):
    polynomials = [p for argument in strain_invariants(symmetry, Measure.SMALL, FULL) for p in argument.polynomials]
    table, e = PolynomialMap(polynomials, 6), randn(1, 6)
    values, gradient, _ = table(e)
    turns = {
        Symmetry.NONE: [torch.eye(3, dtype=torch.float64)],
        Symmetry.ISOTROPIC: list(random_rotation(3, generator=torch.Generator().manual_seed(1))),
        Symmetry.CUBIC: [torch.tensor(Q, dtype=torch.float64) for Q in (QUARTER_TURN, THIRD_TURN)],
        Symmetry.ORTHOTROPIC: [torch.diag(torch.tensor(d, dtype=torch.float64)) for d in ([1, -1, -1], [-1, -1, 1])],
    }  # fmt: skip
    for Q in turns[symmetry]:
        assert torch.allclose(table(to_mandel(Q @ from_mandel(e) @ Q.T))[0], values, rtol=1e-12)
    # Locally complete: as many independent invariants as strains that the group cannot turn into one another.
    dimension = {Symmetry.ISOTROPIC: 3}.get(symmetry, 6)
    assert int(torch.linalg.matrix_rank(gradient[0], tol=1e-8)) == dimension


@pytest.mark.parametrize(("symmetry", "number"), [("none", 3), ("isotropic", 2), ("cubic", 3), ("orthotropic", 3)])
def test_strain_in_one_plane_needs_few_invariants(symmetry, number):
    plane = strain_components(Measure.FINITE, ("11", "12", "21", "22"))
    assert plane == ("11", "22", "12")
    arguments = strain_invariants(Symmetry(symmetry), Measure.FINITE, plane)
    assert sum(len(argument.polynomials) for argument in arguments) == number


def test_what_varies_follows_from_what_is_driven():
    assert strain_components(Measure.FINITE, ("11",)) == ("11",)
    assert strain_components(Measure.FINITE, ("12",)) == ("22", "12")
    assert strain_components(Measure.FINITE, Measure.FINITE.components) == FULL
    assert strain_components(Measure.SMALL, ("12", "11")) == ("11", "12")


def test_polyconvex_arguments_are_those_of_c_and_its_cofactor():
    e = 0.1 * randn(4, 6)
    C = torch.eye(3, dtype=torch.float64) + 2 * from_mandel(e)
    diagonals = [A.diagonal(dim1=-1, dim2=-2) for A in (C, cofactor(C))]

    def values(symmetry):
        arguments = convex_arguments(symmetry, Measure.FINITE, FULL)
        return PolynomialMap([p for argument in arguments for p in argument.polynomials], 6)(e)[0]

    assert torch.allclose(values(Symmetry.ORTHOTROPIC), torch.cat([d - 1 for d in diagonals], -1), atol=1e-14)
    assert torch.allclose(values(Symmetry.ISOTROPIC), torch.stack([d.sum(-1) - 3 for d in diagonals], -1), atol=1e-14)
    sums = [x for d in diagonals for x in (d.sum(-1) - 3, (d * d).sum(-1) - 3)]
    assert torch.allclose(values(Symmetry.CUBIC), torch.stack(sums, -1), atol=1e-14)
    tensors = torch.cat([to_mandel(A - torch.eye(3, dtype=torch.float64)) for A in (C, cofactor(C))], -1)
    assert torch.allclose(values(Symmetry.NONE), tensors, atol=1e-14)


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("batch", [(), (1,), (2, 3)], ids=str)
def test_layers_carry_the_derivatives_of_autograd(skips, batch):
    widths, x = (4, 7, 5, 1), randn(*batch, 3, seed=9)
    layers = []
    for k, width in enumerate(widths):
        inner = None if k == 0 else randn(widths[k - 1], width, seed=k)
        outer = randn(3, width, seed=20 + k) if skips or k == 0 else None
        layers.append(Layer(inner, outer, randn(width, seed=30 + k)))

    def N(y):
        a = None
        for layer in layers[:-1]:
            a = torch.nn.functional.softplus(layer(a, y), threshold=40)
        return layers[-1](a, y)[..., 0]

    value, gradient, hessian = propagate(x, layers, True)
    assert torch.allclose(value, N(x), rtol=1e-13)
    rows = x.reshape(-1, 3)
    exact = torch.stack([torch.func.grad(N)(row) for row in rows]).reshape(x.shape)
    assert torch.allclose(gradient, exact, rtol=1e-12)
    exact = torch.stack([torch.autograd.functional.hessian(N, row) for row in rows])
    assert torch.allclose(hessian, exact.reshape(*batch, 3, 3), rtol=1e-11, atol=1e-12)
    assert propagate(x, layers, False)[2] is None


def test_softplus_keeps_all_digits():
    z = torch.tensor([-800.0, -30.0, 0.0, 30.0, 800.0], dtype=torch.float64, requires_grad=True)
    value, first, second = softplus(z)
    exact = [0.0, math.log1p(math.exp(-30)), math.log(2), 30 + math.log1p(math.exp(-30)), 800.0]
    assert torch.allclose(value, torch.tensor(exact, dtype=torch.float64), rtol=1e-15, atol=0)
    (gradient,) = torch.autograd.grad(value.sum(), z)
    assert torch.allclose(gradient, first, rtol=1e-12)
    assert second[2] == 0.25


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_the_distance_is_the_gauge_of_the_hull(n):
    sphere = torch.nn.functional.normalize(randn(2000, n), dim=-1)
    rim = sphere * torch.tensor([0.3, 0.2, 0.01, 0.2, 0.1, 0.05], dtype=torch.float64)[:n]
    domain = Domain(n)
    assert not domain.distance(100 * rim).any()
    domain.fit(torch.cat([rim, -rim, 0.5 * rim]))
    assert float(domain.distance(rim).max()) < 1e-12
    assert not domain.distance(0.9 * rim).any()
    # The hull is drawn from outside: between the faces of the polytope and the ellipsoid it is a little too large.
    beyond = domain.distance(1.25 * rim)
    assert 0.15 < float(beyond.min()) < float(beyond.max()) < 0.25 + 1e-9 or n == 1
    assert torch.equal(domain.lower, -domain.upper)


def test_the_corner_of_a_box_is_inside_and_what_lies_beyond_a_face_is_not():
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
    domain = Domain(3)
    domain.fit(corners)
    assert float(domain.distance(corners).max()) < 1e-12
    assert float(domain.distance(torch.tensor([1.1, 0.0, 0.0], dtype=torch.float64))) == pytest.approx(0.1)


def test_the_distance_to_a_flat_hull_is_finite_and_large():
    line = torch.linspace(-1, 1, 11, dtype=torch.float64)[:, None] * torch.tensor([0.1, 0.2, 0.0], dtype=torch.float64)
    domain = Domain(3)
    domain.fit(line)
    aside = line[5] + torch.tensor([0.0, 0.0, 0.1], dtype=torch.float64)
    assert 10 < float(domain.distance(aside)) < math.inf
    assert float(domain.distance(line).max()) < 1e-12
