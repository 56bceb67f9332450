"""The manual pages of the command line.

A verb is a file in `surrogate/verbs`; its docstring is its manual: a line of summary, paragraphs, then the groups and
settings it reads and examples. Read from the source, so that help comes at once, without importing torch. Options of
groups and the meaning of settings come from the comments in the configuration folder.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from surrogate.compose import MAIN, about, groups
from surrogate.resources import config_folder

WIDTH = 80
_VERBS = Path(__file__).resolve().parent / "verbs"
# Verbs in the order in which they are used; others follow by name.
_ORDER = ("demo", "generate", "train", "evaluate", "solve", "rve-size", "stability", "info")


@dataclass(frozen=True)
class Manual:
    """What the docstring of a verb says.

    Attributes:
        verb: its name.
        summary: one line.
        paragraphs: what it does.
        groups, settings: the parts of the configuration that it reads.
        defaults: overrides that it starts from.
        examples: command lines, each with what it does.
    """

    verb: str
    summary: str
    paragraphs: tuple[str, ...]
    groups: tuple[str, ...]
    settings: tuple[str, ...]
    defaults: tuple[str, ...]
    examples: tuple[tuple[str, str], ...]


def verbs() -> tuple[str, ...]:
    """The verbs that there are, in order of use."""
    found = {file.stem.replace("_", "-") for file in _VERBS.glob("*.py")} - {"--init--"}
    return (*(verb for verb in _ORDER if verb in found), *sorted(found - set(_ORDER)))


def manual(verb: str) -> Manual:
    """The manual of a verb, from the docstring of its file."""
    doc = ast.get_docstring(ast.parse((_VERBS / f"{verb.replace('-', '_')}.py").read_text(encoding="utf-8"))) or ""
    head, _, examples = doc.partition("\nExamples:\n")
    blocks = [" ".join(block.split()) for block in head.split("\n\n")]
    listed: dict[str, tuple[str, ...]] = {}
    for name in ("Groups", "Settings", "Defaults"):
        line = next((b.removeprefix(f"{name}:").strip() for b in blocks if b.startswith(f"{name}:")), "")
        listed[name] = tuple(line.split(", ")) if line else ()
        blocks = [b for b in blocks if not b.startswith(f"{name}:")]
    pairs = re.findall(r"^    (\S.*)\n((?:      +\S.*\n?)+)", examples + "\n", re.MULTILINE)
    return Manual(
        verb,
        blocks[0].rstrip("."),
        tuple(blocks[1:]),
        listed["Groups"],
        listed["Settings"],
        listed["Defaults"],
        tuple((" ".join(meaning.split()), command) for command, meaning in pairs),
    )


def overview() -> str:
    """The page of ``surrogate --help``."""
    pages = [manual(verb) for verb in verbs()]
    return "\n".join(
        [
            *_heading("SYNOPSIS"),
            "  surrogate VERB [KEY=VALUE ...]",
            "  surrogate VERB --help",
            "  surrogate --help | --version",
            *_heading("WHAT IT DOES"),
            *_paragraph(
                "Learns how a material with a microstructure responds, and uses what it learned in a finite-element "
                "simulation: it solves cells of the microstructure along load paths, trains a network that conserves "
                "energy on the answers, and solves macro problems with live cells or with the network."
            ),
            *_heading("VERBS"),
            *(_entry(page.verb, page.summary, 10) for page in pages),
            *_heading("CONFIGURATION"),
            *_paragraph(
                "All verbs read one configuration, made of groups and settings. KEY=VALUE chooses an option of a "
                "group (network=energy) or gives a setting another value (law.mu=2.5, seed=1). `experiment=NAME` "
                "sets many of them at once; what is given beside it still counts. GROUP@PLACE=NAME chooses an option "
                "for a place inside another (law=fibre_cell microstructure@law.microstructure=laminate), with a plus "
                "in front where there was none."
            ),
            "",
            *(_entry(name, ", ".join(options), 16) for name, options in groups().items()),
            "",
            *_settings(tuple(key.partition(".")[0] for key in _meanings())),
            *_heading("OPTIONS"),
            *_options(),
            *_heading("EXAMPLES"),
            *_examples(_chain(pages)),
            *_heading("EXIT CODES"),
            *_paragraph(
                "0 done; 1 something failed, the log says what; 2 wrong input, named in one line, nothing written; "
                "130 interrupted, what is finished stays usable."
            ),
        ]
    ).lstrip("\n")


def page(verb: str) -> str:
    """The page of ``surrogate VERB --help``."""
    m = manual(verb)
    head = f"surrogate {verb}: "
    summary = f"{head}{m.summary[0].lower()}{m.summary[1:]}"
    lines = textwrap.wrap(summary, WIDTH, subsequent_indent=" " * len(head))
    lines += [*_heading("SYNOPSIS"), f"  surrogate {verb} [KEY=VALUE ...]"]
    lines += _heading("WHAT IT DOES")
    for k, paragraph in enumerate(m.paragraphs):
        lines += [*([""] if k else []), *_paragraph(paragraph)]
    known = groups()
    if m.groups:
        lines += _heading("GROUPS")
        for name in m.groups:
            lines += [f"  {_places(name)}"]
            lines += [_entry(f"  {o}", _short(about(name, o)), 22) for o in known.get(name, ())]
    if m.settings:
        lines += [*_heading("SETTINGS"), *_settings(m.settings)]
    lines += [*_heading("OPTIONS"), *_options(), *_heading("EXAMPLES"), *_examples(m.examples)]
    return "\n".join(lines)


def _heading(title: str) -> list[str]:
    return ["", title]


def _paragraph(words: str) -> list[str]:
    return textwrap.wrap(words, WIDTH - 2, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def _entry(name: str, words: str, column: int) -> str:
    """``  name   what it is``, with the description hanging from a column; on a line of its own after a long name."""
    wrapped = textwrap.wrap(words, WIDTH - 2 - column, break_on_hyphens=False) or [""]
    indent = " " * (2 + column)
    head = f"  {name:<{column}}" if len(name) < column else f"  {name}\n{indent}"
    return "\n".join([(head + wrapped[0]).rstrip(), *(indent + line for line in wrapped[1:])])


def _settings(names: Sequence[str]) -> list[str]:
    """Settings with default and meaning; a section stands for all that is in it."""
    lines = []
    for key, (default, meaning) in _meanings().items():
        if key in names or key.partition(".")[0] in names:
            lines.append((names.index(key.partition(".")[0]), _entry(f"{key}={default}", meaning, 18)))
    return [line for _, line in sorted(lines, key=lambda pair: pair[0])]


def _options() -> list[str]:
    return [
        _entry("--config", "print the resolved configuration and stop", 18),
        _entry("--traceback", "show where an error came from, for its developers", 18),
        _entry("-h, --help", "this page", 18),
    ]


def _examples(examples: Sequence[tuple[str, str]]) -> list[str]:
    lines: list[str] = []
    for k, (meaning, command) in enumerate(examples):
        lines += [*([""] if k else []), *_paragraph(f"{meaning}"), f"    {command}"]
    return lines


def _chain(pages: Sequence[Manual]) -> list[tuple[str, str]]:
    """The first example of the verbs that have one, at most three."""
    chosen = [m for m in pages if m.verb in ("demo", "generate", "solve")] or list(pages)
    return [m.examples[0] for m in chosen if m.examples][:3]


def _meanings() -> dict[str, tuple[str, str]]:
    """Default and meaning of every setting, from the lines ``key: default # meaning`` of the main configuration."""
    found, section = {}, ""
    for line in (config_folder() / f"{MAIN}.yaml").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"(  )?(\w+): ([^#\s]+)\s+# (.+)", line):
            found[f"{section}.{match[2]}" if match[1] else match[2]] = (match[3], match[4])
        elif match := re.match(r"(\w+):", line):
            section = match[1]
    return found


def _places(group: str) -> str:
    """How an option of a group is chosen: ``law=``, or ``path@paths.train.ramps=`` for every place that it fills."""
    source = (config_folder() / f"{MAIN}.yaml").read_text(encoding="utf-8")
    places = re.findall(rf"^  - ({group}@\S+):", source, re.MULTILINE)
    if not places and not re.search(rf"^  - {group}:", source, re.MULTILINE):  # a part of what another group describes
        part = re.compile(rf"^  - /{group}@(\w+):", re.MULTILINE)
        found = {
            f"{group}@{file.parent.name}.{name}"
            for file in config_folder().glob("*/*.yaml")
            if file.parent.name != "experiment"
            for name in part.findall(file.read_text(encoding="utf-8"))
        }
        places = sorted(found)
    return ", ".join(f"{place}=" for place in places) or f"{group}="


def _short(description: str) -> str:
    """The first sentence."""
    return re.split(r"(?<=[a-z\d])\. ", description)[0].rstrip(".")
