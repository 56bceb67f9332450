"""Larger cells made of a crystal, all crystals again: repeats, slabs, grain boundaries, point defects, alloys."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from datagen.atoms.crystal import Crystal
from datagen.tensors import inv

NEAR = 1e-6  # of a lattice vector: two places are one


def supercell(crystal: Crystal, repeat: int | Sequence[int] | Sequence[Sequence[int]] | Tensor) -> Crystal:
    """The crystal in a larger cell: atoms of one cell together, cells in order of their translations.

    Args:
        crystal: what is repeated.
        repeat: times along all lattice vectors, along each, or an integer matrix M (3, 3), new lattice = M lattice.

    Raises:
        ValueError: no whole numbers, or no positive determinant.
    """
    M = torch.as_tensor(repeat)
    if M.is_floating_point() and not torch.equal(M, M.round()):
        raise ValueError(f"repeat: got {M.tolist()}, wanted whole numbers")
    M = M.to(torch.int64)
    if M.shape == () or M.shape == (3,):
        M = torch.diag(M.expand(3))
    if M.shape != (3, 3):
        raise ValueError(f"repeat: got shape {tuple(M.shape)}, wanted a number, (3,) or (3, 3)")
    adjugate = torch.stack([torch.linalg.cross(M[(d + 1) % 3], M[(d + 2) % 3]) for d in range(3)], 1)
    count = int(M[0] @ adjugate[:, 0])
    if count < 1:
        raise ValueError(f"repeat: got determinant {count}, wanted a positive one")
    low, high = M.clamp(max=0).sum(0).tolist(), M.clamp(min=0).sum(0).tolist()
    cells = torch.cartesian_prod(*(torch.arange(a, b + 1) for a, b in zip(low, high, strict=True)))
    # A translation t lies in the new cell where 0 <= t M^-1 < 1, in whole numbers 0 <= t adj(M) < det(M).
    share = cells @ adjugate
    cells = cells[((share >= 0) & (share < count)).all(-1)].to(crystal.lattice)
    positions = (cells @ crystal.lattice)[:, None] + crystal.positions
    return Crystal(M.to(crystal.lattice) @ crystal.lattice, positions.flatten(0, 1), crystal.elements * count)


def primitive(crystal: Crystal) -> Crystal:
    """The smallest cell of the same crystal, atom 0 among its atoms."""
    back = inv(crystal.lattice)
    same = [i for i, element in enumerate(crystal.elements) if element == crystal.elements[0]]
    species = sorted(set(crystal.elements))
    kind = torch.tensor([species.index(element) for element in crystal.elements])
    translations = [*crystal.lattice]
    for i in same[1:]:
        shift = crystal.positions[i] - crystal.positions[0]
        gap = (crystal.positions[:, None] + shift - crystal.positions) @ back
        there = ((gap - gap.round()).abs().amax(-1) < NEAR) & (kind[:, None] == kind)
        if there.any(1).all():
            fraction = shift @ back
            translations.append((fraction - fraction.round()) @ crystal.lattice)
    if len(translations) == 3:
        return crystal
    lattice = _shortest(torch.stack(translations), crystal.volume / (len(translations) - 2))
    inside = (crystal.positions - crystal.positions[0]) @ inv(lattice)
    gap = inside[:, None] - inside
    twin = (gap - gap.round()).abs().amax(-1) < NEAR
    first = [i for i in range(crystal.n) if not twin[i, :i].any()]
    return Crystal(lattice, crystal.positions[first], [crystal.elements[i] for i in first])


def _shortest(translations: Tensor, volume: float) -> Tensor:
    """Three short translations that span a cell of a volume, right-handed."""
    sums = torch.cartesian_prod(*(torch.arange(-1, 2),) * 3).to(translations) @ translations[:3]
    several = (translations[:, None] + sums).flatten(0, 1)
    several = several[several.norm(dim=-1) > NEAR]
    order = torch.argsort((several.norm(dim=-1) / NEAR).round(), stable=True)
    several = several[order][:200]
    for a, b, c in itertools.combinations(several, 3):
        size = float(torch.linalg.cross(a, b) @ c)
        if math.isclose(abs(size), volume, rel_tol=1e-6):
            return torch.stack([a, b, c] if size > 0 else [a, c, b])
    raise ValueError(f"crystal: got translations that do not span a cell of {volume:.6g} A^3")


def slab(
    crystal: Crystal, normal: Sequence[int], layers: int, vacuum: float, repeat: Sequence[int] = (1, 1)
) -> Crystal:
    """A slab with two free surfaces, in-plane periodic, first in-plane vector along x and normal along z.

    Args:
        crystal: its cell defines what ``normal`` means: the cube for the usual indices.
        normal: Miller indices of the surface.
        layers: lattice planes; in a crystal with one atom in its primitive cell, layers of atoms.
        vacuum: empty length along z [A], more than the cutoff of the potential.
        repeat: of the smallest in-plane cell.

    Raises:
        ValueError: no normal, no layer, no vacuum.
    """
    if len(normal) != 3 or not any(normal) or any(int(m) != m for m in normal):
        raise ValueError(f"normal: got {normal}, wanted three Miller indices")
    if layers < 1 or not vacuum > 0:
        raise ValueError(f"layers, vacuum: got {layers} and {vacuum}, wanted at least one and positive [A]")
    smallest = primitive(crystal)
    direction = inv(crystal.lattice) @ torch.tensor(normal, dtype=torch.float64)
    steps = smallest.lattice @ direction
    steps = steps / steps.abs()[steps.abs() > NEAR].min()
    whole = next(k for k in range(1, 100) if ((k * steps) - (k * steps).round()).abs().max() < 1e-6)
    h = (whole * steps).round().to(torch.int64)
    h = torch.div(h, math.gcd(*h.tolist()), rounding_mode="floor")
    cell = _layered(smallest.lattice, h)
    upright = Crystal(cell, smallest.positions, smallest.elements)
    upright = supercell(_rotated(upright), (*repeat, layers))
    spacing = float(upright.lattice[2, 2]) / layers
    # Only now does the third vector become vertical: the layers keep their stacking.
    height = layers * spacing + vacuum
    lattice = upright.lattice.clone()
    lattice[2] = torch.tensor([0.0, 0.0, height], dtype=torch.float64)
    z = upright.positions[:, 2]
    centred = upright.positions + torch.tensor([0, 0, 1.0], dtype=torch.float64) * (height - z.min() - z.max()) / 2
    return Crystal(lattice, _wrapped(centred, lattice), upright.elements)


def _layered(lattice: Tensor, h: Tensor) -> Tensor:
    """Lattice vectors, two of them short and in the plane h . t = 0, the third one plane (h . t = 1) up."""
    reach = int(h.abs().max()) + 1
    t = torch.cartesian_prod(*(torch.arange(-reach, reach + 1),) * 3)
    vectors, heights = t.to(lattice) @ lattice, t @ h
    lengths = vectors.norm(dim=-1)
    order = torch.argsort((lengths / NEAR).round() - 1e-3 * (vectors.sum(-1) > 0), stable=True)
    vectors, heights, lengths = vectors[order], heights[order], lengths[order]
    flat = vectors[(heights == 0) & (lengths > NEAR)]
    a = flat[0]
    across = torch.linalg.cross(a.expand_as(flat), flat).norm(dim=-1)
    b = flat[(across > NEAR * a.norm()).nonzero()[0, 0]]
    c = vectors[heights == 1][0]
    return torch.stack([a, b, c] if torch.linalg.cross(a, b) @ c > 0 else [a, -b, c])


def _rotated(crystal: Crystal) -> Crystal:
    """The crystal turned: first lattice vector along x, second in the plane of x and y."""
    a, b, _ = crystal.lattice
    x = a / a.norm()
    z = torch.linalg.cross(a, b)
    z = z / z.norm()
    return crystal.deformed(torch.stack([x, torch.linalg.cross(z, x), z]))


def _wrapped(positions: Tensor, lattice: Tensor) -> Tensor:
    fractional = positions @ inv(lattice)
    return (fractional - (fractional + NEAR).floor()) @ lattice


def symmetric_tilt(
    crystal: Crystal,
    plane: Sequence[int],
    axis: Sequence[int],
    thickness: int = 1,
    repeat: Sequence[int] = (1, 1),
    gap: float = 0.0,
    translation: Sequence[float] = (0.0, 0.0),
    closest: float = 0.6,
) -> Crystal:
    """Two grains of a cubic crystal, mirror images across a plane: two symmetric tilt boundaries in a periodic cell.

    The tilt axis is y, the normal z, and the grains are one coincidence cell wide: (plane x axis, axis, plane) in
    units of the cube. Plane (2, 1, 0) with axis (0, 0, 1) is Sigma 5. To be relaxed afterwards.

    Args:
        crystal: in its conventional cube.
        plane: boundary plane, whole numbers.
        axis: tilt axis in that plane, whole numbers.
        thickness: of each grain, in lengths of the vector ``plane``.
        repeat: along x and y.
        gap: added between the grains at both boundaries [A].
        translation: of the second grain in the plane [A].
        closest: of two atoms nearer than this, in units of the nearest neighbours' distance, one is left out.

    Raises:
        ValueError: a cell that is no cube, an axis outside the plane.
    """
    edge = crystal.lattice[0].norm()
    if (crystal.lattice - edge * torch.eye(3, dtype=torch.float64)).abs().max() > NEAR * edge:
        raise ValueError("crystal: got a cell that is no cube along the axes, wanted the conventional cubic cell")
    normal, along = torch.tensor(plane, dtype=torch.int64), torch.tensor(axis, dtype=torch.int64)
    if normal.shape != (3,) or along.shape != (3,) or not normal.any() or not along.any() or normal @ along != 0:
        raise ValueError(f"plane, axis: got {plane} and {axis}, wanted whole numbers at right angles")
    across = torch.linalg.cross(along, normal)
    across = torch.div(across, math.gcd(*across.tolist()), rounding_mode="trunc")
    times = torch.tensor([repeat[0], repeat[1], thickness])
    grain = _rotated(supercell(crystal, times[:, None] * torch.stack([across, along, normal])))
    height = float(grain.lattice[2, 2])
    one = _wrapped(grain.positions, grain.lattice)
    other = one * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    other = other + torch.tensor([*translation, 0.0], dtype=torch.float64)
    lattice = grain.lattice.clone()
    lattice[2, 2] = 2 * (height + gap)
    half = torch.tensor([0.0, 0.0, gap / 2], dtype=torch.float64)
    positions = torch.cat([one + half, other - half])
    nearest = float(crystal.neighbourhood(1.01 * float(edge))[1].norm(dim=-1).min())
    kept = _apart(_wrapped(positions, lattice), lattice, closest * nearest)
    return Crystal(lattice, _wrapped(positions, lattice)[kept], [(grain.elements * 2)[i] for i in kept.tolist()])


def _apart(positions: Tensor, lattice: Tensor, closest: float) -> Tensor:
    """Atoms that are not nearer than some distance to one before them, in a cell wider than four times that."""
    gap = positions[:, None] - positions
    fractional = gap @ inv(lattice)
    distance = ((fractional - fractional.round()) @ lattice).norm(dim=-1)
    return (~(torch.tril(distance < closest, -1)).any(1)).nonzero()[:, 0]


def vacancy(crystal: Crystal, atom: int = 0) -> Crystal:
    """The crystal without one of its atoms."""
    _check_atom(crystal, atom)
    kept = [i for i in range(crystal.n) if i != atom]
    return Crystal(crystal.lattice, crystal.positions[kept], [crystal.elements[i] for i in kept])


def interstitial(crystal: Crystal, position: Sequence[float] | Tensor, element: str) -> Crystal:
    """The crystal with one more atom, at a Cartesian position [A]; it is the last one."""
    place = torch.as_tensor(position, dtype=torch.float64)
    if place.shape != (3,):
        raise ValueError(f"position: got shape {tuple(place.shape)}, wanted (3,)")
    return Crystal(crystal.lattice, torch.cat([crystal.positions, place[None]]), (*crystal.elements, element))


def substituted(crystal: Crystal, atom: int, element: str) -> Crystal:
    """The crystal with another element in one place."""
    _check_atom(crystal, atom)
    elements = list(crystal.elements)
    elements[atom] = element
    return Crystal(crystal.lattice, crystal.positions, elements)


def random_alloy(crystal: Crystal, composition: Mapping[str, float], seed: int = 0) -> Crystal:
    """The sites of the crystal occupied at random: as many of each element as the composition says, rounded.

    Args:
        crystal: whose elements are replaced.
        composition: fraction of each element; they sum to one.
        seed: of the shuffle.

    Raises:
        ValueError: fractions that are negative or do not sum to one.
    """
    fractions = list(composition.values())
    if not fractions or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"composition: got {dict(composition)}, wanted fractions that sum to one")
    ends = [round(crystal.n * sum(fractions[: k + 1])) for k in range(len(fractions))]
    counts = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    elements = [name for name, count in zip(composition, counts, strict=True) for _ in range(count)]
    shuffle = torch.randperm(crystal.n, generator=torch.Generator().manual_seed(seed)).tolist()
    return Crystal(crystal.lattice, crystal.positions, [elements[k] for k in shuffle])


def _check_atom(crystal: Crystal, atom: int) -> None:
    if not 0 <= atom < crystal.n:
        raise ValueError(f"atom: got {atom}, wanted 0 to {crystal.n - 1}")
