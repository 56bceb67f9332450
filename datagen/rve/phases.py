"""The phase laws of a cell, evaluated over all its quadrature points at once.

Phases whose laws differ only in scalar moduli, orientation or eigenstrain are one *family*: the law is evaluated once
with its moduli as fields. Different families take their own voxels and put their answers back. Fields carry their
tensor axis first in memory, (k, Q, B, V), and are handed to the laws with it last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple, cast

import torch
from torch import Tensor

from datagen.laws.law import Law
from datagen.laws.verdict import Verdict
from datagen.microstructures.microstructure import Microstructure
from datagen.rve.compiled import Compiled


class PhaseStep(NamedTuple):
    """Fields of one evaluation; tensor axis first."""

    psi: Tensor  # (Q, B, V)
    stress: Tensor  # (n, Q, B, V)
    dissipation: Tensor  # (Q, B, V)
    state: Tensor  # (n_state, Q, B, V)
    verdict: Tensor  # (B,) int8, the largest of a member's points; of one family (Q, B, V)
    energies: dict[str, Tensor]  # (Q, B, V): the phases' own energy extras


class Reference(NamedTuple):
    """Linear phases at their reference strain."""

    strain: Tensor  # (n,)
    psi: Tensor  # (k,)
    stress: Tensor  # (k, n), nan in components for which the law was not made
    tangent: Tensor  # (k, n, n)
    verdict: Tensor  # (k,) int8


class _Part(NamedTuple):
    """One family on one batch of cells: its law with moduli in place, and where its points are."""

    law: Law
    family: int
    where: Tensor | None  # into V (all cells alike) or into B V (each its own); None: every point
    flat: bool

    def take(self, field: Tensor) -> Tensor:
        if self.where is None:
            return field
        return (field.flatten(-2) if self.flat else field).index_select(-1, self.where)

    def put(self, out: Tensor, values: Tensor) -> Tensor:
        if self.where is None:
            return values
        (out.flatten(-2) if self.flat else out).index_copy_(-1, self.where, values)
        return out

    def linearise(self, phases: Phases, strain: Tensor, state: Tensor, dt: Tensor) -> tuple[PhaseStep, Tensor]:
        """The law's step and what its tangent needs; fields as in `PhaseStep`, verdict point by point."""
        names = sorted(self.law.extras.keys() & set(phases.energy_names))

        def work(law: Law, strain: Tensor, state: Tensor, dt: Tensor) -> list[Tensor]:
            step, keep = law.linearise(strain.movedim(0, -1), state.movedim(0, -1), dt, components=phases.components)
            fields = [step.psi, step.stress.movedim(-1, 0), step.dissipation, step.state.movedim(-1, 0), step.verdict]
            return [keep, *fields, *(step.extras[name] for name in names)]

        keep, psi, stress, dissipation, new, verdict, *energies = self._call(phases, work, strain, state, dt)
        return PhaseStep(psi, stress, dissipation, new, verdict, dict(zip(names, energies, strict=True))), keep

    def apply_tangent(self, phases: Phases, keep: Tensor, direction: Tensor) -> Tensor:
        """The law's tangent product, (n, Q, C, b, v)."""

        def work(law: Law, keep: Tensor, direction: Tensor) -> list[Tensor]:
            return [law.apply_tangent(keep[:, None], direction.movedim(0, -1)).movedim(-1, 0)]

        return self._call(phases, work, keep, direction)[0]

    def _call(self, phases: Phases, work: Callable[..., list[Tensor]], *fields: Tensor) -> Sequence[Tensor]:
        if phases.compiled is None:
            return work(self.law, *fields)
        # Points of another block or member have other moduli: these are inputs like the fields.
        moduli = dict(self.law.named_buffers(recurse=False))

        def traced(*inputs: Tensor) -> list[Tensor]:
            own = dict(zip(moduli, inputs, strict=False))
            return work(self.law.with_buffers(**own), *inputs[len(own) :])

        return phases.compiled((work.__qualname__, self.family), traced, *moduli.values(), *fields)


_FIELDS = ("orientation", "eigenstrain")  # buffers with tensor axes that laws take point by point


def _field_buffers(law: Law) -> list[str]:
    """Names of the buffers that may differ from point to point."""
    return [name for name, buffer in law.named_buffers() if buffer.dim() == 0 or name in _FIELDS]


def _settings(law: Law, p: int) -> str:
    """All that is not a field, private attributes too: laws that differ here are not one law with other moduli."""
    if [*law.children(), *law.parameters()]:  # listed: a parameter's truth is that of its value
        return str(p)
    own = {k: v for k, v in vars(law).items() if k not in _MODULE_ATTRIBUTES}
    words = {k: repr(v) if isinstance(v, _PLAIN) else id(v) for k, v in own.items()}
    fields = _field_buffers(law)
    rest = {name: buffer.tolist() for name, buffer in law.named_buffers() if name not in fields}
    return repr((type(law), sorted(words.items()), fields, rest))


_MODULE_ATTRIBUTES = vars(torch.nn.Module()).keys()
_PLAIN = (bool, int, float, str, bytes, tuple, Enum, torch.dtype, type(None))


class Phases(torch.nn.Module):
    """Phase laws over a microstructure.

    Args:
        laws: one law a phase, all of one measure.
        microstructure: phase indices and, for laws with material axes, orientations.
        components: strain components in which the points' tangents are needed.
        compile: whether to compile the laws, see `Compiled`.
    """

    phase: Tensor  # (m, V)
    orientations: Tensor | None  # (m, n_phases, 3, 3)

    def __init__(
        self, laws: Sequence[Law], microstructure: Microstructure, components: Sequence[str], compile: bool = False
    ) -> None:
        super().__init__()
        self.laws = torch.nn.ModuleList(laws)
        self.components = tuple(components)
        self.compiled = Compiled() if compile else None
        self.register_buffer("phase", microstructure.phase.flatten(1))
        self.register_buffer("orientations", microstructure.orientations)
        self.n_state = max(law.n_state for law in laws)
        self.energy_names = sorted(
            {name for law in laws for name, extra in law.extras.items() if extra.shape == () and extra.unit == "MPa"}
        )
        groups: dict[str, list[int]] = {}
        known: dict[int, str] = {}  # a polycrystal is one law many times
        for p, law in enumerate(laws):
            key = known.setdefault(id(law), "") or _settings(law, p)
            known[id(law)] = key
            groups.setdefault(key, []).append(p)
        self._families = list(groups.values())

    def _moduli(self, family: list[int], phase: Tensor, sample: Tensor | None) -> dict[str, Tensor]:
        """Buffers of a family as fields over the points: ``phase`` and ``sample`` (None: the only one) of each."""
        laws = [cast(Law, self.laws[p]) for p in family]
        local = torch.zeros(len(self.laws), dtype=torch.int64, device=phase.device)
        local[family] = torch.arange(len(family), device=phase.device)
        moduli = {}
        for name in _field_buffers(laws[0]):
            values = torch.stack([law.get_buffer(name) for law in laws])
            if name == "orientation" and self.orientations is not None:
                turned = self.orientations[:, family] @ values  # (m, family, 3, 3)
                own = turned[0, local[phase]] if sample is None else turned[sample, local[phase]]
            elif len({id(law) for law in laws}) > 1:
                own = values[local[phase]]
            else:
                continue
            moduli[name] = own.movedim(tuple(range(phase.dim())), tuple(range(-phase.dim(), 0))).contiguous()
            moduli[name] = moduli[name].movedim(tuple(range(-phase.dim(), 0)), tuple(range(phase.dim())))
        return moduli

    def initial_state(self) -> Tensor:
        """State of the virgin phases at a point of each voxel, (n_state, V) or, if all begin at zero, (n_state, 1)."""
        table = self.phase.new_zeros(self.n_state, len(self.laws), dtype=torch.float64)
        for p, law in enumerate(cast(list[Law], list(self.laws))):
            table[: law.n_state, p] = law.initial_state()
        if not bool(table.any()):
            return table[:, :1]
        if len(self.phase) > 1:
            raise ValueError("laws: got a law whose first state is not zero, wanted one microstructure, not samples")
        return table[:, self.phase[0]]

    def bind(self, sample: Tensor, voxels: slice = slice(None)) -> BoundPhases:
        """The laws on some voxels of a batch of cells, member b with the microstructure ``sample[b]`` (B,) int64."""
        parts = []
        shared = self.phase.shape[0] == 1
        phase = self.phase[:, voxels] if shared else self.phase[sample, voxels]  # (1 or B, v)
        samples = None if shared else sample[:, None].expand_as(phase)
        for number, family in enumerate(self._families):
            index, points, own_samples = None, phase, samples
            if len(self._families) > 1:
                own = torch.isin(phase, torch.tensor(family, device=phase.device))
                index = own.flatten().nonzero()[:, 0]
                if index.numel() == 0:
                    continue
                points = phase.flatten()[index]
                own_samples = None if samples is None else samples.flatten()[index]
            law = cast(Law, self.laws[family[0]]).with_buffers(**self._moduli(family, points, own_samples))
            parts.append(_Part(law, number, index, flat=not shared))
        return BoundPhases(self, parts, phase)

    def reference(self, phase: Tensor, sample: Tensor | None) -> Reference:
        """Linear laws at their reference strain, for k pairs of phase and sample (None: the only one)."""
        first, k = cast(Law, self.laws[0]), len(phase)
        psi = torch.full((k,), torch.nan, dtype=first.dtype, device=phase.device)
        stress, tangent = psi[:, None].repeat(1, first.measure.n), psi[:, None, None].repeat(1, *[first.measure.n] * 2)
        verdict = torch.zeros(k, dtype=torch.int8, device=phase.device)
        for family in self._families:
            index = torch.isin(phase, torch.tensor(family, device=phase.device)).nonzero()[:, 0]
            if index.numel() == 0:
                continue
            moduli = self._moduli(family, phase[index], None if sample is None else sample[index])
            law = cast(Law, self.laws[family[0]]).with_buffers(**moduli)
            strain = law.reference_strain().expand(len(index), -1)
            step, saved = law.linearise(strain, law.initial_state(len(index)), 1.0, components=self.components)
            psi[index], stress[index], verdict[index] = step.psi, step.stress, step.verdict
            tangent[index] = law.dense(saved, self.components)
        return Reference(first.reference_strain(), psi, stress, tangent, verdict)


class BoundPhases:
    """`Phases` on one batch of cells."""

    def __init__(self, phases: Phases, parts: list[_Part], phase: Tensor) -> None:
        self.phases, self.parts, self.phase = phases, parts, phase

    def linearise(self, strain: Tensor, state: Tensor, dt: Tensor) -> tuple[PhaseStep, list[Tensor]]:
        """Step and, per family, what its tangent needs; strain (n, Q, B, V), state (n_state, Q, B, V), dt (B, 1)."""
        psi, dissipation, stress = torch.empty_like(strain[0]), torch.empty_like(strain[0]), torch.empty_like(strain)
        new_state = torch.zeros_like(state)
        worst = torch.zeros(strain.shape[1:], dtype=torch.int8, device=strain.device)
        energies = {name: torch.zeros_like(strain[0]) for name in self.phases.energy_names}
        saved = []
        for part in self.parts:
            own = (part.take(strain), part.take(state[: part.law.n_state]), part.take(dt.expand(strain.shape[1:])))
            step, keep = part.linearise(self.phases, *own)
            saved.append(keep)
            psi = part.put(psi, step.psi)
            dissipation = part.put(dissipation, step.dissipation)
            stress = part.put(stress, step.stress)
            if part.law.n_state == len(new_state):
                new_state = part.put(new_state, step.state)
            elif part.law.n_state:
                part.put(new_state[: part.law.n_state], step.state)
            worst = part.put(worst, step.verdict)
            for name in step.energies:
                energies[name] = part.put(energies[name], step.energies[name])
        verdict = worst.amax(dim=0).amax(dim=-1)
        return PhaseStep(psi, stress, dissipation, new_state, verdict, energies), saved

    def apply_tangent(self, saved: list[Tensor], direction: Tensor) -> Tensor:
        """Tangent product; direction and answer (n, Q, C, B, V), C directions for each of the B cells."""
        out = torch.empty_like(direction)
        for part, keep in zip(self.parts, saved, strict=True):
            out = part.put(out, part.apply_tangent(self.phases, keep, part.take(direction)))
        return out

    def by_phase(self, field: Tensor) -> Tensor:
        """Sums of a field (Q, b, v) over the points of each phase, (b, n_phases)."""
        total = field.sum(0)
        out = total.new_zeros(len(total), len(self.phases.laws))
        return out.scatter_add_(1, self.phase.expand_as(total), total)


def worst_verdict(verdict: Tensor, code: Verdict, where: Tensor) -> Tensor:
    """``verdict`` raised to ``code`` where asked (the larger code wins)."""
    return torch.where(where, verdict.clamp(min=int(code)), verdict)
