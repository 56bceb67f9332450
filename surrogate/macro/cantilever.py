"""A bar of hexahedra, held at one end and bent by nodal forces at the other."""

from __future__ import annotations

from collections.abc import Sequence

from datagen.laws.law import Measure
from surrogate.macro.boundary import NodalForce, clamped
from surrogate.macro.mesh import box
from surrogate.macro.problem import Problem


def cantilever(
    force: Sequence[float] = (0.0, -2.0, 0.0),
    lengths: Sequence[float] = (10.0, 1.0, 1.0),
    divisions: Sequence[int] = (20, 3, 3),
    measure: Measure | str = Measure.FINITE,
    steps: int | Sequence[float] = 10,
) -> Problem:
    """A bar along x, clamped at x = 0, with a dead force shared equally by the nodes of the other end.

    The monitored point is the corner at the far end of all three edges.

    Args:
        force: total force at load factor 1 [N].
        lengths: of the bar [mm].
        divisions: hexahedra along x, y, z.
        measure: small or finite strain.
        steps: as of `Problem`.

    Example:
        >>> from datagen.laws.neo_hooke import NeoHooke
        >>> from surrogate.macro.solver import solve
        >>> bar = cantilever(divisions=(8, 1, 1), steps=2)
        >>> solution = solve(bar, NeoHooke(mu=1000 / 2.6, lmbda=300 / 0.52))
        >>> solution.converged, bool(solution.monitored[-1, 1] < -1.0)
        (True, True)
    """
    return Problem(
        mesh=box(lengths, divisions),
        element="hex8",
        measure=Measure(measure),
        displacements=clamped("left", 3),
        forces=(NodalForce("right", tuple(force)),),
        steps=steps,
        monitor=tuple(lengths),
    )
