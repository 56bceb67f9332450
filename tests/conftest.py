"""One torch thread per test process: sums are the same whatever else runs, and workers do not fight for cores."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

PROJECT = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)


@pytest.fixture
def project() -> Path:
    """Root of the checkout."""
    return PROJECT


@pytest.fixture
def shared() -> Path:
    """Folder of reference data beside the checkout; the test is skipped where there is none."""
    folder = PROJECT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}")
    return folder
