"""A trained law in a folder: model.safetensors (weights), config.json (what to build), card.md (for the reader).

Nothing that came with a folder is instantiated or executed: its config.json names an architecture, which must be a
config that ships with this package or a class that the caller passes, and holds its keyword arguments; the weights are
plain arrays, checked against a digest, name by name and shape by shape. No pickle.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from datagen.laws.law import Measure
from surrogate.networks.network import Network
from surrogate.resources import checkpoint_folder, config_folder

SCHEMA = 1
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "card.md"

_TARGET = re.compile(r"^_target_:\s*(surrogate\.networks\.\w+)\.(\w+)\s*$", re.MULTILINE)


def save(law: Network, folder: str | Path, card: str | Mapping[str, Any], overwrite: bool = False) -> Path:
    """Write a network to a folder that `load` reads.

    A new folder appears at once, complete; in one that exists (a run's) config.json, which holds the digest of the
    weights, comes last, so that a half-written law is never taken for a whole one. Weights are written in float64.

    Args:
        law: a network; one of a user's own class is read back by ``load(folder, architectures=[TheClass])``.
        folder: where to.
        card: what a reader should know, as Markdown or as (nested) names and values; a mapping's ``data.sha256`` also
            goes into config.json.
        overwrite: whether a law in the folder may be replaced.

    Returns:
        The folder.

    Raises:
        TypeError: ``law`` is not a network, or its constructor arguments are not JSON-able.
        FileExistsError: the folder holds a law already, or is a file.

    Example:
        >>> from surrogate.networks.energy import EnergyNetwork
        >>> with tempfile.TemporaryDirectory() as home:
        ...     folder = save(EnergyNetwork("small", widths=(4,), seed=1), Path(home) / "tiny", "# Untrained")
        ...     law = load(folder)
        >>> law.hyperparameters["widths"], law.dtype, any(p.requires_grad for p in law.parameters())
        ([4], torch.float64, False)
    """
    if not isinstance(law, Network):
        raise TypeError(f"law: got {type(law).__name__}, wanted a Network; other laws are made from their config")
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder}: is a file, wanted a folder to write a law to")
    present = [name for name in (CONFIG, WEIGHTS, CARD) if (folder / name).exists()]
    if present and not overwrite:
        raise FileExistsError(f"{folder}: holds a law ({present[0]}), wanted another folder or overwrite=True")
    tensors = {name: _plain(x) for name, x in law.state_dict().items()}
    weights = safetensors.torch.save(tensors)
    config = _config(law, weights, card)
    try:
        text = json.dumps(config, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise TypeError(f"law: {type(law).__name__} has arguments that JSON cannot hold ({error})") from None
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        aside.chmod(0o755)
        for name, content in ((WEIGHTS, weights), (CARD, _card(law, card, config).encode()), (CONFIG, text.encode())):
            with open(aside / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if not folder.exists():
            aside.rename(folder)
        else:
            for name in (WEIGHTS, CARD, CONFIG):
                os.replace(aside / name, folder / name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def load(folder: str | Path, architectures: Sequence[type[Network]] = ()) -> Network:
    """The law in a folder: float64, on the CPU, in evaluation mode, its weights without gradient.

    Args:
        folder: what `save` wrote; "checkpoints/NAME" also finds a law that ships with this package.
        architectures: network classes beyond those that ship, found by their class name.

    Raises:
        FileNotFoundError: no folder there, or one without a law in it.
        ValueError: another schema, an unknown architecture or argument, damaged, missing or misshapen weights.

    Example:
        >>> load("no/such/folder")
        Traceback (most recent call last):
        ...
        FileNotFoundError: no/such/folder: no such folder, wanted one written by surrogate.law.save
    """
    folder = _find(Path(folder))
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: has no {name}, wanted a folder written by surrogate.law.save")
    config = _read_config(folder / CONFIG)
    network = _build(config, folder / CONFIG, architectures)
    content = (folder / WEIGHTS).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != config["weights_sha256"]:
        raise ValueError(
            f"{folder / WEIGHTS}: got sha256 {digest[:12]}..., wanted {str(config['weights_sha256'])[:12]}... as in "
            f"{CONFIG}; the file is damaged or belongs to another law"
        )
    _fill(network, content, folder / WEIGHTS)
    return network.requires_grad_(False).eval()


def _plain(x: torch.Tensor) -> torch.Tensor:
    x = x.detach().cpu()
    return (x.double() if x.is_floating_point() else x).contiguous().clone()


def _config(law: Network, weights: bytes, card: str | Mapping[str, Any]) -> dict[str, Any]:
    lower, upper = law.domain.lower.tolist(), law.domain.upper.tolist()
    ranges = zip(law.strain_components, zip(lower, upper, strict=True), strict=True)
    data = card.get("data") if isinstance(card, Mapping) else None
    return {
        "schema": SCHEMA,
        "architecture": _name(type(law)),
        "arguments": law.hyperparameters,
        "measure": law.measure.value,
        "components": list(law.components),
        # In the strain of `Network.range_strain`; null for a network that was never calibrated.
        "training_range": {name: list(pair) for name, pair in ranges} if all(map(math.isfinite, lower)) else None,
        "data_sha256": data.get("sha256") if isinstance(data, Mapping) else None,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }


def _shipped() -> dict[str, tuple[str, str]]:
    """Name of each network config that ships: module and class of its target."""
    found = {}
    for file in sorted((config_folder() / "network").glob("*.yaml")):
        if target := _TARGET.search(file.read_text(encoding="utf-8")):
            found[file.stem] = (target[1], target[2])
    return found


def _name(network: type[Network]) -> str:
    names = [name for name, target in _shipped().items() if target == (network.__module__, network.__qualname__)]
    return names[0] if names else network.__name__


def _find(folder: Path) -> Path:
    if folder.is_dir():
        return folder
    if folder.exists():
        raise FileNotFoundError(f"{folder}: is a file, wanted a folder written by surrogate.law.save")
    if len(folder.parts) == 2 and folder.parts[0] == "checkpoints":
        shipped = {path.name: path for path in checkpoint_folder().glob("*") if path.is_dir()}
        if folder.name in shipped:
            return shipped[folder.name]
    raise FileNotFoundError(f"{folder}: no such folder, wanted one written by surrogate.law.save")


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: is not JSON ({error})") from None
    if not isinstance(config, dict) or config.get("schema") != SCHEMA:
        got = config.get("schema") if isinstance(config, dict) else None
        raise ValueError(
            f"{file}: got schema {got!r}, wanted {SCHEMA}; the law was written by another version or program"
        )
    wanted = {"architecture": str, "arguments": dict, "weights_sha256": str}
    for key, kind in wanted.items():
        if not isinstance(config.get(key), kind):
            raise ValueError(f"{file}: got {key} {config.get(key)!r}, wanted a {kind.__name__}")
    return config


def _build(config: dict[str, Any], file: Path, architectures: Sequence[type[Network]]) -> Network:
    for cls in architectures:
        if not (isinstance(cls, type) and issubclass(cls, Network)):
            raise TypeError(f"architectures: got {cls!r}, wanted subclasses of Network")
    own, shipped, name = {cls.__name__: cls for cls in architectures}, _shipped(), config["architecture"]
    if name not in own and name not in shipped:
        known = ", ".join([*own, *shipped])
        raise ValueError(
            f"{file}: got architecture {name!r}, wanted one of {known}; a class of your own is passed as architectures="
        )
    network = own[name] if name in own else getattr(importlib.import_module(shipped[name][0]), shipped[name][1])
    arguments, known_arguments = config["arguments"], inspect.signature(network).parameters
    for argument in arguments:
        if argument not in known_arguments:
            raise ValueError(f"{file}: got argument {argument!r} for {name}, wanted {', '.join(known_arguments)}")
    try:
        return network(**arguments).double()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{file}: {name} cannot be built from its arguments ({str(error).splitlines()[0]})") from None


def _fill(network: Network, content: bytes, file: Path) -> None:
    try:
        tensors = safetensors.torch.load(content)
    except SafetensorError as error:
        raise ValueError(f"{file}: is not a safetensors file ({error})") from None
    wanted = network.state_dict()
    for name in [*wanted, *tensors]:
        got = f"{tuple(tensors[name].shape)} {tensors[name].dtype}" if name in tensors else "nothing"
        want = f"{tuple(wanted[name].shape)} {wanted[name].dtype}" if name in wanted else "nothing"
        if got != want:
            raise ValueError(f"{file}: got {got} for {name}, wanted {want}, as config.json describes the network")
    network.load_state_dict(tensors)


def _card(law: Network, card: str | Mapping[str, Any], config: dict[str, Any]) -> str:
    if isinstance(card, str):
        return card if card.endswith("\n") else card + "\n"
    strain = "eps" if law.measure is Measure.SMALL else "(C - C^-1) / 4, nearly ln U"
    head = {"architecture": config["architecture"], "strain": law.measure.strain_name}
    head |= {"components": ", ".join(law.components)}
    lines = [f"# {type(law).__name__}", "", *_table(head)]
    lines += ["## arguments", "", *_table(config["arguments"])]
    if config["training_range"] is not None:
        lines += [f"## training range in {strain}, Mandel", "", *_table(config["training_range"])]
    plain = {key: value for key, value in card.items() if not isinstance(value, Mapping)}
    if plain:
        lines += ["## made by", "", *_table(plain)]
    for key, value in card.items():
        if isinstance(value, Mapping):
            lines += [f"## {key}", "", *_table(value)]
    return "\n".join(lines)


def _table(values: Mapping[str, Any]) -> list[str]:
    rows = [f"| {name} | {_words(value)} |" for name, value in _flat(values)]
    return ["| | |", "| --- | --- |", *rows, ""]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        rows += _flat(value, f"{prefix}{key} ") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return rows


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return str(value).replace("|", "\\|").replace("\n", " ")
