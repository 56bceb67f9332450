"""The GPU checks under pytest; the same code on the CPU shows that the checks themselves run."""

from collections.abc import Callable

import pytest
import torch

from tests.gpu.checks import CHECKS


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_cuda_answers_as_the_cpu(check: Callable[[str], float]) -> None:
    check("cuda")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_checks_pass_on_the_cpu_against_itself(check: Callable[[str], float]) -> None:
    assert check("cpu") == 0.0
