"""Patch tests: what a finite element must do exactly, on meshes that are not regular."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import skfem
import torch

from datagen.laws.law import Measure
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.neo_hooke import NeoHooke
from surrogate.macro.assembly import Assembly
from surrogate.macro.boundary import AXES, Displacement, Traction
from surrogate.macro.element import ELEMENTS
from surrogate.macro.mesh import box, rectangle
from surrogate.macro.problem import Problem
from surrogate.macro.solver import solve

LAWS = {Measure.SMALL: LinearElastic(E=3.0, nu=0.3), Measure.FINITE: NeoHooke(mu=1.0, lmbda=2.0)}
EVERYWHERE = ("left", "right", "bottom", "top")


def distorted(element: str) -> skfem.Mesh:
    """A unit square or cube whose inner nodes are moved at random, by up to a quarter of an element."""
    mesh = box((1, 1, 1), (3, 3, 3)) if ELEMENTS[element].dim == 3 else rectangle(1.0, 1.0, 3, 3)
    inner = ((mesh.p > 1e-9) & (mesh.p < 1 - 1e-9)).all(0)
    shift = np.random.default_rng(3).uniform(-1 / 12, 1 / 12, mesh.p.shape) * inner
    return replace(mesh, doflocs=mesh.p + shift)


def driven_boundary(element: str, A: np.ndarray) -> tuple[Displacement, ...]:
    """Displacements A X on the whole boundary."""
    dim = len(A)
    sides = EVERYWHERE + (("front", "back") if dim == 3 else ())
    return tuple(Displacement(s, AXES[i], lambda X, i=i: A[i] @ X) for s in sides for i in range(dim))


@pytest.fixture(params=list(ELEMENTS))
def element(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("measure", list(Measure))
def test_a_distorted_patch_carries_uniform_strain(element: str, measure: Measure) -> None:
    dim = ELEMENTS[element].dim
    A = 0.1 * np.random.default_rng(5).standard_normal((dim, dim))
    problem = Problem(distorted(element), element, measure, driven_boundary(element, A))
    solution = solve(problem, LAWS[measure])
    assert solution.converged
    X = solution.assembly.X
    torch.testing.assert_close(
        solution.nodal(solution.displacements)[-1], torch.from_numpy(X @ A.T), rtol=0, atol=1e-12
    )
    F = np.eye(3)
    F[:dim, :dim] += A
    if measure is Measure.FINITE:
        strain = torch.from_numpy(F).flatten()
    else:
        e = 0.5 * (F + F.T) - np.eye(3)
        shear = np.sqrt(2) * np.array([e[1, 2], e[0, 2], e[0, 1]])
        strain = torch.from_numpy(np.concatenate([np.diag(e), shear]))
    law = LAWS[measure]
    expected = law(strain, law.initial_state(), 1.0)
    torch.testing.assert_close(solution.strain[-1], strain.expand_as(solution.strain[-1]), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        solution.stress[-1], expected.stress.expand_as(solution.stress[-1]), rtol=1e-11, atol=1e-11
    )
    # psi times the volume of the unit square or cube
    assert float(solution.energy["stored"][-1]) == pytest.approx(float(expected.psi), rel=1e-12)


def test_a_rotated_body_is_stress_free_at_finite_strain(element: str) -> None:
    dim = ELEMENTS[element].dim
    Q = np.eye(3)
    Q[:2, :2] = [[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]]
    problem = Problem(
        distorted(element), element, Measure.FINITE, driven_boundary(element, (Q - np.eye(3))[:dim, :dim])
    )
    solution = solve(problem, LAWS[Measure.FINITE])
    assert solution.converged
    assert float(solution.stress.abs().max()) < 1e-12
    assert float(solution.psi.abs().max()) < 1e-12


def test_a_traction_gives_its_total_force_and_uniform_stress(element: str) -> None:
    dim = ELEMENTS[element].dim
    planes = (("left", "x"), ("bottom", "y")) if dim == 2 else (("left", "x"), ("front", "y"), ("bottom", "z"))
    problem = Problem(
        distorted(element),
        element,
        Measure.SMALL,
        tuple(Displacement(*plane) for plane in planes),
        tractions=(Traction("right", (0.3, *(0.0,) * (dim - 1))),),
        thickness=2.0 if dim == 2 else 1.0,
    )
    solution = solve(problem, LAWS[Measure.SMALL])
    torch.testing.assert_close(
        solution.stress[..., 0], torch.full_like(solution.stress[..., 0], 0.3), rtol=1e-11, atol=0
    )
    total = solution.nodal(solution.reactions)[-1].sum(0)
    assert float(total[0]) == pytest.approx(-0.3 * problem.thickness, rel=1e-11)


def test_a_traction_that_varies_is_integrated_exactly(element: str) -> None:
    dim = ELEMENTS[element].dim
    mesh = box((1, 1, 1), (2, 2, 2)) if dim == 3 else rectangle(1.0, 1.0, 2, 2)
    held = tuple(Displacement("left", axis) for axis in AXES[:dim])
    bending = Traction("right", lambda X: np.stack([X[1] - 0.5] + [0 * X[0]] * (dim - 1)))
    solution = solve(Problem(mesh, element, Measure.SMALL, held, (bending,)), LAWS[Measure.SMALL])
    f, X = solution.nodal(solution.reactions)[-1].numpy(), solution.assembly.X
    # Balance of moments about the z axis: the integral of (y - 1/2)^2 over the loaded side is 1/12.
    moment = (X[:, 0] * f[:, 1] - (X[:, 1] - 0.5) * f[:, 0]).sum()
    assert moment == pytest.approx(1 / 12, rel=1e-10)
    assert f.sum(0) == pytest.approx(np.zeros(dim), abs=1e-12)


def test_stiffness_is_the_derivative_of_the_forces(element: str) -> None:
    problem = Problem(
        distorted(element), element, Measure.FINITE, driven_boundary(element, np.eye(ELEMENTS[element].dim))
    )
    assembly, law = Assembly(problem), LAWS[Measure.FINITE]
    rng = np.random.default_rng(1)
    u, du = 0.02 * rng.standard_normal((2, assembly.n_dof))

    def respond(u: np.ndarray) -> tuple[np.ndarray, torch.Tensor]:
        strain = law.reference_strain().repeat(assembly.n_elements * assembly.n_points, 1)
        strain[:, assembly.columns] += assembly.strain(u).flatten(0, 1)
        step, saved = law.linearise(strain, law.initial_state(len(strain)), 1.0)
        rows = torch.tensor(assembly.columns)
        C = law.dense(saved)[:, rows[:, None], rows]
        shape = (assembly.n_elements, assembly.n_points)
        return assembly.forces(step.stress[:, rows].unflatten(0, shape)), C.unflatten(0, shape)

    K = assembly.stiffness(respond(u)[1])
    h = 1e-6
    difference = (respond(u + h * du)[0] - respond(u - h * du)[0]) / (2 * h)
    np.testing.assert_allclose(K @ du, difference, rtol=0, atol=1e-8 * np.abs(difference).max())
    # The work of the nodal forces is the work of the stresses.
    f = respond(u)[0]
    assert f @ np.tile(np.eye(assembly.dim)[0], len(assembly.X)) == pytest.approx(0.0, abs=1e-13)
