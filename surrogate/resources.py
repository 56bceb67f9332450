"""Where the files that ship with the package lie: beside it in a wheel, at the root of a checkout otherwise."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def config_folder() -> Path:
    """The folder of the configuration groups, absolute."""
    return _shipped("configs")


def checkpoint_folder() -> Path:
    """The folder of the small trained laws, absolute."""
    return _shipped("checkpoints")


def _shipped(name: str) -> Path:
    installed = _PACKAGE / f"_{name}"
    return installed if installed.is_dir() else _PACKAGE.parent / name
