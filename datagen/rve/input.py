"""What a homogenised cell refuses to be made from, in one line each."""

from __future__ import annotations

from collections.abc import Sequence

from datagen.laws.law import Law
from datagen.microstructures.microstructure import Microstructure
from datagen.rve.boundary import BOUNDARIES
from datagen.rve.discretisation import DISCRETISATIONS


def check_input(
    microstructure: Microstructure, laws: Sequence[Law], discretisation: str, boundary: str, tolerance: float
) -> None:
    """Raise TypeError or ValueError for what does not fit together."""
    if not isinstance(microstructure, Microstructure):
        raise TypeError(f"microstructure: got {type(microstructure).__name__}, wanted a Microstructure")
    axes = any("orientation" in dict(law.named_buffers()) for law in laws if isinstance(law, Law))
    if microstructure.orientations is not None and not axes:
        raise ValueError(
            "microstructure: got orientations, but no law has material axes to turn; drop one or the other"
        )
    for law in laws:
        if not isinstance(law, Law):
            raise TypeError(f"laws: got {type(law).__name__}, wanted Laws")
        if law.parameter_names:
            raise ValueError(f"laws: {type(law).__name__} needs {', '.join(law.parameter_names)}, which a cell has not")
    if microstructure.n_phases > len(laws):
        raise ValueError(
            f"laws: phase index {microstructure.n_phases - 1} has no law; got {len(laws)} laws, "
            f"wanted {microstructure.n_phases}"
        )
    measures = {law.measure for law in laws}
    if len(measures) > 1:
        names = ", ".join(f"{type(law).__name__} {law.measure.name}" for law in laws)
        raise ValueError(f"laws: got {names}, wanted laws of one measure")
    if discretisation not in DISCRETISATIONS:
        raise ValueError(f"discretisation: got {discretisation!r}, wanted one of {', '.join(DISCRETISATIONS)}")
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary: got {boundary!r}, wanted one of {', '.join(BOUNDARIES)}")
    if not 0 < tolerance < 0.1:
        raise ValueError(f"tolerance: got {tolerance}, wanted a number in (0, 0.1)")
