"""A batch of load paths: what is driven, where to, and how fast."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Self

import numpy as np
import torch
from torch import Tensor

from datagen.laws.law import Measure


def as_measure(measure: Measure | str) -> Measure:
    """The measure itself, or the one that a configuration names: ``small`` or ``finite``."""
    names = [m.value for m in Measure]
    if not isinstance(measure, Measure) and measure not in names:
        raise ValueError(f"measure: got {measure!r}, wanted one of {', '.join(names)}")
    return Measure(measure)


def stream(sampler: str, seed: int, *member: int) -> np.random.Generator:
    """Random stream of one member of one sampler: the first 10 of 20 paths are those of a run for 10.

    NumPy's, because torch's CPU generator keeps 32 bits of its seed: among 10^5 members two would be equal.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed: got {seed!r}, wanted an integer >= 0")
    return np.random.default_rng([zlib.crc32(sampler.encode()), int(seed), *member])


@dataclass(frozen=True, eq=False)
class LoadPath:
    """A batch of load paths with the same driven components and number of steps.

    The body starts in the reference state at zero stress; that state is implied, not stored. Driven components reach
    their target at the end of each step; those in ``stress_components`` are driven by stress, the others by strain.
    Components that are not driven are held at the reference strain.

    Args:
        measure: what strain and stress are; a `Measure` or its name.
        target: end-of-step targets (b, T, n): strain [-], or stress [MPa] in the columns of ``stress_components``.
            Columns that are not driven hold the reference strain. SMALL is in Mandel notation: shears carry sqrt(2).
        components: names of the driven components; brought into the order of the measure.
        stress_components: those of them whose target is a stress.
        dt: time steps [s] > 0, (b, T) or what broadcasts to it. Default 1 s each.
        parameters: per-point inputs of the law (b, n_parameters), in the order of its `parameter_names`.
        path_class: what the paths are, for errors by class; samplers put their name.

    Raises:
        ValueError: a shape, name or number that does not fit.
    """

    measure: Measure
    target: Tensor
    components: tuple[str, ...]
    stress_components: tuple[str, ...] = ()
    dt: Tensor = field(default_factory=lambda: torch.ones((), dtype=torch.float64))
    parameters: Tensor | None = None
    path_class: str = "path"

    def __post_init__(self) -> None:
        measure = as_measure(self.measure)
        target = self.target
        if target.dim() != 3 or target.shape[-1] != measure.n:
            raise ValueError(
                f"target: got shape {tuple(target.shape)}, wanted (paths, steps, {measure.n}) for {measure.name} strain"
            )
        if 0 in target.shape:
            raise ValueError(f"target: got shape {tuple(target.shape)}, wanted at least one path and one step")
        if not target.isfinite().all():
            raise ValueError("target: got nan or infinity, wanted finite numbers")
        if not self.components:
            raise ValueError("components: got none, wanted at least one driven component")
        driven, by_stress = measure.columns(self.components), measure.columns(self.stress_components)
        for name in self.stress_components:
            if name not in self.components:
                raise ValueError(f"stress_components: got {name!r}, wanted names among {', '.join(self.components)}")
        held = [k for k in range(measure.n) if k not in driven]
        reference = measure.reference(target.dtype, target.device)
        if not torch.equal(target[..., held], reference[held].expand_as(target[..., held])):
            raise ValueError(
                f"target: got values in columns that are not driven, wanted the reference strain there "
                f"(driven: {', '.join(self.components)})"
            )
        dt = torch.as_tensor(self.dt, dtype=target.dtype, device=target.device)
        try:
            dt = dt.broadcast_to(target.shape[:2]).clone()
        except RuntimeError:
            raise ValueError(f"dt: got shape {tuple(dt.shape)}, wanted {tuple(target.shape[:2])}") from None
        if not (dt > 0).all() or not dt.isfinite().all():
            raise ValueError("dt: got a time step that is not > 0, wanted seconds")
        if self.parameters is not None and (self.parameters.dim() != 2 or len(self.parameters) != len(target)):
            raise ValueError(
                f"parameters: got shape {tuple(self.parameters.shape)}, wanted ({len(target)}, n_parameters)"
            )
        names = measure.components
        for name, value in {
            "measure": measure,
            "components": tuple(names[k] for k in sorted(set(driven))),
            "stress_components": tuple(names[k] for k in sorted(set(by_stress))),
            "dt": dt,
        }.items():
            object.__setattr__(self, name, value)

    @classmethod
    def along(
        cls,
        measure: Measure | str,
        strain: Mapping[str, Tensor | Sequence | float] | None = None,
        stress: Mapping[str, Tensor | Sequence | float] | None = None,
        dt: Tensor | float = 1.0,
        parameters: Tensor | None = None,
        path_class: str = "path",
    ) -> Self:
        """Paths from targets by component name: numbers, (T,) or (b, T), broadcast against each other.

        Numbers and lists, or float64 tensors; TypeError for float32, which would not be the numbers that were meant.

        >>> LoadPath.along("small", strain={"11": [0.001, 0.002, 0.003]}, stress={"22": 0.0, "33": 0.0})
        LoadPath(path: 1 of 3 steps, SMALL, 11 by strain, 22 33 by stress)
        """
        measure = as_measure(measure)
        strain, stress = dict(strain or {}), dict(stress or {})
        twice = strain.keys() & stress.keys()
        if twice:
            raise ValueError(f"stress: got {min(twice)!r}, which is also driven by strain; wanted one of the two")
        for name, value in {**strain, **stress}.items():
            if isinstance(value, Tensor) and value.dtype in (torch.float32, torch.float16, torch.bfloat16):
                raise TypeError(f"targets: got {value.dtype} for {name}, wanted torch.float64")
        given = {name: torch.as_tensor(v, dtype=torch.float64) for name, v in {**strain, **stress}.items()}
        columns = measure.columns(list(given))
        if not given:
            raise ValueError("components: got none, wanted at least one driven component")
        try:
            values = torch.stack(torch.broadcast_tensors(torch.zeros(1, 1), *given.values())[1:], -1)
        except RuntimeError:
            shapes = ", ".join(f"{k} {tuple(v.shape)}" for k, v in given.items())
            raise ValueError(f"targets: got shapes {shapes}, wanted numbers, (T,) or (b, T)") from None
        target = measure.reference(device=values.device).repeat(*values.shape[:2], 1)
        target[..., columns] = values
        return cls(measure, target, tuple(given), tuple(stress), torch.as_tensor(dt), parameters, path_class=path_class)

    def __repr__(self) -> str:
        by_strain = [name for name in self.components if name not in self.stress_components]
        ways = {"strain": by_strain, "stress": self.stress_components}
        words = ", ".join(f"{' '.join(names)} by {way}" for way, names in ways.items() if names)
        return f"LoadPath({self.path_class}: {self.n_paths} of {self.n_steps} steps, {self.measure.name}, {words})"

    @property
    def n_paths(self) -> int:
        """Number of paths b."""
        return self.target.shape[0]

    @property
    def n_steps(self) -> int:
        """Number of steps T."""
        return self.target.shape[1]

    @property
    def columns(self) -> list[int]:
        """Columns of the driven components."""
        return self.measure.columns(self.components)

    @property
    def stress_columns(self) -> list[int]:
        """Columns of the components driven by stress."""
        return self.measure.columns(self.stress_components)

    def select(self, members: Sequence[int] | Tensor) -> LoadPath:
        """The paths of these members, copied."""
        index = torch.as_tensor(members, dtype=torch.long, device=self.target.device)
        parameters = None if self.parameters is None else self.parameters[index]
        return replace(self, target=self.target[index], dt=self.dt[index], parameters=parameters)

    def with_parameters(self, parameters: Tensor) -> LoadPath:
        """The same paths for a law with these per-point inputs, (b, n_parameters)."""
        return replace(self, parameters=parameters)

    def refined(self, factor: int) -> LoadPath:
        """The same paths with every step cut into ``factor`` equal parts, in time and in target."""
        if factor < 1:
            raise ValueError(f"factor: got {factor}, wanted an integer >= 1")
        start = self.measure.reference(self.target.dtype, self.target.device).clone()
        start[self.stress_columns] = 0.0
        before = torch.cat([start.expand(self.n_paths, 1, -1), self.target[:, :-1]], 1)[:, :, None]
        part = torch.arange(1, factor + 1, dtype=self.target.dtype, device=self.target.device) / factor
        after = self.target[:, :, None]
        # lerp returns its end points exactly, so the targets of the coarse path are met to the last bit.
        target = torch.lerp(before, after, part[:, None]).flatten(1, 2)
        return replace(self, target=target, dt=(self.dt / factor).repeat_interleave(factor, 1))

    def to(self, dtype: torch.dtype, device: torch.device | str) -> LoadPath:
        """The same paths in another floating type or on another device."""
        parameters = None if self.parameters is None else self.parameters.to(dtype=dtype, device=device)
        return replace(
            self,
            target=self.target.to(dtype=dtype, device=device),
            dt=self.dt.to(dtype=dtype, device=device),
            parameters=parameters,
        )
