"""Print versions, device, threads and compiler.

What a report of a problem should begin with: the version and commit of this project, those of the libraries that
numbers depend on, the device that `device=auto` means here, the number of threads, the C compiler, and where the
configuration and the trained laws that ship are read from.

Settings: device, threads

Examples:
    surrogate info
        What is here.
    surrogate info device=cuda
        Whether a GPU can be used; exit code 2 if not.
"""

from __future__ import annotations

import os
import platform
import shutil

import torch

from datagen.provenance import DISTRIBUTION, commit, device_name, versions
from surrogate.ingredients import device_of
from surrogate.resources import checkpoint_folder, config_folder
from surrogate.runs import Run
from surrogate.table import Table


def run(run: Run) -> int:
    """The verb; writes no folder."""
    device = device_of(run.config)
    compiler = shutil.which(os.environ.get("CC", "cc"))
    laws = sorted(folder.name for folder in checkpoint_folder().glob("*") if folder.is_dir())
    known = versions()
    rows = [
        (DISTRIBUTION, known.pop(DISTRIBUTION)),
        ("commit", commit() or "none: not a checkout"),
        *known.items(),
        ("system", platform.platform()),
        ("device", f"{device.type}, {device_name(device)}"),
        ("cores, threads", f"{os.cpu_count()}, {torch.get_num_threads()}"),
        ("compiler", compiler or "none: C export cannot be compiled here"),
        ("configuration", str(config_folder())),
        ("trained laws", ", ".join(f"checkpoints/{name}" for name in laws) or "none"),
    ]
    Table("Here", ["what", "is"], rows).show()
    return 0
