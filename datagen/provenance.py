"""What made a result: versions of the software, commit of the project, the machine."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

import torch

DISTRIBUTION = "micromacro"

_CORE = ("torch", "numpy", "scipy", "lightning", "hydra-core", "h5py", "safetensors", "matplotlib", "scikit-fem")


def versions() -> dict[str, str]:
    """Version of the project, of Python and of the libraries that numbers depend on, by name."""
    found = {DISTRIBUTION: _version(DISTRIBUTION), "python": platform.python_version()}
    return {**found, **{name: _version(name) for name in _CORE}}


def commit() -> str | None:
    """Commit of the project, with ``-dirty`` if files differ from it; None outside a checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        words = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def device_name(device: torch.device | str) -> str:
    """Name of a device as its maker gives it: the processor, or the GPU."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
