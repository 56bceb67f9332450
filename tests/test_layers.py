"""Imports run one way, and a bare GPU node can run the rooms that compute."""

from __future__ import annotations

import ast
import graphlib
import math
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("datagen", "surrogate")

# From the ground up: a room may import from itself and from the lines above its own. A new room gets a place here.
LAYERS = [
    ["datagen.tensors"],
    ["datagen.spectral"],
    ["datagen.laws", "datagen.microstructures", "datagen.progress", "datagen.provenance"],
    ["datagen.paths"],
    ["datagen.rve", "datagen.atoms"],
    ["datagen.store", "datagen.executor"],
    ["datagen.generate"],
    ["surrogate.networks", "surrogate.macro", "surrogate.device", "surrogate.resources", "surrogate.table"],
    ["surrogate.compose", "surrogate.data", "surrogate.exactness", "surrogate.report"],
    ["surrogate.law", "surrogate.losses", "surrogate.ensemble", "surrogate.export"],
    ["surrogate.evaluate", "surrogate.learner", "surrogate.ingredients"],
    ["surrogate.train", "surrogate.solve", "surrogate.rve_size"],
    ["surrogate.manual", "surrogate.runs"],
    ["surrogate.demo"],
    ["surrogate.verbs"],
    ["surrogate.cli"],
    ["surrogate.__main__"],
]
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}

# Rooms that run where only torch, numpy and scipy are installed.
BARE = ["tensors", "spectral", "laws", "microstructures", "paths", "rve", "atoms"]
BARE = [*(f"datagen.{room}" for room in BARE), "surrogate.networks"]
BARE_NODE = {"torch", "numpy", "scipy"}

# Third parties that belong to one room or a few.
HOME = {
    "h5py": {"datagen.store", "datagen.generate"},
    "rich": {"datagen.progress", "surrogate.table"},
    "matplotlib": {"surrogate.report"},
    "skfem": {"surrogate.macro"},
    "meshio": {"surrogate.macro"},
    "lightning": {"surrogate.data", "surrogate.learner", "surrogate.train"},
    "hydra": {"surrogate.compose"},
}

# A file reader asks for the reader's library only when there is such a file to read.
LAZY = {"datagen.microstructures.voxel_file": {"PIL", "h5py"}}


class Import(NamedTuple):
    """One imported module: who asks, for what, in which line, and whether at the top of the file."""

    importer: str
    module: str
    line: int
    at_top: bool


def modules() -> dict[str, ast.Module]:
    found = {}
    for package in PACKAGES:
        for file in sorted((PROJECT / package).rglob("*.py")):
            name = ".".join(file.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = ast.parse(file.read_text())
    return found


MODULES = modules()


def imported(importer: str, tree: ast.Module) -> list[Import]:
    top = set(map(id, tree.body))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            inside = [f"{source}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else source for name in inside]
        else:
            continue
        found += [Import(importer, name, node.lineno, id(node) in top) for name in dict.fromkeys(names)]
    return found


IMPORTS = [entry for name, tree in MODULES.items() for entry in imported(name, tree)]
OWN = [entry for entry in IMPORTS if entry.module.lstrip(".").split(".")[0] in PACKAGES or entry.module.startswith(".")]
FOREIGN = [
    entry
    for entry in IMPORTS
    if entry not in OWN and entry.module.split(".")[0] not in sys.stdlib_module_names | {"__future__"}
]


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def rank(module: str) -> float:
    return RANK.get(room(module), math.inf)


def listed(entries: list[Import]) -> str:
    return "\n".join(f"{e.importer}, line {e.line}: {e.module}" for e in entries)


def test_every_room_has_its_layer():
    rooms = {room(name) for name in MODULES} - set(PACKAGES)
    assert rooms <= RANK.keys(), f"give {sorted(rooms - RANK.keys())} a place in LAYERS"


def test_imports_run_one_way():
    upward = [e for e in OWN if room(e.module) != room(e.importer) and rank(e.module) >= rank(e.importer)]
    assert not upward, listed(upward)


def test_no_module_imports_itself_in_a_circle():
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for entry in OWN:
        graph[entry.importer].add(entry.module)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, naming the circle


def test_our_own_code_is_imported_at_the_top_by_its_full_name():
    hidden = [e for e in OWN if not e.at_top or e.module.startswith(".")]
    assert not hidden, listed(hidden)


def test_the_micro_scale_knows_nothing_of_the_learned_law():
    assert not [e for e in OWN if e.importer.startswith("datagen") and e.module.startswith("surrogate")]


def test_the_macro_scale_knows_the_contract_only():
    allowed = {"datagen.laws", "datagen.tensors", "surrogate.macro"}
    seen = [e for e in OWN if room(e.importer) == "surrogate.macro" and room(e.module) not in allowed]
    assert not seen, listed(seen)


def test_networks_need_nothing_that_a_bare_node_lacks():
    seen = [e for e in OWN if room(e.importer) in BARE and room(e.module) not in BARE]
    assert not seen, listed(seen)


@pytest.mark.parametrize("name", BARE)
def test_a_bare_node_has_all_that_the_room_imports(name):
    foreign = [e for e in FOREIGN if room(e.importer) == name and e.module.split(".")[0] not in BARE_NODE]
    wrong = [e for e in foreign if e.at_top or e.module.split(".")[0] not in LAZY.get(e.importer, set())]
    assert not wrong, listed(wrong)


@pytest.mark.parametrize("library", HOME)
def test_a_library_stays_in_its_rooms(library):
    used = [e for e in FOREIGN if e.module.split(".")[0] == library and room(e.importer) not in HOME[library]]
    wrong = [e for e in used if library not in LAZY.get(e.importer, set())]
    assert not wrong, listed(wrong)
