"""House rules that a linter does not know."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
SOURCES = sorted(file for package in ("datagen", "surrogate") for file in (PROJECT / package).rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 420, 60  # lines; "about 400" and "about 50", docstring of a function not counted


def name(file: Path) -> str:
    return str(file.relative_to(PROJECT))


@pytest.mark.parametrize("file", SOURCES, ids=name)
def test_a_file_is_one_room_and_a_function_one_thought(file):
    text = file.read_text()
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = node.end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= LONGEST_FUNCTION, f"{node.name}: {lines} lines"


@pytest.mark.parametrize("file", [file for file in SOURCES if file.name == "__init__.py"], ids=name)
def test_an_init_file_holds_a_docstring_and_nothing_else(file):
    tree = ast.parse(file.read_text())
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


@pytest.mark.parametrize("file", SOURCES, ids=name)
def test_nothing_is_called_a_drawer_of_odds_and_ends(file):
    assert not {*file.parts, file.stem} & {"utils", "helpers", "base", "common", "misc"}


def test_no_path_of_one_machine_and_no_loose_end_stands_in_the_project():
    # The words are spelt with a class of one letter, so that this file does not find itself.
    wrong = re.compile(r"(?:^|[\s\"'(=])/(?:[w]ork|[t]mp|[h]ome|[f]arm)/|[T]ODO|[F]IXME|[X]XX")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    kinds = {".py", ".toml", ".yaml", ".md", ".cff", ""}
    for relative in listed.stdout.splitlines():
        file = PROJECT / relative
        if file.suffix in kinds and file.is_file():
            found = wrong.search(file.read_text(errors="replace"))
            assert not found, f"{relative}: {found.group()}"
