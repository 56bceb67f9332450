"""The phase laws of a cell, evaluated over all its quadrature points at once.

Phases whose laws differ only in scalar moduli are one *family*: the law is evaluated once with its moduli as fields.
Different families take their own voxels and put their answers back. Fields carry their tensor axis first in memory,
(k, Q, B, V), and are handed to the laws with it last.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple, cast

import torch
from torch import Tensor

from datagen.laws.law import Law
from datagen.laws.verdict import Verdict


class PhaseStep(NamedTuple):
    """Fields of one evaluation; tensor axis first."""

    psi: Tensor  # (Q, B, V)
    stress: Tensor  # (n, Q, B, V)
    dissipation: Tensor  # (Q, B, V)
    state: Tensor  # (n_state, Q, B, V)
    verdict: Tensor  # (B,) int8, the largest of a member's points
    energies: dict[str, Tensor]  # (Q, B, V): the phases' own energy extras


class _Family(NamedTuple):
    law: Law
    phases: list[int]
    moduli: dict[str, Tensor]  # each (n_phases_of_the_family,)


class _Part(NamedTuple):
    """One family on one batch of cells: its law with moduli in place, and where its points are."""

    law: Law
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


def _scalar_moduli(law: Law) -> bool:
    own = [*law.children(), *law.parameters()]  # listed: a parameter's truth is that of its value
    return not own and all(buffer.dim() == 0 for buffer in law.buffers())


def _settings(law: Law) -> tuple[object, ...]:
    """All that is not a modulus, private attributes too: laws that differ here are not one law with other moduli."""
    own = {k: v for k, v in vars(law).items() if k not in _MODULE_ATTRIBUTES}
    words = {k: repr(v) if isinstance(v, _PLAIN) else id(v) for k, v in own.items()}
    return (type(law), sorted(words.items()), sorted(dict(law.named_buffers())))


_MODULE_ATTRIBUTES = vars(torch.nn.Module()).keys()
_PLAIN = (bool, int, float, str, bytes, tuple, Enum, torch.dtype, type(None))


class Phases(torch.nn.Module):
    """Phase laws over a microstructure.

    Args:
        laws: one law a phase, all of one measure.
        phase: voxel phase index (m, nx, ny, nz).
        components: strain components in which the points' tangents are needed.
    """

    phase: Tensor

    def __init__(self, laws: Sequence[Law], phase: Tensor, components: Sequence[str]) -> None:
        super().__init__()
        self.laws = torch.nn.ModuleList(laws)
        self.components = tuple(components)
        self.register_buffer("phase", phase.flatten(1))
        self.n_state = max(law.n_state for law in laws)
        self.energy_names = sorted(
            {name for law in laws for name, extra in law.extras.items() if extra.shape == () and extra.unit == "MPa"}
        )

    @property
    def _laws(self) -> list[Law]:
        return cast(list[Law], list(self.laws))

    def _families(self) -> list[_Family]:
        groups: dict[object, list[int]] = {}
        for p, law in enumerate(self._laws):
            key = repr(_settings(law)) if _scalar_moduli(law) else p
            groups.setdefault(key, []).append(p)
        families = []
        for phases in groups.values():
            law = self._laws[phases[0]]
            moduli = {}
            if len(phases) > 1:
                moduli = {
                    name: torch.stack([self.laws[p].get_buffer(name) for p in phases])
                    for name, _ in law.named_buffers()
                }
            families.append(_Family(law, phases, moduli))
        return families

    def bind(self, sample: Tensor) -> BoundPhases:
        """The laws on a batch of cells, member b with the microstructure ``sample[b]`` (B,) int64."""
        families, parts = self._families(), []
        shared = self.phase.shape[0] == 1
        phase = self.phase if shared else self.phase[sample]  # (1 or B, V)
        for family in families:
            local = torch.zeros(len(self.laws), dtype=torch.int64, device=phase.device)
            local[family.phases] = torch.arange(len(family.phases), device=phase.device)
            index, points = None, phase
            if len(families) > 1:
                own = torch.isin(phase, torch.tensor(family.phases, device=phase.device))
                index = own.flatten().nonzero()[:, 0]
                if index.numel() == 0:
                    continue
                points = phase.flatten()[index]
            moduli = {name: values[local[points]] for name, values in family.moduli.items()}
            parts.append(_Part(family.law.with_buffers(**moduli), index, flat=not shared))
        return BoundPhases(self, parts, phase)


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
            own_strain, own_state = part.take(strain), part.take(state[: part.law.n_state])
            own_dt = part.take(dt.expand(strain.shape[1:]))
            step, keep = part.law.linearise(
                own_strain.movedim(0, -1), own_state.movedim(0, -1), own_dt, components=self.phases.components
            )
            saved.append(keep)
            psi = part.put(psi, step.psi)
            dissipation = part.put(dissipation, step.dissipation)
            stress = part.put(stress, step.stress.movedim(-1, 0))
            if part.law.n_state == len(new_state):
                new_state = part.put(new_state, step.state.movedim(-1, 0))
            elif part.law.n_state:
                part.put(new_state[: part.law.n_state], step.state.movedim(-1, 0))
            worst = part.put(worst, step.verdict)
            for name in energies.keys() & step.extras.keys():
                energies[name] = part.put(energies[name], step.extras[name])
        verdict = worst.amax(dim=0).amax(dim=-1)
        return PhaseStep(psi, stress, dissipation, new_state, verdict, energies), saved

    def apply_tangent(self, saved: list[Tensor], direction: Tensor) -> Tensor:
        """Tangent product; direction and answer (n, Q, C, B, V), C directions for each of the B cells."""
        out = torch.empty_like(direction)
        for part, keep in zip(self.parts, saved, strict=True):
            product = part.law.apply_tangent(keep[:, None], part.take(direction).movedim(0, -1))
            out = part.put(out, product.movedim(-1, 0))
        return out

    def by_phase(self, field: Tensor) -> Tensor:
        """Cell integrals per unit cell volume of a field (Q, B, V) over each phase, (B, n_phases)."""
        mean = field.mean(0)
        return torch.stack([(mean * (self.phase == p)).mean(-1) for p in range(len(self.phases.laws))], -1)


def worst_verdict(verdict: Tensor, code: Verdict, where: Tensor) -> Tensor:
    """``verdict`` raised to ``code`` where asked (the larger code wins)."""
    return torch.where(where, verdict.clamp(min=int(code)), verdict)
