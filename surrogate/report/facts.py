"""What made a report, for its head."""

from __future__ import annotations

import time

import torch

from datagen.provenance import DISTRIBUTION, commit, device_name, versions


def facts(command: str, device: torch.device | str, started: float | None = None) -> dict[str, str]:
    """Date, commit, versions, device with threads, duration, command.

    Args:
        command: what was typed.
        device: where it computed.
        started: time when it began [s], as of `time.time`.
    """
    now, known = time.time(), versions()
    device = torch.device(device)
    made = {
        "date": time.strftime("%Y-%m-%d %H:%M", time.localtime(now)),
        "version": f"{DISTRIBUTION} {known[DISTRIBUTION]}",
        "commit": _short(commit()),
        "with": f"Python {known['python']}, torch {known['torch']}, numpy {known['numpy']}",
        "device": f"{device.type}, {device_name(device)}, {torch.get_num_threads()} threads",
    }
    if started is not None:
        made["took"] = f"{now - started:.3g} s"
    return {**made, "command": command}


def _short(name: str | None) -> str:
    if name is None:
        return "none"
    digits, dash, dirty = name.partition("-")
    return f"{digits[:10]}{dash}{dirty}"
