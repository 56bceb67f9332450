"""Reads tables of embedded-atom potentials in the setfl format, as LAMMPS names .eam.alloy and .eam.fs.

Three lines of comment; the elements; the sizes and steps of the tables and the cutoff; for each element a line with
atomic number, mass, lattice constant and lattice, then the embedding function and the density (one table, or in .eam.fs
one for each element it acts on); then r phi(r) for each pair of elements.

Reference:
    https://docs.lammps.org/pair_eam.html
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

KINDS = ("alloy", "fs")
FEWEST = 5  # points of a table: what the end derivatives of its spline need
DIGITS = 18  # of a count at most
SMALLEST = 1e-300  # step: its inverse is still a number


@dataclass(frozen=True)
class Setfl:
    """Tables of an embedded-atom potential, on grids that start at zero."""

    elements: tuple[str, ...]  # chemical symbols, N of them
    masses: tuple[float, ...]  # [Da]
    density_step: float  # of the embedding function, in the file's unit of density
    step: float  # of the tables over distance [A]
    cutoff: float  # [A]
    embedding: np.ndarray  # (N, n_density) F of an element [eV]
    density: np.ndarray  # (N, N, n) at an atom of the first element, due to one of the second
    r_phi: np.ndarray  # (N, N, n) [eV A], symmetric

    def of(self, elements: Sequence[str]) -> Setfl:
        """The tables of some of the elements, in the order given.

        Raises:
            ValueError: an element that the file does not hold, or none, or one twice.
        """
        missing = [name for name in elements if name not in self.elements]
        if missing or not elements or len(set(elements)) < len(elements):
            known = ", ".join(self.elements)
            raise ValueError(f"elements: got {', '.join(elements) or 'none'}, wanted some of {known}, each once")
        chosen = [self.elements.index(name) for name in elements]
        pairs = np.ix_(chosen, chosen)
        return Setfl(
            tuple(elements), tuple(self.masses[i] for i in chosen), self.density_step, self.step, self.cutoff,
            self.embedding[chosen], self.density[pairs], self.r_phi[pairs],
        )  # fmt: skip


def read_setfl(file: str | Path, kind: str | None = None) -> Setfl:
    """Reads a file.

    Args:
        file: path.
        kind: "alloy" (a density for each element) or "fs" (one for each ordered pair); None: as the name ends, or else
            whichever of the two the content fits.

    Raises:
        ValueError: content that is not of this form; one line that names the file, the place and what was wanted.
    """
    path = Path(file)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if kind not in (*KINDS, None):
        raise ValueError(f"kind: got {kind!r}, wanted alloy, fs or None")
    named = path.suffix.removeprefix(".")
    kind = kind or (named if named in KINDS else None)
    if kind:
        return _parse(_Reader(path.name, lines), kind)
    try:
        return _parse(_Reader(path.name, lines), "alloy")
    except ValueError as failure:
        try:
            return _parse(_Reader(path.name, lines), "fs")
        except ValueError:
            raise failure from None


class _Reader:
    """Lines of a file, read once from the top, with the place for messages."""

    def __init__(self, name: str, lines: list[str]) -> None:
        self.name, self.lines, self.at = name, lines, 0

    def error(self, got: str, wanted: str) -> ValueError:
        return ValueError(f"{self.name}, line {self.at}: got {got}, wanted {wanted}")

    def left(self) -> Iterator[list[str]]:
        """Words of each further line that has any; what follows a # is a comment."""
        while self.at < len(self.lines):
            self.at += 1
            words = self.lines[self.at - 1].partition("#")[0].split()
            if words:
                yield words

    def words(self, wanted: str) -> list[str]:
        """Words of the next line that has any."""
        for words in self.left():
            return words
        raise self.error("the end of the file", wanted)

    def number(self, word: str, wanted: str) -> float:
        """A finite number."""
        try:
            value = float(word) if "_" not in word else math.nan  # Python reads 1_0 as ten
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.error(repr(word[:40]), wanted)
        return value

    def numbers(self, count: int, wanted: str) -> np.ndarray:
        """So many numbers, from whole lines, any number of them in each."""
        first, found = self.at + 1, list[float]()
        wanted = f"{count} numbers of {wanted} from line {first}"
        for words in self.left():
            found += [self.number(word, wanted) for word in words]
            if len(found) >= count:
                break
        if len(found) != count:
            raise self.error("more" if len(found) > count else f"{len(found)} and the end of the file", wanted)
        return np.array(found)


def _parse(reader: _Reader, kind: str) -> Setfl:
    reader.at = 3
    elements = _elements(reader)
    n = len(elements)
    n_density, density_step, n_r, step, cutoff = _sizes(reader)
    tables = n * n_density + (n if kind == "alloy" else n * n) * n_r + n * (n + 1) // 2 * n_r
    room = sum(map(len, reader.lines[reader.at :])) + len(reader.lines)  # a number takes a digit and a separator
    if 2 * tables > room:
        raise reader.error(
            f"sizes {n_density} and {n_r} for {n} elements", f"the {tables} numbers that follow; the file is too short"
        )
    embedding, density = np.empty((n, n_density)), np.empty((n, n, n_r))
    masses = list[float]()
    for i, element in enumerate(elements):
        masses.append(_mass(reader, element))
        width = 1 if kind == "alloy" else n
        values = reader.numbers(n_density + width * n_r, f"F and rho of {element}")
        embedding[i] = values[:n_density]
        density[:, i] = values[n_density:].reshape(width, n_r)  # of the element i at each
    lower = np.tril_indices(n)
    values = reader.numbers(len(lower[0]) * n_r, "r phi of " + ", ".join(elements)).reshape(-1, n_r)
    r_phi = np.empty((n, n, n_r))
    r_phi[lower], r_phi[lower[::-1]] = values, values
    for words in reader.left():
        raise reader.error(repr(" ".join(words)[:40]), f"nothing after the tables of an {kind} file")
    return Setfl(elements, tuple(masses), density_step, step, cutoff, embedding, density, r_phi)


def _elements(reader: _Reader) -> tuple[str, ...]:
    words = reader.words("the number of elements and their symbols")
    if _whole(words[0]) != len(words) - 1 or len(words) < 2 or len(set(words)) < len(words):
        raise reader.error(repr(" ".join(words)[:60]), "the number of elements and the symbol of each, each once")
    return tuple(words[1:])


def _sizes(reader: _Reader) -> tuple[int, float, int, float, float]:
    wanted = "Nrho, drho, Nr, dr and the cutoff"
    words = reader.words(wanted)
    if len(words) < 5:
        raise reader.error(f"{len(words)} words", wanted)
    n_density, n_r = _whole(words[0]), _whole(words[2])
    if min(n_density, n_r) < FEWEST:
        raise reader.error(f"sizes {words[0][:20]} and {words[2][:20]}", f"two whole numbers >= {FEWEST}")
    steps = [reader.number(words[k], wanted) for k in (1, 3, 4)]
    if min(steps) <= SMALLEST:
        raise reader.error(f"steps and cutoff {steps}", "positive ones")
    reach = (n_r - 1) * steps[1]
    if steps[2] > 2 * reach:
        raise reader.error(f"cutoff {steps[2]:g}", f"one near the last distance of the tables, {reach:g}")
    return n_density, steps[0], n_r, steps[1], steps[2]


def _whole(word: str) -> int:
    """A count, or -1 for a word that is none."""
    return int(word) if word.isdecimal() and len(word) <= DIGITS else -1


def _mass(reader: _Reader, element: str) -> float:
    wanted = f"atomic number, mass, lattice constant and lattice of {element}"
    words = reader.words(wanted)
    if len(words) < 2 or not words[0].isdecimal():
        raise reader.error(repr(" ".join(words)[:40]), wanted)
    mass = reader.number(words[1], wanted)
    if mass <= 0:
        raise reader.error(f"mass {mass}", "a positive one [Da]")
    return mass
