"""Run the GPU checks without pytest: ``python3 -m tests.gpu [DEVICE]``; exit code 1 if one fails."""

from __future__ import annotations

import sys
import time

import torch

from tests.gpu.checks import CHECKS


def main(device: str) -> int:
    if device.startswith("cuda") and not torch.cuda.is_available():
        print("no CUDA device here")
        return 1
    name = torch.cuda.get_device_name() if device.startswith("cuda") else device
    print(f"torch {torch.__version__} on {name}")
    failed = 0
    for check in CHECKS:
        start = time.perf_counter()
        try:
            print(f"{check.__name__:16} {check(device):8.1e}  {time.perf_counter() - start:6.2f} s")
        except AssertionError as error:
            failed += 1
            print(f"{check.__name__:16} FAILED: {error}")
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "cuda"))
