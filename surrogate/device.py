"""Where a run computes."""

from __future__ import annotations

import torch


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """The device asked for; "auto" is CUDA where there is one. Raises ValueError for one that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device: got {device!r}, wanted auto, cpu or cuda") from None
    if chosen.type not in ("cpu", "cuda") or (chosen.type == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"device: got {str(device)!r}, which this machine does not have; wanted auto, cpu or cuda")
    return chosen


def choose_threads(threads: int | None) -> int:
    """Set the number of torch threads, if one is given; returns what it is. Raises ValueError for none at all."""
    if threads is not None:
        if not isinstance(threads, int) or threads < 1:
            raise ValueError(f"threads: got {threads!r}, wanted an integer >= 1 or null")
        torch.set_num_threads(threads)
    return torch.get_num_threads()
