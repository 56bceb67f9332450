"""Parameter files of three-body potentials: an entry for each triplet of elements, as LAMMPS writes them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from datagen.atoms.potential_file import find

MASSES = {
    "B": 10.81, "C": 12.011, "N": 14.007, "O": 15.999, "Al": 26.982, "Si": 28.085, "P": 30.974, "S": 32.06,
    "Cu": 63.546, "Zn": 65.38, "Ga": 69.723, "Ge": 72.630, "As": 74.922, "Se": 78.971, "Mo": 95.95, "Cd": 112.41,
    "In": 114.82, "Sn": 118.71, "Sb": 121.76, "Te": 127.60, "W": 183.84, "Hg": 200.59,
}  # fmt: skip
"""Standard atomic weights [Da] of elements that have such potentials.

Reference:
    T. Prohaska et al., Pure Appl. Chem. 94 (2022) 573, table 3, doi:10.1515/pac-2019-0603.
"""


def read(path: str | Path, elements: Sequence[str], names: Sequence[str]) -> dict[str, Tensor]:
    """Parameters of some elements.

    An entry is three names of elements, the atom in the middle first, then a number for each parameter, over as many
    lines as it likes; # starts a comment. Entries of other elements are passed over.

    Args:
        path: of the file, or a name to `datagen.atoms.potential_file.find`.
        elements: as the file names them, S of them.
        names: of the numbers of an entry, in order.

    Returns:
        By name, (S, S, S): of atom i with neighbours j and k.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an entry cut short, too long, or with a word for a number; a triplet missing or twice.
    """
    path, wanted = find(path), tuple(product(elements, repeat=3))
    if not elements or len(set(elements)) != len(elements):
        raise ValueError(f"elements: got {tuple(elements)}, wanted at least one, each once")
    found: dict[tuple[str, ...], list[float]] = {}
    for where, words in _entries(path, 3 + len(names)):
        triplet = tuple(words[:3])
        if triplet not in wanted:
            continue
        if triplet in found:
            raise ValueError(f"{where}: a second entry for these elements, wanted one")
        found[triplet] = [_number(word, name, where) for name, word in zip(names, words[3:], strict=True)]
    for triplet in wanted:
        if triplet not in found:
            known = ", ".join(" ".join(each) for each in found) or "none of these elements"
            raise ValueError(
                f"{path.name}: no entry {' '.join(triplet)}, wanted all triplets of the elements; has {known}"
            )
    table = torch.tensor([found[triplet] for triplet in wanted], dtype=torch.float64)
    size = len(elements)
    return {name: column.reshape(size, size, size) for name, column in zip(names, table.T, strict=True)}


def masses_of(elements: Sequence[str], masses: Sequence[float] | None) -> tuple[float, ...]:
    """Masses [Da] as given, else of `MASSES`; a variant such as Si(C) weighs as its element."""
    if masses is not None:
        if len(masses) != len(elements) or not all(mass > 0 for mass in masses):
            raise ValueError(f"masses: got {tuple(masses)}, wanted a positive one for each of {tuple(elements)}")
        return tuple(float(mass) for mass in masses)
    plain = [name.split("(")[0] for name in elements]
    for name in plain:
        if name not in MASSES:
            raise ValueError(f"masses: got none, wanted them: the mass of {name!r} is not among {', '.join(MASSES)}")
    return tuple(MASSES[name] for name in plain)


def _entries(path: Path, size: int) -> Iterator[tuple[str, list[str]]]:
    """Each entry of a file: where it is, in words for an error, and its words."""
    words: list[str] = []
    where = ""
    for line, text in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        fresh = text.split("#")[0].split()
        if not fresh:
            continue
        if not words:
            where = f"{path.name}, line {line}, entry {' '.join(fresh[:3])}"
        words += fresh
        if len(words) > size:
            raise ValueError(f"{where}: got {len(words) - 3} numbers, wanted {size - 3}")
        if len(words) == size:
            yield where, words
            words = []
    if words:
        raise ValueError(
            f"{where}: got {max(len(words) - 3, 0)} numbers, wanted {size - 3}; the file ends in the entry"
        )


def _number(word: str, name: str, where: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: got {word!r} for {name}, wanted a number")
    return value


def tables(values: dict[str, float | Tensor], elements: Sequence[str], masses: Sequence[float]) -> dict[str, Tensor]:
    """Parameters of a constructor as float64 tables (S, S, S), S elements; a number is a table of one element.

    Raises:
        ValueError: a table of another shape, a number that is not finite, masses that do not fit the elements.
    """
    masses_of(elements, masses)
    size, result = len(elements), {}
    for name, value in values.items():
        try:
            table = torch.as_tensor(value, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(f"{name}: got {value!r}, wanted a number or a table of them") from None
        if table.numel() == 1 and size == 1:
            table = table.reshape(1, 1, 1)
        if table.shape != (size, size, size):
            wanted = "a number" if size == 1 else f"({size}, {size}, {size})"
            raise ValueError(f"{name}: got shape {tuple(table.shape)}, wanted {wanted} for {size} elements")
        if not torch.isfinite(table).all():
            raise ValueError(f"{name}: got {table.flatten().tolist()}, wanted finite numbers")
        result[name] = table.clone()
    return result
