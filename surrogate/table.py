"""Tables, the same for the terminal and for the report: 80 columns there, HTML here."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, TextIO

import rich.box
import rich.table
from rich.console import Console
from rich.text import Text

WIDTH = 80
_PLAIN = rich.box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


@dataclass(frozen=True)
class Target:
    """A wanted value beside the one that was found, and whether that is good enough.

    Args:
        wanted: in words, with the unit, ``"<= 0.2 %"``.
        met: whether it was met.
    """

    wanted: str
    met: bool

    def __str__(self) -> str:
        return f"{self.wanted}  {'met' if self.met else 'MISSED'}"


@dataclass(frozen=True)
class Table:
    """A small table. Columns of numbers are set flush right; units stand in the headings.

    Args:
        title: what it shows, one line.
        columns: headings, ``"error [%]"``.
        rows: cells: numbers, words, `Target`, None for nothing.
        note: a line below it.

    Example:
        >>> Table("Errors", ["class", "median [%]"], [["ramps", 0.0812], ["walks", 0.2]]).show(sys.stdout)
        Errors
        <BLANKLINE>
         class  median [%]
         -----------------
         ramps      0.0812
         walks         0.2
        <BLANKLINE>
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"row: got {len(row)} cells, wanted {len(self.columns)} for {', '.join(self.columns)}")

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers only, empty cells aside."""
        found = []
        for k in range(len(self.columns)):
            cells = [row[k] for row in self.rows if row[k] is not None]
            found.append(bool(cells) and all(_is_number(cell) for cell in cells))
        return tuple(found)

    def show(self, stream: TextIO | None = None) -> None:
        """Print it, at most 80 columns wide; with colours and lines on a terminal, plain characters elsewhere."""
        console = Console(file=stream or sys.stdout, width=WIDTH, highlight=False)
        table = rich.table.Table(
            box=rich.box.SIMPLE_HEAD if console.is_terminal else _PLAIN, pad_edge=False, padding=(0, 1, 0, 0)
        )
        for heading, numeric in zip(self.columns, self.numeric, strict=True):
            table.add_column(Text(heading), justify="right" if numeric else "left", header_style="bold")
        for row in self.rows:
            table.add_row(*(_styled(cell) for cell in row))
        with console.capture() as capture:
            console.print(table)
        lines = [line.rstrip() for line in capture.get().splitlines()]
        while lines and not lines[0]:
            del lines[0]
        while lines and not lines[-1]:
            del lines[-1]
        console.print(Text(self.title, style="bold"))
        console.file.write("\n" + "\n".join(lines) + "\n\n")
        if self.note:
            console.print(Text(self.note))
            console.print()


def number(value: float, digits: int = 4) -> str:
    """A number for people: integers whole, others with so many significant digits, nothing for nan.

    >>> number(1234), number(0.00081234), number(312.4567), number(1512.3, 3), number(1.0), number(float("nan"))
    ('1234', '0.0008123', '312.5', '1512', '1', '-')
    """
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return "-"
    if 10**digits <= abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


def text(cell: Any) -> str:
    """A cell as it is written."""
    if cell is None:
        return ""
    return number(cell) if _is_number(cell) else str(cell)


def _is_number(cell: Any) -> bool:
    return isinstance(cell, Real) and not isinstance(cell, bool)


def _styled(cell: Any) -> Text:
    if isinstance(cell, Target):
        return Text(str(cell), style="green" if cell.met else "bold red")
    return Text(text(cell))
