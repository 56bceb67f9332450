"""A block pulled along x, free to contract: the problem whose answer stands in every textbook."""

from __future__ import annotations

from collections.abc import Sequence

from datagen.laws.law import Measure
from surrogate.macro.boundary import Displacement
from surrogate.macro.mesh import box, rectangle
from surrogate.macro.problem import Problem


def uniaxial(
    elongation: float = 0.1,
    n: int = 1,
    element: str = "hex8",
    measure: Measure | str = Measure.FINITE,
    steps: int | Sequence[float] = 1,
) -> Problem:
    """A block of edge 1 mm on three symmetry planes (two in plane strain), its face x = 1 moved by ``elongation``.

    Args:
        elongation: of the edge along x at load factor 1 [mm], which is the engineering strain.
        n: elements along each edge.
        element: ``"hex8"``, or a quadrilateral for plane strain.
        measure: small or finite strain.
        steps: as of `Problem`.

    Example:
        >>> from datagen.laws.linear_elastic import LinearElastic
        >>> from surrogate.macro.solver import solve
        >>> solution = solve(uniaxial(1e-3, measure="small"), LinearElastic(E=210e3, nu=0.3))
        >>> round(float(solution.stress[-1, 0, 0, 0]), 6)
        210.0
    """
    flat = element != "hex8"
    mesh = rectangle(1.0, 1.0, n, n) if flat else box((1.0, 1.0, 1.0), (n, n, n))
    planes = [("left", "x"), ("bottom", "y")] if flat else [("left", "x"), ("front", "y"), ("bottom", "z")]
    return Problem(
        mesh=mesh,
        element=element,
        measure=Measure(measure),
        displacements=(
            *(Displacement(where, axis) for where, axis in planes),
            Displacement("right", "x", elongation),
        ),
        steps=steps,
        monitor=(1.0,) * mesh.dim(),
    )
