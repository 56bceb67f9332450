r"""Dense packings without overlap: hard inclusions pushed apart in a periodic box until none overlaps.

Random sequential addition jams early (spheres at 0.384) because nothing that is placed may move. Here all centres move
at once, down the overlap energy sum 1/2 (1 - mu)^2 over all pairs with mu < 1, where mu is the factor by which two
inclusions must be shrunk, or may be grown, to touch. Orientations and sizes stay as they were drawn, so what was
prescribed of them holds exactly. Below the density of random close packing the energy falls to nothing.

Reference:
    C. S. O'Hern, L. E. Silbert, A. J. Liu, S. R. Nagel, Physical Review E 68 (2003) 011306,
    doi:10.1103/PhysRevE.68.011306.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult, minimize
from scipy.spatial import cKDTree

# For the pairs (i, j) of one neighbour list: offsets centre_j - centre_i (k, d) to the factors mu (k,) at which the
# pairs touch and their derivatives with respect to the offsets (k, d).
Touch = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Shapes(NamedTuple):
    """What the packing must know of the inclusions.

    Attributes:
        reach: distance of the centres beyond which no two of them touch [mm].
        touch: prepares the pairs (i, j) of a neighbour list. Where mu is beyond 1 and more than the packing's margin, a
            lower bound of it, still beyond, and no slope will do.
    """

    reach: float
    touch: Callable[[np.ndarray, np.ndarray], Touch]


_SKIN = 0.2  # of the reach: a neighbour list serves until a centre has moved by half of it
_ROUNDING = 1e-10  # room for the last bits of the positions
_MARGIN = 1e-3  # inclusions are pushed this much further apart than they must be, so that the end is reached
_STAGES = (0.8, 0.9, 0.95, 1.0)  # sizes at which the centres come to rest in turn
_STEPS = 2000  # of the minimiser at the last of them
_PATIENCE = 50  # steps within which the energy must fall by a hundredth
_STARTS = 8  # random starts: in a small box the reachable fraction scatters


def pack(count: int, edges: np.ndarray, shapes: Shapes, rng: np.random.Generator) -> np.ndarray | None:
    """Centres (count, d) [mm] of inclusions that do not overlap, from the middle of the box; None if none were found.

    Args:
        count: number of inclusions.
        edges: of the periodic box [mm], (d,); at least ``shapes.reach``, or an inclusion would meet its own image.
        shapes: the inclusions.
        rng: the stream of the starting positions.
    """
    for _ in range(_STARTS):
        energy = _Energy((rng.random((count, len(edges))) - 0.5) * edges, edges, shapes)
        for size in _STAGES:
            energy.size = size * (1 + _MARGIN)
            centres = energy.at_rest(_STEPS if size == 1.0 else _STEPS // 20)
        if energy.free(centres):
            return centres - edges * np.round(centres / edges)
    return None


def neighbours(centres: np.ndarray, edges: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs (i, j, shift) with i < j and |centre_j + shift - centre_i| <= reach <= edge, all periodic images included.

    Args:
        centres: (k, d) [mm], anywhere.
        edges: of the box [mm], (d,).
        reach: [mm]; at most one and a half times the smallest edge.

    Returns:
        Indices (p,), (p,), and shifts (p, d) [mm], multiples of the edges.
    """
    home = -np.floor(centres / edges) * edges
    inside = centres + home
    points, owner, shifts = [inside], [np.arange(len(centres))], [home]
    turns = range(-int(np.ceil(reach / edges.min())), int(np.ceil(reach / edges.min())) + 1)
    for turn in itertools.product(turns, repeat=len(edges)):
        if any(turn):
            image = inside + np.array(turn) * edges
            near = ((image >= -reach) & (image <= edges + reach)).all(1)
            points.append(image[near])
            owner.append(np.flatnonzero(near))
            shifts.append(home[near] + np.array(turn) * edges)
    owners, offsets = np.concatenate(owner), np.concatenate(shifts)
    pairs = cKDTree(np.concatenate(points)).query_pairs(reach, output_type="ndarray")
    i, image_of_j = pairs[:, 0], pairs[:, 1]
    keep = (i < len(centres)) & (i < owners[image_of_j])
    i, image_of_j = i[keep], image_of_j[keep]
    return i, owners[image_of_j], offsets[image_of_j] - home[i]


class _Energy:
    """Overlap energy of the centres and its gradient, with a neighbour list that is renewed as they move.

    The minimiser sees the centres in units of the reach, so that its steps do not depend on the unit of length.
    """

    def __init__(self, centres: np.ndarray, edges: np.ndarray, shapes: Shapes) -> None:
        self.centres, self.edges, self.shapes = centres, edges, shapes
        self.size = 1.0
        self._renew(centres)

    def at_rest(self, steps: int) -> np.ndarray:
        """Centres where the energy is least, or where nothing overlaps at full size; the next start, too."""

        energies: list[float] = []

        def enough(intermediate_result: OptimizeResult) -> None:
            energies.append(float(intermediate_result.fun))
            jammed = len(energies) > _PATIENCE and energies[-1] > 0.99 * energies[-1 - _PATIENCE]
            free = self.size >= 1.0 and self.free(self._shaped(intermediate_result.x))
            if energies[-1] == 0.0 or free or jammed:
                raise StopIteration

        options = {"maxiter": steps, "maxfun": 2 * steps, "ftol": 0.0, "gtol": 1e-12, "maxcor": 10}
        found = minimize(
            self._value,
            self.centres.ravel() / self.shapes.reach,
            jac=True,
            method="L-BFGS-B",
            callback=enough,
            options=options,
        )
        self.centres = self._shaped(found.x)
        return self.centres

    def free(self, centres: np.ndarray) -> bool:
        """Whether no two inclusions overlap at their own size."""
        mu, _ = self._pairs(centres)
        return bool((mu >= 1.0 + _ROUNDING).all())

    def _shaped(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(-1, len(self.edges)) * self.shapes.reach

    def _renew(self, centres: np.ndarray) -> None:
        reach = self.shapes.reach * (1 + _MARGIN) * (1 + _SKIN)
        self._i, self._j, self._shift = neighbours(centres, self.edges, reach)
        self._touch = self.shapes.touch(self._i, self._j)
        self._listed = centres.copy()

    def _pairs(self, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        moved = ((centres - self._listed) ** 2).sum(1).max()
        if moved > (0.5 * _SKIN * self.shapes.reach) ** 2:
            self._renew(centres)
        return self._touch(centres[self._j] - centres[self._i] + self._shift)

    def _value(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        mu, slope = self._pairs(self._shaped(x))
        depth = np.maximum(1.0 - mu / self.size, 0.0)
        force = (depth / self.size)[:, None] * slope
        n, d = len(self._listed), len(self.edges)
        gradient = np.stack(
            [
                np.bincount(self._i, force[:, a], minlength=n) - np.bincount(self._j, force[:, a], minlength=n)
                for a in range(d)
            ],
            1,
        )
        return 0.5 * float((depth**2).sum()), gradient.ravel() * self.shapes.reach


def ball_shapes(radii: np.ndarray) -> Shapes:
    """Discs or spheres of the given radii (k,) [mm]: mu = |offset| / (r_i + r_j)."""

    def touch(i: np.ndarray, j: np.ndarray) -> Touch:
        contact = radii[i] + radii[j]

        def factors(offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            distance = np.sqrt((offset**2).sum(1))
            return distance / contact, offset / (np.maximum(distance, 1e-300) * contact)[:, None]

        return factors

    return Shapes(2 * float(radii.max()), touch)


def ellipsoid_shapes(semi_axes: np.ndarray, rotations: np.ndarray) -> Shapes:
    r"""Ellipsoids |diag(1/a) Q^T (x - centre)| <= 1, all of semi-axes a (3,) [mm] and rotations Q (k, 3, 3).

    With A = Q diag(a^2) Q^T of each, mu^2 = max over t in (0, 1) of t (1 - t) R . ((1 - t) A_i + t A_j)^-1 R: the two
    touch when both are grown by the factor mu about their centres.

    Reference:
        J. W. Perram, M. S. Wertheim, J. Comput. Phys. 58 (1985) 409, doi:10.1016/0021-9991(85)90171-8.
    """
    square = (rotations * semi_axes**2) @ rotations.transpose(0, 2, 1)
    inverse_root = (rotations / semi_axes) @ rotations.transpose(0, 2, 1)

    def touch(i: np.ndarray, j: np.ndarray) -> Touch:
        # In the frame where A_i is the identity and A_j diagonal, ((1 - t) A_i + t A_j)^-1 is three divisions.
        values, frame = np.linalg.eigh(inverse_root[i] @ square[j] @ inverse_root[i])
        to_frame = frame.transpose(0, 2, 1) @ inverse_root[i]

        def factors(offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            # A plane across the offset separates most pairs: mu is at least |R| over their widths along R.
            width = sum(np.sqrt(np.einsum("ka,kab,kb->k", offset, square[of], offset)) for of in (i, j))
            mu, slope = (offset**2).sum(1) / np.maximum(width, 1e-300), np.zeros_like(offset)
            near = mu < 1 + 2 * _MARGIN
            mu[near], slope[near] = close(offset[near], to_frame[near], values[near])
            return mu, slope

        def close(offset: np.ndarray, to_frame: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            r = np.einsum("kab,kb->ka", to_frame, offset)
            low, high = np.zeros(len(r)), np.ones(len(r))
            for _ in range(26):  # the maximum is flat: an error of 1e-8 in t is one of 1e-16 in mu
                t = (0.5 * (low + high))[:, None]
                rising = (r**2 * ((1 - t) ** 2 - t**2 * values) / (1 - t + t * values) ** 2).sum(1) > 0
                low, high = np.where(rising, t[:, 0], low), np.where(rising, high, t[:, 0])
            t = (0.5 * (low + high))[:, None]
            normal = t * (1 - t) * r / (1 - t + t * values)
            mu = np.sqrt((r * normal).sum(1))
            return mu, np.einsum("kab,ka->kb", to_frame, normal) / np.maximum(mu, 1e-300)[:, None]

        return factors

    return Shapes(2 * float(semi_axes.max()), touch)


def rod_shapes(half_length: float, radius: float, directions: np.ndarray) -> Shapes:
    r"""Cylinders with round ends: all points within ``radius`` of a segment of 2 ``half_length`` along p (k, 3) [mm].

    mu = distance of the two segments / (2 radius); growth is in the radius alone.
    """

    def touch(i: np.ndarray, j: np.ndarray) -> Touch:
        p, q = directions[i], directions[j]
        across = np.cross(p, q)
        across /= np.maximum(np.linalg.norm(across, axis=1), 1e-300)[:, None]

        def factors(offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            # The distance of the two lines keeps most pairs apart: mu is at least that over the diameter.
            mu, slope = np.abs((offset * across).sum(1)) / (2 * radius), np.zeros_like(offset)
            near = mu < 1 + 2 * _MARGIN
            mu[near], slope[near] = close(offset[near], p[near], q[near])
            return mu, slope

        def close(offset: np.ndarray, p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            s, t = _closest((p * q).sum(1), (offset * p).sum(1), (offset * q).sum(1), half_length)
            apart = offset + t[:, None] * q - s[:, None] * p
            distance = np.sqrt((apart**2).sum(1))
            return distance / (2 * radius), apart / (np.maximum(distance, 1e-300) * 2 * radius)[:, None]

        return factors

    return Shapes(2 * (half_length + radius), touch)


def _closest(
    cosine: np.ndarray, along_p: np.ndarray, along_q: np.ndarray, half_length: float
) -> tuple[np.ndarray, np.ndarray]:
    """(s, t), each in +- half_length, that make |R + t q - s p| least for unit p, q.

    The squared distance is a convex quadratic in (s, t): the least value is inside the square or on one of its sides,
    where one of the two is at its limit and the other follows in closed form.
    """
    h = half_length
    sine2 = 1.0 - cosine**2
    parallel = sine2 < 1e-12
    s = np.where(parallel, 0.0, (along_p - cosine * along_q) / np.where(parallel, 1.0, sine2))
    t = cosine * s - along_q
    outside = parallel | (np.abs(s) > h) | (np.abs(t) > h)
    best = np.where(outside, np.inf, s * s + t * t - 2 * cosine * s * t - 2 * s * along_p + 2 * t * along_q)
    for end in (-h, h):
        for on_p in (True, False):
            s1 = np.full_like(s, end) if on_p else np.clip(cosine * end + along_p, -h, h)
            t1 = np.clip(cosine * end - along_q, -h, h) if on_p else np.full_like(s, end)
            value = s1 * s1 + t1 * t1 - 2 * cosine * s1 * t1 - 2 * s1 * along_p + 2 * t1 * along_q
            better = value < best
            s, t, best = np.where(better, s1, s), np.where(better, t1, t), np.where(better, value, best)
    return s, t
