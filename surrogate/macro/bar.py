"""A bar of hexahedra between two clamps that move apart."""

from __future__ import annotations

from collections.abc import Sequence

from datagen.laws.law import Measure
from surrogate.macro.boundary import Displacement, clamped
from surrogate.macro.mesh import box
from surrogate.macro.problem import Problem


def bar(
    elongation: float = 0.25,
    lengths: Sequence[float] = (5.0, 1.0, 1.0),
    divisions: Sequence[int] = (10, 2, 2),
    measure: Measure | str = Measure.FINITE,
    steps: int | Sequence[float] = 5,
) -> Problem:
    """A bar along x with both ends held fast, the far one moved along the axis: uniform tension but for the clamps.

    The monitored point is the corner at the far end of all three edges.

    Args:
        elongation: of the bar at load factor 1 [mm].
        lengths: of the bar [mm].
        divisions: hexahedra along x, y, z.
        measure: small or finite strain.
        steps: as of `Problem`.

    Example:
        >>> from datagen.laws.neo_hooke import NeoHooke
        >>> from surrogate.macro.solver import solve
        >>> solution = solve(bar(divisions=(4, 1, 1), steps=1), NeoHooke(mu=1.0, lmbda=10.0))
        >>> solution.converged, round(float(solution.monitored[-1, 0]), 6)
        (True, 0.25)
    """
    return Problem(
        mesh=box(lengths, divisions),
        element="hex8",
        measure=Measure(measure),
        displacements=(
            *clamped("left", 3),
            Displacement("right", "x", elongation),
            Displacement("right", "y"),
            Displacement("right", "z"),
        ),
        steps=steps,
        monitor=tuple(lengths),
    )
