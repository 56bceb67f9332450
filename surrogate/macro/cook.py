"""Cook's membrane: a tapered panel, clamped at one end and sheared at the other."""

from __future__ import annotations

from collections.abc import Sequence

from datagen.laws.law import Measure
from surrogate.macro.boundary import Displacement, Traction, clamped
from surrogate.macro.mesh import quadrilateral
from surrogate.macro.problem import Problem

CORNERS = ((0.0, 0.0), (48.0, 44.0), (48.0, 60.0), (0.0, 44.0))
"""Corners [mm], anticlockwise."""

EDGE = 16.0
"""Length of the loaded edge x = 48 [mm]."""


def cook(
    load: float = 100.0,
    n: int = 8,
    element: str = "quad4",
    measure: Measure | str = Measure.FINITE,
    steps: int | Sequence[float] = 5,
    control: str = "force",
    monitor: Sequence[float] = (48.0, 60.0),
) -> Problem:
    """Cook's membrane in plane strain (plane stress with a law wrapped in `PlaneStress`), thickness 1 mm.

    Corners (0, 0), (48, 44), (48, 60), (0, 44). The edge x = 0 is clamped. The edge x = 48 carries a uniform vertical
    dead traction, or is lifted as a whole.

    Args:
        load: total vertical force [N] under force control, lift of the edge [mm] under displacement control, at load
            factor 1.
        n: elements along each edge.
        element: ``"quad4"`` or ``"quad9"``.
        measure: small or finite strain.
        steps: as of `Problem`.
        control: ``"force"`` or ``"displacement"``.
        monitor: point whose displacement is the curve to look at: the corner (48, 60), or the middle (48, 52).

    Reference:
        R. D. Cook, J. Struct. Div. ASCE 100 (1974) 1851, doi:10.1061/JSDEAG.0003877.

    Example:
        >>> from datagen.laws.neo_hooke import NeoHooke
        >>> from surrogate.macro.solver import solve
        >>> solution = solve(cook(load=100.0, n=4), NeoHooke(mu=92.525, lmbda=138.7875))
        >>> solution.converged, solution.monitored.shape
        (True, torch.Size([5, 2]))
    """
    if control not in ("force", "displacement"):
        raise ValueError(f"control: got {control!r}, wanted 'force' or 'displacement'")
    lift = (Displacement("right", "y", load),) if control == "displacement" else ()
    traction = (Traction("right", (0.0, load / EDGE)),) if control == "force" else ()
    return Problem(
        mesh=quadrilateral(CORNERS, n, n),
        element=element,
        measure=Measure(measure),
        displacements=(*clamped("left", 2), *lift),
        tractions=traction,
        steps=steps,
        monitor=tuple(monitor),
    )
