r"""Langevin dynamics of batches of atoms in fixed periodic cells.

m dv = f dt - friction m v dt + sqrt(2 friction k_B T m) dW, one step by the splitting BAOAB,

    v += dt/2 f/m;  x += dt/2 v;  v = c v + sqrt((1 - c^2) k_B T / m) xi;  x += dt/2 v;  v += dt/2 f/m,

c = exp(-friction dt): positions of a harmonic system have their exact variance at any stable dt, and so do the
velocities in the middle of the step, which are the ones that are sampled. Without friction it is the velocity Verlet
scheme, and the velocities at the end of the step are sampled, whose total energy stays within O(dt^2).

The noise of a member comes from its own generator, and its neighbour list is renewed when its own atoms have moved,
so a member's trajectory does not depend on the members beside it, to the last bit: rows of the list are padded to
whole blocks, so that sums over neighbours have one order however many others have.

Units: angstrom, ps, eV, K, Da; velocities A/ps.

Reference:
    B. Leimkuhler, C. Matthews, Appl. Math. Res. Express 2013, 34, doi:10.1093/amrx/abs010.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from datagen.atoms.neighbours import Neighbours, neighbours
from datagen.atoms.pair import PairPotential
from datagen.atoms.potential import Bonds, Potential
from datagen.atoms.statics import BONDS, BONDS_ON_A_GPU, gathered
from datagen.atoms.units import BOLTZMANN, DALTON

SKIN = 1.0  # A
CHECK = 8  # steps between looks at how far atoms have moved
FASTER = 2.0  # between two looks no atom moves faster than this times the fastest at the first
NOISE = 64  # steps of noise drawn at a time
BLOCK = 32  # neighbours are summed in blocks of so many

Observe = Callable[[Bonds, slice], Tensor]
"""What else to sample: bonds (b, n, K) of some members and which they are, to (b, q)."""


class Series(NamedTuple):
    """What was sampled along a trajectory, S times; B members."""

    potential: Tensor  # (S, B) potential energy [eV]
    kinetic: Tensor  # (S, B, 3, 3) sum m v (x) v, twice the kinetic energy as a tensor [eV]
    virial: Tensor  # (S, B, 3, 3) sum g (x) r = dE/dA for x, h -> A x, A h [eV]
    observed: Tensor  # (S, B, q) what was asked for besides
    positions: Tensor  # (B, n, 3) at the end [A]
    velocities: Tensor  # (B, n, 3) at the end [A/ps]
    complete: Tensor  # (B,) bool, the neighbour list never missed a bond and all stayed finite
    renewals: int  # how often lists were renewed

    def temperature(self, freedoms: int) -> Tensor:
        """Kinetic temperature (S, B) [K] of so many degrees of freedom, 3 n - 3 with momentum zero."""
        return self.kinetic.diagonal(dim1=-2, dim2=-1).sum(-1) / (freedoms * BOLTZMANN)


def seed_of(seed: int, *numbers: Tensor | float) -> int:
    """A seed that derives from a seed and the bits of numbers; zero has one sign."""
    digest = hashlib.blake2b(str(int(seed)).encode(), digest_size=8)
    for number in numbers:
        values = number.flatten().tolist() if isinstance(number, Tensor) else [number]
        digest.update(struct.pack(f"<{len(values)}d", *(value + 0.0 for value in values)))
    return int.from_bytes(digest.digest(), "little") >> 1


def langevin(
    potential: Potential,
    positions: Tensor,
    cell: Tensor,
    species: Tensor,
    temperature: Tensor | float,
    seeds: Sequence[int],
    steps: int,
    timestep: float,
    friction: float,
    every: int = 10,
    equilibration: int = 0,
    velocities: Tensor | None = None,
    zero_momentum: bool = True,
    skin: float = SKIN,
    observe: Observe | None = None,
) -> Series:
    """Trajectories of B members, sampled every few steps.

    Args:
        potential: of the atoms.
        positions: at the start (B, n, 3) [A].
        cell: rows are the lattice vectors (B, 3, 3) [A].
        species: index of each atom into ``potential.elements`` (n,).
        temperature: a number or (B,) [K].
        seeds: of the noise, and of the velocities unless given, B.
        steps: after equilibration.
        timestep: [ps].
        friction: [1/ps]; 0 is NVE.
        every: steps from sample to sample.
        equilibration: steps that are not sampled.
        velocities: at the start (B, n, 3) [A/ps]; drawn at the temperature unless given.
        zero_momentum: hold the centre of mass still; 3 n - 3 degrees of freedom are then at the temperature.
        skin: of the neighbour list [A].
        observe: what else to sample.

    Raises:
        ValueError: a time step, a temperature or numbers of steps that make no sense.
    """
    B = len(positions)
    T = torch.as_tensor(temperature, dtype=positions.dtype, device=positions.device).expand(B)
    if not (timestep > 0 and math.isfinite(timestep) and friction >= 0):
        raise ValueError(f"timestep, friction: got {timestep} and {friction}, wanted positive [ps] and >= 0 [1/ps]")
    if not bool((T >= 0).all()) or steps < 1 or every < 1 or equilibration < 0:
        raise ValueError(f"temperature, steps, every: got {temperature}, {steps}, {every}, wanted >= 0, >= 1, >= 1")
    if every > steps:
        raise ValueError(f"every: got {every} for {steps} steps, wanted at least one sample")
    if len(seeds) != B:
        raise ValueError(f"seeds: got {len(seeds)}, wanted {B}, one a member")
    atoms = _Atoms(potential, positions, cell, species, T, seeds, timestep, friction, zero_momentum, skin)
    atoms.start(velocities)
    with torch.no_grad():
        return atoms.run(steps, every, equilibration, observe)


class _Atoms:
    """Members on their way; arrays are (3, B, n), components first."""

    def __init__(
        self, potential: Potential, positions: Tensor, cell: Tensor, species: Tensor, temperature: Tensor,
        seeds: Sequence[int], timestep: float, friction: float, zero_momentum: bool, skin: float,
    ) -> None:  # fmt: skip
        self.potential, self.cell, self.species, self.skin = potential, cell, species, skin
        self.x = positions.movedim(-1, 0).contiguous().clone()
        self.mass = DALTON * torch.tensor(potential.masses, dtype=cell.dtype, device=cell.device)[species]  # (n,)
        self.share = self.mass / self.mass.sum()
        self.dt, self.zero_momentum = timestep, zero_momentum
        self.keep = math.exp(-friction * timestep)
        self.spread = (BOLTZMANN * temperature[:, None] / self.mass).sqrt()  # (B, n) of a velocity
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.complete = torch.ones(len(cell), dtype=torch.bool, device=cell.device)
        self.renewals = 0
        self.found = self._list(slice(None))
        self._place()

    def start(self, velocities: Tensor | None) -> None:
        """Velocities at the start, and the first forces."""
        if velocities is None:
            self.v = self._noise(1)[0]
        else:
            self.v = velocities.movedim(-1, 0).contiguous().clone()
            if self.zero_momentum:
                self.v -= (self.v @ self.share)[..., None]
        self.half_kick = self._forces()

    def run(self, steps: int, every: int, equilibration: int, observe: Observe | None) -> Series:
        """Equilibrate, then sample."""
        h, damp = 0.5 * self.dt, math.sqrt(max(0.0, 1 - self.keep**2))
        samples: list[tuple[Tensor, ...]] = []
        x, v, noisy = self.x, self.v, damp > 0
        noise = v[None]
        for step in range(equilibration + steps):
            if step % CHECK == 0:
                self._renew()
            if noisy and step % NOISE == 0:
                noise = damp * self._noise(NOISE)
            sampled = step >= equilibration and (step - equilibration + 1) % every == 0
            v += self.half_kick
            x.add_(v, alpha=h)
            if noisy:
                v *= self.keep
                v += noise[step % NOISE]
            flux = self._flux() if sampled and noisy else None
            x.add_(v, alpha=h)
            if sampled:
                energy, virial, observed = self._sample(observe)
            else:
                self.half_kick = self._forces()
            v += self.half_kick
            if sampled:
                samples.append((energy, self._flux() if flux is None else flux, virial, observed))
        self._renew()
        end = x.movedim(0, -1).contiguous(), v.movedim(0, -1).contiguous()
        complete = self.complete & torch.isfinite(end[0]).flatten(1).all(-1)
        potential, kinetic, virial, observed = (torch.stack(part) for part in zip(*samples, strict=True))
        return Series(potential, kinetic, virial, observed, *end, complete, self.renewals)

    def _flux(self) -> Tensor:
        """Momentum flux, sum m v (x) v (B, 3, 3)."""
        v = self.v.movedim(0, 1)
        return (v * self.mass) @ v.transpose(1, 2)

    def _noise(self, steps: int) -> Tensor:
        """Velocities at the temperature (steps, 3, B, n), each member's from its own generator."""
        n, device = len(self.mass), self.cell.device
        drawn = [torch.randn(steps, 3, n, generator=g, dtype=torch.float64) for g in self.generators]
        noise = torch.stack(drawn, 2).to(device) * self.spread
        if self.zero_momentum:
            # Summed atom by atom over the members at once: the same for one member and for many.
            noise -= (noise * self.share).sum(-1, keepdim=True)
        return noise

    def _sample(self, observe: Observe | None) -> tuple[Tensor, Tensor, Tensor]:
        """Energy, virial and what else is asked for; forces on the way."""
        energies, virials, others, kicks = [], [], [], []
        for rows in self._rows():
            at = self._bonds(rows)
            sites, gradient = self.potential(at)
            energies.append(sites.sum(-1))
            g, r = (part.flatten(1, 2).movedim(-1, 1) for part in (gradient, at.vector))
            virials.append(g @ r.transpose(1, 2))
            others.append(sites.new_empty(len(sites), 0) if observe is None else observe(at, rows))
            kicks.append(self._gathered(gradient, rows))
        self.half_kick = torch.cat(kicks, 1) * (0.5 * self.dt / self.mass)
        return torch.cat(energies), torch.cat(virials), torch.cat(others)

    def _forces(self) -> Tensor:
        """dt/2 f/m (3, B, n)."""
        parts = [self._gathered(self.potential(self._bonds(rows)).gradient, rows) for rows in self._rows()]
        force = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return force * (0.5 * self.dt / self.mass)

    def _gathered(self, gradient: Tensor, rows: slice) -> Tensor:
        """Forces (3, b, n)."""
        if isinstance(self.potential, PairPotential):  # a bond seen from its other end has the opposite gradient
            return 2 * gradient.movedim(-1, 0).sum(-1)
        return gathered(gradient, self.found.member(rows)).movedim(-1, 0)

    def _bonds(self, rows: slice) -> Bonds:
        """The bonds now: neighbour's position, plus its image's shift, less one's own."""
        index = self.found.index[rows]
        b, n, K = index.shape
        entries = index.reshape(b, n * K)
        vector = self.x.new_empty(3, b, n, K)
        for d in range(3):
            x = self.x[d, rows]
            torch.gather(x, 1, entries, out=vector[d].view(b, n * K))
            vector[d] += self.shift[d, rows]
            vector[d] -= x[..., None]
        return Bonds(vector.movedim(0, -1), self.species, self.other[rows])

    def _rows(self) -> list[slice]:
        """Members that are evaluated together."""
        B, n, K = self.found.index.shape
        step = max(1, (BONDS if self.cell.device.type == "cpu" else BONDS_ON_A_GPU) // (n * K))
        return [slice(start, min(B, start + step)) for start in range(0, B, step)]

    def _list(self, rows: Tensor | slice) -> Neighbours:
        found = neighbours(self.x[:, rows].movedim(0, -1), self.cell[rows], self.potential.cutoff, self.skin)
        return _padded(found, -(-found.index.shape[2] // BLOCK) * BLOCK)

    def _place(self) -> None:
        """What follows from the list: shifts of the images [A], too far for padding, and elements."""
        shift = (self.found.shift @ self.cell[:, None]).movedim(-1, 0).contiguous()  # (3, B, n, K)
        shift[0].masked_fill_(~self.found.real, self.potential.far())
        self.shift = shift
        one = torch.zeros(1, 1, 1, dtype=torch.int64, device=self.cell.device).expand(self.found.index.shape)
        self.other = self.species[self.found.index] if len(self.potential.elements) > 1 else one

    def _renew(self) -> None:
        """New lists for the members whose atoms could come too far before the next look."""
        moved = (self.x - self.found.positions.movedim(-1, 0)).square().sum(0).amax(-1).sqrt()  # (B,)
        speed = self.v.square().sum(0).amax(-1).sqrt()
        self.complete &= moved <= 0.5 * self.skin  # a list that was too old when it was last used, or nan
        # A member that is lost stays as it is: its atoms may be anywhere.
        worn = self.complete & ~(moved + FASTER * CHECK * self.dt * speed <= 0.5 * self.skin)
        if not bool(worn.any()):
            return
        self.renewals += 1
        rows = worn.nonzero()[:, 0]
        new = self._list(rows)
        K = max(new.index.shape[2], self.found.index.shape[2])
        new, old = _padded(new, K), _padded(self.found, K)
        index, shift, reverse, real, where = (
            getattr(old, name).index_copy(0, rows, getattr(new, name))
            for name in ("index", "shift", "reverse", "real", "positions")
        )
        joined = Neighbours(index, shift, reverse, real, where, self.cell, old.cutoff, old.skin)
        self.found = _padded(joined, max(BLOCK, -(-int(real.sum(-1).max()) // BLOCK) * BLOCK))
        self._place()


def _padded(found: Neighbours, K: int) -> Neighbours:
    """A list with rows of another length, not shorter than any atom's number of neighbours."""
    B, n, old = found.index.shape
    if old == K:
        return found
    kept = min(old, K)
    index = torch.arange(n, device=found.index.device)[:, None].expand(B, n, K).clone()
    reverse = torch.arange(n * K, device=found.index.device).reshape(n, K).expand(B, n, K).clone()
    shift = found.shift.new_zeros(3, B, n, K).movedim(0, -1)
    real = torch.zeros(B, n, K, dtype=torch.bool, device=found.real.device)
    index[..., :kept] = found.index[..., :kept]
    shift[..., :kept, :] = found.shift[..., :kept, :]
    real[..., :kept] = found.real[..., :kept]
    back = found.reverse[..., :kept]
    back = torch.div(back, old, rounding_mode="floor") * K + back % old
    reverse[..., :kept] = torch.where(real[..., :kept], back, reverse[..., :kept])
    return Neighbours(index, shift, reverse, real, found.positions, found.cell, found.cutoff, found.skin)
