"""One configuration for all verbs, composed by Hydra from `configs/`, and the objects that it describes.

`compose` takes the overrides of the command line. Whatever is wrong with them comes back as a ValueError of one line
that names the override, what was got and what was wanted; Hydra's own messages speak of its insides.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from surrogate.resources import config_folder

MAIN = "main"
_EXAMPLE = "for example seed=1 or network=energy"


def compose(overrides: Sequence[str] = (), folder: Path | None = None) -> DictConfig:
    """The resolved configuration of `configs/main.yaml` with these overrides.

    Args:
        overrides: ``KEY=VALUE`` as in Hydra's grammar: a value (``seed=1``), an option of a group
            (``network=energy``, ``experiment=fibre_elastomer``), a new key (``+law.name=1``), one less (``~key``).
        folder: another configuration folder than the one that ships.

    Raises:
        ValueError: an override that cannot be read, names nothing, or has a value of the wrong type.

    Example:
        >>> compose(["law=neo_hooke", "law.mu=2.5"]).law.mu
        2.5
    """
    folder = config_folder() if folder is None else folder
    parsed = [_parse(text) for text in overrides]
    known = groups(folder)
    for o in parsed:
        if o.is_add() and o.package is None and o.key_or_group in known:
            raise ValueError(f"override: got {o.input_line!r}, wanted {(o.input_line or '')[1:]!r}, without the plus")
    chosen = [o for o in parsed if _group(o) in known]
    config = _compose(chosen, parsed, known, folder)
    values = [o for o in parsed if o not in chosen]
    if values:
        defaults, config = config, _compose(parsed, parsed, known, folder)
        for override in values:
            _same_kind(override, defaults, config)
    try:
        OmegaConf.resolve(config)
    except OmegaConfBaseException as error:
        raise ValueError(f"configuration: {_first_line(error)}") from error
    return config


def groups(folder: Path | None = None) -> dict[str, tuple[str, ...]]:
    """The configuration groups and the options of each, both sorted."""
    folder = config_folder() if folder is None else folder
    if not (folder / f"{MAIN}.yaml").is_file():
        raise FileNotFoundError(f"{folder}: no {MAIN}.yaml here, wanted the folder of the configurations")
    found = {group.name: tuple(sorted(f.stem for f in group.glob("*.yaml"))) for group in folder.iterdir()}
    return {name: options for name, options in sorted(found.items()) if options}


def about(group: str, option: str, folder: Path | None = None) -> str:
    """What an option of a group is, in one line: its leading comment, after the file name."""
    folder = config_folder() if folder is None else folder
    text = (folder / group / f"{option}.yaml").read_text(encoding="utf-8")
    comments = (line[1:].strip() for line in text.splitlines() if line.startswith("#"))
    line = next((c for c in comments if not c.startswith("@package")), "")
    return re.sub(r"^configs/\S+:\s*", "", line)


def build(config: Any, **arguments: Any) -> Any:
    """The object that a part of the configuration describes: its ``_target_`` called with the rest.

    Lists and dictionaries arrive as such. What the target itself raises is raised here, without Hydra's wrapping.

    Args:
        config: a mapping with ``_target_``, or a collection of such.
        arguments: further keyword arguments of the target, in place of those configured.

    Example:
        >>> build(compose(["law=linear_elastic"]).law).measure
        <Measure.SMALL: 'small'>
    """
    try:
        return hydra.utils.instantiate(config, _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__
        if cause is None or isinstance(cause, HydraException):
            raise ValueError(f"configuration: {' '.join(str(cause or error).split())}") from error
        place = re.search(r"full_key: (\S+)", str(error))
        # Our own messages name the argument; Python's and a library's need the place in the configuration.
        if isinstance(cause, TypeError | ValueError) and place and not re.match(r"\S+: ", str(cause)):
            kind = TypeError if isinstance(cause, TypeError) else ValueError
            extra = re.search(r"unexpected keyword argument '(\w+)'", str(cause))
            hint = f"; ~{place[1]}.{extra[1]} leaves it out" if extra else ""
            raise kind(f"{place[1]}: {_first_line(cause)}{hint}") from cause
        if isinstance(cause, ImportError):
            raise ValueError(f"configuration: {' '.join(str(cause).split())}") from cause
        raise cause from None
    except MissingMandatoryValue as error:
        raise ValueError(f"{error.full_key}: got no value, wanted one") from error


def _parse(text: str) -> Override:
    try:
        override = OverridesParser.create().parse_overrides([text])[0]
    except HydraException as error:
        raise ValueError(f"override: got {text!r}, wanted KEY=VALUE, {_EXAMPLE}") from error
    if not override.key_or_group:
        raise ValueError(f"override: got {text!r}, wanted KEY=VALUE, {_EXAMPLE}")
    if override.is_sweep_override():
        raise ValueError(f"override: got {text!r}, wanted one value; a list is written {override.key_or_group}=[a,b]")
    return override


def _group(override: Override) -> str:
    """The group that an override may choose an option of: ``path`` of ``path@paths.train.ramp=cyclic``."""
    return override.key_or_group


def _compose(use: Sequence[Override], given: Sequence[Override], known: dict, folder: Path) -> DictConfig:
    try:
        with hydra.initialize_config_dir(os.fspath(folder.resolve()), version_base=None):
            return hydra.compose(MAIN, [o.input_line or "" for o in use])
    except MissingConfigException as error:
        raise ValueError(_no_such_option(error, given, known)) from error
    except ConfigCompositionException as error:
        # A part of the defaults that is not there is a fault of the configuration, not of an override.
        blamed = _blamed(error, use)
        if blamed is None:
            raise ValueError(f"configuration: {_first_line(error)}") from error
        raise ValueError(_no_such_key(blamed, use, known, folder)) from error
    except (OmegaConfBaseException, ValueError) as error:
        nulls = [o for o in use if _group(o) in known and not isinstance(o.value(), str)]
        if nulls:
            options = ", ".join(known[_group(nulls[0])])
            raise ValueError(
                f"{nulls[0].key_or_group}: got {nulls[0].get_value_string() or 'nothing'}, wanted one of {options}"
            ) from error
        raise ValueError(f"configuration: {_first_line(error)}") from error


def _no_such_option(error: MissingConfigException, given: Sequence[Override], known: dict) -> str:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    if group not in known:
        return f"configuration: {_first_line(error)}"
    place = next((o.input_line for o in given if _group(o) == group and option in (o.input_line or "")), None)
    where = f" (in {place})" if place and "@" in place else ""
    return (
        f"{group}: got {option!r}{where}, wanted one of {', '.join(known[group])}{_did_you_mean(option, known[group])}"
    )


def _blamed(error: ConfigCompositionException, use: Sequence[Override]) -> Override | None:
    """The override that Hydra's message quotes."""
    quoted = re.findall(r"'([^']+)'", str(error))
    for override in use:
        key = override.key_or_group + (f"@{override.package}" if override.package else "")
        if key in quoted or override.key_or_group in quoted or (override.input_line or "") in quoted:
            return override
    return None


def _no_such_key(override: Override, use: Sequence[Override], known: dict, folder: Path) -> str:
    key = override.key_or_group
    try:  # the keys that there are with the options that were chosen
        options = [o for o in use if _group(o) in known and o is not override]
        config = _compose(options, options, known, folder)
    except ValueError:
        config = _compose([], [], known, folder)
    names = [*known, *_keys(config)]
    if override.package is not None:
        if key in known and override.package in names:
            line = override.input_line
            return f"{line}: {key} is not what fills {override.package}; to lay it over write +{line}"
        slots = [f"{key}@{place}" for place in _keys(config)] if key in known else []
        return f"{override.input_line}: nothing is there to override{_did_you_mean(f'{key}@{override.package}', slots)}"
    # Suggestions at the depth where the key goes wrong: law.nu is not taken for a key of another section.
    parent, _, last = key.rpartition(".")
    near = [name for name in names if name.rpartition(".")[0] == parent] or names
    hint = _did_you_mean(
        last if near is not names else key, [n.rpartition(".")[2] if near is not names else n for n in near]
    )
    if override.is_add():
        return f"{override.input_line}: cannot be added there{hint}"
    section = f"{parent} has {', '.join(n.rpartition('.')[2] for n in near)}" if parent and near is not names else ""
    return f"{key}: no such key{hint or (f'; {section}' if section else '')}"


def _did_you_mean(name: str, among: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, among, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _keys(config: Any, prefix: str = "") -> Iterator[str]:
    """All dotted keys, a section before what is in it."""
    if OmegaConf.is_dict(config) and not config._is_none() and not config._is_missing():
        for name in config:
            yield f"{prefix}{name}"
            node = config._get_node(name)
            yield from _keys(node, f"{prefix}{name}.") if isinstance(node, DictConfig) else ()


def _same_kind(override: Override, defaults: DictConfig, config: DictConfig) -> None:
    """A number stays a number; text for it would surface as a type error deep inside a law."""
    if override.type is not OverrideType.CHANGE:
        return
    before, after = (_plain(c, override.key_or_group) for c in (defaults, config))
    if isinstance(before, DictConfig) and not isinstance(after, DictConfig) and after is not None:
        raise ValueError(
            f"{override.key_or_group}: got {after!r} in place of the settings {', '.join(map(str, before))}; "
            f"to choose another option of a group write GROUP@{override.key_or_group}={after}"
        )
    number = isinstance(before, int | float) and not isinstance(before, bool)
    if isinstance(before, bool) and not isinstance(after, bool):
        raise ValueError(f"{override.key_or_group}: got {after!r}, wanted true or false")
    if number and (isinstance(after, str | bool) or after is None):
        got = "null" if after is None else repr(after)
        raise ValueError(f"{override.key_or_group}: got {got}, wanted a number, as its default {before}")


def _plain(config: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(config, key)
    except OmegaConfBaseException as error:
        raise ValueError(f"{key}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
