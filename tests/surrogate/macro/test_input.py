"""What the macro solver says of wrong input, before the first solve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from datagen.laws.law import Measure
from datagen.laws.linear_elastic import LinearElastic
from datagen.laws.neo_hooke import NeoHooke
from datagen.laws.plane_stress import PlaneStress
from surrogate.macro.boundary import Displacement, NodalForce, Traction, clamped
from surrogate.macro.mesh import box, rectangle
from surrogate.macro.problem import Problem
from surrogate.macro.solver import solve
from surrogate.macro.uniaxial import uniaxial

RUBBER = NeoHooke(mu=1.0, lmbda=10.0)
HOOKE = LinearElastic(E=210e3, nu=0.3)
SQUARE = rectangle(1.0, 1.0, 2, 2)
PULL = Displacement("right", "x", 0.1)
TOP = Displacement("top", "x", 0.1)
PUSH = NodalForce("right", (0.0, 1.0))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda: solve(uniaxial(), HOOKE), "laws: LinearElastic has measure SMALL, wanted FINITE"),
        (lambda: solve(uniaxial(), PlaneStress(RUBBER)), "PlaneStress was made for strain components 11, 12, 21, 22, "),
        (lambda: solve(uniaxial(), "steel"), "laws: got str, wanted a Law"),
        (lambda: solve(uniaxial(), RUBBER, memory_limit=1e3), r"memory_limit: .* GB for 8 points, wanted at most"),
        (lambda: solve(uniaxial(), RUBBER, tolerance=0.0), "tolerance: got 0.0"),
        (lambda: solve(uniaxial(), RUBBER, steps=0), "steps: got 0"),
        (lambda: Problem(SQUARE, "quad5", Measure.SMALL, (PULL,)), "element: got 'quad5', wanted one of quad4"),
        (lambda: Problem(SQUARE, "hex8", Measure.SMALL, (PULL,)), "mesh: got MeshQuad1, wanted a MeshHex"),
        (lambda: Problem(SQUARE, "quad4", Measure.SMALL, clamped("lft", 2)), "boundary: got 'lft', wanted one that"),
        (lambda: Problem(SQUARE, "quad4", Measure.SMALL, clamped("left", 2)), "nothing loads the body"),
        (lambda: Problem(SQUARE, "quad4", Measure.SMALL, clamped("left", 3)), "component: got 'z', wanted one of x, y"),
        (
            lambda: Problem(SQUARE, "quad4", Measure.SMALL, (PULL,), (Traction("top", (1.0,)),)),
            r"vector: got \(1.0,\) at 'top', wanted 2 numbers",
        ),
        (
            lambda: Problem(SQUARE, "quad4", Measure.SMALL, (PULL,), regions={"a": [0, 1, 2]}),
            "regions: element 3 is in 0 regions",
        ),
        (
            lambda: solve(Problem(SQUARE, "quad4", Measure.SMALL, (PULL,)), HOOKE),
            "the body is not held, translation along y left free",
        ),
        (
            lambda: solve(Problem(SQUARE, "quad4", Measure.SMALL, clamped((0.0, 0.0), 2), (), (PUSH,)), HOOKE),
            "the body is not held, rotation about z left free",
        ),
        (
            lambda: solve(Problem(SQUARE, "quad4", Measure.SMALL, clamped((0.1, 0.0), 2), (), (PUSH,)), HOOKE),
            "point: no node at",
        ),
        (
            lambda: solve(
                Problem(SQUARE, "quad4", Measure.SMALL, (*clamped("left", 2), Displacement("top", "x", 0.1))), HOOKE
            ),
            "wanted one value",
        ),
    ],
)
def test_wrong_input_is_named_in_one_line(what: Callable[[], object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message) as error:
        what()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shift", [0.6, 3.0])
def test_an_inverted_element_is_named(shift: float) -> None:
    mesh = rectangle(1.0, 1.0, 2, 2)
    p = mesh.p.copy()
    p[0, np.argmin(((p - 0.5) ** 2).sum(0))] += shift  # the node in the middle, past the right edge
    problem = Problem(replace(mesh, doflocs=p), "quad4", Measure.SMALL, (*clamped("left", 2), PULL))
    with pytest.raises(ValueError, match=r"mesh: element \d \(nodes .*\) is inverted or folded"):
        solve(problem, HOOKE)


def test_two_separate_bodies_must_both_be_held() -> None:
    mesh = box((1, 1, 1), (1, 1, 1))
    other = replace(box((1, 1, 1), (1, 1, 1)), doflocs=mesh.p + 5.0)
    both = (mesh + other).with_boundaries({"low": lambda x: x[0] == 0.0, "high": lambda x: x[0] == 6.0})
    problem = Problem(both, "hex8", Measure.SMALL, clamped("low", 3), forces=(NodalForce("high", (1.0, 0.0, 0.0)),))
    with pytest.raises(ValueError, match="translation along x of part 1"):
        solve(problem, HOOKE)
