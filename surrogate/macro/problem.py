"""A boundary value problem: a mesh, what holds and loads it, and the load steps. The law is not part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import skfem

from datagen.laws.law import PLANE_STRAIN, Measure
from surrogate.macro.boundary import AXES, Displacement, NodalForce, Traction
from surrogate.macro.element import Element, element_named

WHOLE = "body"
"""Name of the only region of a problem that names none."""


@dataclass(frozen=True)
class Problem:
    r"""A quasi-static problem: div P = 0 in the body, u and P N given on its boundary, in proportion to a load factor.

    Two-dimensional elements are in plane strain; a law wrapped in `PlaneStress` makes it plane stress.

    Args:
        mesh: scikit-fem mesh with named boundaries [mm].
        element: name of an element, or an `Element`.
        measure: small strain, or finite strain (total Lagrangian).
        displacements: prescribed displacements.
        tractions: dead tractions.
        forces: dead nodal forces.
        steps: number of equal load steps to load factor 1, or the load factor at the end of each step.
        dt: time of each step [s], one number or one for each step. None is 1 s, for laws without rate effects.
        thickness: of a two-dimensional body [mm].
        regions: element numbers by region name; together they are all elements, each once. None is one region, "body".
        monitor: a point of the undeformed body where a node stands [mm], whose displacement is the curve to look at.

    Raises:
        ValueError: a name that does not exist, a region that overlaps another, a step without a change of load, ...

    Example:
        >>> from surrogate.macro.boundary import clamped
        >>> from surrogate.macro.mesh import rectangle
        >>> sheared = Problem(
        ...     mesh=rectangle(1.0, 1.0, 2, 2),
        ...     element="quad4",
        ...     measure=Measure.FINITE,
        ...     displacements=(*clamped("bottom", 2), Displacement("top", "x", 0.2), Displacement("top", "y")),
        ...     steps=2,
        ... )
        >>> sheared.load_factors, sheared.dim
        ((0.5, 1.0), 2)
    """

    mesh: skfem.Mesh
    element: str | Element
    measure: Measure
    displacements: Sequence[Displacement] = ()
    tractions: Sequence[Traction] = ()
    forces: Sequence[NodalForce] = ()
    steps: int | Sequence[float] = 1
    dt: float | Sequence[float] | None = None
    thickness: float = 1.0
    regions: Mapping[str, Sequence[int]] | None = None
    monitor: Sequence[float] | None = None
    load_factors: tuple[float, ...] = field(init=False)
    times: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "element", element_named(self.element))
        object.__setattr__(self, "measure", Measure(self.measure))
        object.__setattr__(self, "load_factors", _load_factors(self.steps))
        object.__setattr__(self, "times", self._times())
        self._check_body()
        self._check_conditions()

    @property
    def dim(self) -> int:
        """Number of space dimensions."""
        return self.kind.dim

    @property
    def kind(self) -> Element:
        """The element."""
        return element_named(self.element)

    @property
    def components(self) -> tuple[str, ...]:
        """Strain components that the mesh drives: those of plane strain in two dimensions, all in three."""
        return PLANE_STRAIN[self.measure] if self.dim == 2 else self.measure.components

    def elements_of(self) -> dict[str, np.ndarray]:
        """Element numbers by region."""
        if self.regions is None:
            return {WHOLE: np.arange(self.mesh.nelements)}
        return {name: np.asarray(elements, dtype=np.int64) for name, elements in self.regions.items()}

    def with_steps(self, steps: int | Sequence[float]) -> Problem:
        """The same problem in other load steps."""
        return replace(self, steps=steps)

    def _times(self) -> tuple[float, ...]:
        n = len(self.load_factors)
        dt = np.atleast_1d(np.asarray(1.0 if self.dt is None else self.dt, dtype=float))
        if dt.shape not in ((1,), (n,)) or not (dt > 0).all():
            raise ValueError(f"dt: got {self.dt}, wanted one time > 0 [s], or one for each of the {n} load steps")
        before = (0.0, *self.load_factors)
        for t, factor in enumerate(self.load_factors):
            if factor == before[t] and self.dt is None:
                raise ValueError(
                    f"steps: load step {t + 1} keeps the load factor {factor:g}, wanted a change of load; "
                    f"a hold of a law with rate effects needs its time, dt"
                )
        return tuple(np.broadcast_to(dt, n).tolist())

    def _check_body(self) -> None:
        if not isinstance(self.mesh, self.kind.mesh):
            wanted = self.kind.mesh.__name__
            raise ValueError(f"mesh: got {type(self.mesh).__name__}, wanted a {wanted} for element {self.kind.name}")
        if not self.thickness > 0:
            raise ValueError(f"thickness: got {self.thickness}, wanted > 0 [mm]")
        if self.dim == 3 and self.thickness != 1.0:
            raise ValueError(f"thickness: got {self.thickness} for a three-dimensional body, wanted none")
        count = np.zeros(self.mesh.nelements, dtype=int)
        for name, elements in self.elements_of().items():
            if len(elements) == 0:
                raise ValueError(f"regions: region {name!r} has no element")
            if elements.min() < 0 or elements.max() >= len(count):
                raise ValueError(f"regions: region {name!r} names an element outside 0 to {len(count) - 1}")
            count[elements] += 1
        if (count != 1).any():
            e = int(np.argmax(count != 1))
            raise ValueError(f"regions: element {e} is in {count[e]} regions, wanted every element in one")

    def _check_conditions(self) -> None:
        names = set(self.mesh.boundaries or {})
        load_conditions: list[Traction | NodalForce] = [*self.tractions, *self.forces]
        for where in [c.where for c in self.displacements] + [c.where for c in load_conditions]:
            if isinstance(where, str) and where not in names:
                known = ", ".join(sorted(names)) or "none, see Mesh.with_boundaries"
                raise ValueError(f"boundary: got {where!r}, wanted one that the mesh names: {known}")
        for displacement in self.displacements:
            if displacement.axis >= self.dim:
                raise ValueError(f"component: got {displacement.component!r}, wanted one of {', '.join(AXES[:2])}")
        for c in load_conditions:
            if not callable(c.vector) and np.shape(c.vector) != (self.dim,):
                raise ValueError(f"vector: got {c.vector} at {c.where!r}, wanted {self.dim} numbers")
        loads = [c.value for c in self.displacements] + [c.vector for c in load_conditions]
        if not any(callable(load) or np.any(load) for load in loads):
            raise ValueError("problem: nothing loads the body, wanted a displacement, traction or force that is not 0")


def _load_factors(steps: int | Sequence[float]) -> tuple[float, ...]:
    if isinstance(steps, int):
        if steps < 1:
            raise ValueError(f"steps: got {steps}, wanted at least one load step")
        return tuple((t + 1) / steps for t in range(steps))
    factors = tuple(float(factor) for factor in steps)
    if not factors or not all(np.isfinite(factors)):
        raise ValueError(f"steps: got {steps}, wanted at least one load factor, all finite")
    return factors
